//! The audit log of a real guardd: whether it is whole, who decided, and what can be made of it.

mod decided;
mod learned;
mod whole;

use guard_lab::{Daemon, Shell, eventually};

/// It is asked about.
const ASKED: &str = "192.0.2.10";
/// So is this.
const OTHER: &str = "192.0.2.11";

/// Tries it, is refused, and gives the request that comes of it.
fn ask(daemon: &Daemon, shell: &mut Shell, to: &str, port: u16) -> String {
    let attempt = guard_lab::Attempt::tcp(to, port);
    assert!(!shell.reaches(&attempt).unwrap());
    let request = || {
        let pending = daemon.json(["pending"]).unwrap();
        let all = pending.as_array().unwrap();
        let found = all
            .iter()
            .find(|one| one["destination"]["address"] == to && one["destination"]["port"] == port);
        found.map(|one| one["id"].as_str().unwrap().to_owned())
    };
    eventually("it is asked", || request().is_some()).unwrap();
    request().unwrap()
}
