//! The sockets that guardd makes for its workers in network namespaces.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use guard_common::NetnsCookie;
use guard_sys::{netns, packets::MAX_DESCRIPTORS};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
    },
};

/// Connections in the backlog of a listener.
const BACKLOG: i32 = 1024;
/// Bytes that wait to be read of the questions of all sessions, in the kernel's count: some ten thousand. Of an outermost session and
/// those inside it, the kernel half lets some hundreds wait.
const UNREAD: usize = 4 << 20;
/// Ports that are tried: one that is free on one loopback, or by one protocol, may be in use by another. Where none is free, which takes
/// the kernel milliseconds to find out, none is tried again.
const TRIES: usize = 32;
/// For how long ports are tried.
const SEARCH: Duration = Duration::from_millis(10);

/// The error where the kernel finds no free port.
pub(super) const NO_PORT: &str = "no port of its loopback is free";

/// The listeners in a network, all at one port.
#[derive(Debug)]
pub(crate) struct WorkerListeners {
    /// The kernel's number for the network.
    pub(crate) cookie: NetnsCookie,
    /// Their port.
    pub(crate) port: NonZeroU16,
    /// One of each kind on 127.0.0.1, then on ::1 if there is IPv6.
    pub(crate) sockets: Vec<OwnedFd>,
}

/// Listens on the loopback of this thread's network with one socket of each kind, at one random port.
///
/// # Errors
///
/// The system's, as if the loopback is down.
pub(crate) fn listeners(kinds: &[SocketType]) -> io::Result<WorkerListeners> {
    let (mut tries, begun) = (0, Instant::now());
    let may_try = |tries| tries < TRIES && begun.elapsed() < SEARCH;
    loop {
        match at_one_port(kinds) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && may_try(tries) => tries += 1,
            made => return made,
        }
    }
}

fn at_one_port(kinds: &[SocketType]) -> io::Result<WorkerListeners> {
    let mut sockets = on(Ipv4Addr::LOCALHOST.into(), kinds, 0)?;
    let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
    let (port, cookie) = (port_of(first)?, netns::cookie(first)?);
    match on(Ipv6Addr::LOCALHOST.into(), kinds, port.get()) {
        Ok(ipv6) => sockets.extend(ipv6),
        Err(error) if is_without_ipv6(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(WorkerListeners {
        cookie,
        port,
        sockets,
    })
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// One socket of each kind at a port, or at the one that the first gets.
fn on(at: IpAddr, kinds: &[SocketType], mut port: u16) -> io::Result<Vec<OwnedFd>> {
    let bound = kinds.iter().map(|kind| {
        let socket = bound(at, *kind, port)?;
        port = port_of(&socket)?.get();
        Ok(socket)
    });
    bound.collect()
}

fn bound(at: IpAddr, kind: SocketType, port: u16) -> io::Result<OwnedFd> {
    let family = match at {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = unbound(family, kind)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::DGRAM {
        sockopt::set_socket_recv_buffer_size_force(&socket, UNREAD)?;
    }
    bind(&socket, &SocketAddr::new(at, port)).map_err(|error| match (port, error) {
        (0, Errno::ADDRINUSE) => io::Error::other(NO_PORT),
        (_, error) => error.into(),
    })?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn unbound(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, kind, flags, None)?)
}

fn port_of(socket: &OwnedFd) -> io::Result<NonZeroU16> {
    let address = SocketAddr::try_from(getsockname(socket)?).ok();
    let port = address.and_then(|address| NonZeroU16::new(address.port()));
    port.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sockets of one kind that a worker is given at once: those of all kinds go into one message.
#[must_use]
pub(crate) const fn max_pool(kinds: usize) -> usize {
    MAX_DESCRIPTORS / kinds
}

/// Unconnected sockets of this thread's network, so many of each kind: at most [`max_pool`], and none of a family that is not there.
///
/// # Errors
///
/// The system's.
pub(crate) fn pool<const N: usize>(
    kinds: [(AddressFamily, SocketType); N],
    wanted: [usize; N],
) -> io::Result<[Vec<OwnedFd>; N]> {
    let mut pools = [const { Vec::new() }; N];
    for ((pool, count), (family, kind)) in pools.iter_mut().zip(wanted).zip(kinds) {
        for _ in 0..count.min(max_pool(N)) {
            match unbound(family, kind) {
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
    fn both_loopbacks_have_one_port() {
        let there = listeners(&[SocketType::STREAM]).unwrap();
        assert_ne!(there.cookie, NetnsCookie(0));
        for (listener, at) in there.sockets.iter().zip(["127.0.0.1", "[::1]"]) {
            assert_eq!(port_of(listener).unwrap(), there.port);
            assert!(sockopt::socket_acceptconn(listener).unwrap());
            TcpStream::connect(format!("{at}:{}", there.port)).unwrap();
        }
    }

    #[test]
    fn questions_come_to_one_port_by_both_protocols() {
        let there = listeners(&[SocketType::DGRAM, SocketType::STREAM]).unwrap();
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
    fn a_pool_is_of_both_families() {
        let pool = |wanted| {
            let families = [AddressFamily::INET, AddressFamily::INET6];
            pool(families.map(|family| (family, SocketType::STREAM)), wanted).unwrap()
        };
        let [ipv4, ipv6] = pool([usize::MAX, max_pool(2)]);
        assert_eq!(ipv4.len(), max_pool(2));
        for socket in &ipv4 {
            let family = sockopt::socket_domain(socket).unwrap();
            assert_eq!(family, AddressFamily::INET);
        }
        assert!(ipv6.len() == max_pool(2) || ipv6.is_empty());
        for socket in &ipv6 {
            let family = sockopt::socket_domain(socket).unwrap();
            assert_eq!(family, AddressFamily::INET6);
        }
        let [ipv4, ipv6] = pool([0, 1]);
        assert!(ipv4.is_empty() && ipv6.len() <= 1);
    }

    #[test]
    fn a_pool_is_of_the_kinds_that_are_wanted() {
        let kinds = [
            (AddressFamily::INET, SocketType::DGRAM),
            (AddressFamily::INET, SocketType::STREAM),
            (AddressFamily::INET6, SocketType::STREAM),
        ];
        let [udp4, tcp4, tcp6] = pool(kinds, [2, usize::MAX, 0]).unwrap();
        assert_eq!((udp4.len(), tcp4.len(), tcp6.len()), (2, max_pool(3), 0));
        assert_eq!(sockopt::socket_type(&udp4[0]).unwrap(), SocketType::DGRAM);
        assert_eq!(sockopt::socket_type(&tcp4[0]).unwrap(), SocketType::STREAM);
    }
}
