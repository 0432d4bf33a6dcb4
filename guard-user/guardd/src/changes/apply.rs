//! Applies a [`Change`]: the follow-ups, in their order.

use super::Change;
use crate::state::State;

impl State {
    /// Does what follows from a change. The only place that does.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Requests => self.requests.keep(),
            Change::Answers => {
                self.requests.keep();
                self.settle_waiters();
                self.look_at_held();
            }
            Change::Holes | Change::Slots => self.proxy.renew(),
            Change::Policies => {
                self.requests.settle(&self.sessions, &self.policies);
                self.relays.look_anew(&mut self.datapath);
                self.proxy.renew();
                self.requests.keep();
            }
            Change::Chains => self.relays.look_anew(&mut self.datapath),
            Change::Listeners => self.look_at_held(),
            Change::Approvers => self.renew_patience(),
        }
    }
}
