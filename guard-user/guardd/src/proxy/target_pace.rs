//! How fast a session may connect to targets. A policy may let it read from as many as an agent likes, and the terms of each take a look at
//! policies, holes and listeners; after a change those in use do, again.

use guard_common::{BootTime, SessionId};
use guard_proto::wire::RedirectTarget;
use guard_sys::clock;

use super::{Proxy, name_pace::JudgingPace};
use crate::{
    record::meters::Pace,
    sessions::{Session, Sessions},
};

/// New targets of an outermost session and those inside it that are judged at once, and after how many nanoseconds one more is: 1,000 a
/// second.
const NEW: Pace = Pace {
    burst: 4096,
    refill: 1_000_000,
};
/// The same of targets that were judged before: a flood of new ones leaves open connections alone. The proxy caches 1,024, and asks about
/// those in use with each change, which may be others' doing. So this is more.
const AGAIN: Pace = Pace {
    burst: 16_384,
    refill: 80_000,
};

/// The targets of each session that were judged lately.
#[derive(Debug)]
pub(super) struct TargetPace(JudgingPace);

impl Default for TargetPace {
    fn default() -> Self {
        Self(JudgingPace::at(NEW, AGAIN))
    }
}

impl TargetPace {
    /// Removes a session, and its share if no other session has a part in it.
    pub(super) fn forget(&mut self, session: SessionId, outermost: SessionId, is_shared: bool) {
        self.0.forget(session, outermost, is_shared);
    }
}

impl Proxy {
    /// Until when no other new target of the session is judged, or none `again`, where this one is not. Of a session that has ended nothing
    /// is left to judge.
    pub(super) fn refuses_target(
        &mut self,
        sessions: &Sessions,
        target: &RedirectTarget,
        again: bool,
    ) -> Option<BootTime> {
        let session = SessionId(target.session);
        let outermost = sessions.live(session).map(Session::outermost)?;
        let pace = &mut self.targets.0;
        pace.refuses(again, session, outermost, clock::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: BootTime = BootTime(1_000 * SECOND);
    const LATER: BootTime = BootTime(NOW.0 + SECOND);

    /// How many of thirty thousand targets of an outermost session are judged.
    fn judged(pace: &mut TargetPace, again: bool, session: SessionId, now: BootTime) -> usize {
        let all = 0..30_000;
        let is_judged = |_: &i32| pace.0.refuses(again, session, session, now).is_none();
        all.filter(is_judged).count()
    }

    #[test]
    fn targets_without_end_are_judged_at_a_pace_and_keep_no_other_session_waiting() {
        let (loud, quiet) = (SessionId(1), SessionId(2));
        for (again, at_once, a_second) in [(false, 4096, 1000), (true, 16_384, 12_500)] {
            let mut pace = TargetPace::default();
            assert_eq!(judged(&mut pace, again, loud, NOW), at_once);
            assert_eq!(pace.0.refuses(again, loud, loud, NOW), Some(LATER));
            assert_eq!(pace.0.refuses(again, quiet, quiet, NOW), None);
            assert_eq!(judged(&mut pace, again, loud, LATER), a_second);
        }
    }

    #[test]
    fn a_flood_of_new_targets_leaves_those_in_use_to_be_judged_again() {
        let mut pace = TargetPace::default();
        judged(&mut pace, false, SessionId(1), NOW);
        assert_eq!(judged(&mut pace, true, SessionId(1), NOW), 16_384);
    }

    #[test]
    fn sessions_inside_one_have_its_pace_together() {
        let outermost = SessionId(1);
        let mut pace = TargetPace::default();
        judged(&mut pace, false, outermost, NOW);
        let mut inside = |session| pace.0.refuses(false, SessionId(session), outermost, NOW);
        // Each has one, as its record would say why it lacks others.
        assert_eq!(inside(2), None);
        assert_eq!(inside(2), Some(LATER));
        pace.forget(SessionId(2), outermost, true);
        pace.forget(outermost, outermost, false);
        assert_eq!(judged(&mut pace, false, outermost, NOW), 4096);
    }
}
