//! A connection, in the clear or in TLS.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use super::{tls::H2, upstream::Version};

/// Either end of the proxy.
#[derive(Debug)]
pub(super) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn pinned(self: Pin<&mut Self>) -> Pinned<'_> {
        match self.get_mut() {
            Self::Plain(stream) => Pinned::Plain(Pin::new(stream)),
            Self::Tls(stream) => Pinned::Tls(Pin::new(stream)),
        }
    }

    /// The protocol that both ends have agreed on within TLS (RFC 7301), if they have.
    pub(super) fn agreed(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Whether that version may be spoken: in the clear both ends know it, within TLS they agree on it (RFC 9113 3.2).
    pub(super) fn may_speak(&self, version: Version) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(_) => (version == Version::Http2) == (self.agreed() == Some(H2)),
        }
    }
}

enum Pinned<'s> {
    Plain(Pin<&'s mut TcpStream>),
    Tls(Pin<&'s mut Box<TlsStream<TcpStream>>>),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.pinned() {
            Pinned::Plain(stream) => stream.poll_read(cx, buf),
            Pinned::Tls(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.pinned() {
            Pinned::Plain(stream) => stream.poll_write(cx, buf),
            Pinned::Tls(stream) => stream.poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.pinned() {
            Pinned::Plain(stream) => stream.poll_write_vectored(cx, bufs),
            Pinned::Tls(stream) => stream.poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.pinned() {
            Pinned::Plain(stream) => stream.poll_flush(cx),
            Pinned::Tls(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.pinned() {
            Pinned::Plain(stream) => stream.poll_shutdown(cx),
            Pinned::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}
