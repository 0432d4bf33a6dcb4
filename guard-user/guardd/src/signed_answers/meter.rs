//! How many answers of a caller were wrong lately: somebody who tries signatures is stopped, and fills no log.

use std::collections::HashMap;

use guard_common::BootTime;

use crate::quota::{Account, Limit, Pace, Quota};

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Wrong signatures of one user in a second, before nothing of that user is read.
pub(crate) const MOST: u64 = 20;
const WRONG: Limit = Limit::each(Pace::UNLIMITED, Pace::used(MOST, SECOND / MOST));
/// Records of wrong answers.
const RECORDS: Limit = Limit::each(Pace::UNLIMITED, Pace::used(1, SECOND));

/// Counts of each user.
#[derive(Debug)]
pub(crate) struct Meter {
    wrong: Quota,
    records: Quota,
    /// Answers that no record stands for.
    untold: HashMap<u32, u64>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            wrong: Quota::new(WRONG),
            records: Quota::new(RECORDS),
            untold: HashMap::new(),
        }
    }
}

impl Meter {
    /// Returns true if a user has tried too many signatures.
    #[must_use]
    pub(crate) fn is_over(&self, uid: u32, now: BootTime) -> bool {
        !self.wrong.has_room(Account::outside(uid), 1, now)
    }

    /// Counts an answer that was refused. Returns how many a record about it stands for, if there is to be one: one a second.
    pub(crate) fn refused(&mut self, uid: u32, is_forged: bool, now: BootTime) -> Option<u64> {
        let account = Account::outside(uid);
        self.wrong.charge(account, u64::from(is_forged), now);
        let untold = self.untold.entry(uid).or_default();
        *untold += 1;
        self.records
            .take(account, 1, now)
            .then(|| self.untold.remove(&uid))?
    }

    /// Returns what no record stands for yet and a second has passed for, by user.
    pub(crate) fn take_untold(&mut self, now: BootTime) -> Vec<(u32, u64)> {
        let records = &mut self.records;
        let due = |uid: &u32, _: &mut u64| records.take(Account::outside(*uid), 1, now);
        self.untold.extract_if(due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_stopped_and_is_one_record_a_second() {
        let mut meter = Meter::default();
        let at = |millis: u64| BootTime(SECOND * 100 + millis * 1_000_000);
        let records: Vec<_> = (0..MOST)
            .map(|_| {
                assert!(!meter.is_over(1, at(0)));
                meter.refused(1, true, at(0))
            })
            .collect();
        assert_eq!(records[0], Some(1));
        assert!(records[1..].iter().all(Option::is_none));
        assert!(meter.is_over(1, at(30)) && !meter.is_over(2, at(30)));
        assert!(meter.take_untold(at(30)).is_empty());
        assert!(!meter.is_over(1, at(1000)));
        assert_eq!(meter.take_untold(at(1000)), [(1, MOST - 1)]);
        assert_eq!(
            meter.refused(1, true, at(1001)),
            None,
            "there was one just now"
        );
        assert_eq!(meter.refused(1, true, at(2001)), Some(2));
    }

    #[test]
    fn what_is_signed_and_not_to_be_is_no_flood() {
        let mut meter = Meter::default();
        for _ in 0..100 {
            meter.refused(1, false, BootTime(SECOND));
        }
        assert!(!meter.is_over(1, BootTime(SECOND)));
    }
}
