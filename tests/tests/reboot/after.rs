//! The machine has booted again, and nobody has done anything since.

use guard_lab::Tested;
use std::fs;
use std::time::Duration;

use crate::reboot::machine::{BOOTS, boot_id, check, guardd_enforces, said, services_are_judged};

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn what_starts_at_boot_is_guarded_from_its_first_instruction() -> Tested {
    check();
    let boots = fs::read_to_string(BOOTS)?;
    assert!(
        !boots.contains(&boot_id()),
        "the machine has not booted since"
    );
    fs::write(BOOTS, format!("{boots}\n{}", boot_id()))?;

    guardd_enforces()?;
    services_are_judged();
    // guardd was there before anything in the slice was.
    let slice = moment("guard.slice", "ActiveEnterTimestampMonotonic");
    let ready = moment("guardd.service", "ActiveEnterTimestampMonotonic");
    assert!(
        ready <= slice,
        "guardd was ready at {ready}, the slice at {slice} µs"
    );

    // The audit log goes on where it was.
    let log = said("guard", &["log", "--json"]);
    let starts = log
        .lines()
        .filter(|line| line.contains("\"session-start\""))
        .filter(|line| line.contains("assigned"))
        .count();
    let seen = boots.lines().count() + 1;
    assert_eq!(starts, seen, "{log}");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn guardd_enforced_before_what_it_judges_began() -> Tested {
    check();
    let active = || moment("guardd.service", "ActiveEnterTimestampMonotonic");
    // A boot is still going on when the tests begin.
    guard_lab::eventually("guardd is ready", || active() > 0)?;
    let begun = moment("guardd.service", "ExecMainStartTimestampMonotonic");
    let ready = active();
    let taken = Duration::from_micros(ready - begun);
    // What that is worth depends on what else the machine does.
    println!("guardd was ready {taken:?} after it was started");
    for unit in ["unassigned.service", "assigned.service"] {
        let began = || moment(unit, "ExecMainStartTimestampMonotonic");
        guard_lab::eventually("it begins", || began() > 0)?;
        let judged = began();
        assert!(
            ready <= judged,
            "guardd was ready at {ready}, {unit} began at {judged} µs"
        );
    }
    Ok(())
}

/// A property of a unit that is a time, in microseconds since the kernel started.
fn moment(unit: &str, property: &str) -> u64 {
    let value = said(
        "systemctl",
        &["show", "--value", "--property", property, unit],
    );
    value.trim().parse().unwrap()
}
