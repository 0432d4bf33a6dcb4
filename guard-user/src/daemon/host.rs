//! The addresses of this machine and the networks around it: what `@guarded-host` and `@on-link` stand for.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::policy::{Environment, Group, Prefix};

/// The shortest prefix, in the family's own bits, that is a network and no other way to all of the internet: what leads
/// there through a tunnel may be routed in two halves.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;

/// Of linux/ipv6_route.h and linux/route.h: what is no route to other machines on a link.
const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x200;
const RTF_ANYCAST: u32 = 0x0010_0000;
const RTF_LOCAL: u32 = 0x8000_0000;

/// Addresses of the network namespace that this thread is in, loopback left out. What cannot be
/// read is left out as well.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let (trie, inet6) = (read("fib_trie"), read("if_inet6"));
    let found: BTreeSet<IpAddr> = local_v4(&trie).chain(local_v6(&inet6)).collect();
    found.into_iter().collect()
}

/// The networks that such an address lies in and that are reached without a router, but for those that other groups name:
/// private ones and the like. What cannot be read is left out.
#[must_use]
pub fn networks() -> Vec<Prefix> {
    let (trie, routes) = (read("fib_trie"), read("ipv6_route"));
    let own = addresses().into_iter().map(Prefix::from).collect();
    around(own, on_link_v4(&trie).chain(on_link_v6(&routes)))
}

fn read(name: &str) -> String {
    fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
}

/// Those of networks that hold an address of the machine's own, and that no other group names.
fn around(own: Vec<Prefix>, networks: impl Iterator<Item = Prefix>) -> Vec<Prefix> {
    let named = [
        Group::Loopback,
        Group::Private,
        Group::LinkLocal,
        Group::Multicast,
    ];
    let named = named
        .map(|group| group.prefixes(&Environment::default()))
        .concat();
    let is_named = |network: &Prefix| named.iter().any(|group| group.contains(network));
    let holds_own = |network: &Prefix| own.iter().any(|own| network.contains(own));
    let found = networks.filter(|network| !is_named(network) && holds_own(network));
    found.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The leaves of `/proc/net/fib_trie` with a route of the link's scope, as `/24 link UNICAST`.
fn on_link_v4(trie: &str) -> impl Iterator<Item = Prefix> {
    let mut leaf = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
            return None;
        }
        let mut words = line.strip_prefix('/')?.split_whitespace();
        let length = words.next()?.parse().ok()?;
        let is_on_link = words.next() == Some("link") && words.next() == Some("UNICAST");
        let is_network = (SHORTEST_V4..32).contains(&length);
        (is_on_link && is_network).then_some(Prefix::v4(leaf?.octets(), length))
    })
}

/// The routes in `/proc/net/ipv6_route` (`rt6_info_route` in Linux) that lead through no router. In hexadecimal: the
/// destination, its length, the source, its length, the next hop, three numbers, the flags; then the interface.
fn on_link_v6(routes: &str) -> impl Iterator<Item = Prefix> {
    routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, next_hop, _, _, _, flags, _] = fields[..] else {
            return None;
        };
        let number = |digits| u128::from_str_radix(digits, 16).ok();
        let length = u8::from_str_radix(length, 16).ok()?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_elsewhere = flags & (RTF_GATEWAY | RTF_REJECT | RTF_ANYCAST | RTF_LOCAL) != 0;
        let is_network = (SHORTEST_V6..128).contains(&length);
        let is_on_link = number(next_hop)? == 0 && !is_elsewhere && is_network;
        is_on_link.then_some(Prefix::new(number(destination)?, length))
    })
}

/// The leaves of `/proc/net/fib_trie` (`fib_trie_seq_show` in Linux) with a `/32 host LOCAL` route.
fn local_v4(trie: &str) -> impl Iterator<Item = IpAddr> {
    let mut leaf = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
            return None;
        }
        let address = leaf.filter(|address| !address.is_loopback())?;
        (line == "/32 host LOCAL").then_some(IpAddr::V4(address))
    })
}

/// The addresses in `/proc/net/if_inet6` (`if6_seq_show` in Linux): 32 hexadecimal digits first.
fn local_v6(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().filter_map(|line| {
        let digits = line.split_whitespace().next()?;
        let address = Ipv6Addr::from_bits(u128::from_str_radix(digits, 16).ok()?);
        (digits.len() == 32 && !address.is_loopback()).then_some(IpAddr::V6(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_found_in_what_the_kernel_prints() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
                    |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.2\n        /32 host LOCAL\n";
        let found: Vec<_> = local_v4(trie).collect();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 2])]);
        let inet6 = "20010db8000000000000000000000002 04 40 00 82     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        let found: Vec<_> = local_v6(inet6).map(|address| address.to_string()).collect();
        assert_eq!(found, ["2001:db8::2"]);
    }

    #[test]
    fn the_networks_are_those_around_global_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n        /1 link UNICAST\n     \
                    |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.2\n        /32 host LOCAL\n     \
                    |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.2\n        /32 host LOCAL\n     \
                    |-- 198.51.100.0\n        /24 link UNICAST\n     |-- 203.0.113.0\n        /24 universe UNICAST\n";
        let zeros = "00000000000000000000000000000000";
        let routes = [
            // The network that the address lies in, and one that is reached by the same link.
            ("20010db8000100000000000000000000", "40", zeros, "00000001"),
            ("20010db8000200000000000000000000", "40", zeros, "00000001"),
            // Through a router; the address itself; the link's own; half of the internet through a tunnel; refused.
            (
                "20010db8000000000000000000000000",
                "20",
                "fe800000000000000000000000000001",
                "00000003",
            ),
            ("20010db8000100000000000000000002", "80", zeros, "80200001"),
            ("fe800000000000000000000000000000", "40", zeros, "00000001"),
            (zeros, "01", zeros, "00000001"),
            ("20010db8000100000000000000000000", "30", zeros, "00200200"),
        ];
        let line = |(to, length, next, flags): (&str, &str, &str, &str)| {
            format!("{to} {length} {zeros} 00 {next} 00000100 00000001 00000000 {flags} eth0\n")
        };
        let routes: String = routes.into_iter().map(line).collect();
        let own = ["10.0.0.2", "192.0.2.2", "2001:db8:1::2", "fe80::2"];
        let own = own.map(|address| Prefix::from(address.parse::<IpAddr>().unwrap()));
        let found = around(own.into(), on_link_v4(&trie).chain(on_link_v6(&routes)));
        let found: Vec<_> = found.iter().map(Prefix::to_string).collect();
        assert_eq!(found, ["192.0.2.0/24", "2001:db8:1::/64"]);
    }
}
