//! What the answers of the guard's resolver mean to the kernel half: which names a session knows an address by.
//!
//! A policy speaks of *patterns*: a name, or all names below one (`*.example.com`). What it says of a pattern is in its trie,
//! under an address that stands for the pattern ([`NameId::key`]), so that rules for names and for addresses change in one
//! write. The resolver notes under which patterns a session has learned an address ([`Named`]).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, PolicyId, SessionId};

/// Where name servers listen (RFC 1035 4.2).
pub const DNS_PORT: u16 = 53;

number! {
    /// A pattern of names: the FNV-1a hash of its text in lower case. 0 is none. It tells the patterns of one policy apart, which are
    /// refused where two have one; of a name that anybody may choose it says nothing: one of two with the same is found in minutes.
    NameId(u64)
}

/// The first half of the addresses that stand for patterns: the discard-only prefix 100::/64 (RFC 6666), which no network
/// forwards.
const PATTERNS: u128 = 0x0100 << 112;

impl NameId {
    /// Of a pattern's text, such as `db.example.com` or `*.example.com`, in lower case.
    #[must_use]
    pub const fn of(pattern: &str) -> Self {
        let bytes = pattern.as_bytes();
        let mut hash = Self::BASIS;
        let mut at = 0;
        while at < bytes.len() {
            hash = Self::step(hash, bytes[at]);
            at += 1;
        }
        Self(Self::ended(hash))
    }

    /// The hash of no bytes, and of the first two of a wildcard, for who makes one byte by byte.
    pub(crate) const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    pub(crate) const BELOW: u64 = Self::step(Self::step(Self::BASIS, b'*'), b'.');

    /// With one more byte.
    #[inline(always)]
    pub(crate) const fn step(hash: u64, byte: u8) -> u64 {
        (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
    }

    /// The number of what was hashed.
    #[inline(always)]
    pub(crate) const fn ended(hash: u64) -> u64 {
        if hash == 0 { 1 } else { hash }
    }

    /// The address under which a policy's trie has what it says of the pattern.
    #[inline(always)]
    #[must_use]
    pub const fn key(self) -> Address {
        Address::from_u128(PATTERNS | self.0 as u128)
    }
}

/// The key of `NAMED`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct NamedKey {
    /// The session that asked.
    pub session: SessionId,
    /// The policy of its chain that has the patterns.
    pub policy: PolicyId,
    /// The address that was answered.
    pub address: Address,
}

impl NamedKey {
    /// An address of a session, for one of its policies.
    #[inline(always)]
    #[must_use]
    pub const fn new(session: SessionId, policy: PolicyId, address: Address) -> Self {
        Self {
            session,
            policy,
            address,
        }
    }

    /// A number that another key is not likely to have.
    #[inline(always)]
    #[must_use]
    pub const fn mark(&self) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let [a, b, c, d] = self.address.0;
        pair(self.session.0, self.policy.0)
            .wrapping_mul(ODD)
            .wrapping_add(pair(a, b))
            .wrapping_mul(ODD)
            .wrapping_add(pair(c, d))
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    ((high as u64) << 32) | low as u64
}

/// A pattern under which a session has learned an address.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Learned {
    /// The pattern, or none.
    pub pattern: NameId,
    /// Until when it counts for new connections. One that began before keeps it while the entry is there.
    pub until: BootTime,
}

impl Learned {
    /// Whether the entry is valid at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn counts(&self, now: BootTime) -> bool {
        self.pattern.0 != 0 && self.until.0 > now.0
    }
}

/// How many addresses sessions know by names, each of a session for each of its policies.
pub const MAX_NAMED: usize = 262_144;
/// Of these the resolver notes so many. The rest is guardd's: what a session knows it takes along where another policy comes to judge it.
pub const MAX_TAUGHT: usize = MAX_NAMED / 4 * 3;

/// How many patterns an address can have at once. A name that would be one more is not answered.
pub const MAX_PATTERNS: usize = 8;

/// The value of `NAMED`: the patterns under which a session has learned an address. The strictest of what the policy says of
/// them decides.
///
/// A reader may see the memory of an entry that was replaced become another's. So it begins and ends with a mark of its key
/// ([`NamedKey::mark`]): what was read between the two holds where both are the reader's own afterwards.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Named {
    /// The mark of its key.
    pub head: u64,
    /// The patterns; those without one are not used, and stand behind all others ([`Named::with`]).
    pub patterns: [Learned; MAX_PATTERNS],
    /// The same mark.
    pub tail: u64,
}

impl Named {
    /// The value for a key: this one's patterns with one more, or with a longer time for one that is there. Those whose time is over
    /// at `now` stay, for connections that began before, until their room is needed. `None` where there is none.
    #[must_use]
    pub fn with(&self, key: &NamedKey, learned: Learned, now: BootTime) -> Option<Self> {
        let whole = self.with_those_after(BootTime(0), key, learned);
        whole.or_else(|| self.with_those_after(now, key, learned))
    }

    /// The same, of those whose time is not over at `now`.
    fn with_those_after(&self, now: BootTime, key: &NamedKey, learned: Learned) -> Option<Self> {
        let mut out = Self {
            head: key.mark(),
            tail: key.mark(),
            ..Self::default()
        };
        let mut len = 0;
        let mut known = false;
        for mut old in self.patterns {
            if old.pattern == NameId(0) {
                continue;
            }
            if old.pattern == learned.pattern {
                old.until = BootTime(old.until.0.max(learned.until.0));
                known = true;
            } else if old.until.0 <= now.0 {
                continue;
            }
            out.patterns[len] = old;
            len += 1;
        }
        if !known {
            *out.patterns.get_mut(len)? = learned;
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn learned(pattern: u64, until: u64) -> Learned {
        Learned {
            pattern: NameId(pattern),
            until: BootTime(until),
        }
    }

    #[test]
    fn a_pattern_has_an_address_that_nobody_forwards_to() {
        let key = NameId::of("*.example.com").key().to_ip().to_string();
        assert!(key.starts_with("100:"), "{key}");
        assert_ne!(NameId::of("example.com"), NameId::of("*.example.com"));
        // The published test vector of FNV-1a for "a".
        assert_eq!(NameId::of("a").0, 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn patterns_are_added_and_prolonged() {
        let (key, now) = (NamedKey::default(), BootTime(10));
        let one = Named::default().with(&key, learned(1, 20), now).unwrap();
        let two = one.with(&key, learned(2, 30), now).unwrap();
        let longer = two.with(&key, learned(1, 40), now).unwrap();
        assert_eq!(longer.patterns[..2], [learned(1, 40), learned(2, 30)]);
        // A shorter time takes nothing away.
        assert_eq!(longer.with(&key, learned(1, 15), now), Some(longer));
    }

    #[test]
    fn what_is_over_stays_while_there_is_room() {
        let (key, began, now) = (NamedKey::default(), BootTime(10), BootTime(50));
        let one = Named::default().with(&key, learned(1, 20), began).unwrap();
        let two = one.with(&key, learned(2, 90), now).unwrap();
        assert_eq!(two.patterns[..2], [learned(1, 20), learned(2, 90)]);
        // Each counts for what began in its time.
        let counted = |at| two.patterns.map(|learned| learned.counts(at))[..2].to_vec();
        assert_eq!(counted(began), [true, true]);
        assert_eq!(counted(now), [false, true]);
    }

    #[test]
    fn what_is_not_used_stands_behind_all_others() {
        let key = NamedKey::default();
        let most = MAX_PATTERNS as u64;
        // Where there is no room for one more, those go whose time is over, wherever they stand.
        let mut named = Named::default();
        for (nth, until) in [20, 90, 20, 90, 20, 90, 20, 90].into_iter().enumerate() {
            let more = learned(nth as u64 + 1, until);
            named = named.with(&key, more, BootTime(10)).unwrap();
        }
        named = named
            .with(&key, learned(most + 1, 90), BootTime(50))
            .unwrap();
        let is_used = named.patterns.map(|learned| learned.pattern.0 != 0);
        assert_eq!(is_used, [true, true, true, true, true, false, false, false]);
        assert_eq!(named.patterns[4], learned(most + 1, 90));
    }

    #[test]
    fn there_is_no_room_for_one_more_but_in_place_of_one_that_is_over() {
        let (key, now) = (NamedKey::default(), BootTime(10));
        let most = MAX_PATTERNS as u64;
        let full = (1..=most).fold(Named::default(), |named, pattern| {
            named
                .with(&key, learned(pattern, 10 + pattern), now)
                .unwrap()
        });
        let more = learned(most + 1, 99);
        assert_eq!(full.with(&key, more, now), None);
        let later = full.with(&key, more, BootTime(11)).unwrap();
        let all = later.patterns.iter().map(|learned| learned.pattern.0);
        assert!(all.eq(2..=most + 1));
    }
}
