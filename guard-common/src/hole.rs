//! Holes as the kernel holds them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, Mask, Protocol, SessionId};

number! {
    /// `h1`, `h2`, … 0 is none.
    HoleId(u32)
}

/// The key of a budget in `BUDGETS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BudgetId(pub u32);

impl BudgetId {
    /// Set where connections of a hole for reads alone, or for so many bytes, are counted: pins of 0.2.0 have it. No hole's own
    /// number is as large as this or the next.
    const READS_OR_BYTES: u32 = 1 << 31;
    /// Set where bytes are counted.
    const BYTES: u32 = 1 << 30;

    /// Under which the connections of such a hole are counted.
    #[inline(always)]
    #[must_use]
    pub const fn of(hole: HoleId, kind: HoleKind) -> Self {
        if kind.reads() || kind.counts_bytes() {
            Self(hole.0 | Self::READS_OR_BYTES)
        } else {
            Self(hole.0)
        }
    }

    /// Under which the bytes of a hole are counted.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(hole: HoleId) -> Self {
        Self(hole.0 | Self::BYTES)
    }

    /// Whose it is.
    #[inline(always)]
    #[must_use]
    pub const fn hole(self) -> HoleId {
        HoleId(self.0 & !(Self::READS_OR_BYTES | Self::BYTES))
    }
}

/// What a hole lets through: one number of a [`HoleEntry`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct HoleKind(u8);

impl HoleKind {
    /// Any number of connections.
    pub const ALL: Self = Self(0);
    /// So many connections as there are in `BUDGETS`.
    pub const COUNTED: Self = Self(1);
    /// Any number of connections, by way of the proxy, which lets reads through.
    pub const READS: Self = Self(2);
    /// So many of these.
    pub const COUNTED_READS: Self = Self(3);
    /// Any number of connections, which send so many bytes as there are in `BUDGETS`, all together.
    pub const BYTES: Self = Self(4);
    /// So many of these.
    pub const COUNTED_BYTES: Self = Self(5);

    /// The one that is for reads alone or not, and counted or not.
    #[must_use]
    pub const fn new(reads: bool, counted: bool) -> Self {
        match (reads, counted) {
            (false, false) => Self::ALL,
            (false, true) => Self::COUNTED,
            (true, false) => Self::READS,
            (true, true) => Self::COUNTED_READS,
        }
    }

    /// The one that is for so many bytes, and whose connections are counted or not.
    #[must_use]
    pub const fn of_bytes(counted: bool) -> Self {
        if counted {
            Self::COUNTED_BYTES
        } else {
            Self::BYTES
        }
    }

    /// Out of [`Self::as_u32`].
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Self {
        Self(value as u8)
    }

    /// As a number of the size that functions of the kernel half pass on.
    #[inline(always)]
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0 as u32
    }

    /// Whether it is one of these. What comes later lets nothing through.
    #[inline(always)]
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 <= Self::COUNTED_BYTES.0
    }

    /// Whether it is for reads alone.
    #[inline(always)]
    #[must_use]
    pub const fn reads(self) -> bool {
        self.0 & Self::READS.0 != 0
    }

    /// Whether what its connections send is counted.
    #[inline(always)]
    #[must_use]
    pub const fn counts_bytes(self) -> bool {
        self.0 & Self::BYTES.0 != 0
    }

    /// Whether its connections are counted.
    #[inline(always)]
    #[must_use]
    pub const fn is_counted(self) -> bool {
        self.0 & Self::COUNTED.0 != 0
    }
}

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
    /// What it lets through.
    pub kind: HoleKind,
    /// Unused.
    pub pad: [u8; 5],
}

impl HoleEntry {
    /// Whether the connection's destination, protocol and port lie in it. A hole for a loopback address opens what listens there.
    #[inline(always)]
    #[must_use]
    pub const fn covers(&self, to: &Address, protocol: Protocol, port: u16) -> bool {
        let by_address = to.is_listener() && !self.prefix.is_listener();
        let to = if by_address { to.connected() } else { *to };
        to.matches(&self.prefix, &self.mask)
            && self.protocol.covers(protocol)
            && self.low <= port
            && port <= self.high
    }
}

/// All holes of one session: the value of `HOLES`, keyed by the session's id.
///
/// Those for reads alone come last. Of each sort the most specific comes first: the longest prefix, then the narrower
/// protocol and port range.
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
