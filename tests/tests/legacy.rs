//! A machine whose systemd knows cgroup v1 alone: guardd says so, and nothing that asks for the guard runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use guard_lab::{Tested, eventually};

const UNIFIED: &str = "systemd.unified_cgroup_hierarchy=1";

/// There is one machine.
fn machine() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(words: &[&str]) -> Tested<Output> {
    Ok(Command::new(words[0]).args(&words[1..]).output()?)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Starts guardd, which fails, and waits until its unit says why.
fn says_why() -> Tested {
    let started = run(&["systemctl", "start", "guardd.service"])?;
    assert!(!started.status.success(), "{started:?}");
    let show = ["systemctl", "show", "-P", "StatusText", "guardd.service"];
    let mut status = String::new();
    let says = eventually("the unit's status says why", || {
        status = text(&run(&show)?);
        Ok(status.contains("version 1 alone") && status.contains(UNIFIED))
    });
    Ok(says.context(status)?)
}

/// Has units run in the slice and elsewhere, and tells what becomes of them.
fn nothing_of_the_slice_runs() -> Tested {
    let ran = Path::new("/run/it-ran");
    let go = ["systemd-run", "--quiet", "--wait"];
    let touch = ["touch", "/run/it-ran"];
    let elsewhere = run(&[&go[..], &touch].concat())?;
    assert!(elsewhere.status.success() && ran.exists(), "{elsewhere:?}");
    fs::remove_file(ran)?;
    let inside = run(&[&go[..], &["--slice=guard.slice"], &touch].concat())?;
    assert!(!inside.status.success() && !ran.exists(), "{inside:?}");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn guardd_says_what_the_machine_lacks_and_nothing_of_the_slice_runs() -> Tested {
    let _turn = machine();
    says_why()?;
    nothing_of_the_slice_runs()?;
    Ok(())
}

/// systemd does not put its units into what somebody else mounts: they would run unguarded.
#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_hierarchy_that_somebody_mounted_is_no_help() -> Tested {
    let _turn = machine();
    let dir = "/run/unified";
    fs::create_dir_all(dir)?;
    let mounted = run(&["mount", "-t", "cgroup2", "none", dir])?;
    assert!(mounted.status.success(), "{mounted:?}");
    let by_hand = run(&["guardd"])?;
    says_why()?;
    nothing_of_the_slice_runs()?;
    let taken_away = run(&["umount", dir])?;
    assert!(taken_away.status.success(), "{taken_away:?}");
    assert!(text(&by_hand).contains(UNIFIED), "{by_hand:?}");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_command_is_not_run_without_a_guard() -> Tested {
    let _turn = machine();
    let refused = run(&["guard", "run", "--", "echo", "it runs"])?;
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    assert!(!text(&refused).contains("it runs"), "{refused:?}");
    assert!(!run(&["guard", "status"])?.status.success());
    Ok(())
}
