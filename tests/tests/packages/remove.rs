//! The package taken away.

use std::path::Path;
use std::process::Command;

use guard_lab::{NEVER, Network, Tested, V4, eventually};
use serde_json::json;

use crate::packages::KERNEL;
use crate::packages::agent::{Agent, outside};
use crate::packages::killed::Killer;
use crate::packages::machine::{
    self, Machine, dpkg, guard, property, quiet, said, succeeds, unit_that_tries,
};

/// Where the removal is killed, one after the other: each goes on from what the one before has left.
const KILLED_AT: [&str; 6] = [
    "prerm systemctl --runtime mask",
    "prerm deb-systemd-invoke stop",
    "prerm guardd teardown",
    "prerm systemctl stop guard.slice",
    "postrm deb-systemd-helper mask",
    "postrm systemctl --system daemon-reload",
];

fn removal() -> Command {
    let mut dpkg = quiet("dpkg");
    dpkg.args(["--remove", "guard"]);
    dpkg
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_removal_refused_or_killed_leaves_nothing_unguarded_and_can_be_ended_and_undone() -> Tested {
    let machine = Machine::with_guard();
    let (network, production) = Network::with_production()?;
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443)?;
    for way in ["--remove", "--purge"] {
        let refused = dpkg(&[way, "guard"]);
        let said = said(&refused);
        assert!(!refused.status.success(), "{said}");
        assert!(said.contains(&agent.session), "{said}");
        assert!(said.contains("guard stop"), "{said}");
        assert_eq!(machine::state(), "installed", "{said}");
        assert_eq!(property("guardd.service", "ActiveState"), "active");
        assert!(!agent.reaches(V4, 443));
    }
    succeeds(quiet("guard").args(["stop", &agent.session]));
    eventually("the session ended", || guard(&["sessions"]) == json!([]))?;

    let killer = Killer::new();
    for at in KILLED_AT {
        killer.kill(&mut removal(), at);
        eprintln!("killed at {at}: {}", machine::state());
        // The one that finds guardd stopped may have it started again.
        let tried = unit_that_tries(&network, NEVER)?;
        assert!(!tried.status.success(), "{at}: {}", said(&tried));
    }
    succeeds(&mut removal());
    assert_eq!(machine::state(), "config-files");
    for path in KERNEL {
        assert!(!Path::new(path).exists(), "{path}");
    }
    assert!(
        Path::new("/etc/guard/policies/asks.toml").exists(),
        "a removal is no purge"
    );
    // A unit that asks to be guarded does not start without a guard.
    let refused = unit_that_tries(&network, NEVER)?;
    assert!(!refused.status.success());
    assert!(said(&refused).contains("masked"), "{}", said(&refused));

    succeeds(&mut machine::install(&machine.first));
    assert_eq!(guard(&["status"])["enforcing"], true);
    assert_eq!(property("guard.slice", "LoadState"), "loaded");
    let denied = unit_that_tries(&network, NEVER)?;
    assert!(!denied.status.success());
    assert!(!said(&denied).contains("masked"), "{}", said(&denied));
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    // It was the guard that kept it away.
    assert!(outside(&network, NEVER, 443));
    Ok(())
}
