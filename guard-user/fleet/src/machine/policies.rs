//! Policies in: a bundle that somebody pushes, or that the keeper has for machines that come later. guardd says whether it is one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use guard_proto::{Call, fleet::FleetPolicies};
use guard_signed::SignedBundle;
use tokio::time::{Instant, sleep_until};

use super::Carrier;
use crate::{link, messages, subjects::Bundles};

/// How often the last bundle is asked for, in the mean, beside after each connection.
const EVERY: Duration = Duration::from_secs(300);
/// Where guardd did not answer.
const SOON: Duration = Duration::from_secs(5);
/// The same bundle is offered again no sooner.
const AGAIN: Duration = Duration::from_secs(60);

/// How often the last bundle is asked for, and no sooner than when it is offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    every: Duration,
    again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self::of(None)
    }
}

impl Pace {
    /// Where policies hold for so many seconds only, they are heard of some times within that.
    fn of(lasts: Option<u64>) -> Self {
        let lasts = lasts.map_or(Duration::MAX, Duration::from_secs);
        Self {
            every: EVERY.min(lasts / 4),
            again: AGAIN.min(lasts / 8),
        }
    }
}

/// What is known of the bundles that came.
struct Bundled {
    /// When the last one is asked for.
    wants: Instant,
    /// The last of which guardd has said something, and when.
    last: Option<(String, Instant)>,
    pace: Pace,
    /// When it was last said that one was not taken.
    said: Option<Instant>,
}

/// Hands in what comes.
pub(super) async fn carry(carrier: &Carrier) -> Result<()> {
    let subject = Bundles::Policies.of(&carrier.group);
    let bundles = carrier.link.client.subscribe(subject).await;
    let mut bundles = bundles.context("cannot hear policies")?;
    let mut link = carrier.link.clone();
    let mut known = Bundled {
        wants: Instant::now(),
        last: None,
        pace: Pace::default(),
        said: None,
    };
    loop {
        let heard = tokio::select! {
            heard = bundles.next() => heard.context("the connection has ended")?,
            () = link.change() => {
                if link.stands() {
                    known.wants = Instant::now();
                }
                continue;
            }
            () = sleep_until(known.wants) => {
                let subject = Bundles::Want.of(&carrier.group);
                carrier.link.publish(subject, Vec::new()).await;
                let every = known.pace.every.mul_f64(2.0 / 3.0 + link::random() * 2.0 / 3.0);
                known.wants = Instant::now() + every;
                continue;
            }
        };
        let name = messages::name_of(&heard.payload);
        if !messages::is_published(&heard) || known.has_just_heard(&name) {
            continue;
        }
        let Some(bundle) = messages::read(&heard.payload) else {
            continue;
        };
        if known.offer(carrier, name, bundle).await {
            super::presence::publish(carrier, false).await;
        }
    }
}

impl Bundled {
    fn has_just_heard(&self, name: &str) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|(known, at)| known == name && at.elapsed() < self.pace.again)
    }

    /// Has guardd put one in force, and gives whether that has said something of it.
    async fn offer(&mut self, carrier: &Carrier, name: String, bundle: SignedBundle) -> bool {
        let SignedBundle { bundle, signatures } = bundle;
        let call = Call::OfferPolicies { bundle, signatures };
        match carrier.guardd.call::<FleetPolicies>(&call).await {
            Ok(done) => {
                if self.last.as_ref().is_none_or(|(known, _)| *known != name) {
                    tracing::info!(serial = done.serial, "policies are in force");
                }
                let pace = Pace::of(done.lasts);
                if std::mem::replace(&mut self.pace, pace) != pace {
                    self.wants = self.wants.min(Instant::now() + pace.every);
                }
                carrier.look_again.notify_one();
            }
            // guardd was not reached: nobody has said anything of the bundle.
            Err(refusal) if refusal.name.is_none() => {
                self.wants = self.wants.min(Instant::now() + SOON);
                return false;
            }
            // It may be taken another time, and is not tried all the time.
            Err(refusal) => {
                let why = refusal.failure.why;
                // A publisher fills no log.
                if self.said.is_none_or(|at| at.elapsed() >= AGAIN) {
                    tracing::warn!(why, "policies were not taken");
                    self.said = Some(Instant::now());
                }
            }
        }
        self.last = Some((name, Instant::now()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_for_a_time_is_heard_of_in_that_time() {
        assert_eq!(
            Pace::of(None),
            Pace {
                every: EVERY,
                again: AGAIN
            }
        );
        assert_eq!(Pace::of(Some(30 * 86_400)), Pace::default());
        for lasts in [1, 8, 60, 300, 900] {
            let Pace { every, again } = Pace::of(Some(lasts));
            // Also where one that was wanted does not come.
            let longest = every.mul_f64(4.0 / 3.0) * 2 + again;
            assert!(longest < Duration::from_secs(lasts), "{lasts}");
        }
    }
}
