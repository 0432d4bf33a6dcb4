//! How much of the audit log each account may fill: neither a loop in a session nor many sessions of one user fill the disk.

use std::collections::HashMap;

use guard_common::{BootTime, SessionId};

use crate::quota::{Account, Limit, Pace, Quota};

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Records of refusals: 60 at once, then 5 a second.
const RECORDS: Limit = Limit::each(Pace::used(60, SECOND / 5), Pace::UNLIMITED);
/// Their bytes, of all sessions of a user: 1 MiB at once, then 12 KiB a second.
const BYTES: Limit = Limit::each(
    Pace::UNLIMITED,
    Pace::used(1024 * 1024, SECOND / (12 * 1024)),
);

/// The records that a session lacks.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    left_out: u64,
    /// Its last record says that some may be missing.
    is_told: bool,
}

/// What a record says of missing ones, and the account that its bytes count for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdmittedRecord {
    /// Number of records left out since the last one.
    pub(crate) left_out: u64,
    /// Records that follow may be left out.
    pub(crate) is_last: bool,
    /// Account that it counts for.
    pub(crate) account: Account,
}

/// All accounts' shares of the audit log.
#[derive(Debug)]
pub(crate) struct Shares {
    records: Quota,
    bytes: Quota,
    gaps: HashMap<SessionId, Gap>,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            records: Quota::new(RECORDS),
            bytes: Quota::new(BYTES),
            gaps: HashMap::new(),
        }
    }
}

impl Shares {
    /// Returns what a session's next record says of missing ones; none: it may cause no record now.
    pub(crate) fn admit(
        &mut self,
        session: SessionId,
        account: Account,
        now: BootTime,
    ) -> Option<AdmittedRecord> {
        let has_room = self.has_room(account, now);
        let gap = self.gaps.entry(session).or_default();
        // If others have used the share up, one record of the session says that it lacks some; it is paid for later.
        if !has_room && gap.is_told {
            gap.left_out += 1;
            return None;
        }
        self.records.charge(account, 1, now);
        // The kernel half reports 64 in a second, in which less than five are refilled: what it leaves out comes after the last
        // but one. If it leaves out more, since others have used up the reports for all of them, it reports one of each session
        // after those.
        gap.is_told =
            !self.records.has_room(account, 2, now) || !self.bytes.has_room(account, 1, now);
        Some(AdmittedRecord {
            left_out: std::mem::take(&mut gap.left_out),
            is_last: gap.is_told,
            account,
        })
    }

    /// Returns true if a record of that account would be written now.
    pub(crate) fn has_room(&self, account: Account, now: BootTime) -> bool {
        self.records.has_room(account, 1, now) && self.bytes.has_room(account, 1, now)
    }

    /// Counts the bytes of a record that was written.
    pub(crate) fn wrote(&mut self, account: Account, bytes: u64, now: BootTime) {
        self.bytes.charge(account, bytes, now);
    }

    /// So many more records of a session are left out.
    pub(crate) fn note_left_out(&mut self, session: SessionId, left_out: u64) {
        if left_out > 0 {
            self.gaps.entry(session).or_default().left_out += left_out;
        }
    }

    /// Returns how many records of a session were left out since the last one.
    pub(crate) fn left_out(&self, session: SessionId) -> u64 {
        self.gaps.get(&session).map_or(0, |gap| gap.left_out)
    }

    /// Removes a session.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.gaps.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Account = Account::inside(1000, SessionId(1));
    const OTHER: Account = Account::inside(1001, SessionId(1000));

    fn at(tenths: u64) -> BootTime {
        BootTime(1_000_000_000_000 + tenths * 100_000_000)
    }

    #[test]
    fn a_loop_has_its_share_of_the_trail_and_no_more() {
        let mut shares = Shares::default();
        assert!(shares.has_room(ONE, at(0)));
        let mut admit = |session, account, now| shares.admit(SessionId(session), account, now);
        let admitted = (0..1000).filter(|_| admit(1, ONE, at(0)).is_some());
        assert_eq!(admitted.count(), 60);
        let is_whole = |one: AdmittedRecord| one.left_out == 0 && !one.is_last;
        assert!(admit(1000, OTHER, at(0)).is_some_and(is_whole));
        let some = AdmittedRecord {
            left_out: 940,
            is_last: true,
            account: ONE,
        };
        assert_eq!(admit(1, ONE, at(2)), Some(some));
        assert_eq!(admit(1, ONE, at(2)), None);
        assert_eq!(shares.left_out(SessionId(1)), 1);
        shares.forget(SessionId(1));
        assert_eq!(shares.left_out(SessionId(1)), 0);
    }

    #[test]
    fn sessions_inside_one_have_its_share_together_and_each_says_what_it_lacks() {
        let mut shares = Shares::default();
        let inside = || (1..=64).map(SessionId);
        let mut flood = |now| {
            let all = inside().flat_map(|id| std::iter::repeat_n(id, 100));
            let admitted = all.filter_map(|id| Some((id, shares.admit(id, ONE, now)?)));
            admitted.collect::<Vec<_>>()
        };
        let first = flood(at(0));
        // One more of each that has none yet: the first of those that came too late.
        assert_eq!(first.len(), 60 + 63);
        for id in inside() {
            let mut own = first.iter().filter(|(of, _)| *of == id);
            assert!(own.any(|(_, admitted)| admitted.is_last), "{id:?}");
        }
        // Those are paid for before there are new ones.
        assert_eq!(flood(at(120)), []);
        // Each session has said already what it lacks.
        assert_eq!(flood(at(10_000)).len(), 60);
        assert_eq!(shares.left_out(SessionId(64)), 299);
    }

    #[test]
    fn the_bytes_of_all_sessions_of_a_user_count_together() {
        let mut shares = Shares::default();
        let (mut bytes, mut others) = (0, 0);
        for second in 0..3600_u64 {
            for session in 1..=512 {
                let account = Account::inside(1000, SessionId(session));
                if shares
                    .admit(SessionId(session), account, at(second * 10))
                    .is_some()
                {
                    shares.wrote(account, 400, at(second * 10));
                    bytes += 400;
                }
            }
            let other = shares.admit(SessionId(1000), OTHER, at(second * 10));
            others += u64::from(other.is_some());
        }
        assert!(bytes < (1024 + 3600 * 12 + 400) * 1024, "{bytes}");
        assert_eq!(others, 3600);
    }
}
