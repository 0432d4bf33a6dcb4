//! What the kernel knows of a TCP connection.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _};

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

/// Whether a socket can be told the longest time between two of its retransmissions (`TCP_RTO_MAX_MS` of
/// uapi/linux/tcp.h, since Linux 6.15).
#[must_use]
pub fn bounds_timeout() -> bool {
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    let Ok(socket) = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)) else {
        return false;
    };
    let most: libc::c_int = 4000;
    // SAFETY: the pointer is to an int, as the length says, and lives as long as the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_RTO_MAX_MS,
            (&raw const most).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    set == 0
}

fn state(socket: impl AsFd) -> io::Result<u8> {
    // The first field of `struct tcp_info` (uapi/linux/tcp.h). The kernel writes no more than there is room for.
    let mut state = 0_u8;
    let mut length = size_of::<u8>() as libc::socklen_t;
    // SAFETY: the pointers are to a byte, as `length` says, and to that length, and live as long as the call.
    let got = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state)
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
    fn what_is_no_tcp_socket_is_an_error() {
        assert!(stands(std::fs::File::open("/proc/self/status").unwrap()).is_err());
    }
}
