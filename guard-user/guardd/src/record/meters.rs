//! How much of the audit log each session may fill, or of something else at another pace.

use std::collections::HashMap;

use guard_common::{BootTime, SessionId};

/// Records of refusals that an outermost session and those inside it may cause at once.
const BURST: u64 = 60;
/// Nanoseconds after which they may cause one more.
const REFILL: u64 = 200_000_000;

/// How much an outermost session and those inside it may cause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// At once.
    pub(crate) burst: u64,
    /// Nanoseconds after which they may cause one more.
    pub(crate) refill: u64,
}

/// How much has been used up lately, as of the audit log by an outermost session and those inside it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) used: u64,
    /// Up to when it was refilled.
    at: BootTime,
}

impl Share {
    /// What is left of the time counts next time.
    pub(super) fn refill(&mut self, pace: Pace, now: BootTime) {
        let refilled = now.0.saturating_sub(self.at.0) / pace.refill;
        self.used = self.used.saturating_sub(refilled);
        self.at.0 += refilled * pace.refill;
    }
}

/// The records that a session lacks.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    left_out: u64,
    /// Whether its last record says that some may be missing.
    is_told: bool,
}

/// What a record says of missing ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AdmittedRecord {
    /// How many were left out since the last one.
    pub(crate) left_out: u64,
    /// Whether those that follow may be left out.
    pub(crate) is_last: bool,
}

/// All sessions' shares of the audit log: neither a loop in a session nor many sessions inside one fill the disk.
#[derive(Debug)]
pub(crate) struct Meters {
    pace: Pace,
    shares: HashMap<SessionId, Share>,
    gaps: HashMap<SessionId, Gap>,
}

/// At the pace of records of refusals.
impl Default for Meters {
    fn default() -> Self {
        Self::at(Pace {
            burst: BURST,
            refill: REFILL,
        })
    }
}

impl Meters {
    /// At that pace, with nothing used up.
    #[must_use]
    pub(crate) fn at(pace: Pace) -> Self {
        Self {
            pace,
            shares: HashMap::new(),
            gaps: HashMap::new(),
        }
    }

    /// Whether the session may cause a record now, and what the record says of missing ones. `outermost`: the session whose
    /// share that is.
    pub(crate) fn admit(
        &mut self,
        session: SessionId,
        outermost: SessionId,
        now: BootTime,
    ) -> Option<AdmittedRecord> {
        let burst = self.pace.burst;
        let share = self.shares.entry(outermost).or_default();
        let gap = self.gaps.entry(session).or_default();
        share.refill(self.pace, now);
        // If others have used the share up, one record of the session says that it lacks some; it is paid for later.
        if share.used >= burst && gap.is_told {
            gap.left_out += 1;
            return None;
        }
        share.used += 1;
        // The kernel half reports 64 in a second, in which less than five are refilled: what it leaves out comes after the last
        // but one. If it leaves out more, since others have used up the reports for all of them, it reports one of each session
        // after those.
        gap.is_told = share.used + 1 >= burst;
        Some(AdmittedRecord {
            left_out: std::mem::take(&mut gap.left_out),
            is_last: gap.is_told,
        })
    }

    /// Whether a record of such a session would be written now: of an outermost session and those inside it.
    pub(crate) fn has_room(&self, outermost: SessionId, now: BootTime) -> bool {
        let mut share = self.shares.get(&outermost).copied().unwrap_or_default();
        share.refill(self.pace, now);
        share.used < self.pace.burst
    }

    /// So many more records of a session are left out.
    pub(crate) fn note_left_out(&mut self, session: SessionId, left_out: u64) {
        if left_out > 0 {
            self.gaps.entry(session).or_default().left_out += left_out;
        }
    }

    /// How many records of a session were left out since the last one.
    pub(crate) fn left_out(&self, session: SessionId) -> u64 {
        self.gaps.get(&session).map_or(0, |gap| gap.left_out)
    }

    /// Removes a session, and its share if no other session has a part in it.
    pub(crate) fn forget(&mut self, session: SessionId, outermost: SessionId, is_shared: bool) {
        self.gaps.remove(&session);
        if !is_shared {
            self.shares.remove(&outermost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_has_its_share_of_the_trail_and_no_more() {
        let mut all = Meters::default();
        let mut meters = Alone(&mut all);
        let at = |tenths: u64| BootTime(1_000_000_000_000 + tenths * 100_000_000);
        assert!(meters.0.has_room(SessionId(1), at(0)));
        let admitted = (0..1000).filter(|_| meters.admit(SessionId(1), at(0)).is_some());
        assert_eq!(admitted.count() as u64, BURST);
        let has_room = [0, 1, 2].map(|tenths| meters.0.has_room(SessionId(1), at(tenths)));
        assert_eq!(has_room, [false, false, true]);
        let all = AdmittedRecord::default();
        assert_eq!(meters.admit(SessionId(2), at(0)), Some(all));
        assert_eq!(meters.0.left_out(SessionId(1)), 1000 - BURST);
        let some = AdmittedRecord {
            left_out: 1000 - BURST,
            is_last: true,
        };
        assert_eq!(meters.admit(SessionId(1), at(2)), Some(some));
        assert_eq!(meters.0.left_out(SessionId(1)), 0);
        assert_eq!(meters.admit(SessionId(1), at(2)), None);
    }

    #[test]
    fn a_loop_that_never_rests_has_all_that_is_refilled() {
        let pace = Pace {
            burst: 2,
            refill: 7_812_500,
        };
        let mut all = Meters::at(pace);
        let mut meters = Alone(&mut all);
        let mut admitted = |milliseconds: u64| {
            let at = BootTime(1_000_000_000_000 + milliseconds * 1_000_000);
            std::iter::from_fn(|| meters.admit(SessionId(1), at)).count()
        };
        assert_eq!(admitted(0), 2);
        // One after each 7.8125 ms, though it asks at whole ones.
        let later: usize = (1..=10_000).map(admitted).sum();
        assert_eq!(later, 1280);
    }

    /// Sessions without parent sessions.
    struct Alone<'m>(&'m mut Meters);

    impl Alone<'_> {
        fn admit(&mut self, session: SessionId, now: BootTime) -> Option<AdmittedRecord> {
            self.0.admit(session, session, now)
        }
    }

    #[test]
    fn sessions_inside_one_have_its_share_together_and_each_says_what_it_lacks() {
        let mut meters = Meters::default();
        let outermost = SessionId(1);
        let at = |second: u64| BootTime((1000 + second) * 1_000_000_000);
        let inside = || (0..64).map(|number| SessionId(1 + number));
        let mut flood = |now| {
            let all = inside().flat_map(|id| std::iter::repeat_n(id, 100));
            let admitted = all.filter_map(|id| Some((id, meters.admit(id, outermost, now)?)));
            admitted.collect::<Vec<_>>()
        };
        let first = flood(at(0));
        // One more of each that has none yet: the first of those that came too late.
        assert_eq!(first.len() as u64, BURST + 63);
        for id in inside() {
            let mut own = first.iter().filter(|(of, _)| *of == id);
            assert!(own.any(|(_, admitted)| admitted.is_last), "{id:?}");
        }
        // Those are paid for before there are new ones.
        assert_eq!(flood(at(12)), []);
        // Each session has said already what it lacks.
        assert_eq!(flood(at(1000)).len() as u64, BURST);
        assert_eq!(meters.left_out(SessionId(64)), 299);
    }

    #[test]
    fn a_share_stays_for_as_long_as_some_session_has_it() {
        let mut meters = Meters::default();
        let (outer, inner, now) = (SessionId(1), SessionId(2), BootTime(1_000_000_000_000));
        for _ in 0..100 {
            meters.admit(outer, outer, now);
        }
        meters.forget(outer, outer, true);
        meters.admit(inner, outer, now);
        assert_eq!(meters.admit(inner, outer, now), None);
        meters.forget(inner, outer, false);
        assert!(meters.shares.is_empty() && meters.gaps.is_empty());
    }
}
