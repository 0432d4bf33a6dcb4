//! What holds for a connection that the proxy has taken.

use std::time::Duration;

use guard_common::{Address, PolicyId, Protocol, SessionId, Verdict};

use crate::{
    daemon::{policies::Policies, requests::Question, state::State},
    policy::{Met, PortSpec, Prefix},
    proxy::{
        judge::Rules,
        wire::{Target, Terms},
    },
};

/// What a chain of policies says of a target, holes left aside.
#[derive(Debug)]
pub enum Standing {
    /// Nothing passes.
    Closed,
    /// Requests are judged by these rules, and a client may wait that long for a person.
    Judged {
        /// The rules that decide, one for each policy that says `read-only`.
        rules: Vec<Rules>,
        /// The least patient policy's.
        hold: Duration,
    },
    /// All passes.
    Open,
}

/// What a chain of policies says of a TCP connection. Every policy must let it.
#[must_use]
pub fn standing(policies: &Policies, chain: &[PolicyId], to: Address, port: u16) -> Standing {
    let ports = [PortSpec::one(Protocol::TCP, port)];
    let (mut rules, mut hold) = (Vec::new(), Duration::MAX);
    for slot in chain {
        let Some(policy) = policies.get(*slot) else {
            return Standing::Closed;
        };
        let coverage = policy.over(&Prefix::host(to), &ports);
        match coverage.met.first() {
            Some(Met {
                verdict: Verdict::Allow,
                ..
            }) => {}
            Some(Met {
                verdict: Verdict::ReadOnly,
                rule: Some(rule),
            }) => {
                rules.push(Rules::of(rule));
                hold = hold.min(policy.policy.hold);
            }
            _ => return Standing::Closed,
        }
    }
    match (chain.is_empty(), rules.is_empty()) {
        (true, _) => Standing::Closed,
        (false, true) => Standing::Open,
        (false, false) => Standing::Judged { rules, hold },
    }
}

impl State {
    /// What holds for a target now; `None` where nothing passes there.
    #[must_use]
    pub fn proxy_terms(&self, target: &Target) -> Option<Terms> {
        let to = Address::from(target.address);
        let session = self.sessions.live(SessionId(target.session))?;
        let rules = match standing(&self.policies, &session.chain, to, target.port) {
            Standing::Closed if self.is_open_wide(target) => Vec::new(),
            Standing::Closed => return None,
            Standing::Judged { .. } if self.is_open_wide(target) => Vec::new(),
            Standing::Judged { rules, .. } => rules,
            Standing::Open => Vec::new(),
        };
        let host = self.host_of_target(target);
        Some(Terms { rules, host })
    }

    /// Whether a hole of the kernel's lets all connections there pass, any number of them: those that are counted are
    /// the kernel's to count. What a policy denies no hole covers.
    pub(super) fn is_open_wide(&self, target: &Target) -> bool {
        let (session, to) = (SessionId(target.session), Address::from(target.address));
        let judged = self.sessions.live(session).and_then(|live| {
            let (chain, port) = (&live.chain, target.port);
            self.policies.judge(chain, to, Protocol::TCP, port)
        });
        let is_stopped =
            judged.is_some_and(|j| matches!(j.verdict, Verdict::Confirm | Verdict::ReadOnly));
        let holes = || self.datapath.holes().unwrap_or_default();
        is_stopped
            && holes().iter().any(|hole| {
                let is_free = hole.session == session && hole.connections_left.is_none();
                is_free && hole.entry.covers(&to, Protocol::TCP, target.port)
            })
    }

    /// A name in the deciding rule that stands for the address.
    fn host_of_target(&self, target: &Target) -> Option<String> {
        let session = self.sessions.live(SessionId(target.session))?;
        let question = Question {
            session: session.cgroup.id,
            destination: target.address.into(),
            protocol: Protocol::TCP,
            port: target.port,
            http: None,
        };
        let (to, port) = (question.destination, target.port);
        let judged = self
            .policies
            .judge(&session.chain, to, Protocol::TCP, port)?;
        self.host_of(&question, &judged)
    }
}
