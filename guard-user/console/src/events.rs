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
use http::StatusCode;
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    Console,
    hub::Live,
    pages::questions::Line,
    reply::{self, Reply},
    scope::Visitor,
};

/// How long a stream lasts.
const LIFE: Duration = Duration::from_secs(20);
/// Streams at once.
const MOST: usize = 64;

/// A stream of what is asked.
pub(crate) fn stream(console: &Console, visitor: Visitor, machine: &str) -> Reply {
    let hub = &console.hub;
    if hub.looking() >= MOST {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open.");
    }
    let (to, from) = mpsc::channel(4);
    let (mut looking, machine) = (hub.look(), machine.to_owned());
    tokio::task::spawn_local(async move {
        let until = Instant::now() + LIFE;
        let begin = to.send(Bytes::from_static(b"retry: 500\n\n")).await;
        let mut is_open = begin.is_ok();
        let mut is_first = true;
        while is_open {
            let live = looking.now();
            // Of a hub that has only begun nothing is known yet.
            if live.is_connected || !is_first {
                is_open = match told(&live, &visitor, &machine).await {
                    Some(event) => to.send(event).await.is_ok(),
                    None => false,
                };
            }
            is_first = false;
            tokio::select! {
                changed = timeout_at(until, looking.change()) => is_open &= changed.is_ok(),
                () = to.closed() => is_open = false,
            }
        }
    });
    reply::of(
        StatusCode::OK,
        "text/event-stream",
        Events { from }.boxed_unsync(),
    )
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

/// JSON has no line ends in it.
fn event(live: &Live, machine: &str) -> Bytes {
    let lines: Vec<_> = live
        .requests
        .iter()
        .map(|one| Line::of(one, machine))
        .collect();
    let told = json!({ "connected": live.is_connected, "questions": lines });
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
