//! What guardd says of the names that clients show, as far as it is cached, and which sessions show them too fast.

use std::{collections::HashMap, mem, rc::Rc};

use super::{
    judge::Rules,
    wire::{Entry, RedirectTarget},
};

/// Names that are cached at once, and void ones. Beyond that the outermost session with the most loses its own: whoever shows names without
/// end evicts no others'.
const MAX_NAMES: usize = 4096;
/// Nanoseconds after which a name that nobody has shown since it became void makes room first.
const UNUSED: u64 = 60_000_000_000;

/// A name that a client shows at a target.
pub(super) type Shown = (RedirectTarget, Box<str>);

/// What guardd says of one.
#[derive(Clone, Debug)]
pub(super) struct NameTerms {
    /// Why it may not be shown; none: it may.
    pub(super) refusal: Option<NameRefusal>,
    /// What its own rules say of requests, which they judge beside the target's terms; of a refused one, the rule by which it is.
    pub(super) rules: Rc<[Rules]>,
}

/// Why a name may not be shown.
#[derive(Clone, Debug)]
pub(super) struct NameRefusal {
    /// A clause without a full stop.
    pub(super) why: Rc<str>,
    pub(super) by: RefusedBy,
}

/// By whom a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedBy {
    /// By the policies.
    Policies,
    /// By guardd, which judges no more new names of the session for a moment, or none again.
    Pace,
    /// By the proxy, for the rest of that moment: guardd hears only how many these are.
    Pause,
}

impl NameTerms {
    /// A refusal that names no rule.
    pub(super) fn refused(refusal: NameRefusal) -> Self {
        Self {
            refusal: Some(refusal),
            rules: Rc::default(),
        }
    }

    /// The same for another client that waits for the same answer: of a refusal by pace, one has the record.
    pub(super) fn for_another(self) -> Self {
        let refusal = self.refusal.map(|refusal| {
            let by = match refusal.by {
                RefusedBy::Policies => RefusedBy::Policies,
                RefusedBy::Pace | RefusedBy::Pause => RefusedBy::Pause,
            };
            NameRefusal { by, ..refusal }
        });
        Self { refusal, ..self }
    }
}

impl NameRefusal {
    /// Its record, with this as the reason.
    pub(super) fn entry(&self, why: &str) -> Entry {
        match self.by {
            RefusedBy::Policies => Entry::denied(why),
            RefusedBy::Pace | RefusedBy::Pause => Entry {
                no_rule: true,
                ..Entry::refused(why)
            },
        }
    }
}

/// Owns what is cached of names, and the pauses.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    /// By account, which is an outermost session: those inside it are as many as an agent likes.
    accounts: HashMap<u32, HashMap<Shown, CachedName>>,
    /// How many names those are.
    count: usize,
    /// By session.
    pauses: HashMap<u32, Pauses>,
}

/// A name that guardd has judged.
#[derive(Debug)]
enum CachedName {
    Valid(NameTerms),
    /// What it said counts no more, since that boot time. It judges the name again, at another pace than new ones. Where that is too fast,
    /// the name stays this: it is asked about once the pause is over.
    Void(u64),
}

impl CachedName {
    fn terms(&self) -> Option<&NameTerms> {
        match self {
            Self::Valid(terms) => Some(terms),
            Self::Void(_) => None,
        }
    }

    fn is_unused(&self, now: u64) -> bool {
        match self {
            Self::Valid(_) => false,
            Self::Void(since) => now.saturating_sub(*since) > UNUSED,
        }
    }
}

/// When guardd is asked about no names of a session.
#[derive(Clone, Debug, Default)]
struct Pauses {
    /// About no new ones.
    new: Pause,
    /// About none that were judged before.
    again: Pause,
    /// Refusals of which guardd has no record, and has not heard the number.
    left_out: u64,
}

impl Pauses {
    const fn of(&self, again: bool) -> &Pause {
        if again { &self.again } else { &self.new }
    }

    fn of_mut(&mut self, again: bool) -> &mut Pause {
        if again {
            &mut self.again
        } else {
            &mut self.new
        }
    }

    /// When the last of them ends.
    fn end(&self) -> u64 {
        self.new.until.max(self.again.until)
    }
}

/// A moment in which guardd is not asked.
#[derive(Clone, Debug, Default)]
struct Pause {
    /// In nanoseconds of boot time.
    until: u64,
    why: Rc<str>,
}

impl NameCache {
    pub(super) fn get(&self, account: u32, shown: &Shown) -> Option<NameTerms> {
        self.cached(account, shown)?.terms().cloned()
    }

    /// Whether guardd has judged a name for the account before, by policies, sessions or holes that may have changed since.
    pub(super) fn was_judged(&self, account: u32, shown: &Shown) -> bool {
        self.cached(account, shown).is_some()
    }

    fn cached(&self, account: u32, shown: &Shown) -> Option<&CachedName> {
        self.accounts.get(&account)?.get(shown)
    }

    pub(super) fn keep(&mut self, account: u32, shown: Shown, terms: NameTerms, now: u64) {
        self.insert(account, shown, CachedName::Valid(terms), now);
    }

    /// Keeps of a name only that it was judged: the answer was overtaken by a change.
    pub(super) fn keep_void(&mut self, account: u32, shown: Shown, now: u64) {
        if !self.was_judged(account, &shown) {
            self.insert(account, shown, CachedName::Void(now), now);
        }
    }

    fn insert(&mut self, account: u32, shown: Shown, name: CachedName, now: u64) {
        if self.count >= MAX_NAMES && !self.was_judged(account, &shown) {
            self.make_room(now);
        }
        let own = self.accounts.entry(account).or_default();
        if own.insert(shown, name).is_none() {
            self.count += 1;
        }
    }

    /// Names that nobody has shown for a while go first: their sessions may have ended.
    fn make_room(&mut self, now: u64) {
        for own in self.accounts.values_mut() {
            own.retain(|_, name| !name.is_unused(now));
        }
        self.accounts.retain(|_, own| !own.is_empty());
        self.count = self.accounts.values().map(HashMap::len).sum();
        if self.count < MAX_NAMES {
            return;
        }
        let most = self.accounts.iter().max_by_key(|(_, own)| own.len());
        let most = most.map(|(account, _)| *account);
        if let Some(own) = most.and_then(|account| self.accounts.remove(&account)) {
            self.count -= own.len();
        }
    }

    /// The rules as the account has them already, if it has. A wildcard's are the same for each name below it, and may be long: as many
    /// names as a client likes have them once.
    pub(super) fn shared(&self, account: u32, rules: Vec<Rules>) -> Rc<[Rules]> {
        let own = self.accounts.get(&account).into_iter();
        let mut known = own.flat_map(|own| own.values().filter_map(CachedName::terms));
        let same = known.find(|known| known.rules[..] == rules[..]);
        match same {
            Some(known) => Rc::clone(&known.rules),
            None => rules.into(),
        }
    }

    /// Makes void what is cached. The pauses stay: they depend on no policy.
    pub(super) fn clear(&mut self, now: u64) {
        let names = self.accounts.values_mut().flat_map(HashMap::values_mut);
        for name in names {
            if name.terms().is_some() {
                *name = CachedName::Void(now);
            }
        }
    }

    /// Why the session may show no new name now, or none `again` that was judged before, if it may not.
    pub(super) fn paused(&self, session: u32, again: bool, now: u64) -> Option<NameRefusal> {
        let pause = self.pauses.get(&session)?.of(again);
        (now < pause.until).then(|| NameRefusal {
            why: Rc::clone(&pause.why),
            by: RefusedBy::Pause,
        })
    }

    /// Has guardd asked about no new name of the session until then, or about none `again`. Of names that were asked about at once, the first
    /// has the record.
    pub(super) fn pause(
        &mut self,
        session: u32,
        again: bool,
        until: u64,
        why: Rc<str>,
        now: u64,
    ) -> NameRefusal {
        // Those of sessions that have ended go, too.
        self.pauses
            .retain(|_, pauses| now < pauses.end() || pauses.left_out > 0);
        let is_paused = self.paused(session, again, now).is_some();
        let pause = self.pauses.entry(session).or_default().of_mut(again);
        pause.until = until.max(pause.until);
        pause.why = Rc::clone(&why);
        let by = if is_paused {
            RefusedBy::Pause
        } else {
            RefusedBy::Pace
        };
        NameRefusal { why, by }
    }

    /// Counts a refusal that gets no record. Returns when guardd is to hear the number, where this is the first of them.
    pub(super) fn leave_out(&mut self, session: u32) -> Option<u64> {
        let pauses = self.pauses.entry(session).or_default();
        pauses.left_out += 1;
        (pauses.left_out == 1).then(|| pauses.end())
    }

    /// Their number, which guardd is about to hear.
    pub(super) fn take_left_out(&mut self, session: u32) -> u64 {
        let pauses = self.pauses.get_mut(&session);
        pauses.map_or(0, |pauses| mem::take(&mut pauses.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(session: u32, number: usize) -> Shown {
        let target = RedirectTarget {
            session,
            address: [192, 0, 2, 1].into(),
            port: 443,
            listener: 0,
        };
        (target, format!("n{number}.example.com").into())
    }

    fn open() -> NameTerms {
        NameTerms {
            refusal: None,
            rules: Rc::default(),
        }
    }

    #[test]
    fn a_session_with_names_without_end_evicts_its_own() {
        let mut cache = NameCache::default();
        cache.keep(1, shown(1, 0), open(), 5);
        for number in 0..3 * MAX_NAMES {
            cache.keep(2, shown(2, number), open(), 5);
            assert!(cache.count <= MAX_NAMES);
        }
        assert!(cache.get(1, &shown(1, 0)).is_some());
        assert!(cache.get(2, &shown(2, 0)).is_none());
        assert!(cache.get(2, &shown(2, 3 * MAX_NAMES - 1)).is_some());
        let kept: usize = cache.accounts.values().map(HashMap::len).sum();
        assert_eq!(kept, cache.count);
        // Once more is no other.
        cache.keep(1, shown(1, 0), open(), 5);
        assert_eq!(kept, cache.count);
    }

    #[test]
    fn sessions_inside_one_evict_its_names_together() {
        let mut cache = NameCache::default();
        for number in 0..100 {
            cache.keep(1, shown(1, number), open(), 5);
        }
        // Each has fewer than the other account's.
        for number in 0..2 * MAX_NAMES {
            let session = u32::try_from(2 + number / 50).unwrap();
            cache.keep(2, shown(session, number), open(), 5);
        }
        let has_all = (0..100).all(|number| cache.get(1, &shown(1, number)).is_some());
        assert!(has_all && cache.count <= MAX_NAMES);
    }

    #[test]
    fn a_name_that_was_judged_before_a_change_is_known_to_have_been() {
        let mut cache = NameCache::default();
        cache.keep(1, shown(1, 0), open(), 5);
        cache.keep_void(1, shown(1, 1), 5);
        cache.clear(10);
        for number in 0..2 {
            assert!(cache.get(1, &shown(1, number)).is_none());
            assert!(cache.was_judged(1, &shown(1, number)));
        }
        assert!(!cache.was_judged(1, &shown(1, 2)) && !cache.was_judged(2, &shown(1, 0)));
        // One that is in use stays when there is no room.
        cache.keep(1, shown(1, 0), open(), 20);
        for number in 0..MAX_NAMES {
            cache.keep(2, shown(2, number), open(), 20 + UNUSED);
        }
        assert!(cache.get(1, &shown(1, 0)).is_some());
        assert!(!cache.was_judged(1, &shown(1, 1)));
    }

    #[test]
    fn a_pause_has_one_record_and_counts_the_others() {
        let mut cache = NameCache::default();
        let why = || -> Rc<str> { "too many".into() };
        assert!(cache.paused(1, false, 5).is_none());
        assert_eq!(cache.pause(1, false, 10, why(), 5).by, RefusedBy::Pace);
        // Asked about before the first answer came.
        assert_eq!(cache.pause(1, false, 11, why(), 6).by, RefusedBy::Pause);
        let paused = |cache: &NameCache, session, now| cache.paused(session, false, now).is_some();
        assert!(paused(&cache, 1, 10) && !paused(&cache, 1, 11) && !paused(&cache, 2, 6));
        assert_eq!(cache.leave_out(1), Some(11));
        assert_eq!(cache.leave_out(1), None);
        // What nobody has heard of stays, and nothing else of what is over.
        assert_eq!(cache.pause(2, false, 30, why(), 20).by, RefusedBy::Pace);
        assert_eq!(cache.take_left_out(1), 2);
        assert_eq!(cache.pause(2, false, 50, why(), 40).by, RefusedBy::Pace);
        assert!(!cache.pauses.contains_key(&1));
    }

    #[test]
    fn names_judged_before_and_new_ones_have_each_their_own_pause() {
        let mut cache = NameCache::default();
        cache.keep(1, shown(1, 0), open(), 5);
        cache.clear(6);
        assert_eq!(
            cache.pause(1, true, 20, "again".into(), 10).by,
            RefusedBy::Pace
        );
        let why = |cache: &NameCache, again, now| {
            let refusal = cache.paused(1, again, now);
            refusal.map(|one| one.why.to_string())
        };
        assert!(why(&cache, false, 10).is_none());
        assert_eq!(
            cache.pause(1, false, 15, "new".into(), 10).by,
            RefusedBy::Pace
        );
        assert_eq!(why(&cache, false, 14).as_deref(), Some("new"));
        assert_eq!(why(&cache, true, 19).as_deref(), Some("again"));
        assert!(why(&cache, false, 15).is_none() && why(&cache, true, 20).is_none());
        // guardd hears of both once the later one is over, and of one that goes on nothing is lost.
        assert_eq!(cache.leave_out(1), Some(20));
        assert_eq!(cache.take_left_out(1), 1);
        assert_eq!(
            cache.pause(2, false, 30, "new".into(), 16).by,
            RefusedBy::Pace
        );
        assert!(why(&cache, true, 16).is_some());
        // The name is judged again as one that is known.
        assert!(cache.get(1, &shown(1, 0)).is_none() && cache.was_judged(1, &shown(1, 0)));
    }
}
