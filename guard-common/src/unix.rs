//! What the program for Unix sockets and guardd agree on, where no program at a security hook judges them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Flags of a [`UnixSession`].
pub mod unix_flags {
    /// Nothing of the session is judged: nobody connects its sockets for it.
    pub const FREE: u32 = 1;
    /// Landlock judges the session's abstract names.
    pub const ABSTRACT: u32 = 2;
}

/// The value of `UNIX`, keyed by the id of the session's cgroup. One without is judged like one of zeros.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UnixSession {
    /// [`unix_flags`].
    pub flags: u32,
    /// The number of the user namespace, beside the machine's own, in which paths are what they seem; or 0.
    pub user_namespace: u32,
}
