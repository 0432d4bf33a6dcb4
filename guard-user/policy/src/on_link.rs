//! Which networks `@on-link` stands for.

use std::{collections::BTreeSet, net::IpAddr};

use super::{group::Group, model::Environment, prefix::Prefix};

/// What is shorter, in the family's own bits, is no network but a tunnel's way to much of the internet.
const SHORTEST_V4: u8 = 9;
const SHORTEST_V6: u8 = 17;

/// For benchmarks (RFC 2544): the resolvers of some tunnels hand out these for names on the internet.
const MADE_UP: Prefix = Prefix::v4([198, 18, 0, 0], 15);

/// Of the networks that a machine reaches without a router, each with its length in the family's own bits, those that it has an
/// address in and that no other group names.
#[must_use]
pub fn networks_around(addresses: &[IpAddr], on_link: &[(IpAddr, u8)]) -> Vec<Prefix> {
    let own: Vec<Prefix> = addresses.iter().map(|own| Prefix::from(*own)).collect();
    let others = [
        Group::Loopback,
        Group::Private,
        Group::LinkLocal,
        Group::Multicast,
    ];
    let others = others.map(|group| group.prefixes(&Environment::default()));
    let others = [others.concat(), vec![MADE_UP]].concat();
    let networks = on_link
        .iter()
        .filter_map(|(at, length)| network(*at, *length));
    let found = networks.filter(|network| {
        let is_named = others.iter().any(|other| other.contains(network));
        !is_named && own.iter().any(|own| network.contains(own))
    });
    found.collect::<BTreeSet<_>>().into_iter().collect()
}

fn network(at: IpAddr, length: u8) -> Option<Prefix> {
    match at {
        IpAddr::V4(at) if (SHORTEST_V4..32).contains(&length) => {
            Some(Prefix::v4(at.octets(), length))
        }
        IpAddr::V6(at) if (SHORTEST_V6..128).contains(&length) => {
            Some(Prefix::new(at.to_bits(), length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_hold_a_global_address_of_the_machines() {
        let own = [
            "10.0.0.2",
            "192.0.2.2",
            "198.18.0.1",
            "2001:db8:1::2",
            "fe80::2",
        ];
        let own = own.map(|address| address.parse().unwrap());
        let on_link = [
            ("0.0.0.0", 0),
            ("128.0.0.0", 1),
            ("192.0.0.0", 8),
            ("10.0.0.0", 24),
            ("192.0.2.0", 24),
            ("192.0.2.2", 32),
            ("198.18.0.0", 16),
            ("198.51.100.0", 24),
            ("::", 0),
            ("2000::", 3),
            ("2001::", 16),
            ("2001:db8:1::", 64),
            ("2001:db8:2::", 64),
            ("fe80::", 64),
        ];
        let on_link = on_link.map(|(at, length)| (at.parse().unwrap(), length));
        let found = networks_around(&own, &on_link);
        let found: Vec<_> = found.iter().map(Prefix::to_string).collect();
        assert_eq!(found, ["192.0.2.0/24", "2001:db8:1::/64"]);
    }
}
