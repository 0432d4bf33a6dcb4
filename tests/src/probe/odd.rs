//! Ways to send that few programs use, and escapes do.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::icmp::checksum;
use super::{Failure, LINE, Outcome, Step as _, Target};
use crate::network::{DEV_DEVICE, DEV_V4};
use crate::sys;

/// `IPV6_SRCRT_TYPE_4` in linux/ipv6.h: the segment routing header (RFC 8754).
const SEGMENT_ROUTING: u8 = 4;
/// Whom packets from a TUN device come from.
const TUN_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// Loose source and record route (RFC 791 3.1).
const LSRR: u8 = 131;

/// A UDP datagram from a packet socket, which has no IP layer below it.
pub(super) fn packet(target: &Target) -> Outcome {
    send_packet(target, || Socket::new(Domain::PACKET, Type::DGRAM, None))
}

/// The same from a socket that a 32-bit system call makes, whose numbers are others.
pub(super) fn packet_of_i386(target: &Target) -> Outcome {
    send_packet(target, || {
        sys::socket_of_i386(libc::AF_PACKET, libc::SOCK_DGRAM).map(Socket::from)
    })
}

fn send_packet(target: &Target, make: impl FnOnce() -> io::Result<Socket>) -> Outcome {
    let IpAddr::V4(to) = target.to.ip() else {
        return unsupported();
    };
    let device = target.other.as_deref().unwrap_or(DEV_DEVICE);
    let device = device_index(device)
        .map_err(io::Error::other)
        .step("device")?;
    let socket = make().step("socket")?;
    let bytes = datagram(DEV_V4, to, target.to.port());
    // To everybody on the link: that spares asking for a hardware address.
    sys::send_through(&socket, device, [0xff; 6], &bytes).step("sendto")?;
    Ok("sent".to_owned())
}

/// An IPv4 packet that holds a UDP datagram without a checksum.
fn datagram(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Vec<u8> {
    let length = (20 + 8 + LINE.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, libc::IPPROTO_UDP as u8, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(40_000_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(LINE);
    packet
}

/// A packet with a header of its own, whose destination is the target and not that of the `sendto`.
pub(super) fn raw_header(target: &Target, via: SocketAddr) -> Outcome {
    let IpAddr::V4(to) = target.to.ip() else {
        return unsupported();
    };
    let protocol = Protocol::from(libc::IPPROTO_RAW);
    let socket = target.socket(Type::RAW, Some(protocol))?;
    let bytes = datagram(DEV_V4, to, target.to.port());
    socket.send_to(&bytes, &via.into()).step("sendto")?;
    Ok("sent".to_owned())
}

/// A packet put into the TUN device NODE:NAME, which forwards it.
pub(super) fn tun(target: &Target) -> anyhow::Result<Outcome> {
    let device = target.other.as_deref().context("it wants a device")?;
    let (node, name) = device.split_once(':').context("NODE:NAME")?;
    let IpAddr::V4(to) = target.to.ip() else {
        return Ok(unsupported());
    };
    let bytes = datagram(TUN_SOURCE, to, target.to.port());
    let put = || {
        let mut tun = fs::File::options()
            .read(true)
            .write(true)
            .open(node)
            .step("open")?;
        sys::attach_tun(&tun, name).step("TUNSETIFF")?;
        tun.write_all(&bytes).step("write")?;
        Ok("sent".to_owned())
    };
    Ok(put())
}

/// With a socket of another protocol than programs mostly use.
pub(super) fn by_protocol(target: &Target, kind: i32, protocol: i32) -> Outcome {
    let socket = target.socket(Type::from(kind), Some(Protocol::from(protocol)))?;
    socket.connect(&target.address()).step("connect")?;
    socket.send(LINE).step("send")?;
    Ok("sent".to_owned())
}

pub(super) fn vsock(target: &Target) -> Outcome {
    let IpAddr::V4(context) = target.to.ip() else {
        return unsupported();
    };
    let address = SockAddr::vsock(context.to_bits(), u32::from(target.to.port()));
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None).step("socket")?;
    socket
        .connect_timeout(&address, target.timeout)
        .step("connect")?;
    Ok("connected".to_owned())
}

/// A datagram whose wire address is `via`, and whose `sendto` names the target.
pub(super) fn routing_header(target: &Target, via: SocketAddr) -> Outcome {
    let (IpAddr::V6(_), IpAddr::V6(via)) = (target.to.ip(), via.ip()) else {
        return unsupported();
    };
    let socket = target.socket(Type::DGRAM, None)?;
    let header = segment_routing_header(via);
    sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header).step("IPV6_RTHDR")?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    Ok("sent".to_owned())
}

/// `struct ipv6_sr_hdr` of linux/seg6.h with two segments, of which the kernel fills in the first: the
/// final destination.
fn segment_routing_header(via: Ipv6Addr) -> Vec<u8> {
    let words_after_first = 4;
    let (segments_left, last_entry) = (1, 1);
    let mut header = vec![
        0,
        words_after_first,
        SEGMENT_ROUTING,
        segments_left,
        last_entry,
    ];
    header.extend([0; 3]);
    header.extend([0; 16]);
    header.extend(via.octets());
    header
}

/// A datagram from a socket that is bound to a device.
pub(super) fn by_device(target: &Target) -> Outcome {
    let device = target.other.as_deref().unwrap_or(DEV_DEVICE);
    let socket = target.socket(Type::DGRAM, None)?;
    socket
        .bind_device(Some(device.as_bytes()))
        .step("SO_BINDTODEVICE")?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    Ok("sent".to_owned())
}

/// A datagram whose wire address is `via`, and whose `sendto` names the target.
pub(super) fn source_route(target: &Target, via: SocketAddr) -> Outcome {
    let (IpAddr::V4(_), IpAddr::V4(via)) = (target.to.ip(), via.ip()) else {
        return unsupported();
    };
    let socket = target.socket(Type::DGRAM, None)?;
    let mut options = vec![LSRR, 7, 4];
    options.extend(via.octets());
    options.push(0);
    sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &options).step("IP_OPTIONS")?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    Ok("sent".to_owned())
}

pub(super) fn io_uring() -> Outcome {
    sys::io_uring().step("io_uring_setup")?;
    Ok("set up".to_owned())
}

/// The index of a network device.
pub(super) fn device_index(name: &str) -> anyhow::Result<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    name_to_index(socket, name).with_context(|| format!("there is no device {name}"))
}

fn unsupported<T>() -> Result<T, Failure> {
    Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)).step("address")
}
