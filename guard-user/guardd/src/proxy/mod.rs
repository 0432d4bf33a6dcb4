//! guardd's side of the proxy.
//!
//! `workers` has one run and listen in network namespaces while something in force needs it (`worker.rs`). Its messages
//! (`messages.rs`) go to `terms.rs` (how a target is judged), `paces.rs` (how fast names and targets are judged), `requests.rs` (whether a request may pass) and the audit log. A request that may not is held in `held.rs`, or refused. A
//! person's yes to it (`approve.rs`) is a hole for it (`holes/requests.rs`), and `record_pass.rs` records each use. `stopped.rs` tells
//! those inside what was stopped.
//!
//! Without a proxy, the kernel half refuses connections to read-only destinations.

pub(crate) mod approve;
pub(crate) mod authority;
pub(crate) mod closings;
pub(crate) mod held;
mod messages;
mod paces;
pub(crate) mod record_pass;
pub(crate) mod requests;
pub(crate) mod stopped;
pub(crate) mod terms;
pub(crate) mod worker;

use std::{os::fd::OwnedFd, path::PathBuf, time::Duration};

use guard_common::{BootTime, SessionId};
use guard_datapath::Datapath;
use guard_proto::wire::ToProxy;

use crate::{
    config::Config,
    control::ids,
    holes::known::Holes,
    policies::{InForce, Policies},
    requests::Requests,
    sessions::{Session, Sessions, stops::Stop},
    times::is_past,
    workers::link::WorkerLink,
};
use authority::Vouching;
use closings::{Closing, Closings};
use held::HeldClients;
use paces::Paces;

/// The interval between two scans of all processes of sessions.
const SURVEYS: Duration = Duration::from_secs(5);

/// Owns what guardd knows about its proxy.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    link: WorkerLink<ToProxy>,
    /// When the processes of all sessions were last scanned for their network namespaces.
    surveyed: BootTime,
    /// Requests whose clients are held.
    held: HeldClients,
    /// What was closed without asking anybody.
    closings: Closings,
    /// How many names, targets and requests of each account were judged lately.
    paces: Paces,
    /// Sessions that wait for a certificate to trust.
    vouching: Vouching,
    /// The file for the key of the certificate authority. Only the proxy reads it.
    key: PathBuf,
}

impl Proxy {
    /// No proxy yet; `key` is the file of its certificate authority's key.
    #[must_use]
    pub(crate) fn new(key: PathBuf) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    /// Has the proxy renew its cached terms: policies, sessions or holes have changed.
    pub(crate) fn renew(&mut self) {
        self.link.renew();
    }

    pub(crate) fn say(&mut self, message: ToProxy) {
        self.link.say(message, Vec::new());
    }

    /// The proxy's first descriptors: the map in which the kernel half notes original destinations, and the files of the
    /// certificate authority.
    ///
    /// # Errors
    ///
    /// The kernel's; then there is no proxy.
    pub(crate) fn files(&self, kernel: &Datapath, config: &Config) -> anyhow::Result<Vec<OwnedFd>> {
        let mut files = vec![kernel.origins()?];
        files.extend(self.authority_files(config)?);
        Ok(files)
    }

    /// Notes that no proxy runs any more: no client is held.
    fn gone(&mut self, requests: &mut Requests) {
        self.vouching.clear();
        for id in self.held.take_all() {
            requests.show_held_until(&id, None);
        }
    }

    /// What was closed of a session without asking anybody, the latest first.
    pub(crate) fn closings(&self, session: SessionId) -> impl Iterator<Item = &Stop<Closing>> {
        self.closings.of(session)
    }

    /// Forgets what was closed of a session that has ended.
    pub(crate) fn forget_closings(&mut self, session: SessionId) {
        self.closings.forget(session);
    }

    /// Returns the deadline of the next client that is held.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.held.next_expiry()
    }

    /// Whether a proxy runs, and is connected.
    #[must_use]
    pub(crate) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Whether the processes of all sessions are due to be scanned. If so, that counts as done.
    pub(crate) fn takes_survey(&mut self, now: BootTime) -> bool {
        let is_due = is_past(self.surveyed, SURVEYS, now);
        if is_due {
            self.surveyed = now;
        }
        is_due
    }
}

/// Whether connections under a policy go to the proxy: to read-only destinations, or since it looks at TLS.
#[must_use]
pub(super) fn is_proxied(policies: &Policies, policy: &InForce) -> bool {
    policy.is_read_only() || (policies.is_sni_for_proxy() && policy.policy.looks_at_sni())
}

/// Whether anything in force needs a proxy.
#[must_use]
fn is_needed(holes: &Holes, policies: &Policies) -> bool {
    let mut all = policies.iter();
    holes.any_for_reads(None) || all.any(|(_, policy)| is_proxied(policies, policy))
}

/// Whether connections of the session with that id, as people write it, go to the proxy.
#[must_use]
fn serves_session(holes: &Holes, policies: &Policies, sessions: &Sessions, id: &str) -> bool {
    let live = ids::parse_session(id).ok();
    let live = live.and_then(|id| sessions.live(id));
    live.is_some_and(|session| reads_only(holes, policies, session))
}

/// The same of a session, by its policies or by a hole.
#[must_use]
pub(super) fn reads_only(holes: &Holes, policies: &Policies, session: &Session) -> bool {
    let mut policies_of = session.chain.iter().filter_map(|slot| policies.get(*slot));
    holes.any_for_reads(Some(session.cgroup.id))
        || policies_of.any(|policy| is_proxied(policies, policy))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use guard_common::{Address, Protocol};
    use guard_proto::wire::{Number, Tgid, TransactionState};
    use jiff::Timestamp;

    use super::*;
    use crate::{
        proxy::{held::HeldClient, record_pass::target},
        quota::Account,
        requests::{RequestKey, tests::shown},
    };

    const SESSION: SessionId = SessionId(1);

    #[test]
    fn a_change_is_told_once() {
        let mut proxy = Proxy::default();
        proxy.link.up();
        assert!(proxy.is_up() && !proxy.link.takes_change());
        proxy.renew();
        assert!(!proxy.link.is_told());
        assert!(proxy.link.takes_change() && !proxy.link.takes_change());
    }

    #[test]
    fn nobody_is_held_without_it() {
        let mut requests = Requests::without_files(10);
        let key = RequestKey::new(SESSION, Address::default(), Protocol::TCP, 443);
        let asked = || Ok::<_, Infallible>(shown(1));
        let owner = Account::inside(1000, SESSION);
        requests
            .note(key.clone(), owner, BootTime(1), asked)
            .unwrap();
        requests.show_held_until("r1", Some(Timestamp::UNIX_EPOCH));
        let mut proxy = Proxy::default();
        proxy.held.add(
            Number(3),
            HeldClient {
                tgid: Tgid(0),
                target: target(&key),
                key,
                account: Account::inside(1000, SESSION),
                transaction: TransactionState::Able,
                request: "r1".to_owned(),
                until: BootTime(9),
            },
        );
        assert!(requests.get("r1").unwrap().shown.held);
        assert_eq!(proxy.next_expiry(), Some(BootTime(9)));
        proxy.gone(&mut requests);
        assert!(!requests.get("r1").unwrap().shown.held);
        assert_eq!(proxy.next_expiry(), None);
    }

    #[test]
    fn a_survey_counts_as_done_until_the_next_is_due() {
        let mut proxy = Proxy::default();
        let interval = SURVEYS.as_nanos() as u64;
        for (now, is_due) in [
            (interval, true),
            (interval + 1, false),
            (2 * interval - 1, false),
            (2 * interval, true),
            (2 * interval, false),
        ] {
            assert_eq!(proxy.takes_survey(BootTime(now)), is_due, "{now}");
        }
    }

    #[test]
    fn what_was_closed_is_known_of_its_own_session_until_that_ends() {
        let mut proxy = Proxy::default();
        let closing = Closing {
            to: Address::default(),
            port: 443,
            why: "it is no HTTP".to_owned(),
        };
        for session in [SESSION, SessionId(2)] {
            proxy
                .closings
                .note(session, closing.clone(), (), BootTime(1));
        }
        assert_eq!(proxy.closings(SESSION).next().unwrap().what, closing);
        proxy.forget_closings(SESSION);
        assert_eq!(proxy.closings(SESSION).count(), 0);
        assert_eq!(proxy.closings(SessionId(2)).count(), 1);
    }
}
