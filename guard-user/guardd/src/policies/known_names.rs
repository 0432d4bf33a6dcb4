//! By which names sessions know addresses: what the guard's resolver has told them, and the kernel's map `NAMED`.
//!
//! The kernel decides by patterns of policies. The names themselves are here: they are shown to people, and a new version of a
//! policy has other patterns for them.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use guard_common::{Address, BootTime, Learned, NameId, Named, NamedKey, PolicyId, SessionId};
use guard_datapath::{Datapath, DatapathError};
use guard_policy::{Compiled, DomainName};
use guard_sys::clock;

use super::{
    ReplacedPolicy,
    address_names::{AddressNames, LearnedAddress, NameAsker},
    carried::{Carried, UNKNOWN},
};
use crate::times::after;

/// Addresses that are known of one session at most. What is over that the kernel knows alone.
const MAX_ADDRESSES: usize = 16_384;

/// What sessions know.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    /// As the kernel has it, or had it when it was last read.
    patterns: RefCell<HashMap<NamedKey, Named>>,
    /// The names of each address.
    names: HashMap<SessionId, SessionNames>,
}

/// The names by which a session knows addresses.
#[derive(Debug, Default)]
struct SessionNames {
    of: HashMap<Address, AddressNames>,
    /// Until when names count that are not among these: of addresses that there was no room for, and from before this guardd began.
    unnoted_until: BootTime,
    /// The same of answers that came more quickly than they were reported: of any address.
    untold_until: BootTime,
}

impl SessionNames {
    /// Whether names count that guardd knows nothing of.
    fn is_short(&self, now: BootTime) -> bool {
        self.unnoted_until.max(self.untold_until) > now
    }
}

/// An answer of a name server that a session got.
#[derive(Clone, Debug)]
pub(crate) struct NameAnswer<'a> {
    /// The session.
    pub(crate) session: SessionId,
    /// The name that it asked for.
    pub(crate) asked: &'a str,
    /// The name that has the addresses: the same, or one that CNAME led to.
    pub(crate) name: &'a str,
    /// The addresses.
    pub(crate) addresses: Vec<Address>,
    /// When it was told.
    pub(crate) at: BootTime,
    /// Until when they count.
    pub(crate) until: BootTime,
    /// Who asked.
    pub(crate) asker: NameAsker,
}

impl<'a> NameAnswer<'a> {
    /// The names of the addresses, each with the one by which the session was led there.
    fn names(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let led = (self.name != self.asked).then_some((self.name, Some(self.asked)));
        std::iter::once((self.asked, None)).chain(led)
    }

    /// What the session is told of each of them.
    fn told(
        &self,
        chain: &[(PolicyId, &Compiled)],
    ) -> impl Iterator<Item = (&'a str, LearnedAddress)> {
        self.names().map(move |(name, by)| {
            let mut outermost = chain.iter();
            let outermost =
                outermost.rposition(|(_, compiled)| pattern_of(compiled, name).is_some());
            let told = LearnedAddress {
                until: self.until,
                since: self.at,
                at: self.at,
                by: by.map(str::to_owned),
                asker: self.asker.clone(),
                rank: outermost.map_or(0, |at| at + 1),
            };
            (name, told)
        })
    }
}

/// The patterns of a policy for names, each looked up once: many addresses have the same.
struct PatternsOfNames<'p> {
    compiled: &'p Compiled,
    known: HashMap<String, Option<NameId>>,
}

impl<'p> PatternsOfNames<'p> {
    fn of(compiled: &'p Compiled) -> Self {
        Self {
            compiled,
            known: HashMap::new(),
        }
    }

    fn pattern(&mut self, name: &str) -> Option<NameId> {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let pattern = pattern_of(self.compiled, name);
        self.known.insert(name.to_owned(), pattern);
        pattern
    }
}

/// How a session knows an address by a name that it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownName<'a> {
    /// The name.
    pub(crate) name: &'a str,
    /// The name that has the address, where CNAME led to another.
    pub(crate) cname: Option<&'a str>,
    /// Who asked.
    pub(crate) asker: &'a NameAsker,
    /// When it was last told.
    pub(crate) at: BootTime,
    /// Other names that it asked for.
    pub(crate) also: Vec<&'a str>,
    /// There may be others that a policy speaks of as much, and that there was no room for: it may have meant one of those.
    pub(crate) may_be_another: bool,
}

/// A program may connect before the resolver has looked at the clock.
const MOMENT: Duration = Duration::from_millis(5);
/// Other names that are shown of one address.
const MAX_ALSO: usize = 8;

/// The narrowest pattern of a policy that covers a name.
pub(super) fn pattern_of(compiled: &Compiled, name: &str) -> Option<NameId> {
    let name: DomainName = name.parse().ok()?;
    compiled.pattern_of(&name).map(|pattern| pattern.id())
}

impl KnownNames {
    /// What a session knows an address by, for one of its policies.
    #[must_use]
    pub(crate) fn patterns(&self, key: &NamedKey) -> Option<Named> {
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
    pub(crate) fn name_of(
        &self,
        session: SessionId,
        address: Address,
        is_meant: impl Fn(&str) -> bool,
    ) -> Option<KnownName<'_>> {
        self.name_by(session, address, is_meant, |_| true, clock::now())
    }

    /// The same of those alone by which that process is likely to have gone there.
    #[must_use]
    pub(crate) fn name_used_by(
        &self,
        session: SessionId,
        address: Address,
        is_meant: impl Fn(&str) -> bool,
        who: &NameAsker,
        now: BootTime,
    ) -> Option<KnownName<'_>> {
        let is_likely = |told: &LearnedAddress| told.is_likely_by(who, now);
        self.name_by(session, address, is_meant, is_likely, now)
    }

    fn name_by(
        &self,
        session: SessionId,
        address: Address,
        is_meant: impl Fn(&str) -> bool,
        is_likely: impl Fn(&LearnedAddress) -> bool,
        now: BootTime,
    ) -> Option<KnownName<'_>> {
        let names = self.names_of(session, address)?;
        let asked = names.iter().filter(|(_, told)| told.by.is_none());
        let likely = asked.clone().filter(|(_, told)| is_likely(told));
        let (name, told) = likely.max_by_key(|(name, told)| (is_meant(name), told.at))?;
        let mut led = names
            .iter()
            .filter(|(_, other)| other.by.as_ref() == Some(name));
        let mut also: Vec<_> = asked.filter(|(other, _)| *other != name).collect();
        // What policies speak of must not be among those that are too many to be told.
        also.sort_by_key(|(_, told)| Reverse(told.rank));
        Some(KnownName {
            name,
            cname: led.next().map(|(cname, _)| cname.as_str()),
            asker: &told.asker,
            at: told.at,
            also: also
                .into_iter()
                .map(|(other, _)| other.as_str())
                .take(MAX_ALSO)
                .collect(),
            may_be_another: names.may_miss(told.rank, now) || self.is_untold(session, now),
        })
    }

    /// Whether a session may know an address by names that there was no room for.
    #[must_use]
    pub(crate) fn misses_names(&self, session: SessionId, address: Address, now: BootTime) -> bool {
        let names = self.names_of(session, address);
        names.is_some_and(|names| names.may_miss(0, now)) || self.is_untold(session, now)
    }

    fn is_untold(&self, session: SessionId, now: BootTime) -> bool {
        let known = self.names.get(&session);
        known.is_some_and(|known| known.untold_until > now)
    }

    /// Takes note that a session got answers that were not reported.
    pub(super) fn miss(&mut self, session: SessionId, until: BootTime) {
        let known = self.names.entry(session).or_default();
        known.untold_until = known.untold_until.max(until);
    }

    fn names_of(&self, session: SessionId, address: Address) -> Option<&AddressNames> {
        self.names.get(&session)?.of.get(&address)
    }

    /// The name by which a program is likely to have known an address when it connected: the last one that the session had
    /// asked for by then; before all others, of those that a program of that name asked for.
    #[must_use]
    pub(crate) fn name_then(
        &self,
        session: SessionId,
        address: Address,
        program: &str,
        then: BootTime,
    ) -> Option<&str> {
        let names = self.names_of(session, address)?;
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
    pub(crate) fn addresses_of(
        &self,
        session: SessionId,
        name: &str,
        now: BootTime,
    ) -> impl Iterator<Item = (Address, BootTime)> {
        let known = self.names.get(&session).into_iter();
        let known = known.flat_map(|known| &known.of);
        let known =
            known.filter_map(move |(address, names)| Some((*address, names.get(name)?.until)));
        known.filter(move |(_, until)| *until > now)
    }

    /// Takes over what an earlier guardd left in the kernel: patterns, of which it is not known any more by which names.
    pub(super) fn adopt(&mut self, all: Vec<(NamedKey, Named)>) {
        for (key, named) in &all {
            let until = named.patterns.iter().map(|one| one.until);
            let known = self.names.entry(key.session).or_default();
            known.unnoted_until = until.fold(known.unnoted_until, BootTime::max);
        }
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
        self.note(answered, chain, now);
        for (slot, compiled) in chain {
            let addresses = answered.addresses.iter();
            let keys = addresses.map(|address| NamedKey::new(answered.session, *slot, *address));
            self.write(kernel, keys.collect(), compiled, now);
        }
    }

    /// Takes note of the names.
    fn note(&mut self, answered: &NameAnswer<'_>, chain: &[(PolicyId, &Compiled)], now: BootTime) {
        let known = self.names.entry(answered.session).or_default();
        if known.of.len() + answered.addresses.len() > MAX_ADDRESSES {
            known.of.retain(|_, names| names.counts(now));
            let is_kept = |key: &NamedKey| {
                key.session != answered.session || known.of.contains_key(&key.address)
            };
            self.patterns.borrow_mut().retain(|key, _| is_kept(key));
        }
        let told: Vec<_> = answered.told(chain).collect();
        for address in &answered.addresses {
            if known.of.len() >= MAX_ADDRESSES && !known.of.contains_key(address) {
                known.unnoted_until = known.unnoted_until.max(answered.until);
                continue;
            }
            let names = known.of.entry(*address).or_default();
            names.expire(now);
            for (name, told) in &told {
                names.note(name, told.clone(), answered.asked);
            }
        }
    }

    /// Writes to the kernel by which patterns of a policy sessions know addresses. What another version of it had goes.
    fn write(
        &self,
        kernel: &mut Datapath,
        keys: Vec<NamedKey>,
        compiled: &Compiled,
        now: BootTime,
    ) {
        let stays = |one: &Learned| counts_on(one, compiled, now);
        let mut patterns = PatternsOfNames::of(compiled);
        for key in keys {
            if let Err(error) = self.write_one(kernel, &key, &mut patterns, stays, now) {
                tracing::error!(%error, "cannot write what a session knows an address by");
            }
        }
    }

    /// The same of one address; `stays`: which of the patterns that are there.
    fn write_one(
        &self,
        kernel: &mut Datapath,
        key: &NamedKey,
        patterns: &mut PatternsOfNames<'_>,
        stays: impl Fn(&Learned) -> bool,
        now: BootTime,
    ) -> Result<(), DatapathError> {
        let names = self.names_of(key.session, key.address);
        // What the resolver wrote meanwhile, and what was learned under an earlier guardd, counts on.
        let found = kernel.named(key)?.unwrap_or_default();
        let known = found.patterns.into_iter();
        let known = known.filter(stays);
        let names = names.into_iter().flat_map(AddressNames::iter);
        let names = names.filter(|(_, told)| told.until > now);
        let of_names = names.filter_map(|(name, told)| {
            let pattern = patterns.pattern(name)?;
            // The resolver's own time counts: to write it again might undo what it has written meanwhile.
            let is_there = found.patterns.iter().any(|one| one.pattern == pattern);
            (!is_there).then_some(Learned {
                pattern,
                until: told.until,
            })
        });
        let wanted = merged(key, known.chain(of_names), now);
        if wanted.patterns != found.patterns {
            kernel.set_named(key, &wanted)?;
        }
        self.patterns.borrow_mut().insert(*key, wanted);
        Ok(())
    }

    /// Writes to the kernel by which patterns of a policy sessions know addresses that is about to judge them, too, or in the place of one
    /// whose patterns are there and stay.
    pub(super) fn write_ahead(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        slot: PolicyId,
        compiled: &Compiled,
        now: BootTime,
    ) -> Result<(), DatapathError> {
        let mut patterns = PatternsOfNames::of(compiled);
        let stays = |one: &Learned| one.pattern != NameId(0);
        for session in sessions {
            let known = self.names.get(session).into_iter();
            for address in known.flat_map(|known| known.of.keys()) {
                let key = NamedKey::new(*session, slot, *address);
                self.write_one(kernel, &key, &mut patterns, stays, now)?;
            }
        }
        Ok(())
    }

    /// Writes again all that sessions know under a policy which has changed.
    pub(super) fn rewrite(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        slot: PolicyId,
        compiled: &Compiled,
        now: BootTime,
    ) {
        let named = sessions.iter().flat_map(|session| {
            let known = self.names.get(session).into_iter();
            let addresses = known.flat_map(|known| known.of.keys());
            addresses.map(|address| NamedKey::new(*session, slot, *address))
        });
        let is_its = |key: &NamedKey| key.policy == slot && sessions.contains(&key.session);
        let mut keys: HashSet<_> = named.collect();
        keys.extend(self.patterns.borrow().keys().filter(|key| is_its(key)));
        self.write(kernel, keys.into_iter().collect(), compiled, now);
    }

    /// Has the kernel know for sessions under one policy what they know under another, or under an earlier version of it.
    pub(super) fn carry(
        &self,
        kernel: &mut Datapath,
        sessions: &HashSet<SessionId>,
        ReplacedPolicy { old, new }: ReplacedPolicy,
        carried: &mut Carried,
        now: BootTime,
    ) -> Result<(), DatapathError> {
        let all = kernel.all_named()?.into_iter();
        let known = all.filter(|(key, _)| key.policy == old && sessions.contains(&key.session));
        for (key, named) in known {
            let names = self.whole_names_of(&key, now);
            let key = NamedKey::new(key.session, new, key.address);
            // The resolver may have written something meanwhile.
            let there = kernel.named(&key)?.unwrap_or_default();
            let wanted = carried.add(there, &key, &named, &names, now);
            if wanted.patterns != there.patterns {
                kernel.set_named(&key, &wanted)?;
            }
            self.patterns.borrow_mut().insert(key, wanted);
        }
        Ok(())
    }

    /// All names by which a session knows an address; none where there may be more.
    fn whole_names_of(&self, key: &NamedKey, now: BootTime) -> Vec<String> {
        let known = self.names.get(&key.session);
        let known = known.filter(|known| !known.is_short(now));
        let names = known.and_then(|known| known.of.get(&key.address));
        let names = names.filter(|names| !names.may_miss(0, now));
        let names = names.into_iter().flat_map(AddressNames::iter);
        names.map(|(name, _)| name.clone()).collect()
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
        // Until the resolver knows, too, it may write more: that goes when the session has ended.
        if let Err(error) = kernel.forget_named(is_kept) {
            tracing::error!(%error, slot = slot.0, "cannot evict the names that sessions knew under a policy");
        }
    }

    /// Evicts the names that ended sessions knew. Their entries in the kernel go, too, whether guardd or the resolver wrote them: guardd
    /// does not hear of all that the resolver writes.
    pub(super) fn keep_alone(
        &mut self,
        kernel: &mut Datapath,
        is_there: impl Fn(SessionId) -> bool,
    ) -> Result<(), DatapathError> {
        self.names.retain(|session, _| is_there(*session));
        let mut patterns = self.patterns.borrow_mut();
        patterns.retain(|key, _| is_there(key.session));
        kernel.forget_named(|key| is_there(key.session))
    }
}

/// Whether a policy has a pattern, or what is known by none is refused for a while.
fn counts_on(learned: &Learned, compiled: &Compiled, now: BootTime) -> bool {
    match learned.pattern {
        NameId(0) => false,
        UNKNOWN => learned.until > now,
        pattern => compiled.has_number(pattern),
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

/// All of these patterns. Connections that stand are judged by what is over, too: it stays while there is room.
fn merged(key: &NamedKey, all: impl Iterator<Item = Learned>, now: BootTime) -> Named {
    let all = all.filter(|learned| learned.pattern != NameId(0));
    all.fold(Named::default(), |wanted, learned| {
        let more = wanted.with(key, learned, now);
        // More patterns than there is room for: nothing is known that could be trusted, so all of it is refused.
        more.unwrap_or_else(|| crowded(key, learned.until))
    })
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
            asker: NameAsker::of(Some(7), Some("node")),
        };
        known.note(&answered, &[], BootTime(at));
    }

    #[test]
    fn what_is_over_stays_while_there_is_room() {
        let learned = |pattern, until| Learned {
            pattern: NameId(pattern),
            until: BootTime(until),
        };
        let (key, now) = (NamedKey::default(), BootTime(50));
        let ended = [learned(1, 20), learned(2, 30), Learned::default()];
        let merged_of = |all: Vec<Learned>| merged(&key, all.into_iter(), now);
        let of = merged_of(ended.to_vec());
        assert_eq!(
            of.patterns[..3],
            [learned(1, 20), learned(2, 30), Learned::default()]
        );
        // What counts drives it out.
        let many = (10..17).map(|pattern| learned(pattern, 90));
        let of = merged_of(ended.into_iter().chain(many).collect());
        let first: Vec<_> = of.patterns.iter().map(|one| one.pattern.0).collect();
        assert_eq!(first, [10, 11, 12, 13, 14, 15, 16, 0]);
    }

    #[test]
    fn while_answers_count_that_were_not_told_any_name_may_be_another() {
        let mut known = KnownNames::default();
        told(&mut known, 1, "a.example.com", "a.example.com", 1);
        let (session, to) = (SessionId(1), IpAddr::from([192, 0, 2, 1]).into());
        let may_be_another = |known: &KnownNames, now| {
            let name = known
                .name_by(session, to, |_| false, |_| true, BootTime(now))
                .unwrap();
            let both = [
                name.may_be_another,
                known.misses_names(session, to, BootTime(now)),
            ];
            assert_eq!(both[0], both[1]);
            both[0]
        };
        assert!(!may_be_another(&known, 2));
        known.miss(session, BootTime(9));
        known.miss(session, BootTime(5));
        assert!(may_be_another(&known, 8));
        // So of what it was told nothing of.
        let other = IpAddr::from([192, 0, 2, 2]).into();
        assert!(known.misses_names(session, other, BootTime(8)));
        assert!(!known.misses_names(session, other, BootTime(9)));
        assert!(!may_be_another(&known, 9));
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
            let who = NameAsker::of(pid, comm);
            let known = known.name_used_by(SessionId(1), to, |_| false, &who, BootTime(now));
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
            rank: 0,
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
                asker: NameAsker::of(None, Some(comm)),
            };
            known.note(&answered, &[], BootTime(at * SECOND));
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
