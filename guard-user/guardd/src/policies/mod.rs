//! The policies in force: what each slot of the kernel's map `POLICIES` holds, and its source text.
//!
//! In the order of a policy's way: `library.rs` finds its text, `prepared.rs` parses and compiles it, `names.rs` resolves the host names
//! in it, `load.rs` puts it in place, and `verdict.rs` says what a chain of them decides. In code a slot is a `PolicyId`, [`Prepared`] is a
//! policy that is ready to be put in place, and [`InForce`] one that is.
//!
//! Names are of three kinds: those in policies, whose addresses guardd looks up (`names.rs`); those by which sessions know addresses, as
//! the guard's resolver told (`known_names.rs`, and of one address `address_names.rs`) or, under policies that speak of none, as name
//! servers answered (`answered_names.rs`); and those that clients show (`shown_names.rs`). `name_answers.rs` is what others ask of the
//! first two.

mod address_names;
mod answered_names;
mod carried;
mod known_names;
pub(crate) mod labels;
pub(crate) mod library;
pub(crate) mod load;
mod name_answers;
pub(crate) mod names;
mod prepared;
mod shown_names;
pub(crate) mod unusable;
mod verdict;
pub(crate) mod widens;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use guard_common::{Address, AnsweredKey, BootTime, PolicyId, SessionId, Verdict};
use guard_datapath::{Datapath, DatapathError};
use guard_policy::{
    self as policy, Compiled, Coverage, DnsNames, Environment, Policy, PortSpec, Prefix, SocketName,
};
use guard_proto::{names::OnLink, status::PolicyStatus};
use guard_sys::clock;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};

pub(crate) use self::{
    address_names::NameAsker,
    known_names::NameAnswer,
    name_answers::UsedName,
    prepared::{ParsedPolicy, Prepared, compile, parse, relevant},
    verdict::{ChainVerdict, VerdictSubject},
};
use self::{
    answered_names::AnsweredNames,
    carried::Carried,
    known_names::KnownNames,
    library::{Library, PolicyText},
    names::{NameServers, PolicyNames},
    unusable::Unusable,
};
use crate::{
    control::failure::CallError,
    quota::{Account, Quota},
    record::shelf::Shelf,
    times::DEFAULT_TERM,
};

/// The slot of a policy, and that of the one that judges in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplacedPolicy {
    pub(crate) old: PolicyId,
    pub(crate) new: PolicyId,
}

/// A policy in a slot of the kernel.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    /// Its source.
    pub(crate) source: PolicyText,
    /// SHA-256 of its text, in hexadecimal.
    pub(crate) sha256: String,
    /// Its parsed text.
    pub(crate) policy: Arc<Policy>,
    /// Its tables, as the kernel has them.
    pub(crate) compiled: Arc<Compiled>,
    /// The addresses of its names and groups when its tables were compiled.
    pub(crate) fitted: Environment,
    /// When this version was put in place.
    pub(crate) loaded_at: Timestamp,
    /// Why a newer version was refused.
    pub(crate) error: Option<String>,
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
    /// Returns true if some destination is read-only.
    #[must_use]
    pub(crate) fn is_read_only(&self) -> bool {
        let mut actions = self.policy.rules.iter().map(|rule| rule.action);
        self.policy.default == Verdict::ReadOnly
            || actions.any(|action| action == Verdict::ReadOnly)
    }

    /// Whether it has rules for names that the resolver judges.
    #[must_use]
    pub(crate) fn speaks_of_names(&self) -> bool {
        self.compiled.judges_names()
    }

    /// The names in its rules.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.policy.names().map(policy::DomainName::as_str)
    }

    /// Every verdict of the policy inside a prefix, and the rules that give them.
    #[must_use]
    pub(crate) fn over(&self, within: &Prefix, ports: &[PortSpec]) -> Coverage<'_> {
        policy::over(&self.policy, &self.compiled, within, ports)
    }

    /// As `guard status` shows it.
    #[must_use]
    pub(crate) fn status(&self, sessions: usize, unresolved: Vec<String>) -> PolicyStatus {
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

/// The key of the one value on the shelf of names.
const KNOWN_NAMES: &str = "known";

/// Owns the policies: the kernel's slots, their source texts, and the addresses of their names.
#[derive(Debug)]
pub(crate) struct Policies {
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
    /// Names that were looked up for sessions lately.
    look_ups: Quota,
    /// Who brought the texts that are no policies of guardd's.
    brought_by: HashMap<PolicyId, Account>,
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
    pub(crate) fn new(
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
            look_ups: Quota::new(name_answers::LOOK_UPS),
            brought_by: HashMap::new(),
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
    pub(crate) fn library(&self) -> &Library {
        &self.library
    }

    /// Has the fleet's policies be these, or not be known.
    pub(crate) fn set_fleet(&mut self, policies: Result<BTreeMap<String, String>, String>) {
        self.library.set_fleet(policies);
    }

    /// The longest hole that a session may have, if no rule says more.
    #[must_use]
    pub(crate) fn longest_hole(&self, chain: &[PolicyId]) -> Duration {
        let policies = chain.iter().filter_map(|slot| self.get(*slot));
        let longest = policies.map(|policy| policy.policy.longest_hole(None));
        longest.min().unwrap_or(DEFAULT_TERM)
    }

    /// The policy in a slot.
    #[must_use]
    pub(crate) fn get(&self, slot: PolicyId) -> Option<&InForce> {
        self.slots.get(&slot)
    }

    /// Records what a slot of the kernel holds now.
    pub(crate) fn put(&mut self, slot: PolicyId, policy: InForce) {
        self.slots.insert(slot, policy);
    }

    /// The slot that judges unowned cgroups.
    #[must_use]
    pub(crate) fn default_slot(&self) -> Option<PolicyId> {
        self.default_slot
    }

    /// Has the kernel judge unowned cgroups by a slot.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn set_default(
        &mut self,
        kernel: &mut Datapath,
        slot: PolicyId,
    ) -> Result<(), CallError> {
        self.chain_default(kernel, Some(slot), self.base_slot())?;
        self.default_slot = Some(slot);
        Ok(())
    }

    /// Has the kernel judge unowned cgroups by a slot, where there is one, and by the fleet's around it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn chain_default(
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
    pub(crate) fn default_chain(&self) -> Option<Vec<PolicyId>> {
        let own = self.default_slot?;
        Some([own].into_iter().chain(self.base_slot()).collect())
    }

    /// The slots with what they hold.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PolicyId, &InForce)> {
        self.slots.iter().map(|(slot, policy)| (*slot, policy))
    }

    /// The slot of the same policy: guardd's own of that name, or a session's with the same text.
    #[must_use]
    pub(crate) fn same(&self, source: &PolicyText) -> Option<PolicyId> {
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
    pub(crate) fn named(&self, name: &str, observe: bool) -> Option<PolicyId> {
        let mut slots = self.slots.iter();
        let is_it =
            |source: &PolicyText| source.name.as_deref() == Some(name) && source.observe == observe;
        let found = slots.find(|(_, policy)| is_it(&policy.source));
        found.map(|(slot, _)| *slot)
    }

    /// The slot of the fleet's policy that lies around each session.
    #[must_use]
    pub(crate) fn base_slot(&self) -> Option<PolicyId> {
        self.bases().first().copied()
    }

    /// The slots of such policies: one, or none.
    #[must_use]
    pub(crate) fn bases(&self) -> Vec<PolicyId> {
        let slots = self.slots.iter();
        let bases = slots.filter(|(_, policy)| policy.source.base);
        bases.map(|(slot, _)| *slot).collect()
    }

    /// All names in all policies.
    #[must_use]
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let policies = self.slots.values();
        policies
            .flat_map(|policy| policy.names().map(str::to_owned))
            .collect()
    }

    /// Whether a policy of a chain has rules for names.
    #[must_use]
    pub(crate) fn speaks_of_names(&self, chain: &[PolicyId]) -> bool {
        let mut policies = chain.iter().filter_map(|slot| self.slots.get(slot));
        policies.any(InForce::speaks_of_names)
    }

    /// The name servers of this machine: `@dns`.
    #[must_use]
    pub(crate) fn name_servers(&self) -> Vec<IpAddr> {
        self.name_servers.addresses()
    }

    /// Those whose answers to sessions count.
    #[must_use]
    pub(crate) fn teachers(&self) -> Vec<IpAddr> {
        self.name_servers.teachers()
    }

    /// On which links of this machine name servers are.
    #[must_use]
    pub(crate) fn servers_on_links(&self) -> Vec<OnLink> {
        self.name_servers.on_links()
    }

    /// The search list of this machine's resolvers.
    #[must_use]
    pub(crate) fn search_list(&self) -> Vec<String> {
        self.name_servers.search_list()
    }

    /// Whether a policy has a person asked before a name leaves; `None` if its slot is not known.
    #[must_use]
    pub(crate) fn asks_about(&self, slot: PolicyId, name: &str) -> Option<bool> {
        let policy = self.slots.get(&slot)?;
        let is_named = || known_names::pattern_of(&policy.compiled, name).is_some();
        Some(policy.policy.names_asked() == DnsNames::Ask && !is_named())
    }

    /// Whether sessions of a chain may be asked about for a name, or for one that a pattern of names has: so many new names below a
    /// zone are asked about under any policy that speaks of names.
    #[must_use]
    pub(crate) fn asks_any(&self, chain: &[PolicyId], pattern: &str) -> bool {
        if pattern.starts_with("*.") {
            self.speaks_of_names(chain)
        } else {
            chain
                .iter()
                .any(|slot| self.asks_about(*slot, pattern) == Some(true))
        }
    }

    /// The names by which sessions know addresses.
    #[must_use]
    pub(crate) fn known_names(&self) -> &KnownNames {
        &self.known
    }

    /// Records an answer that a session with that chain of policies got.
    pub(crate) fn learn_answer(
        &mut self,
        kernel: &mut Datapath,
        answered: &NameAnswer<'_>,
        chain: &[PolicyId],
    ) {
        let tables = tables(&self.slots, chain);
        self.known.learn(kernel, answered, &tables, clock::now());
    }

    /// Records that a session got answers that are not known here, which count until then.
    pub(crate) fn miss_answers(&mut self, session: SessionId, until: BootTime) {
        self.known.miss(session, until);
    }

    /// Writes to the kernel again by which patterns sessions know addresses that the policy in a slot judges: it has changed.
    pub(crate) fn rewrite_names(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        slot: PolicyId,
    ) {
        if let Some(policy) = self.slots.get(&slot) {
            let compiled = policy.compiled.as_ref();
            self.known
                .rewrite(kernel, sessions, slot, compiled, clock::now());
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
        slot: PolicyId,
        new: &InForce,
    ) -> Result<(), DatapathError> {
        let Some(stands) = self.slots.get(&slot) else {
            return Ok(());
        };
        let now = clock::now();
        let mut carried = Carried::between(stands, new);
        let in_place = ReplacedPolicy {
            old: slot,
            new: slot,
        };
        self.known
            .carry(kernel, sessions, in_place, &mut carried, now)?;
        let compiled = new.compiled.as_ref();
        self.known
            .write_ahead(kernel, sessions, slot, compiled, now)
    }

    /// Has the kernel know for sessions under `new` what they know under `old`, so that the one may judge them in place of the other.
    ///
    /// # Errors
    ///
    /// The kernel's, as where there is no room: then some of it is there.
    pub(crate) fn carry_names(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        replaced: ReplacedPolicy,
    ) -> Result<(), DatapathError> {
        let ReplacedPolicy { old, new } = replaced;
        let slots = (self.slots.get(&old), self.slots.get(&new));
        let (Some(was), Some(is)) = slots else {
            return Ok(());
        };
        let mut carried = Carried::between(was, is);
        self.known
            .carry(kernel, sessions, replaced, &mut carried, clock::now())
    }

    /// Has the kernel know under `base` what sessions with these chains know, so that it may judge them as well.
    ///
    /// # Errors
    ///
    /// The kernel's, as where there is no room: then some of it is there.
    pub(crate) fn carry_names_around(
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
                let replaced = ReplacedPolicy {
                    old: *slot,
                    new: base,
                };
                self.known
                    .carry(kernel, &under, replaced, &mut carried, now)?;
            }
        }
        let sessions = chains.keys().copied().collect();
        let compiled = is.compiled.as_ref();
        self.known
            .write_ahead(kernel, &sessions, base, compiled, now)
    }

    /// Removes what sessions know under a policy that judges them no more, or not yet.
    pub(crate) fn forget_names_under(
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
    pub(crate) fn recall_names(
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
    pub(crate) fn adopt_names(
        &mut self,
        kernel: &mut Datapath,
        is_there: impl Fn(SessionId) -> bool,
    ) -> Result<(), CallError> {
        self.known.keep_alone(kernel, is_there)?;
        self.known.adopt(kernel.all_named()?);
        Ok(())
    }

    /// Evicts the names that ended sessions knew.
    pub(crate) fn keep_names_of(
        &mut self,
        kernel: &mut Datapath,
        is_there: impl Fn(SessionId) -> bool,
    ) {
        if let Err(error) = self.known.keep_alone(kernel, is_there) {
            tracing::error!(%error, "cannot evict the names that ended sessions knew");
        }
    }

    /// Sets whether the guard's resolver judges names. The policies in force must be compiled again then.
    pub(crate) fn set_judges_names(&mut self, judges: bool) {
        self.judges_names = judges;
    }

    /// The Unix sockets that all policies of a chain allow, but for a fleet's around it.
    #[must_use]
    pub(crate) fn allowed_sockets(&self, chain: &[PolicyId]) -> Vec<SocketName> {
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
    pub(crate) fn name_of(&self, chain: &[PolicyId]) -> String {
        let policy = chain.first().and_then(|slot| self.slots.get(slot));
        policy.map_or_else(|| "unknown".to_owned(), |known| known.policy.name.clone())
    }

    /// The name of the policy that has judged, where that is not a chain's first: the fleet's around a session, or that of a session
    /// around it.
    #[must_use]
    pub(crate) fn around(&self, chain: &[PolicyId], judged: &ChainVerdict<'_>) -> Option<String> {
        let name = &judged.policy.policy.name;
        (*name != self.name_of(chain)).then(|| name.clone())
    }

    /// Each as `guard status` shows it; `used`: how many live sessions a slot judges.
    #[must_use]
    pub(crate) fn statuses(&self, used: impl Fn(PolicyId) -> usize) -> Vec<PolicyStatus> {
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
    pub(crate) fn unresolved(&self, slot: PolicyId) -> Vec<String> {
        let policy = self.slots.get(&slot);
        policy.map_or_else(Vec::new, |policy| {
            self.names.without_address(policy.names())
        })
    }

    /// The warnings about a slot's policy.
    #[must_use]
    pub(crate) fn warnings_of(&self, slot: PolicyId) -> Vec<String> {
        let Some(policy) = self.slots.get(&slot) else {
            return Vec::new();
        };
        policy.status(0, self.warnings_about(policy)).warnings
    }

    /// Names of a policy that were looked up, and have no address.
    fn warnings_about(&self, policy: &InForce) -> Vec<String> {
        if policy.source.unasked {
            Vec::new()
        } else {
            self.names.warnings(policy.names())
        }
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
