//! The reading half of a connection, as far as its peer itself has written to it.
//!
//! guardd asks who is at the other end once, when a connection comes. The connection could be passed on, as by somebody outside
//! to a process inside: what that one writes would be taken for its peer's. So nothing counts that another process wrote.

use std::{
    io,
    os::fd::AsFd as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use guard_sys::writer::read_from;
use tokio::{
    io::{AsyncRead, Interest, ReadBuf},
    net::{UnixStream, unix::OwnedReadHalf},
};

/// What the process has written that connected.
#[derive(Debug)]
pub struct Written {
    stream: OwnedReadHalf,
    peer: u32,
}

impl Written {
    /// By that process, to a socket that has `SO_PASSCRED`.
    #[must_use]
    pub fn by(peer: u32, stream: OwnedReadHalf) -> Self {
        Self { stream, peer }
    }

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let stream: &UnixStream = self.stream.as_ref();
        let (length, writer) =
            stream.try_io(Interest::READABLE, || read_from(stream.as_fd(), into))?;
        if length > 0 && writer != self.peer {
            let why = format!(
                "process {writer} wrote it, and process {} connected",
                self.peer
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(length)
    }
}

impl AsyncRead for Written {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let stream: &UnixStream = self.stream.as_ref();
            ready!(stream.poll_read_ready(context))?;
            match self.read(into.initialize_unfilled()) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => return Poll::Ready(Err(why)),
                Ok(length) => {
                    into.advance(length);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
