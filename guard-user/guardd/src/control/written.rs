//! The reading half of a connection, limited to what its peer itself has written.
//!
//! guardd identifies the peer once, when it accepts the connection. The connection could be passed on, as by a process outside
//! to one inside, whose calls would then count as the peer's. So what another process has written is ignored.

use std::{
    io,
    os::fd::AsFd as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use guard_sys::writer::{WrittenBy, read_from};
use tokio::{
    io::{AsyncRead, Interest, ReadBuf},
    net::{UnixStream, unix::OwnedReadHalf},
};

/// The bytes that the connecting process has written.
#[derive(Debug)]
pub(crate) struct Written {
    stream: OwnedReadHalf,
    peer: u32,
}

impl Written {
    /// Those of process `peer`, from a socket that has `SO_PASSCRED`.
    #[must_use]
    pub(crate) fn by(peer: u32, stream: OwnedReadHalf) -> Self {
        Self { stream, peer }
    }

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let stream: &UnixStream = self.stream.as_ref();
        let WrittenBy { length, process } =
            stream.try_io(Interest::READABLE, || read_from(stream.as_fd(), into))?;
        if length > 0 && process != self.peer {
            let why = format!(
                "process {process} wrote it, and process {} connected",
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
