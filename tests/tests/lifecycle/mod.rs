//! The daemon's life against the real kernel: killed, started again, taken down, and two at once.

mod adoption;
mod exclusive;
mod killed;
mod pins;
mod teardown;

use std::process::{Command, Output};

use guard_lab::{Daemon, NEVER, Network, OPEN, V4};
use serde_json::Value;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;

fn prepared(network: &Network) -> Daemon {
    let daemon = Daemon::in_network(network).policy("asks", POLICY);
    daemon.prepare().unwrap()
}

fn started(network: &Network) -> Daemon {
    let mut daemon = prepared(network);
    daemon.start().unwrap();
    daemon
}

fn json(daemon: &Daemon, args: &[&str]) -> Value {
    daemon.root(args).json().unwrap()
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
