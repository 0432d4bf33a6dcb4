//! What the kernel knows of a TCP connection.

use std::io;
use std::os::fd::AsFd;

use super::call::{option, set_option};

/// `TCP_CLOSE` and the rest of net/tcp_states.h.
const CLOSED: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// Whether a connection still has its ports. One that was reset has not: somebody else may have them.
///
/// # Errors
///
/// The system's, as where it is no TCP socket.
pub fn stands(socket: impl AsFd) -> io::Result<bool> {
    Ok(state(socket)? != CLOSED)
}

/// Whether the other end has closed its side, or the connection is gone. What it has sent before may still be unread.
///
/// # Errors
///
/// The system's, as where it is no TCP socket.
pub fn has_left(socket: impl AsFd) -> io::Result<bool> {
    Ok([CLOSED, CLOSE_WAIT, LAST_ACK, CLOSING].contains(&state(socket)?))
}

/// Whether a listener takes no connection any more, by what accepting one has failed with: root of its network has closed it
/// (`SOCK_DESTROY`), and this process still has it.
#[must_use]
pub fn is_closed(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// Whether a socket can be told the longest time between two of its retransmissions (`TCP_RTO_MAX_MS` of
/// uapi/linux/tcp.h, since Linux 6.15).
#[must_use]
pub fn bounds_timeout() -> bool {
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    let Ok(socket) = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)) else {
        return false;
    };
    set_option(socket, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, 4000).is_ok()
}

fn state(socket: impl AsFd) -> io::Result<u8> {
    // The first field of `struct tcp_info` (uapi/linux/tcp.h).
    option(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_stands_until_it_is_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(stands(&server).unwrap());
        rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        assert!(server.read(&mut [0]).is_err());
        assert!(!stands(&server).unwrap());
    }

    #[test]
    fn a_listener_that_was_closed_takes_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let waits = listener.accept().unwrap_err();
        assert!(!is_closed(&waits), "{waits}");
        // It leaves what `SOCK_DESTROY` leaves, and takes no right.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        let over = listener.accept().unwrap_err();
        assert!(is_closed(&over), "{over}");
    }

    #[test]
    fn what_is_no_tcp_socket_is_an_error() {
        assert!(stands(std::fs::File::open("/proc/self/status").unwrap()).is_err());
    }
}
