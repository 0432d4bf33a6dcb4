//! Listeners on the loopback outside of a session, and their upstreams.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, Connection, NetnsCookie, Protocol};

/// Upstreams that are kept of one listener; one with more counts as having any.
pub const MAX_UPSTREAMS: usize = 16;

number! {
    /// The number that the kernel half has given to a listener, for as long as that lives. 0 is none.
    Ticket(u64)
}

/// Bits of [`Relay::flags`].
pub mod relay_flags {
    /// Its upstreams are the client's choice, or cannot be found out: only what a person has allowed passes.
    pub const ANYWHERE: u16 = 1;
    /// A session has connected to another listener at its address and port since. Only guardd reads it, after a restart.
    pub const REPLACED: u16 = 2;
}

/// The value of `RELAYS`, keyed by [`Ticket`]: the upstreams of a listener. Written by guardd; a listener without one has not
/// been scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Relay {
    /// Another one with each write, and the same as [`Self::tail`] in what is whole.
    pub head: u64,
    /// Whose value it is.
    pub ticket: Ticket,
    /// The cgroup of the session whose listener it is; 0 where it is none's, or not known to be one's.
    pub owner: u64,
    /// Its network namespace; 0 where that is not known.
    pub netns: NetnsCookie,
    /// The address that was connected to: the listener's own may be for all.
    pub address: Address,
    /// Its port, host byte order.
    pub port: u16,
    /// [`relay_flags`].
    pub flags: u16,
    /// How many [`Self::upstreams`] there are.
    pub len: u32,
    /// Its upstreams.
    pub upstreams: [Connection; MAX_UPSTREAMS],
    /// See [`Self::head`].
    pub tail: u64,
}

/// The value of `DIALERS`, keyed by a process' id: one that serves a listener which a session has connected to. What it
/// connects to may be that listener's upstream. Written by guardd.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Dialer {
    /// Until then: it may have ended, and its id be another's.
    pub until: BootTime,
    /// The cgroup of the session that it is in; 0 outside.
    pub cgroup: u64,
    /// The second that `in_window` counts. Written by the kernel half, as that.
    pub window: BootTime,
    /// How many of its dials were counted in that second.
    pub in_window: u64,
    /// How many could not be reported. Written by the kernel half.
    pub lost: u64,
}

/// The key of `DIALED`: a dial that was reported lately.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Dialed {
    /// Where it connects to.
    pub to: Address,
    /// The key of its [`Dialer`].
    pub process: u32,
    /// The port, host byte order.
    pub port: u32,
}

impl Relay {
    /// One without upstreams, as far as is known.
    #[must_use]
    pub const fn new(ticket: Ticket, netns: NetnsCookie, address: Address, port: u16) -> Self {
        let nowhere = Connection::new(Address([0; 4]), Protocol(0), 0);
        Self {
            head: 0,
            ticket,
            owner: 0,
            netns,
            address,
            port,
            flags: 0,
            len: 0,
            upstreams: [nowhere; MAX_UPSTREAMS],
            tail: 0,
        }
    }

    /// The same, by which nothing is decided any more: the kernel half takes it for one that is being written.
    #[must_use]
    pub const fn void(self, at: BootTime) -> Self {
        Self {
            head: at.0,
            tail: !at.0,
            ..self
        }
    }

    /// Whether it is decided by.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.head == self.tail
    }
}
