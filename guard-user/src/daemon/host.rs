//! The addresses of this machine: what `@guarded-host` stands for.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Addresses of the network namespace that this thread is in, loopback left out. What cannot be
/// read is left out as well.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let trie = fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap_or_default();
    let inet6 = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let found: BTreeSet<IpAddr> = local_v4(&trie).chain(local_v6(&inet6)).collect();
    found.into_iter().collect()
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
}
