//! Connections that wait for a person, made by clients that people use: each waits as for a slow network, goes on after a
//! yes, and says after a no what it says of any connection that fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use guard_lab::{Json as _, PATIENCE, Tested, eventually, joined};
use rustix::process::Signal;
use serde_json::Value;

use crate::clients::agent::{Agent, Done};
use crate::clients::scene::{ClientScene, url_at};
use crate::clients::server::Server;

const PORT: u16 = 8180;
/// Beside the rule that is read-only: whoever connects there waits.
const RULE: &str = "\n[[rule]]\nname = \"asked\"\nto = [\"192.0.2.0/24\"]\nports = [\"tcp/8180\"]\naction = \"confirm\"\n";
/// A program, how it is called with a URL, and what it says of a connection that is aborted or times out.
struct Client {
    name: &'static str,
    line: &'static str,
    says: &'static [&'static str],
}

/// Java, which takes longer than all others until it connects, is the last.
const CLIENTS: [Client; 5] = [
    Client {
        name: "curl",
        line: "curl -sS URL/",
        says: &["curl: (7)", "curl: (28)"],
    },
    // It gives up after ten seconds by itself.
    Client {
        name: "node's fetch",
        line: "node $PROGRAMS/fetch.mjs GET URL/",
        says: &["ECONNABORTED", "ETIMEDOUT", "UND_ERR_CONNECT_TIMEOUT"],
    },
    Client {
        name: "node's http",
        line: "node -e 'require(\"http\").get(\"URL/\", answer => answer.pipe(process.stdout))'",
        says: &["ECONNABORTED", "ETIMEDOUT"],
    },
    Client {
        name: "Go's http.Client",
        line: "promtool query instant URL 'vector(42)'",
        says: &["software caused connection abort", "connection timed out"],
    },
    Client {
        name: "Java's HttpClient",
        line: "/usr/bin/java $PROGRAMS/Fetch.java GET URL/",
        says: &["java.net.ConnectException"],
    },
];

impl Client {
    fn line_to(&self, host: &str) -> String {
        self.line.replace("URL", &url_at(host, PORT, ""))
    }

    fn succeeded(&self, done: &Done) {
        assert_eq!(done.code, 0, "{}: {done:?}", self.name);
        let said = ["42", "GET 200"].iter().any(|one| done.text.contains(one));
        assert!(said, "{}: {done:?}", self.name);
    }

    /// That it ended with an error of its own.
    fn failed(&self, done: &Done) {
        assert_ne!(done.code, 0, "{}: {done:?}", self.name);
        let said = self.says.iter().any(|one| done.text.contains(one));
        assert!(said, "{}: {done:?}", self.name);
    }
}

/// A scene with a server at every address, which tells where it was asked.
struct Held {
    scene: ClientScene,
    asked: Mutex<Server>,
}

impl Held {
    fn new() -> Tested<Self> {
        let scene = ClientScene::new(RULE)?;
        let server = Server::python(&scene, "held.py", &[], PORT)?;
        Ok(Self {
            scene,
            asked: Mutex::new(server),
        })
    }

    /// How often the server was asked since this was called last, at each address: until somebody asks who is not guarded,
    /// behind all others.
    fn asked(&self) -> Tested<BTreeMap<String, usize>> {
        const LAST: &str = "192.0.2.250";
        let mut server = self.asked.lock().unwrap();
        let mut asked = BTreeMap::new();
        let done = self.scene.unguarded()?.run(&CLIENTS[0].line_to(LAST))?;
        CLIENTS[0].succeeded(&done);
        loop {
            let line = server.lines.line(PATIENCE)?;
            if line.ends_with(LAST) {
                return Ok(asked);
            }
            *asked.entry(line).or_default() += 1;
        }
    }

    /// The request about an address, once somebody waits for the answer.
    fn held(&self, host: &str) -> Tested<String> {
        let mut id = None;
        let waits = eventually("a client waits", || {
            let is_it = |one: &&Value| one["held"] == true && one["destination"]["address"] == host;
            let pending = self.scene.pending()?;
            id = pending.iter().find(is_it).map(|one| one["id"].clone());
            Ok(id.is_some())
        });
        waits.with_context(|| format!("{host}: {:?}", self.scene.pending()))?;
        Ok(id.context("nobody waits")?.text()?.to_owned())
    }

    /// What a client makes of an answer that comes after `delay`, until when it waits. It would wait for longer than a test waits
    /// for an agent.
    fn answered(&self, client: &Client, host: &str, verb: &str, delay: Duration) -> Tested<Done> {
        let mut agent = Agent::holding(&self.scene, "5m", host)?;
        agent.begin(&client.line_to(host))?;
        let id = self.held(host)?;
        // That it waits on has no event.
        thread::sleep(delay);
        assert_eq!(self.held(host)?, id, "{}", client.name);
        self.scene.answer(&[verb, &id])?;
        agent.end()
    }

    /// Waits until guardd has written that it held a connection there until its deadline.
    fn was_held_in_vain(&self, host: &str) -> Tested {
        let denied = || -> Tested<Vec<Value>> {
            let mut denied = self.scene.daemon.logged("denied")?;
            denied.retain(|one| one["destination"]["address"] == host);
            Ok(denied)
        };
        let came = eventually("it was held until its deadline", || {
            let is_it = |one: &Value| one["why"] == "nobody answered in time";
            Ok(denied()?.iter().any(is_it))
        });
        came.with_context(|| format!("{host}: {:?}", denied()))?;
        Ok(())
    }
}

/// Does something with every client at once, each with an address of its own that ends in a number from `first` on.
fn with_each(first: usize, each: impl Fn(&Client, &str) -> Tested + Sync) -> Tested {
    let each = &each;
    thread::scope(|scope| {
        let mut all = Vec::new();
        for (client, last) in CLIENTS.iter().zip(first..) {
            all.push(scope.spawn(move || each(client, &format!("192.0.2.{last}"))));
        }
        all.into_iter().try_for_each(joined)
    })
}

#[test]
fn each_waits_and_succeeds_after_a_yes_or_says_that_it_failed_after_a_no() -> Tested {
    let held = Held::new()?;
    let mut without = held.scene.unguarded()?;
    for client in &CLIENTS {
        client.succeeded(&without.run(&client.line_to("192.0.2.10"))?);
    }
    // Fetch.java and fetch.mjs ask twice.
    assert_eq!(held.asked()?["at 192.0.2.10"], CLIENTS.len() + 2);
    thread::scope(|scope| -> Tested {
        let mut let_through = Vec::new();
        for (first, delay) in [(20, 300), (30, 3000)] {
            let (held, delay) = (&held, Duration::from_millis(delay));
            let_through.push(scope.spawn(move || {
                with_each(first, |client, host| {
                    client.succeeded(&held.answered(client, host, "approve", delay)?);
                    Ok(())
                })
            }));
        }
        with_each(40, |client, host| {
            client.failed(&held.answered(client, host, "deny", Duration::ZERO)?);
            Ok(())
        })?;
        let_through.into_iter().try_for_each(joined)
    })?;
    let asked = held.asked()?;
    assert_eq!(asked.len(), 2 * CLIENTS.len(), "{asked:?}");
    assert!(
        asked
            .keys()
            .all(|at| at.starts_with("at 192.0.2.2") || at.starts_with("at 192.0.2.3")),
        "{asked:?}"
    );
    Ok(())
}

#[test]
fn each_says_that_it_failed_where_nobody_answers() -> Tested {
    let held = Held::new()?;
    with_each(20, |client, host| {
        let mut agent = Agent::holding(&held.scene, "3s", host)?;
        client.failed(&agent.run(&client.line_to(host))?);
        held.was_held_in_vain(host)
    })?;
    assert_eq!(held.asked()?, BTreeMap::new());
    Ok(())
}

#[test]
fn each_says_that_it_failed_where_guardd_is_gone() -> Tested {
    let held = Held::new()?;
    let host = |number: usize| format!("192.0.2.{}", 20 + number);
    let agent = |number| Agent::holding(&held.scene, "25s", &host(number));
    let mut agents = (0..CLIENTS.len()).map(agent).collect::<Tested<Vec<_>>>()?;
    for (number, agent) in agents.iter_mut().enumerate().rev() {
        agent.begin(&CLIENTS[number].line_to(&host(number)))?;
        if number + 1 == CLIENTS.len() {
            held.held(&host(number))?;
        }
    }
    for number in 0..CLIENTS.len() {
        held.held(&host(number))?;
    }
    held.scene.daemon.signal(Signal::KILL)?;
    for (agent, client) in agents.iter_mut().zip(&CLIENTS) {
        client.failed(&agent.end()?);
    }
    assert_eq!(held.asked()?, BTreeMap::new());
    Ok(())
}
