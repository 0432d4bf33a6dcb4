//! Restarts and ends: of units, of guardd, of both.

use std::fs;
use std::path::Path;

use guard_lab::{Json as _, Network, OPEN, Tested, V4, eventually};

use crate::services::machine::{
    USER, Unit, attempt_in, configure, has_ended, is_refused, machine, ok, pause, probe, run,
    session, sessions,
};

const NAME: &str = "agent.service";

fn service(network: &Network, rest: &str) -> Unit {
    named(NAME, network, rest)
}

fn named(name: &str, network: &Network, rest: &str) -> Unit {
    let text = format!(
        "User={USER}\nExecStartPre=+guard assign --policy asks\nExecStartPre=sleep 0.2\n\
         ExecStart=sleep 1000\n{rest}"
    );
    Unit::new(name, network, &text)
}

fn id(unit: &str) -> String {
    session(unit)["id"].as_str().unwrap().to_owned()
}

fn judged(network: &Network) -> bool {
    let open = attempt_in(NAME, network, OPEN);
    assert!(open.ok, "{open:?}");
    is_refused(&attempt_in(NAME, network, V4))
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn each_start_has_a_session_and_what_is_left_of_one_goes_on_in_it() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let unit = service(&network, "");
    assert!(unit.start(), "{}", unit.journal());
    let first = id(NAME);
    assert!(judged(&network));
    ok(&["systemctl", "restart", NAME]);
    let second = id(NAME);
    assert_ne!(first, second);
    assert_eq!(
        sessions().iter().filter(|one| one["name"] == NAME).count(),
        1
    );
    assert!(judged(&network));
    unit.stop();
    has_ended(NAME);
    drop(unit);

    const LEFT: &str = "left.service";
    let script = "ExecStart=\nExecStart=sh -c 'sleep 1000 & exec sleep 1000'\nKillMode=process";
    let unit = named(LEFT, &network, script);
    assert!(unit.start());
    let first = id(LEFT);
    let procs = "/sys/fs/cgroup/guard.slice/left.service/cgroup.procs";
    let both = || fs::read_to_string(procs).is_ok_and(|text| text.lines().count() == 2);
    eventually("both", both)?;
    ok(&["systemctl", "restart", LEFT]);
    assert_eq!(id(LEFT), first);
    unit.says("already");
    assert!(is_refused(&attempt_in(LEFT, &network, V4)));
    // Under another policy it does not go on.
    let file = "/run/systemd/system/left.service";
    let text = fs::read_to_string(file)?.replace("asks", "open");
    fs::write(file, text)?;
    crate::services::machine::reload();
    assert!(!run(&["systemctl", "restart", LEFT]).status.success());
    unit.says("another policy");
    ok(&["guard", "stop", LEFT]);
    eventually("new", || {
        run(&["systemctl", "restart", LEFT]).status.success()
    })?;
    assert_eq!(session(LEFT)["policy"], "open");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn stopping_a_session_is_a_death_that_systemd_restarts() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let unit = service(&network, "Restart=always\nRestartSec=100ms");
    assert!(unit.start());
    let first = session(NAME);
    ok(&["guard", "stop", first["id"].text()?]);
    eventually("again", || {
        sessions()
            .iter()
            .any(|one| one["name"] == NAME && one["id"] != first["id"])
    })?;
    assert_ne!(session(NAME)["pid"], first["pid"]);
    assert!(judged(&network));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_is_a_session_also_between_two_of_its_commands() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    for (to, reaches) in [(OPEN, true), (V4, false)] {
        let probe = probe(to).join(" ");
        let rest =
            format!("ExecStart=\nType=oneshot\nExecStart=true\nExecStart=true\nExecStart={probe}");
        let name = format!("oneshot-{reaches}.service");
        let unit = named(&name, &network, &rest);
        assert_eq!(unit.start(), reaches, "{}", unit.journal());
        has_ended(&name);
    }
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn what_guardd_does_not_see_is_judged_all_the_same() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let unit = service(&network, "");
    assert!(unit.start());
    let before = session(NAME);
    for how in ["KILL", "TERM"] {
        ok(&["systemctl", "kill", "-s", how, "guardd.service"]);
        assert!(judged(&network));
        pause(300);
        assert!(judged(&network));
        eventually("back", || {
            let _ = run(&["systemctl", "start", "guardd.service"]);
            run(&["guard", "status"]).status.success()
        })?;
        let after = session(NAME);
        assert_eq!(after["id"], before["id"], "{how}");
        assert_eq!(after["pid"], before["pid"], "{how}");
        assert!(judged(&network));
    }
    // Its files are lost: it is known for what it is, and its cgroup stays.
    ok(&["systemctl", "kill", "-s", "KILL", "guardd.service"]);
    let _ = fs::remove_dir_all("/run/guard/sessions");
    eventually("back", || {
        let _ = run(&["systemctl", "start", "guardd.service"]);
        run(&["guard", "status"]).status.success()
    })?;
    assert_eq!(session(NAME)["id"], before["id"]);
    assert!(Path::new("/sys/fs/cgroup/guard.slice/agent.service").is_dir());
    assert!(judged(&network));
    unit.stop();
    has_ended(NAME);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_that_starts_first_waits_for_guardd() -> Tested {
    let _one = machine();
    let (network, _production) = Network::with_production()?;
    let unit = service(&network, "");
    ok(&["systemctl", "stop", "guard.slice"]);
    let _ = run(&["systemctl", "stop", "guardd.service", "guardd.socket"]);
    assert_ne!(
        ok(&[
            "systemctl",
            "show",
            "--value",
            "-p",
            "ActiveState",
            "guardd.service"
        ]),
        "active"
    );
    assert!(unit.start(), "{}", unit.journal());
    assert!(judged(&network));
    unit.stop();
    has_ended(NAME);

    // With a guardd that does not come up the unit does not start.
    ok(&["systemctl", "stop", "guard.slice"]);
    let _ = run(&["systemctl", "stop", "guardd.service", "guardd.socket"]);
    fs::write(crate::services::machine::CONFIG, "colour = 1\n")?;
    let started = std::process::Command::new("timeout")
        .args(["40", "systemctl", "start", NAME])
        .status()?;
    assert!(!started.success());
    assert_eq!(unit.show("MainPID"), "0");
    let _ = run(&["systemctl", "stop", NAME]);
    configure("");
    Ok(())
}
