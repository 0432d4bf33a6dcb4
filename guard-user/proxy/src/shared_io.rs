//! A client's connection that hyper and the proxy share: after hyper has ended, the proxy itself answers what the sieve
//! rejected.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use guard_sys::tcp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    sieve::{SievedIo, Watch},
    stream::Stream,
};

/// A connection with two owners, of which one at a time uses it. hyper requires that what it upgrades is [`Send`], though all
/// of this is on one thread.
#[derive(Clone, Debug)]
pub(super) struct SharedIo {
    io: Arc<Mutex<SievedIo<Stream>>>,
    watch: Watch,
}

impl SharedIo {
    /// Wraps a connection. A clone is for hyper, and this one is kept.
    pub(super) fn new(io: SievedIo<Stream>) -> Self {
        let watch = io.watch();
        let io = Arc::new(Mutex::new(io));
        Self { io, watch }
    }

    /// The connection, if no other owner is left.
    pub(super) fn back(self) -> Option<SievedIo<Stream>> {
        let io = Arc::into_inner(self.io)?;
        Some(io.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// A handle for [`Departure::left`].
    pub(super) fn departure(&self) -> Departure {
        Departure(Arc::downgrade(&self.io))
    }

    fn io(&self) -> MutexGuard<'_, SievedIo<Stream>> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches a connection that another owner uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Departure(Weak<Mutex<SievedIo<Stream>>>);

/// Interval of the checks: a client that leaves is not missed sooner.
const PACE: Duration = Duration::from_millis(250);

impl Departure {
    /// Waits until the client has closed its side, or has gone.
    pub(super) async fn left(&self) {
        while !self.is_left() {
            tokio::time::sleep(PACE).await;
        }
    }

    /// Not by the runtime, which would wake this instead of the reader; nor by whether it is readable, since TLS has a last
    /// message.
    fn is_left(&self) -> bool {
        let Some(io) = self.0.upgrade() else {
            return false;
        };
        let mut io = io.lock().unwrap_or_else(PoisonError::into_inner);
        tcp::has_left(io.get_mut()).unwrap_or(true)
    }
}

impl AsyncRead for SharedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io()).poll_read(cx, buf)
    }
}

impl AsyncWrite for SharedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io()).poll_flush(cx)
    }

    /// A refused request is still to be answered.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.refusal().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.io()).poll_shutdown(cx)
    }
}
