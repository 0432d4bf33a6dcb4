//! `kill -9` at any moment.

use std::collections::HashMap;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use guard_lab::{
    ASKS, Attempt, Daemon, Guard, Json as _, NEVER, Network, OPEN, Shell, Tested, V4, eventually,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::lifecycle::{prepared, started};

const ROUNDS: u64 = 16;

/// Has guardd do something, and does not wait for that.
fn disturb(daemon: &Daemon, round: u64) {
    let to = format!("192.0.2.{}", 100 + round);
    let start = |call: Guard<'_>| {
        let mut command = call.command().unwrap();
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().unwrap()
    };
    let mut child = match round % 4 {
        0 => start(daemon.root(["open", &to, "--all-ports", "--session", "s1"])),
        1 => start(daemon.root(["close", "--all"])),
        // Not root's: where guardd is killed first, root's would run a guardd of its own for that long.
        2 => start(daemon.agent(["run", "--policy", "asks", "--", "true"])),
        _ => {
            let text = format!("{ASKS}\n# {round}\n");
            daemon.write_policy("asks", &text).unwrap();
            daemon.signal(Signal::HUP).unwrap();
            return;
        }
    };
    // Whether it is answered is not the question here.
    thread::spawn(move || child.wait());
}

/// The numbers in the ids of a list.
fn numbers(list: &Value) -> Vec<u64> {
    let ids = list.as_array().unwrap().iter();
    ids.map(|one| one["id"].as_str().unwrap()[1..].parse().unwrap())
        .collect()
}

#[test]
fn killed_at_any_moment_it_leaves_what_it_enforced_and_is_replaced() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut agent = Shell::start(&daemon, "asks")?;
    let mut denied = Attempt::new("keep", NEVER, 443);
    agent.begin(&denied)?;
    let mut known: HashMap<u64, Value> = HashMap::new();
    let mut last = 0;
    for round in 0..ROUNDS {
        disturb(&daemon, round);
        thread::sleep(Duration::from_millis(round * 19 % 301));
        daemon.kill()?;
        daemon.start()?;
        let status = daemon.json(["status"])?;
        assert_eq!(status["enforcing"], true, "round {round}: {status}");
        assert_eq!(daemon.json(["sessions"])?[0]["policy"], "asks");
        let holes = daemon.json(["holes"])?;
        for (id, hole) in numbers(&holes).into_iter().zip(holes.list()?) {
            let before = known
                .entry(id)
                .or_insert_with(|| hole["destination"].clone());
            assert_eq!(*before, hole["destination"], "h{id} is another hole now");
        }
        let opened = daemon.json(["open", V4, "--all-ports", "--session", "s1", "--for", "2s"])?;
        let id = numbers(&Value::Array(vec![opened]))[0];
        assert!(id > last, "h{id} after h{last}");
        last = id;
    }
    daemon.json(["stop", "s1"])?;
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    // It was the guard that kept it away.
    denied = Attempt::tcp(NEVER, 443);
    assert!(denied.outside(network.dev(), guard_lab::AGENT)?.ok);
    Ok(())
}

#[test]
fn killed_while_it_takes_down_it_leaves_room_for_the_next() -> Tested {
    let network = Network::new()?;
    let mut daemon = prepared(&network);
    for wait in 0..12 {
        daemon.start()?;
        daemon.stop()?;
        let mut teardown = daemon.guardd()?;
        let quiet = teardown.arg("teardown").stderr(Stdio::null());
        let mut child = quiet.spawn()?;
        thread::sleep(Duration::from_millis(wait * 3));
        child.kill()?;
        child.wait()?;
    }
    daemon.start()?;
    assert_eq!(daemon.json(["status"])?["enforcing"], true);
    let pins: Vec<_> = fs::read_dir(daemon.pin_dir())?.flatten().collect();
    assert_eq!(pins.len(), 1, "{pins:?}");
    Ok(())
}

#[test]
fn killed_while_it_attaches_for_the_first_time_it_leaves_nothing_half_done() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = prepared(&network);
    let begun = Instant::now();
    daemon.start()?;
    let time = begun.elapsed();
    daemon.teardown()?;
    for part in 0..12 {
        let mut guardd = daemon.guardd()?;
        let mut child = guardd.stderr(Stdio::null()).spawn()?;
        thread::sleep(time * part / 12);
        child.kill()?;
        child.wait()?;
        daemon.start()?;
        assert_eq!(daemon.json(["status"])?["enforcing"], true);
        let pins: Vec<_> = fs::read_dir(daemon.pin_dir())?.flatten().collect();
        assert_eq!(pins.len(), 1, "after {part} twelfths: {pins:?}");
        let mut shell = Shell::start(&daemon, "asks")?;
        assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
        assert!(shell.reaches(&Attempt::tcp(OPEN, 443))?);
        daemon.teardown()?;
        eventually("nothing is left", || !daemon.pin_dir().exists())?;
    }
    Ok(())
}
