//! Passes the seccomp user-notification descriptor from the child to the supervisor before `execve`.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use guard_sys::{notify::listen_to_connect, packets};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

use super::Command;
use crate::sockets::{RefusedSocket, Server};

/// The child's end.
pub(super) struct ToHand(OwnedFd);

/// Starts the supervisor, if the command has one.
pub(super) fn start(command: &Command) -> io::Result<(Option<Server>, Option<ToHand>)> {
    let Some(sockets) = &command.sockets else {
        return Ok((None, None));
    };
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (calls, to_hand) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
    let server = Server::start(sockets, command.ask, calls)?;
    Ok((Some(server), Some(ToHand(to_hand))))
}

impl ToHand {
    /// Has this process's connect(2) calls wait from now on, and hands over the descriptor. In a session inside another, the
    /// supervisor of that goes on.
    pub(super) fn hand_over(self) -> io::Result<()> {
        let listener = match listen_to_connect() {
            Err(why) if Errno::from_io_error(&why) == Some(Errno::BUSY) => return Ok(()),
            listener => listener?,
        };
        let sent: [BorrowedFd<'_>; 1] = [listener.fd().as_fd()];
        packets::send(self.0.as_fd(), b"calls", &sent)
    }
}

/// The supervisor at work, if there is one.
pub(super) struct Serving(Option<Server>);

impl Serving {
    /// Reports refusals, on a thread of its own. Without a thread they are not reported.
    pub(super) fn begin(
        server: Option<Server>,
        told: impl FnMut(&RefusedSocket) + Send + 'static,
    ) -> Self {
        if let Some(server) = &server {
            let _ = server.tell(told);
        }
        Self(server)
    }

    /// The command has ended.
    pub(super) fn finish(self) {
        if let Some(server) = self.0 {
            server.finish();
        }
    }
}
