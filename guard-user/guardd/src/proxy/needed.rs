//! Whether a proxy is needed, and the messages that are due.

use std::{mem, rc::Rc, time::Duration};

use guard_proto::wire::ToProxy;
use guard_sys::packets::Packets;
use tokio::sync::Notify;

use super::{Outgoing, is_proxied, link::converse, reads_only};
use crate::{control::ids, shared::Shared, state::State, workers::Worker};

/// The timeout for a new session to wait for its proxy.
const PATIENCE: Duration = Duration::from_secs(3);
/// Interval of checks whether it is there.
const GLANCE: Duration = Duration::from_millis(10);

/// guard-proxy.
#[derive(Debug)]
pub struct ProxyWorker;

impl Worker for ProxyWorker {
    const NAME: &'static str = "guard-proxy";
    const GONE: &'static str = "the proxy is gone, and read-only destinations are closed";

    fn is_needed(state: &State) -> bool {
        state.needs_proxy()
    }

    fn stirs(state: &State) -> Rc<Notify> {
        state.proxy.stirs()
    }

    fn user(state: &State) -> Option<String> {
        state.config.proxy.user.clone()
    }

    fn down(state: &mut State, problem: Option<String>) {
        let (kernel, requests) = (&mut state.datapath, &mut state.requests);
        state.proxy.down(kernel, requests, problem);
    }

    async fn converse(shared: &Shared, packets: &Packets) -> anyhow::Result<()> {
        converse(shared, packets).await
    }
}

/// Waits a while for the proxy, if a new policy needs one. Returns why there is none.
pub async fn ready(shared: &Shared) -> Option<String> {
    let is_there = async {
        while shared.with(|state| state.proxy_warning()).is_some() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, is_there).await {
        Ok(()) => None,
        Err(_) => shared.with(|state| state.proxy_warning()),
    }
}

impl State {
    /// Whether anything in force needs a proxy.
    #[must_use]
    pub fn needs_proxy(&self) -> bool {
        let mut policies = self.policies.iter();
        self.holes.any_for_reads(None)
            || policies.any(|(_, policy)| is_proxied(&self.policies, policy))
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
