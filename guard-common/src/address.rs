//! One canonical destination of 16 bytes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A destination: an IPv6 address, or an IPv4 one in its IPv4-mapped form (RFC 4291 2.5.5.2), so that
/// `192.0.2.1` and `::ffff:192.0.2.1` are the same key everywhere.
///
/// Four words in network byte order, as `struct bpf_sock_addr` and packets hold them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Address(pub [u32; 4]);

number! {
    /// The number that the kernel half has given to another program's listener, for as long as that lives. 0 is none.
    Ticket(u32)
}

/// Which bits of an [`Address`] a prefix compares, in network byte order.
pub type Mask = Address;

const MAPPED: u32 = 0xffff_u32.to_be();
/// What 127.0.0.0/8 has in its last word, and the bits of it that count.
const LOOPBACK4_NET: u32 = 0x7f00_0000_u32.to_be();
const LOOPBACK4_MASK: u32 = 0xff00_0000_u32.to_be();
/// 127.0.0.1
const LOOPBACK4: u32 = 0x7f00_0001_u32.to_be();
/// The last word of `::1`.
const ONE: u32 = 1_u32.to_be();
/// The first two words of the addresses that stand for listeners: the dummy prefix 100:0:0:1::/64 (RFC 9780), which no network
/// forwards.
const LISTENERS: [u32; 2] = [0x0100_0000_u32.to_be(), ONE];
/// The bit of a listener's third word that says ::1.
const LISTENS_AT_ONE: u32 = 1 << 31;
/// The place in that word of what an address of 127.0.0.0/8 has behind the 127.
const SUFFIX: u32 = 7;

impl Address {
    /// The canonical form of an IPv4 address given in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_be(address: u32) -> Self {
        Self([0, 0, MAPPED, address])
    }

    /// The canonical form of what a program passed to `connect` or `sendto`: the unspecified address
    /// means this host there (`ip_route_output_key_hash` and `ip6_datagram_connect` in Linux
    /// replace it by loopback).
    #[inline(always)]
    #[must_use]
    pub const fn as_connected(self) -> Self {
        let [a, b, c, d] = self.0;
        if a == 0 && b == 0 && d == 0 {
            if c == 0 {
                return Self([0, 0, 0, ONE]);
            }
            if c == MAPPED {
                return Self::from_v4_be(LOOPBACK4);
            }
        }
        self
    }

    /// Whether it stands for this host alone: 127.0.0.0/8 and ::1.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        let [a, b, c, d] = self.0;
        a == 0
            && b == 0
            && ((c == MAPPED && d & LOOPBACK4_MASK == LOOPBACK4_NET) || (c == 0 && d == ONE))
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let [a, b, c, _] = self.0;
        a == 0 && b == 0 && c == MAPPED
    }

    /// The loopback address of its family: 127.0.0.1 or ::1.
    #[inline(always)]
    #[must_use]
    pub const fn localhost(&self) -> Self {
        if self.is_v4() {
            Self::from_v4_be(LOOPBACK4)
        } else {
            Self([0, 0, 0, ONE])
        }
    }

    /// Whether what is sent there gets to all sockets at the port: 127.255.255.255, and 127.0.0.0 to older kernels.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback_broadcast(&self) -> bool {
        let host = self.0[3] & !LOOPBACK4_MASK;
        self.is_v4() && self.is_loopback() && (host == 0 || host == !LOOPBACK4_MASK)
    }

    /// Whether it is 127.0.0.1 or ::1, and no other of [`Self::is_loopback`].
    #[inline(always)]
    #[must_use]
    pub const fn is_localhost(&self) -> bool {
        let [a, b, c, d] = self.0;
        a == 0 && b == 0 && ((c == MAPPED && d == LOOPBACK4) || (c == 0 && d == ONE))
    }

    /// The address that stands for another program's listener at a loopback address: that address and the listener's ticket. Policies and
    /// holes speak of the listener by it.
    #[inline(always)]
    #[must_use]
    pub const fn of_listener(&self, ticket: Ticket) -> Self {
        let place = if self.is_v4() {
            (u32::from_be(self.0[3]) & !u32::from_be(LOOPBACK4_MASK)) << SUFFIX
        } else {
            LISTENS_AT_ONE
        };
        let [a, b] = LISTENERS;
        Self([a, b, place.to_be(), ticket.0.to_be()])
    }

    /// Returns true if it stands for a listener.
    #[inline(always)]
    #[must_use]
    pub const fn is_listener(&self) -> bool {
        self.0[0] == LISTENERS[0] && self.0[1] == LISTENERS[1]
    }

    /// The ticket of the listener that it stands for.
    #[must_use]
    pub const fn ticket(&self) -> Option<Ticket> {
        if self.is_listener() {
            Some(Ticket(u32::from_be(self.0[3])))
        } else {
            None
        }
    }

    /// The address that a program connects to: of a listener its loopback address.
    #[inline(always)]
    #[must_use]
    pub const fn connected(&self) -> Self {
        if !self.is_listener() {
            return *self;
        }
        let place = u32::from_be(self.0[2]);
        if place & LISTENS_AT_ONE != 0 {
            return Self([0, 0, 0, ONE]);
        }
        Self::from_v4_be(LOOPBACK4_NET | (place >> SUFFIX).to_be())
    }

    /// The mask of a prefix `len` bits long, counted in IPv6 bits (an IPv4 `/24` is 120).
    #[must_use]
    pub const fn mask(len: u8) -> Mask {
        let bits = if len >= 128 {
            u128::MAX
        } else {
            !(u128::MAX >> len)
        };
        Self::from_u128(bits)
    }

    /// Whether the bits under `mask` are those of `prefix`.
    #[inline(always)]
    #[must_use]
    pub const fn matches(&self, prefix: &Self, mask: &Mask) -> bool {
        ((self.0[0] ^ prefix.0[0]) & mask.0[0])
            | ((self.0[1] ^ prefix.0[1]) & mask.0[1])
            | ((self.0[2] ^ prefix.0[2]) & mask.0[2])
            | ((self.0[3] ^ prefix.0[3]) & mask.0[3])
            == 0
    }

    /// As a number, most significant bit first.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        let [a, b, c, d] = self.0;
        ((u32::from_be(a) as u128) << 96)
            | ((u32::from_be(b) as u128) << 64)
            | ((u32::from_be(c) as u128) << 32)
            | (u32::from_be(d) as u128)
    }

    /// From a number, most significant bit first.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self([
            ((bits >> 96) as u32).to_be(),
            ((bits >> 64) as u32).to_be(),
            ((bits >> 32) as u32).to_be(),
            (bits as u32).to_be(),
        ])
    }

    /// Itself, IPv4 where it is IPv4-mapped; of a listener the address that stands for it.
    #[must_use]
    pub fn as_ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self.to_u128()).to_canonical()
    }

    /// As people write it: IPv4 where it is IPv4-mapped, and of a listener the address that it is reached at.
    #[must_use]
    pub fn to_ip(self) -> IpAddr {
        self.connected().as_ip()
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_v4_be(address.to_bits().to_be())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::from_u128(address.to_bits())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_plain_ipv4_are_one_address() {
        let plain = Address::from(Ipv4Addr::new(192, 0, 2, 10));
        let mapped = Address::from("::ffff:192.0.2.10".parse::<Ipv6Addr>().unwrap());
        assert_eq!(plain, mapped);
        assert_eq!(plain.to_ip(), IpAddr::from([192, 0, 2, 10]));
    }

    #[test]
    fn unspecified_means_loopback() {
        for (given, judged) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::2", "::2")] {
            let given = Address::from(given.parse::<IpAddr>().unwrap());
            assert_eq!(given.as_connected().to_ip().to_string(), judged);
        }
    }

    #[test]
    fn a_listener_is_named_by_its_address_and_its_ticket() {
        let mut known = Vec::new();
        for text in ["127.0.0.1", "127.9.8.7", "::1"] {
            let at = Address::from(text.parse::<IpAddr>().unwrap());
            for ticket in [Ticket(7), Ticket(u32::MAX)] {
                let listener = at.of_listener(ticket);
                assert_eq!((listener.ticket(), at.ticket()), (Some(ticket), None));
                assert!(!known.contains(&listener), "{text}");
                known.push(listener);
            }
        }
    }

    #[test]
    fn loopback_is_this_host_alone() {
        let is_loopback = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).is_loopback();
        for own in ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in [
            "126.255.255.255",
            "128.0.0.0",
            "::",
            "::2",
            "::127.0.0.1",
            "2001:db8::1",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn each_family_has_one_localhost() {
        for (address, localhost) in [
            ("192.0.2.10", "127.0.0.1"),
            ("::ffff:192.0.2.10", "127.0.0.1"),
            ("127.0.0.2", "127.0.0.1"),
            ("2001:db8::10", "::1"),
            ("::", "::1"),
            ("::127.0.0.1", "::1"),
        ] {
            let address = Address::from(address.parse::<IpAddr>().unwrap());
            assert_eq!(address.localhost().to_ip().to_string(), localhost);
            assert!(address.localhost().is_localhost() && !address.is_localhost());
            assert_eq!(address.is_v4(), localhost == "127.0.0.1");
        }
    }

    #[test]
    fn masks_compare_whole_prefixes_only() {
        let net = Address::from(Ipv4Addr::new(192, 0, 2, 64));
        let inside = Address::from(Ipv4Addr::new(192, 0, 2, 127));
        let outside = Address::from(Ipv4Addr::new(192, 0, 2, 128));
        let mask = Address::mask(96 + 26);
        assert!(inside.matches(&net, &mask));
        assert!(!outside.matches(&net, &mask));
        assert!(outside.matches(&net, &Address::mask(0)));
        assert!(!inside.matches(&net, &Address::mask(128)));
    }
}
