//! A compiled policy as the kernel holds it: a trie of prefixes, and lists of port ranges.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

number! {
    /// A slot of the outer policy map. 0 is none.
    PolicyId(u32)
}

number! {
    /// The key of a [`RangeList`]. 0 is none.
    ListId(u32)
}

/// What a policy says about a destination.
///
/// The discriminants are far apart, and zeroed memory is a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[must_use]
pub enum Verdict {
    /// Refused. No hole can change it.
    Deny = 0x00,
    /// Refused until a person opens a hole.
    Confirm = 0x33,
    /// Reads pass through guard-proxy. What cannot be redirected there is refused until a person opens a hole.
    ReadOnly = 0x55,
    /// Allowed.
    Allow = 0xaa,
}

impl Verdict {
    /// The verdict that a map value holds. Doubt is denial.
    #[inline(always)]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            0x33 => Self::Confirm,
            0x55 => Self::ReadOnly,
            0xaa => Self::Allow,
            _ => Self::Deny,
        }
    }

    /// What a [`RangeEntry`] says for what is allowed where TLS shows a name that the policy allows. Kernel halves that know
    /// nothing of it take it for a denial.
    pub const BY_SNI: u8 = 0xc3;

    /// 0 for the most permissive.
    #[inline(always)]
    #[must_use]
    pub const fn strictness(self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::ReadOnly => 1,
            Self::Confirm => 2,
            Self::Deny => 3,
        }
    }

    /// The word that policies, JSON and the log use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Confirm => "confirm",
            Self::ReadOnly => "read-only",
            Self::Allow => "allow",
        }
    }
}

number! {
    /// Protocols that ports and rules name, as IANA numbers.
    Protocol(u8)
}

impl Protocol {
    /// Every protocol, in rules and holes only.
    pub const ANY: Self = Self(0);
    /// ICMP of both families: ICMPv6 (58) is judged as 1.
    pub const ICMP: Self = Self(1);
    /// TCP, and MPTCP, which is TCP on the wire.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);

    /// The protocol that rules see for an `IPPROTO_` number or an IPv6 next header.
    #[inline(always)]
    #[must_use]
    pub const fn canonical(number: u32) -> Self {
        match number {
            58 => Self::ICMP,
            // IPPROTO_MPTCP
            262 => Self::TCP,
            n if n <= 255 => Self(n as u8),
            // No rule names it: a rule without ports decides.
            _ => Self(255),
        }
    }

    /// Whether a rule or hole for this protocol covers `other`.
    #[inline(always)]
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.0 == 0 || self.0 == other.0
    }
}

/// The `rule` of a verdict that no rule gave.
pub const DEFAULT_RULE: u16 = u16::MAX;

/// Bits of [`PrefixValue::flags`].
pub mod prefix_flags {
    /// Replies on connections that came in from outside pass, but where a rule says `deny`. In all of a policy's values, or none.
    pub const INBOUND: u8 = 1;
    /// Some destination may be pinged, so ping sockets may be made. In all of a policy's values, or none.
    pub const PING: u8 = 2;
    /// The policy has rules for names. In all of its values for addresses, or none.
    pub const NAMES: u8 = 4;
    /// The value is a pattern's, and not an address'.
    pub const NAME: u8 = 8;
    /// Of an address: no name makes it more permissive there.
    pub const LOCAL: u8 = 16;
    /// Of an address: it is of a private network. Of a pattern: `verdict` may be said of such addresses
    /// ([`super::RangeEntry::is_private`]).
    pub const PRIVATE: u8 = 32;
    /// `verdict` is that of a rule for this very address.
    pub const HOST: u8 = 64;
    /// Of a verdict, and never of a value: it is allowed where TLS shows a name that the policy allows ([`super::Verdict::BY_SNI`]).
    pub const BY_SNI: u8 = 128;
}

/// What a policy's trie says of a prefix.
///
/// The first range of `list` that covers the connection decides; where none does, `verdict`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PrefixValue {
    /// A [`Verdict`].
    pub verdict: u8,
    /// [`prefix_flags`].
    pub flags: u8,
    /// Index of the rule that gave `verdict`, or [`DEFAULT_RULE`].
    pub rule: u16,
    /// The port ranges that come first, if any.
    pub list: ListId,
}

/// Port ranges of one prefix at most.
pub const MAX_RANGES: usize = 64;

/// Ports of a protocol, and what holds for them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RangeEntry {
    /// Which protocol; never [`Protocol::ANY`].
    pub protocol: Protocol,
    /// A [`Verdict`], or [`Verdict::BY_SNI`]; of a pattern's range that may be said of private addresses, with
    /// [`RangeEntry::PRIVATE`].
    pub verdict: u8,
    /// Index of the rule.
    pub rule: u16,
    /// First port, host byte order.
    pub low: u16,
    /// Last port, host byte order.
    pub high: u16,
}

impl RangeEntry {
    /// Turns these bits of a verdict: what comes of it is none, and four bits apart from each. Kernel halves that know nothing of it
    /// take it for a denial.
    pub const PRIVATE: u8 = 0x0f;

    /// The verdict of such a number, and whether it may be said of private addresses.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(verdict: u8) -> (u8, bool) {
        let turned = verdict ^ Self::PRIVATE;
        match Verdict::from_u8(turned) {
            Verdict::Deny if turned != Verdict::BY_SNI => (verdict, false),
            _ => (turned, true),
        }
    }

    /// Of a pattern: whether it may be said of private addresses.
    #[must_use]
    pub const fn is_private(&self) -> bool {
        Self::unpack(self.verdict).1
    }

    /// What it says, whatever TLS has to show.
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        match Self::unpack(self.verdict).0 {
            Verdict::BY_SNI => Verdict::Allow,
            other => Verdict::from_u8(other),
        }
    }

    /// Whether TLS has to show a name that the policy allows.
    #[inline(always)]
    #[must_use]
    pub const fn is_by_sni(&self) -> bool {
        Self::unpack(self.verdict).0 == Verdict::BY_SNI
    }

    /// Whether this range decides for a port of a protocol.
    #[inline(always)]
    #[must_use]
    pub const fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol.0 == protocol.0 && self.low <= port && port <= self.high
    }
}

/// Ranges in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RangeList {
    /// The policy whose list it is.
    pub owner: PolicyId,
    /// How many entries there are.
    pub len: u16,
    /// How many of them, the first, are of rules for this very address.
    pub own: u16,
    /// Which protocol and ports, and what holds for them; the first that covers decides.
    pub entries: [RangeEntry; MAX_RANGES],
}
