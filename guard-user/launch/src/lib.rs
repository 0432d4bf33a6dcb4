//! Launches a command under the guard: its user, how it gets into its session's cgroup, the rights that it gives up first, and
//! how it is connected to the terminal and gets signals.

mod contain;
mod identity;
pub mod landlock;
mod launch;
mod populated;
mod rights;
mod root;
mod seccomp;
mod sockets;
mod trust;
mod worker;

use guard_proto::Failure;
use serde::{Deserialize, Serialize};

pub use contain::give_up;
pub use identity::CommandIdentity;
pub use launch::{Command, CommandStatus, Entered, TerminalNotes, ToldRoot, launch};
pub use sockets::{Ask, Listening, RefusedSocket, SessionSockets, named};
pub use trust::Trust;
pub use worker::{GuarddConnection, become_nobody, exchange_versions, first_message};

/// Why a command was not run, and the exit status that says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{failure}")]
pub struct LaunchError {
    /// 125: the guard could not start it. 126: it cannot be executed. 127: it was not found.
    pub code: u8,
    /// In words.
    pub failure: Failure,
}

/// The guard could not start the command.
const NOT_STARTED: u8 = 125;
/// It is not executable.
const NOT_EXECUTABLE: u8 = 126;
/// Not found.
const NOT_FOUND: u8 = 127;
/// Plus n: signal n ended it.
const KILLED: u8 = 128;

impl From<Failure> for LaunchError {
    fn from(failure: Failure) -> Self {
        Self {
            code: NOT_STARTED,
            failure,
        }
    }
}

fn failure(what: &str, why: impl ToString, fix: &str) -> Failure {
    Failure {
        what: what.to_owned(),
        why: why.to_string(),
        fix: fix.to_owned(),
    }
}
