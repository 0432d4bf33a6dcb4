//! Whether a resolver is needed, and the messages that are due.

use std::{collections::HashSet, rc::Rc, time::Duration};

use guard_common::{NameId, Verdict};
use guard_policy::{Compiled, DnsNames, Pattern as PolicyPattern, Policy};
use guard_proto::names::{Names, Pattern};
use guard_sys::packets::Packets;
use tokio::sync::Notify;

use super::{Outgoing, Terms, Told, Whose, link::converse};
use crate::{
    policies::InForce,
    shared::Shared,
    state::State,
    workers::{Worker, program::Program},
};

/// The timeout for a new session to wait for the resolver.
const PATIENCE: Duration = Duration::from_secs(3);
/// Interval of checks whether it is there.
const GLANCE: Duration = Duration::from_millis(5);

/// guard-resolver.
#[derive(Debug)]
pub struct ResolverWorker;

impl Worker for ResolverWorker {
    const NAME: &'static str = "guard-resolver";
    const GONE: &'static str =
        "the resolver is gone, and sessions whose policies speak of names resolve none";

    fn is_needed(state: &State) -> bool {
        state.needs_resolver()
    }

    fn stirs(state: &State) -> Rc<Notify> {
        state.resolver.stirs()
    }

    fn user(_: &State) -> Option<String> {
        None
    }

    fn down(state: &mut State, problem: Option<String>) {
        let (kernel, requests) = (&mut state.datapath, &mut state.requests);
        state.resolver.down(kernel, requests, problem);
    }

    async fn converse(shared: &Shared, packets: &Packets) -> anyhow::Result<()> {
        converse(shared, packets).await
    }
}

/// Whether a resolver could run on this machine: where none can, names are looked up by guardd alone, as policies are compiled.
#[must_use]
pub fn can_run() -> bool {
    Program::find(ResolverWorker::NAME).is_ok()
}

/// Waits a while for the resolver to know of a new session, if its policies speak of names. Returns why it does not.
pub async fn ready(shared: &Shared) -> Option<String> {
    let is_there = async {
        while shared.with(|state| state.needs_resolver() && !state.resolver.is_ready()) {
            tokio::time::sleep(GLANCE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, is_there).await {
        Ok(()) => None,
        Err(_) => shared.with(|state| state.resolver_warning()),
    }
}

impl State {
    /// Whether anything in force needs a resolver.
    #[must_use]
    pub fn needs_resolver(&self) -> bool {
        let mut policies = self.policies.iter();
        policies.any(|(_, policy)| policy.speaks_of_names())
    }

    /// That names are not resolved, where they should be.
    #[must_use]
    pub fn resolver_warning(&self) -> Option<String> {
        if self.resolver.is_up || !self.needs_resolver() {
            return None;
        }
        let why = self.resolver.problem.as_deref();
        let why = why.unwrap_or("it has not started yet");
        Some(format!(
            "the resolver does not run, so sessions whose policies speak of names resolve none: {why}"
        ))
    }

    /// The messages that are due, in order.
    pub fn unsaid_to_resolver(&mut self) -> Vec<Outgoing> {
        if std::mem::take(&mut self.resolver.is_stale) && self.resolver.is_up {
            let now = self.what_resolver_needs();
            self.resolver.tell(now);
            if std::mem::take(&mut self.resolver.needs_survey) {
                self.survey_for_questions();
            }
        }
        self.resolver.unsaid.drain(..).collect()
    }

    fn what_resolver_needs(&self) -> Told {
        let sessions = self.sessions.all_live();
        let sessions: Vec<_> = sessions
            .filter(|session| self.policies.speaks_of_names(&session.chain))
            .collect();
        // All of each chain: a session of which one policy is not known gets no answer.
        let chained: HashSet<_> = sessions.iter().flat_map(|one| &one.chain).collect();
        let policies = self.policies.iter();
        let policies =
            policies.filter(|(slot, policy)| policy.speaks_of_names() || chained.contains(slot));
        let policies = policies.map(|(slot, policy)| (slot.0, terms(policy)));
        let sessions = sessions.into_iter().map(|session| {
            let whose = Whose {
                account: session.outermost().0,
                policies: session.chain.iter().map(|slot| slot.0).collect(),
                opened: self.holes.opened_names(session.cgroup.id),
            };
            (session.cgroup.id.0, whose)
        });
        Told {
            policies: policies.collect(),
            sessions: sessions.collect(),
            servers: self.policies.teachers(),
            search: self.policies.search_list(),
        }
    }

    /// A resolver is connected: it is told where to listen, and what it judges by.
    ///
    /// # Errors
    ///
    /// The kernel's; then there is no resolver.
    pub fn resolver_up(&mut self) -> anyhow::Result<()> {
        self.resolver.is_up = true;
        self.resolver.problem = None;
        // Before it hears a question.
        let now = self.what_resolver_needs();
        self.resolver.tell(now);
        self.resolver.serve_own_network(&mut self.datapath)?;
        self.survey_for_questions();
        Ok(())
    }
}

/// What a policy says of names.
fn terms(policy: &InForce) -> Terms {
    let names = match policy.policy.names_asked() {
        DnsNames::Any => Names::Any,
        DnsNames::Ask => Names::Ask,
        DnsNames::Rules => Names::Rules,
    };
    Terms {
        names,
        patterns: patterns(&policy.policy, &policy.compiled),
        silent: policy.policy.dns_search_silent,
        without_ech: policy.policy.looks_at_sni(),
    }
}

fn patterns(policy: &Policy, compiled: &Compiled) -> Vec<Pattern> {
    let targets = policy.rules.iter().flat_map(|rule| &rule.to);
    let mut patterns: Vec<_> = targets.filter_map(PolicyPattern::of).collect();
    patterns.sort_unstable();
    patterns.dedup();
    let patterns = patterns.into_iter().map(|pattern| Pattern {
        denied: is_denied(compiled, pattern.id()),
        pattern: pattern.to_string(),
    });
    patterns.collect()
}

/// Whether a rule denies a pattern on all ports, so that nobody needs its addresses.
fn is_denied(compiled: &Compiled, id: NameId) -> bool {
    compiled.value_of(id).is_some_and(|value| {
        value.verdict == Verdict::Deny
            && value.rule != guard_common::DEFAULT_RULE
            && value.list.is_none()
    })
}
