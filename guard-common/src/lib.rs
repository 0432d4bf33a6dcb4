//! What the kernel half and the user half of guard agree on: map keys and values, the event
//! record, and what a verdict is made of ([`said_of`], [`NamesSaid`], [`find_hole`], [`with_hole`]); [`decide`] is all of it, in one.
//!
//! Every type here that crosses the boundary is `repr(C)` without padding (zerocopy proves it), and
//! all of its bits patterns are valid: whatever cannot be understood means [`Verdict::Deny`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// Makes a type of a number, so that it is not mixed up with another.
macro_rules! number {
    ($(#[$about:meta])* $name:ident($number:ty)) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, zerocopy::FromBytes,
            zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $number);
    };
}

mod address;
mod answered;
mod decide;
mod event;
mod flow;
mod held;
mod hole;
mod log;
mod lsm;
mod names;
mod origin;
mod policy;
mod session;
pub mod tls;
mod unix;

pub use address::{Address, Mask, Ticket};
pub use answered::{Answered, AnsweredKey, MAX_SENT_NAME, NAME_WORDS};
pub use decide::{
    Connection, Decision, NamesSaid, Passage, PolicyVerdict, Said, Tables, Wanted, chain_verdict,
    decide, find_hole, may_show, named_verdict, policy_verdict, said_of, with_hole,
};
pub use event::{AttemptCount, AttemptKey, Cause, Event, Hook, SessionStats};
pub use flow::{Flow, FlowCount, FlowKey, MAX_FLOWS, Mark};
pub use held::{HELD_PAUSE, Held, HoldTerms, RefusedKey};
pub use hole::{BudgetId, HoleEntry, HoleId, HoleKind, HoleList, MAX_HOLES};
pub use log::{LogLines, LogOutcome, kernel_log};
pub use lsm::{
    AllowedName, AllowedSocket, LSM_JUDGES, LsmEvent, LsmHook, LsmSession, NAME_SIZE, at,
};
pub use names::{DNS_PORT, Learned, MAX_NAMED, MAX_PATTERNS, MAX_TAUGHT, NameId, Named, NamedKey};
pub use origin::{
    ASKED_AT_ONCE, MAX_ASKED, NetnsCookie, Origin, OriginKey, QuestionHash, QueueKey, Reason,
};
pub use policy::{
    DEFAULT_RULE, ListId, MAX_RANGES, PolicyId, PrefixValue, Protocol, RangeEntry, RangeList,
    Verdict, prefix_flags,
};
pub use session::{MAX_CHAIN, Session, SessionId};
pub use unix::{UnixSession, unix_flags};

/// Version of every layout in this crate. A daemon refuses pins that say another one.
pub const ABI: u64 = 2;

/// Indices into the `META` array, whose values are `u64`.
///
/// `META` is pinned, so that ids are never used twice while the kernel state lives.
pub mod meta {
    /// [`crate::ABI`] of whoever made the pins. Written last: zero means half made.
    pub const ABI: u32 = 0;
    /// Verdicts cached on sockets are valid for one generation. Only ever grows.
    pub const GENERATION: u32 = 1;
    /// The id that the next session gets.
    pub const NEXT_SESSION: u32 = 2;
    /// The id that the next request gets.
    pub const NEXT_REQUEST: u32 = 3;
    /// The id that the next hole gets.
    pub const NEXT_HOLE: u32 = 4;
    /// The id that the next policy gets.
    pub const NEXT_POLICY: u32 = 5;
    /// The id that the next range list gets.
    pub const NEXT_LIST: u32 = 6;
    /// 1 where guardd made the cgroup root and so removes it on teardown.
    pub const MADE_CGROUP_ROOT: u32 = 7;
    /// Which build of the kernel half is attached.
    pub const OBJECT: u32 = 8;
    /// How many values there are.
    pub const LEN: u32 = 9;
}

number! {
    /// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`, `bpf_ktime_get_boot_ns`).
    BootTime(u64)
}
