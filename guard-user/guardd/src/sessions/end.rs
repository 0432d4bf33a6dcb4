//! How sessions end: their cgroups removed, their holes closed, their end written to the audit log.

use guard_common::{BootTime, SessionId};
use guard_datapath::Datapath;
use guard_proto::{
    self as proto,
    record::{SessionEnd, StartRefused},
};
use guard_sys::clock;
use jiff::{SignedDuration, Timestamp};

use crate::{
    changes::Change,
    control::{failure::CallError, ids},
    quota::Account,
    record::{Recorder, audit::LogEntry},
    sessions::{LifeStage, Session, Sessions, TIME_TO_ENTER},
    state::State,
    times::is_past,
};

impl State {
    /// Ends a session that has no process left.
    pub(crate) fn check_session(&mut self, id: SessionId) {
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
    pub(crate) fn check_units(&mut self) {
        for id in self.sessions.units() {
            self.check_session(id);
        }
    }

    pub(crate) fn end_sessions(&mut self, now: BootTime) {
        for id in self.sessions.ended(&self.datapath, now) {
            self.end_session(id, now);
        }
        let drained = self.sessions.drained(now);
        if !drained.is_empty() {
            let forgotten =
                self.with_flows(|flows, kernel, known| flows.forget(kernel, known, &drained));
            if let Err(error) = forgotten {
                tracing::warn!(%error, "what ended sessions have reached stays in the kernel");
            }
        }
        for id in &drained {
            self.forget_session(*id);
        }
        if !drained.is_empty() {
            self.apply(Change::SessionsGone);
        }
    }

    /// Closes a session that has no process left.
    fn end_session(&mut self, id: SessionId, now: BootTime) {
        // Events from while it lived are judged by its policies, which it is about to leave.
        self.read_events_of(id);
        let Some(ended) = self.sessions.end(&mut self.datapath, id, now) else {
            return;
        };
        self.end_holes_of(id);
        let is_unstarted = self.sessions.is_unstarted(id);
        if !is_unstarted {
            self.recorder.count("sessions_ended");
        }
        self.requests.end_session(id);
        self.sockets.forget(id);
        self.proxy.forget_closings(id);
        self.resolver
            .tell_last_names(&self.sessions, &mut self.recorder, id);
        let names = self.resolver.forget_refused(id);
        self.sessions.let_go(&mut self.datapath, id);
        let record = SessionEnd {
            seconds: ended.lasted.as_secs_f64().into(),
            denied: denied(&self.datapath, id)
                .map(|calls| calls.saturating_add(names))
                .into(),
        };
        let left_out = self.recorder.left_out(id);
        let inside = self
            .recorder
            .take_starts_left_out(Account::inside(ended.owner, id));
        let says_nothing = record.denied.is(&0_u64) && left_out == 0 && inside == 0;
        let is_quiet = says_nothing && self.sessions.may_be_left_out(id);
        match self.shown(id).filter(|_| is_unstarted) {
            Some(session) => {
                (self.sessions).write_refused(&mut self.recorder, id, session, now);
            }
            None => {
                let entry = LogEntry::of(ids::session(id), ended.owner, record);
                let entry = entry.left_out(left_out).starts_left_out(inside);
                self.recorder.note_end(entry, is_quiet);
            }
        }
        self.sessions.remove_file(&ids::session(id));
        self.with_flows(|flows, kernel, known| flows.end(kernel, known, now));
        self.apply(Change::Sessions);
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
                let is_shared = self.sessions.share(outermost);
                // A person's no holds for all sessions inside the outermost one.
                if id != outermost {
                    self.requests.forget_answers(id);
                }
                if !is_shared {
                    self.requests.forget_answers(outermost);
                }
                self.recorder.forget(id);
            }
            Err(error) => {
                tracing::warn!(%error, session = id.0, "cannot remove an ended session from the kernel's maps")
            }
        }
    }
}

impl Session {
    /// A unit may have no process between two of its commands, or for longer: its session lasts as long as its cgroup.
    #[must_use]
    pub(crate) fn has_ended(&self, kernel: &Datapath, now: BootTime) -> bool {
        if !self.cgroup.is_ours() {
            return self.is_live() && !self.cgroup.stands();
        }
        let is_empty = || match kernel.is_populated(&self.cgroup) {
            Ok(populated) => !populated,
            // A cgroup that is gone has no processes.
            Err(_) => !self.cgroup.path.exists(),
        };
        match self.stage {
            LifeStage::Ended { .. } => false,
            LifeStage::Empty { since } => is_past(since, TIME_TO_ENTER, now) && is_empty(),
            LifeStage::Live => is_empty(),
        }
    }
}

/// A session that was just ended.
struct EndedSession {
    owner: u32,
    lasted: SignedDuration,
}

impl Sessions {
    /// Removes the cgroup of a session without processes. None if a cgroup below it still exists: the next tick tries again.
    fn end(&mut self, kernel: &mut Datapath, id: SessionId, now: BootTime) -> Option<EndedSession> {
        let session = self.all.get_mut(&id)?;
        if let Err(error) = kernel.end_session(&session.cgroup)
            && session.cgroup.stands()
        {
            tracing::debug!(%error, session = id.0, "not removed yet");
            return None;
        }
        session.stage = LifeStage::Ended { at: now };
        let about = &session.about;
        Some(EndedSession {
            owner: about.uid,
            lasted: about.started_at.duration_until(Timestamp::now()),
        })
    }

    /// Writes that a command was refused. No session began, so the record is of none.
    pub(super) fn write_refused(
        &self,
        recorder: &mut Recorder,
        id: SessionId,
        session: proto::Session,
        now: BootTime,
    ) {
        let refused = self.get(id);
        let refused = refused.and_then(|one| one.about.refused.clone());
        let record = StartRefused {
            policy: session.policy.into(),
            user: session.user.into(),
            ..not_started(session.name, session.command, refused)
        };
        let entry = LogEntry::of_user(session.uid, record);
        recorder.note_start(Account::outside(session.uid), entry, now);
    }

    /// Whether records of a session may be left out: somebody says so later (the user's next start, or the outermost session around it,
    /// while that lives), and no session inside it lives, of which anything may be written yet.
    fn may_be_left_out(&self, id: SessionId) -> bool {
        let around = self.get(id).and_then(|session| session.about.outermost);
        let is_said = around.is_none_or(|outermost| self.live(SessionId(outermost)).is_some());
        let is_inside = |session: &Session| session.about.around.contains(&id.0);
        is_said && !self.all_live().any(is_inside)
    }

    /// The sessions that have ended since.
    #[must_use]
    pub(crate) fn ended(&self, kernel: &Datapath, now: BootTime) -> Vec<SessionId> {
        let live = self.all_live();
        let ended = live.filter(|session| session.has_ended(kernel, now));
        ended.map(|session| session.cgroup.id).collect()
    }

    /// The sessions of units and containers.
    #[must_use]
    pub(crate) fn units(&self) -> Vec<SessionId> {
        let live = self.all_live();
        let units = live.filter(|session| !session.cgroup.is_ours());
        units.map(|session| session.cgroup.id).collect()
    }

    /// Stops watching the session's launcher, and ends the sessions inside it that nothing else would end.
    fn let_go(&mut self, kernel: &mut Datapath, id: SessionId) {
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
    pub(crate) fn end_all_inside(
        &mut self,
        kernel: &mut Datapath,
        id: SessionId,
    ) -> Vec<SessionId> {
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
    pub(crate) fn kill(&mut self, kernel: &mut Datapath, id: SessionId) -> Result<(), CallError> {
        if let Some(session) = self.get_mut(id) {
            session.stage = match session.stage {
                LifeStage::Empty { .. } => LifeStage::Live,
                other => other,
            };
            kernel.kill(&session.cgroup)?;
        }
        Ok(())
    }
}

/// The record of a command that did not start.
pub(super) fn not_started(
    name: String,
    command: Vec<String>,
    refused: Option<String>,
) -> StartRefused {
    let why = refused.unwrap_or_else(|| "its launcher ended before it started".to_owned());
    StartRefused {
        name: name.into(),
        command: command.into(),
        why: why.into(),
        ..StartRefused::default()
    }
}

/// How many attempts of a session were refused, as the kernel counts: without those that waited and went on.
fn denied(kernel: &Datapath, id: SessionId) -> Option<u64> {
    let stats = kernel.stats().ok()?;
    let of = stats.into_iter().find(|(session, _)| *session == id);
    let stopped = of.map_or(0, |(_, stats)| stats.denied);
    Some(stopped.saturating_sub(kernel.went_on(id).ok()?))
}
