//! What a new daemon knows of what an old one left.

use std::fs;
use std::thread;
use std::time::Duration;

use guard_lab::{
    AGENT, Attempt, Daemon, Network, PATIENCE, Production, Shell, Unowned, eventually, patience,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::lifecycle::{OPEN, POLICY, V4, json, started};

/// The records of one kind.
fn log(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let log = daemon.ask(["log", "--json"]).unwrap().success().unwrap();
    let mut records = log.json_lines().unwrap();
    records.retain(|record| record["kind"] == kind);
    records
}

#[test]
fn sessions_and_holes_are_known_to_the_next_daemon_as_to_the_last() {
    let network = Network::new().unwrap();
    let mut daemon = started(&network);
    let run = daemon.agent(["run", "--policy", "asks", "--name", "work"]);
    let _shell = Shell::run_by(&daemon, run).unwrap();
    json(
        &daemon,
        &[
            "open",
            V4,
            "--all-ports",
            "--reason",
            "a migration",
            "--connections",
            "3",
        ],
    );
    let before = (json(&daemon, &["sessions"]), json(&daemon, &["holes"]));
    assert_eq!(before.0[0]["name"], "work");
    assert_eq!(before.0[0]["uid"], AGENT);
    assert_eq!(before.1[0]["reason"], "a migration");
    for end in [Daemon::kill, Daemon::stop] {
        end(&mut daemon).unwrap();
        daemon.start().unwrap();
        let after = (json(&daemon, &["sessions"]), json(&daemon, &["holes"]));
        assert_eq!(before.0, after.0);
        assert_eq!(without_clock(&before.1), without_clock(&after.1));
    }
}

/// The calendar's time of the end is reckoned anew each time, from the kernel's clock.
fn without_clock(holes: &Value) -> Value {
    let mut holes = holes.clone();
    let ends = holes[0]["expires_at"].take();
    assert!(ends.is_string(), "{ends}");
    holes
}

#[test]
fn an_adopted_policy_can_be_changed_and_a_brought_one_stays() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let file = daemon.dir().join("own.toml");
    fs::write(&file, POLICY.replace("name = \"asks\"", "name = \"own\"")).unwrap();
    let mut named = Shell::start(&daemon, "asks").unwrap();
    let mut own = Shell::start(&daemon, file.to_str().unwrap()).unwrap();
    daemon.kill().unwrap();
    fs::write(&file, "version = 1\ndefault = \"allow\"\n").unwrap();
    daemon.start().unwrap();
    assert_eq!(json(&daemon, &["sessions"])[1]["policy"], "own");
    let attempt = Attempt::tcp(V4, 443);
    assert!(!named.reaches(&attempt).unwrap());
    daemon
        .write_policy("asks", &POLICY.replace("\"confirm\"", "\"allow\""))
        .unwrap();
    daemon.signal(Signal::HUP).unwrap();
    eventually("the new policy is in force", || {
        named.reaches(&attempt).unwrap()
    })
    .unwrap();
    assert!(!own.reaches(&attempt).unwrap());
}

#[test]
fn a_policy_that_changed_while_no_daemon_ran_holds_when_one_does() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    daemon.stop().unwrap();
    daemon
        .write_policy("asks", &POLICY.replace("\"confirm\"", "\"allow\""))
        .unwrap();
    daemon.start().unwrap();
    let attempt = Attempt::tcp(V4, 443);
    eventually("the new policy is in force", || {
        shell.reaches(&attempt).unwrap()
    })
    .unwrap();
}

#[test]
fn a_hole_that_was_adopted_ends_and_is_cut() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    json(&daemon, &["open", V4, "--all-ports", "--for", "15s"]);
    shell.begin(&Attempt::new("hold-open", V4, 443)).unwrap();
    shell.line_with("echo").unwrap();
    daemon.kill().unwrap();
    daemon.start().unwrap();
    let report = shell.line_with("\"ok\"").unwrap();
    assert!(report.contains("ECONNABORTED"), "{report}");
    eventually("its end is written down", || {
        log(&daemon, "hole-close")
            .iter()
            .any(|end| end["hole"] == "h1")
    })
    .unwrap();
}

#[test]
fn a_hole_that_ended_while_no_daemon_ran_is_cut_by_the_next_one() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    json(&daemon, &["open", V4, "--all-ports", "--for", "10s"]);
    shell
        .begin(&Attempt::new("hold-open", V4, 443).timeout(patience(PATIENCE)))
        .unwrap();
    shell.line_with("echo").unwrap();
    daemon.kill().unwrap();
    // Nobody is there who would say that it has ended.
    thread::sleep(Duration::from_secs(10));
    daemon.start().unwrap();
    let report = shell.line_with("\"ok\"").unwrap();
    assert!(report.contains("ECONNABORTED"), "{report}");
    assert_eq!(json(&daemon, &["holes"]), Value::Array(Vec::new()));
    assert_eq!(log(&daemon, "hole-close")[0]["hole"], "h1");
}

#[test]
fn a_session_that_ended_while_no_daemon_ran_is_cleared_away() {
    let network = Network::new().unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    json(&daemon, &["open", V4, "--all-ports"]);
    daemon.kill().unwrap();
    shell.tell("exit 3").unwrap();
    assert_eq!(shell.wait().unwrap(), 3);
    daemon.start().unwrap();
    eventually("the session has ended", || {
        json(&daemon, &["sessions"]) == Value::Array(Vec::new())
    })
    .unwrap();
    assert_eq!(json(&daemon, &["holes"]), Value::Array(Vec::new()));
    assert!(!daemon.cgroup_root().join("s1").exists());
    assert_eq!(log(&daemon, "session-end")[0]["session"], "s1");
    let next = Shell::start(&daemon, "asks").unwrap();
    assert_eq!(next.session(), "s2");
}

#[test]
fn what_its_daemon_was_killed_over_is_in_the_trail_all_the_same() {
    let network = Network::new().unwrap();
    let mut daemon = started(&network);
    let _shell = Shell::start(&daemon, "asks").unwrap();
    json(&daemon, &["open", V4, "--ports", "tcp/443"]);
    daemon.kill().unwrap();
    // As it is between the kernel and the files.
    for kept in ["sessions/s1.json", "holes/h1.json"] {
        fs::remove_file(daemon.state_dir().join(kept)).unwrap();
    }
    daemon.start().unwrap();
    for kind in ["session-start", "hole-open"] {
        let records = log(&daemon, kind);
        let last = records.last().unwrap();
        assert_eq!(last["session"], "s1", "{last}");
        assert_eq!(last["noticed"], "after a restart of guardd", "{last}");
    }
    let hole = log(&daemon, "hole-open").pop().unwrap();
    assert_eq!(hole["hole"], "h1");
    assert_eq!(hole["ports"], "tcp/443");
    // Whose it was nobody knows, so it is root's.
    let agents = daemon.agent(["holes"]).json().unwrap();
    assert_eq!(agents, Value::Array(Vec::new()));
}

#[test]
fn starts_and_stops_are_in_the_trail() {
    let network = Network::new().unwrap();
    let mut daemon = started(&network);
    let _shell = Shell::start(&daemon, "asks").unwrap();
    daemon.stop().unwrap();
    daemon.start().unwrap();
    let starts = log(&daemon, "daemon-start");
    assert_eq!(starts[0]["start"], "fresh");
    assert_eq!(starts[1]["start"], "adopted");
    assert_eq!(starts[1]["sessions"], 1);
    assert_eq!(log(&daemon, "daemon-stop")[0]["sessions"], 1);
}

#[test]
fn the_default_policy_is_adopted_with_the_rest() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .config("default_policy = \"asks\"\n")
        .start()
        .unwrap();
    let unowned = Unowned::new(&daemon).unwrap();
    for _ in 0..2 {
        assert!(unowned.attempt(&Attempt::tcp(OPEN, 443)).unwrap().ok);
        assert!(!unowned.attempt(&Attempt::tcp(V4, 443)).unwrap().ok);
        daemon.kill().unwrap();
        assert!(unowned.attempt(&Attempt::tcp(OPEN, 443)).unwrap().ok);
        assert!(!unowned.attempt(&Attempt::tcp(V4, 443)).unwrap().ok);
        daemon.start().unwrap();
    }
}

#[test]
fn an_answer_of_no_holds_for_its_time_whoever_runs() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    let attempt = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&attempt).unwrap());
    eventually("it is asked", || !pending(&daemon).is_empty()).unwrap();
    json(&daemon, &["deny", "r1", "--for", "1h"]);
    assert!(pending(&daemon).is_empty());
    for end in [Daemon::kill, Daemon::stop] {
        end(&mut daemon).unwrap();
        daemon.start().unwrap();
        // Another destination is asked about, so that this is not the silence of a daemon that hears nothing.
        assert!(!shell.reaches(&attempt).unwrap());
        assert!(!shell.reaches(&Attempt::tcp("192.0.2.77", 443)).unwrap());
        eventually("the other is asked about", || !pending(&daemon).is_empty()).unwrap();
        let asked = pending(&daemon);
        assert!(
            asked.iter().all(|one| one["destination"]["address"] != V4),
            "{asked:?}"
        );
    }
    assert!(production.reached_at(V4, 443).unwrap().is_empty());
}

fn pending(daemon: &Daemon) -> Vec<Value> {
    json(daemon, &["pending"]).as_array().unwrap().clone()
}
