//! Frames: JSON objects on a stream socket, each ended by a NUL byte, with limits on their lengths.

use std::{io, time::Duration};

use guard_proto::varlink::{self, MAX_FRAME, WireError};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{
    bytes::{Bytes, BytesMut},
    codec::{AnyDelimiterCodec, AnyDelimiterCodecError, Decoder},
};

use crate::quota::{Account, AccountPlaces, TakenPlace};

/// How long a connection without a call stays open.
const IDLE: Duration = Duration::from_secs(300);
/// How long a peer may take to send a frame that it has begun.
const WHOLE: Duration = Duration::from_secs(10);
/// How long a peer may take to read an answer.
const TAKEN: Duration = Duration::from_secs(5);

/// Why a connection ends, other than by its peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// Longer than the limit.
    #[error("the call is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The limit of long frames that are read at once is reached.
    #[error("too many policies are being sent at once")]
    Busy,
    /// The stream ended within a frame.
    #[error("the connection ended within a call")]
    Truncated,
    /// The peer did not send or read in time.
    #[error("the peer took too long")]
    Slow,
    /// It hands in answers that nobody has signed, one after the other.
    #[error("too many answers were wrong")]
    Flood,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The reading half of a connection.
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    codec: AnyDelimiterCodec,
    account: Account,
    /// Places in which long frames are read, of all connections.
    long: AccountPlaces,
    held: Option<TakenPlace>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `stream`; a long frame is read in a place of `long` only.
    pub(crate) fn new(stream: R, long: AccountPlaces, account: Account) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            codec: codec(MAX_FRAME),
            account,
            long,
            held: None,
        }
    }

    /// Waits until the peer sends something or closes the connection, however long that takes.
    pub(crate) async fn stirs(&mut self) {
        if self.buffer.is_empty() {
            // A failure counts as closed.
            let _ = self.stream.read_buf(&mut self.buffer).await;
        }
    }

    /// Waits until the peer has closed the connection. One that has sent another call waits for its answer.
    pub(crate) async fn gone(&mut self) {
        self.stirs().await;
        if !self.buffer.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    /// The next frame without its NUL, or `None` if the peer has closed the stream.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream cannot be read after any of them.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let mut deadline = Instant::now() + IDLE;
        if !self.buffer.is_empty() {
            deadline = Instant::now() + WHOLE;
        }
        loop {
            if let Some(frame) = self.decode()? {
                return Ok(Some(frame));
            }
            let was_empty = self.buffer.is_empty();
            let read = timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await;
            match read.map_err(|_| FrameError::Slow)?? {
                0 if self.buffer.is_empty() => return Ok(None),
                0 => return Err(FrameError::Truncated),
                _ if was_empty => deadline = Instant::now() + WHOLE,
                _ => {}
            }
        }
    }

    /// Removes a frame from the buffer, if it is complete.
    fn decode(&mut self) -> Result<Option<Bytes>, FrameError> {
        let limit = varlink::limit(&self.buffer);
        if self.held.is_none() && self.buffer.len() >= MAX_FRAME && limit > MAX_FRAME {
            self.held = Some(self.long.take(self.account).ok_or(FrameError::Busy)?);
            self.codec = codec(limit);
        }
        let frame = match self.codec.decode(&mut self.buffer) {
            Ok(frame) => frame,
            Err(AnyDelimiterCodecError::MaxChunkLengthExceeded) => {
                return Err(FrameError::TooLong {
                    limit: self.codec.max_length() + 1,
                });
            }
            Err(AnyDelimiterCodecError::Io(error)) => return Err(error.into()),
        };
        if frame.is_some() && self.held.take().is_some() {
            self.codec = codec(MAX_FRAME);
        }
        Ok(frame)
    }
}

/// A codec for frames of at most `limit` bytes, their NUL included.
fn codec(limit: usize) -> AnyDelimiterCodec {
    AnyDelimiterCodec::new_with_max_length(vec![0], vec![0], limit - 1)
}

/// Sends a frame and its NUL.
///
/// # Errors
///
/// [`FrameError::Slow`] if the peer does not read it in time, and the socket's errors.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    stream: &mut W,
    mut frame: Vec<u8>,
) -> Result<(), FrameError> {
    frame.push(0);
    timeout(TAKEN, stream.write_all(&frame))
        .await
        .map_err(|_| FrameError::Slow)??;
    Ok(())
}

/// The frame of an error.
///
/// # Errors
///
/// If it has no JSON form.
pub(crate) fn error_frame(error: WireError) -> Result<Vec<u8>, FrameError> {
    Ok(serde_json::to_vec(&error).map_err(io::Error::from)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quota::{Limit, Pace};

    fn reader_with(bytes: &[u8], long: u64) -> FrameReader<&[u8]> {
        let limit = Limit::each(Pace::held(long), Pace::held(long));
        FrameReader::new(bytes, AccountPlaces::new(limit), Account::outside(1000))
    }

    fn reader(bytes: &[u8]) -> FrameReader<&[u8]> {
        reader_with(bytes, 1)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        block_on(async {
            let mut frames = reader(b"{}\0\0{\"a\":1}\0");
            assert_eq!(frames.next().await.unwrap().unwrap(), "{}");
            assert_eq!(frames.next().await.unwrap().unwrap(), "");
            assert_eq!(frames.next().await.unwrap().unwrap(), "{\"a\":1}");
            assert!(frames.next().await.unwrap().is_none());
        });
    }

    #[test]
    fn a_frame_is_as_long_as_agreed_and_no_longer() {
        let longest = [vec![b'x'; MAX_FRAME - 1], vec![0]].concat();
        assert!(block_on(reader(&longest).next()).unwrap().is_some());
        let longer = [vec![b'x'; MAX_FRAME], vec![0]].concat();
        let error = block_on(reader(&longer).next()).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { limit: MAX_FRAME }));
    }

    #[test]
    fn only_a_policy_may_be_long_and_only_so_many_at_once() {
        let run = br#"{"method":"org.guardd.Control.Run""#;
        let long = [&run[..], &vec![b'x'; 4 * MAX_FRAME], b"\0{}\0"].concat();
        let mut frames = reader(&long);
        assert!(block_on(frames.next()).unwrap().is_some());
        assert_eq!(block_on(frames.next()).unwrap().unwrap(), "{}");
        let mut busy = reader_with(&long, 0);
        assert!(matches!(block_on(busy.next()), Err(FrameError::Busy)));
    }

    #[test]
    fn a_cut_frame_is_an_error() {
        let error = block_on(reader(b"{\"method\"").next()).unwrap_err();
        assert!(matches!(error, FrameError::Truncated));
    }

    proptest! {
        #[test]
        fn no_bytes_confuse_it(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let sent = chunks.concat();
            let whole: Vec<&[u8]> = sent.split(|byte| *byte == 0).collect();
            block_on(async {
                let mut frames = reader(&sent);
                for frame in &whole[..whole.len() - 1] {
                    assert_eq!(frames.next().await.unwrap().unwrap(), frame);
                }
                match frames.next().await {
                    Ok(None) => assert!(whole[whole.len() - 1].is_empty()),
                    Err(FrameError::Truncated) => assert!(!whole[whole.len() - 1].is_empty()),
                    other => panic!("{other:?}"),
                }
            });
        }
    }
}
