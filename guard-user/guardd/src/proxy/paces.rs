//! How fast sessions may show names, connect to targets, and have writes asked about. Below a wildcard there are as many names as an
//! agent likes, a policy may let it read from as many targets, and each is judged for it; after a change those in use are, again.

use std::time::Duration;

use guard_common::{BootTime, SessionId};
use guard_proto::wire::RedirectTarget;
use guard_sys::clock;

use super::{Proxy, terms::ShownName};
use crate::{
    quota::{Limit, Pace, Quota},
    sessions::{Session, Sessions},
    times::after,
};

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// New names of an outermost session: 1,024 at once, then 128 a second; of a user's sessions four times as many.
const NEW_NAMES: Limit = Limit::each(
    Pace::used(1024, SECOND / 128),
    Pace::used(4096, SECOND / 512),
);
/// Names that were judged before. The proxy caches 4,096 names, and asks again about those in use where policies, sessions or holes have
/// changed. That it is one of these, guardd has only the proxy's word for.
const NAMES_AGAIN: Limit = Limit::each(
    Pace::used(4096, SECOND / 1000),
    Pace::used(16_384, SECOND / 4000),
);
/// New targets.
const NEW_TARGETS: Limit = NAMES_AGAIN;
/// Targets that were judged before: a flood of new ones leaves open connections alone. The proxy caches 1,024, and asks about those in use
/// with each change, which may be others' doing: of listeners ten times a second (`LISTENERS_APART`). So this is more.
const TARGETS_AGAIN: Limit = Limit::each(
    Pace::used(16_384, SECOND / 12_500),
    Pace::used(65_536, SECOND / 50_000),
);
/// New requests that no policy lets pass: 60 at once, then 5 a second. No approver reads those of a flood.
const WRITES: Limit = Limit::each(Pace::used(60, SECOND / 5), Pace::used(240, SECOND / 20));
/// How long the proxy asks about no more of a session, once there were more.
const PAUSE: Duration = Duration::from_secs(1);

/// What accounts had judged lately.
#[derive(Debug)]
pub(super) struct Paces {
    new_names: Quota,
    names_again: Quota,
    new_targets: Quota,
    targets_again: Quota,
    pub(super) writes: Quota,
}

impl Default for Paces {
    fn default() -> Self {
        let [new_names, names_again, new_targets, targets_again, writes] =
            [NEW_NAMES, NAMES_AGAIN, NEW_TARGETS, TARGETS_AGAIN, WRITES].map(Quota::new);
        Self {
            new_names,
            names_again,
            new_targets,
            targets_again,
            writes,
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
    /// Returns what is said of a name that a client shows there where its session shows names too fast; `again`: it was judged before a
    /// change. Of a session that has ended the policies say it.
    pub(super) fn name_too_fast(
        &mut self,
        sessions: &Sessions,
        target: &RedirectTarget,
        again: bool,
    ) -> Option<ShownName> {
        let paces = &mut self.paces;
        let quota = if again {
            &mut paces.names_again
        } else {
            &mut paces.new_names
        };
        Some(ShownName {
            why: Some(too_fast(again).to_owned()),
            rules: Vec::new(),
            until: Some(refused_until(quota, sessions, target, clock::now())?),
        })
    }

    /// Returns until when no other new target of the session is judged, or none `again`, where this one is not.
    pub(super) fn refuses_target(
        &mut self,
        sessions: &Sessions,
        target: &RedirectTarget,
        again: bool,
    ) -> Option<BootTime> {
        let paces = &mut self.paces;
        let quota = if again {
            &mut paces.targets_again
        } else {
            &mut paces.new_targets
        };
        refused_until(quota, sessions, target, clock::now())
    }
}

fn refused_until(
    quota: &mut Quota,
    sessions: &Sessions,
    target: &RedirectTarget,
    now: BootTime,
) -> Option<BootTime> {
    let session = sessions.live(SessionId(target.session));
    let account = session.map(Session::account)?;
    (!quota.take(account, 1, now)).then(|| after(now, PAUSE))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::sessions::none_but;

    const NOW: BootTime = BootTime(1_000 * SECOND);
    const LATER: BootTime = BootTime(NOW.0 + SECOND);

    fn target(session: u32) -> RedirectTarget {
        RedirectTarget {
            session,
            address: IpAddr::from([192, 0, 2, 1]),
            port: 443,
            listener: 0,
        }
    }

    #[test]
    fn what_is_judged_without_end_is_judged_at_a_pace_and_keeps_no_other_session_waiting() {
        // The second is inside the first.
        let sessions = none_but(&[(1, None), (2, Some(1)), (3, None)]);
        for (limit, at_once, a_second) in [
            (NEW_NAMES, 1024, 128),
            (NAMES_AGAIN, 4096, 1000),
            (NEW_TARGETS, 4096, 1000),
            (TARGETS_AGAIN, 16_384, 12_500),
        ] {
            let mut quota = Quota::new(limit);
            let mut judged = |session, now| {
                let refused = (0..30_000)
                    .filter_map(|_| refused_until(&mut quota, &sessions, &target(session), now));
                30_000 - refused.count()
            };
            assert_eq!(judged(1, NOW), at_once);
            assert_eq!(judged(2, NOW), 0, "it has the share of the one around it");
            assert_eq!(judged(3, NOW), at_once);
            assert_eq!(judged(1, LATER), a_second);
        }
    }

    #[test]
    fn a_session_that_shows_names_too_fast_is_told_so_and_until_when() {
        let sessions = none_but(&[(1, None)]);
        let mut proxy = Proxy::default();
        // Of one that is not there the policies say it.
        assert!(proxy.name_too_fast(&sessions, &target(9), false).is_none());
        let all = (0..1_000_000).find_map(|_| proxy.name_too_fast(&sessions, &target(1), false));
        let refused = all.map(|refused| (refused.why, refused.until.is_some()));
        assert_eq!(refused, Some((Some(too_fast(false).to_owned()), true)));
        assert!(proxy.name_too_fast(&sessions, &target(1), true).is_none());
    }
}
