//! What passes TLS on for a session, outside of it: nobody looks at the names that it shows.

use guard_lab::{Json as _, Running, Tested, eventually};

use super::scene::{EVIL, FORGE, Looks, SHARED, SharedAddress, WITHOUT, with};

const LOOPBACK: &str = "127.0.0.1";

/// Where the listener is.
const LOCAL: &str = r#"
[[rule]]
name = "local"
to = ["127.0.0.1"]
ports = ["tcp/443"]
action = "allow"
"#;

/// The policy with that, and without the rule that asks: no rule but that of the key is stricter than `allow`.
fn without_asking(policy: &str) -> String {
    let asks = policy.find("\n[[rule]]\nname = \"asked\"");
    let before = &policy[..asks.unwrap()];
    format!("{before}{LOCAL}")
}

/// Something that passes on what it gets to the address that both names share.
fn passes_on(scene: &SharedAddress) -> Tested<Running> {
    let mut command = scene.network.dev().command("socat");
    command.arg(format!("TCP-LISTEN:443,bind={LOOPBACK},fork,reuseaddr"));
    let running = Running::start(command.arg(format!("TCP:{SHARED}:443")))?;
    eventually("it passes on", || {
        Ok(scene.says_outside(LOOPBACK, EVIL, "whole")? == "answer")
    })?;
    Ok(running)
}

#[test]
fn a_listener_that_leads_to_where_tls_shows_a_name_is_asked_about() -> Tested {
    let scene = SharedAddress::new()?;
    let _listener = passes_on(&scene)?;
    let daemon = scene.daemon(&without_asking(WITHOUT), Looks::Proxy)?;
    let mut shell = scene.session(&daemon)?;
    let came = scene.says(&mut shell, LOOPBACK, EVIL, "whole")?;
    assert_eq!(came, "answer", "without the key the address is enough");
    daemon.write_policy("shared", &without_asking(&with()))?;
    eventually("the new policy holds", || {
        let evil = scene.says(&mut shell, SHARED, EVIL, "whole")?;
        let right = scene.says(&mut shell, SHARED, FORGE, "whole")?;
        Ok(evil != "answer" && right == "answer")
    })?;
    let before = scene.begun().0;
    for name in [EVIL, FORGE, EVIL] {
        let came = scene.says(&mut shell, LOOPBACK, name, "whole")?;
        assert_ne!(came, "answer", "{name}");
    }
    assert_eq!(scene.begun().0, before, "{}", scene.log());
    let explain = ["explain", "127.0.0.1:443", "--session", shell.session()];
    assert_eq!(daemon.json(explain)?["verdict"], "confirm");
    let pending = daemon.list(["pending"])?;
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!(pending[0]["destination"]["address"], LOOPBACK);
    assert_eq!(pending[0]["verdict"], "confirm");
    let id = pending[0]["id"].text()?.to_owned();
    daemon.root(["approve", &id]).run()?.success()?;
    let came = scene.says(&mut shell, LOOPBACK, EVIL, "whole")?;
    assert_eq!(came, "answer", "a person has said so");
    Ok(())
}
