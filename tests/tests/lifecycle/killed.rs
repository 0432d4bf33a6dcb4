//! `kill -9` at any moment.

use std::collections::HashMap;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use guard_lab::{Attempt, Daemon, Guard, Network, Production, Shell, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::lifecycle::{NEVER, OPEN, POLICY, V4, json, prepared, started};

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
            let text = format!("{POLICY}\n# {round}\n");
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
fn killed_at_any_moment_it_leaves_what_it_enforced_and_is_replaced() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut agent = Shell::start(&daemon, "asks").unwrap();
    let mut denied = Attempt::new("keep", NEVER, 443);
    agent.begin(&denied).unwrap();
    let mut known: HashMap<u64, Value> = HashMap::new();
    let mut last = 0;
    for round in 0..ROUNDS {
        disturb(&daemon, round);
        thread::sleep(Duration::from_millis(round * 19 % 301));
        daemon.kill().unwrap();
        daemon.start().unwrap();
        let status = json(&daemon, &["status"]);
        assert_eq!(status["enforcing"], true, "round {round}: {status}");
        assert_eq!(json(&daemon, &["sessions"])[0]["policy"], "asks");
        let holes = json(&daemon, &["holes"]);
        for (id, hole) in numbers(&holes).into_iter().zip(holes.as_array().unwrap()) {
            let before = known
                .entry(id)
                .or_insert_with(|| hole["destination"].clone());
            assert_eq!(*before, hole["destination"], "h{id} is another hole now");
        }
        let opened = json(
            &daemon,
            &["open", V4, "--all-ports", "--session", "s1", "--for", "2s"],
        );
        let id = numbers(&Value::Array(vec![opened]))[0];
        assert!(id > last, "h{id} after h{last}");
        last = id;
    }
    json(&daemon, &["stop", "s1"]);
    assert!(production.reached_at(NEVER, 443).unwrap().is_empty());
    // It was the guard that kept it away.
    denied = Attempt::tcp(NEVER, 443);
    assert!(denied.outside(network.dev(), guard_lab::AGENT).unwrap().ok);
}

#[test]
fn killed_while_it_takes_down_it_leaves_room_for_the_next() {
    let network = Network::new().unwrap();
    let mut daemon = prepared(&network);
    for wait in 0..12 {
        daemon.start().unwrap();
        daemon.stop().unwrap();
        let mut teardown = daemon.guardd().unwrap();
        let quiet = teardown.arg("teardown").stderr(Stdio::null());
        let mut child = quiet.spawn().unwrap();
        thread::sleep(Duration::from_millis(wait * 3));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    daemon.start().unwrap();
    assert_eq!(json(&daemon, &["status"])["enforcing"], true);
    let pins: Vec<_> = fs::read_dir(daemon.pin_dir()).unwrap().flatten().collect();
    assert_eq!(pins.len(), 1, "{pins:?}");
}

#[test]
fn killed_while_it_attaches_for_the_first_time_it_leaves_nothing_half_done() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = prepared(&network);
    let begun = Instant::now();
    daemon.start().unwrap();
    let time = begun.elapsed();
    daemon.teardown().unwrap();
    for part in 0..12 {
        let mut guardd = daemon.guardd().unwrap();
        let mut child = guardd.stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(time * part / 12);
        child.kill().unwrap();
        child.wait().unwrap();
        daemon.start().unwrap();
        assert_eq!(json(&daemon, &["status"])["enforcing"], true);
        let pins: Vec<_> = fs::read_dir(daemon.pin_dir()).unwrap().flatten().collect();
        assert_eq!(pins.len(), 1, "after {part} twelfths: {pins:?}");
        let mut shell = Shell::start(&daemon, "asks").unwrap();
        assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
        assert!(shell.reaches(&Attempt::tcp(OPEN, 443)).unwrap());
        daemon.teardown().unwrap();
        eventually("nothing is left", || !daemon.pin_dir().exists()).unwrap();
    }
}
