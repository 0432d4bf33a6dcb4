//! The limits of a session's trust in guard's certificate authority.

use std::net::IpAddr;

use guard_proto::wire::AuthorityScope;
use rcgen::{CidrSubnet, GeneralSubtree};

/// The limits as name constraints. A kind of name without constraints is not limited (RFC 5280 4.2.1.10), so a kind without
/// names gets one that matches nothing.
pub(super) fn subtrees(scope: &AuthorityScope) -> Vec<GeneralSubtree> {
    let dns = |name: &String| GeneralSubtree::DnsName(name.clone());
    let ip = |(address, length): &(IpAddr, u8)| {
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, *length))
    };
    let mut subtrees = Vec::new();
    if let Some(names) = &scope.names {
        subtrees.extend(names.iter().map(dns));
        if names.is_empty() {
            subtrees.push(dns(&NOWHERE.to_owned()));
        }
    }
    if let Some(prefixes) = &scope.prefixes {
        subtrees.extend(prefixes.iter().map(ip));
        if prefixes.is_empty() {
            subtrees.push(ip(&(IpAddr::from([0; 16]), 128)));
        }
    }
    subtrees
}

/// A name that no host has (RFC 2606 2).
const NOWHERE: &str = "guard.invalid";
