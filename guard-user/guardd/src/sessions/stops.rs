//! What sessions were kept from lately: each thing once, with how often and when last, so that `guard why` can say so.

use std::collections::HashMap;

use guard_common::{BootTime, SessionId};

/// What sessions were kept from, at most `LIMIT` things of each: of too many the one that was last stopped longest ago is
/// evicted. `D` is what counts of the last stop alone.
#[derive(Debug)]
pub(crate) struct Stops<const LIMIT: usize, K, D = ()>(HashMap<SessionId, Vec<Stop<K, D>>>);

/// One thing that a session was kept from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop<K, D = ()> {
    /// What.
    pub(crate) what: K,
    /// About the last time.
    pub(crate) details: D,
    /// When that was.
    pub(crate) last: BootTime,
    /// How often.
    pub(crate) count: u64,
}

impl<const LIMIT: usize, K, D> Default for Stops<LIMIT, K, D> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<const LIMIT: usize, K: PartialEq, D> Stops<LIMIT, K, D> {
    /// Adds a stop, and returns how often that was, with this one.
    pub(crate) fn note(&mut self, session: SessionId, what: K, details: D, now: BootTime) -> u64 {
        let all = self.0.entry(session).or_default();
        let known = all.iter().position(|one| one.what == what);
        let count = known.map_or(0, |at| all.remove(at).count) + 1;
        if all.len() >= LIMIT {
            all.remove(0);
        }
        // An event of the kernel's may be read after a later one.
        let at = all.partition_point(|one| one.last <= now);
        let stop = Stop {
            what,
            details,
            last: now,
            count,
        };
        all.insert(at, stop);
        count
    }

    /// Those of a session, the latest first.
    pub(crate) fn of(&self, session: SessionId) -> impl Iterator<Item = &Stop<K, D>> {
        self.0.get(&session).into_iter().flatten().rev()
    }

    /// Removes those of a session that has ended.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.0.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(1);

    type Few = Stops<3, &'static str, u8>;

    fn listed(stops: &Few) -> Vec<(&'static str, u64)> {
        let all = stops.of(SESSION);
        all.map(|one| (one.what, one.count)).collect()
    }

    #[test]
    fn the_same_is_counted_and_the_latest_stands_first() {
        let mut stops = Few::default();
        assert_eq!(stops.note(SESSION, "a", 1, BootTime(1)), 1);
        assert_eq!(stops.note(SESSION, "b", 2, BootTime(2)), 1);
        assert_eq!(stops.note(SESSION, "a", 3, BootTime(3)), 2);
        assert_eq!(listed(&stops), [("a", 2), ("b", 1)]);
        let first = stops.of(SESSION).next().unwrap();
        assert_eq!((first.details, first.last), (3, BootTime(3)));
    }

    #[test]
    fn of_too_many_the_oldest_goes_whatever_the_order_of_events() {
        let mut stops = Few::default();
        for (what, at) in [("late", 9), ("early", 1), ("middle", 5)] {
            stops.note(SESSION, what, 0, BootTime(at));
        }
        assert_eq!(listed(&stops), [("late", 1), ("middle", 1), ("early", 1)]);
        stops.note(SESSION, "new", 0, BootTime(7));
        assert_eq!(listed(&stops), [("late", 1), ("new", 1), ("middle", 1)]);
        // What is known takes no room of others.
        stops.note(SESSION, "middle", 0, BootTime(10));
        assert_eq!(listed(&stops), [("middle", 2), ("late", 1), ("new", 1)]);
    }

    #[test]
    fn each_session_has_its_own_until_it_ends() {
        let mut stops = Few::default();
        let other = SessionId(2);
        stops.note(SESSION, "a", 0, BootTime(1));
        for what in ["a", "b", "c", "d"] {
            stops.note(other, what, 0, BootTime(2));
        }
        assert_eq!(
            (listed(&stops), stops.of(other).count()),
            (vec![("a", 1)], 3)
        );
        stops.forget(SESSION);
        assert_eq!((stops.of(SESSION).count(), stops.of(other).count()), (0, 3));
    }
}
