//! The machine has booted again, and nobody has done anything since.

use std::fs;
use std::time::Duration;

use crate::reboot::machine::{BOOTS, boot_id, check, guardd_enforces, said, services_are_judged};

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn what_starts_at_boot_is_guarded_from_its_first_instruction() {
    check();
    let boots = fs::read_to_string(BOOTS).unwrap();
    assert!(
        !boots.contains(&boot_id()),
        "the machine has not booted since"
    );
    fs::write(BOOTS, format!("{boots}\n{}", boot_id())).unwrap();

    guardd_enforces();
    services_are_judged();
    // guardd was there before anything in the slice was.
    let slice = moment("guard.slice", "ActiveEnterTimestampMonotonic");
    let ready = moment("guardd.service", "ActiveEnterTimestampMonotonic");
    assert!(
        ready <= slice,
        "guardd was ready at {ready}, the slice at {slice} µs"
    );

    // The trail goes on where it was.
    let log = said("guard", &["log", "--json"]);
    let starts = log
        .lines()
        .filter(|line| line.contains("\"session-start\""))
        .filter(|line| line.contains("assigned"))
        .count();
    let seen = boots.lines().count() + 1;
    assert_eq!(starts, seen, "{log}");
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn guardd_enforces_within_a_second_of_its_start() {
    // The verifier's work is what an emulated machine is slowest at.
    let second = guard_lab::patience(Duration::from_secs(1));
    let emulated = second > Duration::from_secs(1);
    let limit = if emulated { second * 4 } else { second };
    check();
    let begun = moment("guardd.service", "ExecMainStartTimestampMonotonic");
    let ready = moment("guardd.service", "ActiveEnterTimestampMonotonic");
    let taken = Duration::from_micros(ready - begun);
    println!("guardd was ready {taken:?} after it was started");
    assert!(taken <= limit, "it took {taken:?}");
}

/// A property of a unit that is a time, in microseconds since the kernel started.
fn moment(unit: &str, property: &str) -> u64 {
    let value = said(
        "systemctl",
        &["show", "--value", "--property", property, unit],
    );
    value.trim().parse().unwrap()
}
