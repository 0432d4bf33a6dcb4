//! Bodies on their way through the proxy: never whole in memory, but for the beginning of what a person is asked about.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};
use tokio::{task::spawn_local, time::Instant};

use super::{room::ReservedBytes, sieve::trailer::is_forbidden};

/// How long a client that was answered early may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// A body in either direction.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A body of just these bytes.
#[must_use]
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A request's body on its way out, without trailers that would change the request. Those of HTTP/1 have passed the sieve.
#[must_use]
pub(super) fn outgoing<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
{
    let clean = |frame: Frame<Bytes>| match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(harmless(trailers)),
        Err(frame) => frame,
    };
    body.map_frame(clean).boxed_unsync()
}

fn harmless(trailers: HeaderMap) -> HeaderMap {
    let mut last = None;
    let named = trailers.into_iter().filter_map(|(name, value)| {
        last = name.or(last.take());
        Some((last.clone()?, value))
    });
    named
        .filter(|(name, _)| !is_forbidden(name.as_str().as_bytes()))
        .collect()
}

/// A body whose beginning may have been read.
#[derive(Debug)]
pub(super) struct BegunBody {
    taken: ReservedBytes,
    /// There was no room to read more.
    is_crowded: bool,
    /// Its length by the head; none if only its end tells. It is sent on in the same way, with its trailers.
    told: Option<u64>,
    read: BytesMut,
    /// Of the bytes that were read.
    sum: Sha256,
    trailers: Option<HeaderMap>,
    rest: Option<Incoming>,
}

impl BegunBody {
    /// A body that was not read yet. Reading takes room.
    pub(super) fn new(body: Incoming, taken: ReservedBytes) -> Self {
        Self {
            taken,
            is_crowded: false,
            told: body.size_hint().exact(),
            read: BytesMut::new(),
            sum: Sha256::new(),
            trailers: None,
            rest: Some(body),
        }
    }

    /// Reads until its end, or until there are more than `most` bytes, or for that time: a client may send more only after an
    /// answer.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub(super) async fn read(&mut self, most: usize, time: Duration) -> Result<(), hyper::Error> {
        let read = tokio::time::timeout(time, self.read_on(most)).await;
        read.unwrap_or(Ok(()))
    }

    /// What was read is kept if the wait is given up.
    async fn read_on(&mut self, most: usize) -> Result<(), hyper::Error> {
        while self.read.len() <= most
            && !self.is_crowded
            && let Some(rest) = &mut self.rest
        {
            match rest.frame().await.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) if self.taken.take(data.len()) => self.push(&data),
                Some(Ok(_)) => self.is_crowded = true,
                Some(Err(other)) => self.trailers = other.into_trailers().ok(),
                None => self.rest = None,
            }
        }
        Ok(())
    }

    /// Reads on to the end, so that its sum is known: until the client pauses for `pause`, or `time` has passed, or no memory is to
    /// spare. What was read is kept.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub(super) async fn read_ahead(
        &mut self,
        pause: Duration,
        time: Duration,
    ) -> Result<(), hyper::Error> {
        let (end, read) = (Instant::now() + time, self.read.len() as u64);
        let announced = self.told.map_or(0, |told| told.saturating_sub(read));
        if !self.taken.has_to_spare(announced) {
            return Ok(());
        }
        while self.taken.has_to_spare(0)
            && let Some(rest) = &mut self.rest
        {
            let patience = pause.min(end.saturating_duration_since(Instant::now()));
            let Ok(frame) = tokio::time::timeout(patience, rest.frame()).await else {
                break;
            };
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    let has_room = self.taken.take(data.len());
                    self.push(&data);
                    if !has_room {
                        break;
                    }
                }
                Some(Err(other)) => self.trailers = other.into_trailers().ok(),
                None => self.rest = None,
            }
        }
        Ok(())
    }

    fn push(&mut self, data: &[u8]) {
        self.sum.update(data);
        self.read.extend_from_slice(data);
    }

    /// Reads and drops the rest for a while, after the answer. An HTTP/2 client whose stream ends with the answer may miss the
    /// answer: curl 7.88 does.
    pub(super) fn discard(self) {
        let Some(mut rest) = self.rest else { return };
        spawn_local(async move {
            let all = async { while let Some(Ok(_)) = rest.frame().await {} };
            // A client that sends for longer is stopped.
            let _ = tokio::time::timeout(LINGER, all).await;
        });
    }

    /// Whether some of it was lost for lack of room: then it can only be refused.
    #[must_use]
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Whether all of it was read.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Its trailers, if they were read.
    #[must_use]
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// The bytes that were read.
    #[must_use]
    pub(super) fn so_far(&self) -> &[u8] {
        &self.read
    }

    /// The SHA-256 of these.
    #[must_use]
    pub(super) fn sum(&self) -> [u8; 32] {
        self.sum.clone().finalize().into()
    }

    /// The first of these, at most `most`.
    #[must_use]
    pub(super) fn head(&self, most: usize) -> &[u8] {
        &self.read[..self.read.len().min(most)]
    }

    /// Its length in bytes, if known.
    #[must_use]
    pub(super) fn bytes(&self) -> Option<u64> {
        let read = self.is_whole().then_some(self.read.len() as u64);
        self.told.or(read)
    }
}

impl http_body::Body for BegunBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.read.is_empty() {
            let read = self.read.split().freeze();
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_read = self.read.is_empty() && self.trailers.is_none();
        is_read && self.rest.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.told.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Counts while it exists.
#[derive(Debug)]
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// Adds one to the count.
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

/// The body of an answer, counted until it has been sent or dropped.
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

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn trailers_make_no_other_request() {
        let trailers: HeaderMap = [
            ("x-sum", "1"),
            ("x-http-method-override", "PUT"),
            ("authorization", "z"),
            ("x-sum", "2"),
            ("x-original-url", "/admin"),
        ]
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
        let left = harmless(trailers);
        assert_eq!(left.len(), 2);
        assert_eq!(left.get_all("x-sum").iter().count(), 2);
    }
}
