//! Another version in place of the one that runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use guard_lab::{NEVER, Network, Tested, V4};

use crate::packages::agent::{Agent, outside};
use crate::packages::machine::{
    self, Machine, guard, installed, property, quiet, said, succeeds, version_of,
};
use crate::packages::{BEGIN, EDITED, NEXT, POLICY, SETTINGS};

const OWN: &str = "/etc/guard/policies/asks.toml";
const SHIPPED: &str = "/usr/share/guard/policies/homelab.toml";
/// Where dpkg puts new settings beside edited ones.
const OFFERED: &str = "/etc/guard/guardd.toml.dpkg-dist";

/// A service in the slice, which no session owns.
const SERVICE: &str = "guard-packages-sleeper.service";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_upgrade_and_a_downgrade_leave_sessions_holes_edits_and_what_was_disabled() -> Tested {
    let machine = Machine::with_guard();
    if installed() != version_of(&machine.first) {
        succeeds(&mut machine::install(&machine.first));
    }
    let (network, production) = Network::with_production()?;
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443)?;
    let hole = agent.hole(&["--ports", "tcp/443"]);
    succeeds(quiet("systemd-run").args([
        "--slice=guard.slice",
        "--unit",
        SERVICE,
        "sleep",
        "infinity",
    ]));
    let sleeper = property(SERVICE, "MainPID");
    let mut goes_on = || {
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
        assert_eq!(fs::read_to_string(OWN).unwrap(), POLICY);
    };

    let settings = fs::read_to_string(SETTINGS)?;
    assert!(!settings.contains(NEXT));
    let shipped = fs::read_to_string(SHIPPED)?;
    fs::write(SHIPPED, "not what shipped")?;
    let failed = without_room(&mut machine::install(&machine.next))?;
    assert!(!failed.status.success());
    assert!(said(&failed).contains("No space left"), "{}", said(&failed));
    assert_eq!(installed(), version_of(&machine.first));
    goes_on();

    // The socket alone is not to listen any more. Nobody has changed the settings, which are replaced.
    succeeds(quiet("systemctl").args(["disable", "--now", "guardd.socket"]));
    succeeds(quiet("systemctl").args(["restart", "guardd.service"]));
    let before = property("guardd.service", "MainPID");
    let told = succeeds(&mut machine::install(&machine.next));
    assert!(!told.contains(BEGIN), "{told}");
    assert_eq!(installed(), version_of(&machine.next));
    assert_ne!(
        property("guardd.service", "MainPID"),
        before,
        "not restarted"
    );
    assert_disabled("guardd.socket");
    assert_eq!(property("guardd.service", "UnitFileState"), "enabled");
    assert_eq!(fs::read_to_string(SETTINGS)?, settings.clone() + NEXT);
    assert_eq!(fs::read_to_string(SHIPPED)?, shipped);
    goes_on();

    // Now neither runs, and an administrator has changed the settings.
    succeeds(quiet("systemctl").args(["disable", "--now", "guardd.service"]));
    fs::write(SETTINGS, EDITED)?;
    succeeds(&mut machine::install(&machine.first));
    assert_eq!(installed(), version_of(&machine.first));
    assert_disabled("guardd.service");
    assert_disabled("guardd.socket");
    assert_eq!(fs::read_to_string(SETTINGS)?, EDITED);
    assert_eq!(fs::read_to_string(OFFERED)?, settings);
    succeeds(quiet("systemctl").args(["enable", "--now", "guardd.service"]));
    for unit in ["guardd.service", "guardd.socket"] {
        assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
    }
    goes_on();

    succeeds(Command::new("systemctl").args(["stop", SERVICE]));
    fs::rename(OFFERED, SETTINGS)?;
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    // It was the guard that kept it away.
    assert!(outside(&network, NEVER, 443));
    assert!(!production.reached_at(NEVER, 443)?.is_empty());
    Ok(())
}

/// That a unit is left as an administrator has it.
pub(crate) fn assert_disabled(unit: &str) {
    assert_eq!(property(unit, "ActiveState"), "inactive", "{unit}");
    assert_eq!(property(unit, "UnitFileState"), "disabled", "{unit}");
}

/// Runs a command while there is no room where the package has its documents.
fn without_room(command: &mut Command) -> Tested<Output> {
    const DOCUMENTS: &str = "/usr/share/doc/guard";
    assert!(Path::new(DOCUMENTS).is_dir());
    let mut mount = quiet("mount");
    succeeds(mount.args(["-t", "tmpfs", "-o", "size=16k", "full", DOCUMENTS]));
    let output = command.output();
    succeeds(quiet("umount").arg(DOCUMENTS));
    Ok(output?)
}
