//! How many answers of a caller were wrong lately: somebody who tries signatures is stopped, and fills no log.

use std::collections::HashMap;

use guard_common::BootTime;

/// Wrong signatures of one user in a second, before nothing of that user is read for the rest of it.
pub(crate) const MOST: u32 = 20;
/// Users that are counted at once.
const MAX_USERS: usize = 1024;
const SECOND: u64 = 1_000_000_000;

/// The counts of each user.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    of: HashMap<u32, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// When this second began.
    began: BootTime,
    wrong: u32,
    /// When the last record was written, and how many it lacks.
    told: Option<BootTime>,
    untold: u64,
}

impl Meter {
    /// Whether a user has tried too many signatures in this second.
    #[must_use]
    pub(crate) fn is_over(&self, uid: u32, now: BootTime) -> bool {
        let count = self.of.get(&uid);
        count.is_some_and(|one| one.is_now(now) && one.wrong >= MOST)
    }

    /// Counts an answer that was refused. Returns how many a record about it stands for, if there is to be one: one a second.
    pub(crate) fn refused(&mut self, uid: u32, is_forged: bool, now: BootTime) -> Option<u64> {
        if self.of.len() >= MAX_USERS {
            self.of.retain(|_, one| one.is_now(now));
        }
        let one = self.of.entry(uid).or_default();
        if !one.is_now(now) {
            (one.began, one.wrong) = (now, 0);
        }
        one.wrong += u32::from(is_forged);
        one.untold += 1;
        let is_due = one
            .told
            .is_none_or(|at| now.0.saturating_sub(at.0) >= SECOND);
        is_due.then(|| {
            one.told = Some(now);
            std::mem::take(&mut one.untold)
        })
    }

    /// What no record stands for yet and a second has passed for, by user.
    pub(crate) fn take_untold(&mut self, now: BootTime) -> Vec<(u32, u64)> {
        let due = self.of.iter_mut().filter(|(_, one)| {
            one.untold > 0
                && one
                    .told
                    .is_none_or(|at| now.0.saturating_sub(at.0) >= SECOND)
        });
        due.map(|(uid, one)| {
            one.told = Some(now);
            (*uid, std::mem::take(&mut one.untold))
        })
        .collect()
    }
}

impl Count {
    fn is_now(&self, now: BootTime) -> bool {
        now.0.saturating_sub(self.began.0) < SECOND
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
            .map(|turn| {
                assert!(!meter.is_over(1, at(u64::from(turn))));
                meter.refused(1, true, at(u64::from(turn)))
            })
            .collect();
        assert_eq!(records[0], Some(1));
        assert!(records[1..].iter().all(Option::is_none));
        assert!(meter.is_over(1, at(30)) && !meter.is_over(2, at(30)));
        assert!(meter.take_untold(at(30)).is_empty());
        assert!(!meter.is_over(1, at(1000)));
        assert_eq!(meter.take_untold(at(1000)), [(1, u64::from(MOST) - 1)]);
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
