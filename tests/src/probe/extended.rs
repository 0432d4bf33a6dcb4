//! Datagrams behind chains of IPv6 extension headers (RFC 8200 4), from a raw socket that writes its own headers.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};

use anyhow::{Context as _, Result};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use super::{LINE, Outcome, Step as _, errno, say};
use crate::network::DEV_V6;

const HOP_BY_HOP: u8 = 0;
const DESTINATION: u8 = 60;
const UDP: u8 = 17;
/// `IPPROTO_RAW`: headers come from the program, the first one included.
const RAW: i32 = 255;

/// Sends what each line of standard input asks for.
///
/// # Errors
///
/// That a line is not `ADDRESS PORT HEADERS`.
pub(super) fn send_as_told() -> Result<Outcome> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(RAW))).step("socket");
    let socket = match socket {
        Ok(socket) => socket,
        Err(failure) => return Ok(Err(failure)),
    };
    say(&json!({"ready": true}));
    for line in io::stdin().lines() {
        let line = line?;
        let (to, port, headers) = parse(&line).with_context(|| format!("not clear: {line}"))?;
        // A raw IPv6 socket takes no port.
        let address = SocketAddrV6::new(to, 0, 0, 0);
        let sent = socket.send_to(&packet(to, port, headers), &address.into());
        let errno = sent.as_ref().err().map(errno::of);
        say(&json!({"sent": sent.is_ok(), "errno": errno}));
    }
    Ok(Ok("read to the end".to_owned()))
}

fn parse(line: &str) -> Option<(Ipv6Addr, u16, usize)> {
    let mut words = line.split(' ');
    let to = words.next()?.parse().ok()?;
    Some((to, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// A whole IPv6 packet. The first extension header is a hop-by-hop one, as none else may be; each is of another length.
fn packet(to: Ipv6Addr, port: u16, headers: usize) -> Vec<u8> {
    let kinds: Vec<u8> = (0..headers)
        .map(|at| if at == 0 { HOP_BY_HOP } else { DESTINATION })
        .chain([UDP])
        .collect();
    let mut payload = Vec::new();
    for (at, next) in kinds.iter().skip(1).enumerate() {
        payload.extend(padding(*next, at as u8));
    }
    payload.extend(datagram(port));
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([kinds[0], 64]);
    packet.extend(DEV_V6.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// An extension header of `8 * (1 + more)` bytes that says nothing: one option, PadN.
fn padding(next: u8, more: u8) -> Vec<u8> {
    let length = 8 * (1 + usize::from(more));
    let mut header = vec![next, more, 1, (length - 4) as u8];
    header.resize(length, 0);
    header
}

/// Without a checksum: it is evidence on the wire, and nobody answers.
fn datagram(port: u16) -> Vec<u8> {
    let mut datagram = 40_000_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend((8 + LINE.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(LINE);
    datagram
}
