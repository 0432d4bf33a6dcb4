//! The original destinations of connections and questions that are redirected to the guard's own proxy and resolver.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, SessionId};

number! {
    /// The number that names a network namespace until the machine is booted again (`SO_NETNS_COOKIE`,
    /// `bpf_get_netns_cookie`). It is never 0, and never used twice.
    NetnsCookie(u64)
}

/// What [`OriginKey`] has of a datagram: the number of UDP. A port of TCP may be another client's.
const UDP: u8 = 17;

/// How many servers at least a port's question is kept for that it was sent to at once: C libraries have room for three.
pub const MAX_ASKED: u8 = 4;

/// For how long, in nanoseconds.
pub const ASKED_AT_ONCE: u64 = 1_000_000_000;

/// The key of `ORIGINS`: the client's end of a connection to the proxy or the resolver, which these learn by `accept`. And that of
/// `QUESTIONS`: the client's end of datagrams to the resolver, or a question of such datagrams ([`Self::question`]).
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
    /// 0 for TCP, 17 for UDP.
    protocol: u8,
    /// 0, or which of a question's servers, from 1 on.
    nth: u8,
    /// The [`QuestionHash`] of the question.
    hash: u32,
}

impl OriginKey {
    /// For the peer of a TCP connection in a network namespace; `port` in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(netns: NetnsCookie, address: Address, port: u16) -> Self {
        Self {
            netns,
            address,
            port,
            protocol: 0,
            nth: 0,
            hash: 0,
        }
    }

    /// For the sender of datagrams in a network namespace; `port` in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn datagram(netns: NetnsCookie, address: Address, port: u16) -> Self {
        Self {
            protocol: UDP,
            ..Self::new(netns, address, port)
        }
    }

    /// For one of the servers, below [`MAX_ASKED`], that datagrams from there have asked at once, by the question's hash.
    #[inline(always)]
    #[must_use]
    pub const fn question(mut self, hash: u32, nth: u8) -> Self {
        self.set_question(hash, nth);
        self
    }

    /// Makes it the key for one of a question's servers, as [`Self::question`].
    #[inline(always)]
    pub const fn set_question(&mut self, hash: u32, nth: u8) {
        (self.hash, self.nth) = (hash, nth + 1);
    }
}

/// The hash of a question: of its message's length and all its bytes, the number included, so that what is sent to several servers counts
/// as one question only where it is the same. FNV-1a, by words of eight bytes, of which the last are the message's last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionHash(u64);

impl QuestionHash {
    /// Bytes of a word.
    pub const WORD: u32 = 8;
    const BASIS: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Of a message of that length, before its bytes.
    #[inline(always)]
    #[must_use]
    pub const fn begin(length: u32) -> Self {
        Self::BASIS.with((length as u64).to_ne_bytes())
    }

    /// Of a message. What is shorter than a word has no word of its own.
    #[must_use]
    pub fn of(message: &[u8]) -> u32 {
        let (words, _) = message.as_chunks();
        let last = message.last_chunk();
        let words = words.iter().chain(last);
        words
            .fold(Self::begin(message.len() as u32), |hash, word| {
                hash.with(*word)
            })
            .ended()
    }

    /// With one more word.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, word: [u8; Self::WORD as usize]) -> Self {
        Self((self.0 ^ u64::from_ne_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// The number of what was hashed.
    #[inline(always)]
    #[must_use]
    pub const fn ended(self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }
}

/// The value of `ORIGINS` and of `QUESTIONS`: the original destination of a redirected connection, or of the last datagram from that
/// port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Origin {
    /// When the connection was begun; of datagrams, when the first of this session was sent from that port; of a question, when it
    /// was sent.
    pub at: BootTime,
    /// The address that was asked for; another program's listener by [`Address::of_listener`].
    pub destination: Address,
    /// Whose connection it is.
    pub session: SessionId,
    /// The process that asked, in the first namespace of processes.
    pub tgid: u32,
    /// The port that was asked for, host byte order.
    pub port: u16,
    /// Of datagrams: 1 where those from that port go to several servers. Then each question has entries of its own.
    pub several: u8,
    /// Unused.
    pub pad: u8,
    /// Of datagrams: the [`QuestionHash`] of the question.
    pub hash: u32,
}

impl Origin {
    /// A connection of a session and one of its processes, begun at that time; `port` in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        at: BootTime,
        session: SessionId,
        tgid: u32,
        destination: Address,
        port: u16,
    ) -> Self {
        Self {
            at,
            destination,
            session,
            tgid,
            port,
            several: 0,
            pad: 0,
            hash: 0,
        }
    }
}

/// The key of `DRAINED` and `UNREAD`: a UDP socket at which a resolver reads questions.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct QueueKey {
    /// The network namespace in which it is.
    pub netns: NetnsCookie,
    /// 4 or 6: there is one of each family.
    family: u32,
    /// In `UNREAD` the outermost session that has sent questions there; else 0.
    pub account: SessionId,
}

impl QueueKey {
    /// That of a network namespace which gets what is sent from or to addresses such as this one.
    #[inline(always)]
    #[must_use]
    pub const fn new(netns: NetnsCookie, address: &Address) -> Self {
        Self {
            netns,
            family: if address.is_v4() { 4 } else { 6 },
            account: SessionId(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;

    #[test]
    fn a_port_of_udp_is_another_than_the_same_of_tcp() {
        let address = Address::from_v4_be(0x7f00_0001_u32.to_be());
        let stream = OriginKey::new(NetnsCookie(1), address, 4001);
        let datagram = OriginKey::datagram(NetnsCookie(1), address, 4001);
        assert_ne!(stream, datagram);
        // The kernel compares bytes: those of TCP are as they were before there were datagrams.
        assert_eq!(stream.as_bytes()[26..], [0; 6]);
        assert_eq!(datagram.as_bytes()[26..], [17, 0, 0, 0, 0, 0]);
        let question = datagram.question(0x1234, 2);
        assert_eq!(question.as_bytes()[26..], [17, 3, 0x34, 0x12, 0, 0]);
    }

    #[test]
    fn questions_are_the_same_where_all_of_them_is() {
        let one = [1; 29];
        let hash = QuestionHash::of(&one);
        for at in 0..one.len() {
            let mut other = one;
            other[at] = 2;
            assert_ne!(QuestionHash::of(&other), hash, "{at}");
        }
        assert_ne!(QuestionHash::of(&one[..28]), hash);
        assert_ne!(QuestionHash::of(&one[..7]), QuestionHash::of(&[]));
    }
}
