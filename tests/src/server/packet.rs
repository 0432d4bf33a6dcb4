//! As much of a packet as the evidence needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// What comes behind IPv6's extension headers.
    pub(super) protocol: u8,
    /// Destination port, where the protocol has one.
    pub(super) port: Option<u16>,
    /// Whether it says which way to go: an IPv6 routing header, or IPv4 options.
    pub(super) routing: bool,
    /// From the transport header on.
    pub(super) payload: &'a [u8],
}

/// IPv6 next headers that another header follows (RFC 8200 4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

impl<'a> Packet<'a> {
    /// The packet that starts at its IP header; nothing for what isn't one.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes),
            6 => Self::parse_v6(bytes),
            _ => None,
        }
    }

    /// The sender's port, where the protocol has one.
    pub(super) fn source_port(&self) -> Option<u16> {
        self.port?;
        Some(u16::from_be_bytes(array::<2>(self.payload, 0)?))
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        let header_length = usize::from(bytes[0] & 15) * 4;
        let protocol = *bytes.get(9)?;
        let payload = bytes.get(header_length..)?;
        Some(Self {
            from: Ipv4Addr::from(array::<4>(bytes, 12)?).into(),
            to: Ipv4Addr::from(array::<4>(bytes, 16)?).into(),
            protocol,
            port: port(protocol, payload),
            routing: header_length > 20,
            payload,
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        let mut protocol = *bytes.get(6)?;
        let mut payload = bytes.get(40..)?;
        let mut routing = false;
        while matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION) {
            routing |= protocol == ROUTING;
            protocol = *payload.first()?;
            payload = payload.get((usize::from(*payload.get(1)?) + 1) * 8..)?;
        }
        Some(Self {
            from: Ipv6Addr::from(array::<16>(bytes, 8)?).into(),
            to: Ipv6Addr::from(array::<16>(bytes, 24)?).into(),
            protocol,
            port: port(protocol, payload),
            routing,
            payload,
        })
    }

    /// A TCP reset that carries nothing and acknowledges nothing: the answer to a segment for which there is no connection
    /// (RFC 9293 3.5.2). The resets of sockets acknowledge.
    pub(super) fn is_bare_reset(&self) -> bool {
        const RST: u8 = 4;
        const ACK: u8 = 16;
        let Some([offset, flags]) = array::<2>(self.payload, 12) else {
            return false;
        };
        let header = usize::from(offset >> 4) * 4;
        let is_tcp = i32::from(self.protocol) == libc::IPPROTO_TCP;
        is_tcp && flags & (RST | ACK) == RST && self.payload.len() == header
    }

    /// Neighbour discovery and multicast listener reports, which machines send by themselves.
    pub(super) fn is_neighbour_discovery(&self) -> bool {
        let icmp6 = i32::from(self.protocol) == libc::IPPROTO_ICMPV6;
        icmp6 && matches!(self.payload.first(), Some(130..=137 | 143))
    }
}

fn port(protocol: u8, payload: &[u8]) -> Option<u16> {
    const UDPLITE: i32 = 136;
    match i32::from(protocol) {
        libc::IPPROTO_TCP | libc::IPPROTO_UDP | UDPLITE => {
            array::<2>(payload, 2).map(u16::from_be_bytes)
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;
    use crate::Tested;

    #[test]
    fn a_routing_header_is_seen_and_passed() -> Tested {
        let mut bytes = vec![0; 40 + 24 + 8];
        bytes[0] = 0x60;
        bytes[6] = ROUTING;
        bytes[39] = 1;
        bytes[40] = 17;
        bytes[41] = 2;
        bytes[66..68].copy_from_slice(&53_u16.to_be_bytes());
        let packet = Packet::parse(&bytes).context("no packet")?;
        assert_eq!(packet.to, Ipv6Addr::LOCALHOST);
        assert_eq!((packet.protocol, packet.port), (17, Some(53)));
        assert!(packet.routing);
        Ok(())
    }

    #[test]
    fn a_reset_is_bare_where_nothing_follows_it() {
        let segment = |flags: u8, more: usize| {
            let mut bytes = vec![0; 20 + 20 + more];
            bytes[0] = 0x45;
            bytes[9] = 6;
            bytes[32] = 5 << 4;
            bytes[33] = flags;
            Packet::parse(&bytes).unwrap().is_bare_reset()
        };
        let (rst, ack, syn) = (4, 16, 2);
        assert!(segment(rst, 0));
        assert!(!segment(rst | ack, 0) && !segment(rst, 1));
        assert!(!segment(ack, 0) && !segment(syn, 0));
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        for length in 0..28 {
            let mut bytes = vec![0x45; length];
            if let Some(first) = bytes.first_mut() {
                *first = 0x4f;
            }
            assert_eq!(Packet::parse(&bytes), None);
        }
    }
}
