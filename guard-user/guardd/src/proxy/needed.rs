//! Whether a proxy is needed, and the messages that are due.

use std::mem;

use guard_proto::wire::ToProxy;

use super::{Outgoing, is_read_only, reads_only};
use crate::{control::ids, state::State};

impl State {
    /// Whether anything in force needs a proxy.
    #[must_use]
    pub fn needs_proxy(&self) -> bool {
        let mut policies = self.policies.iter();
        self.holes.any_for_reads(None) || policies.any(|(_, policy)| is_read_only(policy))
    }

    /// Whether the session with that id has read-only destinations.
    #[must_use]
    pub fn is_read_only(&self, session: &str) -> bool {
        let live = ids::parse_session(session).ok();
        let live = live.and_then(|id| self.sessions.live(id));
        live.is_some_and(|session| reads_only(&self.holes, &self.policies, session))
    }

    /// The warning that read-only destinations are closed, if they should not be.
    #[must_use]
    pub fn proxy_warning(&self) -> Option<String> {
        if self.proxy.is_up || !self.needs_proxy() {
            return None;
        }
        let why = self.proxy.problem.as_deref();
        let why = why.unwrap_or("it has not started yet");
        Some(format!(
            "the proxy does not run, so read-only destinations are closed: {why}"
        ))
    }

    /// The messages that are due, in order. The kernel and held clients come first if something has changed.
    pub fn unsaid(&mut self) -> Vec<Outgoing> {
        if mem::take(&mut self.proxy.is_stale) {
            self.settle_waiters();
            self.proxy.say(ToProxy::Renew, Vec::new());
        }
        self.proxy.unsaid.drain(..).collect()
    }

    /// A proxy is connected from now on: it gets its listeners.
    ///
    /// # Errors
    ///
    /// The kernel's; then there is no proxy.
    pub fn proxy_up(&mut self) -> anyhow::Result<()> {
        self.proxy.is_up = true;
        self.proxy.problem = None;
        self.proxy.serve_own_network(&mut self.datapath)?;
        self.survey_networks();
        Ok(())
    }
}
