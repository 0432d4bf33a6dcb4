//! How whoever connects the command's sockets gets hold of its calls: the command's process hands over the listener that it has
//! made of them before it becomes the command.

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

/// Starts whoever connects sockets, where they are to be connected.
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
    /// Has this process' calls wait from now on, and hands them over. Where somebody answers them already, as in a session
    /// inside another, that one goes on.
    pub(super) fn hand_over(self) -> io::Result<()> {
        let listener = match listen_to_connect() {
            Err(why) if Errno::from_io_error(&why) == Some(Errno::BUSY) => return Ok(()),
            listener => listener?,
        };
        let sent: [BorrowedFd<'_>; 1] = [listener.fd().as_fd()];
        packets::send(self.0.as_fd(), b"calls", &sent)
    }
}

/// Calls are being answered, if there are any to answer.
pub(super) struct Serving(Option<Server>);

impl Serving {
    /// Has what is refused told, on a thread of its own. Where none can be made, nobody hears of it.
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
