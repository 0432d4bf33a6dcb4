//! Policies that change under running sessions.

use std::fs;

use guard_lab::{Attempt, Daemon, Network, Production, Shell, Unowned, V4, eventually};
use rustix::process::Signal;
use serde_json::Value;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
"#;

fn opened() -> String {
    POLICY.replace("\"confirm\"", "\"allow\"")
}

fn policy(daemon: &Daemon) -> Value {
    let status = daemon.root(["status"]).json().unwrap();
    status["policies"][0].clone()
}

/// The newest record about a policy that was refused.
fn refused(daemon: &Daemon) -> Option<Value> {
    let log = daemon.ask(["log", "--json"]).unwrap().success().unwrap();
    let records = log.json_lines().unwrap().into_iter().rev();
    let mut loads = records.filter(|one| one["kind"] == "policy-load");
    loads.find(|one| one["error"].is_string())
}

#[test]
fn a_file_that_is_saved_holds_at_once() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .start()
        .unwrap();
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    let attempt = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&attempt).unwrap());
    daemon.write_policy("asks", &opened()).unwrap();
    eventually("open", || shell.reaches(&attempt).unwrap()).unwrap();
    // As editors save: a new file beside it, renamed over the old one.
    let file = daemon.policy_dir().join("asks.toml");
    let beside = daemon.policy_dir().join(".asks.toml.swp");
    fs::write(&beside, POLICY).unwrap();
    fs::rename(&beside, &file).unwrap();
    eventually("shut", || !shell.reaches(&attempt).unwrap()).unwrap();
    // Or the old one renamed away, and a new one made.
    fs::rename(&file, daemon.policy_dir().join("asks.toml~")).unwrap();
    fs::write(&file, opened()).unwrap();
    eventually("open again", || shell.reaches(&attempt).unwrap()).unwrap();
    // Or the whole directory, as a deployment replaces it.
    let (dir, old) = (daemon.policy_dir(), daemon.dir().join("old"));
    fs::rename(&dir, &old).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(&file, POLICY).unwrap();
    eventually("shut again", || !shell.reaches(&attempt).unwrap()).unwrap();
    fs::write(&file, opened()).unwrap();
    eventually("open at last", || shell.reaches(&attempt).unwrap()).unwrap();
    eventually("at peace", || policy(&daemon)["error"].is_null()).unwrap();
}

#[test]
fn a_file_that_is_deleted_leaves_the_policy_standing() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .start()
        .unwrap();
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    fs::remove_file(daemon.policy_dir().join("asks.toml")).unwrap();
    for _ in 0..2 {
        eventually("told", || policy(&daemon)["error"].is_string()).unwrap();
        let error = policy(&daemon)["error"].to_string();
        assert!(
            error.contains("no policy") && error.contains("asks"),
            "{error}"
        );
        assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
        assert!(refused(&daemon).is_some());
        daemon.kill().unwrap();
        daemon.start().unwrap();
    }
    assert!(production.reached_at(V4, 443).unwrap().is_empty());
    let run = daemon
        .agent(["run", "--policy", "asks", "--", "true"])
        .run()
        .unwrap();
    assert_eq!(run.code(), Some(125), "{run:?}");
}

#[test]
fn a_bad_file_leaves_the_policy_standing_and_is_told_of_everywhere() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .start()
        .unwrap();
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    let bad = opened().replace("192.0.2.0/24", "192.0.2.0/33");
    let file = daemon.write_policy("asks", &bad).unwrap();
    eventually("told", || policy(&daemon)["error"].is_string()).unwrap();
    let place = format!("{} is not valid: line 8", file.display());
    let told = policy(&daemon)["error"].as_str().unwrap().to_owned();
    let record = refused(&daemon).unwrap()["error"]
        .as_str()
        .unwrap()
        .to_owned();
    for said in [told, record, daemon.log()] {
        assert!(said.contains(&place), "no {place} in {said}");
        assert!(said.contains("192.0.2.0/33"), "{said}");
    }
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    // A signal says nothing new, and a good file puts it right.
    daemon.signal(Signal::HUP).unwrap();
    daemon.wait_for_log("policies read again").unwrap();
    assert!(policy(&daemon)["error"].is_string());
    daemon.write_policy("asks", &opened()).unwrap();
    eventually("right", || policy(&daemon)["error"].is_null()).unwrap();
    assert!(shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
}

#[test]
fn a_policy_may_come_later_than_its_daemon() {
    let network = Network::new().unwrap();
    let daemon = Daemon::in_network(&network).start().unwrap();
    let run = || {
        daemon
            .agent(["run", "--policy", "asks", "--", "true"])
            .run()
            .unwrap()
    };
    let refused = run();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("asks"), "{refused:?}");
    daemon.write_policy("asks", POLICY).unwrap();
    assert_eq!(run().code(), Some(0));
}

#[test]
fn what_no_session_owns_is_judged_by_the_default_policy() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .policy("none", "version = 1\ndefault = \"deny\"\n")
        .config("default_policy = \"asks\"\n")
        .start()
        .unwrap();
    let unowned = Unowned::new(&daemon).unwrap();
    let attempts = [Attempt::tcp("198.51.100.7", 443), Attempt::tcp(V4, 443)];
    let reached = || {
        attempts
            .each_ref()
            .map(|one| unowned.attempt(one).unwrap().ok)
    };
    assert_eq!(reached(), [true, false]);
    daemon.write_policy("asks", &opened()).unwrap();
    eventually("open", || reached() == [true, true]).unwrap();
    // Another one, with the next daemon; and none.
    for (config, expected) in [
        ("default_policy = \"none\"\n", [false, false]),
        ("default_policy = \"asks\"\n", [true, true]),
        ("", [false, false]),
        ("default_policy = \"nowhere\"\n", [false, false]),
    ] {
        daemon.write_config(config).unwrap();
        daemon.stop().unwrap();
        daemon.start().unwrap();
        assert_eq!(reached(), expected, "{config}");
    }
}

#[test]
fn a_default_policy_that_went_bad_while_no_daemon_ran_still_stands() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .config("default_policy = \"asks\"\n")
        .start()
        .unwrap();
    let unowned = Unowned::new(&daemon).unwrap();
    daemon.stop().unwrap();
    let file = daemon
        .write_policy("asks", "version = 1\nnonsense\n")
        .unwrap();
    for _ in 0..2 {
        daemon.start().unwrap();
        assert!(
            unowned
                .attempt(&Attempt::tcp("198.51.100.7", 443))
                .unwrap()
                .ok
        );
        assert!(!unowned.attempt(&Attempt::tcp(V4, 443)).unwrap().ok);
        eventually("told", || policy(&daemon)["error"].is_string()).unwrap();
        daemon.stop().unwrap();
        let _ = fs::remove_file(&file);
    }
}
