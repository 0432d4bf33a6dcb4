//! Killed while it attaches for the first time, and while it takes down.

use std::path::Path;
use std::process::Command;

use guard_lab::steps::Ended;
use guard_lab::{Attempt, Daemon, Network, Shell, Stepped, Tested};

use crate::crashes::inventory;
use crate::crashes::scene::{BOTH, NEITHER, Which, at_each_step, behind, old};

/// Runs a command to its end, or until it is killed after a step.
fn run(daemon: &Daemon, command: &Command, kill_after: usize) -> Tested<Ended> {
    let mut stepped = Stepped::start(daemon, command, Some(kill_after))?;
    stepped.wait_until_ready_or_killed()?;
    stepped.stop();
    Ok(stepped.wait()?)
}

/// The guard that is there guards, and nothing is there beside it.
fn guards(daemon: &mut Daemon, wanted: &inventory::Inventory, what: &str) -> Tested {
    daemon.start()?;
    let mut shell = Shell::start(daemon, "crash")?;
    assert!(!shell.reaches(&Attempt::tcp(NEITHER, 443))?, "{what}");
    assert!(shell.reaches(&Attempt::tcp(BOTH, 443))?, "{what}");
    assert_eq!(&inventory::of(daemon)?, wanted, "{what}");
    Ok(())
}

fn is_gone(daemon: &Daemon, what: &str) -> Tested {
    for dir in [
        daemon.pin_dir(),
        daemon.cgroup_root(),
        &daemon.state_dir().join("sessions"),
    ] {
        assert!(!dir.exists(), "{} is left: {what}", dir.display());
    }
    assert_eq!(files(&daemon.state_dir())?, ["audit.jsonl"], "{what}");
    Ok(())
}

fn files(dir: &Path) -> Tested<Vec<String>> {
    let names = std::fs::read_dir(dir)?
        .flatten()
        .map(|file| file.file_name());
    Ok(names
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

#[test]
fn while_it_attaches_for_the_first_time() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("crash", &old())
        .prepare()?;
    daemon.start()?;
    let shell = Shell::start(&daemon, "crash")?;
    let there = inventory::of(&daemon)?;
    drop(shell);
    daemon.teardown()?;
    is_gone(&daemon, "nobody was killed")?;
    at_each_step(Which::OfEachKind, |_, step| {
        let guardd = daemon.guardd()?;
        let ended = run(&daemon, &guardd, step)?;
        let what = behind(step, &ended);
        guards(&mut daemon, &there, &what)?;
        daemon.teardown()?;
        is_gone(&daemon, &what)?;
        Ok(ended)
    })?;
    assert!(production.reached_at(NEITHER, 443)?.is_empty());
    Ok(())
}

#[test]
fn while_it_takes_down() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("crash", &old())
        .start()?;
    let shell = Shell::start(&daemon, "crash")?;
    let there = inventory::of(&daemon)?;
    drop(shell);
    daemon.teardown()?;
    at_each_step(Which::OfEachKind, |turn, step| {
        daemon.start()?;
        let mut shell = Shell::start(&daemon, "crash")?;
        daemon.stop()?;
        let mut teardown = daemon.guardd()?;
        teardown.args(["teardown", "--force"]);
        let ended = run(&daemon, &teardown, step)?;
        let what = behind(step, &ended);
        if turn % 2 == 0 {
            // It begins again.
            drop(shell);
            guards(&mut daemon, &there, &what)?;
        } else {
            // Who lives is guarded until it ends: sessions end before their guard.
            if ended.steps.len() < 2 {
                // It may end at any moment: that is what the first step asks for.
                let reaches = shell.reaches(&Attempt::tcp(NEITHER, 443));
                assert!(!reaches.unwrap_or(false), "{what}");
            }
            drop(shell);
        }
        daemon.teardown()?;
        is_gone(&daemon, &what)?;
        Ok(ended)
    })?;
    assert!(production.reached_at(NEITHER, 443)?.is_empty());
    Ok(())
}
