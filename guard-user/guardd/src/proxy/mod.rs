//! guardd's side of the proxy.
//!
//! `workers` has one run while something in force needs it (`needed.rs`). `link.rs` is the connection to it: its messages go to `terms.rs` (how a target is judged),
//! `requests.rs` (whether a request may pass) and the audit log. A request that may not is held in `held.rs`, or refused. A
//! person's yes to it (`approve.rs`) is a hole for it (`holes/requests.rs`), and `record_pass.rs` records each use. `serving.rs` and
//! `networks.rs` have it listen in network namespaces; `kernel.rs` has the kernel half redirect there.
//!
//! Without a proxy, the kernel half refuses connections to read-only destinations.

pub mod approve;
pub mod authority;
pub mod closings;
pub mod held;
pub mod kernel;
pub mod link;
pub mod needed;
pub mod networks;
pub mod record_pass;
pub mod requests;
pub mod serving;
pub mod terms;

use std::{collections::VecDeque, os::fd::OwnedFd, path::PathBuf, rc::Rc};

use guard_common::{BootTime, SessionId, Verdict};
use guard_datapath::Datapath;
use guard_proto::wire::ToProxy;
use tokio::sync::Notify;

use crate::{
    config::Config,
    holes::known::Holes,
    policies::{InForce, Policies},
    record::meters::Meters,
    requests::Requests,
    sessions::Session,
};
use authority::Vouching;
use held::Waiters;
use kernel::close_read_only;
use networks::Networks;

/// A message on its way to the proxy.
#[derive(Debug)]
pub struct Outgoing {
    /// The message.
    pub message: ToProxy,
    /// The descriptors that go with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Owns what guardd knows about its proxy.
#[derive(Debug, Default)]
pub struct Proxy {
    /// Whether a proxy runs and is connected.
    is_up: bool,
    /// Why none runs, if that is known.
    problem: Option<String>,
    /// Messages that are not sent yet.
    unsaid: VecDeque<Outgoing>,
    /// Its cached terms may be wrong, and it must be told to renew them.
    is_stale: bool,
    /// Wakes the task of the connection: there is a message, or the need for a proxy has changed.
    stir: Rc<Notify>,
    networks: Networks,
    /// When the processes of all sessions were last scanned for their network namespaces.
    surveyed: BootTime,
    /// Requests whose clients are held.
    waiters: Waiters,
    /// What was closed without asking anybody.
    pub(crate) closings: closings::Closings,
    /// How many requests each session has made lately: no approver reads those of a flood.
    pace: Meters,
    /// Sessions that wait for a certificate to trust.
    vouching: Vouching,
    /// The file for the key of the certificate authority. Only the proxy reads it.
    key: PathBuf,
}

impl Proxy {
    /// No proxy yet; `key` is the file of its certificate authority's key.
    #[must_use]
    pub fn new(key: PathBuf) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    /// Wakes when there is a message, or the need for a proxy has changed.
    #[must_use]
    pub fn stirs(&self) -> Rc<Notify> {
        Rc::clone(&self.stir)
    }

    /// Queues a message for the proxy, if one runs.
    fn say(&mut self, message: ToProxy, descriptors: Vec<OwnedFd>) {
        if self.is_up {
            self.unsaid.push_back(Outgoing {
                message,
                descriptors,
            });
            self.stir.notify_one();
        }
    }

    /// Has the proxy renew its cached terms: policies, sessions or holes have changed.
    pub fn renew(&mut self) {
        self.is_stale = true;
        self.stir.notify_one();
    }

    /// The proxy's first descriptors: the map in which the kernel half notes original destinations, and the files of the
    /// certificate authority.
    ///
    /// # Errors
    ///
    /// The kernel's; then there is no proxy.
    pub fn files(&self, kernel: &Datapath, config: &Config) -> anyhow::Result<Vec<OwnedFd>> {
        let mut files = vec![kernel.origins()?];
        files.extend(self.authority_files(config)?);
        Ok(files)
    }

    /// Notes that no proxy runs any more: read-only destinations are closed, and no client is held.
    pub fn down(
        &mut self,
        kernel: &mut Datapath,
        requests: &mut Requests,
        problem: Option<String>,
    ) {
        self.is_up = false;
        self.unsaid.clear();
        self.vouching.clear();
        self.problem = problem;
        for cookie in self.networks.take_all() {
            close_read_only(kernel, cookie);
        }
        for id in self.waiters.take_all() {
            requests.hold(&id, None);
        }
    }

    /// Removes the count of a session's requests.
    pub fn forget_pace(&mut self, session: SessionId, outermost: SessionId, is_shared: bool) {
        self.pace.forget(session, outermost, is_shared);
    }

    /// When the next held client's time is up.
    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.waiters.next_expiry()
    }

    /// Whether a proxy runs, and is connected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up
    }
}

/// Whether a policy makes some destination read-only.
#[must_use]
pub fn is_read_only(policy: &InForce) -> bool {
    let policy = &policy.policy;
    let mut actions = policy.rules.iter().map(|rule| rule.action);
    policy.default == Verdict::ReadOnly || actions.any(|action| action == Verdict::ReadOnly)
}

/// Whether connections under a policy go to the proxy: to read-only destinations, or since it looks at TLS.
#[must_use]
pub(super) fn is_proxied(policies: &Policies, policy: &InForce) -> bool {
    is_read_only(policy) || (policies.is_sni_for_proxy() && policy.policy.looks_at_sni())
}

/// Whether connections of a session go to the proxy, by its policies or by a hole.
#[must_use]
pub(super) fn reads_only(holes: &Holes, policies: &Policies, session: &Session) -> bool {
    let mut policies_of = session.chain.iter().filter_map(|slot| policies.get(*slot));
    holes.any_for_reads(Some(session.cgroup.id))
        || policies_of.any(|policy| is_proxied(policies, policy))
}
