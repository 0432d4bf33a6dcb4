//! Sessions as the kernel knows them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::PolicyId;

number! {
    /// `s1`, `s2`, … 0 stands for a cgroup under the root that no session owns.
    SessionId(u32)
}

/// Policies that judge a session at most, and so how deep sessions nest.
pub const MAX_CHAIN: usize = 4;

/// The value of `SESSIONS`, keyed by the id of the session's cgroup. Key 0 holds what an unowned
/// cgroup under the root is judged by; without it such a cgroup is denied everything.
///
/// Written when the session starts, and replaced as a whole where its policies change.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The policies that judge it, the innermost first: what narrows it alone, its own, those of the sessions that it was
    /// started in, and a fleet's. The strictest verdict wins, so that a nested session can only narrow. Unused ones are 0.
    pub policies: [PolicyId; MAX_CHAIN],
}
