//! An HTTP/2 connection whose other end has to speak first: to what does not, nothing of a request is said.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// Length, type and flags of a frame, and its stream (RFC 9113 4.1).
const FRAME_HEADER: usize = 9;
/// RFC 9113 6.5.
const SETTINGS: u8 = 4;

/// A connection to a server, which begins with its SETTINGS (RFC 9113 3.4).
#[derive(Debug)]
pub(super) struct Greeted<T> {
    io: T,
    begun: Vec<u8>,
    tell: Option<oneshot::Sender<()>>,
}

impl<T> Greeted<T> {
    /// Tells when the server has spoken.
    pub(super) fn new(io: T) -> (Self, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        let greeted = Self {
            io,
            begun: Vec::new(),
            tell: Some(tell),
        };
        (greeted, told)
    }

    fn hear(&mut self, new: &[u8]) -> io::Result<()> {
        let left = FRAME_HEADER - self.begun.len();
        self.begun.extend_from_slice(&new[..new.len().min(left)]);
        if self.begun.len() < FRAME_HEADER {
            return Ok(());
        }
        if self.begun[3] != SETTINGS {
            let why = "the destination does not speak HTTP/2";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if let Some(tell) = self.tell.take() {
            // Whoever waited may be gone.
            let _ = tell.send(());
        }
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Greeted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if self.tell.is_some() {
            self.hear(&buf.filled()[start..])?;
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Greeted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
