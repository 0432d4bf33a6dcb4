//! The policies in force: what each slot of the kernel's map `POLICIES` holds, and its source text.
//!
//! `library.rs` finds a policy's text, `names.rs` resolves the host names in it, `load.rs` puts it in place. In code a slot
//! is a `PolicyId`, [`Prepared`] is a policy that is ready to be put in place, and [`InForce`] one that is.

mod address_names;
mod answered_names;
mod carried;
mod known_names;
pub mod labels;
pub mod library;
pub mod load;
pub mod look_ups;
mod name_answers;
pub mod names;
mod shown_names;
pub mod unusable;
pub mod widens;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use guard_common::{
    Address, AnsweredKey, BootTime, Connection, Learned, NameId, Named, NamedKey, PolicyId,
    PolicyVerdict, Protocol, Said, SessionId, Verdict, named_verdict, prefix_flags, said_of,
};
use guard_datapath::{Datapath, DatapathError};
use guard_policy::{
    self as policy, Compiled, Coverage, Diagnostic, DnsNames, Environment, Group, Met, Policy,
    PortSpec, Prefix, Rule, Severity, SocketName, Target,
};
use guard_proto::{names::OnLink, status::PolicyStatus};
use guard_sys::clock;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};

pub use self::{address_names::NameAsker, known_names::NameAnswer, name_answers::UsedName};
use self::{
    answered_names::AnsweredNames,
    carried::Carried,
    known_names::KnownNames,
    library::{Library, PolicyText},
    look_ups::LookUps,
    names::{NameServers, PolicyNames},
    unusable::Unusable,
};
use crate::{control::failure::CallError, record::shelf::Shelf, times::DEFAULT_TERM};

/// A policy that is ready to be put in place: parsed, resolved and compiled.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Its source.
    pub source: PolicyText,
    /// Its parsed text.
    pub policy: Policy,
    /// Its tables.
    pub compiled: Compiled,
    /// Warnings for its author.
    pub warnings: Vec<String>,
    /// The addresses of its names and groups when it was compiled.
    fitted: Environment,
}

/// A policy that is parsed, and not compiled yet.
#[derive(Clone, Debug)]
pub struct ParsedPolicy {
    /// Its parsed text.
    pub policy: Policy,
    /// Warnings for its author.
    pub warnings: Vec<String>,
}

/// Parses a policy's text.
///
/// # Errors
///
/// `Invalid`, with where and what is wrong.
pub fn parse(source: &PolicyText) -> Result<ParsedPolicy, CallError> {
    let file = source.shown_file();
    let mut parsed = policy::parse(&file, &source.text).map_err(|wrong| invalid(&file, &wrong))?;
    if source.observe {
        parsed.policy.observe();
    }
    if source.base {
        parsed.policy.lie_around();
    }
    let warnings = parsed.warnings.iter();
    Ok(ParsedPolicy {
        policy: parsed.policy,
        warnings: warnings
            .map(|one| {
                let place = policy::place(&one.file, Some(one.line));
                format!("{place}: {}", one.message)
            })
            .collect(),
    })
}

/// Compiles a policy with the current addresses of its names and groups.
///
/// # Errors
///
/// `Invalid` if it does not fit into the kernel's tables, or has a wildcard that nothing could hold sessions to.
pub fn compile(
    source: PolicyText,
    read: ParsedPolicy,
    now: &Environment,
) -> Result<Prepared, CallError> {
    let compiled = policy::compile(&read.policy, now)
        .map_err(|wrong| invalid(&source.shown_file(), &wrong))?;
    if let Some(wildcard) = unheld(&read.policy, now) {
        return Err(CallError::invalid(
            format!("the policy {} cannot be held to", source.shown_file()),
            format!(
                "{wildcard} is stricter than the default, and nothing judges names: {NO_JUDGE}"
            ),
            "install guard-resolver beside guardd, and sudo systemctl restart guardd; or write prefixes",
        ));
    }
    Ok(Prepared {
        source,
        fitted: relevant(&read.policy, now),
        warnings: [read.warnings, unjudged(&read.policy, now)].concat(),
        policy: read.policy,
        compiled,
    })
}

/// Why nothing judges the names that sessions ask for.
const NO_JUDGE: &str = "guard-resolver is not installed, or the kernel half is of an older version";

/// A wildcard that is stricter than what addresses may get, where nothing judges the names that sessions ask for: what it
/// closes would be open.
fn unheld<'p>(policy: &'p Policy, now: &Environment) -> Option<&'p Target> {
    let narrow = [
        Group::Loopback,
        Group::Dns,
        Group::Multicast,
        Group::Metadata,
    ];
    let is_wide = |target: &Target| match target {
        Target::Prefix(prefix) => !prefix.is_host(),
        Target::Group(group) => !narrow.contains(group),
        Target::Name(_) | Target::Wildcard(_) => false,
    };
    let by_address = policy
        .rules
        .iter()
        .filter(|rule| rule.to.iter().any(is_wide));
    let mildest = by_address.map(|rule| rule.action.strictness());
    let mildest = mildest.fold(policy.default.strictness(), u8::min);
    let is_stricter = |rule: &&Rule| rule.action.strictness() > mildest;
    let rules = policy.rules.iter().filter(is_stricter);
    let mut targets = rules.flat_map(|rule| &rule.to);
    let wildcard = targets.find(|target| matches!(target, Target::Wildcard(_)));
    wildcard.filter(|_| !now.judges_names)
}

/// Warns of wildcards, and of names that TLS has to show, where nothing judges the names that sessions ask for.
fn unjudged(policy: &Policy, now: &Environment) -> Vec<String> {
    let shown = (!now.judges_names && policy.looks_at_sni())
        .then(|| format!("`tls = \"name\"` lets no TLS pass: {NO_JUDGE}"));
    let targets = policy.rules.iter().flat_map(|rule| &rule.to);
    let mut wildcards = targets.filter(|target| matches!(target, Target::Wildcard(_)));
    let first = (!now.judges_names).then(|| wildcards.next()).flatten();
    let warning = first.map(|first| format!("{first} holds for nothing: {NO_JUDGE}"));
    warning.into_iter().chain(shown).collect()
}

/// The part of an environment that a policy's tables depend on: its own names and groups.
#[must_use]
pub fn relevant(policy: &Policy, known: &Environment) -> Environment {
    let uses = |group: Group| {
        let mut targets = policy.rules.iter().flat_map(|rule| &rule.to);
        targets.any(|target| *target == Target::Group(group))
    };
    let names = policy.names();
    let names = names.filter_map(|name| known.names.get_key_value(name.as_str()));
    let own = policy.names().map(|name| name.as_str().to_owned());
    // Names make nothing more permissive at this machine's addresses, and most not in its networks.
    let judges_names = known.judges_names && policy.has_patterns();
    Environment {
        names: names.map(|(name, at)| (name.clone(), at.clone())).collect(),
        public: own.filter(|name| known.public.contains(name)).collect(),
        dns: kept(uses(Group::Dns), &known.dns),
        host: kept(judges_names || uses(Group::GuardedHost), &known.host),
        on_link: kept(judges_names || uses(Group::OnLink), &known.on_link),
        judges_names,
    }
}

fn kept<T: Clone>(is_used: bool, all: &[T]) -> Vec<T> {
    match is_used {
        true => all.to_vec(),
        false => Vec::new(),
    }
}

/// Errors of a policy that are reported at once.
const MAX_WRONG: usize = 5;

fn invalid(file: &str, wrong: &[Diagnostic]) -> CallError {
    let told = wrong.iter().filter(|one| one.severity == Severity::Error);
    let told: Vec<_> = told.take(MAX_WRONG).map(in_one_line).collect();
    let fix = match library::fleets(file) {
        Some(name) => format!(
            "correct {name} in the directory that is signed, and have it signed anew: guard check {name}; guard policy sign DIR"
        ),
        None => format!("guard check {file}"),
    };
    CallError::invalid(
        format!("the policy {file} is not valid"),
        told.join("; "),
        fix,
    )
}

/// A diagnostic for the log and for `guard status`: where, what, and what would be right.
fn in_one_line(one: &Diagnostic) -> String {
    let help = one.help.as_ref().map(|help| format!(" ({help})"));
    let text = one.text.lines().next().unwrap_or_default();
    let shown = !text.is_empty() && !one.message.contains(text);
    let text = shown.then(|| format!(", at {}", cut(text)));
    format!(
        "line {}, column {}{}: {}{}",
        one.line,
        one.column,
        text.unwrap_or_default(),
        one.message,
        help.unwrap_or_default(),
    )
}

/// The beginning of a text from a policy.
fn cut(text: &str) -> String {
    const MOST: usize = 80;
    let kept: String = text.chars().take(MOST).collect();
    if kept.len() < text.len() {
        kept + "…"
    } else {
        kept
    }
}

/// A policy in a slot of the kernel.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its source.
    pub source: PolicyText,
    /// SHA-256 of its text, in hexadecimal.
    pub sha256: String,
    /// Its parsed text.
    pub policy: Arc<Policy>,
    /// Its tables, as the kernel has them.
    pub compiled: Arc<Compiled>,
    /// The addresses of its names and groups when its tables were compiled.
    pub fitted: Environment,
    /// When this version was put in place.
    pub loaded_at: Timestamp,
    /// Why a newer version was refused.
    pub error: Option<String>,
    warnings: Vec<String>,
}

impl From<Prepared> for InForce {
    fn from(prepared: Prepared) -> Self {
        let sha256 = digest(&SHA256, prepared.source.text.as_bytes());
        let sha256 = sha256.as_ref().iter();
        Self {
            sha256: sha256.map(|byte| format!("{byte:02x}")).collect(),
            source: prepared.source,
            policy: Arc::new(prepared.policy),
            compiled: Arc::new(prepared.compiled),
            fitted: prepared.fitted,
            loaded_at: Timestamp::now(),
            error: None,
            warnings: prepared.warnings,
        }
    }
}

impl InForce {
    /// Whether it has rules for names that the resolver judges.
    #[must_use]
    pub fn speaks_of_names(&self) -> bool {
        self.compiled.judges_names()
    }

    /// The names in its rules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policy.names().map(policy::DomainName::as_str)
    }

    /// Every verdict of the policy inside a prefix, and the rules that give them.
    #[must_use]
    pub fn over(&self, within: &Prefix, ports: &[PortSpec]) -> Coverage<'_> {
        policy::over(&self.policy, &self.compiled, within, ports)
    }

    /// As `guard status` shows it.
    #[must_use]
    pub fn status(&self, sessions: usize, unresolved: Vec<String>) -> PolicyStatus {
        PolicyStatus {
            name: self.policy.name.clone(),
            file: self.source.file.clone(),
            observed: self.source.observe,
            sessions,
            prefixes: self.compiled.prefixes.len(),
            loaded_at: self.loaded_at,
            error: self.error.clone(),
            warnings: self.warnings.iter().cloned().chain(unresolved).collect(),
        }
    }
}

/// Whose destinations are judged: by a chain of policies, and the names by which a session knows addresses.
#[derive(Clone, Copy, Debug)]
pub struct VerdictSubject<'c> {
    /// The slots of its policies.
    pub chain: &'c [PolicyId],
    /// The session, if it is one.
    pub session: Option<SessionId>,
    /// The connections in question were allowed when they began, and came to the proxy.
    pub stands: bool,
    /// A hole for reads is there, which has what waits for a yes come to the proxy.
    pub may_read: bool,
}

impl VerdictSubject<'_> {
    /// What one policy says of an address that is known by names. Of connections that stand it is not known when they began, but that they
    /// came to the proxy: what has them come now decides, as one may just have begun; else what last had them come.
    fn by_names(&self, says: impl Fn(NameId) -> Said, named: Option<&Named>) -> PolicyVerdict {
        let now = clock::now();
        let decided = named_verdict(&says, named, now);
        if !self.stands || self.comes_to_proxy(&decided) {
            return decided;
        }
        let ends = named.into_iter().flat_map(|named| named.patterns);
        let moments = ends.map(|learned| BootTime(learned.until.0.saturating_sub(1)));
        let mut moments: Vec<_> = moments.filter(|at| *at < now).collect();
        moments.sort_unstable();
        let before = moments.into_iter().rev();
        let before: Vec<_> = before.map(|at| named_verdict(&says, named, at)).collect();
        let comes = before.iter().find(|said| self.comes_to_proxy(said));
        // It may be another policy of the chain that had it come.
        let passes = before.iter().find(|said| said.verdict != Verdict::Deny);
        let passes = passes.filter(|_| decided.verdict == Verdict::Deny);
        comes.or(passes).copied().unwrap_or(decided)
    }

    fn comes_to_proxy(&self, said: &PolicyVerdict) -> bool {
        match said.verdict {
            Verdict::ReadOnly => true,
            Verdict::Confirm => self.may_read,
            Verdict::Allow => said.flags & prefix_flags::BY_SNI != 0,
            _ => false,
        }
    }
}

impl<'c> From<&'c [PolicyId]> for VerdictSubject<'c> {
    fn from(chain: &'c [PolicyId]) -> Self {
        Self {
            chain,
            session: None,
            stands: false,
            may_read: false,
        }
    }
}

impl<'c> From<&'c Vec<PolicyId>> for VerdictSubject<'c> {
    fn from(chain: &'c Vec<PolicyId>) -> Self {
        Self::from(chain.as_slice())
    }
}

/// The tables of a chain of policies.
fn tables<'p>(
    slots: &'p BTreeMap<PolicyId, InForce>,
    chain: &[PolicyId],
) -> Vec<(PolicyId, &'p Compiled)> {
    let known = chain.iter().filter_map(|slot| {
        let policy = slots.get(slot)?;
        Some((*slot, policy.compiled.as_ref()))
    });
    known.collect()
}

/// A verdict of a chain of policies, with the rule that gave it.
#[derive(Clone, Copy, Debug)]
pub struct ChainVerdict<'p> {
    /// The verdict, holes left aside.
    pub verdict: Verdict,
    /// The rule; none: the policy's default.
    pub rule: Option<&'p Rule>,
    /// The policy.
    pub policy: &'p InForce,
}

impl ChainVerdict<'_> {
    /// Whether it says more than a default. A project's rule, which an agent may have written, is never named in the place of another
    /// policy's default.
    #[must_use]
    pub fn says_more(&self) -> bool {
        self.rule.is_some() && !self.policy.source.project
    }

    /// Why the rule is there. What a project says is told as its words, and that its default decides, as it goes by its policy's
    /// name.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let source = &self.policy.source;
        match self.rule {
            Some(rule) => Some(source.told(rule.reason.clone()?)),
            None => source.project.then(|| PROJECTS_DEFAULT.to_owned()),
        }
    }
}

/// Why there is a request or a refusal where no rule of a project's decides.
const PROJECTS_DEFAULT: &str = "the default of its project's .guard.toml";

/// The key of the one value on the shelf of names.
const KNOWN_NAMES: &str = "known";

/// Owns the policies: the kernel's slots, their source texts, and the addresses of their names.
#[derive(Debug)]
pub struct Policies {
    /// All slots in use.
    slots: BTreeMap<PolicyId, InForce>,
    /// The slot that judges unowned cgroups.
    default_slot: Option<PolicyId>,
    library: Library,
    /// guardd's policies that could not be put in force, when they were last read.
    unusable: Unusable,
    names: PolicyNames,
    /// Looks up names.
    name_servers: NameServers,
    /// The limits of look-ups for sessions.
    look_ups: LookUps,
    /// Whether the guard's resolver judges names.
    judges_names: bool,
    /// Whether the proxy looks at TLS, and not the kernel half.
    is_sni_for_proxy: bool,
    /// By which names sessions know addresses.
    known: KnownNames,
    /// The same of those whose policies speak of none.
    answered: AnsweredNames,
    /// The texts of those in force, by the numbers of their slots.
    texts: Shelf<PolicyText>,
    kept_names: Shelf<PolicyNames>,
}

impl Policies {
    /// No policy in force yet. The names' addresses are read from their file.
    #[must_use]
    pub fn new(
        library: Library,
        name_servers: NameServers,
        texts: Shelf<PolicyText>,
        kept_names: Shelf<PolicyNames>,
    ) -> Self {
        Self {
            slots: BTreeMap::new(),
            default_slot: None,
            library,
            unusable: Unusable::new(),
            names: kept_names.get(KNOWN_NAMES).unwrap_or_default(),
            name_servers,
            look_ups: LookUps::default(),
            judges_names: false,
            is_sni_for_proxy: false,
            known: KnownNames::default(),
            answered: AnsweredNames::default(),
            texts,
            kept_names,
        }
    }

    /// Where policies come from.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Has the fleet's policies be these, or not be known.
    pub fn set_fleet(&mut self, policies: Result<BTreeMap<String, String>, String>) {
        self.library.set_fleet(policies);
    }

    /// The longest hole that a session may have, if no rule says more.
    #[must_use]
    pub fn longest_hole(&self, chain: &[PolicyId]) -> Duration {
        let policies = chain.iter().filter_map(|slot| self.get(*slot));
        let longest = policies.map(|policy| policy.policy.longest_hole(None));
        longest.min().unwrap_or(DEFAULT_TERM)
    }

    /// The policy in a slot.
    #[must_use]
    pub fn get(&self, slot: PolicyId) -> Option<&InForce> {
        self.slots.get(&slot)
    }

    /// Records what a slot of the kernel holds now.
    pub(crate) fn put(&mut self, slot: PolicyId, policy: InForce) {
        self.slots.insert(slot, policy);
    }

    /// The slot that judges unowned cgroups.
    #[must_use]
    pub fn default_slot(&self) -> Option<PolicyId> {
        self.default_slot
    }

    /// Has the kernel judge unowned cgroups by a slot.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_default(&mut self, kernel: &mut Datapath, slot: PolicyId) -> Result<(), CallError> {
        self.chain_default(kernel, Some(slot), self.base_slot())?;
        self.default_slot = Some(slot);
        Ok(())
    }

    /// Has the kernel judge unowned cgroups by a slot, where there is one, and by the fleet's around it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn chain_default(
        &self,
        kernel: &mut Datapath,
        slot: Option<PolicyId>,
        base: Option<PolicyId>,
    ) -> Result<(), CallError> {
        if slot.is_some() {
            let chain: Vec<_> = slot.into_iter().chain(base).collect();
            kernel.set_default(&chain)?;
        }
        Ok(())
    }

    /// The policies that judge unowned cgroups.
    #[must_use]
    pub fn default_chain(&self) -> Option<Vec<PolicyId>> {
        let own = self.default_slot?;
        Some([own].into_iter().chain(self.base_slot()).collect())
    }

    /// The slots with what they hold.
    pub fn iter(&self) -> impl Iterator<Item = (PolicyId, &InForce)> {
        self.slots.iter().map(|(slot, policy)| (*slot, policy))
    }

    /// The slot of the same policy: guardd's own of that name, or a session's with the same text.
    #[must_use]
    pub fn same(&self, source: &PolicyText) -> Option<PolicyId> {
        if source.base {
            return self.base_slot();
        }
        if let Some(name) = &source.name {
            return self.named(name, source.observe);
        }
        let mut slots = self.slots.iter();
        let found = slots.find(|(_, policy)| policy.source == *source);
        found.map(|(slot, _)| *slot)
    }

    /// The slot of guardd's policy of that name, as it is or so that it lets pass what no rule names.
    #[must_use]
    pub fn named(&self, name: &str, observe: bool) -> Option<PolicyId> {
        let mut slots = self.slots.iter();
        let is_it =
            |source: &PolicyText| source.name.as_deref() == Some(name) && source.observe == observe;
        let found = slots.find(|(_, policy)| is_it(&policy.source));
        found.map(|(slot, _)| *slot)
    }

    /// The slot of the fleet's policy that lies around each session.
    #[must_use]
    pub fn base_slot(&self) -> Option<PolicyId> {
        self.bases().first().copied()
    }

    /// The slots of such policies: one, or none.
    #[must_use]
    pub fn bases(&self) -> Vec<PolicyId> {
        let slots = self.slots.iter();
        let bases = slots.filter(|(_, policy)| policy.source.base);
        bases.map(|(slot, _)| *slot).collect()
    }

    /// All names in all policies.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let policies = self.slots.values();
        policies
            .flat_map(|policy| policy.names().map(str::to_owned))
            .collect()
    }

    /// The verdict of a chain of policies on one destination: the strictest; of equals one by a rule, and of these the outermost, which
    /// is the last. The kernel takes the outermost, so the two may name different rules.
    /// `None` if a slot is not known: the kernel half denies then.
    #[must_use]
    pub fn judge<'c>(
        &self,
        subject: impl Into<VerdictSubject<'c>>,
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Option<ChainVerdict<'_>> {
        let each = self.judge_each(subject, to, protocol, port)?;
        // Of equals one by a rule, which says more than a default; of these the outermost.
        let each = each.into_iter();
        each.max_by_key(|judged| (judged.verdict.strictness(), judged.says_more()))
    }

    /// The verdict of each policy of a chain on one destination, in the chain's order. `None` as for [`Self::judge`].
    #[must_use]
    pub fn judge_each<'c>(
        &self,
        subject: impl Into<VerdictSubject<'c>>,
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Option<Vec<ChainVerdict<'_>>> {
        let subject = subject.into();
        let ports = [PortSpec::one(protocol, port)];
        let judged = subject.chain.iter().map(|slot| {
            let policy = self.slots.get(slot)?;
            if let Some(judged) = self.judge_by_names(subject, (*slot, policy), to, protocol, port)
            {
                return Some(judged);
            }
            let Met { verdict, rule } = *policy.over(&Prefix::host(to), &ports).met.first()?;
            Some(ChainVerdict {
                verdict,
                rule,
                policy,
            })
        });
        judged.collect()
    }

    /// Whether a policy of a chain has rules for names.
    #[must_use]
    pub fn speaks_of_names(&self, chain: &[PolicyId]) -> bool {
        let mut policies = chain.iter().filter_map(|slot| self.slots.get(slot));
        policies.any(InForce::speaks_of_names)
    }

    /// Whether a policy of a chain has a rule for names that is stricter than `allow`.
    #[must_use]
    pub fn closes_by_name(&self, chain: &[PolicyId]) -> bool {
        let mut policies = chain.iter().filter_map(|slot| self.slots.get(slot));
        policies.any(|of| {
            let mut rules = of.policy.rules.iter();
            of.speaks_of_names()
                && rules.any(|rule| {
                    let mut names = rule.to.iter().filter_map(policy::NamePattern::of);
                    rule.action != Verdict::Allow && names.next().is_some()
                })
        })
    }

    /// Every verdict of the policy in a slot on an address that the session knows by names, or would know by `name` if it
    /// asked for that; `None` if there are no names.
    #[must_use]
    pub fn over_known(
        &self,
        subject: VerdictSubject<'_>,
        slot: PolicyId,
        (to, name): (&Prefix, Option<&str>),
        ports: &[PortSpec],
    ) -> Option<Coverage<'_>> {
        let policy = self.slots.get(&slot)?;
        let key = NamedKey::new(subject.session?, slot, to.address());
        let now = clock::now();
        let known = self.known.patterns(&key);
        let asked = name.and_then(|name| known_names::pattern_of(&policy.compiled, name));
        let named = match asked {
            None => known.or(name.map(|_| Named::default()))?,
            Some(pattern) => {
                let until = BootTime(u64::MAX);
                known
                    .unwrap_or_default()
                    .with(&key, Learned { pattern, until }, now)?
            }
        };
        let (policy, compiled) = (&policy.policy, &policy.compiled);
        Some(policy::over_known(
            policy,
            compiled,
            to,
            ports,
            (&named, now),
        ))
    }

    /// A rule of a session's policies that has a name of an address and opens nothing there, and why.
    #[must_use]
    pub fn barred(
        &self,
        subject: VerdictSubject<'_>,
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Option<String> {
        let to = Connection::new(to, protocol, port);
        subject.chain.iter().find_map(|slot| {
            let policy = self.slots.get(slot)?;
            let key = NamedKey::new(subject.session?, *slot, to.to);
            let known = (&self.known.patterns(&key)?, clock::now());
            policy::barred(&policy.policy, &policy.compiled, &to, known)
        })
    }

    /// The verdict of a policy on an address that the session knows by names; `None` if it knows none.
    fn judge_by_names<'p>(
        &self,
        subject: VerdictSubject<'_>,
        (slot, policy): (PolicyId, &'p InForce),
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Option<ChainVerdict<'p>> {
        let named = self
            .known
            .patterns(&NamedKey::new(subject.session?, slot, to))?;
        let to = Connection::new(to, protocol, port);
        let lookup = policy.compiled.lookup();
        let says = |pattern| said_of(&lookup, slot, pattern, &to);
        let said = subject.by_names(says, Some(&named));
        Some(ChainVerdict {
            verdict: said.verdict,
            rule: policy.policy.rule(said.rule),
            policy,
        })
    }

    /// The name servers of this machine: `@dns`.
    #[must_use]
    pub fn name_servers(&self) -> Vec<IpAddr> {
        self.name_servers.addresses()
    }

    /// Those whose answers to sessions count.
    #[must_use]
    pub fn teachers(&self) -> Vec<IpAddr> {
        self.name_servers.teachers()
    }

    /// On which links of this machine name servers are.
    #[must_use]
    pub fn servers_on_links(&self) -> Vec<OnLink> {
        self.name_servers.on_links()
    }

    /// The search list of this machine's resolvers.
    #[must_use]
    pub fn search_list(&self) -> Vec<String> {
        self.name_servers.search_list()
    }

    /// Whether a policy has a person asked before a name leaves; `None` if its slot is not known.
    #[must_use]
    pub fn asks_about(&self, slot: PolicyId, name: &str) -> Option<bool> {
        let policy = self.slots.get(&slot)?;
        let is_named = || known_names::pattern_of(&policy.compiled, name).is_some();
        Some(policy.policy.names_asked() == DnsNames::Ask && !is_named())
    }

    /// Whether sessions of a chain may be asked about for a name, or for one that a pattern of names has: so many new names below a
    /// zone are asked about under any policy that speaks of names.
    #[must_use]
    pub fn asks_any(&self, chain: &[PolicyId], pattern: &str) -> bool {
        match pattern.starts_with("*.") {
            true => self.speaks_of_names(chain),
            false => chain
                .iter()
                .any(|slot| self.asks_about(*slot, pattern) == Some(true)),
        }
    }

    /// The names by which sessions know addresses.
    #[must_use]
    pub fn known_names(&self) -> &KnownNames {
        &self.known
    }

    /// Records an answer that a session with that chain of policies got.
    pub fn learn_answer(
        &mut self,
        kernel: &mut Datapath,
        answered: &NameAnswer<'_>,
        chain: &[PolicyId],
    ) {
        let tables = tables(&self.slots, chain);
        self.known.learn(kernel, answered, &tables, clock::now());
    }

    /// Records that a session got answers that are not known here, which count until then.
    pub fn miss_answers(&mut self, session: SessionId, until: BootTime) {
        self.known.miss(session, until);
    }

    /// Writes to the kernel again by which patterns sessions know addresses that the policy in a slot judges: it has changed.
    pub fn rewrite_names(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        slot: PolicyId,
    ) {
        if let Some(policy) = self.slots.get(&slot) {
            let table = (slot, policy.compiled.as_ref());
            self.known.rewrite(kernel, sessions, table, clock::now());
        }
    }

    /// Has the kernel know for sessions by the patterns of a new version what they know by those of the one that is in the slot, which
    /// stay: it may take the other's place then.
    ///
    /// # Errors
    ///
    /// The kernel's, as where there is no room: then some of it is there.
    fn write_names_ahead(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        (slot, new): (PolicyId, &InForce),
    ) -> Result<(), DatapathError> {
        let Some(stands) = self.slots.get(&slot) else {
            return Ok(());
        };
        let now = clock::now();
        let mut carried = Carried::between(stands, new);
        self.known
            .carry(kernel, sessions, (slot, slot), &mut carried, now)?;
        let table = (slot, new.compiled.as_ref());
        self.known.write_ahead(kernel, sessions, table, now)
    }

    /// Has the kernel know for sessions under `new` what they know under `old`, so that the one may judge them in place of the other.
    ///
    /// # Errors
    ///
    /// The kernel's, as where there is no room: then some of it is there.
    pub fn carry_names(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        (old, new): (PolicyId, PolicyId),
    ) -> Result<(), DatapathError> {
        let slots = (self.slots.get(&old), self.slots.get(&new));
        let (Some(was), Some(is)) = slots else {
            return Ok(());
        };
        let mut carried = Carried::between(was, is);
        self.known
            .carry(kernel, sessions, (old, new), &mut carried, clock::now())
    }

    /// Has the kernel know under `base` what sessions with these chains know, so that it may judge them as well.
    ///
    /// # Errors
    ///
    /// The kernel's, as where there is no room: then some of it is there.
    pub fn carry_names_around(
        &self,
        kernel: &mut Datapath,
        chains: &HashMap<SessionId, Vec<PolicyId>>,
        base: PolicyId,
    ) -> Result<(), DatapathError> {
        let Some(is) = self.slots.get(&base) else {
            return Ok(());
        };
        if !is.speaks_of_names() {
            return Ok(());
        }
        let now = clock::now();
        let slots: BTreeSet<_> = chains.values().flatten().collect();
        for slot in slots {
            let under = chains.iter().filter(|(_, chain)| chain.contains(slot));
            let under = under.map(|(session, _)| *session).collect();
            if let Some(was) = self.slots.get(slot) {
                let mut carried = Carried::between(was, is);
                self.known
                    .carry(kernel, &under, (*slot, base), &mut carried, now)?;
            }
        }
        let sessions = chains.keys().copied().collect();
        let table = (base, is.compiled.as_ref());
        self.known.write_ahead(kernel, &sessions, table, now)
    }

    /// Removes what sessions know under a policy that judges them no more, or not yet.
    pub fn forget_names_under(
        &mut self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        slot: PolicyId,
    ) {
        self.known.forget_under(kernel, sessions, slot);
    }

    /// Reads from the kernel by which names a session knows an address.
    ///
    /// # Errors
    ///
    /// The kernel's: then nothing can be said of the address.
    pub fn recall_names(
        &self,
        kernel: &Datapath,
        subject: VerdictSubject<'_>,
        address: Address,
    ) -> Result<(), CallError> {
        let Some(session) = subject.session else {
            return Ok(());
        };
        let key = AnsweredKey { session, address };
        if self.speaks_of_names(subject.chain) {
            self.answered.forget(key);
            self.known.recall(kernel, session, address, subject.chain)?;
        } else {
            let servers = || self.name_servers.teachers();
            self.answered.recall(kernel, key, servers)?;
        }
        Ok(())
    }

    /// Adopts what sessions knew under an earlier guardd; of those that are not there any more nothing stays.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn adopt_names(
        &mut self,
        kernel: &mut Datapath,
        is_there: impl Fn(SessionId) -> bool,
    ) -> Result<(), CallError> {
        self.known.keep_alone(kernel, is_there)?;
        self.known.adopt(kernel.all_named()?);
        Ok(())
    }

    /// Removes what sessions knew that are not there any more.
    pub fn keep_names_of(&mut self, kernel: &mut Datapath, is_there: impl Fn(SessionId) -> bool) {
        if let Err(error) = self.known.keep_alone(kernel, is_there) {
            tracing::error!(%error, "cannot forget what sessions knew that have ended");
        }
    }

    /// Sets whether the guard's resolver judges names. The policies in force must be compiled again then.
    pub fn set_judges_names(&mut self, judges: bool) {
        self.judges_names = judges;
    }

    /// The Unix sockets that all policies of a chain allow, but for a fleet's around it.
    #[must_use]
    pub fn allowed_sockets(&self, chain: &[PolicyId]) -> Vec<SocketName> {
        let base = self.base_slot();
        let chain = chain.iter().filter(|slot| base != Some(**slot));
        let mut policies = chain.map(|slot| self.slots.get(slot));
        let Some(Some(own)) = policies.next() else {
            return Vec::new();
        };
        let mut allowed = own.policy.unix.clone();
        for outer in policies {
            allowed.retain(|name| outer.is_some_and(|outer| outer.policy.unix.contains(name)));
        }
        allowed
    }

    /// The name of the first policy of a chain: the innermost.
    #[must_use]
    pub fn name_of(&self, chain: &[PolicyId]) -> String {
        let policy = chain.first().and_then(|slot| self.slots.get(slot));
        policy.map_or_else(|| "unknown".to_owned(), |known| known.policy.name.clone())
    }

    /// The name of the policy that has judged, where that is not a chain's first: the fleet's around a session, or that of a session
    /// around it.
    #[must_use]
    pub fn around(&self, chain: &[PolicyId], judged: &ChainVerdict<'_>) -> Option<String> {
        let name = &judged.policy.policy.name;
        (*name != self.name_of(chain)).then(|| name.clone())
    }

    /// Each as `guard status` shows it; `used`: how many live sessions a slot judges.
    #[must_use]
    pub fn statuses(&self, used: impl Fn(PolicyId) -> usize) -> Vec<PolicyStatus> {
        let statuses = self.slots.iter().filter_map(|(slot, policy)| {
            let sessions = used(*slot);
            if sessions == 0 && policy.source.text == guard_probe::attempts::POLICY {
                return None;
            }
            Some(policy.status(sessions, self.warnings_about(policy)))
        });
        statuses.collect()
    }

    /// Names in the rules of a slot's policy that have no address.
    #[must_use]
    pub fn unresolved(&self, slot: PolicyId) -> Vec<String> {
        let policy = self.slots.get(&slot);
        policy.map_or_else(Vec::new, |policy| {
            self.names.without_address(policy.names())
        })
    }

    /// The warnings about a slot's policy.
    #[must_use]
    pub fn warnings_of(&self, slot: PolicyId) -> Vec<String> {
        let Some(policy) = self.slots.get(&slot) else {
            return Vec::new();
        };
        policy.status(0, self.warnings_about(policy)).warnings
    }

    /// Names of a policy that were looked up, and have no address.
    fn warnings_about(&self, policy: &InForce) -> Vec<String> {
        match policy.source.unasked {
            true => Vec::new(),
            false => self.names.warnings(policy.names()),
        }
    }

    /// Whether a prefix is one decision: each policy of the chain has one answer for all of it, by one rule, and the strictest
    /// is `confirm`.
    #[must_use]
    pub fn confirm_all(&self, chain: &[PolicyId], within: &Prefix, ports: PortSpec) -> bool {
        let mut strictest = Verdict::Allow;
        for slot in chain {
            let Some(policy) = self.slots.get(slot) else {
                return false;
            };
            let [Met { verdict, .. }] = policy.over(within, &[ports]).met[..] else {
                return false;
            };
            if verdict.strictness() > strictest.strictness() {
                strictest = verdict;
            }
        }
        strictest == Verdict::Confirm
    }
}

/// No policies, and no files.
#[cfg(test)]
pub(crate) fn none() -> Policies {
    let library = Library::new(Vec::new());
    Policies::new(
        library,
        NameServers::default(),
        Shelf::nowhere(),
        Shelf::nowhere(),
    )
}

/// Policies with these texts, in slots of their own.
#[cfg(test)]
pub(crate) fn of_texts(texts: &[String]) -> Policies {
    let mut policies = none();
    for (slot, text) in (1..).zip(texts) {
        let source = PolicyText::brought(None, text.clone());
        let read = parse(&source).unwrap();
        let now = Environment {
            judges_names: true,
            ..Environment::default()
        };
        let prepared = compile(source, read, &now).unwrap();
        policies.put(PolicyId(slot), prepared.into());
    }
    policies
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn in_force(text: &str) -> InForce {
        let policies = of_texts(&[format!("version = 1\n{text}")]);
        policies.get(PolicyId(1)).unwrap().clone()
    }

    fn policies(texts: &[&str]) -> Policies {
        let texts = texts.iter().map(|text| format!("version = 1\n{text}"));
        of_texts(&texts.collect::<Vec<_>>())
    }

    #[test]
    fn a_wildcard_that_nothing_holds_sessions_to_is_refused_where_it_is_stricter() {
        let public = "[[rule]]\nto = [\"@public\"]\naction = \"allow\"\n";
        let compiled = |default: &str, action: &str, judges_names| {
            let (default, more) = match default {
                "public" => ("deny", public),
                other => (other, ""),
            };
            let text = format!(
                "version = 1\ndefault = \"{default}\"\n{more}[[rule]]\nto = [\"*.prod.example\"]\naction = \"{action}\"\n"
            );
            let source = PolicyText::brought(None, text);
            let read = parse(&source).unwrap();
            let now = Environment {
                judges_names,
                ..Environment::default()
            };
            compile(source, read, &now)
        };
        for (default, action) in [
            ("allow", "confirm"),
            ("allow", "deny"),
            ("confirm", "deny"),
            ("public", "deny"),
        ] {
            let error = compiled(default, action, false).unwrap_err().to_string();
            assert!(error.contains("*.prod.example"), "{error}");
            assert!(error.contains("guard-resolver is not installed"), "{error}");
            assert!(compiled(default, action, true).is_ok());
        }
        // What would only open stays shut, with a warning.
        let shut = compiled("deny", "allow", false).unwrap();
        assert!(shut.warnings[0].contains("holds for nothing"));
    }

    #[test]
    fn the_strictest_of_a_chain_decides_and_is_named() {
        let policies = policies(&[
            "default = \"allow\"",
            "default = \"allow\"\n[[rule]]\nname = \"db\"\nto = [\"192.0.2.1\"]\nports = [\"tcp/5432\"]\naction = \"confirm\"",
        ]);
        let judge = |slots: &[u32], port| {
            let chain: Vec<_> = slots.iter().map(|slot| PolicyId(*slot)).collect();
            let to = IpAddr::from([192, 0, 2, 1]).into();
            let judged = policies.judge(&chain, to, Protocol::TCP, port)?;
            Some((judged.verdict, judged.rule.map(|rule| rule.name.clone())))
        };
        let stopped = Some((Verdict::Confirm, Some("db".to_owned())));
        assert_eq!(judge(&[1, 2], 5432), stopped);
        assert_eq!(judge(&[2, 1], 5432), stopped);
        assert_eq!(judge(&[1, 2], 5433), Some((Verdict::Allow, None)));
        assert_eq!(judge(&[1, 3], 5432), None);
    }

    #[test]
    fn of_policies_that_say_the_same_a_rule_is_named_before_a_default() {
        let rule = |name: &str| {
            format!(
                "default = \"deny\"\n[[rule]]\nname = \"{name}\"\nto = [\"192.0.2.1\"]\naction = \"allow\""
            )
        };
        let (own, base) = (rule("own"), rule("base"));
        let policies = policies(&[&own, "default = \"allow\"", &base]);
        let named = |slots: &[u32]| {
            let chain: Vec<_> = slots.iter().map(|slot| PolicyId(*slot)).collect();
            let to = IpAddr::from([192, 0, 2, 1]).into();
            let judged = policies.judge(&chain, to, Protocol::TCP, 443).unwrap();
            judged.rule.map(|rule| rule.name.clone())
        };
        assert_eq!(named(&[1, 2]).as_deref(), Some("own"));
        assert_eq!(named(&[2, 1]).as_deref(), Some("own"));
        assert_eq!(named(&[1, 3]).as_deref(), Some("base"), "the outermost");
        assert_eq!(named(&[2, 2]), None);
    }

    #[test]
    fn a_policy_depends_on_its_own_names_and_groups_only() {
        let known = Environment {
            names: ["db.example.com", "other.example.com"]
                .map(|name| (name.to_owned(), vec![IpAddr::from([192, 0, 2, 1])]))
                .into(),
            public: ["db.example.com", "other.example.com"]
                .map(str::to_owned)
                .into(),
            dns: vec![IpAddr::from([192, 0, 2, 53])],
            host: vec![IpAddr::from([192, 0, 2, 2])],
            on_link: vec![Prefix::v4([192, 0, 2, 0], 24)],
            judges_names: false,
        };
        let text =
            "default = \"allow\"\n[[rule]]\nto = [\"db.example.com\", \"@dns\"]\naction = \"deny\"";
        let relevant = relevant(&in_force(text).policy, &known);
        assert_eq!((relevant.names.len(), relevant.public.len()), (1, 1));
        assert_eq!(relevant.dns, known.dns);
        assert!(relevant.host.is_empty() && relevant.on_link.is_empty());
    }

    #[test]
    fn a_bad_policy_says_where_it_is_bad() {
        let source =
            PolicyText::brought(Some("./mine.toml".to_owned()), "version = 1\nx = 1".into());
        let error = parse(&source).unwrap_err().failure;
        assert!(error.what.contains("./mine.toml"), "{error}");
        assert!(error.why.contains("line 2, column 1"), "{error}");
    }
}
