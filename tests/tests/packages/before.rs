//! Back to the version before, which had no units, by what docs/operations.md says; and forward again.

use std::process::{Command, Stdio};

use guard_lab::{Network, Production, Running, bins, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::packages::agent::{Agent, outside};
use crate::packages::machine::{Machine, guard, property, quiet, succeeds};
use crate::packages::{NEVER, V4};

/// A service in the slice, with a session of its own.
const SERVICE: &str = "guard-packages-trying.service";

/// What the version before says of something.
fn guard_before(args: &[&str]) -> Value {
    let mut guard = quiet(bins::before().unwrap().join("guard").to_str().unwrap());
    serde_json::from_str(&succeeds(guard.args(args).arg("--json"))).unwrap()
}

/// A service that tries all the time what its policy denies.
fn start_service(network: &Network) {
    let probe = bins::for_everybody("guard-lab", network.tag()).unwrap();
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
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_version_before_takes_over_from_the_units_and_gives_back() {
    if !bins::before_works_here() {
        return;
    }
    let _machine = Machine::with_guard();
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut agent = Agent::start(&network);
    start_service(&network);
    let hole = guard(&[
        "open",
        V4,
        "--ports",
        "tcp/443",
        "--session",
        &agent.session,
        "--for",
        "1h",
    ]);
    let sessions = ids(&guard(&["sessions"]));
    assert_eq!(sessions.len(), 2);
    let mut goes_on = |ask: fn(&[&str]) -> Value| {
        assert_eq!(ask(&["status"])["enforcing"], true);
        assert_eq!(ids(&ask(&["sessions"])), sessions);
        assert_eq!(ask(&["holes"])[0]["id"], hole["id"]);
        assert!(agent.reaches(V4, 443), "the hole is gone");
        assert!(!agent.reaches(NEVER, 443));
        assert_eq!(property(SERVICE, "ActiveState"), "active");
    };
    goes_on(guard);

    let units = ["guardd.socket", "guardd.service"];
    succeeds(quiet("systemctl").args(["disable", "--now"]).args(units));
    let mut guardd = Command::new(bins::before().unwrap().join("guardd"));
    guardd.args(["--cgroup-root", "/sys/fs/cgroup/guard.slice"]);
    let mut guardd = Running::start(guardd.stderr(Stdio::null())).unwrap();
    eventually("it answers", || {
        let mut status = quiet(bins::before().unwrap().join("guard").to_str().unwrap());
        status.arg("status").output().unwrap().status.success()
    })
    .unwrap();
    assert_eq!(guard_before(&["status"])["version"], "0.1.0");
    goes_on(guard_before);
    guardd.signal(Signal::TERM).unwrap();
    assert!(guardd.wait().unwrap().success());

    succeeds(quiet("systemctl").args(["enable", "--now", "guardd"]));
    for unit in units {
        assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
    }
    goes_on(guard);
    succeeds(quiet("systemctl").args(["stop", SERVICE]));
    assert!(production.reached_at(NEVER, 443).unwrap().is_empty());
    // It was the guard that kept it away.
    assert!(outside(&network, NEVER, 443));
}

fn ids(list: &Value) -> Vec<Value> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one["id"].clone()).collect()
}
