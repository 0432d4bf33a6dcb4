//! Policies that change under running sessions.

use std::fs;

use guard_lab::{
    Attempt, CONFIRMS, Daemon, Json as _, Network, Production, Shell, Tested, Unowned, V4,
    eventually,
};
use rustix::process::Signal;
use serde_json::Value;

fn opened() -> String {
    CONFIRMS.replace("\"confirm\"", "\"allow\"")
}

fn asks() -> Tested<(Production, Daemon, Shell)> {
    let (network, production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network).policy("asks", CONFIRMS);
    let daemon = daemon.start()?;
    let shell = Shell::start(&daemon, "asks")?;
    Ok((production, daemon, shell))
}

fn policy(daemon: &Daemon) -> Value {
    let status = daemon.json(["status"]).unwrap();
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
fn a_file_that_is_saved_holds_at_once() -> Tested {
    let (_production, daemon, mut shell) = asks()?;
    let attempt = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&attempt)?);
    daemon.write_policy("asks", &opened())?;
    eventually("open", || Ok(shell.reaches(&attempt)?))?;
    // As editors save: a new file beside it, renamed over the old one.
    let file = daemon.policy_dir().join("asks.toml");
    let beside = daemon.policy_dir().join(".asks.toml.swp");
    fs::write(&beside, CONFIRMS)?;
    fs::rename(&beside, &file)?;
    eventually("shut", || Ok(!shell.reaches(&attempt)?))?;
    // Or the old one renamed away, and a new one made.
    fs::rename(&file, daemon.policy_dir().join("asks.toml~"))?;
    fs::write(&file, opened())?;
    eventually("open again", || Ok(shell.reaches(&attempt)?))?;
    // Or the whole directory, as a deployment replaces it.
    let (dir, old) = (daemon.policy_dir(), daemon.dir().join("old"));
    fs::rename(&dir, &old)?;
    fs::create_dir(&dir)?;
    fs::write(&file, CONFIRMS)?;
    eventually("shut again", || Ok(!shell.reaches(&attempt)?))?;
    fs::write(&file, opened())?;
    eventually("open at last", || Ok(shell.reaches(&attempt)?))?;
    eventually("at peace", || policy(&daemon)["error"].is_null())?;
    Ok(())
}

/// Its session goes on: it did not go with one.
#[test]
fn who_answers_what_a_policy_has_settled_is_told_which_did() -> Tested {
    let (_production, daemon, mut shell) = asks()?;
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    let asked = daemon.list(["pending"])?;
    assert_eq!(asked.len(), 1, "{asked:?}");
    daemon.write_policy("asks", &opened())?;
    eventually("settled", || Ok(daemon.list(["pending"])?.is_empty()))?;
    let settled = daemon.audited("settled")?;
    assert_eq!(settled[0]["request"], asked[0]["id"]);
    assert_eq!(settled[0]["verdict"], "allow");
    for verb in ["approve", "deny"] {
        let late = daemon.ask([verb, asked[0]["id"].text()?])?;
        assert_eq!(late.code(), Some(2), "{late:?}");
        for said in ["waits no more", "allowed it", "before anybody had answered"] {
            assert!(late.stderr.contains(said), "{}", late.stderr);
        }
        assert!(!late.stderr.contains("went with"), "{}", late.stderr);
    }
    Ok(())
}

#[test]
fn a_file_that_is_deleted_leaves_the_policy_standing() -> Tested {
    let (production, mut daemon, mut shell) = asks()?;
    fs::remove_file(daemon.policy_dir().join("asks.toml"))?;
    for _ in 0..2 {
        eventually("told", || policy(&daemon)["error"].is_string())?;
        let error = policy(&daemon)["error"].to_string();
        assert!(
            error.contains("no policy") && error.contains("asks"),
            "{error}"
        );
        assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
        assert!(refused(&daemon).is_some());
        daemon.kill()?;
        daemon.start()?;
    }
    assert!(production.reached_at(V4, 443)?.is_empty());
    let run = daemon
        .agent(["run", "--policy", "asks", "--", "true"])
        .run()?;
    assert_eq!(run.code(), Some(125), "{run:?}");
    Ok(())
}

#[test]
fn a_bad_file_leaves_the_policy_standing_and_is_told_of_everywhere() -> Tested {
    let (_production, daemon, mut shell) = asks()?;
    let named = opened().replace("version = 1", "version = 1\nname = \"asks\"");
    let bad = named.replace("192.0.2.0/24", "192.0.2.0/33");
    let file = daemon.write_policy("asks", &bad)?;
    eventually("told", || policy(&daemon)["error"].is_string())?;
    let place = format!("{} is not valid: line 8", file.display());
    let told = policy(&daemon)["error"].text()?.to_owned();
    let record = refused(&daemon).unwrap()["error"].text()?.to_owned();
    for said in [told, record, daemon.log()] {
        assert!(said.contains(&place), "no {place} in {said}");
        assert!(said.contains("192.0.2.0/33"), "{said}");
    }
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    // A signal says nothing new, and a good file puts it right.
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_log("policies read again")?;
    assert!(policy(&daemon)["error"].is_string());
    daemon.write_policy("asks", &opened())?;
    eventually("right", || policy(&daemon)["error"].is_null())?;
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    Ok(())
}

#[test]
fn a_policy_may_come_later_than_its_daemon() -> Tested {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network).start()?;
    let run = || {
        daemon
            .agent(["run", "--policy", "asks", "--", "true"])
            .run()
            .unwrap()
    };
    let refused = run();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("asks"), "{refused:?}");
    daemon.write_policy("asks", CONFIRMS)?;
    assert_eq!(run().code(), Some(0));
    Ok(())
}

#[test]
fn what_no_session_owns_is_judged_by_the_default_policy() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", CONFIRMS)
        .policy("none", "version = 1\ndefault = \"deny\"\n")
        .config("default_policy = \"asks\"\n")
        .start()?;
    let unowned = Unowned::new(&daemon)?;
    let attempts = [Attempt::tcp("198.51.100.7", 443), Attempt::tcp(V4, 443)];
    let reached = || {
        attempts
            .each_ref()
            .map(|one| unowned.attempt(one).unwrap().ok)
    };
    assert_eq!(reached(), [true, false]);
    daemon.write_policy("asks", &opened())?;
    eventually("open", || reached() == [true, true])?;
    // Another one, with the next daemon; and none.
    for (config, expected) in [
        ("default_policy = \"none\"\n", [false, false]),
        ("default_policy = \"asks\"\n", [true, true]),
        ("", [false, false]),
        ("default_policy = \"nowhere\"\n", [false, false]),
    ] {
        daemon.write_config(config)?;
        daemon.stop()?;
        daemon.start()?;
        assert_eq!(reached(), expected, "{config}");
    }
    Ok(())
}

#[test]
fn a_default_policy_that_went_bad_while_no_daemon_ran_still_stands() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", CONFIRMS)
        .config("default_policy = \"asks\"\n")
        .start()?;
    let unowned = Unowned::new(&daemon)?;
    daemon.stop()?;
    let file = daemon.write_policy("asks", "version = 1\nnonsense\n")?;
    for _ in 0..2 {
        daemon.start()?;
        assert!(unowned.attempt(&Attempt::tcp("198.51.100.7", 443))?.ok);
        assert!(!unowned.attempt(&Attempt::tcp(V4, 443))?.ok);
        eventually("told", || policy(&daemon)["error"].is_string())?;
        daemon.stop()?;
        let _ = fs::remove_file(&file);
    }
    Ok(())
}
