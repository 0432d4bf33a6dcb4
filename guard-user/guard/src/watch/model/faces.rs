//! What the screen has shown of requests that change while they wait: a yes is for what was seen, and for no more.

use std::collections::HashMap;

use guard_proto::{Offer, Request};

use super::Moment;
use super::cursor::is_settled;

/// What of a request may change under a person's finger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Face {
    /// How many addresses of a burst were tried; none: it is about one destination.
    pub(crate) tried: Option<u32>,
    /// What is offered first.
    pub(crate) offer: Option<Offer>,
}

/// The faces of all requests, by their ids: each with when it was drawn first, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faces(HashMap<String, Vec<(Moment, Face)>>);

/// How many addresses of a burst were tried; none: it is about one destination.
pub(super) fn tried(request: &Request) -> Option<u32> {
    let burst = request.burst.as_ref();
    burst.map(|burst| u32::try_from(burst.count).unwrap_or(u32::MAX))
}

impl Face {
    fn of(request: &Request) -> Self {
        Self {
            tried: tried(request),
            offer: request.offers.first().copied(),
        }
    }
}

impl Faces {
    /// The screen shows these now.
    pub(crate) fn drawn(&mut self, requests: &[Request], now: Moment) {
        self.0
            .retain(|id, _| requests.iter().any(|one| one.id == *id));
        for request in requests {
            let faces = self.0.entry(request.id.clone()).or_default();
            let face = Face::of(request);
            if faces.last().is_none_or(|(_, known)| *known != face) {
                faces.push((now, face));
            }
            // What was there before the one that counts now never counts again.
            let counts = faces
                .iter()
                .rposition(|(since, _)| is_settled(Some(*since), now));
            faces.drain(..counts.unwrap_or(0));
        }
    }

    /// What has been seen of a request for long enough to be meant by a key pressed now.
    pub(crate) fn settled(&self, id: &str, now: Moment) -> Option<Face> {
        let mut faces = self.0.get(id)?.iter().rev();
        let found = faces.find(|(since, _)| is_settled(Some(*since), now));
        found.map(|(_, face)| *face)
    }
}
