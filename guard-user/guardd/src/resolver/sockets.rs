//! The sockets that guardd makes for the resolver in network namespaces.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    os::fd::OwnedFd,
};

use guard_common::NetnsCookie;
use guard_sys::{netns, packets::MAX_DESCRIPTORS};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
    },
};

/// Connections that wait to be taken.
const BACKLOG: i32 = 256;
/// Bytes that wait to be read of the questions of all sessions, in the kernel's count: some thousands. The kernel half lets through
/// what is read in that time of each.
const UNREAD: usize = 4 << 20;
/// A port that is free on the one loopback, or by the one protocol, may be in use by another.
const TRIES: usize = 32;
/// Sockets of one kind that the resolver is given at once: those of all go into one message.
pub const MAX_POOL: usize = MAX_DESCRIPTORS / 4;

/// The sockets that receive questions in a network, all at one port.
#[derive(Debug)]
pub struct QuestionSockets {
    /// By which the kernel knows the network.
    pub cookie: NetnsCookie,
    /// Their port.
    pub port: NonZeroU16,
    /// UDP and TCP of IPv4, then of IPv6 where there is that.
    pub sockets: Vec<OwnedFd>,
}

/// Listens on the loopback of the network that this thread is in, by UDP and TCP.
///
/// # Errors
///
/// The system's, as where the loopback is down.
pub fn listeners() -> io::Result<QuestionSockets> {
    let mut tries = 0;
    loop {
        match at_one_port() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => tries += 1,
            made => return made,
        }
    }
}

fn at_one_port() -> io::Result<QuestionSockets> {
    let ipv4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let udp = bound(ipv4, SocketType::DGRAM, 0)?;
    let port = port_of(&udp)?;
    let cookie = netns::cookie(&udp)?;
    let mut sockets = vec![udp, bound(ipv4, SocketType::STREAM, port.get())?];
    let ipv6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    match bound(ipv6, SocketType::DGRAM, port.get()) {
        Ok(udp) => {
            sockets.push(udp);
            sockets.push(bound(ipv6, SocketType::STREAM, port.get())?);
        }
        Err(error) if is_without_ipv6(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(QuestionSockets {
        cookie,
        port,
        sockets,
    })
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn bound(at: IpAddr, kind: SocketType, port: u16) -> io::Result<OwnedFd> {
    let family = match at {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = made(family, kind)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::DGRAM {
        sockopt::set_socket_recv_buffer_size_force(&socket, UNREAD)?;
    }
    bind(&socket, &SocketAddr::new(at, port))?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn made(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, kind, flags, None)?)
}

fn port_of(socket: &OwnedFd) -> io::Result<NonZeroU16> {
    let address = SocketAddr::try_from(getsockname(socket)?).ok();
    let port = address.and_then(|address| NonZeroU16::new(address.port()));
    port.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Unconnected sockets of the network that this thread is in: so many UDP ones of IPv4 and of IPv6, and TCP ones of both. Of each
/// there are at most [`MAX_POOL`], and none of a family that is not there.
///
/// # Errors
///
/// The system's.
pub fn pool(wanted: [usize; 4]) -> io::Result<[Vec<OwnedFd>; 4]> {
    let kinds = [
        (AddressFamily::INET, SocketType::DGRAM),
        (AddressFamily::INET6, SocketType::DGRAM),
        (AddressFamily::INET, SocketType::STREAM),
        (AddressFamily::INET6, SocketType::STREAM),
    ];
    let mut pools = <[Vec<OwnedFd>; 4]>::default();
    for ((pool, count), (family, kind)) in pools.iter_mut().zip(wanted).zip(kinds) {
        for _ in 0..count.min(MAX_POOL) {
            match made(family, kind) {
                Ok(socket) => pool.push(socket),
                Err(error) if is_without_ipv6(&error) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn questions_come_to_one_port_by_both_protocols() {
        let there = listeners().unwrap();
        assert_ne!(there.cookie, NetnsCookie(0));
        assert!([2, 4].contains(&there.sockets.len()));
        TcpStream::connect(("127.0.0.1", there.port.get())).unwrap();
        let udp = there.sockets.into_iter().next().unwrap();
        let udp = UdpSocket::from(udp);
        udp.set_nonblocking(false).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .send_to(b"x", ("127.0.0.1", there.port.get()))
            .unwrap();
        assert_eq!(udp.recv(&mut [0; 4]).unwrap(), 1);
    }

    #[test]
    fn a_pool_is_of_the_kinds_that_are_wanted() {
        let [udp4, _, tcp4, tcp6] = pool([2, 1, usize::MAX, 0]).unwrap();
        assert_eq!((udp4.len(), tcp4.len(), tcp6.len()), (2, MAX_POOL, 0));
        assert_eq!(sockopt::socket_type(&udp4[0]).unwrap(), SocketType::DGRAM);
        assert_eq!(sockopt::socket_type(&tcp4[0]).unwrap(), SocketType::STREAM);
    }
}
