//! What guardd says of the names that clients show, as far as it is cached, and which sessions show new ones too fast.

use std::{collections::HashMap, mem, rc::Rc};

use super::{
    judge::Rules,
    wire::{Entry, RedirectTarget},
};

/// Names that are cached at once. Beyond that the session with the most loses its own: whoever shows names without end evicts no others'.
const MAX_NAMES: usize = 4096;

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
    /// By guardd, which judges no more new names of the session for a moment.
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
}

impl NameRefusal {
    /// Its record, with this as the reason.
    pub(super) fn entry(&self, why: &str) -> Entry {
        match self.by {
            RefusedBy::Policies => Entry::denied(why),
            RefusedBy::Pace | RefusedBy::Pause => Entry::refused(why),
        }
    }
}

/// Owns what is cached of names, and the pauses.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    sessions: HashMap<u32, HashMap<Shown, NameTerms>>,
    /// How many names those are.
    count: usize,
    pauses: HashMap<u32, Pause>,
}

/// A moment in which guardd is asked about no new name of a session.
#[derive(Clone, Debug, Default)]
struct Pause {
    /// In nanoseconds of boot time.
    until: u64,
    why: Rc<str>,
    /// Refusals of which guardd has no record, and has not heard the number.
    left_out: u64,
}

impl NameCache {
    pub(super) fn get(&self, shown: &Shown) -> Option<NameTerms> {
        let (target, _) = shown;
        self.sessions.get(&target.session)?.get(shown).cloned()
    }

    pub(super) fn keep(&mut self, shown: Shown, terms: NameTerms) {
        if self.count >= MAX_NAMES {
            self.make_room();
        }
        let own = self.sessions.entry(shown.0.session).or_default();
        if own.insert(shown, terms).is_none() {
            self.count += 1;
        }
    }

    fn make_room(&mut self) {
        let most = self.sessions.iter().max_by_key(|(_, own)| own.len());
        let most = most.map(|(session, _)| *session);
        if let Some(own) = most.and_then(|session| self.sessions.remove(&session)) {
            self.count -= own.len();
        }
    }

    /// The rules as the session has them already, if it has. A wildcard's are the same for each name below it, and may be long: as many
    /// names as a client likes have them once.
    pub(super) fn shared(&self, session: u32, rules: Vec<Rules>) -> Rc<[Rules]> {
        let own = self.sessions.get(&session);
        let same = own.and_then(|own| own.values().find(|known| known.rules[..] == rules[..]));
        match same {
            Some(known) => Rc::clone(&known.rules),
            None => rules.into(),
        }
    }

    /// Drops what is cached. The pauses stay: they depend on no policy.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
        self.count = 0;
    }

    /// Why the session may show no new name now, if it may not.
    pub(super) fn paused(&self, session: u32, now: u64) -> Option<NameRefusal> {
        let pause = self.pauses.get(&session)?;
        (now < pause.until).then(|| NameRefusal {
            why: Rc::clone(&pause.why),
            by: RefusedBy::Pause,
        })
    }

    /// Has guardd asked about no new name of the session until then. Of names that were asked about at once, the first has the record.
    pub(super) fn pause(
        &mut self,
        session: u32,
        until: u64,
        why: Rc<str>,
        now: u64,
    ) -> NameRefusal {
        // Those of sessions that have ended go, too.
        self.pauses
            .retain(|_, pause| now < pause.until || pause.left_out > 0);
        let is_paused = self.paused(session, now).is_some();
        let pause = self.pauses.entry(session).or_default();
        pause.until = until.max(pause.until);
        pause.why = Rc::clone(&why);
        let by = match is_paused {
            true => RefusedBy::Pause,
            false => RefusedBy::Pace,
        };
        NameRefusal { why, by }
    }

    /// Counts a refusal that gets no record. Returns when guardd is to hear the number, where this is the first of them.
    pub(super) fn leave_out(&mut self, session: u32) -> Option<u64> {
        let pause = self.pauses.entry(session).or_default();
        pause.left_out += 1;
        (pause.left_out == 1).then_some(pause.until)
    }

    /// Their number, which guardd is about to hear.
    pub(super) fn take_left_out(&mut self, session: u32) -> u64 {
        let pause = self.pauses.get_mut(&session);
        pause.map_or(0, |pause| mem::take(&mut pause.left_out))
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
        cache.keep(shown(1, 0), open());
        for number in 0..3 * MAX_NAMES {
            cache.keep(shown(2, number), open());
            assert!(cache.count <= MAX_NAMES);
        }
        assert!(cache.get(&shown(1, 0)).is_some());
        assert!(cache.get(&shown(2, 0)).is_none());
        assert!(cache.get(&shown(2, 3 * MAX_NAMES - 1)).is_some());
        let kept: usize = cache.sessions.values().map(HashMap::len).sum();
        assert_eq!(kept, cache.count);
        // Once more is no other.
        cache.keep(shown(1, 0), open());
        assert_eq!(kept, cache.count);
        cache.clear();
        assert!(cache.get(&shown(1, 0)).is_none() && cache.count == 0);
    }

    #[test]
    fn a_pause_has_one_record_and_counts_the_others() {
        let mut cache = NameCache::default();
        let why = || -> Rc<str> { "too many".into() };
        assert!(cache.paused(1, 5).is_none());
        assert_eq!(cache.pause(1, 10, why(), 5).by, RefusedBy::Pace);
        // Asked about before the first answer came.
        assert_eq!(cache.pause(1, 11, why(), 6).by, RefusedBy::Pause);
        let paused = |cache: &NameCache, session, now| cache.paused(session, now).is_some();
        assert!(paused(&cache, 1, 10) && !paused(&cache, 1, 11) && !paused(&cache, 2, 6));
        assert_eq!(cache.leave_out(1), Some(11));
        assert_eq!(cache.leave_out(1), None);
        // What nobody has heard of stays, and nothing else of what is over.
        assert_eq!(cache.pause(2, 30, why(), 20).by, RefusedBy::Pace);
        assert_eq!(cache.take_left_out(1), 2);
        assert_eq!(cache.pause(2, 50, why(), 40).by, RefusedBy::Pace);
        assert!(!cache.pauses.contains_key(&1));
    }
}
