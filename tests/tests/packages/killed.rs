//! dpkg and the package's scripts, killed at any moment.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guard_lab::{Network, Production};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::agent::{Agent, outside};
use crate::machine::{
    self, Machine, guard, installed, property, quiet, said, succeeds, unit_that_tries, version_of,
};
use crate::{NEVER, V4};

/// At how many moments of each, unless `GUARD_MOMENTS` says otherwise.
const MOMENTS: u32 = 2;

/// Moments between the start of something and its end.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    let count = env::var("GUARD_MOMENTS")
        .ok()
        .map(|count| count.parse().unwrap());
    let count = count.unwrap_or(MOMENTS);
    (1..=count).map(move |moment| whole * moment / (count + 1))
}

/// Kills a command, and all that it started, a while after its start.
fn killed_after(command: &mut Command, delay: Duration) {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.process_group(0).spawn().unwrap();
    thread::sleep(delay);
    // It may have ended by itself.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    child.wait().unwrap();
    eprintln!("killed after {delay:?}: {}", machine::state());
}

fn timed(mut command: Command) -> Duration {
    let start = Instant::now();
    succeeds(&mut command);
    start.elapsed()
}

#[test]
fn an_upgrade_that_is_killed_leaves_nothing_unguarded_and_can_be_ended() {
    let machine = Machine::with_guard();
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443);
    guard(&["open", V4, "--session", &agent.session, "--for", "1h"]);
    let whole = timed(machine::install(&machine.next));
    for (round, moment) in moments(whole).enumerate() {
        let deb = [&machine.first, &machine.next][round % 2];
        killed_after(&mut machine::install(deb), moment);
        // Whatever state that left, the session is guarded as it was.
        assert!(!agent.reaches(NEVER, 443), "{moment:?}");
        assert!(agent.reaches(V4, 443), "{moment:?}: the hole is gone");
        succeeds(quiet("dpkg").args(["--configure", "-a"]));
        if installed() != version_of(deb) {
            succeeds(&mut machine::install(deb));
        }
        assert_eq!(machine::state(), "installed", "{moment:?}");
        assert_eq!(installed(), version_of(deb), "{moment:?}");
        assert_eq!(guard(&["status"])["enforcing"], true, "{moment:?}");
        assert_eq!(guard(&["sessions"])[0]["id"], *agent.session, "{moment:?}");
    }
    assert!(production.reached_at(NEVER, 443).unwrap().is_empty());
    assert!(outside(&network, NEVER, 443));
}

#[test]
fn a_removal_that_is_killed_leaves_nothing_unguarded_and_can_be_undone() {
    let machine = Machine::with_guard();
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let removal = || {
        let mut dpkg = quiet("dpkg");
        dpkg.args(["--remove", "guard"]);
        dpkg
    };
    for moment in moments(timed(removal())) {
        succeeds(&mut machine::install(&machine.first));
        killed_after(&mut removal(), moment);
        // Of these, the one that finds guardd stopped may start it again.
        let tried = unit_that_tries(&network, NEVER);
        assert!(!tried.status.success(), "{moment:?}: {}", said(&tried));
    }
    succeeds(&mut machine::install(&machine.first));
    assert_eq!(guard(&["status"])["enforcing"], true);
    assert_eq!(property("guard.slice", "LoadState"), "loaded");
    assert!(production.reached_at(NEVER, 443).unwrap().is_empty());
    assert!(outside(&network, NEVER, 443));
}
