//! Owners answer for their own, root for all, and nobody inside for anything.

use guard_lab::{AGENT, ALLOWS, Attempt, Json as _, Network, Tested, V4};
use serde_json::Value;

use crate::control::{daemon, inside, shell};

const STRANGER: u32 = AGENT + 1;

#[test]
fn another_user_sees_and_answers_nothing_of_a_session() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let _shell = shell(&daemon, AGENT);
    let strangers = |args: &[&str]| daemon.user(STRANGER, args).run().unwrap();
    for list in ["sessions", "holes", "pending"] {
        let seen = daemon.user(STRANGER, [list]).json()?;
        assert_eq!(seen, Value::Array(vec![]), "{list}");
    }
    for refused in [
        &["open", V4, "--all-ports", "--session", "s1"][..],
        &["stop", "s1"],
        &["close", "h1"],
        &["approve", "r1"],
        &["deny", "r1"],
        &["explain", V4, "--session", "s1"],
    ] {
        assert_ne!(strangers(refused).code(), Some(0), "{refused:?}");
    }
    let log = strangers(&["log"]);
    assert!(!log.stdout.contains("s1"), "{}", log.stdout);
    // The owner and root do see and answer.
    daemon.user(AGENT, ["open", V4, "--all-ports"]).json()?;
    daemon.json(["close", "h1"])?;
    daemon.user(AGENT, ["stop", "s1"]).json()?;
    Ok(())
}

#[test]
fn inside_one_may_ask_and_nothing_else() -> Tested {
    let (network, _production) = Network::with_production()?;
    let daemon = daemon(&network);
    let mut shell = shell(&daemon, AGENT);
    let mut told = |args: &str| inside(&daemon, &mut shell, args);
    for verb in [
        "status",
        "sessions",
        "pending",
        "holes",
        "log",
        "open 192.0.2.10 --all-ports",
        "approve r1",
        "deny r1",
        "close --all",
        "stop s1",
        "explain 192.0.2.10",
    ] {
        let answer = told(verb);
        assert!(
            answer.contains("inside a guarded cgroup"),
            "{verb}: {answer}"
        );
        assert!(answer.contains("code=2"), "{verb}: {answer}");
    }
    let asked = told("--json request 192.0.2.10:443 --reason 'to look at photos'");
    assert!(asked.contains("\"verdict\":\"confirm\""), "{asked}");
    let denied = told("--json request 192.0.2.66:443");
    assert!(
        denied.contains("\"verdict\":\"deny\"") && denied.contains("jewels"),
        "{denied}"
    );
    let pending = daemon.user(AGENT, ["pending"]).json()?;
    assert_eq!(pending[0]["note"], "to look at photos");
    assert_eq!(pending.list()?.len(), 1);
    Ok(())
}

#[test]
fn a_session_inside_a_session_only_narrows() -> Tested {
    let (network, _production) = Network::with_production()?;
    let daemon = daemon(&network);
    daemon.write_policy("wide", ALLOWS)?;
    let mut shell = shell(&daemon, AGENT);
    let probe = daemon.program("guard-lab")?;
    let attempt = Attempt::tcp(V4, 443).args().join(" ");
    let nested = format!("run --policy wide -- {} {attempt}", probe.display());
    let answer = inside(&daemon, &mut shell, &nested);
    assert!(answer.contains("\"ok\":false"), "{answer}");
    // The inner session's request is for the same person.
    let pending = daemon.user(AGENT, ["pending"]).json()?;
    let asked = pending.list()?;
    assert!(
        asked.iter().all(|one| one["rule"] == "production"),
        "{pending}"
    );
    Ok(())
}
