//! A hold on a sieve that somebody else owns, such as hyper.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use super::{
    malformed::Malformed,
    stream::{Phase, Sieve},
};

/// What is shared with a [`SievedIo`](super::SievedIo). All clones are of the same one.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    opaque: AtomicBool,
    refusal: OnceLock<Malformed>,
}

const PHASES: [Phase; 5] = [
    Phase::Between,
    Phase::Head,
    Phase::Body,
    Phase::Opaque,
    Phase::Refused,
];

impl Watch {
    /// Where in the stream the sieve was after the last read.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let number = usize::from(self.0.phase.load(Ordering::Acquire));
        PHASES.get(number).copied().unwrap_or(Phase::Refused)
    }

    /// Why nothing passes any more. To be asked when a connection is over: hyper takes an error between two requests
    /// for its end.
    #[must_use]
    pub fn refusal(&self) -> Option<Malformed> {
        self.0.refusal.get().copied()
    }

    /// From the next read on all passes, as with [`Sieve::become_opaque`](super::Sieve::become_opaque). To be said
    /// before the other end is told, so that what it sends then is not read as HTTP/1.
    pub fn become_opaque(&self) {
        self.0.opaque.store(true, Ordering::Release);
    }

    pub(super) fn wants_opaque(&self) -> bool {
        self.0.opaque.load(Ordering::Acquire)
    }

    pub(super) fn publish(&self, sieve: &Sieve) {
        self.0.phase.store(sieve.phase() as u8, Ordering::Release);
        if let Some(why) = sieve.refusal() {
            self.0.refusal.get_or_init(|| why);
        }
    }
}
