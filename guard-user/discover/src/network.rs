//! Networks of addresses, and which of them are places: not what is near, and not the internet as a whole.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;

/// Bits of an address.
const V4: u8 = 32;
const V6: u8 = 128;
/// A public network that is no longer than this is a part of the internet rather than a place in it.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;
/// More addresses than these by themselves, of one private range, are listed as the network that has them all.
const ALONE: usize = 4;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network {
    is_v6: bool,
    bits: u128,
    length: u8,
}

/// Who owns one of these is a private matter.
const PRIVATE: [(IpAddr, u8); 5] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];

/// On this machine or on its links, or no address of one machine; and the resolver that each machine of Tailscale is for itself.
const NEAR: [(IpAddr, u8); 9] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 32),
    (IpAddr::V4(Ipv4Addr::new(100, 100, 100, 100)), 32),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 127),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

impl Network {
    /// That of an address, by the bits that it begins with; none where it has fewer.
    pub(crate) fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (is_v6, bits, width) = match address {
            IpAddr::V4(address) => (false, u128::from(address.to_bits()), V4),
            IpAddr::V6(address) => (true, address.to_bits(), V6),
        };
        let left = width.checked_sub(length)?;
        let bits = match bits.checked_shr(left.into()) {
            Some(bits) => bits << left,
            None => 0,
        };
        Some(Self {
            is_v6,
            bits,
            length,
        })
    }

    /// Reads `10.0.0.0/8`, or an address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let length = match length {
            Some(length) => length.parse().ok()?,
            None if address.is_ipv6() => V6,
            None => V4,
        };
        Self::new(address, length)
    }

    /// The network as a policy writes it, or its one address.
    pub(crate) fn host(&self) -> Host {
        let address = if self.is_v6 {
            IpAddr::V6(Ipv6Addr::from_bits(self.bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(self.bits as u32))
        };
        if self.is_alone() {
            Host::of(address)
        } else {
            Host::network(address, self.length)
        }
    }

    /// Whether it is one of the same family.
    pub(crate) const fn is_of(&self, address: IpAddr) -> bool {
        self.is_v6 == address.is_ipv6()
    }

    const fn width(&self) -> u8 {
        if self.is_v6 { V6 } else { V4 }
    }

    const fn is_alone(&self) -> bool {
        self.length == self.width()
    }

    /// Whether the other lies in it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.is_v6 == other.is_v6
            && self.length <= other.length
            && self.up_to(self.length) == other.up_to(self.length)
    }

    /// The first bits.
    fn up_to(&self, length: u8) -> u128 {
        let left = self.width().saturating_sub(length);
        self.bits.checked_shr(left.into()).unwrap_or(0)
    }

    /// The smallest one that has both.
    fn with(self, other: Self) -> Self {
        let most = self.length.min(other.length);
        let is_same = |length: &u8| self.up_to(*length) == other.up_to(*length);
        let length = (0..=most).rev().find(is_same).unwrap_or(0);
        let left = self.width() - length;
        let bits = self.up_to(length).checked_shl(left.into()).unwrap_or(0);
        Self {
            bits,
            length,
            ..self
        }
    }

    /// The number of the private range that has it.
    fn private(&self) -> Option<usize> {
        let is_its = |(address, length): &(IpAddr, u8)| is_in(self, *address, *length);
        PRIVATE.iter().position(is_its)
    }

    fn is_near(&self) -> bool {
        let mut all = NEAR.iter();
        all.any(|(address, length)| is_in(self, *address, *length))
    }

    /// Whether it is so much of the internet that it is no place.
    fn is_everything(&self) -> bool {
        let shortest = if self.is_v6 { SHORTEST_V6 } else { SHORTEST_V4 };
        self.private().is_none() && self.length < shortest
    }
}

fn is_in(network: &Network, address: IpAddr, length: u8) -> bool {
    Network::new(address, length).is_some_and(|range| range.contains(network))
}

/// What one way leads to.
pub(crate) struct WayPlaces {
    /// None is in another.
    pub(crate) networks: Vec<Network>,
    /// Whether it is the way to the internet as well.
    pub(crate) is_default: bool,
}

/// The networks of one way that are places. Of the way to the internet as well, what is public is a part of that: who leaves a
/// network out of all has to write down all the rest.
pub(crate) fn places(all: impl IntoIterator<Item = Network>) -> WayPlaces {
    let all: BTreeSet<_> = all.into_iter().filter(|one| !one.is_near()).collect();
    let is_default = all.iter().any(Network::is_everything);
    let kept = all
        .into_iter()
        .filter(|one| !is_default || one.private().is_some());
    let mut networks: Vec<Network> = Vec::new();
    for one in folded(kept.collect()) {
        // In their order, what has it comes right before it.
        if !networks.last().is_some_and(|last| last.contains(&one)) {
            networks.push(one);
        }
    }
    WayPlaces {
        networks,
        is_default,
    }
}

/// Many machines of one range, each with a route of its own, as the network that has them.
fn folded(mut all: BTreeSet<Network>) -> BTreeSet<Network> {
    for range in 0..PRIVATE.len() {
        let is_one = |one: &&Network| one.is_alone() && one.private() == Some(range);
        let alone: Vec<_> = all.iter().filter(is_one).copied().collect();
        if alone.len() > ALONE
            && let Some(around) = alone.iter().copied().reduce(Network::with)
        {
            all.insert(around);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use guard_rounds::rounds;

    fn of(all: &[&str]) -> (Vec<String>, bool) {
        let all = all.iter().map(|one| Network::parse(one).unwrap());
        let found = places(all);
        let networks = found.networks.iter().map(|one| one.host().to_string());
        (networks.collect(), found.is_default)
    }

    /// What is routed, the places among it, and whether it is the internet as well.
    type Case = (&'static [&'static str], &'static [&'static str], bool);

    const CASES: [Case; 13] = [
        (&["10.20.0.0/16"], &["10.20.0.0/16"], false),
        (&["10.20.3.4/16"], &["10.20.0.0/16"], false),
        (&["198.51.100.7"], &["198.51.100.7"], false),
        (&["0.0.0.0/0", "::/0"], &[], true),
        (&["0.0.0.0/1", "128.0.0.0/1"], &[], true),
        (&["2000::/3"], &[], true),
        (
            &["10.0.0.0/8", "10.20.0.0/16", "10.1.2.3"],
            &["10.0.0.0/8"],
            false,
        ),
        (
            &["0.0.0.0/5", "8.0.0.0/7", "198.51.100.7", "10.1.0.0/16"],
            &["10.1.0.0/16"],
            true,
        ),
        (&["fc00::/7", "fe80::/64", "ff00::/8"], &["fc00::/7"], false),
        (
            &[
                "127.0.0.0/8",
                "169.254.1.0/24",
                "224.0.0.0/4",
                "100.100.100.100",
            ],
            &[],
            false,
        ),
        (
            &["100.64.0.1", "100.90.0.2", "100.101.0.3", "100.127.0.4"],
            &["100.64.0.1", "100.90.0.2", "100.101.0.3", "100.127.0.4"],
            false,
        ),
        (
            &[
                "100.64.0.1",
                "100.90.0.2",
                "100.101.0.3",
                "100.127.0.4",
                "100.127.0.5",
            ],
            &["100.64.0.0/10"],
            false,
        ),
        (
            &["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"],
            &["10.1.0.0/29"],
            false,
        ),
    ];

    #[test]
    fn a_network_is_a_place_and_the_internet_is_none() {
        for (all, expected, is_default) in CASES {
            let expected: Vec<_> = expected.iter().map(|one| (*one).to_owned()).collect();
            assert_eq!(of(all), (expected, is_default), "{all:?}");
        }
        for not in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "a/8",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(Network::parse(not), None, "{not}");
        }
    }

    fn any_network() -> impl Strategy<Value = Network> {
        let v4 = (any::<u32>(), 0..=32_u8).prop_filter_map("a network", |(bits, length)| {
            Network::new(IpAddr::V4(Ipv4Addr::from_bits(bits)), length)
        });
        let private = (any::<u16>(), 8..=32_u8).prop_filter_map("a network", |(bits, length)| {
            let [a, b] = bits.to_be_bytes();
            Network::new(IpAddr::V4(Ipv4Addr::new(10, a % 4, b, 1)), length)
        });
        let v6 = (any::<u128>(), 0..=128_u8).prop_filter_map("a network", |(bits, length)| {
            Network::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), length)
        });
        prop_oneof![v4, private, v6]
    }

    proptest! {
        #![proptest_config(rounds(256))]

        /// Nothing private that is reached is left out, and what is listed has no other of them in it.
        #[test]
        fn what_is_private_is_in_a_place(all in prop::collection::vec(any_network(), 0..40)) {
            let places = places(all.iter().copied()).networks;
            for one in all.iter().filter(|one| one.private().is_some() && !one.is_near()) {
                prop_assert!(places.iter().any(|place| place.contains(one)), "{one:?}: {places:?}");
            }
            for (at, one) in places.iter().enumerate() {
                prop_assert!(!one.is_everything());
                let mut others = places.iter().enumerate();
                prop_assert!(!others.any(|(other, place)| at != other && place.contains(one)));
                prop_assert_eq!(Network::parse(one.host().as_str()), Some(*one));
            }
        }
    }
}
