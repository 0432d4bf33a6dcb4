//! Messages of the protocol as they are framed: a type, a length, a body (PostgreSQL's documentation, 55.7).

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of a type and a length.
pub(super) const HEAD: usize = 5;
/// The longest message that is read whole, in bytes.
pub(super) const MAX_READ: usize = 1024 * 1024;
/// Bytes that are read ahead at most, while nothing takes what was read.
const MAX_AHEAD: usize = 64 * 1024;
/// Bytes for which there is room at first: most messages are short.
const ROOM: usize = 8 * 1024;

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageHead {
    /// Its type.
    pub(super) tag: u8,
    /// Bytes that follow the head.
    pub(super) body: usize,
}

/// A message of a batch, which is kept until its end.
#[derive(Debug)]
pub(super) struct KeptMessage {
    pub(super) head: MessageHead,
    /// All of it; empty where it was too long to be read.
    pub(super) bytes: Bytes,
}

/// Reads messages.
#[derive(Debug)]
pub(super) struct Reader<R> {
    io: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(io: R) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
        }
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(ROOM);
        Ok(self.io.read_buf(&mut self.buffer).await? > 0)
    }

    async fn at_least(&mut self, length: usize) -> io::Result<()> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// The head of the next message, which stays unread; none at the end. Cancelling loses nothing.
    ///
    /// # Errors
    ///
    /// The system's; that a message ends in its head; that its length is invalid.
    pub(super) async fn head(&mut self) -> io::Result<Option<MessageHead>> {
        if self.buffer.is_empty() {
            // An idle connection keeps no buffer.
            self.buffer = BytesMut::new();
            if !self.more().await? {
                return Ok(None);
            }
        }
        self.at_least(HEAD).await?;
        let mut head = &self.buffer[..HEAD];
        let tag = head.get_u8();
        let length = usize::try_from(head.get_i32()).ok();
        let body = length.and_then(|length| length.checked_sub(4));
        let body = body.ok_or_else(|| invalid("a message has a length that is none"))?;
        Ok(Some(MessageHead { tag, body }))
    }

    /// The whole message with that head.
    ///
    /// # Errors
    ///
    /// The system's; that it ends before its end.
    pub(super) async fn message(&mut self, head: MessageHead) -> io::Result<Bytes> {
        debug_assert!(head.body <= MAX_READ);
        let length = HEAD + head.body;
        self.buffer
            .reserve(length.saturating_sub(self.buffer.len()));
        self.at_least(length).await?;
        Ok(self.buffer.split_to(length).freeze())
    }

    /// Sends the message with that head on as it comes.
    ///
    /// # Errors
    ///
    /// The system's; that it ends before its end.
    pub(super) async fn pass<W: AsyncWrite + Unpin>(
        &mut self,
        head: MessageHead,
        to: &mut W,
    ) -> io::Result<()> {
        let mut left = HEAD + head.body;
        while left > 0 {
            self.at_least(1).await?;
            let now = left.min(self.buffer.len());
            to.write_all(&self.buffer.split_to(now)).await?;
            left -= now;
        }
        Ok(())
    }

    /// Skips the message with that head.
    ///
    /// # Errors
    ///
    /// As [`Self::pass`].
    pub(super) async fn skip(&mut self, head: MessageHead) -> io::Result<()> {
        self.pass(head, &mut tokio::io::sink()).await
    }

    /// Bytes that were read and not taken yet.
    pub(super) fn ahead(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Reads more bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) async fn fill(&mut self, room: usize) -> io::Result<bool> {
        self.buffer.reserve(room);
        Ok(self.io.read_buf(&mut self.buffer).await? > 0)
    }

    /// Waits until the other side has closed, while nothing takes what it sends.
    pub(super) async fn left(&mut self) {
        while self.buffer.len() < MAX_AHEAD {
            if !self.more().await.unwrap_or(false) {
                return;
            }
        }
        std::future::pending().await
    }
}

/// The error for a violation of the protocol.
pub(super) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The fields of a message.
#[derive(Debug)]
pub(super) struct Fields(Bytes);

impl Fields {
    /// The fields of a whole message.
    pub(super) fn of(message: &Bytes) -> Self {
        Self(message.slice(HEAD..))
    }

    /// A string without its end, which it must have, as for servers.
    pub(super) fn string(&mut self) -> io::Result<Bytes> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| invalid("a string has no end"))?;
        let string = self.0.split_to(end);
        self.0.advance(1);
        Ok(string)
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        self.0.try_get_u8().map_err(|_| short())
    }

    pub(super) fn count(&mut self) -> io::Result<usize> {
        let count = self.0.try_get_u16().map_err(|_| short())?;
        Ok(usize::from(count))
    }

    pub(super) fn number(&mut self) -> io::Result<i32> {
        self.0.try_get_i32().map_err(|_| short())
    }

    pub(super) fn bytes(&mut self, length: usize) -> io::Result<Bytes> {
        if length <= self.0.len() {
            Ok(self.0.split_to(length))
        } else {
            Err(short())
        }
    }

    /// The unread rest.
    pub(super) fn rest(&self) -> Bytes {
        self.0.clone()
    }

    /// Checks that nothing follows: where one side sees the end, the other must.
    pub(super) fn end(&self) -> io::Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(invalid("a message is longer than what it says"))
        }
    }
}

fn short() -> io::Error {
    invalid("a message is shorter than what it says")
}
