//! The audit log of a real guardd: whether it is whole, who decided, and what can be made of it.

mod decided;
mod learned;
mod whole;

use guard_lab::{Daemon, Network, Shell, eventually};
use serde_json::Value;

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "confirm"
"#;

/// It is asked about.
const ASKED: &str = "192.0.2.10";
/// So is this.
const OTHER: &str = "192.0.2.11";

fn lab() -> (Network, Daemon) {
    let network = Network::new().unwrap();
    let daemon = Daemon::in_network(&network).policy("asks", POLICY);
    let daemon = daemon.start().unwrap();
    (network, daemon)
}

fn json(daemon: &Daemon, args: &[&str]) -> Value {
    daemon.root(args).json().unwrap()
}

/// Tries it, is refused, and gives the request that comes of it.
fn ask(daemon: &Daemon, shell: &mut Shell, to: &str, port: u16) -> String {
    let attempt = guard_lab::Attempt::tcp(to, port);
    assert!(!shell.reaches(&attempt).unwrap());
    let request = || {
        let pending = json(daemon, &["pending"]);
        let all = pending.as_array().unwrap();
        let found = all
            .iter()
            .find(|one| one["destination"]["address"] == to && one["destination"]["port"] == port);
        found.map(|one| one["id"].as_str().unwrap().to_owned())
    };
    eventually("it is asked", || request().is_some()).unwrap();
    request().unwrap()
}

/// The records of a kind.
fn records(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let log = daemon.root(["log", "--json"]).run().unwrap();
    let all = log.success().unwrap().json_lines().unwrap();
    all.into_iter().filter(|one| one["kind"] == kind).collect()
}
