//! How many sessions have their start and end in the audit log whatever happens in them. Beyond that, a session has both only if something
//! else is written of it: a loop that starts sessions fills no disk, and hides nothing that is done in one.

use std::{collections::HashMap, mem};

use guard_common::{BootTime, SessionId};

use super::{
    audit::LogEntry,
    meters::{Pace, Share},
};

/// Starters that are counted at once, before those that have used nothing up are dropped.
const MAX_STARTERS: usize = 1024;
/// The records that a session of which nothing else is written has: its start, and its end.
const BOTH: u64 = 2;

/// Whose sessions are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StartsOf {
    /// A user, for outermost sessions.
    User(u32),
    /// An outermost session, for all inside it, however deep.
    Outermost(SessionId),
}

impl StartsOf {
    /// The starts that are written whatever happens in the sessions.
    const fn allowance(self) -> Pace {
        match self {
            Self::User(_) => Pace {
                burst: 1000,
                refill: 200_000_000,
            },
            // What an agent starts uses up nothing of its person's.
            Self::Outermost(_) => Pace {
                burst: 250,
                refill: 5_000_000_000,
            },
        }
    }
}

/// What a starter has used up lately, and what the audit log lacks of its sessions.
#[derive(Clone, Copy, Debug, Default)]
struct StartShare {
    starts: Share,
    /// Records since the last that said so.
    left_out: u64,
}

/// A start that is not written yet; its record has the time at which the session began.
#[derive(Debug)]
struct DeferredStart {
    by: StartsOf,
    entry: LogEntry,
}

/// The starts of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    shares: HashMap<StartsOf, StartShare>,
    /// By the sessions' ids.
    deferred: HashMap<String, DeferredStart>,
}

impl Starts {
    /// Whether a start is to be written now, and how many records its starter's sessions lack since the last one.
    pub(crate) fn admit(&mut self, by: StartsOf, now: BootTime) -> Option<u64> {
        self.make_room(now);
        let allowance = by.allowance();
        let share = self.shares.entry(by).or_default();
        share.starts.refill(allowance, now);
        if share.starts.used >= allowance.burst {
            return None;
        }
        share.starts.used += 1;
        Some(mem::take(&mut share.left_out))
    }

    /// Keeps a start that is not written, in case that something else is written of its session. One of no session is left out.
    pub(crate) fn defer(&mut self, by: StartsOf, entry: LogEntry) {
        match entry.session().map(str::to_owned) {
            Some(session) => {
                self.deferred.insert(session, DeferredStart { by, entry });
            }
            None => self.note_left_out(by, 1),
        }
    }

    /// Whose sessions a start counts with that is not written.
    pub(crate) fn deferred_by(&self, session: &str) -> Option<StartsOf> {
        Some(self.deferred.get(session)?.by)
    }

    /// The start that is to be written before anything else of a session.
    pub(crate) fn take_deferred(&mut self, session: &str) -> Option<LogEntry> {
        Some(self.deferred.remove(session)?.entry)
    }

    /// Leaves out both records of a session that has ended. False: its start is written.
    pub(crate) fn leave_out(&mut self, session: &str) -> bool {
        let Some(start) = self.deferred.remove(session) else {
            return false;
        };
        self.note_left_out(start.by, BOTH);
        true
    }

    /// How many records of a starter's sessions were left out since the last that said so, which the caller says.
    pub(crate) fn take_left_out(&mut self, by: StartsOf) -> u64 {
        let share = self.shares.get_mut(&by);
        share.map_or(0, |share| mem::take(&mut share.left_out))
    }

    /// The same of all starters.
    pub(crate) fn take_all_left_out(&mut self) -> u64 {
        let shares = self.shares.values_mut();
        shares.map(|share| mem::take(&mut share.left_out)).sum()
    }

    /// Removes what is counted of an outermost session that is gone, with all inside it.
    pub(crate) fn forget(&mut self, outermost: SessionId) {
        self.shares.remove(&StartsOf::Outermost(outermost));
    }

    fn note_left_out(&mut self, by: StartsOf, count: u64) {
        self.shares.entry(by).or_default().left_out += count;
    }

    /// Drops users who have all of their allowance: there is one share for each that ever started a session.
    fn make_room(&mut self, now: BootTime) {
        if self.shares.len() < MAX_STARTERS {
            return;
        }
        self.shares.retain(|by, share| {
            share.starts.refill(by.allowance(), now);
            share.starts.used > 0 || share.left_out > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use guard_proto::record::SessionStart;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const USER: StartsOf = StartsOf::User(1000);

    fn at(millis: u64) -> BootTime {
        BootTime(1000 * SECOND + millis * 1_000_000)
    }

    fn start(session: u32) -> LogEntry {
        LogEntry::of(format!("s{session}"), 1000, SessionStart::default())
    }

    #[test]
    fn the_first_starts_are_always_admitted_and_a_loop_is_not() {
        let mut starts = Starts::default();
        let most = USER.allowance().burst;
        let admitted = (0..3 * most).map_while(|_| starts.admit(USER, at(0)));
        assert_eq!(admitted.collect::<Vec<_>>(), vec![0; most as usize]);
        // Another user, and what is started inside a session, have their own.
        let inside = StartsOf::Outermost(SessionId(1));
        for by in [StartsOf::User(1001), inside] {
            assert_eq!(starts.admit(by, at(0)), Some(0), "{by:?}");
        }
        // 5 a second; what is left over of a moment is not lost.
        let later = [150, 200, 210, 390, 400].map(|millis| starts.admit(USER, at(millis)));
        assert_eq!(later, [None, Some(0), None, None, Some(0)]);
        let hour = at(3600 * 1000);
        let admitted = (0..3 * most).map_while(|_| starts.admit(USER, hour));
        assert_eq!(admitted.count() as u64, most);
    }

    #[test]
    fn an_agent_uses_up_its_own_allowance() {
        let mut starts = Starts::default();
        let inside = StartsOf::Outermost(SessionId(1));
        let admitted = (0..1000).map_while(|_| starts.admit(inside, at(0)));
        assert_eq!(admitted.count() as u64, inside.allowance().burst);
        assert_eq!(starts.admit(inside, at(4999)), None);
        assert_eq!(starts.admit(inside, at(5000)), Some(0));
        starts.forget(SessionId(1));
        assert_eq!(starts.admit(inside, at(5000)), Some(0));
    }

    #[test]
    fn the_next_start_says_how_many_records_are_left_out() {
        let mut starts = Starts::default();
        while starts.admit(USER, at(0)).is_some() {}
        for session in [1, 2, 3] {
            starts.defer(USER, start(session));
        }
        // Something else is written of the second.
        assert!(starts.take_deferred("s2").is_some());
        let left_out = [1, 2, 3].map(|session| starts.leave_out(&format!("s{session}")));
        assert_eq!(left_out, [true, false, true]);
        assert!(starts.take_deferred("s1").is_none(), "it has ended");
        // A command that was not started is of no session.
        let entry = LogEntry::of_user(1000, SessionStart::default());
        starts.defer(USER, entry);
        assert_eq!(starts.admit(USER, at(200)), Some(5));
        assert_eq!(starts.take_left_out(USER), 0);
        starts.defer(USER, start(4));
        starts.leave_out("s4");
        assert_eq!(starts.take_all_left_out(), 2);
        assert_eq!(starts.take_all_left_out(), 0);
    }

    #[test]
    fn who_has_all_of_the_allowance_is_not_counted_for_ever() {
        let mut starts = Starts::default();
        for user in 0..u32::try_from(MAX_STARTERS).unwrap() {
            starts.admit(StartsOf::User(user), at(0));
        }
        starts.note_left_out(StartsOf::User(7), BOTH);
        starts.admit(StartsOf::User(u32::MAX), at(1000));
        assert_eq!(starts.shares.len(), 2);
        assert_eq!(starts.take_left_out(StartsOf::User(7)), BOTH);
    }
}
