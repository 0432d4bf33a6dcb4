//! The .rpm, with the rpm of Debian: the same files, scripts and units as on Fedora.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use guard_lab::{NEVER, Network, Tested, V4, eventually};
use serde_json::json;

use crate::packages::agent::{Agent, outside};
use crate::packages::install::assert_enforces;
use crate::packages::killed::Killer;
use crate::packages::machine::{
    self, Machine, files, guard, is_shared, property, quiet, said, succeeds, unit_that_tries,
};
use crate::packages::upgrade::assert_disabled;
use crate::packages::{BEGIN, EDITED, ENABLED, KERNEL, NEXT, POLICY, SETTINGS};

/// What the scriptlets of an erasure are about to do when rpm is killed: two of %preun, two of %postun. Each erasure goes
/// on from what the one before has left.
const KILLED_AT: [&str; 4] = [
    "scriptlet systemctl stop guardd.service",
    "scriptlet systemctl disable",
    "scriptlet find /usr/share/guard",
    "scriptlet systemctl daemon-reload",
];

const SAVED: &str = "/etc/guard/guardd.toml.rpmsave";
/// Where rpm puts new settings beside edited ones.
const OFFERED: &str = "/etc/guard/guardd.toml.rpmnew";

/// The package in a file, and the same files as a later release.
struct Rpm {
    machine: Machine,
    first: PathBuf,
    next: PathBuf,
}

impl Rpm {
    fn open() -> Self {
        let machine = Machine::without_guard();
        if query().status.success() {
            // A test that was killed has left it.
            eprintln!("{}", said(&rpm(&["--erase", "--allmatches", "guard"])));
        }
        let mut rpms = machine::packages("rpm");
        assert_eq!(rpms.len(), 2, "{rpms:?}");
        let next = rpms.pop().unwrap();
        let first = rpms.pop().unwrap();
        Self {
            machine,
            first,
            next,
        }
    }
}

impl Drop for Rpm {
    /// Where a test has failed half way, the machine is to be as it was.
    fn drop(&mut self) {
        if query().status.success() {
            machine::stop_everything();
            eprintln!("{}", said(&rpm(&["--erase", "guard"])));
        }
        let _ = quiet("systemctl").args(["unmask", "guard.slice"]).output();
        for dir in ["/etc/guard", "/var/log/guard", "/var/lib/guard"] {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Debian's rpm knows nothing of what dpkg has installed, and its releases keep what they know in different places.
fn command(args: &[&str]) -> Command {
    let mut rpm = quiet("rpm");
    rpm.args(["--dbpath", "/var/lib/rpm", "--nodeps"])
        .args(args);
    rpm
}

fn rpm(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// `--nodeps` is not for queries.
fn query() -> Output {
    let mut rpm = quiet("rpm");
    rpm.args(["--dbpath", "/var/lib/rpm", "--query", "guard"]);
    rpm.output().unwrap()
}

fn killed(killer: &Killer, mut command: Command, at: &str) {
    killer.kill(&mut command, at);
    eprintln!("killed at {at}: {}", said(&query()).trim());
}

/// Installs it; `told` is all that its scripts say.
fn install(how: &[&str], file: &Path, told: &str) {
    assert_eq!(succeeds(command(how).arg(file)), told);
}

/// That each file is there as it was packed.
fn verify(edited: &[&str]) {
    let verified = rpm(&["--verify", "guard"]);
    let said = said(&verified);
    let changed: Vec<_> = said
        .lines()
        .filter_map(|line| line.split_whitespace().next_back())
        .collect();
    assert_eq!(changed, edited, "{said}");
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_rpm_is_installed_upgraded_downgraded_and_erased_as_the_deb_is() -> Tested {
    let packages = Rpm::open();
    let (network, production) = Network::with_production()?;
    let before = files();
    // As an earlier erasure leaves it.
    succeeds(quiet("systemctl").args(["mask", "guard.slice"]));
    install(&["--install"], &packages.first, &format!("{BEGIN}\n"));
    verify(&[]);
    assert_enforces()?;

    packages.machine.write_policy("asks", POLICY);
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443)?;
    let hole = agent.hole(&["--all-ports"]);
    let mut goes_on = || {
        assert_eq!(guard(&["status"])["enforcing"], true);
        assert_eq!(guard(&["sessions"])[0]["id"], *agent.session);
        assert_eq!(guard(&["holes"])[0]["id"], hole["id"]);
        assert!(agent.reaches(V4, 443), "the hole is gone");
        assert!(!agent.reaches(NEVER, 443));
    };
    let settings = fs::read_to_string(SETTINGS)?;
    fs::write(SETTINGS, EDITED)?;
    let slice = property("guard.slice", "ActiveEnterTimestampMonotonic");
    let guardd = property("guardd.service", "MainPID");
    let killer = Killer::new();
    let mut upgrade = command(&["--upgrade"]);
    upgrade.arg(&packages.next);
    killed(
        &killer,
        upgrade,
        "scriptlet systemctl restart guardd.service",
    );
    goes_on();
    assert_eq!(property("guardd.service", "MainPID"), guardd);
    install(&["--upgrade", "--replacepkgs"], &packages.next, "");
    assert_ne!(property("guardd.service", "MainPID"), guardd);
    assert_eq!(said(&query()).lines().count(), 1, "{}", said(&query()));
    assert_enforces()?;
    goes_on();
    let again = property("guard.slice", "ActiveEnterTimestampMonotonic");
    assert_eq!(again, slice);
    assert_eq!(fs::read_to_string(SETTINGS)?, EDITED);
    assert_eq!(fs::read_to_string(OFFERED)?, settings.clone() + NEXT);
    verify(&[SETTINGS]);

    // Back, where the socket alone is not to listen.
    succeeds(quiet("systemctl").args(["disable", "--now", "guardd.socket"]));
    succeeds(quiet("systemctl").args(["restart", "guardd.service"]));
    let guardd = property("guardd.service", "MainPID");
    install(&["--upgrade", "--oldpackage"], &packages.first, "");
    assert_ne!(property("guardd.service", "MainPID"), guardd);
    assert_disabled("guardd.socket");
    goes_on();
    assert_eq!(fs::read_to_string(SETTINGS)?, EDITED);
    assert_eq!(fs::read_to_string(OFFERED)?, settings);
    verify(&[SETTINGS]);
    succeeds(quiet("systemctl").args(["enable", "guardd.socket"]));
    succeeds(quiet("systemctl").args(["restart", "guardd.service"]));

    let refused = command(&["--erase", "guard"]).output()?;
    let why = said(&refused);
    assert!(!refused.status.success(), "{why}");
    assert!(
        why.contains(&agent.session) && why.contains("guard stop"),
        "{why}"
    );
    assert_enforces()?;
    assert!(!agent.reaches(NEVER, 443));
    succeeds(quiet("guard").args(["stop", &agent.session]));
    eventually("the session ended", || guard(&["sessions"]) == json!([]))?;

    for at in KILLED_AT {
        killed(&killer, command(&["--erase", "guard"]), at);
        let tried = unit_that_tries(&network, NEVER)?;
        assert!(!tried.status.success(), "{at}: {}", said(&tried));
    }
    drop(killer);
    let output = command(&["--erase", "guard"]).output()?;
    let why = said(&output);
    assert!(output.status.success(), "{why}");
    assert!(why.contains("systemctl unmask guard.slice"), "{why}");
    for path in KERNEL {
        assert!(!Path::new(path).exists(), "{path}");
    }
    for unit in ENABLED {
        assert_eq!(property(unit, "ActiveState"), "inactive", "{unit}");
    }
    assert_eq!(property("guard.slice", "LoadState"), "masked");
    assert_eq!(fs::read_to_string(SAVED)?, EDITED);
    only_settings_are_left(&before);
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    // It was the guard that kept it away.
    assert!(outside(&network, NEVER, 443));
    Ok(())
}

/// What people wrote, and the audit log of what guard did.
fn only_settings_are_left(before: &BTreeSet<String>) {
    const LEFT: [&str; 13] = [
        "/etc/guard",
        SAVED,
        OFFERED,
        "/etc/guard/policies",
        "/etc/guard/policies/asks.toml",
        "/var/log/guard",
        "/var/log/guard/audit.jsonl",
        "/var/lib/guard",
        "/etc/systemd/system/guard.slice",
        // The group stays.
        "/etc/group-",
        "/etc/gshadow-",
        "/etc/.pwd.lock",
        "/run/guard",
    ];
    let after = files();
    let left = after
        .difference(before)
        // A killed rpm's own.
        .filter(|file| !file.starts_with("/var/tmp/rpm-tmp."))
        .filter(|file| !LEFT.contains(&&***file) && !is_shared(file));
    let left: Vec<_> = left.collect();
    assert!(left.is_empty(), "{left:?}");
}
