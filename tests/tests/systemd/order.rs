//! What starts when.

use guard_lab::Tested;
use std::thread;
use std::time::Duration;

use super::machine::{Machine, Target, Unit, fails, journal, ok, run, show, state, status_says};

fn entered(unit: &str, property: &str) -> Tested<u64> {
    Ok(show(unit, property)?.parse()?)
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_of_the_slice_waits_for_an_enforcing_guardd() -> Tested {
    let machine = Machine::new()?;
    let target = Target::new()?;
    target.is_there()?;
    let first = Unit::guarded("first.service", &target.once())?;
    let second = Unit::guarded("second.service", "/bin/sleep 600")?;
    let boot = Unit::new(
        "boot.target",
        "[Unit]\nWants=second.service first.service guardd.service guardd.socket\nAfter=second.service first.service\n",
    )?;
    machine.down()?;
    assert_eq!(state("guardd.service")?, "inactive");
    // As at boot: all in one transaction.
    ok("systemctl", &["start", &boot.name])?;
    let enforcing = entered("guardd.service", "ActiveEnterTimestampMonotonic")?;
    for unit in [&first, &second] {
        let started = entered(&unit.name, "ExecMainStartTimestampMonotonic")?;
        assert!(
            started > enforcing && enforcing > 0,
            "{} {started} {enforcing}",
            unit.name
        );
    }
    assert_eq!(state(&second.name)?, "active");
    assert_eq!(target.reached(), 1);
    assert!(journal(&first.name)?.contains("EPERM"));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_of_the_slice_brings_guardd_up() -> Tested {
    let _machine = Machine::without_guardd()?;
    let target = Target::new()?;
    target.is_out_of_reach()?;
    assert_eq!(state("guardd.service")?, "active");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn without_a_guardd_that_enforces_no_unit_of_the_slice_runs() -> Tested {
    let machine = Machine::new()?;
    let unit = Unit::guarded("never.service", "/bin/sleep 600")?;
    machine.down()?;
    machine.settings("no_such_setting = 1\n")?;
    fails("systemctl", &["start", &unit.name])?;
    assert_eq!((unit.pid()?, state("guard.slice")?), (0, "inactive".into()));
    status_says("no_such_setting")?;

    machine.down()?;
    ok("systemctl", &["mask", "--runtime", "guardd.service"])?;
    fails("systemctl", &["start", &unit.name])?;
    assert_eq!((unit.pid()?, state("guard.slice")?), (0, "inactive".into()));

    // guardd itself is not there.
    machine.down()?;
    ok("mv", &["/usr/bin/guardd", "/usr/bin/guardd.away"])?;
    let started = run("systemctl", &["start", &unit.name])?;
    ok("mv", &["/usr/bin/guardd.away", "/usr/bin/guardd"])?;
    assert!(!started.status.success());
    assert_eq!((unit.pid()?, state("guard.slice")?), (0, "inactive".into()));

    machine.down()?;
    ok("systemctl", &["start", &unit.name])?;
    assert_eq!(state(&unit.name)?, "active");
    Ok(())
}

/// The next attempt to start it, half a second after the last one failed, comes at any point of stopping it.
#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_guardd_that_fails_again_and_again_can_be_stopped() -> Tested {
    let machine = Machine::without_guardd()?;
    machine.settings("no_such_setting = 1\n")?;
    for pause in (0..500).step_by(50) {
        fails("systemctl", &["start", "guardd.service"])?;
        thread::sleep(Duration::from_millis(pause));
        ok("systemctl", &["stop", "guardd.service", "guardd.socket"])?;
        for unit in ["guardd.service", "guardd.socket"] {
            assert!(!is_up(&state(unit)?), "{unit} {}", state(unit)?);
        }
    }
    Ok(())
}

fn is_up(state: &str) -> bool {
    ["active", "activating", "reloading"].contains(&state)
}
