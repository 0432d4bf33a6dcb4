//! How fast a session may show new names. Below a wildcard there are as many as an agent likes, and each is judged for it.

use std::time::Duration;

use guard_common::{BootTime, SessionId};
use guard_proto::wire::RedirectTarget;
use guard_sys::clock;

use super::terms::ShownName;
use crate::{
    record::meters::{Meters, Pace},
    sessions::Session,
    state::State,
    times::after,
};

/// New names of an outermost session and those inside it that are judged at once, and below after how many nanoseconds one more is: 128
/// a second. The proxy caches names, and asks again about those in use where policies, sessions or holes have changed: these are not counted.
const PACE: Pace = Pace {
    burst: 1024,
    refill: 7_812_500,
};
/// How long the proxy refuses names of a session by itself, once there were more.
const PAUSE: Duration = Duration::from_secs(1);
/// Why a name is refused then.
const TOO_FAST: &str = "its session has shown more new names lately than guardd judges";

/// The new names that each session has shown lately.
#[derive(Debug)]
pub(super) struct NamePace(Meters);

impl Default for NamePace {
    fn default() -> Self {
        Self(Meters::at(PACE))
    }
}

impl NamePace {
    /// Until when no other name of a session is judged, where this one is not.
    fn refuses(
        &mut self,
        session: SessionId,
        outermost: SessionId,
        now: BootTime,
    ) -> Option<BootTime> {
        let admitted = self.0.admit(session, outermost, now);
        admitted.is_none().then(|| after(now, PAUSE))
    }

    /// Removes a session, and its share if no other session has a part in it.
    pub(super) fn forget(&mut self, session: SessionId, outermost: SessionId, is_shared: bool) {
        self.0.forget(session, outermost, is_shared);
    }
}

impl State {
    /// What is said of a name that a client shows there, unless its session shows names too fast.
    pub(super) fn name_in_time(&mut self, target: &RedirectTarget, name: &str) -> ShownName {
        let session = SessionId(target.session);
        let outermost = self.sessions.live(session).map(Session::outermost);
        let pace = &mut self.proxy.names;
        let until = outermost.and_then(|of| pace.refuses(session, of, clock::now()));
        match until {
            Some(_) => ShownName {
                why: Some(TOO_FAST.to_owned()),
                rules: Vec::new(),
                until,
            },
            None => self.proxy_name(target, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_end_are_judged_at_a_pace_and_keep_no_other_session_waiting() {
        let mut pace = NamePace::default();
        let (loud, quiet) = (SessionId(1), SessionId(2));
        let second = 1_000_000_000;
        let now = BootTime(1_000 * second);
        let judged = (0..1_000_000).filter(|_| pace.refuses(loud, loud, now).is_none());
        assert_eq!(judged.count(), 1024);
        let until = BootTime(now.0 + second);
        assert_eq!(pace.refuses(loud, loud, now), Some(until));
        assert_eq!(pace.refuses(quiet, quiet, now), None);
        let judged = (0..1_000).filter(|_| pace.refuses(loud, loud, until).is_none());
        assert_eq!(judged.count(), 128);
    }

    #[test]
    fn sessions_inside_one_have_its_pace_together() {
        let mut pace = NamePace::default();
        let now = BootTime(1_000_000_000_000);
        let outermost = SessionId(1);
        let all = (0..64).flat_map(|number| std::iter::repeat_n(SessionId(1 + number), 1_000));
        let judged = all.filter(|session| pace.refuses(*session, outermost, now).is_none());
        // Each has one.
        assert_eq!(judged.count(), 1024 + 62);
        for number in 0..64 {
            pace.forget(SessionId(1 + number), outermost, number < 63);
        }
        assert_eq!(pace.refuses(outermost, outermost, now), None);
    }
}
