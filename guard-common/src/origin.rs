//! The original destinations of connections that are redirected to the guard's own proxy.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, SessionId};

/// The number that names a network namespace until the machine is booted again (`SO_NETNS_COOKIE`,
/// `bpf_get_netns_cookie`). It is never 0, and never used twice.
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
pub struct NetnsCookie(pub u64);

/// The key of `ORIGINS`: the client's end of a connection to the proxy, which the proxy learns by `accept`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct OriginKey {
    /// The network namespace of both.
    pub netns: NetnsCookie,
    /// The peer's address.
    pub address: Address,
    /// The peer's port, host byte order.
    pub port: u16,
    /// Unused.
    pad: [u8; 6],
}

impl OriginKey {
    /// For a peer in a network namespace; `port` in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(netns: NetnsCookie, address: Address, port: u16) -> Self {
        Self {
            netns,
            address,
            port,
            pad: [0; 6],
        }
    }
}

/// The value of `ORIGINS`: the original destination of a redirected connection.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Origin {
    /// When the connection was begun.
    pub at: BootTime,
    /// The address that was asked for.
    pub destination: Address,
    /// Whose connection it is.
    pub session: SessionId,
    /// The process that asked, in the first namespace of processes.
    pub tgid: u32,
    /// The port that was asked for, host byte order.
    pub port: u16,
    /// Unused.
    pad: [u8; 6],
}

impl Origin {
    /// A connection of a session and one of its processes, begun at that time; `port` in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        at: BootTime,
        (session, tgid): (SessionId, u32),
        destination: Address,
        port: u16,
    ) -> Self {
        Self {
            at,
            destination,
            session,
            tgid,
            port,
            pad: [0; 6],
        }
    }
}
