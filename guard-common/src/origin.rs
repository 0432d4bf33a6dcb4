//! The original destinations of connections and questions that are redirected to the guard's own proxy and resolver.

use core::net::SocketAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, SessionId};

number! {
    /// The number that names a network namespace until the machine is booted again (`SO_NETNS_COOKIE`,
    /// `bpf_get_netns_cookie`). It is never 0, and never used twice.
    NetnsCookie(u64)
}

/// How many servers at least a port's question is kept for that it was sent to at once: C libraries have room for three.
pub const MAX_ASKED: u8 = 4;

/// For how long, in nanoseconds.
pub const ASKED_AT_ONCE: u64 = 1_000_000_000;

/// The key of `ORIGINS`: both ends of a connection to the proxy or the resolver, as `accept` returns them. Also the key of `QUESTIONS`:
/// both ends of datagrams to the resolver, or a question of such datagrams ([`Self::question`]). Two connections may share the client's
/// end, one to each worker, so neither end names a connection alone. The listener's address is the loopback of the client's family.
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
    /// The listener's port, host byte order.
    pub listener: u16,
    /// 0, or a question: its [`QuestionHash`], but for [`NTH`], which counts its servers from 1 on.
    question: u32,
}

/// The bits of a key's question that count its servers.
const NTH: u32 = 7;
const _: () = assert!((MAX_ASKED as u32) < NTH);

impl OriginKey {
    /// Makes the key of a client's address and port, and a listener's port, in a network namespace; ports in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(netns: NetnsCookie, address: Address, port: u16, listener: u16) -> Self {
        Self {
            netns,
            address,
            port,
            listener,
            question: 0,
        }
    }

    /// Makes the key of what has come from a peer to a socket at `local`.
    #[must_use]
    pub fn between(netns: NetnsCookie, peer: SocketAddr, local: SocketAddr) -> Self {
        Self::new(netns, peer.ip().into(), peer.port(), local.port())
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
        self.question = hash & !NTH | (nth as u32 + 1);
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

/// Why a socket was redirected, and so to which worker. Zeroed memory is [`Self::NONE`]. A record may have a 2 or a 4 of an earlier
/// kernel half: these count as none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Reason(pub u8);

impl Reason {
    /// It was not.
    pub const NONE: Self = Self(0);
    /// To the proxy: its destination is read-only, or needs a name in TLS.
    pub const REDIRECTED: Self = Self(1);
    /// To the resolver: it asked a DNS server.
    pub const QUESTION: Self = Self(3);

    /// Returns true if the proxy gets it.
    #[inline(always)]
    #[must_use]
    pub const fn is_for_proxy(self) -> bool {
        matches!(self, Self::REDIRECTED)
    }

    /// Returns true if the resolver gets it.
    #[inline(always)]
    #[must_use]
    pub const fn is_for_resolver(self) -> bool {
        matches!(self, Self::QUESTION)
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
    /// Why it was redirected: a worker serves its own reasons only.
    pub reason: Reason,
    /// Of datagrams: the [`QuestionHash`] of the question.
    pub hash: u32,
}

impl Origin {
    /// A connection of a session and one of its processes, begun at that time; `port` in host byte order.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        reason: Reason,
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
            reason,
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
    fn a_key_has_both_ends_and_the_question() {
        let address = Address::from_v4_be(0x7f00_0001_u32.to_be());
        let key = OriginKey::new(NetnsCookie(1), address, 4001, 0x5678);
        // The kernel compares bytes.
        assert_eq!(key.as_bytes()[26..], [0x78, 0x56, 0, 0, 0, 0]);
        let question = key.question(0x1234_5678, 2);
        assert_eq!(question.as_bytes()[28..], [0x7b, 0x56, 0x34, 0x12]);
        let servers = (0..MAX_ASKED).map(|nth| key.question(7, nth));
        assert!(
            servers.is_sorted_by(|one, next| one.question < next.question && one.question != 0)
        );
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
