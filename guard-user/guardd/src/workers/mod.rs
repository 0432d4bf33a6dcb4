//! The programs that parse what sessions and the network send, as users without rights: guard-proxy and guard-resolver.
//!
//! `life.rs` has each run while something in force needs it, as a child (`process.rs`, `program.rs`) or from a service manager
//! (`socket.rs`). `converse.rs` exchanges messages with it, and `link.rs` is what guardd knows of it. `serving.rs`, `networks.rs`
//! and `sockets.rs` have it listen in network namespaces. What is said to each is in `proxy` and `resolver`.

mod converse;
pub(crate) mod life;
pub(crate) mod link;
pub(crate) mod networks;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod serving;
pub(crate) mod socket;
pub(crate) mod sockets;

use std::time::Duration;

use anyhow::Result;
use serde::{Serialize, de::DeserializeOwned};

use crate::{shared::Shared, state::State};
use link::Outgoing;
use serving::Serves;

/// The timeout for a new session to wait for a worker.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of checks whether it is there.
const GLANCE: Duration = Duration::from_millis(5);

/// One of them.
pub(crate) trait Worker: Serves<Message: Serialize> {
    /// Its messages.
    type Said: DeserializeOwned;

    /// The name of its program, of its unit, and of its user on a machine where guard was installed.
    const NAME: &'static str;
    /// Says that it runs.
    const RUNS: &'static str;
    /// Says that it is gone, and the consequence.
    const GONE: &'static str;
    /// Says that none runs although one is needed, and the consequence.
    const MISSING: &'static str;

    /// Whether anything in force needs it.
    fn is_needed(state: &State) -> bool;
    /// The user to run it as, if the settings say so.
    fn user(_: &State) -> Option<String> {
        None
    }
    /// Whether a new session can begin that needs it.
    fn is_ready(state: &State) -> bool {
        Self::link(state).is_up()
    }

    /// The first message to it.
    ///
    /// # Errors
    ///
    /// If a descriptor that goes with it cannot be had; then there is no worker.
    fn hello(state: &State) -> Result<Outgoing<Self::Message>>;
    /// The version in its first message.
    fn version(said: &Self::Said) -> Option<&str>;
    /// A message as bytes, no more than a packet has room for.
    ///
    /// # Errors
    ///
    /// If it cannot be written as JSON.
    fn encode(message: &Self::Message) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(message)
    }
    /// Sends the worker what it needs before it listens.
    fn begin(_: &mut State) {}
    /// Sends the worker what has changed of policies, sessions or holes.
    fn refresh(state: &mut State);
    /// Handles a message.
    fn hear(shared: &Shared, said: Self::Said);
    /// Releases what is held for a worker that runs no more.
    fn gone(state: &mut State);
}

/// Waits a while for a worker, if a new session needs one. Returns why there is none.
pub(crate) async fn ready<W: Worker>(shared: &Shared) -> Option<String> {
    let is_there = async {
        while shared.with(|state| W::is_needed(state) && !W::is_ready(state)) {
            tokio::time::sleep(GLANCE).await;
        }
    };
    match tokio::time::timeout(TIMEOUT, is_there).await {
        Ok(()) => None,
        Err(_) => shared.with(|state| state.worker_warning::<W>()),
    }
}

impl State {
    /// That no worker runs, if one is needed.
    pub(crate) fn worker_warning<W: Worker>(&self) -> Option<String> {
        let link = W::link(self);
        let is_missing = !link.is_up() && W::is_needed(self);
        is_missing.then(|| format!("{}: {}", W::MISSING, link.problem()))
    }

    /// Records that no worker runs any more, and why: what was redirected to it is refused.
    pub(crate) fn worker_down<W: Worker>(&mut self, problem: Option<String>) {
        for network in W::link_mut(self).down(problem) {
            W::close(&mut self.datapath, network);
        }
        W::gone(self);
    }
}
