//! Which networks are reached through tunnels, by what the kernel says of its devices and routes (rtnetlink(7)).
//!
//! All tables are in that: WireGuard and Tailscale have theirs beside the main one, which alone is in `/proc/net/route`. The socket
//! leads to the kernel and nowhere else, and what a device leads to follows from its kind, and is never tried.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use serde::Serialize;

use crate::host::Host;
use crate::network::{Network, places};

/// What stands in place of a file's name for what the kernel routes.
pub const ROUTES: &str = "the kernel's routes";

/// Devices that lead through another network, as the kernel calls their kinds. A bridge, a virtual machine's port of one, or a link
/// between containers is none of them.
const TUNNELS: [&str; 16] = [
    "amneziawg",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "ovpn",
    "ovpn-dco",
    "ppp",
    "sit",
    "tun",
    "vti",
    "vti6",
    "wireguard",
    "xfrm",
];
/// The table in which strongSwan has the networks behind IPsec, which has no device.
const IPSEC: u32 = 220;

/// Of linux/netlink.h and linux/rtnetlink.h.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_F_CLONED: u32 = 0x200;
const RTN_UNICAST: u8 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
/// Bits of an attribute's type that say how it is written.
const NLA_FLAGS: u16 = 0xc000;
/// `RTMGRP_LINK`, `RTMGRP_IPV4_ROUTE` and `RTMGRP_IPV6_ROUTE`.
const CHANGES: u32 = 0x1 | 0x40 | 0x400;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Lengths of `ifinfomsg`, `rtmsg` and `rtnexthop`.
const LINK: usize = 16;
const ROUTE: usize = 12;
const NEXT_HOP: usize = 8;

/// The kernel never sends more of a dump in one piece.
const PIECE: usize = 64 << 10;
/// No more of all is read.
const MOST: usize = 16 << 20;
/// What changes while it is read is read again, so often.
const TRIES: usize = 3;
/// Changes that are taken at once.
const AT_ONCE: usize = 16_384;
/// The kernel answers at once, or something else is wrong.
const TIMEOUT: Duration = Duration::from_millis(500);

/// What the kernel said.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    devices: BTreeMap<u32, Device>,
    ways: Vec<Way>,
    /// Why not all of it is here.
    pub(crate) passed_over: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Device {
    name: String,
    /// Where it is a tunnel.
    kind: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    to: Network,
    device: u32,
    table: u32,
}

/// A device that leads through another network, and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    /// Its name; letters, digits and `_.-` only.
    pub device: String,
    /// What the kernel calls it; `ipsec` where it is none.
    pub kind: &'static str,
    /// Networks and addresses with routes of their own.
    pub networks: Vec<Host>,
    /// Whether what no other route is for goes through it, too: the internet.
    pub default: bool,
}

impl Routes {
    /// Those of the network namespace that this thread is in.
    #[must_use]
    pub fn own() -> Self {
        let families = [
            (RTM_GETLINK, AF_UNSPEC),
            (RTM_GETROUTE, AF_INET),
            (RTM_GETROUTE, AF_INET6),
        ];
        let mut all = Self::default();
        for (kind, family) in families {
            match (0..TRIES).find_map(|_| Dump::of(kind, family).transpose()) {
                Some(Ok(dump)) => all.add(&dump),
                Some(Err(why)) => all.passed_over = Some(why),
                None => all.passed_over = Some("they changed while they were read"),
            }
        }
        all
    }

    fn add(&mut self, dump: &Dump) {
        if dump.is_cut {
            self.passed_over = Some("more than is read");
        }
        for message in messages(&dump.bytes) {
            match message.kind {
                RTM_NEWLINK => self.add_device(message.body),
                RTM_NEWROUTE => self.add_route(message.body),
                _ => {}
            }
        }
    }

    fn add_device(&mut self, body: &[u8]) {
        let (Some(index), Some(rest)) = (number(body, 4), body.get(LINK..)) else {
            return;
        };
        let mut device = Device {
            name: String::new(),
            kind: None,
        };
        for (kind, value) in attributes(rest) {
            match kind {
                IFLA_IFNAME => device.name = text(value),
                IFLA_LINKINFO => {
                    let mut info = attributes(value);
                    let kind = info.find(|(kind, _)| *kind == IFLA_INFO_KIND);
                    let kind = kind.map(|(_, value)| text(value));
                    let known = TUNNELS.iter().find(|one| kind.as_deref() == Some(**one));
                    device.kind = known.copied();
                }
                _ => {}
            }
        }
        self.devices.insert(index, device);
    }

    fn add_route(&mut self, body: &[u8]) {
        let (Some(head), Some(flags)) = (body.get(..ROUTE), number(body, 8)) else {
            return;
        };
        let (family, length, table, kind) = (head[0], head[1], head[4], head[7]);
        // What the kernel has made of another route, or what is no way to anywhere.
        if kind != RTN_UNICAST || flags & RTM_F_CLONED != 0 {
            return;
        }
        let (mut to, mut table, mut devices) = (None, u32::from(table), Vec::new());
        for (kind, value) in attributes(&body[ROUTE..]) {
            match kind {
                RTA_DST => to = address(value),
                RTA_OIF => devices.extend(number(value, 0)),
                RTA_TABLE => table = number(value, 0).unwrap_or(table),
                RTA_MULTIPATH => devices.extend(next_hops(value)),
                _ => {}
            }
        }
        let everywhere = match family {
            AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return,
        };
        let to = to.unwrap_or(everywhere);
        if let Some(to) = Network::new(to, length)
            && to.is_of(everywhere)
        {
            let ways = devices.into_iter();
            self.ways
                .extend(ways.map(|device| Way { to, device, table }));
        }
    }

    /// The tunnels that something is reached through, by their names.
    #[must_use]
    pub fn tunnels(&self) -> Vec<Tunnel> {
        let mut found: BTreeMap<(&str, &'static str), Vec<Network>> = BTreeMap::new();
        for way in &self.ways {
            let Some(device) = self.devices.get(&way.device) else {
                continue;
            };
            let by_table = (way.table == IPSEC).then_some("ipsec");
            if let Some(kind) = device.kind.or(by_table) {
                found
                    .entry((device.name.as_str(), kind))
                    .or_default()
                    .push(way.to);
            }
        }
        let tunnels = found.into_iter().map(|((name, kind), networks)| {
            let found = places(networks);
            Tunnel {
                device: crate::score::shown_key(name),
                kind,
                networks: found.networks.iter().map(Network::host).collect(),
                default: found.is_default,
            }
        });
        tunnels
            .filter(|one| one.default || !one.networks.is_empty())
            .collect()
    }
}

/// Hears of changes.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
    tunnels: Vec<Tunnel>,
}

impl Changes {
    /// From now on, in the network namespace that this thread is in.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn from_now() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, CHANGES))?;
        let tunnels = Routes::own().tunnels();
        Ok(Self { socket, tunnels })
    }

    /// Whether other tunnels are there, or lead elsewhere, than when this was asked before.
    pub fn has_tunnel_changed(&mut self) -> bool {
        let mut piece = [0_u8; 1];
        let mut has_heard = false;
        for _ in 0..AT_ONCE {
            // What was too much to be kept is an error, and a change all the same.
            if recv(&self.socket, &mut piece, RecvFlags::empty()) == Err(rustix::io::Errno::AGAIN) {
                break;
            }
            has_heard = true;
        }
        if !has_heard {
            return false;
        }
        let now = Routes::own().tunnels();
        let has_changed = now != self.tunnels;
        self.tunnels = now;
        has_changed
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All that the kernel has of one kind.
struct Dump {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Dump {
    /// Asks for it; none where it changed meanwhile.
    fn of(kind: u16, family: u8) -> Result<Option<Self>, &'static str> {
        Self::asked(kind, family).map_err(|_| "the kernel does not say")
    }

    fn asked(kind: u16, family: u8) -> rustix::io::Result<Option<Self>> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
        send(&socket, &request(kind, family), SendFlags::empty())?;
        let mut dump = Self {
            bytes: Vec::new(),
            is_cut: false,
        };
        let mut piece = vec![0; PIECE];
        loop {
            let (length, whole) = recv(&socket, &mut piece[..], RecvFlags::TRUNC)?;
            if whole > length {
                return Err(rustix::io::Errno::MSGSIZE);
            }
            for message in messages(&piece[..length]) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    return Ok(None);
                }
                let is_error = message.body.get(..4).is_some_and(|code| code != [0; 4]);
                match message.kind {
                    NLMSG_DONE if !is_error => return Ok(Some(dump)),
                    NLMSG_DONE | NLMSG_ERROR => return Err(rustix::io::Errno::IO),
                    _ => {}
                }
            }
            dump.bytes.extend_from_slice(&piece[..length]);
            if dump.bytes.len() > MOST {
                dump.is_cut = true;
                return Ok(Some(dump));
            }
        }
    }
}

fn request(kind: u16, family: u8) -> Vec<u8> {
    let body = match kind {
        RTM_GETLINK => LINK,
        _ => ROUTE,
    };
    let mut bytes = Vec::with_capacity(HEADER + body);
    bytes.extend(((HEADER + body) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.resize(HEADER + body, 0);
    bytes[HEADER] = family;
    bytes
}

struct Message<'b> {
    kind: u16,
    flags: u16,
    body: &'b [u8],
}

/// Messages behind each other, as far as they are whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let (kind, flags) = (short(bytes, 4)?, short(bytes, 6)?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, body })
    })
}

/// Types and values behind each other, as far as they are whole.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(short(bytes, 0)?), short(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !NLA_FLAGS, value))
    })
}

/// The devices of several next hops.
fn next_hops(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes, 0)?);
        let device = number(bytes, 4)?;
        if length < NEXT_HOP {
            return None;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(device)
    })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use guard_rounds::rounds;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn device(index: u32, name: &str, kind: &str) -> Vec<u8> {
        let mut body = vec![0; LINK];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body.extend(attribute(IFLA_IFNAME, format!("{name}\0").as_bytes()));
        let kind = attribute(IFLA_INFO_KIND, format!("{kind}\0").as_bytes());
        body.extend(attribute(IFLA_LINKINFO | 0x8000, &kind));
        message(RTM_NEWLINK, &body)
    }

    /// A route of that type and table, with the rest of its attributes.
    fn route(to: &str, (kind, table): (u8, u32), rest: &[u8]) -> Vec<u8> {
        let (to, length) = to.split_once('/').unwrap();
        let mut body = vec![0; ROUTE];
        body[1] = length.parse().unwrap();
        body[4] = u8::try_from(table).unwrap_or(0);
        body[7] = kind;
        match to.parse().unwrap() {
            IpAddr::V4(address) => {
                body[0] = AF_INET;
                body.extend(attribute(RTA_DST, &address.octets()));
            }
            IpAddr::V6(address) => {
                body[0] = AF_INET6;
                body.extend(attribute(RTA_DST, &address.octets()));
            }
        }
        body.extend(attribute(RTA_TABLE, &table.to_ne_bytes()));
        body.extend(rest);
        message(RTM_NEWROUTE, &body)
    }

    fn through(device: u32) -> Vec<u8> {
        attribute(RTA_OIF, &device.to_ne_bytes())
    }

    fn found(bytes: Vec<u8>) -> Vec<String> {
        let mut all = Routes::default();
        all.add(&Dump {
            bytes,
            is_cut: false,
        });
        let tunnels = all.tunnels();
        let tunnels = tunnels.iter().map(|one| {
            let networks: Vec<_> = one.networks.iter().map(Host::as_str).collect();
            let default = if one.default { " default" } else { "" };
            format!(
                "{} {}: {}{default}",
                one.device,
                one.kind,
                networks.join(" ")
            )
        });
        tunnels.collect()
    }

    #[test]
    fn what_is_behind_a_tunnel_is_told_from_what_is_near() {
        let hops = [
            8_u16.to_ne_bytes().to_vec(),
            vec![0, 0],
            4_u32.to_ne_bytes().to_vec(),
        ]
        .concat();
        let hops = attribute(RTA_MULTIPATH, &hops);
        let all = [
            device(1, "lo", ""),
            device(2, "eth0", "veth"),
            device(3, "docker0", "bridge"),
            device(4, "wg0", "wireguard"),
            device(5, "tun0", "tun"),
            device(6, "vnet0", "macvtap"),
            device(7, "a b\u{1b}[2J", "ppp"),
            route("0.0.0.0/0", (1, 254), &through(2)),
            route("172.17.0.0/16", (1, 254), &through(3)),
            route("10.20.0.0/16", (1, 254), &through(4)),
            // Other tables, other types, several next hops.
            route("fd7a:115c:a1e0::/48", (1, 52), &through(4)),
            route("0.0.0.0/0", (1, 51820), &through(4)),
            route("10.20.0.2/32", (2, 255), &through(4)),
            route("10.21.0.0/16", (3, 254), &through(4)),
            route("10.22.0.0/16", (6, 254), &through(4)),
            route("10.23.0.0/16", (1, 254), &hops),
            route("fe80::/64", (1, 254), &through(5)),
            route("198.51.100.0/24", (1, 254), &through(5)),
            route("192.168.122.0/24", (1, 254), &through(6)),
            route("10.3.0.0/24", (1, IPSEC), &through(2)),
            route("10.4.0.0/24", (1, 254), &through(7)),
            route("10.5.0.0/24", (1, 254), &through(99)),
        ];
        assert_eq!(
            found(all.concat()),
            [
                "- ppp: 10.4.0.0/24",
                "eth0 ipsec: 10.3.0.0/24",
                "tun0 tun: 198.51.100.0/24",
                "wg0 wireguard: 10.20.0.0/16 10.23.0.0/16 fd7a:115c:a1e0::/48 default",
            ]
        );
    }

    #[test]
    fn the_kernel_says() {
        let own = Routes::own();
        assert_eq!(own.passed_over, None);
        assert!(own.devices.values().any(|one| one.name == "lo"));
    }

    proptest! {
        #![proptest_config(rounds(256))]

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..400_usize, byte in any::<u8>()) {
            found(bytes);
            let mut all = [device(4, "wg0", "wireguard"), route("10.0.0.0/8", (1, 254), &through(4))].concat();
            let at = at % all.len();
            all[at] = byte;
            found(all);
        }
    }
}
