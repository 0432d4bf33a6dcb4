//! Closing other processes' sockets: `SOCK_DESTROY` of inet_diag, sock_diag(7).

use std::collections::HashSet;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SockDiagDestroy, SockDiagMessage,
};

use super::sock_diag::Diag;

/// Closes the TCP sockets in any state and the connected UDP sockets of this thread's network
/// namespace whose cookie (`SO_COOKIE`, `bpf_get_socket_cookie`) is in `cookies`, and says how many
/// that were. Whoever waits on one gets `ECONNABORTED`.
///
/// The kernel takes a cookie only together with the addresses and ports, so all sockets are listed
/// first. Takes `CAP_NET_ADMIN`.
///
/// # Errors
///
/// The system's; `Unsupported` where the kernel is without `CONFIG_INET_DIAG_DESTROY`. All the
/// sockets that can be closed are closed before an error is returned.
pub fn destroy(cookies: &HashSet<u64>) -> io::Result<usize> {
    destroy_of(cookies, &[IPPROTO_TCP, IPPROTO_UDP])
}

/// The same of TCP sockets alone, which takes half the time.
///
/// # Errors
///
/// The errors of [`destroy`].
pub fn destroy_tcp(cookies: &HashSet<u64>) -> io::Result<usize> {
    destroy_of(cookies, &[IPPROTO_TCP])
}

fn destroy_of(cookies: &HashSet<u64>, protocols: &[u8]) -> io::Result<usize> {
    if cookies.is_empty() {
        return Ok(0);
    }
    let mut diag = Diag::open()?;
    let mut destroyed = 0;
    let mut failed = None;
    let families = [AF_INET, AF_INET6].into_iter();
    let kinds =
        families.flat_map(|family| protocols.iter().map(move |protocol| (family, *protocol)));
    for (family, protocol) in kinds {
        let found = diag
            .find(family, protocol, cookies)
            .unwrap_or_else(|error| {
                failed = Some(error);
                Vec::new()
            });
        for request in found {
            match diag.close(request) {
                Ok(()) => destroyed += 1,
                // It was closed in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failed = Some(error),
            }
        }
    }
    failed.map_or(Ok(destroyed), Err)
}

impl Diag {
    /// The sockets of a kind whose cookie is among `cookies`, as requests that name one each.
    fn find(
        &mut self,
        family: u8,
        protocol: u8,
        cookies: &HashSet<u64>,
    ) -> io::Result<Vec<InetRequest>> {
        let all = list(family, protocol);
        self.send(
            NLM_F_REQUEST | NLM_F_DUMP,
            SockDiagMessage::InetRequest(all.clone()),
        )?;
        let mut found = Vec::new();
        self.receive(|message: SockDiagMessage| {
            if let SockDiagMessage::InetResponse(response) = message {
                let socket_id = response.header.socket_id;
                if cookies.contains(&u64::from_ne_bytes(socket_id.cookie)) {
                    let all = all.clone();
                    found.push(InetRequest { socket_id, ..all });
                }
            }
        })?;
        Ok(found)
    }

    fn close(&mut self, request: InetRequest) -> io::Result<()> {
        let message = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
        self.send(NLM_F_REQUEST | NLM_F_ACK, message)?;
        self.receive(|_: SockDiagMessage| {})
    }
}

/// A request for all sockets of a kind: for UDP, the connected ones.
fn list(family: u8, protocol: u8) -> InetRequest {
    let tcp = protocol == IPPROTO_TCP;
    InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::empty(),
        states: if tcp {
            StateFlags::all()
        } else {
            StateFlags::ESTABLISHED
        },
        socket_id: if family == AF_INET {
            SocketId::new_v4()
        } else {
            SocketId::new_v6()
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use rustix::net::sockopt::socket_cookie;

    use super::*;

    /// Calls `test` in a network namespace that has nothing but its loopback, which is up.
    fn in_own_netns(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            crate::netns::enter_a_new_one();
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.unwrap().success());
            test();
        });
        thread.join().unwrap();
    }

    fn cookie(socket: impl AsFd) -> u64 {
        socket_cookie(socket).unwrap()
    }

    const LOOPBACKS: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
    ];

    #[test]
    fn tcp_is_cut_and_what_is_not_named_goes_on() {
        in_own_netns(|| {
            for loopback in LOOPBACKS {
                let server = TcpListener::bind(SocketAddr::new(loopback, 0)).unwrap();
                let to = server.local_addr().unwrap();
                let mut cut = TcpStream::connect(to).unwrap();
                let kept = TcpStream::connect(to).unwrap();
                assert_eq!(destroy(&HashSet::from([cookie(&cut)])).unwrap(), 1);

                let error = cut.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                assert!(kept.take_error().unwrap().is_none());
                assert!(kept.peer_addr().is_ok());
            }
        });
    }

    #[test]
    fn a_connect_that_waits_is_ended() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
        in_own_netns(|| {
            // A black hole: what is sent there goes nowhere, so the SYN is never answered.
            let commands = "ip link add v0 type veth peer name v1 && ip link set v0 up && \
                            ip link set v1 up && ip addr add 198.51.100.1/24 dev v0 && \
                            ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev v0";
            let made = std::process::Command::new("sh")
                .args(["-c", commands])
                .status();
            assert!(made.unwrap().success());
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let waiting = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
            let waiting = waiting.unwrap();
            let nowhere = SocketAddr::from(([198, 51, 100, 9], 9));
            let started = connect(&waiting, &nowhere);
            assert_eq!(started, Err(rustix::io::Errno::INPROGRESS));
            assert_eq!(destroy(&HashSet::from([cookie(&waiting)])).unwrap(), 1);
            let error = TcpStream::from(waiting).take_error().unwrap().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        });
    }

    #[test]
    fn connected_udp_is_cut() {
        in_own_netns(|| {
            for loopback in LOOPBACKS {
                let server = UdpSocket::bind(SocketAddr::new(loopback, 0)).unwrap();
                let cut = UdpSocket::bind(SocketAddr::new(loopback, 0)).unwrap();
                cut.connect(server.local_addr().unwrap()).unwrap();
                let both = HashSet::from([cookie(&cut), cookie(&server)]);
                // The server is not connected to anything.
                assert_eq!(destroy(&both).unwrap(), 1);
                let error = cut.recv(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            }
        });
    }

    #[test]
    fn many_sockets_need_more_than_one_piece() {
        in_own_netns(|| {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = server.local_addr().unwrap();
            let mut ends = Vec::new();
            for _ in 0..300 {
                ends.push((TcpStream::connect(to).unwrap(), server.accept().unwrap()));
            }
            let cookies = ends.iter().map(|(end, _)| cookie(end)).collect();
            assert_eq!(destroy(&cookies).unwrap(), 300);
            assert_eq!(destroy(&HashSet::from([1 << 60])).unwrap(), 0);
        });
    }
}
