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
    /// How many there were. Of UDP: how often a socket changed to that destination.
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

/// Where a socket has sent last that has no connections: not the destination, for which there is no room, but a number that another
/// is not likely to have. A random number is mixed into it, so that nobody finds a second destination with the same number, which
/// would not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u64);

impl Mark {
    /// Set in each, and [`Self::NEVER`] in none: what else is kept in its place is none of them.
    const ALWAYS: u32 = 2;
    const NEVER: u32 = 1;

    /// That of a destination; each `random` makes another one.
    #[inline(always)]
    #[must_use]
    pub const fn new(random: u32, to: &Connection) -> Self {
        let mixed = (mixed(random, to) & !Self::NEVER) | Self::ALWAYS;
        Self((random as u64) << 32 | mixed as u64)
    }

    /// Whether it is of that destination.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(self, to: &Connection) -> bool {
        self.0 == Self::new((self.0 >> 32) as u32, to).0
    }
}

/// Two rounds for each word, the multiplier of which nobody knows: what differs in the first word cannot be made good in the next.
#[inline(always)]
const fn mixed(random: u32, to: &Connection) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    // Never 1, which mixes nothing.
    let key = (random as u64 | 1 << 32).wrapping_mul(ODD) | 1;
    let [a, b, c, d] = to.to.0;
    let mut mixed = round(key, (a as u64) << 32 | b as u64, key);
    mixed = round(mixed, (c as u64) << 32 | d as u64, key);
    mixed = round(mixed, (to.protocol.0 as u64) << 16 | to.port as u64, key);
    (mixed >> 32) as u32
}

#[inline(always)]
const fn round(mixed: u64, word: u64, key: u64) -> u64 {
    let once = (mixed ^ word).wrapping_mul(key);
    let twice = (once ^ once >> 32).wrapping_mul(key);
    twice ^ twice >> 29
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to(words: [u32; 4], port: u16) -> Connection {
        Connection::new(Address(words), Protocol::UDP, port)
    }

    proptest! {
        #[test]
        fn a_mark_is_of_its_own_destination(random: u32, words: [u32; 4], port: u16) {
            let mark = Mark::new(random, &to(words, port));
            prop_assert!(mark.is_of(&to(words, port)));
            for other in [0, 1, 4] {
                prop_assert!(!Mark(other).is_of(&to(words, port)));
            }
        }

        #[test]
        fn another_destination_has_another(
            random: u32,
            words: [u32; 4],
            port: u16,
            at in 0..4_usize,
            changed in 1..=u32::MAX,
            ports in 1..=u16::MAX,
        ) {
            let mark = Mark::new(random, &to(words, port));
            let mut other = words;
            other[at] ^= changed;
            prop_assert!(!mark.is_of(&to(other, port)));
            prop_assert!(!mark.is_of(&to(words, port ^ ports)));
        }

        /// What differs in the uppermost bits survives a multiplication.
        #[test]
        fn what_is_changed_twice_is_not_made_good(
            words: [u32; 4],
            randoms in prop::collection::vec(any::<u32>(), 64),
            first in 0..32_u32,
            second in 0..32_u32,
        ) {
            let mut other = words;
            other[0] ^= 1 << first;
            other[2] ^= 1 << second;
            let same = |random: &&u32| Mark::new(**random, &to(words, 1)).is_of(&to(other, 1));
            prop_assert_eq!(randoms.iter().filter(same).count(), 0);
        }
    }
}
