//! What goes another way than the plain one: to the proxy, by a listener that leads elsewhere, by MPTCP, inside a session.

use std::fs;

use guard_lab::{ALLOWS, Attempt, PATIENCE, Running, Tested, bins, eventually};
use serde_json::Value;

use super::{BARE, INDEX, PKG, READ, find, flows, observed, scene};

#[test]
fn what_is_read_through_the_proxy_is_listed_as_what_was_asked_for() -> Tested {
    let scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    let fetch = format!("curl -s -m 20 -o /dev/null http://{READ}/a");
    assert_eq!(shell.status_of(&fetch)?, 0);
    let listed = || flows(&scene.daemon, &[]);
    eventually("its bytes are counted", || {
        let all = listed()?;
        let counts = |flow: &Value, bytes| flow[bytes].as_u64() > Some(0);
        let is_counted = |flow| counts(flow, "bytes_sent") && counts(flow, "bytes_received");
        Ok(find(&all, READ, 80).is_some_and(is_counted))
    })?;
    let all = listed()?;
    let flow = find(&all, READ, 80).unwrap();
    assert_eq!(
        (&flow["verdict"], &flow["rule"]),
        (&"read-only".into(), &"reads".into())
    );
    assert_eq!(flow["program"], "curl");
    // The proxy's own port is nobody's destination.
    let is_local = |flow: &Value| flow["address"] == "127.0.0.1";
    assert!(!all.iter().any(is_local), "{all:?}");
    let text = scene
        .daemon
        .agent(["suggest", "--from-flows"])
        .run()?
        .stdout;
    assert!(text.contains("action = \"read-only\""), "{text}");
    Ok(())
}

#[test]
fn mptcp_is_listed_too() -> Tested {
    let scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    assert!(shell.reaches(&Attempt::new("mptcp", BARE, 8080))?);
    let all = flows(&scene.daemon, &[])?;
    let flow = find(&all, BARE, 8080).unwrap();
    assert_eq!(
        (&flow["connections"], &flow["program"]),
        (&1.into(), &Value::Null)
    );
    Ok(())
}

#[test]
fn what_is_inside_a_session_is_listed_with_it_and_kept_when_it_has_ended() -> Tested {
    let scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    let id = shell.session().to_owned();
    assert!(shell.reaches(&Attempt::tcp(PKG, 80))?);
    let open = ALLOWS;
    let open = scene.daemon.write_for_agents("open.toml", open)?;
    let guard = bins::for_everybody("guard", scene.daemon.tag())?;
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let run = format!(
        "{} run -q --policy {} -- {} probe tcp {INDEX} 443",
        guard.display(),
        open.display(),
        probe.display()
    );
    shell.tell(&run)?;
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    let sessions = |id: &str| -> Tested<_> {
        let all = flows(&scene.daemon, &["--session", id])?;
        let of: Vec<_> = all
            .iter()
            .map(|flow| flow["session"].as_str().unwrap().to_owned())
            .collect();
        Ok(of)
    };
    let all = sessions(&id)?;
    assert_eq!(all.len(), 2, "{all:?}");
    let inner = all.iter().find(|one| **one != id).unwrap();
    assert_eq!(sessions(inner)?, [inner.as_str()]);
    shell.tell("exit")?;
    shell.wait()?;
    eventually("both have ended", || {
        let live = scene.daemon.ask(["sessions", "--json"])?;
        Ok(live.json()? == serde_json::json!([]))
    })?;
    assert_eq!(sessions(&id)?.len(), 2);
    let unknown = scene.daemon.agent(["flows", "--session", "s99"]).run()?;
    assert_eq!(unknown.code(), Some(2));
    Ok(())
}

/// Sends to an address that was made up for another one, and then to that from the same socket.
const MADE_UP: &str = r#"
import socket, struct, sys
ODD, ALL = 0x9e3779b97f4a7c15, (1 << 64) - 1
second, first = sys.argv[1:]
halves = lambda address: struct.unpack("<4I", socket.inet_pton(socket.AF_INET6, address))
(a, b, c, d), (e, f, _, _) = halves(second), halves(first)
low = ((c << 32 | d) + ((a << 32 | b) - (e << 32 | f)) * ODD) & ALL
first = socket.inet_ntop(socket.AF_INET6, struct.pack("<4I", e, f, low >> 32, low & 0xffffffff))
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for to in first, second:
    sock.sendto(b"x", (to, 9999))
print("sent", first, flush=True)
"#;

/// What is kept of a socket's last destination is shorter than one.
#[test]
fn a_destination_is_listed_whatever_was_sent_to_before() -> Tested {
    const SECOND: &str = "2001:db8:66::bad";
    let scene = scene()?;
    let script = scene.daemon.write_for_agents("made_up.py", MADE_UP)?;
    let mut shell = observed(&scene.daemon)?;
    let line = format!("python3 {} {SECOND} 2001:db8:7::", script.display());
    shell.tell(&line)?;
    let sent = shell.line_with("sent ")?;
    let first = sent.trim().trim_start_matches("sent ").to_owned();
    let all = flows(&scene.daemon, &[])?;
    for to in [&*first, SECOND] {
        assert!(find(&all, to, 9999).is_some(), "{to}: {all:?}");
    }
    Ok(())
}

/// To the kernel that is no connection of its own making.
#[test]
fn a_connection_that_both_ends_begin_at_once_is_listed() -> Tested {
    const PEER: &str = "2001:db8:8000::5";
    let scene = scene()?;
    // Production's kernel says nothing of it.
    let mut silent = scene.network.prod().command("ip");
    silent.args(["-6", "route", "add", "blackhole", PEER]);
    assert!(silent.status()?.success());
    let server = scene.daemon.dir().join("at_once.py");
    fs::write(&server, include_str!("at_once.py"))?;
    let mut server = Running::start(
        scene
            .network
            .prod()
            .command("/usr/bin/python3")
            .arg(server)
            .args(["dev0", PEER]),
    )?;
    server.line_with("listening", PATIENCE)?;
    let mut shell = observed(&scene.daemon)?;
    let client = format!(
        "python3 -c 'import socket; s = socket.create_connection((\"{PEER}\", 9999)); s.sendall(b\"this\"); input()'"
    );
    shell.tell(&client)?;
    server.line_with("heard this", PATIENCE)?;
    let all = flows(&scene.daemon, &[])?;
    assert!(find(&all, PEER, 9999).is_some(), "{all:?}");
    Ok(())
}
