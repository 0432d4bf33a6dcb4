//! The package taken away.

use std::path::Path;

use guard_lab::{Network, Production, eventually};
use serde_json::json;

use crate::agent::{Agent, outside};
use crate::machine::{
    self, Machine, dpkg, guard, property, quiet, said, succeeds, unit_that_tries,
};
use crate::{KERNEL, NEVER, V4};

#[test]
fn a_removal_is_refused_while_a_session_lives_and_leaves_nothing_unguarded() {
    let machine = Machine::with_guard();
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443);
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
    eventually("the session ended", || guard(&["sessions"]) == json!([])).unwrap();

    succeeds(quiet("dpkg").args(["--remove", "guard"]));
    for path in KERNEL {
        assert!(!Path::new(path).exists(), "{path}");
    }
    assert!(
        Path::new("/etc/guard/policies/asks.toml").exists(),
        "a removal is no purge"
    );
    // A unit that asks to be guarded does not start without a guard.
    let refused = unit_that_tries(&network, NEVER);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("masked"), "{}", said(&refused));

    succeeds(&mut machine::install(&machine.first));
    assert_eq!(guard(&["status"])["enforcing"], true);
    let denied = unit_that_tries(&network, NEVER);
    assert!(!denied.status.success());
    assert!(!said(&denied).contains("masked"), "{}", said(&denied));
    assert!(production.reached_at(NEVER, 443).unwrap().is_empty());
    // It was the guard that kept it away.
    assert!(outside(&network, NEVER, 443));
}
