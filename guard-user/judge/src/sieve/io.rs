//! A connection whose reads go through a sieve.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    malformed::Malformed,
    speaks::may_be_http2,
    stream::{Phase, Sieve},
    watch::Watch,
};

/// How much is read at once where a head is held back, in bytes.
const READ: usize = 4096;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1, or something that will be refused as such.
    Http1,
    /// HTTP/2, with its preface.
    Http2,
}

/// A connection whose reads go through a sieve. Writes do not.
///
/// What is refused is an [`io::Error`] of kind `InvalidData` with the [`Malformed`] in it, and so is each later read.
/// All complete messages before it have been delivered. Bodies are not copied: they are read to where the reader
/// wants them. What is held back is less than [`Limits::head`](super::Limits::head) and 4 KiB.
#[derive(Debug)]
pub struct SievedIo<T> {
    io: T,
    sieve: Sieve,
    /// What has been read and not been delivered.
    held: BytesMut,
    /// How much of that has passed.
    passed: usize,
    watch: Watch,
}

impl<T> SievedIo<T> {
    /// Puts a sieve before a connection.
    pub fn new(io: T, sieve: Sieve) -> Self {
        Self {
            io,
            sieve,
            held: BytesMut::new(),
            passed: 0,
            watch: Watch::default(),
        }
    }

    /// A hold on the sieve, for when the connection has another owner.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The sieve.
    #[must_use]
    pub const fn sieve(&self) -> &Sieve {
        &self.sieve
    }

    /// The connection, to write a refusal to.
    pub const fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Lets everything pass from here on: see [`Sieve::become_opaque`].
    pub fn become_opaque(&mut self) {
        self.sieve.become_opaque();
        self.watch.publish(&self.sieve);
    }

    /// Sieves what is held, where nothing of it has passed yet: what has is delivered first, whatever follows.
    fn pass_held(&mut self) -> io::Result<()> {
        if self.passed > 0 {
            return Ok(());
        }
        self.try_pass()?;
        // What passes is what is judged and sent.
        if self.passed == 0
            && let Some((length, line)) = self.sieve.encoded()
        {
            let rest = self.held.split_off(length);
            self.held = BytesMut::from(&line[..]);
            self.held.extend_from_slice(&rest);
            self.try_pass()?;
        }
        Ok(())
    }

    fn try_pass(&mut self) -> io::Result<()> {
        let passed = self.sieve.pass(&self.held);
        self.passed = passed.map_err(|malformed| self.refused(malformed))?;
        Ok(())
    }

    fn refused(&mut self, malformed: Malformed) -> io::Error {
        // The preface stays: whoever speaks HTTP/2 has to see it.
        if malformed != Malformed::Preface {
            self.held = BytesMut::new();
        }
        refusal(malformed)
    }

    /// Delivers what of the held bytes has passed, as far as there is room.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.passed.min(buf.remaining());
        buf.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.passed -= length;
        // A long head is seldom followed by another.
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }
}

impl<T: AsyncRead + Unpin> SievedIo<T> {
    /// Which protocol the client speaks, by its first bytes, which stay unread; `None` where it ends without any. For
    /// HTTP/2 nothing passes until [`SievedIo::become_opaque`].
    ///
    /// # Errors
    /// The connection's errors, and the refusal of its first bytes.
    pub async fn protocol(&mut self) -> io::Result<Option<Protocol>> {
        let protocol = poll_fn(|cx| self.poll_protocol(cx)).await;
        // The preface is no refusal yet.
        if !matches!(protocol, Ok(Some(Protocol::Http2))) {
            self.watch.publish(&self.sieve);
        }
        protocol
    }

    fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Protocol>>> {
        loop {
            let sieved = self.pass_held();
            match self.sieve.refusal() {
                Some(Malformed::Preface) => return Poll::Ready(Ok(Some(Protocol::Http2))),
                _ => sieved?,
            }
            let undecided = self.held.is_empty() || may_be_http2(&self.held);
            if !undecided || ready!(self.poll_more(cx))? == 0 {
                let has_begun = !self.held.is_empty();
                return Poll::Ready(Ok(has_begun.then_some(Protocol::Http1)));
            }
        }
    }

    /// Reads more to what is held. Zero at the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let start = self.held.len();
        self.held.resize(start + READ, 0);
        let mut room = ReadBuf::new(&mut self.held[start..]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut room);
        let length = room.filled().len();
        self.held.truncate(start + length);
        ready!(polled)?;
        Poll::Ready(Ok(length))
    }

    /// Reads to where the reader wants it. What does not pass is held. Zero at the end of the stream.
    fn poll_direct(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let new = &buf.filled()[start..];
        let length = new.len();
        let sieved = self.sieve.pass(new);
        let passed = *sieved.as_ref().unwrap_or(&0);
        self.held.extend_from_slice(&new[passed..]);
        buf.set_filled(start + passed);
        sieved.map_err(|malformed| self.refused(malformed))?;
        Poll::Ready(Ok(length))
    }

    fn poll_sieved(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        while buf.filled().len() == start && buf.remaining() > 0 {
            self.pass_held()?;
            if self.passed > 0 {
                self.deliver(buf);
                break;
            }
            let read = if self.held.is_empty() {
                ready!(self.poll_direct(cx, buf))?
            } else {
                ready!(self.poll_more(cx))?
            };
            if read == 0 {
                let end = self.sieve.end();
                return Poll::Ready(end.map_err(|malformed| self.refused(malformed)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn refusal(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}

impl<T: AsyncRead + Unpin> AsyncRead for SievedIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.wants_opaque() && this.sieve.phase() != Phase::Opaque {
            this.sieve.become_opaque();
        }
        let polled = this.poll_sieved(cx, buf);
        this.watch.publish(&this.sieve);
        polled
    }
}

crate::write_through!(SievedIo);
