//! What others ask of names: the addresses of those in policies, and whether a session may have more looked up (`names.rs` is the cache
//! itself); and by which name a process went somewhere (`known_names.rs`, `answered_names.rs`).

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    time::Duration,
};

use guard_common::{
    Address, AnsweredKey, BootTime, DNS_PORT, PolicyId, Protocol, SessionId, Verdict,
};
use guard_datapath::Datapath;
use guard_policy::{
    DnsNames, DomainName, Environment, Group, Met, NamePattern, PortSpec, Prefix, Rule, Target,
    networks_around,
};
use guard_proto::destination::NameTold;
use guard_sys::{
    clock::{self, Clocks},
    host::HostAddresses,
};
use jiff::Timestamp;

use super::{
    ChainVerdict, KNOWN_NAMES, NameAsker, Policies, VerdictSubject,
    known_names::KnownName,
    names::{FoundAddresses, NameServers},
};
use crate::{
    config::Config,
    control::failure::CallError,
    quota::{Account, Limit, Pace},
};

/// Names that sessions have looked up: 30 at once, then one a second; of a user's sessions four times as many.
pub(super) const LOOK_UPS: Limit =
    Limit::each(Pace::used(30, 1_000_000_000), Pace::used(120, 250_000_000));

/// The error for a session whose share is used up.
fn too_many_look_ups(wait: Duration) -> CallError {
    let seconds = wait.as_millis().div_ceil(1000);
    CallError::refused(
        "too many names were looked up for this session",
        "it and those inside it have 30 at once, and then one a second; a user's sessions four times as many together",
        format!("try again in {seconds} s, or give an address"),
    )
}

/// What a person is warned of where it is not known by which name a process went somewhere.
const TOO_MANY: &str = "the session has asked for more names of this address than are kept, so the program may mean another one: a yes opens the \
                        address alone";

/// The name by which a process went somewhere, as far as that can be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsedName {
    /// The name.
    pub(crate) told: Option<NameTold>,
    /// Whether a yes opens it ([`Policies::opens_name`]).
    pub(crate) is_opened: bool,
    /// Whether it is what a name server answered to a session whose policies speak of no names: a yes never opens it.
    pub(crate) is_only_shown: bool,
    /// What a person has to know where there is none.
    pub(crate) beware: Option<String>,
}

impl UsedName {
    /// The same, with whether a yes opens the name.
    #[must_use]
    pub(crate) fn opened_where(self, opens: impl FnOnce(&str) -> bool) -> Self {
        let told = self.told.as_ref().filter(|_| !self.is_only_shown);
        let is_opened = told.is_some_and(|told| opens(&told.name));
        Self { is_opened, ..self }
    }
}

/// What was asked of a name server about each name, and what it said.
pub(super) type LookedUp = Vec<(String, Result<FoundAddresses, String>)>;

/// Whether a rule is about a name.
fn is_of(rule: Option<&Rule>, name: &str) -> bool {
    let name: Option<DomainName> = name.parse().ok();
    rule.zip(name)
        .is_some_and(|(rule, name)| rule.has_name(&name))
}

/// By what a rule is about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleAbout {
    /// By names alone.
    Names,
    /// By nothing narrower than all of the internet.
    Internet,
    /// By a prefix or group.
    Addresses,
}

impl RuleAbout {
    fn of(rule: &Rule, to: Address, now: &Environment) -> Self {
        let covers = |target: &&Target| {
            let is_address = NamePattern::of(target).is_none();
            is_address && target.prefixes(now).iter().any(|prefix| prefix.covers(&to))
        };
        let addresses: Vec<_> = rule.to.iter().filter(covers).collect();
        match addresses[..] {
            [] => Self::Names,
            _ if addresses.iter().all(|target| target.is_internet()) => Self::Internet,
            _ => Self::Addresses,
        }
    }
}

/// A name as people see it.
fn shown(known: KnownName<'_>) -> NameTold {
    NameTold {
        name: known.name.to_owned(),
        cname: known.cname.map(str::to_owned),
        pid: known.asker.pid,
        comm: known.asker.comm.clone(),
        at: Clocks::read().calendar(known.at),
        also: known.also.into_iter().map(str::to_owned).collect(),
    }
}

impl Policies {
    /// What names and groups stand for now, on a machine with these addresses and networks.
    #[must_use]
    pub(crate) fn environment(&self, host: HostAddresses) -> Environment {
        Environment {
            names: self.names.addresses(),
            public: self.names.public(),
            dns: self.name_servers.addresses(),
            on_link: networks_around(&host.addresses, &host.on_link),
            host: host.addresses,
            judges_names: self.judges_names,
        }
    }

    /// Whether a name was ever asked about, with or without an answer.
    #[must_use]
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.names.has(name)
    }

    /// The addresses of a name as they were last answered, also where only a call from inside has asked.
    #[must_use]
    pub(crate) fn latest(&self, name: &str) -> Vec<IpAddr> {
        self.names.latest(name)
    }

    /// The name that a session asked for and was told that address of, else the one in the deciding rule that stands for it. None where
    /// it may have meant another, unless the rule is about it.
    #[must_use]
    pub(crate) fn host_of(
        &self,
        session: SessionId,
        to: Address,
        judged: &ChainVerdict<'_>,
    ) -> Option<String> {
        let is_meant = |name: &str| is_of(judged.rule, name);
        let known = self.known.name_of(session, to, is_meant);
        if let Some(known) = known.filter(|one| !one.may_be_another || is_meant(one.name)) {
            return Some(known.name.to_owned());
        }
        let names = judged.rule?.names().map(|name| name.as_str());
        let name = self.names.name_of(to.to_ip(), names)?;
        Some(name.to_owned())
    }

    /// How a session came to know an address, as people see it: by the name that is `typed`, else by one of the deciding rule.
    #[must_use]
    pub(crate) fn told_of(
        &self,
        session: SessionId,
        to: Address,
        rule: Option<&Rule>,
        typed: Option<&str>,
    ) -> Option<NameTold> {
        self.known_by(session, to, rule, typed).map(shown)
    }

    fn known_by(
        &self,
        session: SessionId,
        to: Address,
        rule: Option<&Rule>,
        typed: Option<&str>,
    ) -> Option<KnownName<'_>> {
        let is_meant = |name: &str| match typed {
            Some(typed) => name == typed,
            None => is_of(rule, name),
        };
        self.known.name_of(session, to, is_meant)
    }

    /// The same of a process that goes there: by a name that it is likely to have used. By none where it asked for none, or where it may
    /// have used another: what a person says yes to is the address then.
    #[must_use]
    pub(crate) fn used_name(
        &self,
        session: SessionId,
        to: Address,
        rule: Option<&Rule>,
        who: &NameAsker,
    ) -> UsedName {
        let is_meant = |name: &str| is_of(rule, name);
        let now = clock::now();
        let known = self.known.name_used_by(session, to, is_meant, who, now);
        let used = self.unless_another(session, to, known, now);
        if used.told.is_some() || used.beware.is_some() {
            return used;
        }
        let told = self.answered.told(session, to, who, now);
        UsedName {
            is_only_shown: told.is_some(),
            told,
            ..used
        }
    }

    /// The name by which a process is likely to have gone there, where the policies of its session speak of none.
    #[must_use]
    pub(crate) fn answered_to(
        &self,
        session: SessionId,
        to: Address,
        who: &NameAsker,
    ) -> Option<String> {
        let told = self.answered.told(session, to, who, clock::now())?;
        Some(told.name)
    }

    /// The name by which a program has connected to an address then, where the policies of its session speak of none; `servers`: those
    /// of [`NameServers::teachers`].
    #[must_use]
    pub(crate) fn answered_then(
        &self,
        kernel: &Datapath,
        key: AnsweredKey,
        program: &str,
        then: BootTime,
        servers: &[IpAddr],
    ) -> Option<String> {
        self.answered.name_then(kernel, key, program, then, servers)
    }

    /// The same of a process that says by which name it wants to go there. It may have chosen one whose owner adds addresses: where
    /// names are missing that a person would be told beside it, a yes is for the address, too.
    #[must_use]
    pub(crate) fn typed_name(
        &self,
        session: SessionId,
        to: Address,
        rule: Option<&Rule>,
        typed: &str,
    ) -> UsedName {
        let known = self.known_by(session, to, rule, Some(typed));
        self.unless_another(session, to, known, clock::now())
    }

    /// Whether a yes about a destination is for the name that its session was told of it, whatever its addresses become: each policy that
    /// stops it does so by a rule that has this name, or as it does with all of the internet, and no rule for some addresses stops it, too.
    /// Such a rule is about these, and a name's owner chooses to which of them it leads next.
    #[must_use]
    pub(crate) fn opens_name(
        &self,
        subject: VerdictSubject<'_>,
        to: Address,
        ports: &[PortSpec],
        name: &str,
        now: &Environment,
    ) -> bool {
        let is_in = |groups: &[Group]| Group::any_reached(groups, to, now);
        if is_in(&Group::LOCAL) || !self.speaks_of_names(subject.chain) {
            return false;
        }
        let is_inner = is_in(&Group::INNER);
        let is_for_name = |rule: &Rule, is_by_names: bool| match RuleAbout::of(rule, to, now) {
            RuleAbout::Names => is_by_names,
            RuleAbout::Internet => !is_inner,
            RuleAbout::Addresses => false,
        };
        let host = Prefix::host(to);
        let stops = |met: &&Met<'_>| met.verdict != Verdict::Allow;
        subject.chain.iter().all(|slot| {
            let Some(policy) = self.slots.get(slot) else {
                return false;
            };
            let of_address = policy.over(&host, ports);
            let of_names = self.over_known(subject, *slot, &host, Some(name), ports);
            let decides = of_names.as_ref().unwrap_or(&of_address);
            let mut rules = of_address.met.iter().filter(stops);
            let mut decides = decides.met.iter().filter(stops);
            let is_named = |rule| is_for_name(rule, is_of(Some(rule), name));
            rules.all(|met| met.rule.is_none_or(|rule| is_for_name(rule, true)))
                && decides.all(|met| met.rule.map_or(!is_inner, is_named))
        })
    }

    /// A name, unless it may be another one that there was no room for.
    fn unless_another(
        &self,
        session: SessionId,
        to: Address,
        known: Option<KnownName<'_>>,
        now: BootTime,
    ) -> UsedName {
        let known = known.filter(|known| !known.may_be_another);
        let misses = known.is_none() && self.known.misses_names(session, to, now);
        UsedName {
            told: known.map(shown),
            is_opened: false,
            is_only_shown: false,
            beware: misses.then(|| TOO_MANY.to_owned()),
        }
    }

    /// The names that are looked up. Where the resolver tells sessions of theirs, those of policies that a session brought are not:
    /// to ask for a name would send what a session wrote to the name's owner.
    #[must_use]
    pub(crate) fn names_to_look_up(&self, of_people: &HashSet<PolicyId>) -> BTreeSet<String> {
        if self.judges_names {
            let names = self.peoples_names(of_people).into_iter();
            names.map(str::to_owned).collect()
        } else {
            let policies = self.slots.values();
            let policies = policies.filter(|policy| !policy.source.unasked);
            policies
                .flat_map(|policy| policy.names().map(str::to_owned))
                .collect()
        }
    }

    /// Whether the names of a policy that a session brings are looked up.
    #[must_use]
    pub(crate) const fn looks_up_brought(&self) -> bool {
        !self.judges_names
    }

    /// The names in policies that people have put in force: those of these slots, and of what judges unowned cgroups. Without those of
    /// projects that nobody is asked for.
    #[must_use]
    fn peoples_names(&self, of_people: &HashSet<PolicyId>) -> BTreeSet<&str> {
        let slots = of_people.iter().chain(&self.default_slot);
        let policies = slots.filter_map(|slot| self.slots.get(slot));
        let policies = policies.filter(|policy| !policy.source.unasked);
        policies.flat_map(|policy| policy.names()).collect()
    }

    /// How many names only policies have that sessions brought, in these slots, and none of people's.
    #[must_use]
    pub(crate) fn names_brought<'s>(
        &self,
        slots: impl Iterator<Item = &'s PolicyId>,
        of_people: &HashSet<PolicyId>,
    ) -> usize {
        let people = self.peoples_names(of_people);
        let slots: BTreeSet<_> = slots.collect();
        let policies = slots.into_iter().filter_map(|slot| self.slots.get(slot));
        let policies = policies.filter(|policy| policy.source.name.is_none());
        let names: BTreeSet<_> = policies.flat_map(|policy| policy.names()).collect();
        names.difference(&people).count()
    }

    /// Whether what is judged by a chain may ask the name servers itself. guardd asks none on behalf of one that may not: a
    /// name is data, and the name server that answers for it reads it.
    #[must_use]
    pub(crate) fn may_ask_name_servers(&self, chain: &[PolicyId]) -> bool {
        // Under these a question needs a rule or a person, and guardd's own would have neither.
        let is_free = |slot: &PolicyId| {
            let policy = self.slots.get(slot);
            policy.is_some_and(|one| one.policy.names_asked() == DnsNames::Any)
        };
        if self.judges_names && !chain.iter().all(is_free) {
            return false;
        }
        let servers = self.name_servers.addresses();
        let is_open = |server: &IpAddr| {
            let judged = self.judge(chain, (*server).into(), Protocol::UDP, DNS_PORT);
            judged.is_some_and(|judged| judged.verdict == Verdict::Allow)
        };
        !servers.is_empty() && servers.iter().all(is_open)
    }

    /// Takes look-ups from the share of a session that a person started.
    ///
    /// # Errors
    ///
    /// `Refused` where nothing is left of it.
    pub(crate) fn pay_for(&mut self, account: Account, names: usize) -> Result<(), CallError> {
        if names == 0 {
            return Ok(());
        }
        // A policy's names are looked up all at once: the next caller waits for longer.
        let now = clock::now();
        if let Some(wait) = self.look_ups.wait(account, 1, now) {
            return Err(too_many_look_ups(wait));
        }
        self.look_ups.charge(account, names as u64, now);
        Ok(())
    }

    /// Forgets none of these until [`Self::await_no_more`] is called; `brought` by what only sessions inside have brought.
    pub(super) fn await_names(&mut self, names: &BTreeSet<String>, brought: bool) {
        if brought {
            self.names.bring(names);
        }
        self.names.await_all(names);
    }

    /// They are in force now, or nobody waits for them any more.
    pub(super) fn await_no_more(&mut self, names: &BTreeSet<String>) {
        self.names.await_no_more(names);
    }

    /// Which of these are to be looked up now, and who is to be asked.
    #[must_use]
    pub(crate) fn due(&self, names: &BTreeSet<String>) -> (NameServers, Vec<String>) {
        let due = self.names.due(names, Timestamp::now());
        (self.name_servers.clone(), due)
    }

    /// The same for a call that nothing else needs them for.
    #[must_use]
    pub(crate) fn due_in_passing(&self, names: &BTreeSet<String>) -> (NameServers, Vec<String>) {
        let due = self.names.due_in_passing(names, Timestamp::now());
        (self.name_servers.clone(), due)
    }

    /// Takes note of what name servers said about `names`, and forgets what is too much. What is to be kept is written down, at
    /// once where a rule that a person has put in force may not hold by what a guardd would read which came after this one now.
    pub(super) fn learn(
        &mut self,
        found: LookedUp,
        names: &BTreeSet<String>,
        of_people: &HashSet<PolicyId>,
        config: &Config,
        machine: &Environment,
    ) {
        let (floor, grace) = (config.refresh_floor(), config.grace());
        let people = self.peoples_names(of_people).into_iter();
        let people: BTreeSet<_> = people.map(str::to_owned).collect();
        let mut is_urgent = false;
        for (name, answer) in found {
            let is_new = !self.names.has(&name);
            let problem = answer.as_ref().err().cloned();
            if let Some(problem) = problem.filter(|new| self.names.problem(&name) != Some(new)) {
                tracing::warn!(name, problem, "does not resolve");
            }
            if answer
                .as_ref()
                .is_ok_and(|found| machine.has_public(&found.addresses))
            {
                self.names.note_public(&name);
            }
            let now = Timestamp::now();
            let has_moved = self.names.learn(&name, answer, now, floor, grace);
            let counts = people.contains(&name) || self.names.is_awaited(&name);
            is_urgent |= counts && (is_new || has_moved);
        }
        let in_force = self.names();
        let needed = |name: &str| names.contains(name) || in_force.contains(name);
        self.names.make_room(needed);
        self.keep_names(is_urgent);
    }

    /// Whether rules spell out a name that guardd has had no answer for.
    pub(crate) fn is_unanswered(&self, name: &str) -> bool {
        let Ok(spelled_out) = name.parse().map(NamePattern::Name) else {
            return false;
        };
        let mut policies = self.slots.values();
        let mut is_named = || policies.any(|policy| policy.compiled.has_pattern(&spelled_out));
        !self.names.is_answered(name) && is_named()
    }

    /// Takes note of what a session was told of such names. True where policies are to be compiled again for it.
    pub(crate) fn note_told<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        addresses: &[Address],
        machine: &Environment,
    ) -> bool {
        let addresses: Vec<_> = addresses.iter().copied().map(Address::to_ip).collect();
        if !machine.has_public(&addresses) {
            return false;
        }
        let mut is_news = false;
        for name in names {
            is_news |= self.names.note_public(name);
        }
        is_news
    }

    /// The same of a call from inside, by which no rule holds.
    pub(super) fn learn_in_passing(&mut self, found: LookedUp, floor: Duration) {
        for (name, answer) in found {
            if let Err(problem) = &answer {
                // A caller may ask for as many names as it likes.
                tracing::debug!(name, problem, "does not resolve");
            }
            let now = Timestamp::now();
            self.names.learn_in_passing(name, answer, now, floor);
        }
    }

    /// Writes down what is known of names, at once where that is urgent.
    pub(crate) fn keep_names(&mut self, is_urgent: bool) {
        if self.names.take_unwritten(is_urgent, clock::now()) {
            self.kept_names.keep(KNOWN_NAMES, &self.names);
        }
    }

    /// How long until a name is to be looked up, of those that are.
    #[must_use]
    pub(crate) fn names_due(&self, of_people: &HashSet<PolicyId>) -> Duration {
        const SOONEST: Duration = Duration::from_millis(100);
        let next = self.names.next_due(&self.names_to_look_up(of_people));
        let left = next.map(|at| Timestamp::now().duration_until(at));
        let left = left.map_or(Duration::MAX, |left| left.try_into().unwrap_or(SOONEST));
        left.max(SOONEST)
    }
}

#[cfg(test)]
mod tests {
    use super::super::of_texts;
    use super::*;

    fn policies(texts: &[&str]) -> Policies {
        let texts = texts.iter().map(|text| format!("version = 1\n{text}"));
        of_texts(&texts.collect::<Vec<_>>())
    }

    fn rule(name: &str) -> String {
        format!("[[rule]]\nname = \"{name}\"\nto = [\"{name}\"]\naction = \"confirm\"\n")
    }

    #[test]
    fn names_that_sessions_brought_are_counted_beside_those_of_people() {
        let (own, both) = (rule("own.example.com"), rule("both.example.com"));
        let policies = policies(&[&both, &format!("{both}{own}")]);
        let people = HashSet::from([PolicyId(1)]);
        let names = policies.peoples_names(&people);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["both.example.com"]);
        let brought = [PolicyId(2), PolicyId(2)];
        assert_eq!(policies.names_brought(brought.iter(), &people), 1);
    }

    #[test]
    fn a_projects_names_that_are_not_looked_up_are_never_due() {
        let mut policies = policies(&["default = \"allow\"", &rule("own.example.com")]);
        policies.set_judges_names(true);
        let people = HashSet::from([1, 2].map(PolicyId));
        assert!(policies.names_due(&people) < Duration::from_secs(1));
        let project = policies.slots.get_mut(&PolicyId(2)).unwrap();
        project.source.unasked = true;
        assert_eq!(policies.names_due(&people), Duration::MAX);
        assert!(policies.names_to_look_up(&people).is_empty());
    }

    #[test]
    fn who_may_not_ask_every_name_server_may_ask_none() {
        let mut policies = policies(&["default = \"allow\"", "default = \"deny\""]);
        let server = "192.0.2.53:53".parse().unwrap();
        policies.name_servers = NameServers::new(Some(vec![server]));
        assert!(policies.may_ask_name_servers(&[PolicyId(1)]));
        assert!(!policies.may_ask_name_servers(&[PolicyId(2), PolicyId(1)]));
        policies.name_servers = NameServers::new(Some(Vec::new()));
        assert!(!policies.may_ask_name_servers(&[PolicyId(1)]));
    }

    #[test]
    fn a_slot_is_unused_that_neither_a_session_nor_the_default_has() {
        let mut policies = policies(&["", "default = \"allow\"", "default = \"deny\""]);
        policies.default_slot = Some(PolicyId(3));
        let used = HashSet::from([PolicyId(1)]);
        assert_eq!(policies.unused(&used), [PolicyId(2)]);
    }

    #[test]
    fn whoever_has_many_names_looked_up_waits() {
        let mut policies = policies(&[]);
        let [one, other] = [1, 2].map(|id| Account::inside(id, SessionId(id)));
        assert!(policies.pay_for(one, 100).is_ok());
        let refused = policies.pay_for(one, 1).unwrap_err();
        assert!(refused.failure.fix.contains("in 71 s"), "{refused}");
        assert!(
            policies.pay_for(one, 0).is_ok(),
            "what is known costs nothing"
        );
        assert!(policies.pay_for(other, 1).is_ok());
    }
}
