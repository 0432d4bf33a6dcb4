//! The sockets that a service manager has opened for this process, sd_listen_fds(3).

use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;

use rustix::net::sockopt::socket_acceptconn;

/// The control socket, where systemd has passed one. To be called once: it takes the descriptor.
///
/// # Errors
///
/// `InvalidInput` where several were passed, or one that is no listening Unix socket. Else the system's.
pub fn listener() -> io::Result<Option<UnixListener>> {
    let mut passed = sd_notify::listen_fds()?;
    let Some(fd) = passed.next() else {
        return Ok(None);
    };
    if passed.next().is_some() {
        return Err(unusable("more than one socket was passed"));
    }
    // SAFETY: systemd opened the descriptor for this process alone, and says so by its pid. Nothing else here owns
    // it: this is called once, before anything was opened.
    let listener = unsafe { UnixListener::from_raw_fd(fd) };
    if !socket_acceptconn(&listener)? || listener.local_addr().is_err() {
        return Err(unusable("what was passed is no listening Unix socket"));
    }
    Ok(Some(listener))
}

/// The TCP sockets that systemd has passed. To be called once: it takes the descriptors.
///
/// # Errors
///
/// `InvalidInput` where one is no listening TCP socket. Else the system's.
pub fn tcp_listeners() -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for fd in sd_notify::listen_fds()? {
        // SAFETY: as in `listener`: systemd opened it for this process alone, and nothing else here owns it.
        let listener = unsafe { TcpListener::from_raw_fd(fd) };
        if !socket_acceptconn(&listener)? || listener.local_addr().is_err() {
            return Err(unusable("what was passed is no listening TCP socket"));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn unusable(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
