//! An agent in a session of a machine that is in a fleet: it reaches the servers' port where its policy lets it, and has nothing there.
//! Nor has one on the host of the page of all machines.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use guard_lab::{Attempt, Json as _, Network, Production, Shell, Tested, V4, bins, eventually};
use serde_json::{Value, json};

use super::{
    central::{Central, hub_of, line_of, places},
    client::Client,
    scene::{Fleet, GROUP},
};
use crate::{
    console::{
        passkey::Passkey,
        scene::{HOST, ORIGIN},
    },
    signed::scene::SignedScene,
};

/// Publishes and subscribes without waiting to be let in, and prints all that comes.
const SCRIPT: &str = r#"
import json, socket, ssl, sys

raw = socket.create_connection(("127.0.0.1", 4222), 20)
while not raw.recv(1) == b"\n":
    pass
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
tls = context.wrap_socket(raw)
text = f"CONNECT {sys.argv[1]}\r\nSUB guard.> 1\r\nSUB _INBOX.> 2\r\n"
for subject, payload in json.loads(sys.argv[2]):
    text += f"PUB {subject} {len(payload)}\r\n{payload}\r\n"
tls.sendall((text + "PING\r\n").encode())
try:
    while part := tls.recv(65536):
        print(part.decode())
except OSError as error:
    print(error)
"#;

/// What a line in a session prints.
fn said(shell: &mut Shell, line: &str) -> Tested<String> {
    shell.tell(&format!(
        "printf 'said '; {{ {line}; }} 2>&1 | tr '\\r\\n' '  '; echo"
    ))?;
    Ok(shell.line_with("said ")?.trim().to_owned())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What the agent has.
struct Agent<'f, 'n> {
    fleet: &'f Fleet<'n>,
    shell: Shell,
    /// The name of its policy, and whether that lets it reach the servers.
    policy: &'f str,
    is_let: bool,
}

impl Agent<'_, '_> {
    /// Connects by hand, and publishes.
    fn tries(&mut self, script: &Path, proof: &Value, messages: &Value) -> Tested {
        let line = format!(
            "python3 {} {} {}",
            script.display(),
            quoted(&proof.to_string()),
            quoted(&messages.to_string())
        );
        let said = said(&mut self.shell, &line)?;
        let why = if self.is_let {
            "Authorization Violation"
        } else {
            "PermissionError"
        };
        let of = format!("{} {proof}: {said}", self.policy);
        assert!(said.contains(why), "{of}");
        assert!(!said.contains("PONG") && !said.contains("MSG "), "{of}");
        Ok(())
    }

    /// Types what people do, as whom the key in that one's directory is.
    fn types(&mut self, name: &str, word: &str) -> Tested {
        let fleet = self.fleet;
        let settings = fleet.dir().join("agent/fleet.toml");
        let text = format!(
            "servers = {:?}\nca = {:?}\nkey = {:?}\ngroup = \"{GROUP}\"\n",
            fleet.nats.urls(),
            fleet.nats.ca(),
            key_of(fleet, name)
        );
        fs::write(&settings, text)?;
        let line = format!(
            "{} --config {} --socket {} {word}; echo code $?",
            bins::for_everybody("guard-fleet", fleet.scene.daemon.tag())?.display(),
            settings.display(),
            fleet.scene.daemon.socket().display()
        );
        let said = said(&mut self.shell, &line)?;
        let why = match (self.is_let, name) {
            (_, "machine") => "key.nk",
            (false, _) => "no server",
            (true, _) => "does not know the key",
        };
        let of = format!("{} {name} {word}: {said}", self.policy);
        assert!(said.contains(why), "{of}");
        assert!(
            !said.contains("code 0") && !said.contains("192.0.2"),
            "{of}"
        );
        Ok(())
    }

    /// Reads somebody's key.
    fn reads_no_key_of(&mut self, name: &str) -> Tested {
        let file = key_of(self.fleet, name);
        assert!(!fs::read(&file)?.is_empty());
        let read = format!("cat {} > /dev/null 2>&1", file.display());
        let status = self.shell.status_of(&read)?;
        assert_ne!(status, 0, "{name}'s key is not the agent's");
        Ok(())
    }
}

fn key_of(fleet: &Fleet<'_>, name: &str) -> PathBuf {
    fleet.dir().join(name).join("key.nk")
}

/// A subject of the machine's group, or of the machine.
fn group(what: &str) -> String {
    format!("guard.{GROUP}.{what}")
}

fn of(fleet: &Fleet<'_>, what: &str) -> String {
    format!("{}.{}", group(what), fleet.machine)
}

#[test]
fn an_agent_reaches_the_servers_at_most_and_opens_holds_and_reads_nothing() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (mut fleet, _) = Fleet::answered(&network, 1)?;
    fleet.scene.daemon.stop()?;
    let closed = "version = 1\nname = \"closed\"\ndefault = \"deny\"\n";
    fleet.scene.daemon.write_policy("closed", closed)?;
    fleet.scene.daemon.start()?;
    fleet.is_there()?;
    let mut shell = fleet.scene.shell();
    let attempt = Attempt::tcp(V4, 443).timeout(Duration::from_secs(1));
    let is_held = |shell: &mut Shell| -> Tested<bool> {
        Ok(shell.attempt(&attempt)?.errno.as_deref() != Some("EPERM"))
    };
    // While it was looked for the machine, somebody looked.
    eventually("nobody looks", || Ok(!is_held(&mut shell)?))?;
    fleet.home("agent")?;
    let own = fleet.key("agent")?;
    let (machine, person) = (fleet.key("machine")?, fleet.key("person")?);
    let connect =
        |key: &str, name: &str| Client::new(network.dev(), &fleet.nats, key, &key_of(&fleet, name));
    let mut of_machine = connect(&machine, "machine")?;
    for what in ["answer", "no"] {
        let subject = format!("{}.*", of(&fleet, what));
        assert_eq!(of_machine.subscribe(&subject)?, None);
    }
    for what in ["look", "who", "policies"] {
        assert_eq!(of_machine.subscribe(&group(what))?, None);
    }
    let mut of_person = connect(&person, "person")?;
    for what in ["here.*", "question.*.*", "receipt.*.*"] {
        assert_eq!(of_person.subscribe(&group(what))?, None);
    }

    let pending = fleet.scene.daemon.json(["pending"])?;
    let request = pending[0]["id"].text()?.to_owned();
    let mallory = fleet.scene.key("mallory")?;
    let forged = fleet
        .scene
        .yes(&mallory, "alice", &request, &[])?
        .to_string();
    let look = json!({ "anew": true }).to_string();
    let of_request = |what: &str| format!("{}.{request}", of(&fleet, what));
    let messages = json!([
        [group("look"), look],
        [group("who"), "{}"],
        [of_request("answer"), forged],
        [of_request("no"), json!({ "by": "alice" }).to_string()],
        [of(&fleet, "here"), json!({ "forged": true }).to_string()],
        [group("policies"), json!({ "forged": true }).to_string()],
    ]);
    let script = fleet.scene.daemon.write_for_agents("nats.py", SCRIPT)?;
    let signed = fleet.scene.daemon.write_for_agents("signed", &forged)?;
    let answer = format!(
        "answer {} {request} --signed {}",
        fleet.machine,
        signed.display()
    );
    for (policy, is_let) in [("closed", false), ("asks", true)] {
        let mut agent = Agent {
            fleet: &fleet,
            shell: Shell::start(&fleet.scene.daemon, policy)?,
            policy,
            is_let,
        };
        for proof in [
            json!({}),
            json!({ "nkey": machine }),
            json!({ "nkey": machine, "sig": "A".repeat(86) }),
            json!({ "nkey": own, "sig": "A".repeat(86) }),
            json!({ "user": person, "pass": person }),
        ] {
            agent.tries(&script, &proof, &messages)?;
        }
        for word in ["pending --json", "machines --json", "log", &answer] {
            agent.types("agent", word)?;
            agent.types("machine", word)?;
        }
        agent.reads_no_key_of("machine")?;
        agent.reads_no_key_of("person")?;
    }
    // It was heard by nobody, and nothing has come of it.
    assert_eq!(of_machine.heard()?, []);
    let heard = of_person.heard()?;
    assert!(
        heard.iter().all(|one| !one.payload.contains("forged")),
        "{heard:?}"
    );
    assert!(fleet.scene.holes().is_empty());
    assert!(fleet.scene.log("answered").is_empty());
    assert!(!is_held(&mut shell)?, "nobody looks");

    // The person's own look, of the same bytes, does it.
    assert_eq!(of_person.publish(&group("look"), "", &look)?, None);
    let heard = of_machine.next()?;
    assert_eq!((heard.subject, heard.payload), (group("look"), look));
    eventually("it is held", || {
        of_person.publish(&group("look"), "", "{}")?;
        is_held(&mut shell)
    })?;
    Ok(())
}

/// As near to the page as an agent comes: a session on its host, whose policy lets it reach that.
#[test]
fn an_agent_on_the_host_of_the_page_of_all_gets_no_further_than_the_login() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let central = Central::start(&guarded, &colleague, &hub)?;
    let alice = Passkey::new("alice");
    for number in 0..2 {
        central.enrol(number, "alice", &line_of(&alice))?;
    }
    let cookie = central.log_in("alice")?;
    central.sees(&cookie, "2 there")?;
    let place = central.asked(&cookie, 1, 443)?;
    let (question, _) = central.question(&cookie, &place)?;
    let id = central.id(1);

    let scene = SignedScene::on_machine(&colleague, &format!("{:032x}", 9), "");
    let mut shell = scene.shell();
    let curl = format!("curl -s -m 20 --resolve {HOST}:127.0.0.1 {ORIGIN}");
    let mut is_so = |what: &str| -> Tested<bool> {
        let status = shell.status_of(&format!("{curl}{what}"))?;
        Ok(status == 0)
    };
    let code = |is: &str| format!("-o /dev/null -w '%{{http_code}}' | grep -qx {is}");
    let with = format!("-H 'cookie: {cookie}'");
    assert!(is_so("/login | grep -q 'Log in to guard'")?);
    for page in ["/", "/machines", &format!("/machines/{id}"), &place] {
        assert!(is_so(&format!("{page} {}", code("303")))?, "{page}");
        assert!(!is_so(&format!("{page} -L | grep -q {id}"))?, "{page}");
        let shown = format!("{page} {with} | grep -q {id}");
        assert!(is_so(&shown)?, "{page}: with the cookie all is there");
    }
    assert!(is_so(&format!("/events {}", code("303")))?);
    let hash = question["hash"].text()?;
    let no = format!("{place}/no -d question={hash} -H 'origin: {ORIGIN}'");
    let answered = || central.fleet.all[1].scene.log("answered");
    assert!(is_so(&format!("{no} {}", code("401")))?);
    assert!(answered().is_empty());
    assert!(is_so(&format!("{no} {with} {}", code("303")))?);
    assert_eq!(answered()[0]["answer"], "no", "with the cookie it is said");

    // Nor does it speak to the servers as the page does.
    let key = central.fleet.own_dir("console").join("key.nk");
    assert!(!fs::read(&key)?.is_empty());
    let read = format!("cat {} > /dev/null 2>&1", key.display());
    assert_ne!(shell.status_of(&read)?, 0, "the page's key is not its");
    Ok(())
}
