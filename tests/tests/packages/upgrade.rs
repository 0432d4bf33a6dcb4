//! Another version in place of the one that runs.

use std::fs;
use std::process::{Command, Output};

use guard_lab::{Network, Production};

use crate::agent::{Agent, outside};
use crate::machine::{
    self, Machine, guard, installed, property, quiet, said, succeeds, version_of,
};
use crate::{NEVER, POLICY, V4};

const SETTINGS: &str = "/etc/guard/guardd.toml";
const OWN: &str = "/etc/guard/policies/asks.toml";
const SHIPPED: &str = "/usr/share/guard/policies/homelab.toml";

/// A service in the slice, which no session owns.
const SERVICE: &str = "guard-packages-sleeper.service";

#[test]
fn an_upgrade_and_a_downgrade_leave_sessions_holes_and_edits() {
    let machine = Machine::with_guard();
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443);
    let hole = guard(&["open", V4, "--session", &agent.session, "--for", "1h"]);
    assert!(agent.reaches(V4, 443));
    succeeds(quiet("systemd-run").args([
        "--slice=guard.slice",
        "--unit",
        SERVICE,
        "sleep",
        "infinity",
    ]));
    let sleeper = property(SERVICE, "MainPID");

    let edited = "# An administrator's\nmax_requests = 77\n";
    fs::write(SETTINGS, edited).unwrap();
    let shipped = fs::read_to_string(SHIPPED).unwrap();
    fs::write(SHIPPED, "not what shipped").unwrap();

    let version = installed();
    let failed = without_room(&mut machine::install(&machine.next));
    assert!(!failed.status.success());
    assert!(said(&failed).contains("No space left"), "{}", said(&failed));
    assert_eq!(installed(), version);
    assert_eq!(guard(&["status"])["enforcing"], true);
    assert!(!agent.reaches(NEVER, 443));

    for deb in [&machine.next, &machine.first] {
        let before = property("guardd.service", "MainPID");
        succeeds(&mut machine::install(deb));
        assert_eq!(installed(), version_of(deb));
        assert_ne!(
            property("guardd.service", "MainPID"),
            before,
            "not restarted"
        );
        let status = guard(&["status"]);
        assert_eq!(status["enforcing"], true, "{status}");

        assert_eq!(guard(&["sessions"])[0]["id"], *agent.session);
        assert_eq!(guard(&["holes"])[0]["id"], hole["id"]);
        assert!(agent.reaches(V4, 443), "the hole is gone");
        assert!(!agent.reaches(NEVER, 443));
        assert_eq!(
            property(SERVICE, "MainPID"),
            sleeper,
            "a service was stopped"
        );

        assert_eq!(fs::read_to_string(SETTINGS).unwrap(), edited);
        assert_eq!(fs::read_to_string(OWN).unwrap(), POLICY);
        assert_eq!(fs::read_to_string(SHIPPED).unwrap(), shipped);
    }
    succeeds(Command::new("systemctl").args(["stop", SERVICE]));
    assert!(production.reached_at(NEVER, 443).unwrap().is_empty());
    // It was the guard that kept it away.
    assert!(outside(&network, NEVER, 443));
    assert!(!production.reached_at(NEVER, 443).unwrap().is_empty());
}

/// Runs a command while there is no room where the package has its documents.
fn without_room(command: &mut Command) -> Output {
    const DOCUMENTS: &str = "/usr/share/doc/guard";
    let mut mount = quiet("mount");
    succeeds(mount.args(["-t", "tmpfs", "-o", "size=16k", "full", DOCUMENTS]));
    let output = command.output();
    succeeds(quiet("umount").arg(DOCUMENTS));
    output.unwrap()
}

#[test]
fn an_upgrade_does_not_start_what_an_administrator_disabled() {
    let machine = Machine::with_guard();
    succeeds(quiet("systemctl").args(["disable", "--now", "guardd.service", "guardd.socket"]));
    succeeds(&mut machine::install(&machine.next));
    assert_eq!(property("guardd.service", "ActiveState"), "inactive");
    assert_eq!(property("guardd.service", "UnitFileState"), "disabled");
    succeeds(quiet("systemctl").args(["enable", "--now", "guardd.service", "guardd.socket"]));
    assert_eq!(guard(&["status"])["enforcing"], true);
}
