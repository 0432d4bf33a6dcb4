//! What all machines ask, as it changes.

use std::rc::Rc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Browser,
    mirror::{Mirror, Now},
};
use crate::{
    events::{NextEvent, Source, stream_of, told_of},
    lookers::Looker,
    pages::central::{AskedQuestion, lines},
    reply::Reply,
};

/// Somebody's page.
struct Fleet {
    mirror: Rc<Mirror>,
    now: watch::Receiver<Now>,
    visitor: Browser,
    /// What was sent last.
    last: Option<Value>,
    _looker: Looker,
}

/// A stream of it.
pub(super) fn stream(mirror: &Rc<Mirror>, visitor: Browser) -> Reply {
    stream_of(mirror.looking(), || Fleet {
        mirror: Rc::clone(mirror),
        now: mirror.now(),
        visitor,
        last: None,
        _looker: mirror.look(),
    })
}

impl Source for Fleet {
    async fn told(&mut self, _: bool) -> NextEvent {
        let now = *self.now.borrow_and_update();
        let Some(identity) = self.visitor.identity() else {
            return NextEvent::Ended;
        };
        let machines = self.mirror.machines();
        let questions = if now.is_connected {
            lines(AskedQuestion::all(&machines, &identity))
        } else {
            Vec::new()
        };
        let told = json!({
            "connected": now.is_connected, "questions": questions, "machines": now.machines,
        });
        // Most of what machines say is for somebody else's page.
        if self.last.as_ref() == Some(&told) {
            return NextEvent::Nothing;
        }
        self.last = Some(told.clone());
        NextEvent::Event(told_of(&told))
    }

    async fn change(&mut self) {
        // The mirror lives for as long as this does.
        let _ = self.now.changed().await;
    }
}
