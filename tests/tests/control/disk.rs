//! No room for the audit log: nothing is decided any more, everything is enforced as before.

use std::fs;

use guard_lab::{AGENT, Daemon, Network, Tested, V4};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::control::{daemon, shell};

/// Lets the daemon write no file longer than that, as a full disk would; nothing lifts it.
fn limit_files(daemon: &Daemon, bytes: Option<u64>) -> Tested {
    let pid = daemon
        .pid()
        .and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit)?;
    Ok(())
}

#[test]
fn what_cannot_be_written_down_is_not_done() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let _shell = shell(&daemon, AGENT);
    let trail = fs::read(daemon.audit())?;
    limit_files(&daemon, Some(trail.len() as u64 + 100))?;
    let refused = daemon.root(["--json", "open", V4, "--all-ports"]).run()?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("make room"), "{}", refused.stderr);
    let holes = daemon.json(["holes"])?;
    assert_eq!(holes, serde_json::json!([]));
    let status = daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true);
    // No half a line is left of what did not fit.
    assert_eq!(fs::read(daemon.audit())?, trail);
    limit_files(&daemon, None)?;
    daemon.json(["open", V4, "--all-ports"])?;
    Ok(())
}
