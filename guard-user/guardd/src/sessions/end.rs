//! How sessions and holes end, and what is due when.

use std::{collections::HashSet, time::Duration};

use guard_common::{BootTime, HoleId, SessionId};
use guard_proto::record::{Field, HoleClose, Origin, SessionEnd};
use guard_sys::clock;

use crate::{
    changes::Change,
    control::{answering::Answering, failure::Refusal, ids},
    grants::holes,
    proxy::{passing::target, terms::Standing},
    record::audit::LogEntry,
    requests::{Pending, bursts::Burst, events},
    sessions::{Session, Stage, TIME_TO_ENTER, is_past},
    state::State,
};

/// For so long the connections of an ended hole still send.
pub const AFTERMATH: Duration = Duration::from_secs(2);
/// Nothing is left for longer, so that a suspended machine is not late for long.
const LONGEST_NAP: Duration = Duration::from_secs(5);
const SHORTEST_NAP: Duration = Duration::from_millis(5);

impl State {
    /// Does what is due now. There is something to do again after the time that it returns.
    pub fn tick(&mut self) -> Duration {
        let now = clock::now();
        self.end_holes(now);
        self.end_spent_holes(None);
        self.end_permits(now);
        self.end_sessions(now);
        self.settle_waiters();
        self.renew_patience();
        self.look_at_held_when_due(now);
        self.look_at_networks(now);
        self.requests.expire(now);
        self.collect_slots();
        self.audit.follow_path();
        self.keep_requests();
        self.keep_names(false);
        self.nap(now)
    }

    fn nap(&self, now: BootTime) -> Duration {
        let expiry = self.holes.next_expiry().into_iter();
        let expiry = expiry.chain(self.proxy.next_expiry());
        let expiry = expiry.chain(self.holds.next_look()).min();
        let until = expiry.map(|at| Duration::from_nanos(at.0.saturating_sub(now.0)));
        until
            .unwrap_or(LONGEST_NAP)
            .clamp(SHORTEST_NAP, LONGEST_NAP)
    }

    /// The kernel has ended these holes already: what is left is to tell those who used them.
    fn end_holes(&mut self, now: BootTime) {
        for (id, known) in self.holes.take_expired(now) {
            self.hole_ended(id, &known, "expired", None);
        }
        self.hole_ends.retain(|_, at| !is_past(*at, AFTERMATH, now));
    }

    /// Cuts the connections that a hole let through, and writes down that it has ended.
    pub fn hole_ended(
        &mut self,
        id: HoleId,
        known: &holes::Known,
        why: &str,
        by: Option<&Answering>,
    ) {
        let connections = self.datapath.let_through(id);
        let granted = known.about.as_ref().and_then(|about| about.bytes);
        let bytes = holes::used(granted, self.bytes_left(id));
        self.hole_ends.insert(known.session, clock::now());
        self.apply(Change::Holes);
        let cut = match self.sessions.live(known.session) {
            Some(session) => self.datapath.cut(&session.cgroup, &[id]),
            None => Ok(0),
        };
        let cut = cut.unwrap_or_else(|error| {
            tracing::warn!(%error, hole = id.0, "connections hang instead of being cut");
            0
        });
        self.counters.hole_closed(why, cut);
        let session = ids::session(known.session);
        let (by, from) = self.told_by(by);
        let record = HoleClose {
            hole: ids::hole(id).into(),
            why: why.into(),
            connections: connections.into(),
            bytes: bytes.into(),
            cut: cut.into(),
            by,
            from,
            ..HoleClose::default()
        };
        self.audit
            .note(match (&known.about, self.sessions.get(known.session)) {
                (Some(about), _) => LogEntry::of(session, about.owner, record),
                (None, Some(live)) => LogEntry::of(session, live.about.uid, record),
                (None, None) => record.into(),
            });
        // In this order: whoever is killed in between has its end written down twice, and not never.
        self.shelves.holes.remove(&ids::hole(id));
        if known.read_only {
            self.drop_closed_http();
        }
    }

    /// How many bytes a hole that has ended was not used for, where they were counted.
    fn bytes_left(&mut self, id: HoleId) -> Option<u64> {
        let left = self.datapath.settle_budgets(id);
        left.unwrap_or_else(|error| {
            tracing::warn!(%error, hole = id.0, "it is not known how much was sent through it");
            None
        })
    }

    /// Who decided what a record tells of, and how, where somebody did.
    pub(crate) fn told_by(&mut self, by: Option<&Answering>) -> (Field<String>, Field<Origin>) {
        match by {
            Some(by) => (self.users.name(by.who.uid()).into(), by.from.clone().into()),
            None => (Field::Null, Field::Absent),
        }
    }

    /// Drops the HTTP requests whose destinations are closed: a yes would not get them there.
    fn drop_closed_http(&mut self) {
        let pending = self.requests.pending().iter();
        let http = pending.filter(|one| one.question.http.is_some());
        let is_closed = |one: &&Pending| {
            let standing = self.standing(&target(&one.question));
            matches!(standing, Standing::Closed)
        };
        let closed: Vec<_> = http
            .filter(is_closed)
            .map(|one| one.shown.id.clone())
            .collect();
        for id in closed {
            self.requests.take(&id);
        }
    }

    /// Looks whether a session has ended.
    pub fn look_at(&mut self, id: SessionId) {
        let now = clock::now();
        let has_ended = self
            .sessions
            .live(id)
            .is_some_and(|one| self.has_ended(one, now));
        if has_ended {
            self.end_session(id, now);
        }
    }

    /// Looks which units have gone: the kernel tells of the removal of a cgroup in the one above it.
    pub fn look_at_units(&mut self) {
        let live = self.sessions.all_live();
        let units = live.filter(|session| !session.cgroup.is_ours());
        let units: Vec<_> = units.map(|session| session.cgroup.id).collect();
        for id in units {
            self.look_at(id);
        }
    }

    fn end_sessions(&mut self, now: BootTime) {
        let live = self.sessions.all_live();
        let ended = live.filter(|session| self.has_ended(session, now));
        let ended: Vec<_> = ended.map(|session| session.cgroup.id).collect();
        for id in ended {
            self.end_session(id, now);
        }
        for id in self.sessions.drained(now) {
            self.forget_session(id);
        }
    }

    /// A unit has no process between two of its commands, or for as long as it likes: its session lasts as long as
    /// its cgroup stands.
    fn has_ended(&self, session: &Session, now: BootTime) -> bool {
        if !session.cgroup.is_ours() {
            return session.is_live() && !session.cgroup.stands();
        }
        let is_empty = || match self.datapath.is_populated(&session.cgroup) {
            Ok(populated) => !populated,
            // A cgroup that is gone has no processes.
            Err(_) => !session.cgroup.path.exists(),
        };
        match session.stage {
            Stage::Ended { .. } => false,
            Stage::Empty { since } => is_past(since, TIME_TO_ENTER, now) && is_empty(),
            Stage::Live => is_empty(),
        }
    }

    /// Closes a session that has no process left.
    fn end_session(&mut self, id: SessionId, now: BootTime) {
        // What was refused while it lived is known by its policies, which it is about to leave.
        self.hear();
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        // A cgroup below it may be there for a moment still: the next tick tries again.
        if let Err(error) = self.datapath.end_session(&session.cgroup)
            && session.cgroup.stands()
        {
            tracing::debug!(%error, session = id.0, "not removed yet");
            return;
        }
        let uid = session.about.uid;
        let lasted = session
            .about
            .started_at
            .duration_until(jiff::Timestamp::now());
        if let Some(session) = self.sessions.get_mut(id) {
            session.stage = Stage::Ended { at: now };
        }
        for (hole, known) in self.holes.take_session(id) {
            self.hole_ended(hole, &known, "the session has ended", None);
        }
        self.end_permits_of(id);
        self.counters.session_ended();
        self.requests.end_session(id);
        self.socket_stops.forget(id);
        self.tries.forget(id);
        self.launchers.forget(id);
        self.end_those_inside(id);
        let record = SessionEnd {
            seconds: lasted.as_secs_f64().into(),
            denied: self.denied(id).into(),
        };
        let left_out = self.meters.left_out(id);
        self.audit
            .note(LogEntry::of(ids::session(id), uid, record).left_out(left_out));
        self.shelves.sessions.remove(&ids::session(id));
        tracing::info!(session = id.0, "ended");
    }

    /// What ran in sessions of its own inside a unit's ends with the unit: the service manager does not know of it.
    fn end_those_inside(&mut self, id: SessionId) {
        let is_unit = |session: &Session| !session.cgroup.is_ours();
        if self.sessions.get(id).is_some_and(is_unit) {
            self.end_all_inside(id);
        }
    }

    /// Ends what runs in sessions that were started inside that one, or in those. Which they are.
    pub fn end_all_inside(&mut self, id: SessionId) -> Vec<SessionId> {
        let inside = self.sessions.all_live();
        let inside = inside.filter(|session| session.about.around.contains(&id.0));
        let inside: Vec<_> = inside.map(|session| session.cgroup.id).collect();
        for inner in &inside {
            if let Err(error) = self.kill(*inner) {
                tracing::warn!(%error, session = inner.0, "goes on after the session around it");
            }
        }
        inside
    }

    /// How many attempts of a session were refused, as the kernel counts.
    fn denied(&self, id: SessionId) -> Option<u64> {
        let stats = self.datapath.stats().ok()?;
        let of = stats.into_iter().find(|(session, _)| *session == id);
        Some(of.map_or(0, |(_, stats)| stats.denied))
    }

    /// Removes what the kernel still knows of a session that ended a while ago.
    fn forget_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        match self.datapath.forget_session(&session.cgroup) {
            Ok(()) => {
                let outermost = self.outermost_of(id);
                self.sessions.remove(id);
                let is_shared = self.sessions.share(outermost);
                // To what a person said no holds for all that is inside.
                if id != outermost {
                    self.requests.forget_answers(id);
                }
                if !is_shared {
                    self.requests.forget_answers(outermost);
                }
                self.meters.forget(id, outermost, is_shared);
                self.proxy.forget_pace(id, outermost, is_shared);
            }
            Err(error) => tracing::warn!(%error, session = id.0, "cannot be forgotten"),
        }
    }

    /// Makes the files of the requests agree with those that wait, and with the answers of no that hold.
    pub fn keep_requests(&mut self) {
        let mut kept = HashSet::new();
        let grown = self.requests.take_grown();
        for (key, asked) in self.requests.to_keep() {
            if !self.kept_requests.contains(&key) || grown.contains(&key) {
                self.shelves.requests.keep(&key, &asked);
            }
            kept.insert(key);
        }
        for gone in self.kept_requests.difference(&kept) {
            self.shelves.requests.remove(gone);
        }
        self.kept_requests = kept;
    }

    /// Drops the questions that the policies or holes of now have answered.
    pub fn settle_requests(&mut self) {
        let (sessions, policies) = (&self.sessions, &self.policies);
        self.requests.take_all(|asked| {
            let question = &asked.question;
            let (to, protocol, port) = (question.destination, question.protocol, question.port);
            let session = sessions.live(question.session);
            let judged = session.and_then(|live| policies.judge(&live.chain, to, protocol, port));
            let is_over = judged.is_none_or(|judged| {
                use guard_common::Verdict::{Confirm, ReadOnly};
                !matches!(judged.verdict, Confirm | ReadOnly)
            });
            let is_one = |burst: &Burst| {
                let ports = events::ports_of(question);
                session
                    .is_some_and(|live| policies.confirm_all(&live.chain, &burst.prefix(), ports))
            };
            // What was offered is no longer one decision: what is tried again is asked anew.
            is_over || !asked.burst.as_ref().is_none_or(is_one)
        });
    }

    /// Ends every process of a session; it has ended when they have.
    ///
    /// # Errors
    ///
    /// Where the kernel does not let us.
    pub fn kill(&mut self, id: SessionId) -> Result<(), Refusal> {
        if let Some(session) = self.sessions.get_mut(id) {
            session.stage = match session.stage {
                Stage::Empty { .. } => Stage::Live,
                other => other,
            };
            self.datapath.kill(&session.cgroup)?;
        }
        Ok(())
    }
}
