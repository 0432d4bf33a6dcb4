//! How fast a session may show names. Below a wildcard there are as many as an agent likes, and each is judged for it; after a change those
//! in use are, again. Targets are judged at such paces, too (`target_pace.rs`).

use std::time::Duration;

use guard_common::{BootTime, SessionId};
use guard_proto::wire::RedirectTarget;
use guard_sys::clock;

use super::{Proxy, terms::ShownName};
use crate::{
    record::meters::{Meters, Pace},
    sessions::{Session, Sessions},
    times::after,
};

/// New names of an outermost session and those inside it that are judged at once, and below after how many nanoseconds one more is: 128
/// a second.
const NEW: Pace = Pace {
    burst: 1024,
    refill: 7_812_500,
};
/// The same of names that were judged before, 1,000 a second. The proxy caches 4,096 names, and asks again about those in use where
/// policies, sessions or holes have changed. That it is one of these, guardd has only the proxy's word for.
const AGAIN: Pace = Pace {
    burst: 4096,
    refill: 1_000_000,
};
/// How long the proxy asks about no more of a session, once there were more.
const PAUSE: Duration = Duration::from_secs(1);

/// What of each session was judged lately: its names, or its targets.
#[derive(Debug)]
pub(super) struct JudgingPace {
    new: Meters,
    /// Those that were judged before a change.
    again: Meters,
}

/// Of names.
impl Default for JudgingPace {
    fn default() -> Self {
        Self::at(NEW, AGAIN)
    }
}

impl JudgingPace {
    /// At these paces, with nothing judged yet.
    pub(super) fn at(new: Pace, again: Pace) -> Self {
        Self {
            new: Meters::at(new),
            again: Meters::at(again),
        }
    }

    /// Until when no other new one of a session is judged, or none `again`, where this one is not.
    pub(super) fn refuses(
        &mut self,
        again: bool,
        session: SessionId,
        outermost: SessionId,
        now: BootTime,
    ) -> Option<BootTime> {
        let meters = if again {
            &mut self.again
        } else {
            &mut self.new
        };
        let admitted = meters.admit(session, outermost, now);
        admitted.is_none().then(|| after(now, PAUSE))
    }

    /// Removes a session, and its share if no other session has a part in it.
    pub(super) fn forget(&mut self, session: SessionId, outermost: SessionId, is_shared: bool) {
        for meters in [&mut self.new, &mut self.again] {
            meters.forget(session, outermost, is_shared);
        }
    }
}

/// Why a name is refused at that pace.
const fn too_fast(again: bool) -> &'static str {
    if again {
        "its session has shown more names lately than guardd judges again after a change"
    } else {
        "its session has shown more new names lately than guardd judges"
    }
}

impl Proxy {
    /// What is said of a name that a client shows there where its session shows names too fast, and else none; `again`: it was judged before
    /// a change.
    pub(super) fn name_too_fast(
        &mut self,
        sessions: &Sessions,
        target: &RedirectTarget,
        again: bool,
    ) -> Option<ShownName> {
        let session = SessionId(target.session);
        let outermost = sessions.live(session).map(Session::outermost)?;
        let until = self
            .names
            .refuses(again, session, outermost, clock::now())?;
        Some(ShownName {
            why: Some(too_fast(again).to_owned()),
            rules: Vec::new(),
            until: Some(until),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::sessions::none_but;

    const SECOND: u64 = 1_000_000_000;
    const NOW: BootTime = BootTime(1_000 * SECOND);
    const LATER: BootTime = BootTime(NOW.0 + SECOND);

    /// How many of so many names of an outermost session are judged.
    fn judged(
        pace: &mut JudgingPace,
        again: bool,
        session: SessionId,
        names: usize,
        now: BootTime,
    ) -> usize {
        let all = (0..names).filter(|_| pace.refuses(again, session, session, now).is_none());
        all.count()
    }

    #[test]
    fn names_without_end_are_judged_at_a_pace_and_keep_no_other_session_waiting() {
        let (loud, quiet) = (SessionId(1), SessionId(2));
        for (again, burst, a_second) in [(false, 1024, 128), (true, 4096, 1000)] {
            let mut pace = JudgingPace::default();
            assert_eq!(judged(&mut pace, again, loud, 1_000_000, NOW), burst);
            assert_eq!(pace.refuses(again, loud, loud, NOW), Some(LATER));
            assert_eq!(pace.refuses(again, quiet, quiet, NOW), None);
            assert_eq!(judged(&mut pace, again, loud, 10_000, LATER), a_second);
        }
    }

    #[test]
    fn new_names_and_those_judged_again_have_each_their_own_pace() {
        let session = SessionId(1);
        for (first, other, burst) in [(true, false, 1024), (false, true, 4096)] {
            let mut pace = JudgingPace::default();
            judged(&mut pace, first, session, 10_000, NOW);
            assert!(pace.refuses(first, session, session, NOW).is_some());
            assert_eq!(judged(&mut pace, other, session, 10_000, NOW), burst);
        }
    }

    #[test]
    fn a_session_that_shows_names_too_fast_is_told_so_and_until_when() {
        let sessions = none_but(&[(1, None)]);
        let mut proxy = Proxy::default();
        let target = |session: u32| RedirectTarget {
            session,
            address: IpAddr::from([192, 0, 2, 1]),
            port: 443,
            listener: 0,
        };
        // Of one that is not there the policies say it.
        assert!(proxy.name_too_fast(&sessions, &target(9), false).is_none());
        let all = (0..1_000_000).find_map(|_| proxy.name_too_fast(&sessions, &target(1), false));
        let refused = all.map(|refused| (refused.why, refused.until.is_some()));
        assert_eq!(refused, Some((Some(too_fast(false).to_owned()), true)));
        assert!(proxy.name_too_fast(&sessions, &target(1), true).is_none());
    }

    #[test]
    fn after_a_change_all_names_that_the_proxy_caches_are_judged_also_soon_after_a_flood() {
        let mut pace = JudgingPace::default();
        for change in 0..10 {
            let now = BootTime(NOW.0 + change * 5 * SECOND);
            assert_eq!(judged(&mut pace, true, SessionId(1), 100_000, now), 4096);
        }
    }

    #[test]
    fn sessions_inside_one_have_its_pace_together() {
        let outermost = SessionId(1);
        // Each has one.
        for (again, expected) in [(false, 1024 + 62), (true, 4096 + 59)] {
            let mut pace = JudgingPace::default();
            let all = (0..64).flat_map(|number| std::iter::repeat_n(SessionId(1 + number), 1_000));
            let is_judged =
                |session: &SessionId| pace.refuses(again, *session, outermost, NOW).is_none();
            assert_eq!(all.filter(is_judged).count(), expected);
            for number in 0..64 {
                pace.forget(SessionId(1 + number), outermost, number < 63);
            }
            assert_eq!(pace.refuses(again, outermost, outermost, NOW), None);
        }
    }
}
