//! The owner of the socket at the other end of a connection, where both ends are on this machine.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage, TCP_ESTABLISHED};

use super::sock_diag::Diag;

/// The user of the TCP socket at `peer` that is connected to `own`, in this thread's network namespace. None where the
/// connection has ended, or only begins to: the kernel tells no user then.
///
/// # Errors
///
/// The system's.
pub fn owner_of(peer: SocketAddr, own: SocketAddr) -> io::Result<Option<u32>> {
    let mut diag = Diag::open()?;
    let asked = InetRequest {
        family: if peer.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: socket_id(peer, own),
    };
    diag.send(
        NLM_F_REQUEST | NLM_F_ACK,
        SockDiagMessage::InetRequest(asked),
    )?;
    let mut owner = None;
    let received = diag.receive(|message: SockDiagMessage| {
        if let SockDiagMessage::InetResponse(response) = message {
            let header = response.header;
            // Where there is no such connection the kernel looks for a listener there.
            let is_it = header.socket_id.destination_port == own.port();
            owner = (is_it && header.state == TCP_ESTABLISHED).then_some(header.uid);
        }
    });
    match received {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(owner),
    }
}

/// The connection's identity from `peer`'s side.
fn socket_id(peer: SocketAddr, own: SocketAddr) -> SocketId {
    let any = match peer.ip() {
        IpAddr::V4(_) => SocketId::new_v4(),
        IpAddr::V6(_) => SocketId::new_v6(),
    };
    SocketId {
        source_port: peer.port(),
        destination_port: own.port(),
        source_address: peer.ip(),
        destination_address: own.ip(),
        // INET_DIAG_NOCOOKIE of linux/inet_diag.h: whatever it has.
        cookie: [0xff; 8],
        ..any
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_its_users() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(loopback) else {
                continue;
            };
            let own = listener.local_addr().unwrap();
            let ours = TcpStream::connect(own).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let uid = rustix::process::geteuid().as_raw();
            assert_eq!(owner_of(peer, own).unwrap(), Some(uid));
            // A listener's owner, and none where nothing listens.
            assert_eq!(owner_of(own, peer).unwrap(), Some(uid));
            assert_eq!(owner_of(own, own).unwrap(), None);
            accepted.shutdown(Shutdown::Both).unwrap();
            drop(ours);
            assert_eq!(owner_of(peer, own).unwrap(), None);
        }
    }

    #[test]
    fn another_users_is_not_ours() {
        use rustix::fs::{Uid, fchown};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let theirs = TcpStream::connect(own).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        if fchown(&theirs, Some(Uid::from_raw(61234)), None).is_err() {
            // Only root gives a socket away; the privileged tests try it for real.
            return;
        }
        assert_eq!(owner_of(peer, own).unwrap(), Some(61234));
    }
}
