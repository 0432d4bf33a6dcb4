//! No room for the audit log: nothing is decided any more, everything is enforced as before.

use std::fs;

use guard_lab::{AGENT, Daemon, Network};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::control::{V4, daemon, shell};

/// Lets the daemon write no file longer than that, as a full disk would; nothing lifts it.
fn limit_files(daemon: &Daemon, bytes: Option<u64>) {
    let pid = daemon
        .pid()
        .and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let network = Network::new().unwrap();
    let daemon = daemon(&network);
    let _shell = shell(&daemon, AGENT);
    let trail = fs::read(daemon.audit()).unwrap();
    limit_files(&daemon, Some(trail.len() as u64 + 100));
    let refused = daemon
        .root(["--json", "open", V4, "--all-ports"])
        .run()
        .unwrap();
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("make room"), "{}", refused.stderr);
    let holes = daemon.root(["holes"]).json().unwrap();
    assert_eq!(holes, serde_json::json!([]));
    let status = daemon.root(["status"]).json().unwrap();
    assert_eq!(status["enforcing"], true);
    // No half a line is left of what did not fit.
    assert_eq!(fs::read(daemon.audit()).unwrap(), trail);
    limit_files(&daemon, None);
    daemon.root(["open", V4, "--all-ports"]).json().unwrap();
}
