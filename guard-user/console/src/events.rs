//! What is asked, as it changes: `text/event-stream` for a page that somebody looks at.
//!
//! A stream ends after twenty seconds, and the page asks for the next. So the console knows that somebody looks: a phone that
//! sleeps asks for none, whatever its connection looks like.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    Console,
    hub::{Live, Looking},
    pages::questions::QuestionLine,
    reply::{self, Reply},
    scope::Visitor,
};

/// How long a stream lasts.
const LIFE: Duration = Duration::from_secs(20);
/// Streams at once.
const MOST: usize = 256;

/// What a stream tells.
pub(crate) enum NextEvent {
    Event(Bytes),
    /// Nothing is known yet.
    Nothing,
    /// The visitor may not look any more.
    Ended,
}

/// Where that comes from.
pub(crate) trait Source: 'static {
    /// What there is now; `is_first`: for a page that has just come.
    async fn told(&mut self, is_first: bool) -> NextEvent;

    /// Until that changes.
    async fn change(&mut self);
}

/// What one machine's guardd tells.
struct Here {
    looking: Looking,
    visitor: Visitor,
    machine: String,
}

impl Source for Here {
    async fn told(&mut self, is_first: bool) -> NextEvent {
        let live = self.looking.now();
        // Of a hub that has only begun nothing is known yet.
        if !live.is_connected && is_first {
            return NextEvent::Nothing;
        }
        match told(&live, &self.visitor, &self.machine).await {
            Some(event) => NextEvent::Event(event),
            None => NextEvent::Ended,
        }
    }

    async fn change(&mut self) {
        self.looking.change().await;
    }
}

/// A stream of what is asked.
pub(crate) fn stream(console: &Console, visitor: Visitor, machine: &str) -> Reply {
    let hub = &console.hub;
    stream_of(hub.looking(), || Here {
        looking: hub.look(),
        visitor,
        machine: machine.to_owned(),
    })
}

/// The same from elsewhere, if no more than that look already.
pub(crate) fn stream_of<S: Source>(looking: usize, source: impl FnOnce() -> S) -> Reply {
    if looking >= MOST {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open.");
    }
    let (to, from) = mpsc::channel(4);
    let mut source = source();
    tokio::task::spawn_local(async move {
        let until = Instant::now() + LIFE;
        let begin = to.send(Bytes::from_static(b"retry: 500\n\n")).await;
        let mut is_open = begin.is_ok();
        let mut is_first = true;
        while is_open {
            match source.told(is_first).await {
                NextEvent::Event(event) => is_open = to.send(event).await.is_ok(),
                NextEvent::Nothing => {}
                NextEvent::Ended => is_open = false,
            }
            is_first = false;
            tokio::select! {
                changed = timeout_at(until, source.change()) => is_open &= changed.is_ok(),
                () = to.closed() => is_open = false,
            }
        }
    });
    let body = Events { from }.boxed_unsync();
    let stream = reply::of(StatusCode::OK, "text/event-stream", body);
    // nginx would keep it until it ends.
    reply::and(stream, HeaderName::from_static("x-accel-buffering"), "no")
}

/// What there is for one who looks, who may have been removed since; none: that one's session has ended.
async fn told(live: &Live, visitor: &Visitor, machine: &str) -> Option<Bytes> {
    let away = || event(&Live::default(), machine);
    if !live.is_connected {
        return Some(away());
    }
    let Ok(scope) = visitor.scope().await else {
        return Some(away());
    };
    let scope = scope?;
    let requests = live.requests.iter().filter(|one| scope.has(&one.user));
    let own = Live {
        is_connected: true,
        requests: Rc::new(requests.cloned().collect()),
    };
    Some(event(&own, machine))
}

fn event(live: &Live, machine: &str) -> Bytes {
    let lines: Vec<_> = live
        .requests
        .iter()
        .map(|one| QuestionLine::of(one, machine))
        .collect();
    told_of(&json!({ "connected": live.is_connected, "questions": lines }))
}

/// JSON has no line ends in it.
pub(crate) fn told_of(told: &serde_json::Value) -> Bytes {
    format!("event: live\ndata: {told}\n\n").into()
}

/// The body.
struct Events {
    from: mpsc::Receiver<Bytes>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.from.poll_recv(context);
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_the_pages_that_look() {
        let refused = stream_of(MOST, || -> Here { unreachable!("one too many") });
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
