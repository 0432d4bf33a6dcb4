//! Calls that few programs make, and that lead to the network as others do.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};

use super::{LINE, Outcome, Step as _, Target, odd::device_index, tcp, udp};
use crate::network::{DEV_DEVICE, DEV_V4, DEV_V6};
use crate::sys;
use crate::sys::uring::Ring;

/// A connection to whatever the system's resolver makes of OTHER.
pub(super) fn named(target: &Target) -> anyhow::Result<Outcome> {
    let name = target.other.as_deref().context("it wants a name")?;
    let port = target.to.port();
    let found = (name, port).to_socket_addrs().step("getaddrinfo");
    Ok(found.and_then(|mut found| {
        let to = found.next().ok_or_else(none).step("getaddrinfo")?;
        let named = Target {
            to,
            other: None,
            timeout: target.timeout,
        };
        tcp::connect(&named)
    }))
}

fn none() -> std::io::Error {
    std::io::ErrorKind::NotFound.into()
}

/// A datagram to everybody.
pub(super) fn broadcast(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    socket.set_broadcast(true).step("SO_BROADCAST")?;
    if target.to.is_ipv4() {
        // It has no route of its own.
        socket
            .set_multicast_if_v4(&DEV_V4)
            .step("IP_MULTICAST_IF")?;
    }
    socket.send_to(LINE, &target.address()).step("sendto")?;
    Ok("sent".to_owned())
}

/// A datagram that is to leave by the test's device, whatever the routes say.
pub(super) fn by_interface(target: &Target) -> Outcome {
    let index = device_index(DEV_DEVICE)
        .map_err(std::io::Error::other)
        .step("device")?;
    let (level, option) = match target.to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_UNICAST_IF),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF),
    };
    let socket = target.socket(Type::DGRAM, None)?;
    sys::set_option(&socket, level, option, &index.to_be_bytes()).step("IP_UNICAST_IF")?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    Ok("sent".to_owned())
}

/// A connection from a socket that is bound to the test's device.
pub(super) fn stream_by_device(target: &Target) -> Outcome {
    let socket = target.socket(Type::STREAM, None)?;
    let device = DEV_DEVICE.as_bytes();
    socket.bind_device(Some(device)).step("SO_BINDTODEVICE")?;
    socket.connect(&target.address()).step("connect")?;
    tcp::exchange(&socket)
}

/// With the line in the first packet, if the kernel has a cookie for it.
pub(super) fn fast_open_option(target: &Target) -> Outcome {
    let socket = target.socket(Type::STREAM, None)?;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT);
    sys::set_option(&socket, level, option, &1_i32.to_ne_bytes()).step("TCP_FASTOPEN_CONNECT")?;
    socket.connect(&target.address()).step("connect")?;
    tcp::exchange(&socket)
}

pub(super) fn send_message(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    let from: IpAddr = match target.to {
        SocketAddr::V4(_) => DEV_V4.into(),
        SocketAddr::V6(_) => DEV_V6.into(),
    };
    sys::send_from(&socket, LINE, &target.address(), from).step("sendmsg")?;
    udp::receive(&socket)
}

/// From a socket that is connected to OTHER.
pub(super) fn send_elsewhere(target: &Target, first: SocketAddr) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    udp::exchange(&socket, first)?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    // A connected socket hears nobody else.
    Ok("sent".to_owned())
}

pub(super) fn send_without_family(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    let to = sys::without_family(target.to).step("address")?;
    socket.send_to(LINE, &to).step("sendto")?;
    udp::receive(&socket)
}

pub(super) fn send_from_other_family(target: &Target) -> Outcome {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).step("socket")?;
    let timeout = Some(target.timeout);
    socket.set_read_timeout(timeout).step("socket")?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    udp::receive(&socket)
}

/// From a socket that was made for IPv6, connected to OTHER by its mapped address, and then turned into an IPv4 one.
pub(super) fn change_family(target: &Target, first: SocketAddr) -> Outcome {
    let mapped = Target {
        to: first,
        other: None,
        timeout: target.timeout,
    }
    .mapped();
    let socket = mapped.socket(Type::DGRAM, None)?;
    socket.connect(&mapped.address()).step("first connect")?;
    let family = libc::AF_INET.to_ne_bytes();
    let (level, option) = (libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM);
    sys::set_option(&socket, level, option, &family).step("IPV6_ADDRFORM")?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    Ok("sent".to_owned())
}

/// As two datagrams of half the length, cut by the kernel or the card.
pub(super) fn send_segmented(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    let half = (LINE.len() as i32 / 2).to_ne_bytes();
    sys::set_option(&socket, libc::IPPROTO_UDP, libc::UDP_SEGMENT, &half).step("UDP_SEGMENT")?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    udp::receive(&socket)
}

/// A connection that a ring makes.
pub(super) fn ring_connect(target: &Target) -> Outcome {
    let mut ring = Ring::new().step("io_uring_setup")?;
    let socket = target.socket(Type::STREAM, None)?;
    ring.connect(&socket, &target.address()).step("connect")?;
    ring.send(&socket, LINE).step("send")?;
    tcp::receive(&socket)
}

/// A datagram that a ring sends.
pub(super) fn ring_send(target: &Target) -> Outcome {
    let mut ring = Ring::new().step("io_uring_setup")?;
    let socket = target.socket(Type::DGRAM, None)?;
    ring.send_to(&socket, LINE, &target.address())
        .step("sendmsg")?;
    udp::receive(&socket)
}
