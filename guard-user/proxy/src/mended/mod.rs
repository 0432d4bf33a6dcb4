//! Normalises servers' answers to the form of RFC 9112.
//!
//! A request must be unambiguous, since it is judged. An answer changes nothing, and each client has a connection of its own,
//! so that no answer can be taken for another client's: what most clients understand may be normalised. Other answers go on
//! unchanged to the sieve, which reports what is wrong.

mod chunk;
mod head;
mod lines;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use self::lines::Lines;
use super::sieve::{Limits, SentRequest, SentRequests};

/// Bytes of the line of a chunk's size at most, with its extensions.
const MAX_SIZE_LINE: usize = 16 * 1024;

/// Where in the server's answers the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a head, or before one.
    Head,
    /// In a body that has so many bytes left, at least one.
    Body(u64),
    /// In the line of a chunk's size.
    Size,
    /// In a chunk that has so many bytes left, at least one.
    Chunk(u64),
    /// After the bytes of a chunk.
    ChunkEnd,
    /// In a trailer section.
    Trailers,
    /// All that follows goes on unchanged: a body that only the connection's end ends, another protocol, or what cannot be
    /// normalised.
    Rest,
}

impl State {
    /// Counts bytes that go on unchanged; returns how many of these do.
    fn pass(&mut self, bytes: usize) -> usize {
        let (Self::Body(left) | Self::Chunk(left)) = self else {
            return match self {
                Self::Rest => bytes,
                _ => 0,
            };
        };
        let passed = usize::try_from(*left).map_or(bytes, |left| left.min(bytes));
        *left -= passed as u64;
        match self {
            Self::Body(0) => *self = Self::Head,
            Self::Chunk(0) => *self = Self::ChunkEnd,
            _ => {}
        }
        passed
    }
}

/// A connection to a server, whose answers are normalised as they are read. Bodies are not copied, but for bytes that come with
/// a head or between chunks.
#[derive(Debug)]
pub(super) struct Mended<T> {
    io: T,
    asks: SentRequests,
    /// The request that is being answered.
    asked: Option<SentRequest>,
    state: State,
    /// Bytes that were read and not parsed.
    held: BytesMut,
    lines: Lines,
    /// Bytes to deliver.
    mended: BytesMut,
}

impl<T> Mended<T> {
    /// Normalises the answers to the requests in this queue, which has no other reader.
    pub(super) fn new(io: T, asks: SentRequests) -> Self {
        Self {
            io,
            asks,
            asked: None,
            state: State::Head,
            held: BytesMut::new(),
            lines: Lines::default(),
            mended: BytesMut::new(),
        }
    }

    /// Parses what is held. False if more has to come first.
    fn step(&mut self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        match self.state {
            State::Body(_) | State::Chunk(_) | State::Rest => {
                let passed = self.state.pass(self.held.len());
                self.mended.extend_from_slice(&self.held[..passed]);
                self.held.advance(passed);
                true
            }
            State::Size => self.size(),
            State::ChunkEnd => self.chunk_end(),
            State::Head => self.head(),
            State::Trailers => self.trailers(),
        }
    }

    /// What is held cannot be normalised.
    fn give_up(&mut self) -> bool {
        self.state = State::Rest;
        true
    }

    /// Replaces the first `length` held bytes by these.
    fn replace(&mut self, length: usize, with: &[u8], state: State) -> bool {
        self.held.advance(length);
        self.mended.extend_from_slice(with);
        self.state = state;
        true
    }

    fn head(&mut self) -> bool {
        self.asked = self.asked.or_else(|| self.asks.pop());
        let Some(asked) = self.asked.filter(|_| head::may_begin(&self.held)) else {
            return self.give_up();
        };
        let Some(length) = self.lines.section(&self.held) else {
            return self.held.len() >= Limits::default().head && self.give_up();
        };
        let Some(head) = head::mend(&self.held[..length], asked) else {
            return self.give_up();
        };
        if !head.is_interim {
            self.asked = None;
        }
        self.replace(length, &head.text, head.state)
    }

    fn trailers(&mut self) -> bool {
        let Some(length) = self.lines.section(&self.held) else {
            return self.held.len() >= Limits::default().trailers && self.give_up();
        };
        match head::mend_trailers(&self.held[..length]) {
            Some(text) => self.replace(length, &text, State::Head),
            None => self.give_up(),
        }
    }

    fn size(&mut self) -> bool {
        let Some(length) = self.lines.line(&self.held) else {
            return self.held.len() >= MAX_SIZE_LINE && self.give_up();
        };
        match chunk::size(&self.held[..length]) {
            Some(0) => self.replace(length, b"0\r\n", State::Trailers),
            Some(size) => {
                let text = format!("{size:x}\r\n");
                self.replace(length, text.as_bytes(), State::Chunk(size))
            }
            None => self.give_up(),
        }
    }

    fn chunk_end(&mut self) -> bool {
        match &self.held[..] {
            [b'\n', ..] => self.replace(1, b"\r\n", State::Size),
            [b'\r', b'\n', ..] => self.replace(2, b"\r\n", State::Size),
            b"\r" => false,
            _ => self.give_up(),
        }
    }

    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.mended.len().min(buf.remaining());
        buf.put_slice(&self.mended[..length]);
        self.mended.advance(length);
        // A long head is seldom followed by another.
        if self.mended.is_empty() {
            self.mended = BytesMut::new();
        }
    }

    /// Of what was read after `start`, leaves in place what may go on unchanged, and holds the rest.
    fn sort(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        let new = &buf.filled()[start..];
        let passed = if self.held.is_empty() {
            self.state.pass(new.len())
        } else {
            0
        };
        self.held.extend_from_slice(&new[passed..]);
        buf.set_filled(start + passed);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Mended<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buf.filled().len();
        while buf.filled().len() == start && buf.remaining() > 0 {
            while this.step() {}
            if !this.mended.is_empty() {
                this.deliver(buf);
                break;
            }
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            match buf.filled().len() == start {
                true if this.held.is_empty() => break,
                // It ends too early: the sieve reports that.
                true => this.state = State::Rest,
                false => this.sort(buf, start),
            }
        }
        Poll::Ready(Ok(()))
    }
}

guard_judge::write_through!(Mended);
