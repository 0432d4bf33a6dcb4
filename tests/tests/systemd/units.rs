//! The units as they ship.

use std::fs;

use serde_json::Value;

use super::machine::{Machine, ok, run, show, text};

const UNITS: [&str; 5] = [
    "guardd.service",
    "guardd.socket",
    "guard.slice",
    "guardd-ready.service",
    "guardd-pins.service",
];

#[test]
fn systemd_finds_nothing_wrong_with_them() {
    let _machine = Machine::new();
    for (scope, units) in [
        ("--system", &UNITS[..]),
        ("--user", &["/usr/lib/systemd/user/guard.slice"]),
    ] {
        let verify = [
            "XDG_RUNTIME_DIR=/run",
            "systemd-analyze",
            "--man=no",
            scope,
            "verify",
        ];
        let output = run("env", &[&verify[..], units].concat());
        assert!(output.status.success());
        assert_eq!(text(&output.stderr), "", "{scope}");
    }
}

#[test]
fn each_thing_that_the_sandbox_leaves_open_is_explained() {
    let _machine = Machine::new();
    let unit = fs::read_to_string("/usr/lib/systemd/system/guardd.service").unwrap();
    let comments: String = unit.lines().filter(|line| line.starts_with('#')).collect();
    let found = ok(
        "systemd-analyze",
        &["--no-pager", "security", "--json=short", "guardd.service"],
    );
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    let is_open = |one: &&Value| one["set"] == false && one["exposure"].is_string();
    let mut open = found.iter().filter(is_open).peekable();
    assert!(open.peek().is_some(), "{found:?}");
    for one in open {
        // `User=/DynamicUser=`, `RestrictNamespaces=~net`, `RestrictAddressFamilies=~AF_(INET|INET6)`
        let name = one["name"].as_str().unwrap();
        let (setting, value) = name.split_once('=').unwrap();
        let value = value.trim_start_matches('~');
        let explained = comments.contains(&format!("{setting}="))
            || setting != "SystemCallFilter" && comments.contains(value);
        assert!(explained, "{one}");
    }
}

/// The scale goes from 0.0 to 10.0; `--threshold` is in tenths.
#[test]
fn the_sandbox_is_as_tight_as_promised() {
    let _machine = Machine::new();
    ok(
        "systemd-analyze",
        &["--no-pager", "security", "--threshold=30", "guardd.service"],
    );
}

#[test]
fn nobody_logs_in_before_guardd_has_tried() {
    let _machine = Machine::new();
    let before = show("guardd.service", "Before");
    assert!(before.contains("systemd-user-sessions.service"), "{before}");
    let limit = show("guardd.service", "TimeoutStartUSec");
    assert_eq!(limit, "30s");
}
