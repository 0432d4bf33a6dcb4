//! Connections that wait for a person's answer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, Connection, Protocol, SessionId};

/// For so long, in nanoseconds, after the report of a refusal or of a connection that waits the kernel reports none that
/// waits for the same destination.
pub const HELD_PAUSE: u64 = 125_000_000;

/// The value of `PATIENCE`, keyed by session id: whether, and how long, its connections wait. Zeroed memory: not at all.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Patience {
    /// No connection begins to wait after: guardd says so anew for as long as it runs and somebody could answer.
    pub until: BootTime,
    /// How long one waits, in nanoseconds.
    pub time: u64,
    /// How many of its probes come half a second after the one before. The later ones come ever later.
    pub quick: u64,
}

/// The value of `HELD`, keyed by a socket's cookie: a TCP connection that waits.
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
    /// A session's connection, from that time on and until that.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        [since, until]: [BootTime; 2],
        (session, tgid): (SessionId, u32),
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

/// The key of `REFUSED`, whose value is a [`BootTime`]: until then a person's no holds, and nothing waits there.
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
    /// For a session's attempts to get there.
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
