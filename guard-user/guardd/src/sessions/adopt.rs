//! Taking over what an earlier guardd left in the kernel.
//!
//! The kernel says which sessions, holes and policies there are; the files beside it have their names and owners. A file
//! without kernel state is removed, with an end in the audit log; kernel state without a file is listed all the same.

use std::{cmp::Reverse, collections::BTreeMap, convert::Infallible};

use guard_common::{BootTime, HoleId, PolicyId, Session as KernelSession, SessionId};
use guard_datapath::{Datapath, LiveHole, SessionCgroup, Start, Swept};
use guard_proto::{
    moment,
    record::{Field, HoleOpen, SessionEnd, SessionStart},
};
use guard_sys::clock::{self, Clocks};

use crate::{
    changes::Change,
    control::{failure::CallError, ids},
    flows::Flows,
    holes::{
        ending::HoleEnd,
        hole::{Connections, Hole, HoleName, Scope},
        known,
        names::CLOSED,
    },
    record::{audit::LogEntry, given},
    requests::{
        RequestKey, StoredRequest,
        recalled::{Recalling, RefusedKind, last_records},
        stored::RequestTimes,
    },
    sessions::{
        LifeStage, Session, SessionFacts, Sessions, create::share_with_outermost, end::not_started,
        launchers::stands_in,
    },
    state::{Shelves, State},
    unix,
};

/// The reason in a record of a change that happened while no guardd ran.
const AFTER_RESTART: &str = "after a restart of guardd";

impl State {
    /// Makes guardd's own state agree with the kernel's.
    ///
    /// # Errors
    ///
    /// The kernel's. What is enforced stays as it was.
    pub(crate) fn adopt(&mut self, start: Start, shelves: &Shelves) -> Result<(), CallError> {
        if start == Start::Fresh {
            self.skip_known_ids()?;
            // What an earlier guardd knew has ended with the kernel's state.
            self.adopt_sessions()?;
            self.adopt_holes()?;
            self.with_flows(Flows::adopt)?;
            shelves.clear();
            return Ok(());
        }
        let swept = self.datapath.sweep()?;
        let files = shelves.sweep();
        if swept != Swept::default() || files > 0 {
            tracing::info!(
                sessions = swept.sessions,
                cgroups = swept.cgroups,
                entries = swept.entries,
                files,
                "removed what belonged to sessions that are gone, or was half made by a guardd that was killed"
            );
        }
        self.adopt_sessions()?;
        self.adopt_holes()?;
        self.adopt_names()?;
        self.adopt_policies()?;
        self.adopt_named();
        // Before the records of requests that a policy has settled meanwhile.
        self.note_unrecorded();
        self.adopt_requests()?;
        self.recall();
        self.with_flows(Flows::adopt)?;
        self.tell_all_remembered();
        tracing::info!(
            sessions = self.sessions.all_live().count(),
            holes = self.holes.len(),
            requests = self.requests.pending().len(),
            policies = self.policies.iter().count(),
            "adopted"
        );
        Ok(())
    }

    /// Reads what the audit log has of live sessions.
    fn recall(&mut self) {
        let live = self.sessions.all_live();
        let live: Vec<_> = live.map(|session| session.cgroup.id).collect();
        if live.is_empty() {
            return;
        }
        let records = last_records(&self.recorder);
        let attempts = live.into_iter();
        let attempts = attempts.map(|id| (id, self.datapath.attempts(id).unwrap_or_default()));
        let mut recalling = Recalling {
            sessions: &self.sessions,
            policies: &self.policies,
            attempts: attempts.collect(),
            requests: &mut self.requests,
        };
        let holes = &self.holes;
        for one in recalling.read(&records, |hole| holes.get(hole).is_some()) {
            let (session, at, why) = (one.session, one.at, one.why.as_deref());
            match one.kind {
                RefusedKind::Name { failed } => {
                    (self.resolver).recall_refused(session, at, &one.to, why, failed);
                }
                RefusedKind::Stop => self.sockets.recall_stop(session, at, &one.to, why),
            }
        }
    }

    /// The audit log has no id for two things, as far as it is kept.
    fn skip_known_ids(&mut self) -> Result<(), CallError> {
        match given::last_in(self.recorder.audit().path()) {
            Ok(last) => self.datapath.give_after(last)?,
            Err(error) => {
                tracing::warn!(%error, "ids may be given that the audit log has already");
            }
        }
        Ok(())
    }

    /// Makes the requests of live sessions pending again.
    ///
    /// A request that was answered by a no that holds, or by a hole or a policy since, does not wait.
    fn adopt_requests(&mut self) -> Result<(), CallError> {
        let mut kept = self.requests.kept();
        // Answers first: an answered request does not wait.
        kept.sort_by_key(|(_, asked)| (asked.refused_until.is_none(), asked.shown.asked_at));
        for (file, asked) in kept {
            let key = asked.key();
            let owner = self.sessions.live(key.session);
            let owner = owner.map(Session::account);
            // A no holds while a session is left for which it holds.
            let holds = self.sessions.share(key.session);
            match (owner, asked.refused_until) {
                (_, Some(until)) if owner.is_some() || holds => {
                    self.requests
                        .refuse(key, asked.burst, asked.shown, BootTime(until));
                }
                (None, _) | (_, Some(_)) => {}
                (Some(owner), None) => {
                    let id = asked.shown.id.clone();
                    let times = times_of(&self.datapath, &key, &asked);
                    let ask = || Ok::<_, Infallible>(asked.shown);
                    let Ok(_) = self.requests.note(key, owner, clock::now(), ask);
                    self.requests.put_times(&id, &times);
                    self.requests.put_burst(&id, asked.burst);
                    if asked.names.is_some() {
                        self.requests.put_names(&id, asked.names);
                    }
                }
            }
            self.requests.note_file(file);
        }
        let holes = self.datapath.holes()?.into_iter();
        // What is used up answers nothing: a request that came since waits, and a no since holds.
        for hole in holes.filter(|hole| !hole.is_used_up()) {
            let (kernel, requests) = (&mut self.datapath, &mut self.requests);
            let (sessions, session) = (&self.sessions, hole.session);
            let change = (self.holes).settle_requests(kernel, requests, sessions, session, &[hole]);
            self.apply(change);
        }
        let (sessions, policies) = (&self.sessions, &self.policies);
        (self.requests).settle(sessions, policies, &mut self.recorder);
        self.apply(Change::Requests);
        Ok(())
    }

    /// Takes over by which names live sessions know addresses; what ended ones knew goes.
    fn adopt_names(&mut self) -> Result<(), CallError> {
        let sessions = &self.sessions;
        let is_there = |id| sessions.get(id).is_some();
        self.policies.adopt_names(&mut self.datapath, is_there)
    }

    fn adopt_sessions(&mut self) -> Result<(), CallError> {
        let mut known: BTreeMap<_, _> = self.sessions.kept().into_iter().collect();
        for (cgroup, kernel) in self.datapath.sessions()? {
            let about = known.remove(&ids::session(cgroup.id));
            self.adopt_session(cgroup, &kernel, about);
        }
        for (id, about) in known {
            if about.unrecorded {
                let entry = LogEntry::of(&id, about.uid, start_of(&about));
                self.recorder.note(entry.noticed(AFTER_RESTART));
            }
            let entry = if about.unstarted {
                let (name, command) = (about.name.clone(), about.command.clone());
                let record = not_started(name, command, about.refused.clone());
                LogEntry::of_user(about.uid, record)
            } else {
                LogEntry::of(&id, about.uid, SessionEnd::default())
            };
            self.recorder.note(entry.noticed(AFTER_RESTART));
            if let Ok(ended) = ids::parse_session(&id) {
                self.flows.add(ended, &about);
            }
            if let (Some(_), Ok(unit)) = (about.assigned, ids::parse_session(&id)) {
                self.sessions.end_all_inside(&mut self.datapath, unit);
            }
            // In this order: if guardd is killed in between, the next start ends them.
            self.sessions.remove_file(&id);
        }
        Ok(())
    }

    /// Writes the starts that an earlier guardd was to write with another record of the session. It may have: a reader keeps the first.
    fn note_unrecorded(&mut self) {
        for id in self.sessions.unrecorded() {
            let Some(session) = self.shown(id) else {
                continue;
            };
            let entry = self.sessions.start_entry(&self.policies, id, &session);
            self.recorder.note(entry.noticed(AFTER_RESTART));
            self.sessions.set_unrecorded(id, false);
            self.sessions.keep(id);
        }
    }

    /// Adds to the facts of a session what an earlier guardd has not written.
    fn complete(&self, about: &mut SessionFacts, cgroup: &SessionCgroup, is_populated: bool) {
        // 0.2.0 wrote these two only.
        if about.around.is_empty() {
            let known = [about.outermost, about.parent];
            about.around.extend(known.into_iter().flatten());
            // The one may be the other.
            about.around.dedup();
        }
        if let (None, Some(launcher), true) = (about.pid, about.launcher, is_populated) {
            // guardd was killed after the command had entered, and before it wrote that down.
            let inside = self.datapath.processes(cgroup).into_iter();
            about.pid = inside.filter(|pid| stands_in(launcher, *pid)).min();
        }
    }

    fn adopt_session(
        &mut self,
        cgroup: SessionCgroup,
        kernel: &KernelSession,
        about: Option<SessionFacts>,
    ) {
        let is_populated = self.datapath.is_populated(&cgroup).unwrap_or(true);
        if about.is_none() {
            let entry = LogEntry::of(ids::session(cgroup.id), 0, SessionStart::default());
            self.recorder.note(entry.noticed(AFTER_RESTART));
        }
        let mut about = about.unwrap_or_else(|| SessionFacts::unknown(&cgroup));
        self.complete(&mut about, &cgroup, is_populated);
        let is_live = is_populated || about.pid.is_some() || !cgroup.is_ours();
        about.unstarted &= !is_live;
        let stage = if is_live {
            LifeStage::Live
        } else {
            LifeStage::Empty {
                since: clock::now(),
            }
        };
        let id = cgroup.id;
        self.machine.watch_session(&cgroup);
        share_with_outermost(&mut self.datapath, id, &about);
        tracing::debug!(session = cgroup.id.0, name = about.name, "adopted");
        let policies = kernel.policies.iter().copied();
        self.flows.add(id, &about);
        self.sessions.add(Session {
            cgroup,
            chain: policies.filter(|slot| *slot != PolicyId(0)).collect(),
            // Which of them it is, the policies say, which are adopted later.
            base: None,
            about,
            stage,
        });
        if let Err(error) = unix::judge_unix(&mut self.datapath, &self.sessions, id) {
            tracing::warn!(error = %error.failure.why, session = id.0, "its Unix sockets are judged as before");
        }
        self.sessions.attend(&mut self.datapath, id);
    }

    fn adopt_holes(&mut self) -> Result<(), CallError> {
        let mut known = self.holes.kept();
        let mut open = self.datapath.holes()?;
        // One for a name has an entry for each address, of which some may end before it.
        open.sort_by_key(|hole| (hole.entry.id, Reverse(hole.entry.expires)));
        let all = open.clone();
        open.dedup_by_key(|hole| hole.entry.id);
        for hole in open {
            let about = known.remove(&ids::hole(hole.entry.id));
            if about.is_none() {
                self.note_hole(&hole);
            }
            self.holes.add(hole.entry.id, Hole::of_kernel(&hole, about));
        }
        self.holes.note_covered(&all);
        for (id, about) in known {
            let ended = Hole {
                session: SessionId(about.session),
                expires: clock::now(),
                about: Some(about),
                scope: Scope::Connections(Connections::default()),
            };
            let id = ids::parse_hole(&id).unwrap_or(HoleId(0));
            self.hole_ended(id, &ended, HoleEnd::ExpiredWhileDown, None);
        }
        Ok(())
    }

    /// Takes over the holes for names that an earlier guardd has kept.
    fn adopt_named(&mut self) {
        let now = clock::now();
        for (id, stored) in self.holes.kept_names() {
            if let Some(reaches) = stored.reaches {
                let name = stored.pattern;
                // The kernel says whether that is open; of one that is not, the end was written with the others.
                if self.holes.get(id).is_some() {
                    self.holes.set_name(id, HoleName { name, reaches })
                } else {
                    self.holes.remove_files(id)
                }
                continue;
            }
            let hole = stored.question();
            if self.sessions.live(hole.session).is_some() && hole.expires > now {
                self.holes.add(id, hole);
                continue;
            }
            let why = match hole.expires {
                CLOSED => HoleEnd::Closed,
                _ => HoleEnd::ExpiredWhileDown,
            };
            self.hole_ended(id, &hole, why, None);
        }
    }

    /// Writes a record of a hole whose guardd may have been killed before it wrote one.
    fn note_hole(&mut self, hole: &LiveHole) {
        let owner = self.sessions.get(hole.session);
        let owner = owner.map_or(0, |session| session.about.uid);
        let shown = known::shown(hole, None, &Clocks::read());
        let record = HoleOpen {
            hole: shown.id.into(),
            destination: shown.destination.into(),
            ports: shown.ports.into(),
            connections: shown.connections_left.into(),
            ..HoleOpen::default()
        };
        let entry = LogEntry::of(shown.session, owner, record);
        self.recorder.note(entry.noticed(AFTER_RESTART));
    }

    /// Compiles the policies in the kernel's slots again, from their source texts. One that does not compile stays as it is in
    /// the kernel.
    fn adopt_policies(&mut self) -> Result<(), CallError> {
        let now = self.environment();
        for slot in self.datapath.policy_slots()? {
            if let Err(error) = self.policies.adopt(&mut self.datapath, slot, &now) {
                tracing::error!(%error, slot = slot.0, "goes on as the kernel has it");
            }
        }
        self.sessions.note_base(self.policies.base_slot());
        Ok(())
    }
}

impl Sessions {
    /// The live ones whose start is written only with another record of theirs.
    fn unrecorded(&self) -> Vec<SessionId> {
        let live = self.all_live().filter(|session| session.about.unrecorded);
        live.map(|session| session.cgroup.id).collect()
    }
}

/// The start of a session that has ended since, as its file has it.
fn start_of(about: &SessionFacts) -> SessionStart {
    let parent = about.parent.map(|id| ids::session(SessionId(id)));
    SessionStart {
        name: about.name.clone().into(),
        parent: parent.into(),
        command: about.command.clone().into(),
        assigned: about
            .assigned
            .map_or(Field::Absent, |by| by.as_str().into()),
        observed: if about.observed {
            true.into()
        } else {
            Field::Absent
        },
        started: moment::text(about.started_at).into(),
        ..SessionStart::default()
    }
}

/// When attempts were made for a request that is kept. Of those for connections the kernel knows more.
fn times_of(datapath: &Datapath, key: &RequestKey, asked: &StoredRequest) -> RequestTimes {
    let clocks = Clocks::read();
    let asked_at = clocks.boot(asked.shown.asked_at);
    let known = asked.times.clone().unwrap_or(RequestTimes {
        asked: asked_at.0,
        last: asked_at.0,
        tried: 1,
    });
    let attempts = datapath.attempts(key.session).unwrap_or_default();
    let its = attempts
        .iter()
        .filter(|(attempt, _)| key.is_connection() && key.is_tried_by(attempt));
    let last = its.map(|(_, count)| count.reported.0).max();
    RequestTimes {
        last: last.unwrap_or(0).max(known.last),
        ..known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_the_next_guardd_writes_says_when_it_was() -> Result<(), jiff::Error> {
        let about = SessionFacts {
            started_at: "2026-11-20T12:00:00.5Z".parse()?,
            ..SessionFacts::new("make".to_owned(), 1000, Vec::new())
        };
        let start = start_of(&about);
        assert!(start.started.is("2026-11-20T12:00:00.500Z"), "{start:?}");
        Ok(())
    }
}
