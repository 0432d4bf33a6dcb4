//! The sessions: what the kernel knows of them, and what people do.

pub mod adopt;
pub mod arrivals;
pub mod assign;
pub mod create;
pub mod end;
pub mod launchers;
pub mod slice;
pub mod systemd;
pub mod units;

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    time::Duration,
};

use guard_common::{BootTime, PolicyId, SessionId};
use guard_datapath::SessionCgroup;
use guard_proto as proto;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    control::ids,
    sessions::{
        assign::{By, short},
        systemd::unit_of,
    },
};

/// A session that no process has entered for so long has ended.
pub const TIME_TO_ENTER: Duration = Duration::from_secs(30);
/// What closed sockets still have to send is judged by the session's policy for so long.
pub const TIME_TO_DRAIN: Duration = Duration::from_secs(60);

/// What the kernel has no room for. It survives the daemon in a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// The user who answers for it.
    pub uid: u32,
    /// The command line.
    pub command: Vec<String>,
    /// When it was made.
    pub started_at: Timestamp,
    /// The first process; none until it has entered.
    pub pid: Option<u32>,
    /// Who stands in for the first process, and is its parent; none where nobody does.
    #[serde(default)]
    pub launcher: Option<u32>,
    /// The session that it was started in.
    pub parent: Option<u32>,
    /// All sessions around it, the outermost first, though they have ended.
    #[serde(default)]
    pub around: Vec<u32>,
    /// The session around it that a person started; none where that is this one.
    #[serde(default)]
    pub outermost: Option<u32>,
    /// Who made it of a cgroup that was there already; none where guardd made the cgroup.
    #[serde(default)]
    pub assigned: Option<By>,
    /// Nothing of it waits for a person: it was started so (`--hold 0s`), or the one around it.
    #[serde(default)]
    pub never_waits: bool,
    /// How long its connections wait, also where nobody seems to be there to answer, in seconds; none: as the policy says.
    #[serde(default)]
    pub waits: Option<f64>,
    /// Whoever started it connects its Unix sockets for it.
    #[serde(default)]
    pub connects: bool,
    /// Landlock keeps it from abstract Unix sockets of others.
    #[serde(default)]
    pub scoped: bool,
    /// A person started it as root of a user namespace of its own.
    #[serde(default)]
    pub root: bool,
    /// The number of that namespace, also in sessions inside; none until it is made.
    #[serde(default)]
    pub user_namespace: Option<u32>,
    /// When its command was seen to have ended, with processes left.
    #[serde(default)]
    pub command_ended_at: Option<Timestamp>,
}

impl About {
    /// How long its connections wait, where its start said so.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        match self.never_waits {
            true => Some(Duration::ZERO),
            false => self
                .waits
                .and_then(|time| Duration::try_from_secs_f64(time).ok()),
        }
    }

    /// Of a session whose file is gone: only root answers for it. Where the cgroup is not ours, its name is a unit's.
    #[must_use]
    pub fn unknown(cgroup: &SessionCgroup) -> Self {
        let unit = cgroup.path.file_name().filter(|_| !cgroup.is_ours());
        let unit = unit.map(OsStr::to_string_lossy);
        Self {
            name: unit.map_or_else(|| "unknown".to_owned(), |unit| short(unit_of(&unit))),
            uid: 0,
            command: Vec::new(),
            started_at: Timestamp::now(),
            pid: None,
            launcher: None,
            parent: None,
            around: Vec::new(),
            outermost: None,
            assigned: None,
            never_waits: false,
            waits: None,
            // Doubt is denial: where nobody connects its sockets, nothing does.
            connects: true,
            scoped: false,
            root: false,
            user_namespace: None,
            command_ended_at: None,
        }
    }
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has entered it yet.
    Empty {
        /// Since when.
        since: BootTime,
    },
    /// It has processes, or had when last looked at; or its cgroup is not ours, and stands.
    Live,
    /// Its last process has ended, or its cgroup is gone.
    Ended {
        /// When.
        at: BootTime,
    },
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its cgroup.
    pub cgroup: SessionCgroup,
    /// Its policy, then those of the sessions that it was started in.
    pub chain: Vec<PolicyId>,
    /// What people know of it.
    pub about: About,
    /// How far it has come.
    pub stage: Stage,
}

impl Session {
    /// As `guard sessions` shows it.
    #[must_use]
    pub fn shown(&self, policy: String, user: String) -> proto::Session {
        proto::Session {
            id: ids::session(self.cgroup.id),
            name: self.about.name.clone(),
            policy,
            user,
            uid: self.about.uid,
            cgroup: self.cgroup.path.clone(),
            pid: self.about.pid,
            command: self.about.command.clone(),
            started_at: self.about.started_at,
            command_ended_at: self.about.command_ended_at,
            left: Vec::new(),
            parent: self.about.parent.map(|id| ids::session(SessionId(id))),
        }
    }

    /// The session around it that a person started, or itself.
    #[must_use]
    pub fn outermost(&self) -> SessionId {
        SessionId(self.about.outermost.unwrap_or(self.cgroup.id.0))
    }

    /// It and all sessions around it, the outermost first.
    #[must_use]
    pub fn with_those_around(&self) -> Vec<u32> {
        let around = self.about.around.iter().copied();
        around.chain([self.cgroup.id.0]).collect()
    }

    /// Whether processes may be in it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Ended { .. })
    }
}

/// All sessions of which the kernel knows, those that have just ended among them.
#[derive(Debug, Default)]
pub struct Sessions {
    all: BTreeMap<SessionId, Session>,
}

impl Sessions {
    /// A new one.
    pub fn add(&mut self, session: Session) {
        self.all.insert(session.cgroup.id, session);
    }

    /// Forgets one.
    pub fn remove(&mut self, id: SessionId) {
        self.all.remove(&id);
    }

    /// The session of that id, live or ended.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.all.get(&id)
    }

    /// As [`Self::get`], to be changed.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.all.get_mut(&id)
    }

    /// The live session of that id.
    #[must_use]
    pub fn live(&self, id: SessionId) -> Option<&Session> {
        self.get(id).filter(|session| session.is_live())
    }

    /// The live session that owns the cgroup of that id.
    #[must_use]
    pub fn of_cgroup(&self, cgroup: u64) -> Option<&Session> {
        self.all_live()
            .find(|session| session.cgroup.cgroup_id == cgroup)
    }

    /// All live sessions, oldest first.
    pub fn all_live(&self) -> impl Iterator<Item = &Session> {
        self.all.values().filter(|session| session.is_live())
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values()
    }

    /// Whether one of them is that one, or was started inside it: what is counted for all of these is still to be known.
    #[must_use]
    pub fn share(&self, outermost: SessionId) -> bool {
        self.iter().any(|session| session.outermost() == outermost)
    }

    /// The session around a live one that a person started, or itself.
    #[must_use]
    pub fn outermost(&self, id: SessionId) -> Option<SessionId> {
        self.live(id).map(Session::outermost)
    }

    /// The same of any session of which the kernel knows, and itself where it is none: by what all that is inside one is
    /// counted.
    #[must_use]
    pub fn outermost_of(&self, id: SessionId) -> SessionId {
        self.get(id).map_or(id, Session::outermost)
    }

    /// The slots of the policies that judge what people have started.
    #[must_use]
    pub fn peoples_slots(&self) -> HashSet<PolicyId> {
        let outer = self.all_live();
        let outer = outer.filter(|session| session.about.outermost.is_none());
        outer
            .flat_map(|session| session.chain.iter().copied())
            .collect()
    }

    /// The slots of the policies that were brought by what is inside that session.
    pub fn brought_into(&self, outermost: Option<SessionId>) -> impl Iterator<Item = &PolicyId> {
        let inside = self.iter();
        let inside = inside.filter(move |session| Some(session.outermost()) == outermost);
        // The last is the outermost session's own.
        let slots = inside.filter_map(|session| session.chain.split_last());
        slots.flat_map(|(_, brought)| brought)
    }

    /// The slots that some session's packets are still judged by.
    #[must_use]
    pub fn slots(&self) -> HashSet<PolicyId> {
        let chains = self.all.values().flat_map(|session| &session.chain);
        chains.copied().collect()
    }

    /// Those that ended long enough ago to be forgotten.
    #[must_use]
    pub fn drained(&self, now: BootTime) -> Vec<SessionId> {
        let is_drained = |session: &&Session| match session.stage {
            Stage::Ended { at } => is_past(at, TIME_TO_DRAIN, now),
            Stage::Empty { .. } | Stage::Live => false,
        };
        let drained = self.all.values().filter(is_drained);
        drained.map(|session| session.cgroup.id).collect()
    }
}

/// Whether `time` has passed since `since`.
#[must_use]
pub fn is_past(since: BootTime, time: Duration, now: BootTime) -> bool {
    now.0.saturating_sub(since.0) >= time.as_nanos() as u64
}
