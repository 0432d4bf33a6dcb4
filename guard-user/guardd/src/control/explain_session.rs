//! What holds under a session: by its policies, by the names that it knows addresses by, and by its holes.

use guard_common::{BootTime, NamedKey, PolicyId, Protocol, SessionId, Verdict};
use guard_datapath::{Datapath, LiveHole};
use guard_policy::{
    self as policy, Destination, DnsNames, DomainName, Environment, NamedAt, PortSpec, Prefix,
};
use guard_proto::explain::{Explanation, Explanations, KnownAddress};
use guard_sys::clock::{self, Clocks};

use crate::{
    control::{
        explain::{UnnamedQuestion, explained, opened, stricter, through, told, told_by, unheard},
        failure::CallError,
        ids,
    },
    holes::known::Holes,
    machine::Machine,
    policies::{Policies, VerdictSubject},
    sessions::{Session, Sessions},
    state::State,
};

/// What explains the verdict on a destination under a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionExplainer<'s> {
    kernel: &'s Datapath,
    machine: &'s Machine,
    sessions: &'s Sessions,
    policies: &'s Policies,
    holes: &'s Holes,
}

impl State {
    /// What explains verdicts under sessions.
    pub(crate) fn explaining(&self) -> SessionExplainer<'_> {
        SessionExplainer {
            kernel: &self.datapath,
            machine: &self.machine,
            sessions: &self.sessions,
            policies: &self.policies,
            holes: &self.holes,
        }
    }
}

impl SessionExplainer<'_> {
    /// Under a session's policies and holes.
    ///
    /// # Errors
    ///
    /// `Invalid` if no address is known for the destination.
    pub(crate) fn explain(
        &self,
        session: SessionId,
        to: &Destination,
        ports: &[PortSpec],
    ) -> Result<Explanations, CallError> {
        self.explain_with(session, to, ports, &self.kernel.holes()?)
    }

    /// The same with the kernel's holes, which were read once for several destinations.
    ///
    /// # Errors
    ///
    /// As for [`Self::explain`].
    pub(crate) fn explain_with(
        &self,
        session: SessionId,
        to: &Destination,
        ports: &[PortSpec],
        holes: &[LiveHole],
    ) -> Result<Explanations, CallError> {
        let Some(session) = self.sessions.live(session) else {
            return Err(ids::no_session(&ids::session(session)));
        };
        let now = self.policies.environment(self.machine.host());
        let own: Vec<_> = holes
            .iter()
            .filter(|hole| hole.session == session.cgroup.id)
            .collect();
        let mut strictest = Vec::new();
        for place in self.policies.places_of(session, to) {
            self.policies.recall_place(self.kernel, session, &place)?;
            strictest.extend(self.policies.explained_by_all(
                session.subject(),
                &now,
                &place,
                ports,
            ));
        }
        for one in &mut strictest {
            if let Some((hole, verdict)) = opened(&own, one, ports) {
                verdict.as_str().clone_into(&mut one.verdict);
                one.hole = Some(ids::hole(hole.entry.id));
            }
        }
        let mut told = told(to, strictest)?;
        if let policy::Target::Name(name) = &to.target {
            let known =
                self.policies
                    .addresses_told(session, name.as_str(), &to.ports(ports), &own);
            let all = &mut told.explanations;
            (self.policies).tell_of_name(self.holes, session, name, &now, &known, all);
        }
        Ok(told)
    }
}

impl Policies {
    /// Has answers say which addresses a session knows of a name, and what becomes of its question.
    fn tell_of_name(
        &self,
        holes: &Holes,
        session: &Session,
        name: &DomainName,
        now: &Environment,
        known: &[KnownAddress],
        all: &mut [Explanation],
    ) {
        let by_all = |to: &Destination, ports: &[PortSpec]| {
            self.explained_by_all(session.subject(), now, to, ports)
        };
        let speaks = self.speaks_of_names(&session.chain);
        let unheard = speaks.then(|| unheard(now, by_all)).flatten();
        let is_unknown = known.is_empty() && unheard.is_none();
        let question = is_unknown.then(|| self.unnamed_question(holes, session, name));
        let question = question.flatten();
        for one in all {
            one.name = Some(name.as_str().to_owned());
            one.known = known.to_vec();
            one.unheard.clone_from(&unheard);
            if let Some(question) = &question {
                question.tell(one);
            }
        }
    }

    /// Reads from the kernel by which names the session knows an address.
    fn recall_place(
        &self,
        kernel: &Datapath,
        session: &Session,
        to: &Destination,
    ) -> Result<(), CallError> {
        match &to.target {
            policy::Target::Prefix(prefix) if prefix.is_host() => {
                let address = prefix.address();
                self.recall_names(kernel, session.subject(), address)
            }
            _ => Ok(()),
        }
    }

    /// What becomes of a question for a name that no rule names; none where a person has opened it.
    fn unnamed_question(
        &self,
        holes: &Holes,
        session: &Session,
        name: &DomainName,
    ) -> Option<UnnamedQuestion<'_>> {
        let policies = session.chain.iter();
        let policies = policies.filter_map(|slot| self.get(*slot));
        let question = UnnamedQuestion::under(policies, name)?;
        let id = session.cgroup.id;
        let is_open = holes.lets_ask(id, name.as_str(), clock::now());
        (!is_open || question.names != DnsNames::Ask).then_some(question)
    }

    /// The addresses that a session knows of a name, as destinations; the destination itself where it is something else.
    fn places_of(&self, session: &Session, to: &Destination) -> Vec<Destination> {
        let policy::Target::Name(name) = &to.target else {
            return vec![to.clone()];
        };
        let known = self.known_names();
        let known = known.addresses_of(session.cgroup.id, name.as_str(), clock::now());
        let mut places: Vec<_> = known
            .map(|(address, _)| Destination {
                target: policy::Target::Prefix(Prefix::host(address)),
                port: to.port,
            })
            .collect();
        if places.is_empty() {
            places.push(to.clone());
        }
        places.sort_by_key(ToString::to_string);
        places
    }

    /// Under one policy of a session, for an address that the session knows by names; `None` if it knows none.
    fn explained_known(
        &self,
        subject: VerdictSubject<'_>,
        slot: PolicyId,
        now: &Environment,
        to: &Destination,
        ports: &[PortSpec],
    ) -> Option<Vec<policy::ExplainedVerdict>> {
        let policy = self.get(slot)?;
        let policy::Target::Prefix(prefix) = &to.target else {
            return None;
        };
        let address = Some(prefix.address()).filter(|_| prefix.is_host())?;
        let key = NamedKey::new(subject.session?, slot, address);
        let named = self.known_names().patterns(&key)?;
        let known = NamedAt {
            named: &named,
            now: clock::now(),
        };
        let (text, compiled) = (&policy.policy, &policy.compiled);
        let said = policy::explain_known(text, compiled, now, to, ports, known);
        Some(told_by(&policy.source, said))
    }

    /// The addresses that a session was told of a name, and what holds for the first of some ports there.
    fn addresses_told(
        &self,
        session: &Session,
        name: &str,
        ports: &[PortSpec],
        holes: &[&LiveHole],
    ) -> Vec<KnownAddress> {
        let spec = match ports.first() {
            Some(spec) if spec.protocol != Protocol::ANY => *spec,
            Some(spec) => PortSpec::one(Protocol::TCP, spec.low),
            None => PortSpec::one(Protocol::TCP, HTTPS),
        };
        let known = self.known_names();
        // Those whose time is over, too: each is shown with that.
        let known = known.addresses_of(session.cgroup.id, name, BootTime(0));
        let known = known.map(|(address, until)| {
            let judged = self.judge(session.subject(), address, spec.protocol, spec.low);
            let verdict = judged.map_or(Verdict::Deny, |judged| judged.verdict);
            let is_over = |hole: &LiveHole| {
                hole.connections_left != Some(0)
                    && hole.entry.covers(&address, spec.protocol, spec.low)
            };
            let verdict = through(holes, verdict, is_over).map_or(verdict, |(_, verdict)| verdict);
            KnownAddress {
                address: address.to_ip().to_string(),
                until: Some(Clocks::read().calendar(until)),
                verdict: verdict.as_str().to_owned(),
            }
        });
        known.collect()
    }

    /// Under a session's chain of policies.
    fn explained_by_all(
        &self,
        subject: VerdictSubject<'_>,
        now: &Environment,
        to: &Destination,
        ports: &[PortSpec],
    ) -> Vec<policy::ExplainedVerdict> {
        let of = |slot: &PolicyId| {
            let known = self.explained_known(subject, *slot, now, to, ports);
            known.or_else(|| Some(explained(self.get(*slot)?, now, to, ports)))
        };
        let is_project = |slot: &&PolicyId| {
            let policy = self.get(**slot);
            policy.is_some_and(|policy| policy.source.project)
        };
        let (projects, policies): (Vec<_>, Vec<_>) = subject.chain.iter().partition(is_project);
        let policies = policies.into_iter().filter_map(of).reduce(stricter);
        let policies = policies.unwrap_or_default();
        match projects.into_iter().filter_map(of).reduce(stricter) {
            Some(project) => policy::beside(project, policies),
            None => policies,
        }
    }
}

/// The port that is meant where none is said.
pub(super) const HTTPS: u16 = 443;
