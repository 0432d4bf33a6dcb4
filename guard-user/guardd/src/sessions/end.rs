//! guardd's tick, which does all that is due, and how sessions and holes end: closed in the kernel, their connections cut,
//! their end written to the audit log.

use std::time::Duration;

use guard_common::{BootTime, HoleId, SessionId};
use guard_datapath::Datapath;
use guard_proto::record::{HoleClose, SessionEnd};
use guard_sys::clock;
use jiff::{SignedDuration, Timestamp};

use crate::{
    changes::Change,
    control::{answering::Answering, failure::CallError, ids},
    grants::holes,
    proxy::{record_pass::target, terms::Standing},
    record::audit::LogEntry,
    requests::Pending,
    sessions::{Session, Sessions, Stage, TIME_TO_ENTER},
    state::State,
    times::is_past,
};

/// The longest sleep between two ticks, so that a resumed machine is not late for long.
const LONGEST_NAP: Duration = Duration::from_secs(5);
const SHORTEST_NAP: Duration = Duration::from_millis(5);

impl State {
    /// Does all that is due now, whatever folder it belongs to. Returns the time after which something is due again.
    pub fn tick(&mut self) -> Duration {
        let now = clock::now();
        self.end_holes(now);
        self.end_spent_holes(None);
        self.end_permits(now);
        self.end_names(now);
        self.end_sessions(now);
        self.settle_waiters();
        self.renew_patience();
        if self.holds.is_due(&self.datapath, now) {
            self.look_at_held();
        }
        if self.proxy.takes_survey(now) {
            self.survey_networks();
            self.survey_for_questions();
        }
        self.requests.expire(now);
        self.collect_slots();
        self.recorder.follow_path();
        self.requests.keep();
        self.tidy_questions();
        self.tell_refused();
        self.policies.keep_names(false);
        self.follow_flows(now);
        self.nap(now)
    }

    fn nap(&self, now: BootTime) -> Duration {
        let expiry = self.holes.next_expiry().into_iter();
        let expiry = expiry.chain(self.proxy.next_expiry());
        let expiry = expiry.chain(self.named.next_expiry());
        let expiry = expiry.chain(self.holds.next_look()).min();
        let until = expiry.map(|at| Duration::from_nanos(at.0.saturating_sub(now.0)));
        until
            .unwrap_or(LONGEST_NAP)
            .clamp(SHORTEST_NAP, LONGEST_NAP)
    }

    /// Tidies up after holes that the kernel has ended: cuts their connections, and writes their end to the audit log.
    fn end_holes(&mut self, now: BootTime) {
        for (id, known) in self.holes.take_expired(now) {
            self.hole_ended(id, &known, "expired", None);
        }
        self.holes.forget_ends(now);
    }

    /// Cuts the connections that an ended hole let through, and writes its end to the audit log. Every end comes here: `why` is
    /// `expired`, `closed`, or another.
    pub fn hole_ended(
        &mut self,
        id: HoleId,
        known: &holes::Known,
        why: &str,
        by: Option<&Answering>,
    ) {
        let connections = self.datapath.let_through(id);
        let granted = known.about.as_ref().and_then(|about| about.bytes);
        let bytes = holes::used(granted, bytes_left(&mut self.datapath, id));
        self.holes.note_end(known.session, clock::now());
        self.named.remove(id);
        self.apply(Change::Holes);
        let cut = match self.sessions.live(known.session) {
            Some(session) => self.datapath.cut(&session.cgroup, &[id]),
            None => Ok(0),
        };
        let cut = cut.unwrap_or_else(|error| {
            tracing::warn!(%error, hole = id.0, "connections hang instead of being cut");
            0
        });
        self.recorder.counters().hole_closed(why, cut);
        let session = ids::session(known.session);
        let (by, from) = self.machine.told_by(by);
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
        self.recorder
            .note(match (&known.about, self.sessions.get(known.session)) {
                (Some(about), _) => LogEntry::of(session, about.owner, record),
                (None, Some(live)) => LogEntry::of(session, live.about.uid, record),
                (None, None) => record.into(),
            });
        // In this order: if guardd is killed in between, the end is written twice, not never.
        self.holes.remove_file(id);
        self.named.remove_file(id);
        if known.read_only {
            self.drop_closed_http();
        }
    }

    /// Drops the requests about HTTP whose destinations are closed: a yes would not help.
    fn drop_closed_http(&mut self) {
        let pending = self.requests.pending().iter();
        let http = pending.filter(|one| one.key.http.is_some());
        let is_closed = |one: &&Pending| {
            let standing = self.standing(&target(&one.key));
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

    /// Ends a session that has no process left.
    pub fn look_at(&mut self, id: SessionId) {
        let now = clock::now();
        let has_ended = self
            .sessions
            .live(id)
            .is_some_and(|one| one.has_ended(&self.datapath, now));
        if has_ended {
            self.end_session(id, now);
        }
    }

    /// Checks which units have gone: the kernel reports the removal of a cgroup in its parent directory.
    pub fn look_at_units(&mut self) {
        for id in self.sessions.units() {
            self.look_at(id);
        }
    }

    fn end_sessions(&mut self, now: BootTime) {
        for id in self.sessions.ended(&self.datapath, now) {
            self.end_session(id, now);
        }
        let drained = self.sessions.drained(now);
        if !drained.is_empty() {
            self.forget_flows(&drained);
        }
        for id in drained {
            self.forget_session(id);
        }
    }

    /// Closes a session that has no process left.
    fn end_session(&mut self, id: SessionId, now: BootTime) {
        // Events from while it lived are judged by its policies, which it is about to leave.
        self.hear();
        let Some((uid, lasted)) = self.sessions.end(&mut self.datapath, id, now) else {
            return;
        };
        for (hole, known) in self.holes.take_session(id) {
            self.hole_ended(hole, &known, "the session has ended", None);
        }
        self.end_permits_of(id);
        self.end_names_of(id);
        self.recorder.counters().session_ended();
        self.requests.end_session(id);
        self.sockets.forget(id);
        self.resolver.forget_refused(id);
        self.sessions.let_go(&mut self.datapath, id);
        let record = SessionEnd {
            seconds: lasted.as_secs_f64().into(),
            denied: denied(&self.datapath, id).into(),
        };
        let left_out = self.recorder.left_out(id);
        self.recorder
            .note(LogEntry::of(ids::session(id), uid, record).left_out(left_out));
        self.sessions.remove_file(&ids::session(id));
        self.end_flows(now);
        self.resolver.renew();
        tracing::info!(session = id.0, "ended");
    }

    /// Removes the kernel's entry of a session that ended a while ago.
    fn forget_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        match self.datapath.forget_session(&session.cgroup) {
            Ok(()) => {
                let outermost = self.sessions.outermost_of(id);
                self.sessions.remove(id);
                self.policies.forget_names(&mut self.datapath, id);
                let is_shared = self.sessions.share(outermost);
                // A person's no holds for all sessions inside the outermost one.
                if id != outermost {
                    self.requests.forget_answers(id);
                }
                if !is_shared {
                    self.requests.forget_answers(outermost);
                }
                self.recorder.forget(id, outermost, is_shared);
                self.proxy.forget_pace(id, outermost, is_shared);
            }
            Err(error) => tracing::warn!(%error, session = id.0, "cannot be forgotten"),
        }
    }
}

impl Session {
    /// A unit may have no process between two of its commands, or for longer: its session lasts as long as its cgroup.
    #[must_use]
    pub fn has_ended(&self, kernel: &Datapath, now: BootTime) -> bool {
        if !self.cgroup.is_ours() {
            return self.is_live() && !self.cgroup.stands();
        }
        let is_empty = || match kernel.is_populated(&self.cgroup) {
            Ok(populated) => !populated,
            // A cgroup that is gone has no processes.
            Err(_) => !self.cgroup.path.exists(),
        };
        match self.stage {
            Stage::Ended { .. } => false,
            Stage::Empty { since } => is_past(since, TIME_TO_ENTER, now) && is_empty(),
            Stage::Live => is_empty(),
        }
    }
}

impl Sessions {
    /// Removes the cgroup of a session without processes. Returns its owner and its duration; none if a cgroup below it still
    /// exists: the next tick tries again.
    pub fn end(
        &mut self,
        kernel: &mut Datapath,
        id: SessionId,
        now: BootTime,
    ) -> Option<(u32, SignedDuration)> {
        let session = self.all.get_mut(&id)?;
        if let Err(error) = kernel.end_session(&session.cgroup)
            && session.cgroup.stands()
        {
            tracing::debug!(%error, session = id.0, "not removed yet");
            return None;
        }
        session.stage = Stage::Ended { at: now };
        let about = &session.about;
        Some((about.uid, about.started_at.duration_until(Timestamp::now())))
    }

    /// The sessions that have ended since.
    #[must_use]
    pub fn ended(&self, kernel: &Datapath, now: BootTime) -> Vec<SessionId> {
        let live = self.all_live();
        let ended = live.filter(|session| session.has_ended(kernel, now));
        ended.map(|session| session.cgroup.id).collect()
    }

    /// The sessions of units and containers.
    #[must_use]
    pub fn units(&self) -> Vec<SessionId> {
        let live = self.all_live();
        let units = live.filter(|session| !session.cgroup.is_ours());
        units.map(|session| session.cgroup.id).collect()
    }

    /// Stops watching the session's launcher, and ends the sessions inside it that nothing else would end.
    pub fn let_go(&mut self, kernel: &mut Datapath, id: SessionId) {
        self.launchers.forget(id);
        self.end_those_inside(kernel, id);
    }

    /// Sessions inside a unit's session end with the unit: the service manager does not know of them.
    fn end_those_inside(&mut self, kernel: &mut Datapath, id: SessionId) {
        let is_unit = |session: &Session| !session.cgroup.is_ours();
        if self.get(id).is_some_and(is_unit) {
            self.end_all_inside(kernel, id);
        }
    }

    /// Ends all sessions inside that one, at any depth. Returns their ids.
    pub fn end_all_inside(&mut self, kernel: &mut Datapath, id: SessionId) -> Vec<SessionId> {
        let inside = self.all_live();
        let inside = inside.filter(|session| session.about.around.contains(&id.0));
        let inside: Vec<_> = inside.map(|session| session.cgroup.id).collect();
        for inner in &inside {
            if let Err(error) = self.kill(kernel, *inner) {
                tracing::warn!(%error, session = inner.0, "goes on after the session around it");
            }
        }
        inside
    }

    /// Ends every process of a session; it has ended when they have.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn kill(&mut self, kernel: &mut Datapath, id: SessionId) -> Result<(), CallError> {
        if let Some(session) = self.get_mut(id) {
            session.stage = match session.stage {
                Stage::Empty { .. } => Stage::Live,
                other => other,
            };
            kernel.kill(&session.cgroup)?;
        }
        Ok(())
    }
}

/// How many attempts of a session were refused, as the kernel counts: without those that waited and went on.
fn denied(kernel: &Datapath, id: SessionId) -> Option<u64> {
    let stats = kernel.stats().ok()?;
    let of = stats.into_iter().find(|(session, _)| *session == id);
    let stopped = of.map_or(0, |(_, stats)| stats.denied);
    Some(stopped.saturating_sub(kernel.went_on(id).ok()?))
}

/// The unused bytes of a hole that has ended, if they were counted.
fn bytes_left(kernel: &mut Datapath, id: HoleId) -> Option<u64> {
    let left = kernel.settle_budgets(id);
    left.unwrap_or_else(|error| {
        tracing::warn!(%error, hole = id.0, "it is not known how much was sent through it");
        None
    })
}
