//! Connections that are held for an approver's answer: what guardd and the kernel half write down of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, Connection, Protocol, SessionId};

/// The shortest interval, in nanoseconds, between the report of an attempt at a destination and the report of a connection that
/// is held for the same destination.
pub const HELD_PAUSE: u64 = 125_000_000;

/// The value of `PATIENCE`, keyed by session id: whether the session's connections are held, and for how long. Zeroed memory:
/// not at all.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HoldTerms {
    /// The deadline after which no further connection is held. guardd renews it while it runs and an approver follows.
    pub until: BootTime,
    /// How long one connection is held, in nanoseconds.
    pub time: u64,
    /// How many of its probes (SYNs) follow the one before in half a second. The intervals between later ones grow.
    pub quick: u64,
}

/// The value of `HELD`, keyed by a socket's cookie: a TCP connection that is held.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Held {
    /// Since when.
    pub since: BootTime,
    /// Until when.
    pub until: BootTime,
    /// Where to.
    pub destination: Address,
    /// Whose it is.
    pub session: SessionId,
    /// The process that asked, in the first namespace of processes.
    pub tgid: u32,
    /// The port, host byte order.
    pub port: u16,
    /// Unused.
    pad: [u8; 6],
}

impl Held {
    /// A connection of a session that is held between these two times.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        [since, until]: [BootTime; 2],
        session: SessionId,
        tgid: u32,
        to: &Connection,
    ) -> Self {
        Self {
            since,
            until,
            destination: to.to,
            session,
            tgid,
            port: to.port,
            pad: [0; 6],
        }
    }
}

/// The key of `REFUSED`, whose value is a [`BootTime`]: until then a person's no is valid, and connections there are refused at
/// once instead of being held.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RefusedKey {
    /// Where to.
    pub destination: Address,
    /// Whose attempts.
    pub session: SessionId,
    /// The port, host byte order.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Unused.
    pad: u8,
}

impl RefusedKey {
    /// For a session's attempts at that destination.
    #[inline(always)]
    #[must_use]
    pub const fn new(session: SessionId, to: &Connection) -> Self {
        Self {
            destination: to.to,
            session,
            port: to.port,
            protocol: to.protocol,
            pad: 0,
        }
    }
}
