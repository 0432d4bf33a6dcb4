//! Taking over what an earlier guardd left in the kernel.
//!
//! The kernel says which sessions, holes and policies there are; the files beside it say what they
//! are called. A file without its kernel state is taken away, and written down as ended; kernel
//! state without its file is listed all the same.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
};

use guard_common::{BootTime, HoleId, PolicyId, Session as KernelSession, SessionId};
use guard_datapath::{LiveHole, SessionCgroup, Start, Swept};
use guard_proto::record::{HoleOpen, SessionEnd, SessionStart};
use guard_sys::clock::{self, Clocks};

use crate::{
    control::{failure::Refusal, ids},
    grants::holes::{self, About, Known},
    policies::{self, InForce},
    record::audit::LogEntry,
    sessions::{self, Session, Stage},
    state::State,
};

/// How a record came about whose event nobody saw.
const AFTER_RESTART: &str = "after a restart of guardd";

impl State {
    /// Makes what the daemon knows agree with the kernel.
    ///
    /// # Errors
    ///
    /// The kernel's. What is enforced stays as it was.
    pub fn adopt(&mut self, start: Start) -> Result<(), Refusal> {
        if start == Start::Fresh {
            // What an earlier guardd knew has ended with the kernel's state.
            self.adopt_sessions()?;
            self.adopt_holes()?;
            self.shelves.clear();
            return Ok(());
        }
        let swept = self.datapath.sweep()?;
        let files = self.shelves.sweep();
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
        self.adopt_policies()?;
        self.adopt_requests()?;
        self.follow_none();
        tracing::info!(
            sessions = self.sessions.all_live().count(),
            holes = self.holes.len(),
            requests = self.requests.pending().len(),
            policies = self.policies.iter().count(),
            "adopted"
        );
        Ok(())
    }

    /// Asks again what was asked before, of the sessions that still live.
    ///
    /// What was answered with no is not asked again for as long as that holds; what a hole or a policy has answered
    /// meanwhile is not, either.
    fn adopt_requests(&mut self) -> Result<(), Refusal> {
        let mut kept = self.shelves.requests.all();
        // Answers first, for what is answered does not wait.
        kept.sort_by_key(|(_, asked)| (asked.refused_until.is_none(), asked.shown.asked_at));
        for (key, asked) in kept {
            let question = asked.question();
            let owner = self.sessions.live(question.session);
            let owner = owner.map(|session| (session.about.uid, session.outermost()));
            // A no holds for as long as somebody is there for whom it holds.
            let holds = self.sessions.share(question.session);
            match (owner, asked.refused_until) {
                (_, Some(until)) if owner.is_some() || holds => {
                    self.mute(question, asked.burst, asked.shown, BootTime(until));
                }
                (None, _) | (_, Some(_)) => {}
                (Some(owner), None) => {
                    let id = asked.shown.id.clone();
                    let ask = || Ok::<_, Infallible>(asked.shown);
                    let Ok(_) = self.requests.note(question, owner, clock::now(), ask);
                    self.requests.put_burst(&id, asked.burst);
                }
            }
            self.kept_requests.insert(key);
        }
        for hole in self.datapath.holes()? {
            self.settle(hole.session, &[hole]);
        }
        self.settle_requests();
        self.keep_requests();
        Ok(())
    }

    fn adopt_sessions(&mut self) -> Result<(), Refusal> {
        let mut known: BTreeMap<_, _> = self.shelves.sessions.all().into_iter().collect();
        for (cgroup, kernel) in self.datapath.sessions()? {
            let about = known.remove(&ids::session(cgroup.id));
            self.adopt_session(cgroup, &kernel, about);
        }
        for (id, about) in known {
            let entry = LogEntry::of(&id, about.uid, SessionEnd::default());
            self.audit.note(entry.noticed(AFTER_RESTART));
            if let (Some(_), Ok(unit)) = (about.assigned, ids::parse_session(&id)) {
                self.end_all_inside(unit);
            }
            // In this order: whoever is killed in between ends them at the next start.
            self.shelves.sessions.remove(&id);
        }
        Ok(())
    }

    fn adopt_session(
        &mut self,
        cgroup: SessionCgroup,
        kernel: &KernelSession,
        about: Option<sessions::About>,
    ) {
        let is_populated = self.datapath.is_populated(&cgroup).unwrap_or(true);
        if about.is_none() {
            let entry = LogEntry::of(ids::session(cgroup.id), 0, SessionStart::default());
            self.audit.note(entry.noticed(AFTER_RESTART));
        }
        let mut about = about.unwrap_or_else(|| sessions::About::unknown(&cgroup));
        // 0.2.0 knew of these two only.
        if about.around.is_empty() {
            let known = [about.outermost, about.parent];
            about.around.extend(known.into_iter().flatten());
            // The one may be the other.
            about.around.dedup();
        }
        let is_live = is_populated || about.pid.is_some() || !cgroup.is_ours();
        let stage = match is_live {
            true => Stage::Live,
            false => Stage::Empty {
                since: clock::now(),
            },
        };
        let id = cgroup.id;
        self.watch_session(&cgroup);
        self.share_with_outermost(id, &about);
        tracing::debug!(session = cgroup.id.0, name = about.name, "adopted");
        let policies = kernel.policies.iter().copied();
        self.had_sessions = true;
        self.sessions.add(Session {
            cgroup,
            chain: policies.filter(|slot| *slot != PolicyId(0)).collect(),
            about,
            stage,
        });
        if let Err(error) = self.judge_unix(id) {
            tracing::warn!(error = %error.failure.why, session = id.0, "its Unix sockets are judged as before");
        }
        self.attend(id);
    }

    fn adopt_holes(&mut self) -> Result<(), Refusal> {
        let mut known: BTreeMap<String, About> = self.shelves.holes.all().into_iter().collect();
        for hole in self.datapath.holes()? {
            let about = known.remove(&ids::hole(hole.entry.id));
            if about.is_none() {
                self.note_hole(&hole);
            }
            let hole_known = Known {
                session: hole.session,
                expires: hole.entry.expires,
                read_only: hole.entry.kind.reads(),
                counts_bytes: hole.entry.kind.counts_bytes(),
                about,
            };
            self.holes.add(hole.entry.id, hole_known);
        }
        for (id, about) in known {
            let ended = Known {
                session: SessionId(about.session),
                expires: clock::now(),
                read_only: false,
                counts_bytes: false,
                about: Some(about),
            };
            let id = ids::parse_hole(&id).unwrap_or(HoleId(0));
            self.hole_ended(id, &ended, "expired while guardd was down", None);
        }
        Ok(())
    }

    /// Writes down a hole that may be in no record: its guardd was killed over it.
    fn note_hole(&mut self, hole: &LiveHole) {
        let owner = self.sessions.get(hole.session);
        let owner = owner.map_or(0, |session| session.about.uid);
        let shown = holes::shown(hole, None, &Clocks::read());
        let record = HoleOpen {
            hole: shown.id.into(),
            destination: shown.destination.into(),
            ports: shown.ports.into(),
            connections: shown.connections_left.map(u64::from).into(),
            ..HoleOpen::default()
        };
        let entry = LogEntry::of(shown.session, owner, record);
        self.audit.note(entry.noticed(AFTER_RESTART));
    }

    /// Compiles the policies in the kernel's slots again, from the texts that they came from. One
    /// that cannot be stays as it is in the kernel.
    fn adopt_policies(&mut self) -> Result<(), Refusal> {
        for slot in self.datapath.policy_slots()? {
            if let Err(error) = self.adopt_policy(slot) {
                tracing::error!(%error, slot = slot.0, "goes on as the kernel has it");
            }
        }
        Ok(())
    }

    fn adopt_policy(&mut self, slot: PolicyId) -> Result<(), Refusal> {
        let Some(source) = self.shelves.policies.get(&slot.0.to_string()) else {
            return Err(Refusal::not_found(
                "a policy is in force whose text is gone",
                "its file in the state directory is not there",
                "end its sessions: guard sessions",
            ));
        };
        let read = policies::read(&source)?;
        let prepared = policies::compile(source, read, &self.environment())?;
        // The kernel still has the addresses of names whose last answers are lost.
        match prepared
            .policy
            .names()
            .find(|name| !self.names.has(name.as_str()))
        {
            Some(name) => {
                tracing::warn!(%name, slot = slot.0, "was never asked about: the kernel's version stands")
            }
            None if self.datapath.holds_policy(slot, &prepared.compiled)? => {}
            None => {
                self.datapath
                    .install_policy(Some(slot), &prepared.compiled)?;
            }
        }
        self.policies.put(slot, InForce::from(prepared));
        Ok(())
    }

    /// Empties the slots that an earlier guardd filled and nothing is judged by.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn drop_stray_slots(&mut self) -> Result<(), Refusal> {
        let used = self.sessions.slots();
        for slot in self.datapath.policy_slots()? {
            if !used.contains(&slot) && self.default_slot != Some(slot) {
                self.datapath.remove_policy(slot)?;
                self.policies.remove(slot);
                self.shelves.policies.remove(&slot.0.to_string());
            }
        }
        self.drop_stray_texts()
    }

    /// Removes the texts of policies that the kernel does not have.
    fn drop_stray_texts(&self) -> Result<(), Refusal> {
        let slots = self.datapath.policy_slots()?.into_iter();
        let slots: HashSet<_> = slots.map(|slot| slot.0.to_string()).collect();
        for key in self.shelves.policies.keys() {
            if !slots.contains(&key) {
                self.shelves.policies.remove(&key);
            }
        }
        Ok(())
    }
}
