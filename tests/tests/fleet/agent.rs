//! An agent in a session of a machine that is in a fleet: it reaches the servers' port where its policy lets it, and has nothing there.

use std::{fs, path::Path, time::Duration};

use guard_lab::{Attempt, Network, Production, Shell, Tested, V4, bins, eventually};
use serde_json::json;

use super::{
    client::Client,
    scene::{Fleet, GROUP},
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
    let [machine, person] = ["machine", "person"].map(|name| fleet.key(name));
    let (machine, person) = (machine?, person?);
    let file = |name: &str| fleet.dir().join(name).join("key.nk");
    let connect = |key: &str, name: &str| Client::new(network.dev(), &fleet.nats, key, &file(name));
    let mut of_machine = connect(&machine, "machine")?;
    for what in ["answer", "no"] {
        let subject = format!("guard.{GROUP}.{what}.{}.*", fleet.machine);
        assert_eq!(of_machine.subscribe(&subject)?, None);
    }
    for what in ["look", "who", "policies"] {
        assert_eq!(
            of_machine.subscribe(&format!("guard.{GROUP}.{what}"))?,
            None
        );
    }
    let mut of_person = connect(&person, "person")?;
    for what in ["here.*", "question.*.*", "receipt.*.*"] {
        assert_eq!(of_person.subscribe(&format!("guard.{GROUP}.{what}"))?, None);
    }

    let pending = fleet.scene.daemon.json(["pending"])?;
    let request = pending[0]["id"].as_str().unwrap().to_owned();
    let mallory = fleet.scene.key("mallory")?;
    let forged = fleet.scene.yes(&mallory, "alice", &request, &[])?;
    let of = |what: &str| format!("guard.{GROUP}.{what}.{}", fleet.machine);
    let group = |what: &str| format!("guard.{GROUP}.{what}");
    let look = json!({ "anew": true }).to_string();
    let messages = json!([
        [group("look"), look],
        [group("who"), "{}"],
        [format!("{}.{request}", of("answer")), forged.to_string()],
        [
            format!("{}.{request}", of("no")),
            json!({ "by": "alice" }).to_string()
        ],
        [of("here"), json!({ "forged": true }).to_string()],
        [group("policies"), json!({ "forged": true }).to_string()],
    ]);
    let script = fleet.scene.daemon.write_for_agents("nats.py", SCRIPT)?;
    let proofs = [
        json!({}),
        json!({ "nkey": machine }),
        json!({ "nkey": machine, "sig": "A".repeat(86) }),
        json!({ "nkey": own, "sig": "A".repeat(86) }),
        json!({ "user": person, "pass": person }),
    ];
    let program = bins::for_everybody("guard-fleet", fleet.scene.daemon.tag())?;
    let socket = fleet.scene.daemon.socket();
    let as_whom = |key: &Path| -> Tested<String> {
        let settings = fleet.dir().join("agent/fleet.toml");
        let text = format!(
            "servers = {:?}\nca = {:?}\nkey = {key:?}\ngroup = \"{GROUP}\"\n",
            fleet.nats.urls(),
            fleet.nats.ca()
        );
        fs::write(&settings, text)?;
        Ok(format!(
            "{} --config {} --socket {}",
            program.display(),
            settings.display(),
            socket.display()
        ))
    };
    let signed = fleet
        .scene
        .daemon
        .write_for_agents("signed", &forged.to_string())?;
    let words = [
        "pending --json".to_owned(),
        "machines --json".to_owned(),
        "log".to_owned(),
        format!(
            "answer {} {request} --signed {}",
            fleet.machine,
            signed.display()
        ),
    ];
    for (policy, is_let) in [("closed", false), ("asks", true)] {
        let mut agent = Shell::start(&fleet.scene.daemon, policy)?;
        for proof in &proofs {
            let line = format!(
                "python3 {} {} {}",
                script.display(),
                quoted(&proof.to_string()),
                quoted(&messages.to_string())
            );
            let said = said(&mut agent, &line)?;
            let why = match is_let {
                true => "Authorization Violation",
                false => "PermissionError",
            };
            assert!(said.contains(why), "{policy} {proof}: {said}");
            assert!(!said.contains("PONG"), "{policy} {proof}: {said}");
            assert!(!said.contains("MSG "), "{policy} {proof}: {said}");
        }
        for word in &words {
            for (name, let_why) in [("agent", "does not know the key"), ("machine", "key.nk")] {
                let line = format!("{} {word}; echo code $?", as_whom(&file(name))?);
                let said = said(&mut agent, &line)?;
                let why = match (is_let, name) {
                    (false, "agent") => "no server",
                    _ => let_why,
                };
                assert!(said.contains(why), "{policy} {name} {word}: {said}");
                assert!(!said.contains("code 0"), "{policy} {name} {word}: {said}");
                assert!(!said.contains("192.0.2"), "{policy} {name} {word}: {said}");
            }
        }
        for name in ["machine", "person"] {
            let file = file(name);
            assert!(!fs::read(&file)?.is_empty());
            let read = format!("cat {} > /dev/null 2>&1", file.display());
            assert_ne!(
                agent.status_of(&read)?,
                0,
                "{name}'s key is not the agent's"
            );
        }
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
