//! Policies in: a bundle that somebody pushes, or that whoever keeps the list has for who comes later. guardd says whether it is one.

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

/// Hands in what comes.
pub(super) async fn carry(carrier: &Carrier) -> Result<()> {
    let subject = Bundles::Policies.of(&carrier.group);
    let bundles = carrier.link.client.subscribe(subject).await;
    let mut bundles = bundles.context("cannot hear policies")?;
    let mut link = carrier.link.clone();
    let mut wants = Instant::now();
    let mut last: Option<(String, Instant)> = None;
    let mut pace = Pace::default();
    let mut said: Option<Instant> = None;
    loop {
        let heard = tokio::select! {
            heard = bundles.next() => heard.context("the connection has ended")?,
            () = link.change() => {
                if link.stands() {
                    wants = Instant::now();
                }
                continue;
            }
            () = sleep_until(wants) => {
                let subject = Bundles::Want.of(&carrier.group);
                carrier.link.publish(subject, Vec::new()).await;
                wants = Instant::now() + pace.every.mul_f64(2.0 / 3.0 + link::random() * 2.0 / 3.0);
                continue;
            }
        };
        if !messages::is_published(&heard) {
            continue;
        }
        let name = messages::name_of(&heard.payload);
        let is_known =
            |(known, at): &(String, Instant)| *known == name && at.elapsed() < pace.again;
        if last.as_ref().is_some_and(is_known) {
            continue;
        }
        let Some(SignedBundle { bundle, signatures }) = messages::read(&heard.payload) else {
            continue;
        };
        let call = Call::OfferPolicies { bundle, signatures };
        match carrier.guardd.call::<FleetPolicies>(&call).await {
            Ok(done) => {
                if last.as_ref().is_none_or(|(known, _)| *known != name) {
                    tracing::info!(serial = done.serial, "policies are in force");
                }
                let is_other = pace != Pace::of(done.lasts);
                pace = Pace::of(done.lasts);
                if is_other {
                    wants = wants.min(Instant::now() + pace.every);
                }
                carrier.may_revoke.notify_one();
                last = Some((name, Instant::now()));
            }
            // guardd was not reached: nobody has said anything of the bundle.
            Err(refusal) if refusal.name.is_none() => {
                wants = wants.min(Instant::now() + SOON);
                continue;
            }
            Err(refusal) => {
                let why = refusal.failure.why;
                // Whoever may publish fills no log.
                if said.is_none_or(|at| at.elapsed() >= AGAIN) {
                    tracing::warn!(why, "policies were not taken");
                    said = Some(Instant::now());
                }
                // It may be another time, and is not tried all the time.
                last = Some((name, Instant::now()));
            }
        }
        super::presence::publish(carrier, false).await;
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
