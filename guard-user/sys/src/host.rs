//! The addresses of this machine, and the networks that it reaches without a router.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Of linux/route.h and linux/ipv6_route.h: what is no route to other machines on a link.
const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x200;
const RTF_ANYCAST: u32 = 0x0010_0000;
const RTF_LOCAL: u32 = 0x8000_0000;
const RTF_ELSEWHERE: u32 = RTF_GATEWAY | RTF_REJECT | RTF_ANYCAST | RTF_LOCAL;

/// What a network namespace is told of itself, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// Its addresses, loopback left out.
    pub addresses: Vec<IpAddr>,
    /// Where its routes without a router lead: a network's first address, and its length in the family's own bits. A
    /// tunnel for everything is among them. Of IPv4, a route has the link's scope or is in the main table; of several
    /// next hops the first one counts.
    pub on_link: Vec<(IpAddr, u8)>,
}

impl HostAddresses {
    /// That of the network namespace that this thread is in.
    ///
    /// # Errors
    ///
    /// The system's. A family that the kernel does not have has nothing.
    pub fn look() -> io::Result<Self> {
        let (trie, inet6) = (read("fib_trie")?, read("if_inet6")?);
        let (main, routes) = (read("route")?, read("ipv6_route")?);
        let on_link = on_link_v4(&trie).chain(on_link_main(&main));
        let on_link: BTreeSet<_> = on_link.chain(on_link_v6(&routes)).collect();
        Ok(Self {
            addresses: local(&trie, &inet6),
            on_link: on_link.into_iter().collect(),
        })
    }
}

/// [`HostAddresses::addresses`] alone. What cannot be read is left out.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let table = |name| read(name).unwrap_or_default();
    local(&table("fib_trie"), &table("if_inet6"))
}

/// The names of interfaces in it may be any bytes.
fn read(name: &str) -> io::Result<String> {
    match fs::read(format!("/proc/thread-self/net/{name}")) {
        Ok(table) => Ok(String::from_utf8_lossy(&table).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn local(trie: &str, inet6: &str) -> Vec<IpAddr> {
    let found: BTreeSet<IpAddr> = local_v4(trie).chain(local_v6(inet6)).collect();
    found.into_iter().collect()
}

/// The leaves of `/proc/net/fib_trie` (`fib_trie_seq_show` in Linux), of all tables, each with a route to it: `/24 link
/// UNICAST`.
fn leaves(trie: &str) -> impl Iterator<Item = (Ipv4Addr, u8, [&str; 2])> {
    let mut leaf = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim_ascii();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
            return None;
        }
        let mut words = line.strip_prefix('/')?.split_ascii_whitespace();
        let length = words.next()?.parse().ok()?;
        Some((leaf?, length, [words.next()?, words.next()?]))
    })
}

fn local_v4(trie: &str) -> impl Iterator<Item = IpAddr> {
    let own = leaves(trie).filter(|(address, length, route)| {
        !address.is_loopback() && (*length, route) == (32, &["host", "LOCAL"])
    });
    own.map(|(address, ..)| IpAddr::V4(address))
}

fn on_link_v4(trie: &str) -> impl Iterator<Item = (IpAddr, u8)> {
    let on_link = leaves(trie).filter(|(.., route)| *route == ["link", "UNICAST"]);
    on_link.map(|(address, length, _)| (IpAddr::V4(address), length))
}

/// The routes in `/proc/net/route` (`fib_route_seq_show` in Linux), the main table whatever their scope. In hexadecimal, of
/// this machine's byte order: the interface, the destination, the gateway, the flags; three numbers, the mask.
fn on_link_main(routes: &str) -> impl Iterator<Item = (IpAddr, u8)> {
    routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, destination, gateway, flags, _, _, _, mask, ..] = fields[..] else {
            return None;
        };
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        let address = |digits| Some(Ipv4Addr::from(number(digits)?.to_ne_bytes()));
        let is_on_link = number(gateway)? == 0 && number(flags)? & RTF_ELSEWHERE == 0;
        let length = address(mask)?.to_bits().leading_ones() as u8;
        is_on_link.then_some((IpAddr::V4(address(destination)?), length))
    })
}

/// The addresses in `/proc/net/if_inet6` (`if6_seq_show` in Linux): 32 hexadecimal digits first.
fn local_v6(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next()?;
        let address = Ipv6Addr::from_bits(u128::from_str_radix(digits, 16).ok()?);
        (digits.len() == 32 && !address.is_loopback()).then_some(IpAddr::V6(address))
    })
}

/// The routes in `/proc/net/ipv6_route` (`rt6_info_route` in Linux), of all tables. In hexadecimal: the destination, its
/// length, the source, its length, the next hop, three numbers, the flags; then the interface.
fn on_link_v6(routes: &str) -> impl Iterator<Item = (IpAddr, u8)> {
    routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, length, _, _, next_hop, _, _, _, flags, ..] = fields[..] else {
            return None;
        };
        let number = |digits| u128::from_str_radix(digits, 16).ok();
        let length = u8::from_str_radix(length, 16).ok()?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_on_link = number(next_hop)? == 0 && flags & RTF_ELSEWHERE == 0;
        let address = Ipv6Addr::from_bits(number(destination)?);
        is_on_link.then_some((IpAddr::V6(address), length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: impl Iterator<Item = (IpAddr, u8)>) -> Vec<String> {
        found.map(|(at, length)| format!("{at}/{length}")).collect()
    }

    #[test]
    fn addresses_and_networks_are_found_in_what_the_kernel_prints() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     \
                    |-- 192.0.2.0\n        /24 link UNICAST\n        /25 link UNICAST tos=10\n     \
                    |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 203.0.113.0\n        /24 universe UNICAST\n";
        let inet6 = "20010db8000000000000000000000002 04 40 00 82     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        let found: Vec<_> = local(trie, inet6).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["192.0.2.2", "2001:db8::2"]);
        assert_eq!(shown(on_link_v4(trie)), ["192.0.2.0/24", "192.0.2.0/25"]);
    }

    #[test]
    fn of_the_main_table_all_scopes_count() {
        let digits = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |to, gateway, flags, mask| {
            let [to, gateway, mask] = [to, gateway, mask].map(digits);
            format!("eth0\t{to}\t{gateway}\t{flags}\t0\t0\t0\t{mask}\t0\t0\t0\n")
        };
        let none = [0; 4];
        let routes = [
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                .to_owned(),
            line([203, 0, 113, 0], none, "0001", [255, 255, 255, 0]),
            line(
                [198, 51, 100, 0],
                [192, 0, 2, 1],
                "0003",
                [255, 255, 255, 0],
            ),
            line([192, 0, 2, 128], none, "0201", [255, 255, 255, 128]),
        ];
        assert_eq!(shown(on_link_main(&routes.concat())), ["203.0.113.0/24"]);
    }

    #[test]
    fn of_ipv6_what_has_no_router_and_is_no_address_counts() {
        let zeros = "00000000000000000000000000000000";
        let router = "fe800000000000000000000000000001";
        let routes = [
            ("20010db8000100000000000000000000", "40", zeros, "00000001"),
            ("20010db8000000000000000000000000", "20", router, "00000003"),
            ("20010db8000100000000000000000002", "80", zeros, "80200001"),
            ("20010db8000100000000000000000000", "80", zeros, "00300001"),
            ("20010db8000300000000000000000000", "40", zeros, "00200200"),
        ];
        let line = |(to, length, next, flags): (&str, &str, &str, &str)| {
            format!(
                "{to} {length} {zeros} 00 {next} 00000100 00000001 00000000 {flags} \u{3000}x\n"
            )
        };
        let routes: String = routes.into_iter().map(line).collect();
        assert_eq!(shown(on_link_v6(&routes)), ["2001:db8:1::/64"]);
    }
}
