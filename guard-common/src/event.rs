//! What the kernel half reports to guardd in the ring buffer: refusals, and connections that are held.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, Protocol, SessionId};

/// Which program reports, and so what an [`Event`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hook {
    /// `connect` on an IPv4 socket.
    Connect4 = 1,
    /// `connect` on an IPv6 socket.
    Connect6 = 2,
    /// `sendto`, `sendmsg`, `sendmmsg` on an unconnected IPv4 UDP socket.
    Sendmsg4 = 3,
    /// The same on an IPv6 UDP socket.
    Sendmsg6 = 4,
    /// A packet on its way out.
    Egress = 5,
    /// `socket`.
    SockCreate = 6,
    /// The first record of a connection whose TLS has to show a name that the policies allow.
    Hello = 10,
}

impl Hook {
    /// The hook that an event names, if it is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Connect4,
            2 => Self::Connect6,
            3 => Self::Sendmsg4,
            4 => Self::Sendmsg6,
            5 => Self::Egress,
            6 => Self::SockCreate,
            10 => Self::Hello,
            _ => return None,
        })
    }

    /// As the log names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Egress => "egress",
            Self::SockCreate => "sock_create",
            Self::Hello => "hello",
        }
    }
}

/// Why something is refused: for what the policies say of the destination, or for what else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// For what the policies say.
    Policies = 0,
    /// A UDP socket was connected again before what it was connected to was judged.
    ConnectedAgain = 1,
    /// A socket asks a name server past the guard's resolver: it was connected before a policy had rules for names.
    PastResolver = 2,
    /// For what the policies say, and nothing was sent: a UDP socket was to be connected.
    NothingSent = 3,
    /// The guard's own proxy listens there: it serves what is redirected to it, and nobody who asks for it.
    OwnProxy = 5,
    /// Another thread was writing what the kernel half knows of the socket, or memory for it was short.
    Busy = 6,
}

impl Cause {
    /// The cause that an event names.
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::ConnectedAgain,
            2 => Self::PastResolver,
            3 => Self::NothingSent,
            5 => Self::OwnProxy,
            6 => Self::Busy,
            _ => Self::Policies,
        }
    }
}

/// A record in the ring buffer `EVENTS`: a refusal, or a connection that is held.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Event {
    /// When.
    pub at: BootTime,
    /// The cgroup that was judged: the session's, or another under the root.
    pub cgroup: u64,
    /// How many attempts at this destination the session has made by now, this one included.
    pub count: u64,
    /// The destination, canonical; another program's listener by [`Address::of_listener`].
    pub destination: Address,
    /// Whose attempt.
    pub session: SessionId,
    /// The thread; 0 where the hook does not know it (packets).
    pub pid: u32,
    /// The process; 0 where the hook does not know it.
    pub tgid: u32,
    /// Its user; `u32::MAX` where the hook does not know it.
    pub uid: u32,
    /// The slot of the policy that decided.
    pub policy: u32,
    /// Destination port in host byte order, 0 where the protocol has none.
    pub port: u16,
    /// Index of the rule in that policy, or [`crate::DEFAULT_RULE`].
    pub rule: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// A [`crate::Verdict`].
    pub verdict: u8,
    /// A [`Hook`].
    pub hook: u8,
    /// `SOCK_` type for [`Hook::SockCreate`], else 0.
    pub socket_type: u8,
    /// The thread's name. A program chooses it; under `io_uring` it is a kernel worker's.
    pub comm: [u8; 16],
    /// 1 where the connection was not refused but is held for an approver.
    pub held: u8,
    /// A [`Cause`].
    pub cause: u8,
    /// Unused.
    pub pad: [u8; 2],
}

/// The key of `ATTEMPTS`: refusals of one kind are counted in the kernel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AttemptKey {
    /// Where it wanted to go.
    pub destination: Address,
    /// Whose attempt.
    pub session: SessionId,
    /// Destination port, host byte order.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// A [`crate::Verdict`], or [`Self::NOTHING_SENT`].
    pub verdict: u8,
}

impl AttemptKey {
    /// What refusals for [`Cause::NothingSent`] are counted as: what is sent there is reported for itself.
    pub const NOTHING_SENT: u8 = 1;

    /// Whose attempt it is, and where it wanted to go.
    #[must_use]
    pub const fn there(&self) -> (SessionId, Address, Protocol, u16) {
        (self.session, self.destination, self.protocol, self.port)
    }
}

/// The value of `ATTEMPTS`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AttemptCount {
    /// How often.
    pub count: u64,
    /// When it was last reported.
    pub reported: BootTime,
}

/// The value of `STATS`, keyed by session id. `denied == reported + summed_up + lost`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SessionStats {
    /// Refusals.
    pub denied: u64,
    /// Refusals that have an event of their own.
    pub reported: u64,
    /// Refusals that a count stands for: the same destination again, or too many in a second.
    pub summed_up: u64,
    /// Refusals that should have had an event, but the ring buffer was full.
    pub lost: u64,
    /// The second that `in_window` counts.
    pub window: BootTime,
    /// Events in that second, and in the high half those that were told though the sessions with which this one has a share
    /// had used it up.
    pub in_window: u64,
}
