//! What happens to guardd, while what is under the guard tries all the time.

use std::fs;
use std::path::PathBuf;

use guard_lab::{Tested, eventually};
use serde_json::Value;

use super::machine::{DropIn, Machine, Target, Unit, ok, run, show, state, status_says};

/// A unit that tries as often as it can, and notes what came of it.
pub(crate) struct Prober {
    pub(crate) unit: Unit,
    log: PathBuf,
}

impl Prober {
    pub(crate) fn start(target: &Target, slice: &str) -> Tested<Self> {
        let name = format!("prober-{slice}.service");
        let log = PathBuf::from(format!("/run/{name}.log"));
        let _ = fs::remove_file(&log);
        let text = format!(
            "[Service]\nSlice={slice}\nNice=10\nStandardOutput=append:{}\nExecStart=/bin/sh -c \
             'while :; do guard-lab probe loop 127.0.0.1 {} 100; done'\n",
            log.display(),
            target.port
        );
        let unit = Unit::new(&name, &text)?;
        ok("systemctl", &["start", &unit.name])?;
        Ok(Self { unit, log })
    }

    /// How often it has got through, and how often it was refused. Nothing else may come of an attempt.
    fn counts(&self) -> (u64, u64) {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["connected"].is_u64())
            .fold((0, 0), |(through, refused), line| {
                let errors = line["errors"].as_object().unwrap();
                assert!(errors.keys().all(|errno| errno == "EPERM"), "{line}");
                let eperm = line["errors"]["EPERM"].as_u64().unwrap_or(0);
                (
                    through + line["connected"].as_u64().unwrap(),
                    refused + eperm,
                )
            })
    }

    /// Waits for a few hundred more attempts, all of them refused.
    pub(crate) fn is_refused_still(&self, target: &Target, after: &str) -> Tested {
        let (_, before) = self.counts();
        eventually("it goes on trying", || self.counts().1 >= before + 200)?;
        assert_eq!((self.counts().0, target.reached()), (0, 0), "after {after}");
        Ok(())
    }
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn whoever_is_not_in_the_slice_gets_through() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    let prober = Prober::start(&target, "system.slice")?;
    eventually("it gets through", || prober.counts().0 >= 200)?;
    eventually("the target sees it", || target.reached() >= 200)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn no_way_to_stop_or_start_guardd_leaves_a_gap() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    let prober = Prober::start(&target, "guard.slice")?;
    let pid = prober.unit.pid()?;
    prober.is_refused_still(&target, "the start")?;
    let steps: [(&str, &[&str]); 9] = [
        ("reload", &["reload", "guardd.service"]),
        ("restart", &["restart", "guardd.service"]),
        ("stop", &["stop", "guardd.service"]),
        ("start", &["start", "guardd.service"]),
        ("daemon-reload", &["daemon-reload"]),
        ("daemon-reexec", &["daemon-reexec"]),
        ("kill -9", &["kill", "--signal=KILL", "guardd.service"]),
        (
            "restart of the socket",
            &["stop", "guardd.service", "guardd.socket"],
        ),
        (
            "start of both",
            &["start", "guardd.socket", "guardd.service"],
        ),
    ];
    for (name, step) in steps {
        ok("systemctl", step)?;
        prober.is_refused_still(&target, name)?;
        if name == "kill -9" {
            let is_back = || Tested::Ok(state("guardd.service")? == "active");
            eventually("guardd is back", is_back)?;
        }
        assert_eq!(prober.unit.pid()?, pid, "it goes on after {name}");
    }
    let upgraded = DropIn::new("guardd.service", "[Service]\nEnvironment=UPGRADED=1\n")?;
    ok("systemctl", &["restart", "guardd.service"])?;
    prober.is_refused_still(&target, "an upgrade of the unit")?;
    drop(upgraded);
    assert_eq!(prober.unit.pid()?, pid);
    assert_eq!(state("guardd.service")?, "active");
    // All of that was the same enforcement: what was adopted has its counters.
    assert!(ok("guard", &["status"])?.starts_with("Enforcing"));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn guardd_comes_back_by_itself_and_never_gives_up() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    for _ in 0..8 {
        let before = show("guardd.service", "MainPID")?;
        ok("systemctl", &["kill", "--signal=KILL", "guardd.service"])?;
        let back = || {
            let now = show("guardd.service", "MainPID")?;
            Tested::Ok(now != "0" && now != before && state("guardd.service")? == "active")
        };
        eventually("guardd is back", back)?;
    }
    target.is_out_of_reach()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_guardd_that_hangs_is_replaced() -> Tested {
    let _machine = Machine::new()?;
    let _fast = DropIn::new(
        "guardd.service",
        "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\n",
    )?;
    ok("systemctl", &["restart", "guardd.service"])?;
    let before = show("guardd.service", "MainPID")?;
    ok("systemctl", &["kill", "--signal=STOP", "guardd.service"])?;
    let replaced = || {
        let is_another = show("guardd.service", "MainPID")? != before;
        Tested::Ok(is_another && state("guardd.service")? == "active")
    };
    eventually("another one runs", replaced)?;
    assert!(run("guard", &["status"])?.status.success());
    Ok(())
}

/// In an emulated machine the verifier takes longer than that.
#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_start_that_takes_longer_is_not_ended_while_it_goes_on() -> Tested {
    let _machine = Machine::new()?;
    ok("systemctl", &["stop", "guardd.service"])?;
    // So that all programs are loaded again.
    ok("guardd", &["teardown", "--force"])?;
    let _hasty = DropIn::new("guardd.service", "[Service]\nTimeoutStartSec=5s\n")?;
    ok("systemctl", &["start", "guardd.service"])?;
    status_says("enforcing")?;
    assert_eq!(show("guardd.service", "NRestarts")?, "0");
    Ok(())
}
