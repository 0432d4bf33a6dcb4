//! By which names sessions know addresses: what the guard's resolver has told them, and the kernel's map `NAMED`.
//!
//! The kernel decides by patterns of policies. The names themselves are here: they are shown to people, and a new version of a
//! policy has other patterns for them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use guard_common::{Address, BootTime, Learned, NameId, Named, NamedKey, PolicyId, SessionId};
use guard_datapath::{Datapath, DatapathError};
use guard_policy::{Compiled, DomainName};

use super::carried::{Carried, UNKNOWN};
use crate::times::after;

/// Addresses that are known of one session at most. What is over that the kernel knows alone.
const MAX_ADDRESSES: usize = 16_384;
/// Names that are known of one address of a session at most.
const MAX_NAMES: usize = 16;

/// What sessions know.
#[derive(Debug, Default)]
pub struct KnownNames {
    /// As the kernel has it, or had it when it was last read.
    patterns: RefCell<HashMap<NamedKey, Named>>,
    /// Sessions of which the kernel knows more than is kept here.
    beyond: HashSet<SessionId>,
    /// The names of each address.
    names: HashMap<SessionId, HashMap<Address, BTreeMap<String, LearnedAddress>>>,
}

/// What a session was told of a name and an address.
#[derive(Clone, Debug)]
struct LearnedAddress {
    /// Until when it counts.
    until: BootTime,
    /// When first, and when last.
    since: BootTime,
    at: BootTime,
    /// By which name it was led there, if it did not ask for this one.
    by: Option<String>,
    asker: NameAsker,
}

/// The process that asked for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameAsker {
    /// Its id.
    pub pid: Option<u32>,
    /// Its executable's name.
    pub comm: Option<String>,
}

/// An answer of a name server that a session got.
#[derive(Clone, Debug)]
pub struct NameAnswer<'a> {
    /// The session.
    pub session: SessionId,
    /// The name that it asked for.
    pub asked: &'a str,
    /// The name that has the addresses: the same, or one that CNAME led to.
    pub name: &'a str,
    /// The addresses.
    pub addresses: Vec<Address>,
    /// When it was told.
    pub at: BootTime,
    /// Until when they count.
    pub until: BootTime,
    /// Who asked.
    pub asker: NameAsker,
}

impl NameAsker {
    /// That process, as far as it is known.
    #[must_use]
    pub fn of(pid: Option<u32>, comm: Option<&str>) -> Self {
        let comm = comm.map(str::to_owned);
        Self { pid, comm }
    }

    /// Whether a thread that calls itself so may be one of its: the kernel keeps 15 bytes of a name.
    fn is(&self, program: &str) -> bool {
        const KEPT: usize = 15;
        let comm = self.comm.as_deref().unwrap_or_default();
        !comm.is_empty() && comm.bytes().take(KEPT).eq(program.bytes().take(KEPT))
    }

    /// Whether it may be that process. Of one of which nothing is known it may.
    fn may_be(&self, other: &Self) -> bool {
        let is_same = self.pid.is_some() && self.pid == other.pid;
        is_same || self.is_called_as(other)
    }

    /// Whether both may be of one program: an executable is `python3.12` whose thread calls itself `python3`.
    fn is_called_as(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (&self.comm, &other.comm) else {
            return true;
        };
        self.is(two) || one.starts_with(two.as_str()) || two.starts_with(one.as_str())
    }
}

impl LearnedAddress {
    /// Whether that process is likely to have gone by this name: it asked for it, or another one of its program did just now, of
    /// whose answer the resolver does not tell again when this one asks. What an earlier one asked for says nothing of it.
    fn is_likely_by(&self, who: &NameAsker, now: BootTime) -> bool {
        let is_it = self.asker.pid.is_some() && self.asker.pid == who.pid;
        let is_just_now = self.until > now && after(self.at, UNTOLD) > now;
        is_it || (self.asker.may_be(who) && (is_just_now || who.pid.is_none()))
    }
}

impl<'a> NameAnswer<'a> {
    /// The names of the addresses, each with the one by which the session was led there.
    fn names(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let led = (self.name != self.asked).then_some((self.name, Some(self.asked)));
        std::iter::once((self.asked, None)).chain(led)
    }
}

/// How a session knows an address by a name that it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownName<'a> {
    /// The name.
    pub name: &'a str,
    /// The name that has the address, where CNAME led to another.
    pub cname: Option<&'a str>,
    /// Who asked.
    pub asker: &'a NameAsker,
    /// When it was last told.
    pub at: BootTime,
    /// Other names that it asked for.
    pub also: Vec<&'a str>,
}

/// The resolver tells guardd of the same answer again after ten seconds: a program that asked in between has then connected.
const UNTOLD: Duration = Duration::from_secs(15);
/// A program may connect before the resolver has looked at the clock.
const MOMENT: Duration = Duration::from_millis(5);
/// Other names that are told of one address.
const MAX_ALSO: usize = 8;

/// The narrowest pattern of a policy that covers a name.
pub(super) fn pattern_of(compiled: &Compiled, name: &str) -> Option<NameId> {
    let name: DomainName = name.parse().ok()?;
    compiled.pattern_of(&name).map(|pattern| pattern.id())
}

impl KnownNames {
    /// What a session knows an address by, for one of its policies.
    #[must_use]
    pub fn patterns(&self, key: &NamedKey) -> Option<Named> {
        self.patterns.borrow().get(key).copied()
    }

    /// Reads from the kernel what a session knows an address by: the resolver may not have told of it yet.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn recall(
        &self,
        kernel: &Datapath,
        session: SessionId,
        address: Address,
        chain: &[PolicyId],
    ) -> Result<(), DatapathError> {
        for slot in chain {
            let key = NamedKey::new(session, *slot, address);
            let found = kernel.named(&key)?;
            let mut patterns = self.patterns.borrow_mut();
            match found {
                Some(named) => patterns.insert(key, named),
                None => patterns.remove(&key),
            };
        }
        Ok(())
    }

    /// The name that a session asked for last of those that it knows an address by; before all others, of those that are
    /// meant.
    #[must_use]
    pub fn name_of(
        &self,
        session: SessionId,
        address: Address,
        is_meant: impl Fn(&str) -> bool,
    ) -> Option<KnownName<'_>> {
        self.name_by(session, address, is_meant, |_| true)
    }

    /// The same of those alone by which that process is likely to have gone there.
    #[must_use]
    pub fn name_used_by(
        &self,
        session: SessionId,
        address: Address,
        is_meant: impl Fn(&str) -> bool,
        (who, now): (&NameAsker, BootTime),
    ) -> Option<KnownName<'_>> {
        self.name_by(session, address, is_meant, |told| {
            told.is_likely_by(who, now)
        })
    }

    fn name_by(
        &self,
        session: SessionId,
        address: Address,
        is_meant: impl Fn(&str) -> bool,
        is_likely: impl Fn(&LearnedAddress) -> bool,
    ) -> Option<KnownName<'_>> {
        let names = self.names.get(&session)?.get(&address)?;
        let asked = names.iter().filter(|(_, told)| told.by.is_none());
        let likely = asked.clone().filter(|(_, told)| is_likely(told));
        let (name, told) = likely.max_by_key(|(name, told)| (is_meant(name), told.at))?;
        let mut led = names
            .iter()
            .filter(|(_, other)| other.by.as_ref() == Some(name));
        let also = asked.filter(|(other, _)| *other != name);
        Some(KnownName {
            name,
            cname: led.next().map(|(cname, _)| cname.as_str()),
            asker: &told.asker,
            at: told.at,
            also: also
                .map(|(other, _)| other.as_str())
                .take(MAX_ALSO)
                .collect(),
        })
    }

    /// The name by which a program is likely to have known an address when it connected: the last one that the session had
    /// asked for by then; before all others, of those that a program of that name asked for.
    #[must_use]
    pub fn name_then(
        &self,
        session: SessionId,
        address: Address,
        program: &str,
        then: BootTime,
    ) -> Option<&str> {
        let names = self.names.get(&session)?.get(&address)?;
        // A time of the resolver's may be a moment behind the answer's own.
        let then = after(then, MOMENT);
        let asked = names
            .iter()
            .filter(|(_, told)| told.by.is_none() && told.since <= then);
        let likely = asked.max_by_key(|(_, told)| {
            let at = Some(told.at).filter(|at| *at <= then);
            (told.asker.is(program), at.unwrap_or(told.since))
        });
        likely.map(|(name, _)| name.as_str())
    }

    /// The addresses that a session knows of a name and that count after that moment, each with the time until which it does.
    pub fn addresses_of(
        &self,
        session: SessionId,
        name: &str,
        now: BootTime,
    ) -> impl Iterator<Item = (Address, BootTime)> {
        let known = self.names.get(&session).into_iter().flatten();
        let known =
            known.filter_map(move |(address, names)| Some((*address, names.get(name)?.until)));
        known.filter(move |(_, until)| *until > now)
    }

    /// Takes over what an earlier guardd left in the kernel.
    pub(super) fn adopt(&mut self, all: Vec<(NamedKey, Named)>) {
        self.patterns = RefCell::new(all.into_iter().collect());
    }

    /// Takes note of an answer. The kernel knows of it already, by the policies that the resolver knew.
    pub(super) fn learn(
        &mut self,
        kernel: &mut Datapath,
        answered: &NameAnswer<'_>,
        chain: &[(PolicyId, &Compiled)],
        now: BootTime,
    ) {
        self.note(answered, now);
        for address in &answered.addresses {
            self.write(kernel, (answered.session, *address), chain, now);
        }
    }

    /// Takes note of the names.
    fn note(&mut self, answered: &NameAnswer<'_>, now: BootTime) {
        let known = self.names.entry(answered.session).or_default();
        if known.len() + answered.addresses.len() > MAX_ADDRESSES {
            known.retain(|_, names| names.values().any(|told| told.until > now));
            let is_kept = |key: &NamedKey| {
                key.session != answered.session || known.contains_key(&key.address)
            };
            self.patterns.borrow_mut().retain(|key, _| is_kept(key));
            self.beyond.insert(answered.session);
        }
        for address in &answered.addresses {
            if known.len() < MAX_ADDRESSES || known.contains_key(address) {
                let names = known.entry(*address).or_default();
                names.retain(|_, told| told.until > now);
                for (name, by) in answered.names() {
                    let known = names.get(name);
                    if names.len() >= MAX_NAMES && known.is_none() {
                        continue;
                    }
                    let told = match known.filter(|told| by.is_some() && told.by.is_none()) {
                        // It was asked for before: that this answer leads there as well says nothing of who asked.
                        Some(asked) => LearnedAddress {
                            until: asked.until.max(answered.until),
                            ..asked.clone()
                        },
                        None => LearnedAddress {
                            until: answered.until,
                            since: known.map_or(answered.at, |told| told.since),
                            at: answered.at,
                            by: by.map(str::to_owned),
                            asker: answered.asker.clone(),
                        },
                    };
                    names.insert(name.to_owned(), told);
                }
            }
        }
    }

    /// Writes to the kernel by which patterns of its policies a session knows an address. What another version of a policy had
    /// goes.
    fn write(
        &mut self,
        kernel: &mut Datapath,
        (session, address): (SessionId, Address),
        chain: &[(PolicyId, &Compiled)],
        now: BootTime,
    ) {
        for (slot, compiled) in chain {
            let key = NamedKey::new(session, *slot, address);
            if let Err(error) = self.write_under(kernel, &key, compiled, now) {
                tracing::error!(%error, "cannot write what a session knows an address by");
            }
        }
    }

    /// The same under one policy.
    fn write_under(
        &mut self,
        kernel: &mut Datapath,
        key: &NamedKey,
        compiled: &Compiled,
        now: BootTime,
    ) -> Result<(), DatapathError> {
        let known = self.names.get(&key.session);
        let names = known.and_then(|known| known.get(&key.address));
        // What the resolver wrote meanwhile, and what was learned under an earlier guardd, counts on.
        let found = kernel.named(key)?.unwrap_or_default();
        let stays = found.patterns.into_iter();
        let stays = stays.filter(|one| counts_on(one, compiled, now));
        let of_names = names.into_iter().flatten().filter_map(|(name, told)| {
            let pattern = pattern_of(compiled, name)?;
            // The resolver's own time counts: to write it again might undo what it has written meanwhile.
            let is_there = found.patterns.iter().any(|one| one.pattern == pattern);
            (!is_there).then_some(Learned {
                pattern,
                until: told.until,
            })
        });
        let mut wanted = Named::default();
        for learned in stays.chain(of_names) {
            // More patterns than there is room for: nothing is known that could be trusted, so all of it is refused.
            wanted = match wanted.with(key, learned, now) {
                Some(more) => more,
                None => crowded(key, learned.until),
            };
        }
        if wanted.patterns != found.patterns {
            kernel.set_named(key, &wanted)?;
        }
        self.patterns.borrow_mut().insert(*key, wanted);
        Ok(())
    }

    /// Writes to the kernel by which patterns of a policy sessions know addresses that is about to judge them, too.
    pub(super) fn write_all_under(
        &mut self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        (slot, compiled): (PolicyId, &Compiled),
        now: BootTime,
    ) -> Result<(), DatapathError> {
        let named = sessions.iter().flat_map(|session| {
            let known = self.names.get(session).into_iter().flatten();
            known.map(move |(address, _)| NamedKey::new(*session, slot, *address))
        });
        let keys: Vec<_> = named.collect();
        for key in keys {
            self.write_under(kernel, &key, compiled, now)?;
        }
        Ok(())
    }

    /// How many addresses the kernel knows for each session, by each of its policies, as far as it is known here.
    #[must_use]
    pub fn counts(&self) -> HashMap<SessionId, usize> {
        let mut counts = HashMap::new();
        for key in self.patterns.borrow().keys() {
            *counts.entry(key.session).or_default() += 1;
        }
        counts
    }

    /// Writes all anew for sessions whose policies have changed.
    pub(super) fn rewrite<'p>(
        &mut self,
        kernel: &mut Datapath,
        chain_of: impl Fn(SessionId) -> Vec<(PolicyId, &'p Compiled)>,
        now: BootTime,
    ) {
        let named = self.names.iter();
        let named =
            named.flat_map(|(session, known)| known.keys().map(|address| (*session, *address)));
        let patterns = self.patterns.borrow();
        let patterned = patterns.keys().map(|key| (key.session, key.address));
        let mut all: Vec<_> = named.chain(patterned).collect();
        drop(patterns);
        all.sort_unstable_by_key(|(session, address)| (session.0, address.to_u128()));
        all.dedup();
        for (session, address) in all {
            let chain = chain_of(session);
            self.write(kernel, (session, address), &chain, now);
        }
    }

    /// Has the kernel know for sessions under one policy what they know under another.
    pub(super) fn carry(
        &mut self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        (old, new): (PolicyId, PolicyId),
        carried: &Carried,
    ) -> Result<(), DatapathError> {
        let all = kernel.all_named()?.into_iter();
        let known = all.filter(|(key, _)| key.policy == old && sessions.contains(&key.session));
        for (key, named) in known {
            let names = self.whole_names_of(&key);
            let key = NamedKey::new(key.session, new, key.address);
            // The resolver may have written something meanwhile.
            let there = kernel.named(&key)?.unwrap_or_default();
            let wanted = carried.add(there, (&key, &named), &names);
            kernel.set_named(&key, &wanted)?;
            self.patterns.borrow_mut().insert(key, wanted);
        }
        Ok(())
    }

    /// All names by which a session knows an address; none where there may be more.
    fn whole_names_of(&self, key: &NamedKey) -> Vec<DomainName> {
        let known = self.names.get(&key.session);
        let names = known.and_then(|known| known.get(&key.address));
        let names = names.filter(|names| names.len() < MAX_NAMES);
        let names = names.into_iter().flat_map(BTreeMap::keys);
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Forgets what sessions knew under a policy.
    pub(super) fn forget_under(
        &mut self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        slot: PolicyId,
    ) {
        let is_kept = |key: &NamedKey| key.policy != slot || !sessions.contains(&key.session);
        self.patterns.borrow_mut().retain(|key, _| is_kept(key));
        // Until the resolver knows, too, it may write more.
        self.beyond.extend(sessions);
        if let Err(error) = kernel.forget_named(is_kept) {
            tracing::error!(%error, slot = slot.0, "cannot forget what sessions knew");
        }
    }

    /// Forgets what a session knew.
    pub(super) fn forget(&mut self, kernel: &mut Datapath, session: SessionId) {
        self.names.remove(&session);
        let mut patterns = self.patterns.borrow_mut();
        let of_it = patterns.extract_if(|key, _| key.session == session);
        let keys: Vec<_> = of_it.map(|(key, _)| key).collect();
        let forgotten = match self.beyond.remove(&session) {
            // To look through all of the map takes a while.
            true => kernel.forget_named(|key| key.session != session),
            false => keys
                .iter()
                .try_for_each(|key| kernel.set_named(key, &Named::default())),
        };
        if let Err(error) = forgotten {
            tracing::error!(%error, session = session.0, "cannot forget what a session knew");
        }
    }
}

/// Whether a policy has a pattern, or what is known by none is refused for a while.
fn counts_on(learned: &Learned, compiled: &Compiled, now: BootTime) -> bool {
    match learned.pattern {
        NameId(0) => false,
        UNKNOWN => learned.until > now,
        pattern => compiled.has_pattern(pattern),
    }
}

/// More than there is room for: the kernel refuses.
pub(super) fn crowded(key: &NamedKey, until: BootTime) -> Named {
    let none = Learned {
        pattern: UNKNOWN,
        until,
    };
    let alone = Named::default().with(key, none, BootTime(0));
    alone.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Notes an answer, without a kernel: the session has no policies that speak of names.
    fn told(known: &mut KnownNames, at: u64, asked: &str, name: &str, last: u8) {
        let answered = NameAnswer {
            session: SessionId(1),
            asked,
            name,
            addresses: vec![IpAddr::from([192, 0, 2, last]).into()],
            at: BootTime(at),
            until: BootTime(at + 100),
            asker: NameAsker {
                pid: Some(7),
                comm: Some("node".to_owned()),
            },
        };
        known.note(&answered, BootTime(at));
    }

    #[test]
    fn an_address_is_known_by_what_the_session_asked_for_last() {
        let mut known = KnownNames::default();
        let to = |last: u8| Address::from(IpAddr::from([192, 0, 2, last]));
        told(
            &mut known,
            1,
            "codeload.example.com",
            "codeload.example.com",
            1,
        );
        told(&mut known, 2, "gh.example.net", "gh.example.net", 1);
        told(&mut known, 2, "gh.example.net", "api.example.com", 1);
        let of = known.name_of(SessionId(1), to(1), |_| false).unwrap();
        assert_eq!(
            (of.name, of.cname),
            ("gh.example.net", Some("api.example.com"))
        );
        assert_eq!(of.also, ["codeload.example.com"]);
        assert_eq!(of.asker.pid, Some(7));
        assert_eq!(known.name_of(SessionId(2), to(1), |_| true), None);
        assert_eq!(known.name_of(SessionId(1), to(2), |_| true), None);
        // The name that a rule is about goes before the last one.
        let meant = known.name_of(SessionId(1), to(1), |name| name.starts_with("codeload"));
        assert_eq!(meant.unwrap().name, "codeload.example.com");
        // What was led to is asked for by itself, and stays so.
        told(&mut known, 3, "api.example.com", "api.example.com", 1);
        told(&mut known, 4, "gh.example.net", "api.example.com", 1);
        let of = known.name_of(SessionId(1), to(1), |_| false).unwrap();
        assert_eq!((of.name, of.also.len()), ("gh.example.net", 2));
        // What is over counts no more.
        told(&mut known, 200, "new.example.com", "new.example.com", 1);
        let of = known.name_of(SessionId(1), to(1), |_| false).unwrap();
        assert_eq!(
            (of.name, of.cname, of.also.len()),
            ("new.example.com", None, 0)
        );
    }

    #[test]
    fn a_name_is_used_by_who_asked_for_it_or_for_a_while_by_its_program() {
        let mut known = KnownNames::default();
        // By node, process 7, at 1, until 101.
        told(&mut known, 1, "api.example.com", "api.example.com", 1);
        let to = Address::from(IpAddr::from([192, 0, 2, 1]));
        let used = |pid: Option<u32>, comm: Option<&str>, now| {
            let who = NameAsker {
                pid,
                comm: comm.map(str::to_owned),
            };
            let known = known.name_used_by(SessionId(1), to, |_| false, (&who, BootTime(now)));
            known.is_some()
        };
        assert!(used(Some(7), Some("node"), 500), "itself, at any time");
        assert!(used(Some(8), Some("node"), 50));
        assert!(used(Some(8), Some("node22"), 50));
        assert!(!used(Some(8), Some("node"), 500));
        assert!(!used(Some(8), Some("python3"), 50), "it never asked");
        assert!(used(None, None, 500), "nobody knows who it is");
    }

    #[test]
    fn a_name_that_an_earlier_process_asked_for_is_not_another_ones() {
        const SECOND: u64 = 1_000_000_000;
        let node = |pid| NameAsker::of(Some(pid), Some("node"));
        let told = LearnedAddress {
            until: BootTime(90 * SECOND),
            since: BootTime(SECOND),
            at: BootTime(SECOND),
            by: None,
            asker: node(7),
        };
        for (pid, second, is_likely) in [(7, 80, true), (8, 9, true), (8, 26, false)] {
            let now = BootTime(second * SECOND);
            assert_eq!(
                told.is_likely_by(&node(pid), now),
                is_likely,
                "{pid} {second}"
            );
        }
    }

    #[test]
    fn a_flow_has_the_name_that_its_program_had_asked_for_by_then() {
        const SECOND: u64 = 1_000_000_000;
        let mut known = KnownNames::default();
        let to = Address::from(IpAddr::from([192, 0, 2, 1]));
        let mut ask = |at: u64, name: &str, comm: &str| {
            let answered = NameAnswer {
                session: SessionId(1),
                asked: name,
                name,
                addresses: vec![to],
                at: BootTime(at * SECOND),
                until: BootTime(100 * SECOND),
                asker: NameAsker {
                    pid: None,
                    comm: Some(comm.to_owned()),
                },
            };
            known.note(&answered, BootTime(at * SECOND));
        };
        ask(10, "api.example.com", "curl");
        ask(13, "evil.example.net", "getent");
        ask(15, "cdn.example.com", "curl");
        ask(17, "api.example.com", "curl");
        let then = |program: &str, at: u64| {
            known.name_then(SessionId(1), to, program, BootTime(at * SECOND))
        };
        assert_eq!(then("curl", 9), None);
        assert_eq!(then("curl", 12), Some("api.example.com"));
        assert_eq!(then("curl", 14), Some("api.example.com"));
        assert_eq!(then("curl", 16), Some("cdn.example.com"));
        assert_eq!(then("curl", 18), Some("api.example.com"));
        // A program whose resolver is another's takes the last name of all.
        assert_eq!(then("node", 14), Some("evil.example.net"));
    }
}
