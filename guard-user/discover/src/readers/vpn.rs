//! Virtual private networks: those that this machine is in, by its routes, and those that a file of WireGuard's or OpenVPN's has the
//! key of. Keys are not read, and what a file says of the internet as a whole is no place.

use std::net::{IpAddr, Ipv4Addr};

use crate::dsn::{HostPort, host_alone, host_and_port, is_placeholder};
use crate::host::Host;
use crate::network::{Network, places};
use crate::routes::{ROUTES, Routes, Tunnel};
use crate::score::Clue;
use crate::service::{Service, Transport};
use crate::tokens::StageWords;

use super::{Sink, lines, sections, value};

/// What the kernel routes through tunnels.
pub(crate) fn routes(sink: &mut Sink, routes: &Routes) -> Vec<Tunnel> {
    sink.begin(ROUTES.to_owned());
    if let Some(why) = routes.passed_over {
        sink.pass_over(None, why);
    }
    let tunnels = routes.tunnels();
    for tunnel in &tunnels {
        for network in &tunnel.networks {
            place(sink, None, &tunnel.device, network.clone(), None);
        }
    }
    tunnels
}

fn place(
    sink: &mut Sink,
    line: Option<usize>,
    key: &str,
    network: Host,
    credential: Option<&'static str>,
) {
    let seen = sink.seen(line, key);
    sink.push(Clue {
        host: Some(network),
        port: 0,
        service: Service::Network,
        seen,
        data: StageWords::default(),
        credential,
        has_sibling: true,
        is_own: false,
    });
}

/// Networks of a file with the line that each is in; one that lies in another has that one's.
fn behind(sink: &mut Sink, key: &str, all: &[(usize, Network)], credential: Option<&'static str>) {
    let found = places(all.iter().map(|(_, network)| *network));
    for network in found.networks {
        if sink.is_full() {
            return;
        }
        let line = all.iter().find(|(_, one)| network.contains(one));
        let line = line.map(|(line, _)| *line);
        place(sink, line, key, network.host(), credential);
    }
}

/// Whether a project's file is one of a client's, by its name and that of its directory.
pub(super) fn is_client(dir: &[u8], name: &str) -> bool {
    let is_conf = name.ends_with(".conf");
    name.ends_with(".ovpn")
        || (is_conf && name.starts_with("wg"))
        || (is_conf && [&b"openvpn"[..], b"vpn", b"wireguard"].contains(&dir))
}

/// A client's file, of either kind; another kind of file has nothing.
pub(super) fn client(sink: &mut Sink, text: &str) {
    let is = |line: &str, word: &str| {
        let first = line.split_whitespace().next();
        first.is_some_and(|first| first.eq_ignore_ascii_case(word))
    };
    let has = |word: &str| text.lines().any(|line| is(line, word));
    if has("[interface]") && has("[peer]") {
        wireguard(sink, text);
    } else if has("remote") && (has("client") || has("dev") || has("tls-client")) {
        openvpn(sink, text);
    }
}

/// `[Interface]`, and `[Peer]`s with what is behind each.
fn wireguard(sink: &mut Sink, text: &str) {
    let sections = sections(sink, text);
    let key = sections
        .iter()
        .any(|(_, _, pairs)| value(pairs, &["privatekey"]).is_some())
        .then_some("key");
    for (line, name, pairs) in &sections {
        if sink.is_full() {
            return;
        }
        let mut networks = Vec::new();
        if !name.eq_ignore_ascii_case("peer") {
            continue;
        }
        if let Some(end) = value(pairs, &["endpoint"]) {
            let at = host_and_port(bare(end), 51820);
            server(sink, *line, at, Transport::Udp, key);
        } else {
            // Who connects to this machine is behind it as well; there is nowhere to go for it.
            sink.key("WireGuard peer without an endpoint", Some(*line), "peer");
        }
        let allowed = pairs.iter().filter(|(key, _)| key == "allowedips");
        let allowed = allowed.flat_map(|(_, value)| bare(value).split(','));
        for network in allowed.map(str::trim).filter(|text| !text.is_empty()) {
            match Network::parse(network) {
                Some(network) => networks.push((*line, network)),
                None if is_placeholder(network) => {}
                None => sink.pass_over(Some(*line), "an unreadable network"),
            }
        }
        behind(sink, "peer", &networks, key);
    }
}

/// A value without the comment behind it.
fn bare(value: &str) -> &str {
    value.split('#').next().unwrap_or_default().trim()
}

/// Lines of words, and texts between `<ca>` and `</ca>`, which are keys.
fn openvpn(sink: &mut Sink, text: &str) {
    let mut inside: Option<&str> = None;
    let (mut servers, mut networks) = (Vec::new(), Vec::new());
    let (mut usual, mut transport) = (1194, Transport::Udp);
    for (line, text) in lines(sink, text) {
        let words: Vec<_> = text.split_whitespace().collect();
        let first = words.first().copied().unwrap_or_default();
        if let Some(block) = inside {
            let end = first
                .strip_prefix("</")
                .and_then(|end| end.strip_suffix('>'));
            if end == Some(block) {
                inside = None;
            }
            continue;
        }
        let begin = first
            .strip_prefix('<')
            .and_then(|name| name.strip_suffix('>'));
        // A connection's block has words as the rest of the file has; of all others nothing is read.
        inside =
            begin.filter(|name| !name.starts_with('/') && !name.eq_ignore_ascii_case("connection"));
        match words[..] {
            ["remote", host, ref rest @ ..] => servers.push((line, host, rest.to_vec())),
            ["port" | "rport", port, ..] => usual = port.parse().unwrap_or(usual),
            ["proto", name, ..] => transport = Transport::of(name),
            ["route", "remote_host" | "vpn_gateway" | "net_gateway", ..] => {}
            ["route", network, ref rest @ ..] => match route(network, rest) {
                Some(network) => networks.push((line, network)),
                None => sink.pass_over(Some(line), "an unreadable network"),
            },
            ["route-ipv6", network, ..] => match Network::parse(network) {
                Some(network) => networks.push((line, network)),
                None => sink.pass_over(Some(line), "an unreadable network"),
            },
            _ => {}
        }
    }
    if inside.is_some() {
        sink.pass_over(None, "a key without an end, and what is behind it");
    }
    for (line, host, rest) in servers {
        let port = rest.first().and_then(|port| port.parse().ok());
        let own = rest.get(1).map(|name| Transport::of(name));
        let at = host_alone(host, port.unwrap_or(usual));
        server(sink, line, at, own.unwrap_or(transport), Some("login"));
    }
    behind(sink, "route", &networks, Some("login"));
}

/// `route NETWORK [MASK]`: one address where there is no mask.
fn route(network: &str, rest: &[&str]) -> Option<Network> {
    let address: IpAddr = network.parse().ok()?;
    let length = match rest.first() {
        None | Some(&"default") => return Network::parse(network),
        Some(mask) => {
            let mask = mask.parse::<Ipv4Addr>().ok()?.to_bits();
            (mask.leading_ones() == mask.count_ones()).then_some(mask.count_ones())?
        }
    };
    Network::new(address, u8::try_from(length).ok()?)
}

/// Where a client connects to.
fn server(
    sink: &mut Sink,
    line: usize,
    at: Option<HostPort>,
    transport: Transport,
    credential: Option<&'static str>,
) {
    let clue = sink.named(
        line,
        "endpoint",
        Service::Vpn(transport),
        at,
        StageWords::default(),
    );
    if let Some(clue) = clue {
        clue.credential = credential;
    }
}
