//! The first bytes that a server sends before a request: in HTTP/2 its SETTINGS, in HTTP/1 nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, Interest, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};

/// Length, type and flags of a frame, and its stream (RFC 9113 4.1).
const FRAME_HEADER: usize = 9;
/// RFC 9113 6.5.
const SETTINGS: u8 = 4;
/// The flag of SETTINGS that answer others.
const ACK: u8 = 1;
/// Bytes of one setting.
const SETTING: u32 = 6;
/// Bytes of a frame at most, before anything else was agreed to (RFC 9113 4.2).
const MAX_FRAME: u32 = 1 << 14;

/// A server's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstWord {
    /// SETTINGS, which an HTTP/2 server may send before its client has said anything (RFC 9113 3.4).
    Settings,
    /// Bytes that no HTTP server begins with.
    Other,
}

impl FirstWord {
    /// By the first bytes; `None` if more of them are needed.
    fn of(begun: &[u8]) -> Option<Self> {
        let begun = &begun[..begun.len().min(FRAME_HEADER)];
        let mut header = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
        header[..begun.len()].copy_from_slice(begun);
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = header;
        let length = u32::from_be_bytes([0, l1, l2, l3]);
        // The first bit of the stream is reserved, and ignored.
        let stream = u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]);
        let whole = begun.len() < 3 || length.is_multiple_of(SETTING);
        let is_settings = kind == SETTINGS && flags & ACK == 0 && stream == 0;
        if is_settings && whole && length <= MAX_FRAME {
            (begun.len() == FRAME_HEADER).then_some(Self::Settings)
        } else {
            Some(Self::Other)
        }
    }

    /// Waits for a server's first bytes, and leaves them unread.
    ///
    /// # Errors
    ///
    /// The system's, or that the server has ended before that.
    pub(super) async fn hear(stream: &TcpStream) -> io::Result<Self> {
        let peek = || {
            let mut begun = [0; FRAME_HEADER];
            let (_, length) = recv(stream, &mut begun[..], RecvFlags::PEEK)?;
            match length {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Self::of(&begun[..length]).ok_or_else(|| io::ErrorKind::WouldBlock.into()),
            }
        };
        loop {
            let ready = stream.ready(Interest::READABLE).await?;
            match stream.try_io(Interest::READABLE, peek) {
                // No more bytes come.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && !ready.is_read_closed() => {}
                heard => return heard,
            }
        }
    }
}

/// A connection to a server, which must begin with its SETTINGS (RFC 9113 3.4): to another server no request is sent.
#[derive(Debug)]
pub(super) struct Greeted<T> {
    io: T,
    begun: Vec<u8>,
    tell: Option<oneshot::Sender<()>>,
}

impl<T> Greeted<T> {
    /// Wraps a connection; the receiver resolves at the server's first bytes.
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
            // The waiter may be gone.
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

guard_judge::write_through!(Greeted);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_from_what_else_a_server_may_begin_with() {
        let settings: [&[u8]; 3] = [
            b"\0\0\0\x04\0\0\0\0\0",
            b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80",
            // Flags without a meaning, and the reserved bit.
            b"\0\x3f\xfc\x04\xfe\x80\0\0\0",
        ];
        for begun in settings {
            for length in 0..FRAME_HEADER {
                assert_eq!(FirstWord::of(&begun[..length]), None, "{length}");
            }
            assert_eq!(FirstWord::of(begun), Some(FirstWord::Settings));
        }
        let others: [&[u8]; 9] = [
            b"S",
            b"SSH-2.0-x\r\n",
            // MySQL's greeting, and Telnet's.
            b"\x4a\0\0\0\x0a8.0",
            b"\xff\xfd\x18",
            // Longer than a first frame may be, no number of settings, another frame, an answer, of a stream.
            b"\0\x40\x02\x04\0\0\0\0\0",
            b"\0\0\x05",
            b"\0\0\x06\x06",
            b"\0\0\0\x04\x01",
            b"\0\0\0\x04\0\0\0\0\x01",
        ];
        for begun in others {
            assert_eq!(FirstWord::of(begun), Some(FirstWord::Other), "{begun:?}");
        }
    }
}
