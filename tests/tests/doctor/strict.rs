//! `strict = true`: nothing runs while a required row is open.

use guard_lab::{AGENT, Daemon, Network, Output, Tested, Unowned, eventually};
use rustix::process::Signal;

use crate::doctor::{Rows, built, detach};

const STRICT: &str = "resolvers = [\"127.0.0.1:1\"]\nstrict = true\n";

fn strict(network: &Network) -> Daemon {
    built(network).config(STRICT).start().unwrap()
}

fn run(daemon: &Daemon) -> Output {
    let run = ["run", "--policy", "asks", "--", "echo", "it ran"];
    daemon.agent(run).run().unwrap()
}

/// That it ran, or did not run because of these rows and no others.
#[track_caller]
fn ran_unless(output: &Output, open: &[&str]) {
    if open.is_empty() {
        assert_eq!(
            (output.code(), output.stdout.as_str()),
            (Some(0), "it ran\n"),
            "{output:?}"
        );
        return;
    }
    assert_eq!(
        (output.code(), output.stdout.as_str()),
        (Some(125), ""),
        "{output:?}"
    );
    assert!(output.stderr.contains("strict = true"), "{output:?}");
    for check in open {
        assert!(
            output.stderr.contains(&format!("{check}: ")),
            "{check}: {output:?}"
        );
    }
}

#[test]
fn a_command_runs_only_where_every_required_row_is_ok() -> Tested {
    let network = Network::new()?;
    let mut daemon = strict(&network);
    let rows = Rows::by_agent(&daemon);
    ran_unless(&run(&daemon), &rows.all_open());
    detach(&daemon, "connect6");
    let refused = run(&daemon);
    ran_unless(&refused, &["hook connect6"]);
    assert!(refused.stderr.contains("restart guardd"), "{refused:?}");
    assert_eq!(daemon.json(["sessions"])?, serde_json::json!([]));
    daemon.kill()?;
    daemon.start()?;
    let again = run(&daemon);
    ran_unless(&again, &Rows::by_agent(&daemon).all_open());
    assert!(!again.stderr.contains("hook connect6"), "{again:?}");
    Ok(())
}

#[test]
fn a_unit_gets_its_policy_only_where_guardd_sees_nothing_open() -> Tested {
    let network = Network::new()?;
    let mut daemon = strict(&network);
    let unit = Unowned::named(&daemon, "agent.service")?;
    detach(&daemon, "sock_create");
    let assign = ["assign", "--policy", "asks", "agent"];
    let refused = daemon.root(assign).run()?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("hook sock_create"), "{refused:?}");
    daemon.kill()?;
    daemon.start()?;
    daemon.root(assign).run()?.success()?;
    assert_eq!(daemon.json(["sessions"])?[0]["name"], "agent.service");
    drop(unit);
    Ok(())
}

#[test]
fn guardd_says_what_is_open_at_the_start_and_when_it_is_told_to_look() -> Tested {
    let network = Network::new()?;
    let mut daemon = strict(&network);
    daemon.wait_for_log("strict: every required row")?;
    detach(&daemon, "egress");
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_log("so nothing runs (strict = true)")?;
    assert!(daemon.log().contains("hook egress"), "{}", daemon.log());
    // Not what guardd puts right by itself, when it starts.
    daemon.kill()?;
    std::os::unix::fs::chown(
        daemon.cgroup_root().join("cgroup.threads"),
        Some(AGENT),
        None,
    )?;
    daemon.start()?;
    daemon.wait_for_log("root owns the cgroups")?;
    eventually("the status says so", || {
        let status = daemon.json(["status"])?;
        let warnings = status["warnings"].to_string();
        Ok(warnings.contains("so nothing runs") && warnings.contains("root owns the cgroups"))
    })?;
    std::os::unix::fs::chown(daemon.cgroup_root().join("cgroup.threads"), Some(0), None)?;
    // It looks again by itself where something was open.
    eventually("it is closed again", || {
        !run(&daemon).stderr.contains("root owns the cgroups")
    })?;
    Ok(())
}

#[test]
fn other_settings_let_it_run_and_say_nothing() -> Tested {
    let (_network, daemon) = crate::doctor::started()?;
    detach(&daemon, "hold");
    let output = run(&daemon);
    assert_eq!(
        (output.code(), output.stdout.as_str()),
        (Some(0), "it ran\n"),
        "{output:?}"
    );
    assert!(!output.stderr.contains("doctor"), "{output:?}");
    Ok(())
}
