//! The kernel log: what the kernel half says of each decision, to whoever debugs a verdict.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::BootTime;

/// Whose decisions the programs log, as they are told when they are loaded: a session's number, or one of these.
pub mod kernel_log {
    /// Nobody's: then the verifier finds that nothing in a program leads to the log, and leaves all of that out.
    pub const OFF: u32 = 0;
    /// Everybody's, also of cgroups that no session owns.
    pub const ALL: u32 = u32::MAX;
}

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogOutcome {
    /// It was refused, or the packet dropped.
    Refused = 0,
    /// The policies, or the hole, allowed it.
    Allowed = 1,
    /// It goes to a server of the session's own: no policy was asked.
    Own = 2,
    /// It is what the socket was allowed last: no policy was asked.
    Cached = 3,
    /// It goes to the proxy instead.
    Redirected = 4,
    /// It is held for an approver.
    Held = 5,
    /// Its first packet tells who receives it.
    InDoubt = 6,
    /// It goes to the guard's own proxy, whether it was redirected or asked for that: the destination is the proxy's.
    ToProxy = 7,
    /// The packet could not be parsed, or has what is never let out.
    Unreadable = 8,
    /// The packet is for this host alone and leaves by another device than loopback.
    Strays = 9,
    /// A UDP socket may be connected, which sends nothing; what it sends is judged.
    Unsent = 10,
}

impl LogOutcome {
    /// The one that a line names, if it is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Refused,
            1 => Self::Allowed,
            2 => Self::Own,
            3 => Self::Cached,
            4 => Self::Redirected,
            5 => Self::Held,
            6 => Self::InDoubt,
            7 => Self::ToProxy,
            8 => Self::Unreadable,
            9 => Self::Strays,
            10 => Self::Unsent,
            _ => return None,
        })
    }

    /// As the log names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Allowed => "allowed",
            Self::Own => "own_server",
            Self::Cached => "cached",
            Self::Redirected => "redirected",
            Self::Held => "held",
            Self::InDoubt => "in_doubt",
            Self::ToProxy => "to_proxy",
            Self::Unreadable => "unreadable",
            Self::Strays => "strays",
            Self::Unsent => "unsent",
        }
    }
}

/// The one value of `LOG_LINES`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LogLines {
    /// The second that `in_window` counts.
    pub window: BootTime,
    /// Decisions in that second that are logged.
    pub in_window: u64,
    /// Lines that were written. One for which the ring buffer had no room counts too.
    pub written: u64,
    /// Lines that were too many in their second.
    pub left_out: u64,
}
