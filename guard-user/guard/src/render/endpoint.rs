//! Destinations in words, and as arguments that can be typed.

use guard_policy::as_word;
use guard_proto::{DnsQuestion, Endpoint};

use super::names;

/// "tcp 192.0.2.10:443 (db.example.com)", "the name x.example.com by 192.0.2.53:53"
pub(crate) fn words(endpoint: &Endpoint) -> String {
    if let (DnsQuestion::PROTOCOL, Some(name)) = (&*endpoint.protocol, &endpoint.host) {
        return format!("the name {} by {}", names::short(name), place(endpoint));
    }
    let place = format!("{} {}", endpoint.protocol, place(endpoint));
    match &endpoint.host {
        Some(host) => format!("{place} ({host})"),
        None => place,
    }
}

/// "192.0.2.10:443", or "192.0.2.10 --ports udp/53": what `guard open` and `guard request` take.
pub(crate) fn argument(endpoint: &Endpoint) -> String {
    let address = as_word(&endpoint.address);
    match (endpoint.protocol.as_str(), endpoint.port) {
        ("tcp", Some(_)) => place(endpoint),
        (protocol, Some(port)) => format!("{address} --ports {protocol}/{port}"),
        ("icmp", None) => format!("{address} --ports icmp"),
        (_, None) => address,
    }
}

fn place(endpoint: &Endpoint) -> String {
    match endpoint.port {
        Some(port) if endpoint.address.contains(':') => format!("[{}]:{port}", endpoint.address),
        Some(port) => format!("{}:{port}", endpoint.address),
        None => endpoint.address.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, port: Option<u16>, protocol: &str) -> Endpoint {
        Endpoint {
            address: address.into(),
            port,
            protocol: protocol.into(),
            host: None,
        }
    }

    #[test]
    fn both_families_read_well() {
        let endpoints = [
            endpoint("192.0.2.10", Some(443), "tcp"),
            endpoint("2001:db8::1", Some(443), "tcp"),
            endpoint("2001:db8::1", Some(53), "udp"),
            endpoint("192.0.2.10", None, "icmp"),
            endpoint("192.0.2.10", None, "47"),
        ];
        let lines: Vec<_> = endpoints
            .iter()
            .map(|e| format!("{} | {}", words(e), argument(e)))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        tcp 192.0.2.10:443 | 192.0.2.10:443
        tcp [2001:db8::1]:443 | [2001:db8::1]:443
        udp [2001:db8::1]:53 | 2001:db8::1 --ports udp/53
        icmp 192.0.2.10 | 192.0.2.10 --ports icmp
        47 192.0.2.10 | 192.0.2.10
        ");
    }
}
