//! The daemon's life against the real kernel: killed, started again, taken down, and two at once.

mod adoption;
mod exclusive;
mod killed;
mod pins;
mod teardown;

use std::process::{Command, Output};

use guard_lab::{ASKS, Daemon, Network};

fn prepared(network: &Network) -> Daemon {
    let daemon = Daemon::in_network(network).policy("asks", ASKS);
    daemon.prepare().unwrap()
}

fn started(network: &Network) -> Daemon {
    let mut daemon = prepared(network);
    daemon.start().unwrap();
    daemon
}

/// Runs a `guardd` that is to fail, and gives what it says.
fn refused(guardd: &mut Command) -> String {
    let output = ended(guardd);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{guardd:?}: {said}");
    said
}

/// Runs a `guardd` that is to end by itself.
fn ended(guardd: &mut Command) -> Output {
    guard_lab::exec::output(guardd).unwrap()
}
