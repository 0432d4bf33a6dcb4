//! Who listens at the socket, as the kernel tells.

use std::path::Path;

use rustix::process::Uid;

use crate::cli::error::CliError;
use crate::proto::Failure;

/// Whom to believe.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trust {
    /// Root and the caller's own user.
    Strict,
    /// These, and in a user namespace where root has no uid, whoever has none there.
    Overflow,
}

impl Trust {
    pub(super) fn check(self, socket: &Path, peer: Uid) -> Result<(), CliError> {
        if peer.is_root() || peer == rustix::process::getuid() {
            return Ok(());
        }
        if matches!(self, Self::Overflow)
            && root_is_unmapped()
            && Some(peer.as_raw()) == overflow_uid()
        {
            return Ok(());
        }
        Err(CliError::Local(Failure {
            what: format!("will not talk to whoever listens at {}", socket.display()),
            why: format!(
                "it is uid {peer}, neither root nor you",
                peer = peer.as_raw()
            ),
            fix: "start guardd as root, and name its socket:\nguard --socket PATH …".into(),
        }))
    }
}

/// Whether this process is in a user namespace that has no uid for the uid 0 outside.
fn root_is_unmapped() -> bool {
    // Lines of: the first uid inside, the first uid in the parent, how many. user_namespaces(7)
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    !map.lines()
        .any(|line| line.split_whitespace().nth(1) == Some("0"))
}

fn overflow_uid() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid")
        .ok()?
        .trim()
        .parse()
        .ok()
}
