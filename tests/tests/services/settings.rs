//! Policies from guardd's settings, for what comes up without one.

use guard_lab::{Network, OPEN, Tested, V4, eventually};
use serde_json::json;

use crate::services::machine::{
    UID, USER, Unit, attempt_in, configure, has_ended, is_refused, machine, ok, run, session,
};

const RULES: &str = r#"
[[assign]]
unit = "docker-*.scope"
policy = "asks"
owner = "agent"

[[assign]]
unit = "ci-*.service"
policy = "asks"
"#;

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn scopes_and_units_get_the_policy_of_the_first_pattern() -> Tested {
    let _one = machine();
    configure(RULES);
    let (network, _production) = Network::with_production()?;
    let unit = Unit::new(
        "ci-runner.service",
        &network,
        &format!("User={USER}\nExecStart=sleep 1000"),
    );
    assert!(unit.start());
    assert_eq!(session("ci-runner.service")["uid"], 0);
    let described = || session("ci-runner.service")["command"] == json!(["ci-runner.service"]);
    eventually("described", described)?;
    assert!(attempt_in("ci-runner.service", &network, OPEN).ok);
    assert!(is_refused(&attempt_in("ci-runner.service", &network, V4)));
    drop(unit);
    has_ended("ci-runner.service");

    // As the engine makes a container's: a scope that a process is put into.
    let scope = "docker-4f1d0c.scope";
    let mut container = std::process::Command::new("systemd-run")
        .args([
            "--scope",
            "--unit=docker-4f1d0c",
            "-p",
            "Slice=guard.slice",
            "sleep",
            "1000",
        ])
        .spawn()?;
    assert_eq!(session(scope)["uid"], UID);
    assert_eq!(session(scope)["policy"], "asks");
    assert!(is_refused(&attempt_in(scope, &network, V4)));
    // guardd is killed, and another comes up meanwhile.
    ok(&["systemctl", "kill", "-s", "KILL", "guardd.service"]);
    let mut other = std::process::Command::new("systemd-run")
        .args([
            "--scope",
            "--unit=docker-77",
            "-p",
            "Slice=guard.slice",
            "sleep",
            "1000",
        ])
        .spawn()?;
    eventually("back", || {
        let _ = run(&["systemctl", "start", "guardd.service"]);
        run(&["guard", "status"]).status.success()
    })?;
    session("docker-77.scope");
    session(scope);
    ok(&["systemctl", "stop", scope, "docker-77.scope"]);
    container.wait()?;
    other.wait()?;
    has_ended(scope);

    // One that brings another policy than the settings have does not start, no matter who is faster.
    for _ in 0..3 {
        let unit = Unit::new(
            "ci-own.service",
            &network,
            &format!("User={USER}\nExecStartPre=+guard assign --policy open\nExecStart=sleep 1000"),
        );
        assert!(!unit.start());
        unit.says("another policy");
    }
    Ok(())
}
