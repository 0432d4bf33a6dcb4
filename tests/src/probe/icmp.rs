//! Echo requests, which have no ports.

use std::io::{self, Read as _};
use std::time::Instant;

use socket2::{Protocol, Socket, Type};

use super::{Failure, LINE, Outcome, Step as _, Target};

/// Echo request and reply, in ICMP and in ICMPv6.
const TYPES_V4: (u8, u8) = (8, 0);
const TYPES_V6: (u8, u8) = (128, 129);

pub(super) fn ping(target: &Target, kind: Type) -> Outcome {
    ping_by(target, &socket(target, kind)?, kind)
}

/// A ping socket, or a raw one.
pub(super) fn socket(target: &Target, kind: Type) -> Result<Socket, Failure> {
    let protocol = if target.to.is_ipv6() {
        Protocol::ICMPV6
    } else {
        Protocol::ICMPV4
    };
    target.socket(kind, Some(protocol))
}

pub(super) fn ping_by(target: &Target, socket: &Socket, kind: Type) -> Outcome {
    let v6 = target.to.is_ipv6();
    let (request, reply) = if v6 { TYPES_V6 } else { TYPES_V4 };
    // A raw IPv6 socket takes no port.
    let mut to = target.to;
    to.set_port(0);
    socket.send_to(&echo(request), &to.into()).step("sendto")?;
    // Only a raw IPv4 socket gives the IP header, too.
    let header = if kind == Type::RAW && !v6 { 20 } else { 0 };
    wait_for(socket, header, reply, target)?;
    Ok("echoed".to_owned())
}

/// A raw socket gets all that comes in, its own request over loopback included.
fn wait_for(mut socket: &Socket, header: usize, reply: u8, target: &Target) -> Result<(), Failure> {
    let deadline = Instant::now() + target.timeout;
    let mut buffer = [0; 256];
    while Instant::now() < deadline {
        let length = socket.read(&mut buffer).step("receive")?;
        if buffer[..length].get(header) == Some(&reply) {
            return Ok(());
        }
    }
    Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)).step("receive")
}

/// An echo request. The kernel fills in the checksum where it isn't ICMP on a raw socket.
fn echo(kind: u8) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0, 0, 1, 0, 1];
    packet.extend(LINE);
    let sum = checksum(&packet).to_be_bytes();
    packet[2..4].copy_from_slice(&sum);
    packet
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    let sum: u32 = words
        .iter()
        .map(|w| u32::from(u16::from_be_bytes(*w)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
