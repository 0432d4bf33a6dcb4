//! What is recorded is bounded, and survives guardd.

use guard_lab::{Attempt, Tested, eventually};
use serde_json::Value;

use super::{BARE, PKG, find, flows, observed, run, scene};

/// Sends a datagram to each of so many ports.
const FLOOD: &str = r#"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(1000, 1000 + int(sys.argv[1])):
    s.sendto(b"x", ("192.0.2.40", port))
print("flooded")
"#;

#[test]
fn a_flood_of_destinations_is_bounded_and_said_and_takes_nothing_from_others() -> Tested {
    let scene = scene()?;
    let flood = scene.daemon.write_for_agents("flood.py", FLOOD)?;
    let mut shell = observed(&scene.daemon)?;
    assert!(shell.reaches(&Attempt::tcp(PKG, 80))?);
    shell.tell(&format!("python3 {} 6000", flood.display()))?;
    shell.line_with("flooded")?;
    let of =
        |session: &str| -> Tested<_> { Ok(flows(&scene.daemon, &["--session", session])?.len()) };
    assert_eq!(of(shell.session())?, 4096);
    let said = scene
        .daemon
        .root(["flows", "--session", shell.session()])
        .run()?;
    assert!(
        said.stderr.contains("1905 connections are not listed"),
        "{}",
        said.stderr
    );
    // What it had reached before still counts, and so does all that others reach.
    assert!(shell.reaches(&Attempt::tcp(PKG, 80))?);
    let all = flows(&scene.daemon, &["--session", shell.session()])?;
    assert_eq!(find(&all, PKG, 80).unwrap()["connections"], 2);
    let mut other = observed(&scene.daemon)?;
    assert!(other.reaches(&Attempt::tcp(BARE, 443))?);
    assert!(other.reaches(&Attempt::udp(BARE, 443))?);
    assert_eq!(of(other.session())?, 2);
    Ok(())
}

#[test]
fn nothing_is_lost_when_guardd_is_started_again() -> Tested {
    let mut scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    let mut named = run(&scene.daemon, &["--observe", "--policy", "job", "--", "sh"])?;
    named.write("curl -s -o /dev/null http://pkg.example.com/a; echo fetched\n")?;
    named.line_with("fetched", guard_lab::PATIENCE)?;
    assert!(shell.reaches(&Attempt::tcp(BARE, 443))?);
    let host = |flows: &[Value]| find(flows, PKG, 80).unwrap()["host"].clone();
    eventually("guardd knows the name", || {
        Ok(host(&flows(&scene.daemon, &[])?) == "pkg.example.com")
    })?;
    scene.daemon.stop()?;
    // The kernel goes on counting.
    assert!(shell.reaches(&Attempt::tcp(BARE, 443))?);
    scene.daemon.start()?;
    let all = flows(&scene.daemon, &[])?;
    assert_eq!(host(&all), "pkg.example.com");
    assert_eq!(find(&all, BARE, 443).unwrap()["connections"], 2);
    // A session that ends while no guardd runs is known afterwards, too.
    scene.daemon.kill()?;
    assert!(shell.reaches(&Attempt::tcp(BARE, 443))?);
    shell.tell("exit")?;
    let id = shell.session().to_owned();
    shell.wait()?;
    scene.daemon.start()?;
    let all = flows(&scene.daemon, &["--session", &id])?;
    assert_eq!(find(&all, BARE, 443).unwrap()["connections"], 3, "{all:?}");
    assert_eq!(host(&flows(&scene.daemon, &[])?), "pkg.example.com");
    Ok(())
}
