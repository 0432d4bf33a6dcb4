//! By which names sessions know addresses: what the guard's resolver has told them, and the kernel's map `NAMED`.
//!
//! The kernel decides by patterns of policies. The names themselves are here: they are shown to people, and a new version of a
//! policy has other patterns for them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
};

use guard_common::{Address, BootTime, Learned, NameId, Named, NamedKey, PolicyId, SessionId};
use guard_datapath::{Datapath, DatapathError};
use guard_policy::{Compiled, DomainName};

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
    names: HashMap<SessionId, HashMap<Address, BTreeMap<String, Known>>>,
}

/// What is known of a name of an address.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Until when it counts.
    until: BootTime,
    /// The session asked for it, and was not just led there.
    asked: bool,
}

/// An answer that a session got.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    /// The session.
    pub session: SessionId,
    /// The name that it asked for, and the one that it was led to.
    pub names: Vec<&'a str>,
    /// The addresses.
    pub addresses: Vec<Address>,
    /// Until when they count.
    pub until: BootTime,
}

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

    /// The name that a session learned last of those that it knows an address by.
    #[must_use]
    pub fn name_of(&self, session: SessionId, address: Address) -> Option<&str> {
        let names = self.names.get(&session)?.get(&address)?;
        let last = names
            .iter()
            .max_by_key(|(_, known)| (known.asked, known.until));
        last.map(|(name, _)| name.as_str())
    }

    /// The names that a session asked for and was told that address of, the latest first.
    pub fn asked_of(&self, session: SessionId, address: Address) -> impl Iterator<Item = &str> {
        let names = self
            .names
            .get(&session)
            .and_then(|known| known.get(&address));
        let asked = names.into_iter().flatten().filter(|(_, known)| known.asked);
        let mut asked: Vec<_> = asked.collect();
        asked.sort_by_key(|(_, known)| std::cmp::Reverse(known.until));
        asked.into_iter().map(|(name, _)| name.as_str())
    }

    /// The addresses that a session knows of a name, each with the time until which it counts.
    pub fn addresses_of(
        &self,
        session: SessionId,
        name: &str,
    ) -> impl Iterator<Item = (Address, BootTime)> {
        let known = self.names.get(&session).into_iter().flatten();
        known.filter_map(move |(address, names)| Some((*address, names.get(name)?.until)))
    }

    /// Takes over what an earlier guardd left in the kernel.
    pub(super) fn adopt(&mut self, all: Vec<(NamedKey, Named)>) {
        self.patterns = RefCell::new(all.into_iter().collect());
    }

    /// Takes note of an answer. The kernel knows of it already, by the policies that the resolver knew.
    pub(super) fn learn(
        &mut self,
        kernel: &mut Datapath,
        answered: &Answered<'_>,
        chain: &[(PolicyId, &Compiled)],
        now: BootTime,
    ) {
        let known = self.names.entry(answered.session).or_default();
        if known.len() + answered.addresses.len() > MAX_ADDRESSES {
            known.retain(|_, names| names.values().any(|name| name.until > now));
            let is_kept = |key: &NamedKey| {
                key.session != answered.session || known.contains_key(&key.address)
            };
            self.patterns.borrow_mut().retain(|key, _| is_kept(key));
            self.beyond.insert(answered.session);
        }
        for address in &answered.addresses {
            if known.len() < MAX_ADDRESSES || known.contains_key(address) {
                let names = known.entry(*address).or_default();
                names.retain(|_, name| name.until > now);
                for (at, name) in answered.names.iter().enumerate() {
                    let asked = at == 0 || names.get(*name).is_some_and(|known| known.asked);
                    let until = answered.until;
                    if names.len() < MAX_NAMES || names.contains_key(*name) {
                        names.insert((*name).to_owned(), Known { until, asked });
                    }
                }
            }
        }
        for address in &answered.addresses {
            self.write(kernel, (answered.session, *address), chain, now);
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
        let names = self
            .names
            .get(&session)
            .and_then(|known| known.get(&address));
        for (slot, compiled) in chain {
            let key = NamedKey::new(session, *slot, address);
            // What the resolver wrote meanwhile, and what was learned under an earlier guardd, counts on.
            let found = match kernel.named(&key) {
                Ok(found) => found.unwrap_or_default(),
                Err(error) => {
                    tracing::error!(%error, "cannot read what a session knows an address by");
                    continue;
                }
            };
            let stays = found.patterns.into_iter();
            let stays = stays.filter(|one| one.pattern.0 != 0 && compiled.has_pattern(one.pattern));
            let of_names = names.into_iter().flatten().filter_map(|(name, known)| {
                let pattern = pattern_of(compiled, name)?;
                // The resolver's own time counts: to write it again might undo what it has written meanwhile.
                let is_there = found.patterns.iter().any(|one| one.pattern == pattern);
                (!is_there).then_some(Learned {
                    pattern,
                    until: known.until,
                })
            });
            let mut wanted = Named::default();
            for learned in stays.chain(of_names) {
                // More patterns than there is room for: nothing is known that could be trusted, so all of it is refused.
                wanted = match wanted.with(&key, learned, now) {
                    Some(more) => more,
                    None => crowded(&key, learned.until),
                };
            }
            if wanted.patterns != found.patterns
                && let Err(error) = kernel.set_named(&key, &wanted)
            {
                tracing::error!(%error, "cannot write what a session knows an address by");
            }
            self.patterns.borrow_mut().insert(key, wanted);
        }
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

    /// Forgets what a session knew.
    pub(super) fn forget(&mut self, kernel: &mut Datapath, session: SessionId) {
        self.names.remove(&session);
        let mut patterns = self.patterns.borrow_mut();
        let of_it = patterns.extract_if(|key, _| key.session == session);
        let keys: Vec<_> = of_it.map(|(key, _)| key).collect();
        let forgotten = match self.beyond.remove(&session) {
            // To look through all of the map takes a while.
            true => kernel.forget_named(|one| one != session),
            false => keys
                .iter()
                .try_for_each(|key| kernel.set_named(key, &Named::default())),
        };
        if let Err(error) = forgotten {
            tracing::error!(%error, session = session.0, "cannot forget what a session knew");
        }
    }
}

/// A pattern that no policy has: the kernel refuses.
fn crowded(key: &NamedKey, until: BootTime) -> Named {
    let none = Learned {
        pattern: NameId(u64::MAX),
        until,
    };
    let alone = Named::default().with(key, none, BootTime(0));
    alone.unwrap_or_default()
}
