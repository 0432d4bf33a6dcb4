//! guardd's tick, which does all that is due by time alone, in a fixed order. Each step is in the folder that it is about: `holes`,
//! `sessions`, `proxy`, `holds`, `workers`, `fleet`, `requests`, `policies`, `record`, `signed_answers`,
//! `resolver`, `flows`.

use std::time::Duration;

use guard_common::BootTime;
use guard_sys::clock;

use crate::{proxy::worker::ProxyWorker, resolver::worker::ResolverWorker, state::State};

/// The longest sleep between two ticks, so that a resumed machine is not late for long.
const LONGEST_NAP: Duration = Duration::from_secs(5);
const SHORTEST_NAP: Duration = Duration::from_millis(5);

impl State {
    /// Does all that is due now, whatever folder it belongs to. Returns the time after which something is due again.
    pub(crate) fn tick(&mut self) -> Duration {
        let now = clock::now();
        self.end_holes(now);
        self.end_spent_holes(None);
        self.end_sessions(now);
        self.settle_held_clients();
        self.tell_scanned();
        self.renew_holds();
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
        self.tidy_signed_questions();
        self.write_refused_answers();
        self.tell_more_names();
        self.policies.keep_names(false);
        self.follow_flows(now);
        self.nap(now)
    }

    fn nap(&self, now: BootTime) -> Duration {
        let expiry = self.holes.next_expiry().into_iter();
        let expiry = expiry.chain(self.proxy.next_expiry());
        let expiry = expiry.chain(self.holds.next_review()).min();
        let until = expiry.map(|at| Duration::from_nanos(at.0.saturating_sub(now.0)));
        until
            .unwrap_or(LONGEST_NAP)
            .clamp(SHORTEST_NAP, LONGEST_NAP)
    }
}
