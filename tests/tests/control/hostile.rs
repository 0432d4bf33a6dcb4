//! Nonsense, floods and peers that stop reading.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use guard_lab::{Daemon, Network, PATIENCE, Tested, eventually};

use crate::control::Wire;

const ASKS: &str = include_str!("asks.py");

/// Whether the daemon still answers somebody else.
fn answers(daemon: &Daemon) -> bool {
    let status = Wire::open(daemon).call(r#"{"method":"org.guardd.Control.Status"}"#);
    status["parameters"]["enforcing"] == true
}

#[test]
fn what_is_no_call_is_answered_and_the_connection_goes_on() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    let mut wire = Wire::open(&daemon);
    let deep = "[".repeat(60_000);
    for (frame, error) in [
        ("", "org.varlink.service.InvalidParameter"),
        ("\u{fffd}", "org.varlink.service.InvalidParameter"),
        (&deep, "org.varlink.service.InvalidParameter"),
        (
            r#"{"method":"org.guardd.Control.Detach"}"#,
            "org.varlink.service.MethodNotFound",
        ),
        (
            r#"{"method":"com.example.Run"}"#,
            "org.varlink.service.InterfaceNotFound",
        ),
        (
            r#"{"method":"org.guardd.Control.Stop","parameters":{"session":"s1","now":1}}"#,
            "org.varlink.service.InvalidParameter",
        ),
        (
            r#"{"method":"org.guardd.Control.Log"}"#,
            "org.varlink.service.ExpectedMore",
        ),
        (
            r#"{"method":"org.guardd.Control.Stop","parameters":{"session":"s1"}}"#,
            "org.guardd.Control.NotFound",
        ),
    ] {
        assert_eq!(wire.call(frame)["error"], error, "{frame:.80}");
    }
    assert!(answers(&daemon));
    Ok(())
}

#[test]
fn who_asks_without_end_from_inside_keeps_nobody_else_waiting() -> Tested {
    const MANY: usize = 10;
    let network = Network::new()?;
    let daemon = super::daemon(&network);
    let run = daemon.agent(["run", "--policy", "asks", "--", "/usr/bin/python3", "-c"]);
    let mut session = run.args([ASKS, &MANY.to_string()]).spawn()?;
    session.line_with("asked", PATIENCE)?;
    assert!(answers(&daemon));
    let mut answered = || {
        session.write("how many\n").unwrap();
        let line = session.line_with("answered", PATIENCE).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    // Without turns nobody else's comes before all of these.
    let before = answered();
    assert!(before < MANY / 2, "{before}");
    eventually("all of them are answered", || answered() == MANY)?;
    Ok(())
}

#[test]
fn a_frame_that_is_too_long_ends_its_own_connection_only() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    let mut wire = Wire::open(&daemon);
    wire.0.write_all(&vec![b'x'; 65_536])?;
    let answer = wire.answer().unwrap();
    assert_eq!(answer["error"], "org.guardd.Control.Invalid");
    assert!(wire.answer().is_none());
    assert!(answers(&daemon));
    Ok(())
}

/// Opens as many, says how many were answered, how many were told that they are too many, and whether one is answered when
/// these have ended.
const MANY: &str = r#"
import os, socket, time
def answer(wire):
    wire.settimeout(60)
    try:
        wire.sendall(b'{"method":"org.guardd.Control.Why"}\0')
    except BrokenPipeError:
        pass
    try:
        return wire.recv(4096)
    except OSError:
        return b""
def turned_away(said):
    return said.startswith(b'{"error":') and b"one connection too many" in said
def answered(said):
    return said.startswith(b'{"parameters":')
def wire():
    one = socket.socket(socket.AF_UNIX)
    one.connect(os.environ["GUARD_SOCKET"])
    return one
wires = [wire() for _ in range(100)]
said = [answer(one) for one in wires]
count = sum(map(answered, said))
told = sum(map(turned_away, said))
for one in wires: one.close()
again = False
for _ in range(100):
    again = again or answered(answer(wire()))
    time.sleep(.05)
print("answered", count, told, again)
"#;

#[test]
fn a_session_has_so_many_connections_at_once_and_no_more() -> Tested {
    let network = Network::new()?;
    let daemon = crate::control::daemon(&network);
    let socket = daemon.socket().display().to_string();
    let many = ["run", "--policy", "asks", "--", "env"];
    let run = daemon.user(1000, many);
    let run = run.args([
        format!("GUARD_SOCKET={socket}"),
        "python3".into(),
        "-c".into(),
    ]);
    let said = run.args([MANY]).run()?;
    assert!(said.stdout.contains("answered 32 68 True"), "{said:?}");
    assert!(answers(&daemon));
    Ok(())
}

#[test]
fn peers_that_never_read_cost_nobody_else_anything() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    let ask = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"org.guardd.Control\"}}\0";
    let deaf: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.set_nonblocking(true).unwrap();
            // Until both directions are full.
            while stream.write(ask).is_ok() {}
            stream
        })
        .collect();
    assert!(answers(&daemon));
    assert!(resident(&daemon) < 64 * 1024, "{} KiB", resident(&daemon));
    drop(deaf);
    assert!(answers(&daemon));
    Ok(())
}

/// The daemon's resident memory, in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = format!("/proc/{}/status", daemon.pid().unwrap());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}
