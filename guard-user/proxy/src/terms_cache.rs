//! What guardd says of targets, as far as it is cached, and which sessions connect to more of them than it judges.

use std::{collections::HashMap, rc::Rc};

use super::wire::{RedirectTarget, TargetTerms};

/// Targets that are cached at once, and void ones. Beyond that the outermost session with the most loses its own: one that connects
/// everywhere evicts no others'.
const MAX_TARGETS: usize = 1024;
/// Nanoseconds after which a target to which nobody has connected since it became void makes room first.
const UNUSED: u64 = 60_000_000_000;

/// The terms of a target; none: nothing passes there.
pub(super) type KnownTerms = Option<Rc<TargetTerms>>;

/// The session connects to targets faster than guardd judges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetsTooFast {
    /// It judges no other before that boot time, in nanoseconds.
    pub(super) until: u64,
}

/// Owns what is cached of targets, and the pauses.
#[derive(Debug, Default)]
pub(super) struct TermsCache {
    targets: HashMap<RedirectTarget, CachedTerms>,
    /// When guardd is asked about no new target of a session, and when about none again: the ends of these pauses, in nanoseconds of boot
    /// time.
    pauses: HashMap<u32, [u64; 2]>,
}

/// A target that guardd has judged.
#[derive(Debug)]
enum CachedTerms {
    Valid(Rc<TargetTerms>),
    /// Nothing passes there.
    Closed,
    /// What it said counts no more, since that boot time. It judges the target again, at another pace than new ones.
    Void {
        account: u32,
        since: u64,
    },
}

impl CachedTerms {
    /// On whose account its room is. A closed target has none, and so goes first: guardd does not say on whose its connections would be.
    fn account(&self) -> Option<u32> {
        match self {
            Self::Valid(terms) => Some(terms.account),
            Self::Closed => None,
            Self::Void { account, .. } => Some(*account),
        }
    }

    fn is_unused(&self, now: u64) -> bool {
        match self {
            Self::Valid(_) | Self::Closed => false,
            Self::Void { since, .. } => now.saturating_sub(*since) > UNUSED,
        }
    }
}

impl TermsCache {
    /// What is known of a target and still holds: a hole ends when it said so, also where guardd is slow to tell.
    pub(super) fn get(&self, target: RedirectTarget, now: u64) -> Option<KnownTerms> {
        match self.targets.get(&target)? {
            CachedTerms::Valid(terms) => terms.holds_at(now).then(|| Some(Rc::clone(terms))),
            CachedTerms::Closed => Some(None),
            CachedTerms::Void { .. } => None,
        }
    }

    /// Whether guardd has judged a target before, by policies, sessions or holes that may have changed since.
    pub(super) fn was_judged(&self, target: RedirectTarget) -> bool {
        self.targets.contains_key(&target)
    }

    pub(super) fn keep(&mut self, target: RedirectTarget, terms: KnownTerms, now: u64) {
        let cached = terms.map_or(CachedTerms::Closed, CachedTerms::Valid);
        self.insert(target, cached, now);
    }

    /// Keeps of a target only that it was judged: the answer was overtaken by a change.
    pub(super) fn keep_void(&mut self, target: RedirectTarget, account: u32, now: u64) {
        if !self.was_judged(target) {
            let since = now;
            self.insert(target, CachedTerms::Void { account, since }, now);
        }
    }

    fn insert(&mut self, target: RedirectTarget, cached: CachedTerms, now: u64) {
        if self.targets.len() >= MAX_TARGETS && !self.was_judged(target) {
            self.make_room(now);
        }
        self.targets.insert(target, cached);
    }

    fn make_room(&mut self, now: u64) {
        let stays = |one: &CachedTerms| one.account().is_some() && !one.is_unused(now);
        self.targets.retain(|_, one| stays(one));
        if self.targets.len() < MAX_TARGETS {
            return;
        }
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for account in self.targets.values().filter_map(CachedTerms::account) {
            *counts.entry(account).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let most = most.map(|(account, _)| account);
        self.targets.retain(|_, one| one.account() != most);
    }

    /// Makes void what is cached. The pauses stay: they depend on no policy.
    pub(super) fn clear(&mut self, now: u64) {
        self.targets.retain(|_, one| one.account().is_some());
        for one in self.targets.values_mut() {
            if let CachedTerms::Valid(terms) = one {
                *one = CachedTerms::Void {
                    account: terms.account,
                    since: now,
                };
            }
        }
    }

    /// Until when guardd is asked about no new target of a session, or about none `again` that was judged before, if it is not asked now.
    pub(super) fn paused(&self, session: u32, again: bool, now: u64) -> Option<TargetsTooFast> {
        let until = self.pauses.get(&session)?[usize::from(again)];
        (now < until).then_some(TargetsTooFast { until })
    }

    /// Has guardd asked about no new target of the session until then, or about none `again`.
    pub(super) fn pause(
        &mut self,
        session: u32,
        again: bool,
        until: u64,
        now: u64,
    ) -> TargetsTooFast {
        // Those of sessions that have ended go, too.
        self.pauses
            .retain(|_, ends| ends.iter().any(|end| now < *end));
        let end = &mut self.pauses.entry(session).or_default()[usize::from(again)];
        *end = until.max(*end);
        TargetsTooFast { until: *end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Passing;

    fn target(session: u32, port: usize) -> RedirectTarget {
        RedirectTarget {
            session,
            address: [192, 0, 2, 1].into(),
            port: 0,
            listener: u32::try_from(port).unwrap_or(u32::MAX),
        }
    }

    fn open(account: u32) -> KnownTerms {
        Some(Rc::new(TargetTerms {
            passing: Passing::Everything,
            account,
            writes: false,
            by_sni: false,
            names: false,
            until: None,
        }))
    }

    #[test]
    fn sessions_inside_one_evict_its_targets_together_and_no_others() {
        let mut cache = TermsCache::default();
        for number in 0..100 {
            cache.keep(target(1, number), open(1), 5);
        }
        // Each has fewer than the other account's.
        for number in 0..3 * MAX_TARGETS {
            let session = 2 + u32::try_from(number / 50).unwrap_or_default();
            cache.keep(target(session, number), open(2), 5);
            // So do these, on nobody's account.
            cache.keep(target(session, MAX_TARGETS * 4 + number), None, 5);
            assert!(cache.targets.len() <= MAX_TARGETS);
        }
        assert!((0..100).all(|number| cache.get(target(1, number), 5).is_some()));
    }

    #[test]
    fn a_target_that_was_judged_before_a_change_is_known_to_have_been() {
        let mut cache = TermsCache::default();
        cache.keep(target(1, 0), open(1), 5);
        cache.keep_void(target(1, 1), 1, 5);
        cache.keep(target(1, 2), None, 5);
        assert_eq!(cache.get(target(1, 2), 5), Some(None));
        cache.clear(10);
        for (number, was_judged) in [(0, true), (1, true), (2, false), (3, false)] {
            assert!(cache.get(target(1, number), 10).is_none());
            assert_eq!(cache.was_judged(target(1, number)), was_judged, "{number}");
        }
        // One that is in use stays when there is no room.
        cache.keep(target(1, 0), open(1), 20);
        for number in 0..MAX_TARGETS {
            cache.keep(target(2, number), open(2), 20 + UNUSED);
        }
        assert!(cache.get(target(1, 0), 20).is_some());
        assert!(!cache.was_judged(target(1, 1)));
        // An answer that was overtaken takes the place of no later one.
        cache.keep_void(target(1, 0), 1, 30);
        assert!(cache.get(target(1, 0), 30).is_some());
    }

    #[test]
    fn new_targets_and_those_judged_before_have_each_their_own_pause() {
        let mut cache = TermsCache::default();
        let until = |until| TargetsTooFast { until };
        assert_eq!(cache.pause(1, false, 20, 10), until(20));
        assert_eq!(cache.paused(1, false, 19), Some(until(20)));
        for (session, again, now) in [(1, false, 20), (1, true, 19), (2, false, 19)] {
            assert_eq!(cache.paused(session, again, now), None);
        }
        assert_eq!(cache.pause(1, true, 15, 12), until(15));
        assert_eq!(cache.pause(1, false, 18, 12), until(20));
        // What is over is forgotten.
        cache.pause(2, false, 50, 40);
        assert!(!cache.pauses.contains_key(&1));
    }
}
