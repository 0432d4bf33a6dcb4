//! Applies a [`Change`]: the follow-ups, in their order.

use super::Change;
use crate::state::State;

impl State {
    /// Does what follows from a change. The only place that does.
    pub(crate) fn apply(&mut self, change: Change) {
        self.schedule.note(change);
        match change {
            Change::Requests => {
                self.requests.keep();
                self.signed_answers.tidy(&self.requests);
            }
            Change::Answers => {
                self.requests.keep();
                self.signed_answers.tidy(&self.requests);
                self.settle_held_clients();
                self.settle_held_questions();
                self.review_held();
            }
            Change::Holes => {
                self.proxy.renew();
                self.resolver.renew_names();
            }
            Change::Sessions => {
                self.resolver.renew();
            }
            Change::SessionsGone => {
                let sessions = &self.sessions;
                let is_there = |id| sessions.get(id).is_some();
                self.policies.keep_names_of(&mut self.datapath, is_there);
                self.resolver.renew_names();
            }
            Change::Slots => {
                self.proxy.renew();
                self.resolver.renew();
            }
            Change::Policies(slot) => {
                self.holes.try_left_out();
                let sessions = self.sessions.judged_under(slot);
                self.policies
                    .rewrite_names(&mut self.datapath, &sessions, slot);
                self.resolver.renew();
                let (sessions, policies) = (&self.sessions, &self.policies);
                (self.requests).settle(sessions, policies, &mut self.recorder);
                self.review_names_shown();
                self.proxy.renew();
                self.settle_held_questions();
                self.requests.keep();
            }
            Change::Chains => {
                self.holes.try_left_out();
            }
            Change::NameServers => self.resolver.renew_names(),
            // The kernel and held clients come before the proxy.
            Change::Terms => self.settle_held_clients(),
            Change::Approvers => {
                let (policies, requests) = (&self.policies, &self.requests);
                (self.holds).renew(&mut self.datapath, &self.sessions, policies, requests);
            }
            // The tick behind it tries again what could not be written down or put in force: once for each offer.
            Change::Bundle => {}
        }
    }
}
