//! The units as they ship.

use guard_lab::{Json as _, Tested};
use std::fs;

use serde_json::Value;

use super::machine::{DropIn, Machine, USER, Unit, ok, run, show, text};

/// In the binary, as the machine may leave documents out when it installs packages.
const CLAUDE_CODE: &str = include_str!("../../../packaging/examples/claude-code.service");
const GITHUB_RUNNER: &str = include_str!("../../../packaging/examples/github-runner.conf");

const UNITS: [&str; 10] = [
    "guardd.service",
    "guardd.socket",
    "guard.slice",
    "guardd-ready.service",
    "guardd-pins.service",
    "guard-proxy.service",
    "guard-proxy.path",
    "guard-resolver.service",
    "guard-resolver.path",
    "guard-metrics.socket",
];

const TEMPLATES: [&str; 2] = ["agent@.service", "guard-metrics@.service"];

/// That systemd says nothing about these.
fn verify(scope: &str, units: &[&str]) -> Tested {
    let words = [
        "XDG_RUNTIME_DIR=/run",
        "systemd-analyze",
        "--man=no",
        scope,
        "verify",
    ];
    let output = run("env", &[&words[..], units].concat())?;
    assert!(output.status.success(), "{units:?}");
    assert_eq!(text(&output.stderr), "", "{scope} {units:?}");
    Ok(())
}

/// Those of user managers.
const USER_UNITS: [&str; 3] = [
    "guard.slice",
    "guard-refuses.service",
    "guard-notify.service",
];

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn systemd_finds_nothing_wrong_with_them() -> Tested {
    let _machine = Machine::new()?;
    verify("--system", &UNITS)?;
    verify("--system", &[&format!("agent@{USER}.service")])?;
    verify("--system", &["guard-metrics@1.service"])?;
    for unit in USER_UNITS {
        verify("--user", &[&format!("/usr/lib/systemd/user/{unit}")])?;
    }
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn no_unit_that_ships_is_left_out() -> Tested {
    let _machine = Machine::new()?;
    for (dir, known) in [
        ("system", &[&UNITS[..], &TEMPLATES].concat()),
        ("user", &USER_UNITS.to_vec()),
    ] {
        let files = ok("dpkg", &["--listfiles", "guard"])?;
        let dir = format!("/usr/lib/systemd/{dir}/");
        let shipped: Vec<_> = files
            .lines()
            .filter_map(|file| file.strip_prefix(&dir))
            .collect();
        assert_eq!(shipped.len(), known.len(), "{shipped:?}");
        assert!(
            shipped.iter().all(|unit| known.contains(unit)),
            "{shipped:?}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn systemd_finds_nothing_wrong_with_the_examples() -> Tested {
    let _machine = Machine::new()?;
    let file = "/run/claude-code.service";
    fs::write(file, CLAUDE_CODE)?;
    verify("--user", &[file])?;
    // What the runner's own script makes, as far as systemd is concerned.
    let runner = Unit::new(
        "actions.runner.owner-repo.lab.service",
        &format!("[Service]\nUser={USER}\nExecStart=/bin/sleep 600\nKillMode=process\n"),
    )?;
    let drop_in = DropIn::new(&runner.name, GITHUB_RUNNER)?;
    verify("--system", &[&runner.name])?;
    assert_eq!(show(&runner.name, "Slice")?, "guard.slice");
    // It would say so.
    drop(drop_in);
    let _bad = DropIn::new(&runner.name, &GITHUB_RUNNER.replace("Slice=", "Slize="))?;
    let output = run("systemd-analyze", &["--man=no", "verify", &runner.name])?;
    assert!(text(&output.stderr).contains("Slize"), "{output:?}");
    fs::remove_file(file)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn each_thing_that_the_sandbox_leaves_open_is_explained() -> Tested {
    let _machine = Machine::new()?;
    for unit in [
        "guardd.service",
        "guard-proxy.service",
        "guard-resolver.service",
        "guard-metrics@.service",
    ] {
        each_is_explained(unit)?;
    }
    Ok(())
}

fn each_is_explained(unit: &str) -> Tested {
    let text = fs::read_to_string(format!("/usr/lib/systemd/system/{unit}"))?;
    let comments: String = text.lines().filter(|line| line.starts_with('#')).collect();
    let found = ok(
        "systemd-analyze",
        &[
            "--no-pager",
            "security",
            "--json=short",
            &unit.replace("@.", "@1."),
        ],
    )?;
    let found: Vec<Value> = serde_json::from_str(&found)?;
    let is_open = |one: &&Value| one["set"] == false && one["exposure"].is_string();
    let mut open = found.iter().filter(is_open).peekable();
    assert!(open.peek().is_some(), "{found:?}");
    for one in open {
        // `User=/DynamicUser=`, `RestrictNamespaces=~net`, `RestrictAddressFamilies=~AF_(INET|INET6)`
        let name = one["name"].text()?;
        let (setting, value) = name.split_once('=').unwrap();
        let value = value.trim_start_matches('~');
        let explained = comments.contains(&format!("{setting}="))
            || setting != "SystemCallFilter" && comments.contains(value);
        assert!(explained, "{one}");
    }
    Ok(())
}

/// The scale goes from 0.0 to 10.0; `--threshold` is in tenths.
#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_sandbox_is_as_tight_as_promised() -> Tested {
    let _machine = Machine::new()?;
    ok(
        "systemd-analyze",
        &["--no-pager", "security", "--threshold=30", "guardd.service"],
    )?;
    ok(
        "systemd-analyze",
        &[
            "--no-pager",
            "security",
            "--threshold=20",
            "guard-proxy.service",
        ],
    )?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn nobody_logs_in_before_guardd_has_tried() -> Tested {
    let _machine = Machine::new()?;
    let before = show("guardd.service", "Before")?;
    assert!(before.contains("systemd-user-sessions.service"), "{before}");
    let limit = show("guardd.service", "TimeoutStartUSec")?;
    assert_eq!(limit, "30s");
    Ok(())
}
