//! Held connections. The kernel half holds them, and lets them pass when a hole does. guardd says whose connections may be held
//! and renews that (the map `PATIENCE`), makes requests for those that are (`HELD`, in `review.rs`), and closes those that nobody
//! will allow.

mod review;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use guard_common::{BootTime, Connection, Event, Held, SessionId};
use guard_datapath::{Datapath, HeldSocket};
use guard_policy::LONGEST_HOLD;
use guard_sys::clock;

use crate::{
    changes::Change,
    policies::Policies,
    requests::{RequestKey, Requests},
    sessions::{Session, Sessions},
    times::after,
};

/// How far ahead the deadline in `PATIENCE` is, after which no further connection is held. More than twice the interval at
/// which guardd renews it.
const AHEAD: Duration = Duration::from_secs(12);
/// The interval between two reviews of the held connections.
const REVIEWS: Duration = Duration::from_millis(500);
/// How long after the report of a refusal the kernel half reports nothing of the same destination, not even that the next
/// connection is held.
const UNREPORTED: Duration = Duration::from_nanos(guard_common::HELD_PAUSE);
/// A review of many takes a while: it may take one part in so many of guardd's time.
const SHARE: u32 = 20;
/// Connections of one session that are held at once; from this many on the next is refused.
const MOST_OF_SESSION: usize = 16_384;

/// Owns whose connections may be held, and when those that are held are reviewed.
#[derive(Debug)]
pub(crate) struct Holds {
    /// When the held connections are next reviewed; none where none are held.
    next: Option<BootTime>,
    /// No review begins before this, except after an answer: a review takes its time.
    not_before: BootTime,
    /// The sessions that have as many held connections as they may.
    full: HashSet<SessionId>,
    /// The sessions whose connections are held, for how long, and the deadline in `PATIENCE`.
    held_for: HashMap<SessionId, (Duration, BootTime)>,
    /// The connections that waited for an answer at the last review, by their sockets' cookies.
    waiting: HashMap<u64, Held>,
}

impl Default for Holds {
    /// Some may be held since before this guardd began.
    fn default() -> Self {
        Self {
            next: Some(BootTime(0)),
            not_before: BootTime(0),
            full: HashSet::new(),
            held_for: HashMap::new(),
            waiting: HashMap::new(),
        }
    }
}

impl Holds {
    /// When the next review is due.
    #[must_use]
    pub(crate) fn next_review(&self) -> Option<BootTime> {
        self.next
    }

    /// How long a connection of a session that begins now is held.
    fn time_for(&self, session: SessionId) -> Duration {
        self.held_for
            .get(&session)
            .map_or(REVIEWS, |(time, _)| *time)
    }

    /// Whether a session's connections are held.
    fn may_hold(&self, session: SessionId) -> bool {
        self.held_for.contains_key(&session)
    }

    /// Begins a review. Returns when a later one was due.
    fn begin_review(&mut self, now: BootTime) -> Option<BootTime> {
        self.next.take().filter(|at| at.0 > now.0)
    }

    /// Ends a review that took from `began` to `ended`. The next is due in a while if connections are held, of which the first
    /// reaches its deadline at `first_end`, and at the time `appointed`.
    fn end_review(
        &mut self,
        began: BootTime,
        ended: BootTime,
        first_end: Option<BootTime>,
        appointed: Option<BootTime>,
    ) {
        let spent = Duration::from_nanos(ended.0.saturating_sub(began.0));
        self.not_before = after(ended, spent * SHARE);
        let next = first_end.map(|end| after(ended, REVIEWS).min(end));
        for at in next.into_iter().chain(appointed) {
            self.review_by(at);
        }
    }

    /// Has a review begin by then, or as soon as may be.
    fn review_by(&mut self, at: BootTime) {
        let at = at.max(self.not_before);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Renews in the kernel whose connections are held: of sessions whose approvers follow, or that run with `--hold`.
    pub(crate) fn renew(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        policies: &Policies,
        requests: &Requests,
    ) {
        let now = clock::now();
        let live = sessions.all_live();
        let wanted: HashMap<_, _> = live
            .filter_map(|session| {
                Some((
                    session.cgroup.id,
                    self.time_of(session, policies, requests)?,
                ))
            })
            .collect();
        let known: Vec<_> = self.held_for.keys().copied().collect();
        for session in known.into_iter().filter(|id| !wanted.contains_key(id)) {
            self.stop(kernel, session);
        }
        for (session, time) in wanted {
            self.hold(kernel, session, time, now);
        }
    }

    /// The same for one new session.
    pub(crate) fn begin(
        &mut self,
        kernel: &mut Datapath,
        session: &Session,
        policies: &Policies,
        requests: &Requests,
    ) {
        if let Some(time) = self.time_of(session, policies, requests) {
            self.hold(kernel, session.cgroup.id, time, clock::now());
        }
    }

    /// Has no further connection held: guardd is about to stop, and nobody would ask about it.
    pub(crate) fn stop_all(&mut self, kernel: &mut Datapath) {
        let all: Vec<_> = self.held_for.keys().copied().collect();
        for session in all {
            self.stop(kernel, session);
        }
    }

    /// Has a session's connections held from now on, or for longer.
    fn hold(&mut self, kernel: &mut Datapath, session: SessionId, time: Duration, now: BootTime) {
        let until = after(now, AHEAD);
        let known = self.held_for.get(&session);
        if known.is_some_and(|(had, _)| *had == time)
            && known.is_some_and(|(_, had)| had.0 > after(now, AHEAD / 2).0)
        {
            return;
        }
        match kernel.set_hold_terms(session, time, until) {
            Ok(()) => {
                let before = self.held_for.insert(session, (time, until));
                if before.is_none() {
                    // What is held now may have been refused just before, and so is not reported.
                    self.review_by(after(now, UNREPORTED));
                }
            }
            Err(error) => {
                tracing::warn!(%error, session = session.0, "its connections are not held");
            }
        }
    }

    fn stop(&mut self, kernel: &mut Datapath, session: SessionId) {
        self.held_for.remove(&session);
        if let Err(error) = kernel.clear_hold_terms(session) {
            tracing::warn!(%error, session = session.0, "its connections are held for a while yet");
        }
    }

    /// How long a session's connections are held now; none where they are not.
    pub(crate) fn time_of(
        &self,
        session: &Session,
        policies: &Policies,
        requests: &Requests,
    ) -> Option<Duration> {
        if self.full.contains(&session.cgroup.id) {
            return None;
        }
        let about = &session.about;
        let slots = session.chain.iter();
        let times = slots.map(|slot| Some(policies.get(*slot)?.policy.hold));
        let by_policy = times.min().flatten();
        let time = match about.hold() {
            Some(time) => time,
            None => by_policy.filter(|_| requests.is_followed(about.uid))?,
        };
        (!time.is_zero()).then_some(time.min(LONGEST_HOLD))
    }

    /// Has a review decide soon about a connection that is held.
    pub(crate) fn review_soon(&mut self, event: &Event) {
        self.review_by(event.at);
    }

    /// Has a review find the next connection, after one was refused: it may be held without an event.
    pub(crate) fn expect(&mut self, event: &Event) {
        if self.held_for.contains_key(&event.session) {
            self.review_by(after(event.at, UNREPORTED));
        }
    }

    /// Whether a review is due.
    #[must_use]
    pub(crate) fn is_due(&self, kernel: &Datapath, now: BootTime) -> bool {
        match self.next {
            Some(at) => at <= now,
            // Of a flood the kernel half does not report all.
            None => kernel.holds_any(),
        }
    }

    /// Notes connections that wait for an answer.
    fn note_waiting(&mut self, group: &[HeldSocket]) {
        self.waiting.extend(group.iter().copied());
    }

    /// Takes those that waited at the last review; returns which of them are not held any more.
    fn take_gone(&mut self, held: &[HeldSocket]) -> Vec<HeldSocket> {
        let mut gone = std::mem::take(&mut self.waiting);
        for (cookie, one) in held {
            // A socket that is connected again is held again.
            if gone.get(cookie).is_some_and(|was| was.since == one.since) {
                gone.remove(cookie);
            }
        }
        gone.into_iter().collect()
    }

    /// Notes the sessions with too many held connections, those of the sessions inside counted too: no other one is held.
    fn note_full(&mut self, sessions: &Sessions, held: &[HeldSocket]) -> Option<Change> {
        let mut counts: HashMap<SessionId, usize> = HashMap::new();
        let outermost = |id| sessions.get(id).map_or(id, Session::outermost);
        for (_, one) in held {
            *counts.entry(outermost(one.session)).or_default() += 1;
        }
        counts.retain(|_, held| *held >= MOST_OF_SESSION);
        let live = sessions.all_live();
        let full = live.filter(|session| counts.contains_key(&session.outermost()));
        let full: HashSet<_> = full.map(|session| session.cgroup.id).collect();
        let is_news = full != self.full;
        self.full = full;
        is_news.then_some(Change::Approvers)
    }
}

/// Has the kernel refuse at once what a person said no to.
pub(crate) fn refuse_in_kernel(kernel: &mut Datapath, key: &RequestKey, until: BootTime) {
    if !key.is_connection() {
        return;
    }
    let to = connection(key);
    if let Err(error) = kernel.refuse(key.session, &to, until) {
        tracing::warn!(%error, "what was refused is ended by guardd each time");
    }
}

/// The opposite.
pub(crate) fn unrefuse_in_kernel(kernel: &mut Datapath, key: &RequestKey) {
    if !key.is_connection() {
        return;
    }
    let to = connection(key);
    if let Err(error) = kernel.unrefuse(key.session, &to) {
        tracing::warn!(%error, "connections there are not held");
    }
}

fn connection(key: &RequestKey) -> Connection {
    Connection::new(key.destination, key.protocol, key.port)
}

#[cfg(test)]
mod tests {
    use guard_common::{Address, Protocol};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_review_takes_its_share_of_the_time_and_no_more() {
        let mut holds = Holds::default();
        let at = |seconds: u64| BootTime(seconds * SECOND);
        assert_eq!(holds.begin_review(at(100)), None);
        // It took a second, so there is none in the twenty that follow, whatever gives up.
        holds.end_review(at(100), at(101), Some(at(102)), None);
        assert_eq!(holds.next_review(), Some(at(121)));
        // What was to be reviewed later still is.
        holds.review_by(at(400));
        holds.end_review(at(200), at(200), None, Some(at(300)));
        assert_eq!(holds.next_review(), Some(at(121)));
        assert_eq!(holds.begin_review(at(122)), None);
        holds.end_review(at(122), at(122), None, Some(at(300)));
        assert_eq!(holds.begin_review(at(123)), Some(at(300)));
    }

    #[test]
    fn nothing_is_reviewed_where_nothing_is_held() {
        let mut holds = Holds::default();
        assert_eq!(holds.next_review(), Some(BootTime(0)));
        holds.begin_review(BootTime(1));
        holds.end_review(BootTime(1), BootTime(1), None, None);
        assert_eq!(holds.next_review(), None);
        assert!(!holds.may_hold(SessionId(1)));
    }

    #[test]
    fn of_a_session_with_too_many_none_is_held_that_is_inside_the_same_one() {
        let mut holds = Holds::default();
        let sessions = crate::sessions::none_but(&[(1, None), (2, Some(1)), (3, None)]);
        let one = |session: u32| {
            let to = Connection::new(Address([0; 4]), Protocol::TCP, 443);
            let times = [BootTime(0); 2];
            (0, Held::new(times, SessionId(session), 0, &to))
        };
        let few = vec![one(1); MOST_OF_SESSION / 2];
        assert_eq!(holds.note_full(&sessions, &few), None);
        let many = [few, vec![one(2); MOST_OF_SESSION / 2]].concat();
        let full = holds.note_full(&sessions, &many);
        assert_eq!(full, Some(Change::Approvers));
        assert_eq!(holds.full, HashSet::from([SessionId(1), SessionId(2)]));
        assert_eq!(holds.note_full(&sessions, &many), None, "it is no news");
    }

    #[test]
    fn what_waited_and_is_held_no_more_is_told_once() {
        let to = Connection::new(Address([0; 4]), Protocol::TCP, 443);
        let one = |cookie, since| {
            let times = [BootTime(since), BootTime(since + SECOND)];
            (cookie, Held::new(times, SessionId(1), 0, &to))
        };
        let cookies = |of: Vec<HeldSocket>| of.into_iter().map(|(cookie, _)| cookie).collect();
        let gone =
            |holds: &mut Holds, held: &[HeldSocket]| -> Vec<u64> { cookies(holds.take_gone(held)) };
        let mut holds = Holds::default();
        assert_eq!(gone(&mut holds, &[one(1, 1)]), [0; 0]);
        holds.note_waiting(&[one(1, 1), one(2, 1)]);
        assert_eq!(gone(&mut holds, &[one(1, 1)]), [2]);
        assert_eq!(
            gone(&mut holds, &[]),
            [0; 0],
            "the review was to note it again"
        );
        holds.note_waiting(&[one(1, 1)]);
        assert_eq!(gone(&mut holds, &[one(1, 2)]), [1], "connected again");
    }
}
