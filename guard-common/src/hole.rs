//! Holes as the kernel holds them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, Mask, Protocol, SessionId};

/// `h1`, `h2`, … 0 is none.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct HoleId(pub u32);

/// Holes of one session at most.
pub const MAX_HOLES: usize = 64;

/// One hole of a session.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HoleEntry {
    /// The prefix that it opens.
    pub prefix: Address,
    /// The mask of that prefix.
    pub mask: Mask,
    /// It is over from this moment on.
    pub expires: BootTime,
    /// Its id.
    pub id: HoleId,
    /// First port, host byte order.
    pub low: u16,
    /// Last port, host byte order.
    pub high: u16,
    /// Length of the prefix in IPv6 bits.
    pub prefix_len: u8,
    /// Which protocol, or [`Protocol::ANY`].
    pub protocol: Protocol,
    /// 1 where connections are counted down in the `BUDGETS` map.
    pub counted: u8,
    /// Unused.
    pub pad: [u8; 5],
}

impl HoleEntry {
    /// Whether the connection's destination, protocol and port lie in it.
    #[inline(always)]
    #[must_use]
    pub const fn covers(&self, to: &Address, protocol: Protocol, port: u16) -> bool {
        to.matches(&self.prefix, &self.mask)
            && self.protocol.covers(protocol)
            && self.low <= port
            && port <= self.high
    }
}

/// All holes of one session: the value of `HOLES`, keyed by the session's id.
///
/// The most specific comes first: the longest prefix, then the narrower protocol and port range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HoleList {
    /// Changes with each write. The kernel may reuse a hash map's element while a program still
    /// reads it, for another session's list too; a reader that does not find `head`, as it was when it began,
    /// in `head` and `tail`, and its own session in `session`, saw a mixture, and denies.
    pub head: u32,
    /// How many entries there are.
    pub len: u32,
    /// The holes.
    pub entries: [HoleEntry; MAX_HOLES],
    /// As `head`.
    pub tail: u32,
    /// Whose they are.
    pub session: SessionId,
}
