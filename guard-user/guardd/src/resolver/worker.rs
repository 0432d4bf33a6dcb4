//! What guardd's resolver is among its workers: whether it is needed, what it listens with, and what it is to know.

use std::{collections::HashSet, fs::File, mem, os::fd::AsFd as _};

use anyhow::Result;
use guard_common::{NetnsCookie, PolicyId};
use guard_datapath::{Datapath, DatapathError};
use guard_policy::{Compiled, DnsNames, NamePattern as PolicyPattern, Policy};
use guard_proto::names::{FromResolver, Names, NetworkId, Pattern, ToResolver, VERSION};
use guard_sys::netns;
use rustix::net::{AddressFamily, SocketType};

use super::{NameTerms, Resolver, ResolverKnows, Whose};
use crate::{
    changes::Change,
    policies::Policies,
    sessions::Session,
    shared::Shared,
    state::State,
    workers::{
        self, Worker,
        link::{Outgoing, WorkerLink},
        networks::Network,
        program::Program,
        serving::Serves,
        sockets::{WorkerListeners, max_pool, pool},
    },
};

/// The kinds of its sockets.
const KINDS: [(AddressFamily, SocketType); 4] = [
    (AddressFamily::INET, SocketType::DGRAM),
    (AddressFamily::INET6, SocketType::DGRAM),
    (AddressFamily::INET, SocketType::STREAM),
    (AddressFamily::INET6, SocketType::STREAM),
];
const MAX_POOL: usize = max_pool(KINDS.len());

/// guard-resolver.
#[derive(Debug)]
pub(crate) struct ResolverWorker;

impl Serves for ResolverWorker {
    type Message = ToResolver;

    const LISTENS: &'static [SocketType] = &[SocketType::DGRAM, SocketType::STREAM];

    fn link(state: &State) -> &WorkerLink<ToResolver> {
        &state.resolver.link
    }

    fn link_mut(state: &mut State) -> &mut WorkerLink<ToResolver> {
        &mut state.resolver.link
    }

    fn serves(state: &State, session: &Session) -> bool {
        state.policies.speaks_of_names(&session.chain)
            || state.resolver.redirected.contains(&session.cgroup.id)
    }

    fn redirect(kernel: &mut Datapath, made: &WorkerListeners) -> Result<(), DatapathError> {
        kernel.set_resolver(made.cookie, made.port, &made.sockets)
    }

    fn close(kernel: &mut Datapath, network: NetnsCookie) {
        if let Err(error) = kernel.clear_resolver(network) {
            tracing::error!(%error, "questions are redirected to a resolver that is not there");
        }
    }

    fn listen(network: &Network, made: &WorkerListeners) -> ToResolver {
        ToResolver::Listen {
            network: network.id,
            cookie: network.cookie.0,
            ipv6: made.sockets.len() > Self::LISTENS.len(),
            is_roots: network.way.as_ref().is_none_or(is_roots),
        }
    }

    fn forget(network: NetworkId) -> ToResolver {
        ToResolver::Forget { network }
    }

    fn stock(state: &mut State, network: NetworkId) {
        let wanted = [MAX_POOL, MAX_POOL, MAX_POOL / 2, MAX_POOL / 2];
        state.resolver.stock(network, wanted);
    }
}

impl Worker for ResolverWorker {
    type Said = FromResolver;

    const NAME: &'static str = "guard-resolver";
    const RUNS: &'static str = "the resolver runs: names in policies hold";
    const GONE: &'static str =
        "the resolver is gone, and sessions whose policies speak of names resolve none";
    const MISSING: &'static str =
        "the resolver does not run, so sessions whose policies speak of names resolve none";

    fn is_needed(state: &State) -> bool {
        state.policies.needs_resolver() || state.has_redirected()
    }

    fn is_ready(state: &State) -> bool {
        state.resolver.link.is_told()
    }

    fn hello(state: &State) -> Result<Outgoing<ToResolver>> {
        let kernel = &state.datapath;
        Ok(Outgoing {
            message: ToResolver::Hello {
                version: VERSION.to_owned(),
                least: state.config.name_least,
            },
            descriptors: vec![
                kernel.origins()?,
                kernel.questions_map()?,
                kernel.named_map()?,
                kernel.drained_map()?,
            ],
        })
    }

    fn version(said: &FromResolver) -> Option<&str> {
        match said {
            FromResolver::Hello { version } => Some(version),
            _ => None,
        }
    }

    fn begin(state: &mut State) {
        state.note_redirected();
        let now = state.what_resolver_needs();
        state.resolver.tell(now);
    }

    fn refresh(state: &mut State) {
        Self::begin(state);
        if mem::take(&mut state.resolver.needs_survey) {
            state.survey_networks::<Self>();
        }
    }

    fn hear(shared: &Shared, said: FromResolver) {
        if shared.with(|state| state.resolver_says(said)) {
            shared.names_moved.notify_one();
        }
    }

    fn gone(state: &mut State) {
        state.resolver.gone(&mut state.requests);
    }
}

/// Whether nobody but root is root of a network: any user can make one in a user namespace, and be every server there.
fn is_roots(network: &File) -> bool {
    netns::is_of_own_user_namespace(network.as_fd()).unwrap_or(false)
}

/// Whether a resolver could run on this machine: where none can, names are looked up by guardd alone, as policies are compiled.
#[must_use]
pub(crate) fn can_run() -> bool {
    Program::find(ResolverWorker::NAME).is_ok()
}

/// Waits a while for the resolver to know of a new session, if its policies speak of names. Returns why it does not.
pub(crate) async fn ready(shared: &Shared) -> Option<String> {
    workers::ready::<ResolverWorker>(shared).await
}

impl State {
    /// Has the resolver told where the machine's name servers, or its search list, are others now: policies need not speak of them.
    pub(crate) fn renew_name_servers(&mut self) {
        let knows = &self.resolver.knows;
        let is_known = knows.servers == self.policies.teachers()
            && knows.search == self.policies.search_list()
            && knows.links == self.policies.servers_on_links();
        if self.resolver.link.is_up() && !is_known {
            self.apply(Change::NameServers);
        }
    }

    /// That names are not resolved, where they should be.
    #[must_use]
    pub(crate) fn resolver_warning(&self) -> Option<String> {
        self.worker_warning::<ResolverWorker>()
    }

    /// Notes the sessions whose questions are redirected: a socket that is connected to the resolver asks it for as long as it is open,
    /// whatever the policies say later.
    fn note_redirected(&mut self) {
        let (sessions, policies) = (&self.sessions, &self.policies);
        let redirected = &mut self.resolver.redirected;
        redirected.retain(|id| sessions.live(*id).is_some());
        let all = sessions.all_live();
        let all = all.filter(|session| policies.speaks_of_names(&session.chain));
        redirected.extend(all.map(|session| session.cgroup.id));
    }

    /// Whether a live session may have such sockets.
    fn has_redirected(&self) -> bool {
        let mut redirected = self.resolver.redirected.iter();
        redirected.any(|id| self.sessions.live(*id).is_some())
    }

    fn what_resolver_needs(&self) -> ResolverKnows {
        let sessions = self.sessions.all_live();
        let sessions = sessions.map(|session| {
            let slots = self.resolver.slots_of(session.outermost(), &session.chain);
            (session, slots)
        });
        // Where none speaks of names any more, each name passes, to the server that was meant.
        let is_served = |(session, slots): &(&Session, Vec<PolicyId>)| {
            let redirected = &self.resolver.redirected;
            self.policies.speaks_of_names(slots) || redirected.contains(&session.cgroup.id)
        };
        let sessions: Vec<_> = sessions.filter(is_served).collect();
        // All of each chain: a session of which one policy is not known gets no answer.
        let chained: HashSet<_> = sessions
            .iter()
            .flat_map(|(_, slots)| slots)
            .copied()
            .collect();
        let policies = self.policies.iter();
        let policies =
            policies.filter(|(slot, policy)| policy.speaks_of_names() || chained.contains(slot));
        let policies = policies.map(|(slot, policy)| {
            let ahead = self.resolver.ahead.get(&slot).cloned();
            let terms = ahead.unwrap_or_else(|| terms(&policy.policy, &policy.compiled));
            (slot.0, terms)
        });
        let sessions = sessions.into_iter().map(|(session, slots)| {
            let whose = Whose {
                account: session.outermost().0,
                policies: slots.iter().map(|slot| slot.0).collect(),
                opened: self.holes.opened_names(session.cgroup.id),
            };
            (session.cgroup.id.0, whose)
        });
        ResolverKnows {
            policies: policies.collect(),
            sessions: sessions.collect(),
            there: self.sessions.iter().map(|one| one.cgroup.id.0).collect(),
            servers: self.policies.teachers(),
            search: self.policies.search_list(),
            links: self.policies.servers_on_links(),
        }
    }
}

impl Policies {
    /// Whether anything in force needs a resolver.
    #[must_use]
    fn needs_resolver(&self) -> bool {
        let mut policies = self.iter();
        policies.any(|(_, policy)| policy.speaks_of_names())
    }
}

impl Resolver {
    /// Gives the resolver so many sockets of each kind in a network that it is not in; none where they cannot be made, so that it
    /// may ask again.
    pub(super) fn stock(&mut self, network: NetworkId, wanted: [usize; 4]) {
        let make = || pool(KINDS, wanted);
        let pools = self.link.networks.sockets(network, "resolver", make);
        let [udp4, udp6, tcp4, tcp6] = pools.each_ref().map(Vec::len);
        let sockets = ToResolver::Sockets {
            network,
            udp4,
            udp6,
            tcp4,
            tcp6,
        };
        self.link
            .say(sockets, pools.into_iter().flatten().collect());
    }
}

/// What a policy says of names.
pub(super) fn terms(policy: &Policy, compiled: &Compiled) -> NameTerms {
    let names = match policy.names_asked() {
        DnsNames::Any => Names::Any,
        DnsNames::Ask => Names::Ask,
        DnsNames::Rules => Names::Rules,
    };
    NameTerms {
        names,
        patterns: patterns(policy, compiled),
        silent: policy.dns_search_silent,
        without_ech: policy.looks_at_sni(),
    }
}

fn patterns(policy: &Policy, compiled: &Compiled) -> Vec<Pattern> {
    let targets = policy.rules.iter().flat_map(|rule| &rule.to);
    let mut patterns: Vec<_> = targets.filter_map(PolicyPattern::of).collect();
    patterns.sort_unstable();
    patterns.dedup();
    let patterns = patterns.into_iter().map(|pattern| Pattern {
        denied: compiled.denies(&pattern),
        pattern: pattern.to_string(),
    });
    patterns.collect()
}
