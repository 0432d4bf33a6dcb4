//! guardd's tick, which does all that is due by time alone, in a fixed order. Each step is in the folder that it is about: `holes`,
//! `sessions`, `proxy`, `holds`, `workers`, `fleet`, `requests`, `policies`, `record`, `signed_answers`,
//! `resolver`, `flows`.

use std::time::Duration;

use guard_common::BootTime;
use guard_sys::clock;

use crate::{
    changes::Change, proxy::worker::ProxyWorker, resolver::worker::ResolverWorker, state::State,
};

/// The longest sleep between two ticks, so that a resumed machine is not late for long.
const LONGEST_NAP: Duration = Duration::from_secs(5);
const SHORTEST_NAP: Duration = Duration::from_millis(5);

/// Whether a tick is to come before the time that the last one named.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// What was due first when the last tick ended; none: nothing.
    first_due: Option<BootTime>,
    /// There was a change since, behind which a tick comes ([`Change::has_tick`]).
    is_stirred: bool,
}

impl Schedule {
    /// Notes a change.
    pub(crate) fn note(&mut self, change: Change) {
        self.is_stirred |= change.has_tick();
    }

    /// A tick ends: it has seen to all changes, its own too.
    fn end_tick(&mut self, first_due: Option<BootTime>) {
        *self = Self {
            first_due,
            is_stirred: false,
        };
    }

    /// Whether a tick is to come at once, where this is due first now.
    fn is_early(&self, first_due: Option<BootTime>) -> bool {
        let is_sooner = |at: BootTime| self.first_due.is_none_or(|known| at < known);
        self.is_stirred || first_due.is_some_and(is_sooner)
    }
}

impl State {
    /// Does all that is due now, whatever folder it belongs to. Returns the time after which something is due again.
    pub(crate) fn tick(&mut self) -> Duration {
        let now = clock::now();
        self.end_holes(now);
        self.end_spent_holes(None);
        self.end_sessions(now);
        self.settle_due_clients(now);
        (self.holds).renew(
            &mut self.datapath,
            &self.sessions,
            &self.policies,
            &self.requests,
        );
        if self.holds.is_due(&self.datapath, now) {
            self.review_held();
        }
        if self.proxy.takes_survey(now) {
            self.survey_networks::<ProxyWorker>();
            self.survey_networks::<ResolverWorker>();
        }
        self.keep_base();
        self.requests.expire(now);
        self.collect_slots();
        self.recorder.follow_path();
        self.requests.keep();
        self.signed_answers.tidy(&self.requests);
        self.write_refused_answers();
        self.resolver
            .tell_more_names(&self.sessions, &mut self.recorder);
        self.policies.keep_names(false);
        self.with_flows(|flows, kernel, known| flows.follow(kernel, known, now));
        let first_due = self.first_due();
        self.schedule.end_tick(first_due);
        nap(first_due, now)
    }

    /// Whether a tick is to come before the time that the last one named. `Shared::with` asks it behind all work.
    pub(crate) fn wants_tick(&self) -> bool {
        self.schedule.is_early(self.first_due())
    }

    /// When something is due next; none: nothing is.
    fn first_due(&self) -> Option<BootTime> {
        let due = self.holes.next_expiry().into_iter();
        let due = due.chain(self.proxy.next_expiry());
        due.chain(self.holds.next_review()).min()
    }
}

/// How long to sleep until then.
fn nap(first_due: Option<BootTime>, now: BootTime) -> Duration {
    let until = first_due.map(|at| Duration::from_nanos(at.0.saturating_sub(now.0)));
    until
        .unwrap_or(LONGEST_NAP)
        .clamp(SHORTEST_NAP, LONGEST_NAP)
}

#[cfg(test)]
mod tests {
    use guard_common::PolicyId;

    use super::*;

    #[test]
    fn a_tick_comes_early_for_what_is_due_sooner_than_the_last_one_knew() {
        let mut schedule = Schedule::default();
        let at = |seconds: u64| Some(BootTime(seconds * 1_000_000_000));
        assert!(!schedule.is_early(None));
        assert!(schedule.is_early(at(9)), "nothing was due");
        schedule.end_tick(at(9));
        // What is over and stays, as a hole that the kernel does not let go of, wakes nobody again.
        for (first, is_early) in [
            (at(9), false),
            (at(10), false),
            (None, false),
            (at(8), true),
        ] {
            assert_eq!(schedule.is_early(first), is_early, "{first:?}");
        }
    }

    #[test]
    fn a_tick_follows_a_change_once() {
        let mut schedule = Schedule::default();
        schedule.note(Change::Sessions);
        assert!(schedule.is_early(None));
        schedule.note(Change::Requests);
        assert!(schedule.is_early(None), "another change takes nothing back");
        schedule.end_tick(None);
        assert!(!schedule.is_early(None));
        // A policy that was just put in place judges nothing yet, and a tick would empty its slot.
        schedule.note(Change::Policies(PolicyId(1)));
        assert!(!schedule.is_early(None));
    }

    #[test]
    fn a_nap_is_neither_too_short_nor_too_long() {
        let at = |nanos: u64| Some(BootTime(nanos));
        let now = BootTime(1_000_000_000);
        assert_eq!(nap(None, now), LONGEST_NAP);
        assert_eq!(nap(at(0), now), SHORTEST_NAP);
        assert_eq!(nap(at(1_500_000_000), now), Duration::from_millis(500));
        assert_eq!(nap(at(u64::MAX), now), LONGEST_NAP);
    }
}
