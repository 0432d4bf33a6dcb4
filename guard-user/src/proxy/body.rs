//! Bodies, on their way through: never whole in memory, but for the head of what a person is asked about.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

/// A body that goes either way.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// One that has just these bytes.
#[must_use]
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body of which the beginning was read already.
#[derive(Debug)]
pub(super) struct Begun {
    /// Its length as its head told; none where only its end tells. It goes on in the same way, with its trailers.
    told: Option<u64>,
    read: VecDeque<Frame<Bytes>>,
    rest: Option<Incoming>,
}

impl Begun {
    /// Reads a body until its end, or until there are more than `most` bytes of data.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub(super) async fn read(body: Incoming, most: usize) -> Result<Self, hyper::Error> {
        let mut begun = Self {
            told: body.size_hint().exact(),
            read: VecDeque::new(),
            rest: Some(body),
        };
        begun.read_on(most).await?;
        Ok(begun)
    }

    /// As [`Self::read`], further.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub(super) async fn read_on(&mut self, most: usize) -> Result<(), hyper::Error> {
        let mut length = self.length();
        while length <= most
            && let Some(rest) = &mut self.rest
        {
            match rest.frame().await.transpose()? {
                Some(frame) => {
                    length += frame.data_ref().map_or(0, Bytes::len);
                    self.read.push_back(frame);
                }
                None => self.rest = None,
            }
        }
        Ok(())
    }

    fn length(&self) -> usize {
        let data = self.read.iter().filter_map(Frame::data_ref);
        data.map(Bytes::len).sum()
    }

    /// Whether all of it was read.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// What was read of it, at most so many bytes.
    #[must_use]
    pub(super) fn head(&self, most: usize) -> Bytes {
        let mut head = BytesMut::new();
        for data in self.read.iter().filter_map(Frame::data_ref) {
            let left = most - head.len();
            head.extend_from_slice(&data[..data.len().min(left)]);
        }
        head.freeze()
    }

    /// Its length in bytes, where that is known.
    #[must_use]
    pub(super) fn bytes(&self) -> Option<u64> {
        let read = self.is_whole().then(|| self.length() as u64);
        self.told.or(read)
    }
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.told.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Counts as long as it is there.
#[derive(Debug)]
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// One more.
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer that is counted until it has been sent, or dropped.
#[derive(Debug)]
pub(super) struct Attended {
    body: Body,
    _busy: Busy,
}

impl Attended {
    /// That body, counted.
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl http_body::Body for Attended {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
