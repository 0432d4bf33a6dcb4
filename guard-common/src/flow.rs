//! Flows: what a session has reached, as the kernel half adds it up.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, Connection, Protocol, SessionId};

/// The key of `FLOWS`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FlowKey {
    /// The session that made the socket.
    pub session: SessionId,
    /// Destination port in host byte order, 0 where the protocol has none.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    pad: u8,
    /// Where to.
    pub address: Address,
    /// What the thread called itself that made the socket, up to a zero; all zeros where that is not known.
    pub program: [u64; 2],
}

impl FlowKey {
    /// A destination of a program of a session's.
    #[inline(always)]
    #[must_use]
    pub const fn new(session: SessionId, to: &Connection, program: [u64; 2]) -> Self {
        Self {
            session,
            port: to.port,
            protocol: to.protocol,
            pad: 0,
            address: to.to,
            program,
        }
    }
}

/// The value of `FLOWS`: what went there. Each field is written for itself.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Flow {
    /// When the first connection was established.
    pub first: BootTime,
    /// When the last one was, or one was closed.
    pub last: BootTime,
    /// How many there were. Of UDP: how often a socket turned to that destination.
    pub connections: u64,
    /// Bytes that were sent, and acknowledged, over TCP connections that are closed.
    pub sent: u64,
    /// Bytes that were received over these.
    pub received: u64,
    /// What the policies said when it was last decided ([`crate::PolicyVerdict::pack`]), and in the high half which of them.
    pub said: u64,
    /// The generation under which they said it.
    pub generation: u64,
}

/// How many flows are kept of an outermost session and all that are inside it.
pub const MAX_FLOWS: u64 = 4096;

/// The key of `FLOW_SHARES`: a number of an outermost session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FlowCount {
    /// How many flows are kept.
    Kept = 0,
    /// Connections that there was no room to add up.
    LeftOut = 1,
}

impl FlowCount {
    /// That number of an outermost session.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, outermost: SessionId) -> u64 {
        ((self as u64) << 32) | outermost.0 as u64
    }
}
