//! What guardd and a session's launcher and supervisor tell each other about Unix sockets.

use std::path::PathBuf;

use guard_policy::SocketName;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;

/// Which Unix sockets a session may connect to, beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketTerms {
    /// What the policy allows.
    pub allow: Vec<SocketName>,
    /// Where the kernel lets it connect by itself.
    pub by_itself: Vec<PathBuf>,
}

/// A socket that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSocket {
    /// What a policy calls it.
    pub name: SocketName,
    /// Its number (`SO_COOKIE`), which no other socket ever has.
    pub cookie: u64,
}

/// Answer to [`Call::HasSocket`] and [`Call::HasBound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HasSocket {
    /// Whether one has.
    pub open: bool,
}

/// Answer to [`Call::SocketAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketAddress {
    /// Its path, or its abstract name after an `@`; empty where that cannot be told, and absent where the thread is about
    /// to connect to something else.
    pub socket: Option<String>,
    /// Whether a path means to the thread what it means to the caller: both have the same root directory.
    pub same_root: bool,
}
