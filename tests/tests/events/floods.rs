//! Whoever floods guardd from inside pays alone, however many sessions are inside.

use std::fs;

use guard_lab::{Attempt, Daemon, Network, PATIENCE, Running, Shell, Tested, eventually};
use serde_json::Value;

use super::{NEVER, started, stats};

const FLOOD: &str = include_str!("flood.py");
const PYTHON: &str = "/usr/bin/python3";
/// What the agent brings.
const INNER: &str = "version = 1\nname = \"inner\"\ndefault = \"allow\"\n";

/// A session that floods, and those inside it.
fn flood(daemon: &Daemon, role: &str, many: usize) -> Running {
    let guard = daemon.program("guard").unwrap();
    let inner = daemon.write_for_agents("inner", INNER).unwrap();
    let script = daemon.dir().join("flood.py");
    fs::write(&script, FLOOD).unwrap();
    let run = daemon.agent(["run", "--policy", "asks", "--", PYTHON]);
    let run = run.args([&script]).args([role, &many.to_string()]);
    run.args([guard, inner]).spawn().unwrap()
}

/// What the audit log says was denied to a session.
fn denied(daemon: &Daemon, session: &str) -> Vec<Value> {
    let trail = fs::read_to_string(daemon.audit()).unwrap();
    let records = trail
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let is_its = |record: &Value| record["kind"] == "denied" && record["session"] == session;
    records.filter(is_its).collect()
}

/// So many destinations that are denied, one after the other.
fn is_denied(shell: &mut Shell, times: u16) -> Tested {
    for port in 1..=times {
        assert!(!shell.reaches(&Attempt::tcp(NEVER, port))?);
    }
    Ok(())
}

#[test]
fn sessions_inside_one_have_one_share_of_the_trail() -> Tested {
    const INSIDE: usize = 8;
    let network = Network::new()?;
    let daemon = started(&network);
    let mut quiet = Shell::start(&daemon, "asks")?;
    let mut loud = flood(&daemon, "refusals", INSIDE);
    loud.line_with("done", PATIENCE)?;
    is_denied(&mut quiet, 10)?;
    eventually("another's are in the audit log", || {
        denied(&daemon, "s1").len() == 10
    })?;

    let inside: Vec<_> = (0..INSIDE).map(|at| format!("s{}", at + 3)).collect();
    let mut all = 0;
    for session in &inside {
        let told = stats(&daemon, session);
        assert_eq!(told.denied, 200, "{session}");
        assert_eq!(told.denied, told.reported + told.summed_up + told.lost);
        eventually(&format!("{session} says that it lacks some"), || {
            denied(&daemon, session)
                .iter()
                .any(|one| one["last"] == true)
        })?;
        all += denied(&daemon, session).len();
    }
    // Each of them alone may have 60 at once, and five a second together is no more than that in any time that this takes.
    assert!(all < 30 * INSIDE, "{all}");
    daemon.ask(["stop", "s2"])?.success()?;
    Ok(())
}
