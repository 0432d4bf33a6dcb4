//! One page for all machines: guard-fleet beside a console, both without rights, at a colleague's machine that has no guardd.

use std::{
    fs,
    ops::Range,
    os::unix::fs::chown,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use guard_lab::{
    AGENT, Attempt, Hub, Json as _, Network, Running, Tested, V4, bins, eventually, exec,
};
use ring::digest::{SHA256, digest};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    client::Client as ByHand,
    machines::{Machine, Machines, is_about},
    scene::PERSON,
};
use crate::together::in_turn;
use crate::{
    console::{
        browser::{DESK, both, fits, is_named},
        http::{Client, Response},
        passkey::Passkey,
        scene::{ORIGIN, PORT},
        webdriver::Browser,
    },
    signed::scene::{COURIER, POLICY, agent, altered},
};

/// As whom guard-fleet and the console run there.
pub(super) const CARRIER: u32 = 61241;
const CONSOLE: u32 = 61242;

/// Machines, and the page of all of them.
pub(super) struct Central<'h> {
    pub(super) fleet: Machines<'h>,
    hub: &'h Hub,
    pub(super) http: Client<'h>,
    pub(super) carrier: Option<Running>,
    _console: Running,
}

impl<'h> Central<'h> {
    pub(super) fn start(
        networks: &[Network],
        colleague: &'h Network,
        hub: &'h Hub,
    ) -> Tested<Self> {
        let fleet = Machines::start(networks, colleague, hub)?;
        let pages = fleet.own_dir("pages");
        fs::create_dir(&pages)?;
        chown(&pages, Some(CONSOLE), Some(CONSOLE))?;
        let carrier = Running::start(&mut carrier(&fleet)?)?;
        let console = Running::start(&mut console(&fleet, &[])?)?;
        let http = Client::new(colleague.dev(), PORT);
        eventually("it serves", || http.try_get("/login").is_ok())?;
        Ok(Self {
            fleet,
            hub,
            http,
            carrier: Some(carrier),
            _console: console,
        })
    }

    /// Has root of a machine enrol a passkey of somebody's, for the agent's sessions.
    pub(super) fn enrol(&self, number: usize, name: &str, key: &str) -> Tested {
        self.enrol_for(number, name, key, &agent())
    }

    /// The same, for another user's.
    fn enrol_for(&self, number: usize, name: &str, key: &str, user: &str) -> Tested {
        let add = ["approver", "add", name, "--passkey", key];
        let add = self.fleet.all[number].scene.daemon.root(add);
        add.args(["--answers-for", user]).run()?.success()?;
        Ok(())
    }

    /// The fingerprint of somebody's key, as a machine lists it.
    fn fingerprint(&self, number: usize, name: &str) -> Tested<String> {
        let daemon = &self.fleet.all[number].scene.daemon;
        let people = daemon.list(["approver", "list"])?;
        let person = people.iter().find(|one| one["name"] == name);
        let person = person.context("no such approver")?;
        let key = person["keys"][0]["fingerprint"].as_str();
        Ok(key.context("no key")?.to_owned())
    }

    /// Root of a machine opens a hole for its session.
    fn open(&self, number: usize, ports: &str) -> Tested {
        let machine = &self.fleet.all[number];
        let open = ["open", "192.0.2.10", "--for", "600s", "--ports", ports];
        let open = machine.scene.daemon.root(open);
        let open = open.args(["--session", machine.shell.session()]);
        open.run()?.success()?;
        Ok(())
    }

    /// Alice, whom both machines list, and bob, whom the first does: their cookies, once the page knows that.
    fn alice_and_bob(&self) -> Tested<[String; 2]> {
        let (alice, bob) = (Passkey::new("alice"), Passkey::new("bob"));
        for number in 0..2 {
            self.enrol(number, "alice", &line_of(&alice))?;
        }
        self.enrol(0, "bob", &line_of(&bob))?;
        let cookies = [self.log_in("alice")?, self.log_in("bob")?];
        self.sees(&cookies[0], "2 there")?;
        self.sees(&cookies[1], "1 there")?;
        Ok(cookies)
    }

    /// Logs somebody in by a link, once machines have said that they know them; gives the cookie.
    pub(super) fn log_in(&self, name: &str) -> Tested<String> {
        let link = self.link(name)?;
        let secret = link.rsplit('/').next().context("no secret")?;
        let answer = self.http.form("/login", &format!("secret={secret}"), None);
        assert_eq!(answer.status, 303, "{}", answer.body);
        Ok(answer.cookie())
    }

    /// What comes of logging in with a passkey on the page.
    pub(super) fn log_in_with(&self, key: &Passkey) -> Response {
        let page = self.http.get("/login", None);
        let nonce = page.between("data-nonce=\"", "\"");
        let signed = key.log_in(&nonce, ORIGIN);
        self.http.json("/login/passkey", &signed, None)
    }

    /// Starts guard-fleet beside the console again, which knows one of the servers alone.
    pub(super) fn be_at(&mut self, server: usize) -> Tested {
        let config = self.fleet.own_dir("console").join("fleet.toml");
        let text = fs::read_to_string(&config)?;
        let url = self.fleet.nats.urls().swap_remove(server);
        let lines = text.lines().map(|line| {
            if line.starts_with("servers") {
                format!("servers = [{url:?}]\n")
            } else {
                format!("{line}\n")
            }
        });
        fs::write(&config, lines.collect::<String>())?;
        self.carrier = None;
        self.carrier = Some(Running::start(&mut carrier(&self.fleet)?)?);
        Ok(())
    }

    fn link(&self, name: &str) -> Tested<String> {
        let mut link = None;
        eventually("a link is made", || {
            let mut login = console(&self.fleet, &["login", name])?;
            let made = exec::output(login.stderr(Stdio::null()))?;
            link = String::from_utf8(made.stdout)?
                .lines()
                .next()
                .map(str::to_owned);
            Ok(link.is_some())
        })?;
        Ok(link.context("no link")?)
    }

    /// Until the page of machines has so many.
    pub(super) fn sees(&self, cookie: &str, text: &str) -> Tested {
        self.shows(cookie, "/machines", text)
    }

    /// Until a page says that.
    fn shows(&self, cookie: &str, place: &str, text: &str) -> Tested {
        let mut last = String::new();
        let shows = eventually(&format!("{place} says {text}"), || {
            last = self.http.get(place, Some(cookie)).body;
            plain(&last).contains(text)
        });
        Ok(shows.with_context(|| last)?)
    }

    /// The page of what a machine asks about a port, as the list links it.
    pub(super) fn asked(&self, cookie: &str, number: usize, port: u16) -> Tested<String> {
        let (id, verb) = (self.id(number), format!(">tcp/{port}<"));
        let mut link = None;
        eventually(&format!("{id} asks about {port}"), || {
            let list = self.http.get("/", Some(cookie)).body;
            let mut items = list.split("<li data-id=\"").skip(1);
            let found = items.find(|item| item.starts_with(id) && item.contains(&verb));
            let linked = found.and_then(|item| item.split("href=\"").nth(1));
            link = linked.and_then(|rest| rest.split('"').next().map(str::to_owned));
            link.is_some()
        })?;
        Ok(link.context("no link")?)
    }

    /// A question as its page has it, and where its answer goes.
    pub(super) fn question(&self, cookie: &str, place: &str) -> Tested<(Value, String)> {
        let mut page = self.http.get(place, Some(cookie));
        assert_eq!(page.status, 200, "{}", page.body);
        // Who may answer comes by another message than the question.
        eventually("somebody may answer", || {
            page = self.http.get(place, Some(cookie));
            page.body.contains("data-question=\"")
        })?;
        let asked = json!({
            "question": page.between("data-question=\"", "\""),
            "hash": page.between("name=\"question\" value=\"", "\""),
        });
        Ok((asked, format!("{place}/answer")))
    }

    pub(super) fn id(&self, number: usize) -> &str {
        &self.fleet.all[number].id
    }

    pub(super) fn holes(&self, number: usize) -> Vec<String> {
        self.fleet.all[number].scene.holes()
    }
}

/// guard-fleet beside the console.
pub(super) fn carrier(fleet: &Machines<'_>) -> Tested<Command> {
    let mut command = fleet.as_one("console", CARRIER, &["console", "--at"])?;
    command
        .arg(socket(fleet))
        .args(["--user", &CONSOLE.to_string()]);
    Ok(command)
}

/// The console, or a verb of it.
fn console(fleet: &Machines<'_>, args: &[&str]) -> Tested<Command> {
    let mut command = console_of(fleet, CONSOLE, "pages")?;
    command.args(args);
    Ok(command)
}

/// The same of another user, with a directory of its own.
fn console_of(fleet: &Machines<'_>, user: u32, dir: &str) -> Tested<Command> {
    let side = fleet.colleague.dev();
    let program = bins::for_everybody("guard-console", side.tag())?;
    let mut command = side.command_as(user, program);
    command.args([
        "--config",
        "/nonexistent",
        "--listen",
        "localhost:4827",
        "--origin",
        ORIGIN,
    ]);
    command.arg("--fleet").arg(socket(fleet));
    command.arg("--state-dir").arg(fleet.own_dir(dir));
    Ok(command)
}

fn socket(fleet: &Machines<'_>) -> PathBuf {
    fleet.own_dir("console").join("console.sock")
}

/// Somebody's connection to a server, with that one's own key.
pub(super) fn by_hand(central: &Central<'_>, name: &str, user: u32) -> Tested<ByHand> {
    let key = exec::run(&mut central.fleet.as_one(name, user, &["key"])?)?;
    let file = central.fleet.own_dir(name).join("key.nk");
    let (hub, nats) = (central.hub, &central.fleet.nats);
    Ok(ByHand::new(hub.side(), nats, key.trim(), &file)?)
}

/// A page's text, without its tags.
fn plain(page: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for c in page.chars() {
        match c {
            '<' => is_tag = true,
            '>' => is_tag = false,
            c if !is_tag => text.push(c),
            _ => {}
        }
    }
    text
}

/// Whether an event has what a machine asks about a port.
fn is_asked(event: &Value, machine: &str, port: u16) -> bool {
    let is_it = |line: &Value| {
        let id = line["id"].as_str().unwrap();
        id.starts_with(machine) && line["verb"] == format!("tcp/{port}")
    };
    event["questions"].as_array().unwrap().iter().any(is_it)
}

/// Two machines and a colleague.
pub(super) fn places() -> Tested<(Vec<Network>, Network)> {
    Ok((vec![Network::new()?, Network::new()?], Network::new()?))
}

pub(super) fn hub_of(guarded: &[Network], colleague: &Network) -> Tested<Hub> {
    let all = guarded.iter().map(Network::dev).chain([colleague.dev()]);
    Ok(Hub::between(all)?)
}

/// The key as the page shows it to whoever enrols it.
pub(super) fn line_of(key: &Passkey) -> String {
    format!("{}:{}", key.id(), key.public())
}

#[test]
fn a_question_of_one_machine_is_answered_on_the_page_of_all_and_opens_nothing_elsewhere() -> Tested
{
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut central = Central::start(&guarded, &colleague, &hub)?;
    for (machine, network) in central.fleet.all.iter().zip(&guarded) {
        machine.is_open(network, 8080)?;
    }
    let (alice, mallory) = (Passkey::new("alice"), Passkey::new("mallory"));
    for number in 0..2 {
        central.enrol(number, "alice", &line_of(&alice))?;
    }
    let cookie = central.log_in("alice")?;
    central.sees(&cookie, "2 there, 2 of them enforce")?;
    let before = central.fleet.all[1].reached(8080)?;

    // Both ask the same, and wait: somebody looks.
    central.asked(&cookie, 0, 443)?;
    central.asked(&cookie, 1, 443)?;
    let mut events = central.http.events(&cookie);
    events.next(|event| event["connected"] == true);
    let (begun, id) = (Instant::now(), central.id(1).to_owned());
    Machine::begin(&mut central.fleet.all[1].shell, 8080)?;
    events.next(|event| is_asked(event, &id, 8080));
    let seen = begun.elapsed();
    Machine::begin(&mut central.fleet.all[0].shell, 8080)?;
    let own = central.asked(&cookie, 0, 8080)?;
    let other = central.asked(&cookie, 1, 8080)?;
    assert_eq!(
        central.fleet.all[1].reached(8080)?,
        before,
        "nothing passes unanswered"
    );
    let (question, place) = central.question(&cookie, &other)?;
    let (_, elsewhere) = central.question(&cookie, &own)?;
    let scene = &central.fleet.all[1].scene;
    let request = other.rsplit('/').next().unwrap();
    assert_eq!(
        scene.question(request)["question"],
        question["question"],
        "guardd's own bytes"
    );

    let answer = scene.answer(&question, "alice", &[("for", json!(60))]);
    let longer = scene.answer(&question, "alice", &[("for", json!(120))]);
    let signed = alice.sign(&answer, ORIGIN);
    for (why, place, wrong) in [
        (
            "not of these bytes",
            &place,
            altered(&signed, "answer", json!(longer)),
        ),
        (
            "not of these bytes",
            &place,
            altered(&mallory.sign(&answer, ORIGIN), "key", json!(alice.id())),
        ),
        ("no key", &place, mallory.sign(&answer, ORIGIN)),
        (
            "do not name in `origins`",
            &place,
            alice.sign(&answer, "https://guard.example"),
        ),
        ("asks something else", &elsewhere, signed.clone()),
    ] {
        let refused = central.http.json(place, &wrong, Some(&cookie));
        assert!(refused.body.contains(why), "{why}: {}", refused.body);
        assert!(
            matches!(refused.status, 403 | 409),
            "{why}: {}",
            refused.status
        );
        assert!(
            central.holes(0).is_empty() && central.holes(1).is_empty(),
            "{why}"
        );
    }
    // Whoever carries it to the other machine all the same.
    let carried = altered(&signed, "kind", json!("passkey"));
    central.fleet.all[0]
        .scene
        .refused(&carried, "it is for the machine")?;
    let without = central.http.json(&place, &signed, None);
    assert_eq!(without.status, 401, "{}", without.body);

    let yes = Instant::now();
    let taken = central.http.json(&place, &signed, Some(&cookie));
    assert_eq!(taken.status, 200, "{}", taken.body);
    let machine = &mut central.fleet.all[1];
    assert!(Machine::has_reached(&mut machine.shell)?);
    eprintln!(
        "connect to request on the page of all: {seen:?}; yes to connected: {:?}",
        yes.elapsed()
    );
    assert!(machine.reached(8080)? > before);
    assert_eq!(central.holes(1), ["tcp/8080"]);
    assert!(central.holes(0).is_empty());
    assert!(central.fleet.all[0].waits(8080)?, "nobody has answered it");
    let answered = &central.fleet.all[1].scene.log("answered")[0];
    assert_eq!(
        (&answered["by"], &answered["signed"]["kind"]),
        (&json!("alice"), &json!("passkey"))
    );
    // The receipt, at the link that stays.
    let over = central.http.get(&other, Some(&cookie));
    for said in ["Yes, by alice", "A hole is open"] {
        assert!(over.body.contains(said), "{said}: {}", over.body);
    }
    eventually("it counts once", || {
        central.http.json(&place, &signed, Some(&cookie)).status == 404
    })?;
    assert_eq!(central.holes(1), ["tcp/8080"]);
    let again = central.http.json(&elsewhere, &signed, Some(&cookie));
    assert_eq!(again.status, 409, "nor elsewhere: {}", again.body);
    assert!(central.holes(0).is_empty());

    // A machine that says that it goes.
    central.fleet.all[0].carrier.signal(Signal::TERM)?;
    central.sees(&cookie, "1 there, 1 of them enforce; 1 away")?;
    let gone = format!("{}away since", central.id(0));
    central.sees(&cookie, &gone)?;
    Ok(())
}

/// A page of two machines that some people look at.
struct Known<'h> {
    central: Central<'h>,
    /// The machines' networks.
    guarded: &'h [Network],
    /// The cookie of her whom both machines list.
    alice: String,
    /// Of him whom the first does.
    bob: String,
    /// Of her who is one of the second's, and answers for somebody else.
    carol: String,
    key_of_carol: Passkey,
}

impl<'h> Known<'h> {
    fn start(guarded: &'h [Network], colleague: &'h Network, hub: &'h Hub) -> Tested<Self> {
        let central = Central::start(guarded, colleague, hub)?;
        let [alice, bob] = central.alice_and_bob()?;
        let key_of_carol = Passkey::new("carol");
        let line = line_of(&key_of_carol);
        central.enrol_for(1, "carol", &line, &CONSOLE.to_string())?;
        let carol = central.log_in("carol")?;
        central.sees(&carol, "1 there")?;
        Ok(Self {
            central,
            guarded,
            alice,
            bob,
            carol,
            key_of_carol,
        })
    }
}

/// Each leaves the page to the next; the last takes one of the machines away.
#[test]
fn with_a_cookie_people_look_say_no_close_holes_and_read_for_whom_each_machine_lists() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut known = Known::start(&guarded, &colleague, &hub)?;
    in_turn!(
        &mut known;
        a_cookie_looks_and_says_no_for_whom_each_machine_lists_and_no_more,
        whoever_answers_for_a_session_closes_its_hole_on_the_page_of_all_and_nobody_else_does,
        what_a_machine_has_reached_is_on_its_page_for_whoever_answers_for_that_and_for_nobody_else,
        a_machine_tells_what_was_reached_to_consoles_and_to_nobody_who_is_not_listed_there,
        a_machines_page_has_its_sessions_and_its_holes_until_it_is_removed,
    )
}

fn a_cookie_looks_and_says_no_for_whom_each_machine_lists_and_no_more(
    known: &mut Known<'_>,
) -> Tested {
    let central = &mut known.central;
    let (cookie, theirs) = (known.alice.clone(), known.bob.clone());
    central.sees(&theirs, "1 more machines do not list your key")?;
    let own = central.asked(&cookie, 0, 443)?;
    let place = central.asked(&cookie, 1, 443)?;
    let (question, _) = central.question(&cookie, &place)?;
    let no = format!("{place}/no");
    let hash = format!("question={}", question["hash"].text()?);

    assert_eq!(
        central.http.form(&no, &hash, None).status,
        401,
        "without the cookie"
    );
    assert_eq!(
        central.http.form(&no, "", Some(&cookie)).status,
        404,
        "to nothing"
    );
    let wrong = format!("{own}/no");
    assert_eq!(
        central.http.form(&wrong, &hash, Some(&cookie)).status,
        404,
        "to another's"
    );
    for page in [
        "/sessions",
        "/holes",
        "/flows",
        "/log",
        "/approvers",
        "/devices",
    ] {
        assert_eq!(central.http.get(page, Some(&cookie)).status, 404, "{page}");
    }
    assert_eq!(
        central
            .http
            .form("/holes/h1/close", "", Some(&cookie))
            .status,
        404
    );
    // bob answers for nobody there.
    let page = central.http.get(&place, Some(&theirs));
    assert_eq!(page.status, 404);
    assert!(!page.body.contains("192.0.2.10"), "{}", page.body);
    assert_eq!(central.http.form(&no, &hash, Some(&theirs)).status, 404);
    let own = central.asked(&theirs, 0, 443)?;
    let list = central.http.get("/", Some(&theirs));
    assert!(!list.body.contains(central.id(1)), "{}", list.body);
    assert!(list.body.contains(&own), "{}", list.body);
    for number in 0..2 {
        assert!(central.fleet.all[number].scene.log("answered").is_empty());
    }
    let said = central.http.form(&no, &hash, Some(&cookie));
    assert_eq!(
        (said.status, said.header("location")),
        (303, Some("/")),
        "{}",
        said.body
    );
    let answered = &central.fleet.all[1].scene.log("answered")[0];
    assert_eq!(answered["answer"], "no");
    assert_eq!(answered["by"], format!("alice through {COURIER}, unsigned"));
    assert!(central.fleet.all[0].scene.log("answered").is_empty());
    let over = central.http.get(&place, Some(&cookie));
    assert!(over.body.contains("No, by alice"), "{}", over.body);

    // Nobody else than the console's user is heard at the socket.
    let state = central.fleet.own_dir("strangers");
    for dir in [state.clone(), state.join("logins")] {
        fs::create_dir(&dir)?;
        chown(&dir, Some(AGENT), Some(AGENT))?;
    }
    let mut stranger = console_of(&central.fleet, AGENT, "strangers")?;
    let refused = exec::output(stranger.args(["login", "alice"]))?;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("guard-fleet does not answer"), "{why}");
    Ok(())
}

fn a_machines_page_has_its_sessions_and_its_holes_until_it_is_removed(
    known: &mut Known<'_>,
) -> Tested {
    let central = &mut known.central;
    let (cookie, theirs) = (known.alice.clone(), known.bob.clone());

    let place = format!("/machines/{}", central.id(1));
    let list = central.http.get("/machines", Some(&cookie));
    assert!(
        list.body.contains(&format!("href=\"{place}\"")),
        "{}",
        list.body
    );
    let machine = &central.fleet.all[1];
    let session = machine.shell.session().to_owned();
    central.open(1, "tcp/1000")?;
    let sees = |text: &str| central.shows(&cookie, &place, text);
    let open = machine.scene.daemon.list(["holes"])?;
    let open = open.iter().find(|one| one["ports"] == "tcp/1000");
    let hole = open.context("no hole")?["id"].as_str().context("no id")?;
    let of_session = format!("{hole} for {session}");
    for text in [&*session, "tcp/1000", &of_session, "asks"] {
        sees(text)?;
    }
    let page = central.http.get(&place, Some(&cookie)).body;
    assert!(
        !page.contains("lets nothing") && page.contains("guard-fleet log"),
        "{page}"
    );
    // The policy denies it from now on.
    let closed = POLICY.replace("action = \"confirm\"", "action = \"deny\"");
    machine.scene.daemon.write_policy("asks", &closed)?;
    sees("Lets nothing through now: rule production of asks denies it.")?;
    assert_eq!(central.http.get(&place, Some(&theirs)).status, 404);
    assert_eq!(central.http.get(&place, None).status, 303);

    // It is in the fleet no more: nobody lists it for days as away.
    let _keepers = central.fleet.keep()?;
    eventually("the list is kept", || {
        let users = (0..3).map(|number| fs::read_to_string(central.fleet.nats.users(number)));
        let users: Vec<_> = users.collect::<Result<_, _>>()?;
        Ok(users.iter().all(|users| users.contains(".removed.*")))
    })?;
    central.sees(&cookie, "2 there")?;
    central.fleet.remove(central.id(1))?;
    central.sees(&cookie, "1 there, 1 of them enforce; 0 away")?;
    eventually("its page is gone", || {
        Ok(central.http.get(&place, Some(&cookie)).status == 404)
    })?;
    Ok(())
}

fn whoever_answers_for_a_session_closes_its_hole_on_the_page_of_all_and_nobody_else_does(
    known: &mut Known<'_>,
) -> Tested {
    let central = &mut known.central;
    let (cookie, theirs) = (known.alice.clone(), known.bob.clone());
    let hers = known.carol.clone();
    central.open(1, "tcp/1000")?;
    central.open(1, "tcp/1500")?;
    let ports = ["tcp/1000", "tcp/1500"];
    let scene = &central.fleet.all[1].scene;
    let open = scene.daemon.list(["holes"])?;
    let [first, second] = [0, 1].map(|number: usize| open[number]["id"].as_str().unwrap());
    let page = format!("/machines/{}", central.id(1));
    let elsewhere = format!("/machines/{}/holes/{first}/close", central.id(0));
    let close = |hole: &str| format!("{page}/holes/{hole}/close");
    let session = format!("session={}", open[0]["session"].text()?);
    central.shows(&cookie, &page, "tcp/1500")?;
    let own = central.http.get(&page, Some(&hers));
    assert_eq!(own.status, 200, "{}", own.body);
    assert!(!own.body.contains("tcp/1000"), "{}", own.body);

    for (who, place, body, status) in [
        (None, close(first), &*session, 401),
        (Some(&theirs), close(first), &*session, 404),
        (Some(&hers), close(first), &*session, 404),
        (Some(&cookie), close(first), "", 404),
        (Some(&cookie), close(first), "session=s999", 404),
        (Some(&cookie), close("h999"), &*session, 404),
        (Some(&cookie), close("*"), &*session, 404),
        (Some(&cookie), elsewhere, &*session, 404),
    ] {
        let refused = central.http.form(&place, body, who.map(String::as_str));
        assert_eq!(refused.status, status, "{place} {body}: {}", refused.body);
        assert_eq!(central.holes(1), ports, "{place} {body}");
    }
    // Whoever has the console's key says it by hand: guardd looks at whom it is said for.
    let mut console = by_hand(central, "console", CARRIER)?;
    assert_eq!(console.subscribe("guard.ci.receipt.*.*")?, None);
    let mut receipt = |hole: &str, said: &str| -> Tested<String> {
        let name = HEXLOWER.encode(digest(&SHA256, said.as_bytes()).as_ref());
        let at = |what: &str| format!("guard.ci.{what}.{}.{hole}", central.id(1));
        let mut came = None;
        // Servers tell each other a moment late who listens.
        eventually("there is a receipt", || {
            assert_eq!(console.publish(&at("no"), "", said)?, None);
            let mut heard = console.heard()?.into_iter();
            came = heard.find(|one| one.subject == at("receipt") && one.payload.contains(&name));
            Ok(came.is_some())
        })?;
        Ok(came.context("no receipt")?.payload)
    };
    let said = |by: &str, hole: &Value| {
        let [session, at, ports] = ["session", "destination", "ports"].map(|what| &hole[what]);
        format!("{{\"by\":\"{by}\",\"session\":{session},\"destination\":{at},\"ports\":{ports}}}")
    };
    let no = json!({ "by": "alice", "question": "q" }).to_string();
    for (said, why) in [
        (said("carol", &open[0]), "there is no hole"),
        (said("mallory", &open[0]), "there is no hole"),
        (said("alice", &open[1]), "is another now"),
        (no, "closes no hole"),
    ] {
        let refused = receipt(first, &said)?;
        assert!(refused.contains(why), "{said}: {refused}");
        assert_eq!(central.holes(1), ports, "{said}");
    }

    let closed = central.http.form(&close(first), &session, Some(&cookie));
    assert_eq!(closed.status, 200, "{}", closed.body);
    let text = plain(&closed.body);
    let words = format!("{first} is closed");
    assert!(text.contains(&words) && text.contains("By alice"), "{text}");
    assert_eq!(central.holes(1), ports[1..]);
    let record = &scene.log("hole-close")[0];
    assert_eq!(record["by"], format!("alice through {COURIER}, unsigned"));
    assert_eq!(record["from"]["right"], "courier");
    eventually("its page has the other one alone", || {
        let now = central.http.get(&page, Some(&cookie)).body;
        now.contains("tcp/1500") && !now.contains("tcp/1000")
    })?;
    // The same words once more, also about the other one, and by whoever tries again.
    let same = said("alice", &open[0]);
    let again = receipt(first, &same)?;
    assert!(again.contains("\"closed\""), "{again}");
    let other = receipt(second, &same)?;
    assert!(other.contains("is another now"), "{other}");
    let again = central.http.form(&close(first), &session, Some(&cookie));
    assert_eq!(again.status, 404, "{}", again.body);
    let back = central.http.get(&close(first), Some(&cookie));
    assert_eq!(back.header("location"), Some(&*page));
    assert_eq!(central.holes(1), ports[1..]);
    assert_eq!(scene.log("hole-close").len(), 1);

    // Two that differ in nothing but their ids are two.
    central.open(1, "tcp/1500")?;
    for hole in scene.daemon.list(["holes"])? {
        let place = close(hole["id"].text()?);
        eventually("the page offers to close it", || {
            let now = central.http.get(&page, Some(&cookie)).body;
            Ok(now.contains(&place))
        })?;
        let closed = central.http.form(&place, &session, Some(&cookie));
        assert_eq!(closed.status, 200, "{}", closed.body);
    }
    assert!(central.holes(1).is_empty());
    assert_eq!(scene.log("hole-close").len(), 3);
    Ok(())
}

/// A session of the second machine reaches one place, through a hole, and is refused another.
fn reach(central: &mut Central<'_>, network: &Network) -> Tested {
    central.open(1, "tcp/1500")?;
    let machine = &mut central.fleet.all[1];
    for port in [1500, 8080] {
        machine.is_open(network, port)?;
    }
    assert!(machine.shell.reaches(&Attempt::tcp(V4, 1500))?);
    assert!(!machine.shell.reaches(&Attempt::tcp(V4, 8080))?);
    Ok(())
}

/// What a page's chart has newly reached, asked and stopped; none: it has no chart.
fn counted(page: &Response) -> Option<[usize; 3]> {
    let count = |what: &str| -> Option<usize> {
        let begin = format!("<span class=\"key {what}\"><b>");
        let (_, rest) = page.body.split_once(&begin)?;
        rest.split_once("</b>")?.0.parse().ok()
    };
    Some([count("reached")?, count("asked")?, count("stopped")?])
}

fn what_a_machine_has_reached_is_on_its_page_for_whoever_answers_for_that_and_for_nobody_else(
    known: &mut Known<'_>,
) -> Tested {
    let central = &mut known.central;
    let (cookie, theirs) = (known.alice.clone(), known.bob.clone());
    let hers = known.carol.clone();
    reach(central, &known.guarded[1])?;
    let own = format!("/machines/{}", central.id(1));
    let page = format!("{own}/flows");
    let shown = central.http.get(&own, Some(&cookie)).body;
    assert!(shown.contains(&format!("href=\"{page}\"")), "{shown}");

    let scene = &central.fleet.all[1].scene;
    let of = |kind: &str| scene.log(kind).len();
    let mut last = String::new();
    let is_counted = eventually("the page counts what the log has", || {
        let seen = central.http.get(&page, Some(&cookie));
        last = format!("{} {:?}: {}", seen.status, counted(&seen), seen.body);
        let is_listed = seen.body.contains("192.0.2.10:1500");
        counted(&seen).is_some_and(|[reached, asked, stopped]| {
            is_listed
                && reached >= 1
                && stopped >= 1
                && [asked, stopped] == [of("request"), of("denied")]
        })
    });
    is_counted.with_context(|| last.clone())?;
    assert!(!last.contains("192.0.2.10:8080"), "it was not reached");

    // carol answers for none of it, whatever was read for alice a moment ago; bob is not known there.
    let mut seen = central.http.get(&page, Some(&hers));
    eventually("carol has a page", || {
        let own = central.http.get(&page, Some(&cookie)).body;
        seen = central.http.get(&page, Some(&hers));
        own.contains("192.0.2.10:1500") && counted(&seen).is_some()
    })?;
    assert_eq!(counted(&seen), Some([0; 3]), "{}", seen.body);
    assert!(!seen.body.contains("192.0.2.10"), "{}", seen.body);
    assert!(seen.body.contains("Nothing was reached"), "{}", seen.body);
    let refused = central.http.get(&page, Some(&theirs));
    assert_eq!(refused.status, 404, "{}", refused.body);
    assert_eq!(central.http.get(&page, None).status, 303);
    let elsewhere = format!("/machines/{}/flows", central.id(0));
    let other = central.http.get(&elsewhere, Some(&cookie));
    assert_eq!(other.status, 200, "{}", other.body);
    assert!(!other.body.contains("192.0.2.10:1500"), "{}", other.body);

    // One that says nothing, as an older one does.
    central.fleet.all[1].carrier.signal(Signal::STOP)?;
    let silent = central.http.get(&page, Some(&cookie));
    let text = plain(&silent.body);
    assert_eq!(silent.status, 500, "{text}");
    for words in [
        "gives no answer",
        "away or busy",
        "its guard-fleet is older",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(central.http.get(&own, Some(&cookie)).status, 200);
    assert_eq!(central.http.get(&elsewhere, Some(&cookie)).status, 200);
    central.fleet.all[1].carrier.signal(Signal::CONT)?;
    central.shows(&cookie, &page, "192.0.2.10:1500")
}

/// Who has a console's key may ask as it does, and what comes of it is of those for whom that approver answers.
fn a_machine_tells_what_was_reached_to_consoles_and_to_nobody_who_is_not_listed_there(
    known: &mut Known<'_>,
) -> Tested {
    let central = &mut known.central;
    let (cookie, carols) = (known.alice.clone(), known.key_of_carol.fingerprint());
    reach(central, &known.guarded[1])?;
    let alices = central.fingerprint(1, "alice")?;
    let at = |what: &str| format!("guard.ci.{what}.{}", central.id(1));
    let (ask, told) = (at("no") + ".flows", at("approvers"));

    for (name, user) in [("colleague", PERSON), ("machine0", COURIER)] {
        let mut other = by_hand(central, name, user)?;
        assert!(other.publish(&ask, "", "{}")?.is_some(), "{name} asks");
        for subject in [&ask, &told] {
            assert!(other.subscribe(subject)?.is_some(), "{name}: {subject}");
        }
        assert!(other.publish(&told, "", "{}")?.is_some(), "{name} answers");
    }

    let mut console = by_hand(central, "console", CARRIER)?;
    assert_eq!(console.subscribe(&told)?, None);
    let name = |said: &str| HEXLOWER.encode(digest(&SHA256, said.as_bytes()).as_ref());
    let mut all = String::new();
    let mut answer = |console: &mut ByHand, by: &str, key: &str| -> Tested<Value> {
        let said = json!({ "by": by, "keys": [key], "once": "x" }).to_string();
        let mut came = None;
        // Servers tell each other a moment late who listens.
        eventually("the machine answers", || {
            assert_eq!(console.publish(&ask, "", &said)?, None);
            for heard in console.heard()? {
                all += &heard.payload;
                came = came.take().or(heard
                    .payload
                    .contains(&name(&said))
                    .then_some(heard.payload));
            }
            Ok(came.is_some())
        })?;
        Ok(serde_json::from_str(&came.context("no answer")?)?)
    };
    let own = answer(&mut console, "alice", &alices)?;
    // It hears by now what is none, which is before what comes then.
    let odd = [
        "",
        "{}",
        "[]",
        "{\"by\":\"alice\"}",
        "{\"once\":\"x\"}",
        "{\"by\":\"alice\",\"once\":\"x\"}",
    ];
    for odd in odd {
        assert_eq!(console.publish(&ask, "", odd)?, None);
    }
    let flows = own["reached"]["flows"].as_array().context("no flows")?;
    let is_it = |flow: &Value| flow["address"] == "192.0.2.10" && flow["port"] == 1500;
    assert!(flows.iter().any(is_it), "{own}");
    let hers = answer(&mut console, "carol", &carols)?;
    assert_eq!(hers["reached"]["flows"], json!([]), "{hers}");
    // Nor is somebody else who has that name told what is hers.
    for (by, key) in [("mallory", &alices), ("alice", &carols)] {
        let nobodys = answer(&mut console, by, key)?;
        assert!(nobodys["reached"].is_null(), "{nobodys}");
        let why = nobodys["refused"]["why"].as_str().unwrap_or_default();
        let words = format!("nobody called {by:?}");
        assert!(why.contains(&words), "{nobodys}");
    }
    assert!(odd.iter().all(|odd| !all.contains(&name(odd))), "{all}");

    // A machine that answers a page what that has not asked: nobody has it. What it says to what was asked is its own word.
    let mut rogue = by_hand(central, "machine1", COURIER)?;
    assert_eq!(rogue.subscribe(&ask)?, None);
    central.fleet.all[1].carrier.signal(Signal::STOP)?;
    let place = format!("/machines/{}/flows", central.id(1));
    let http = &central.http;
    let page = thread::scope(|scope| -> Tested<_> {
        let page = scope.spawn(|| http.get(&place, Some(&cookie)));
        let meant = name(&rogue.next()?.payload);
        let mut says = |asked: Value, warning: &str| -> Tested {
            let mut said = own.clone();
            said["asked"] = asked;
            said["reached"]["warnings"] = json!([warning]);
            assert_eq!(rogue.publish(&told, "", &said.to_string())?, None);
            Ok(())
        };
        for asked in [own["asked"].clone(), json!([""]), json!([]), json!(7)] {
            says(asked, "forged")?;
        }
        says(json!([meant]), "told by it")?;
        Ok(page.join().unwrap())
    })?;
    central.fleet.all[1].carrier.signal(Signal::CONT)?;
    assert!(page.body.contains("told by it"), "{}", page.body);
    assert!(!page.body.contains("forged"), "{}", page.body);
    central.shows(&cookie, &place, "192.0.2.10:1500")
}

/// A page of two machines that alice looks at.
struct WithAlice<'h> {
    central: Central<'h>,
    alice: Passkey,
    cookie: String,
}

impl<'h> WithAlice<'h> {
    /// One where these machines know her passkey.
    fn start(
        guarded: &[Network],
        colleague: &'h Network,
        hub: &'h Hub,
        where_known: Range<usize>,
    ) -> Tested<Self> {
        let central = Central::start(guarded, colleague, hub)?;
        let alice = Passkey::new("alice");
        for number in where_known {
            central.enrol(number, "alice", &line_of(&alice))?;
        }
        let cookie = central.log_in("alice")?;
        central.sees(&cookie, "2 there")?;
        Ok(Self {
            central,
            alice,
            cookie,
        })
    }
}

/// An attacker who has taken a machine has its key, and may publish by it.
#[test]
fn a_machine_that_was_taken_has_no_other_one_forgotten_or_hidden() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut looked = WithAlice::start(&guarded, &colleague, &hub, 0..2)?;
    in_turn!(
        &mut looked;
        a_machine_has_no_other_one_forgotten_by_what_a_server_acknowledges,
        a_machine_that_asks_without_end_hides_nothing_that_others_ask,
    )
}

/// What is published may name a subject for the server's acknowledgement, whosever that subject is.
fn a_machine_has_no_other_one_forgotten_by_what_a_server_acknowledges(
    looked: &mut WithAlice<'_>,
) -> Tested {
    let (central, cookie) = (&mut looked.central, looked.cookie.clone());
    let _keepers = central.fleet.keep_with(&["--log", "1h"])?;
    let place = central.asked(&cookie, 1, 443)?;
    let mut console = by_hand(central, "console", CARRIER)?;
    assert_eq!(console.subscribe("guard.ci.removed.*")?, None);
    let mut machine = by_hand(central, "machine0", COURIER)?;
    let log = format!("guard.ci.log.{}", central.id(0));
    let removed = format!("guard.ci.removed.{}", central.id(1));
    eventually("the server says so on the other's subject", || {
        assert_eq!(machine.publish(&log, &removed, "{}")?, None);
        let heard = console.heard()?;
        Ok(heard.iter().any(|one| one.payload.contains("GUARD_LOG")))
    })?;
    // What comes later has come.
    Machine::begin(&mut central.fleet.all[0].shell, 8080)?;
    central.asked(&cookie, 0, 8080)?;
    assert_eq!(central.http.get(&place, Some(&cookie)).status, 200);
    central.sees(&cookie, "2 there")
}

/// An attacker who has taken a machine has its key, and so may publish what they like in its name.
fn a_machine_that_asks_without_end_hides_nothing_that_others_ask(
    looked: &mut WithAlice<'_>,
) -> Tested {
    let WithAlice {
        central,
        alice,
        cookie,
    } = looked;
    let cookie = cookie.clone();
    let mut events = central.http.events(&cookie);
    events.next(|event| event["connected"] == true);
    let mut look = central.fleet.look()?;
    let scene = &central.fleet.all[0].scene;
    let pending = scene.daemon.list(["pending"])?;
    let request = pending[0]["id"].as_str().context("nothing is asked")?;
    let question = scene.question(request);
    let mut question: Value = serde_json::from_str(question["question"].text()?)?;
    question["shows"] = json!(["curl wants tcp/443", "\"".repeat(20_000)]);
    let mut rogue = by_hand(central, "machine0", COURIER)?;
    let id = central.id(0).to_owned();
    for number in 1000..1800 {
        question["request"] = json!(format!("r{number}"));
        let subject = format!("guard.ci.question.{id}.r{number}");
        assert_eq!(rogue.publish(&subject, "", &question.to_string())?, None);
    }
    // The other one is heard, by everybody.
    Machine::begin(&mut central.fleet.all[1].shell, 8080)?;
    let place = central.asked(&cookie, 1, 8080)?;
    let other = central.id(1).to_owned();
    events.next(|event| event["connected"] == true && is_asked(event, &other, 8080));
    look.until(|line| line["machine"] == other.as_str() && is_about(line, 8080))?;
    central.sees(&cookie, "2 there, 2 of them enforce")?;
    // Some of the first one's is there, and that it asks more.
    let list = central.http.get("/", Some(&cookie)).body;
    assert!(list.contains("r1001") && plain(&list).contains(&format!("{id} asks more")));
    // And the other one is answered.
    let (question, place) = central.question(&cookie, &place)?;
    let scene = &central.fleet.all[1].scene;
    let answer = scene.answer(&question, "alice", &[("for", json!(60))]);
    let signed = alice.sign(&answer, ORIGIN);
    let answered = central.http.json(&place, &signed, Some(&cookie));
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(central.holes(1), ["tcp/8080"]);
    assert!(Machine::has_reached(&mut central.fleet.all[1].shell)?);
    Ok(())
}

#[test]
fn of_servers_that_hang_or_are_gone_the_page_says_so_and_it_carries_nothing() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut looked = WithAlice::start(&guarded, &colleague, &hub, 1..2)?;
    in_turn!(
        &mut looked;
        of_servers_that_hang_the_page_says_that_it_is_not_connected,
        without_a_server_the_page_says_so_and_carries_nothing,
    )
}

fn without_a_server_the_page_says_so_and_carries_nothing(looked: &mut WithAlice<'_>) -> Tested {
    let WithAlice {
        central,
        alice,
        cookie,
    } = looked;
    let cookie = cookie.clone();
    let place = central.asked(&cookie, 1, 443)?;
    let (question, place) = central.question(&cookie, &place)?;
    let answer = central.fleet.all[1].scene.answer(&question, "alice", &[]);
    let signed = alice.sign(&answer, ORIGIN);
    let mut events = central.http.events(&cookie);
    for number in 0..3 {
        central.fleet.nats.kill(number);
    }
    events.next(|event| event["connected"] == false);
    let refused = central.http.json(&place, &signed, Some(&cookie));
    assert_eq!(refused.status, 500, "{}", refused.body);
    assert!(
        refused.body.contains("no server of the fleet is reached"),
        "{}",
        refused.body
    );
    assert!(central.holes(1).is_empty());
    for number in 0..3 {
        central.fleet.nats.start_again(number)?;
    }
    eventually("the answer is taken", || {
        central.http.json(&place, &signed, Some(&cookie)).status == 200
    })?;
    assert_eq!(central.holes(1), ["tcp/443"]);

    // guard-fleet itself.
    central.carrier = None;
    let mut events = central.http.events(&cookie);
    events.next(|event| event["connected"] == false);
    central.carrier = Some(Running::start(&mut carrier(&central.fleet)?)?);
    central.sees(&cookie, "2 there")?;
    Ok(())
}

/// They take what is written to them, and say nothing any more.
fn of_servers_that_hang_the_page_says_that_it_is_not_connected(
    looked: &mut WithAlice<'_>,
) -> Tested {
    let (central, cookie) = (&mut looked.central, looked.cookie.clone());
    central.asked(&cookie, 1, 443)?;
    let mut events = central.http.events(&cookie);
    events.next(|event| event["connected"] == true);
    for number in 0..3 {
        central.fleet.nats.signal(number, Signal::STOP)?;
    }
    // A stream of events ends after a while, and its page asks for the next.
    eventually("it is not connected", || {
        let mut events = central.http.events(&cookie);
        events.next(|_| true)["connected"] == false
    })?;
    for number in 0..3 {
        central.fleet.nats.signal(number, Signal::CONT)?;
    }
    eventually("it is again", || {
        let mut events = central.http.events(&cookie);
        events.next(|_| true)["connected"] == true
    })?;
    central.asked(&cookie, 1, 443)?;
    assert!(central.holes(1).is_empty());
    Ok(())
}

#[test]
fn somebody_makes_one_passkey_and_answers_for_many_machines_in_a_browser() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut central = Central::start(&guarded, &colleague, &hub)?;
    let browser = Browser::start(&colleague)?;
    browser.resize(DESK.0, DESK.1, false)?;
    browser.add_authenticator()?;
    browser.go(&format!("{ORIGIN}/enrol"))?;
    browser.expect("Make a passkey for guard");
    fits(&browser)?;
    is_named(&browser)?;
    browser.press("#enrol button")?;
    browser.expect("sudo guard approver add NAME --answers-for USER --passkey ");
    // With the key, which is a long word.
    fits(&browser)?;
    let line = browser.script("return document.querySelector('#accept').textContent")?;
    let key = line.as_str().and_then(|line| line.rsplit_once(' '));
    let (_, key) = key.context("no key")?;
    for number in 0..2 {
        central.enrol(number, "alice", key)?;
    }
    eventually("the page knows the key", || {
        let login = central.http.get("/login", None);
        login.body.contains(key.split(':').next().unwrap())
    })?;
    browser.go(&format!("{ORIGIN}/login"))?;
    browser.expect("Log in with a passkey");
    fits(&browser)?;
    is_named(&browser)?;
    browser.press("#login button")?;
    // What the sessions have asked before anybody looked.
    browser.expect("tcp/443");
    browser.go(&format!("{ORIGIN}/machines"))?;
    browser.expect("2 there, 2 of them enforce");
    both(&browser, "machines")?;
    fits(&browser)?;
    is_named(&browser)?;

    browser.go(&format!("{ORIGIN}/"))?;
    let id = central.id(1).to_owned();
    let waits = |central: &Central<'_>| central.fleet.all[1].waits(8080);
    Machine::begin(&mut central.fleet.all[1].shell, 8080)?;
    eventually("it waits", || waits(&central))?;
    browser.expect("tcp/8080");
    both(&browser, "fleet-questions")?;
    fits(&browser)?;
    is_named(&browser)?;
    let which = browser.script(&format!(
        "const li = [...document.querySelectorAll('#questions > li')]
            .find((one) => one.dataset.id.startsWith('{id}/') && one.textContent.includes('tcp/8080'));
         location.assign(li.querySelector('a').href); return li.dataset.id"
    ))?;
    browser.expect("What a yes signs");
    both(&browser, "fleet-question")?;
    fits(&browser)?;
    is_named(&browser)?;

    // The servers go, and come back.
    for number in 0..3 {
        central.fleet.nats.kill(number);
    }
    browser.expect("not connected");
    let disabled = "return document.querySelector('button.yes').disabled";
    assert_eq!(browser.script(disabled)?, true);
    for number in 0..3 {
        central.fleet.nats.start_again(number)?;
    }
    eventually("a yes can be pressed again", || {
        browser
            .script(disabled)
            .is_ok_and(|is_disabled| is_disabled == false)
    })?;
    assert!(central.holes(1).is_empty());
    browser.press("button.yes")?;
    browser.expect("Yes, by alice");
    both(&browser, "fleet-over")?;
    assert!(
        Machine::has_reached(&mut central.fleet.all[1].shell)?,
        "{which}"
    );
    assert!(central.holes(0).is_empty());
    let answered = &central.fleet.all[1].scene.log("answered")[0];
    assert_eq!(answered["signed"]["kind"], "passkey");
    Ok(())
}
