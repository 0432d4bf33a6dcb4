//! How many sessions have their start and end in the audit log whatever happens in them. Beyond that, a session has both only if something
//! else is written of it: a loop that starts sessions fills no disk, and hides nothing that is done in one.

use std::{collections::HashMap, mem};

use guard_common::BootTime;

use super::audit::LogEntry;
use crate::quota::{Account, Limit, Pace, Quota};

/// The records that a session of which nothing else is written has: its start, and its end.
const BOTH: u64 = 2;

/// Starts that are written whatever happens in the sessions: of a user 1,000 at once, then 5 a second; of what an outermost session starts
/// 250, then 12 a minute.
const STARTS: Limit = Limit::each(
    Pace::used(250, 5_000_000_000),
    Pace::used(1000, 200_000_000),
);

/// A start that is not written yet; its record has the time at which the session began.
#[derive(Debug)]
struct DeferredStart {
    by: Account,
    entry: LogEntry,
}

/// The starts of all sessions.
#[derive(Debug)]
pub(crate) struct Starts {
    quota: Quota,
    /// Records that the audit log lacks of a starter's sessions since the last that said so.
    left_out: HashMap<Account, u64>,
    /// By the sessions' ids.
    deferred: HashMap<String, DeferredStart>,
}

impl Default for Starts {
    fn default() -> Self {
        Self {
            quota: Quota::new(STARTS),
            left_out: HashMap::new(),
            deferred: HashMap::new(),
        }
    }
}

impl Starts {
    /// Whether a start is to be written now, and how many records its starter's sessions lack since the last one.
    pub(crate) fn admit(&mut self, by: Account, now: BootTime) -> Option<u64> {
        let may = self.quota.take(by, 1, now);
        may.then(|| self.take_left_out(by))
    }

    /// Keeps a start that is not written, in case that something else is written of its session. One of no session is left out.
    pub(crate) fn defer(&mut self, by: Account, entry: LogEntry) {
        match entry.session().map(str::to_owned) {
            Some(session) => {
                self.deferred.insert(session, DeferredStart { by, entry });
            }
            None => self.note_left_out(by, 1),
        }
    }

    /// Whose sessions a start counts with that is not written.
    pub(crate) fn deferred_by(&self, session: &str) -> Option<Account> {
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
    pub(crate) fn take_left_out(&mut self, by: Account) -> u64 {
        self.left_out.remove(&by).unwrap_or_default()
    }

    /// The same of all starters.
    pub(crate) fn take_all_left_out(&mut self) -> u64 {
        mem::take(&mut self.left_out).into_values().sum()
    }

    fn note_left_out(&mut self, by: Account, count: u64) {
        *self.left_out.entry(by).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use guard_common::SessionId;
    use guard_proto::record::SessionStart;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const USER: Account = Account::outside(1000);
    const INSIDE: Account = Account::inside(1000, SessionId(1));

    fn at(millis: u64) -> BootTime {
        BootTime(1000 * SECOND + millis * 1_000_000)
    }

    fn start(session: u32) -> LogEntry {
        LogEntry::of(format!("s{session}"), 1000, SessionStart::default())
    }

    #[test]
    fn the_first_starts_are_always_admitted_and_a_loop_is_not() {
        let mut starts = Starts::default();
        let admitted = (0..3000).map_while(|_| starts.admit(USER, at(0)));
        assert_eq!(admitted.collect::<Vec<_>>(), vec![0; 1000]);
        // Another user, and what is started inside a session, have their own.
        for by in [Account::outside(1001), INSIDE] {
            assert_eq!(starts.admit(by, at(0)), Some(0), "{by:?}");
        }
        // 5 a second; what is left over of a moment is not lost.
        let later = [150, 200, 210, 390, 400].map(|millis| starts.admit(USER, at(millis)));
        assert_eq!(later, [None, Some(0), None, None, Some(0)]);
        let hour = at(3600 * 1000);
        let admitted = (0..3000).map_while(|_| starts.admit(USER, hour));
        assert_eq!(admitted.count(), 1000);
    }

    #[test]
    fn an_agent_uses_up_its_own_allowance() {
        let mut starts = Starts::default();
        let admitted = (0..1000).map_while(|_| starts.admit(INSIDE, at(0)));
        assert_eq!(admitted.count(), 250);
        assert_eq!(starts.admit(INSIDE, at(4999)), None);
        assert_eq!(starts.admit(INSIDE, at(5000)), Some(0));
        assert_eq!(starts.admit(USER, at(5000)), Some(0));
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
}
