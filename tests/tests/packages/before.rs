//! From the package of the version before to this one's, and back, as docs/admin.md tells.

use std::fs;

use guard_lab::{NEVER, Network, Tested, V4, bins};
use serde_json::Value;

use crate::half::before;
use crate::packages::POLICY;
use crate::packages::agent::{Agent, outside};
use crate::packages::machine::{
    self, Machine, guard, installed, property, quiet, succeeds, version_of,
};

/// A service in the slice, with a session of its own.
const SERVICE: &str = "guard-packages-trying.service";

/// A service that tries all the time what its policy denies.
fn start_service(network: &Network) -> Tested {
    let probe = bins::for_everybody("guard-lab", network.tag())?;
    let netns = format!("NetworkNamespacePath={}", network.dev().path().display());
    let mut run = quiet("systemd-run");
    run.args([
        "--slice=guard.slice",
        "--unit",
        SERVICE,
        "--property",
        &netns,
    ]);
    succeeds(run.arg(probe).args(["probe", "keep", NEVER, "443"]));
    succeeds(quiet("guard").args(["assign", "--policy", "asks", SERVICE]));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_package_of_the_version_before_is_upgraded_and_comes_back() -> Tested {
    let machine = Machine::without_guard();
    let (network, production) = Network::with_production()?;
    fs::create_dir_all(network.tag().dir())?;
    let before = before::package(&network.tag().dir());
    assert_eq!(version_of(&before), before::VERSION);
    succeeds(&mut machine::install(&before));
    machine.write_policy("asks", POLICY);
    let mut agent = Agent::start(&network);
    start_service(&network)?;
    let hole = agent.hole(&["--ports", "tcp/443"]);
    let sessions = ids(&guard(&["sessions"]));
    assert_eq!(sessions.len(), 2);
    let mut goes_on = |version: &str| {
        assert_eq!(installed(), version);
        let status = guard(&["status"]);
        assert_eq!(status["enforcing"], true, "{status}");
        assert_eq!(status["version"], version);
        assert_eq!(ids(&guard(&["sessions"])), sessions);
        assert_eq!(guard(&["holes"])[0]["id"], hole["id"]);
        assert!(agent.reaches(V4, 443), "the hole is gone");
        assert!(!agent.reaches(NEVER, 443));
        assert_eq!(property(SERVICE, "ActiveState"), "active");
        for unit in ["guardd.socket", "guardd.service"] {
            assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
        }
    };
    goes_on(before::VERSION);
    for package in [&machine.first, &before, &machine.first] {
        succeeds(&mut machine::install(package));
        goes_on(&version_of(package));
    }
    succeeds(quiet("systemctl").args(["stop", SERVICE]));
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    // It was the guard that kept it away.
    assert!(outside(&network, NEVER, 443));
    Ok(())
}

fn ids(list: &Value) -> Vec<Value> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one["id"].clone()).collect()
}
