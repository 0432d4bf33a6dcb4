//! The sessions: what the kernel knows of them, and what guardd keeps for people.

pub(crate) mod adopt;
pub(crate) mod appeared;
pub(crate) mod apply;
pub(crate) mod arrivals;
pub(crate) mod assign;
pub(crate) mod create;
pub(crate) mod end;
pub(crate) mod launchers;
mod named;
pub(crate) mod production;
pub(crate) mod slice;
pub(crate) mod stops;
pub(crate) mod systemd;
pub(crate) mod units;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::OsStr,
    time::Duration,
};

use guard_common::{BootTime, MAX_CHAIN, PolicyId, SessionId};
use guard_datapath::{Datapath, SessionCgroup};
use guard_proto::{self as proto, production::ProductionFound};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::{
    arrivals::Unassigned,
    assign::{AssignedBy, short},
    launchers::Launchers,
    systemd::{Main, unit_of},
};
use crate::{
    control::{
        auth::{Approver, Authorised, Caller, CallerPlace},
        failure::CallError,
        ids,
    },
    policies::VerdictSubject,
    quota::Account,
    record::{Recorder, shares::AdmittedRecord, shelf::Shelf},
    times::is_past,
};

/// How long a new session may stay without a process.
pub(crate) const TIME_TO_ENTER: Duration = Duration::from_secs(30);
/// How long an ended session's policy still judges what its closed sockets send.
const TIME_TO_DRAIN: Duration = Duration::from_secs(60);
/// The same of a user who has [`MANY_OF_USER`]: the kernel's room is for all users, so those that ended count, and a user who starts
/// one after the other is to find room again.
const TIME_TO_DRAIN_OF_MANY: Duration = Duration::from_secs(10);
/// Sessions of one user, those that ended included, half of [`create::MAX_OF_USER`].
const MANY_OF_USER: usize = create::MAX_OF_USER / 2;

/// What guardd keeps about a session beside the kernel's state, in a file that outlives guardd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionFacts {
    /// Its name.
    pub(crate) name: String,
    /// The user who answers for it.
    pub(crate) uid: u32,
    /// The command line.
    pub(crate) command: Vec<String>,
    /// When it was made.
    pub(crate) started_at: Timestamp,
    /// The first process; none until it has entered.
    pub(crate) pid: Option<u32>,
    /// The launcher, which is the parent of the first process; none without one.
    #[serde(default)]
    pub(crate) launcher: Option<u32>,
    /// The session that it was started in.
    pub(crate) parent: Option<u32>,
    /// All parent sessions, the outermost first, even if they have ended.
    #[serde(default)]
    pub(crate) around: Vec<u32>,
    /// The outermost session; none if it is this one.
    #[serde(default)]
    pub(crate) outermost: Option<u32>,
    /// Who assigned its cgroup; none if guardd made the cgroup.
    #[serde(default)]
    pub(crate) assigned: Option<AssignedBy>,
    /// Its connections are never held: it, or its parent session, was started with `--hold 0s`.
    #[serde(default)]
    pub(crate) never_waits: bool,
    /// How long its connections are held even if no approver is there, in seconds; none: as the policy says.
    #[serde(default)]
    pub(crate) waits: Option<f64>,
    /// Its launcher's supervisor connects its Unix sockets.
    #[serde(default)]
    pub(crate) connects: bool,
    /// Landlock keeps it from the abstract Unix sockets of others.
    #[serde(default)]
    pub(crate) scoped: bool,
    /// A person started it as root of a user namespace of its own.
    #[serde(default)]
    pub(crate) root: bool,
    /// The number of that namespace, for sessions inside too; none until it is made.
    #[serde(default)]
    pub(crate) user_namespace: Option<u32>,
    /// Its policy lets pass what no rule names.
    #[serde(default)]
    pub(crate) observed: bool,
    /// A project's policy is in its chain, before its own.
    #[serde(default)]
    pub(crate) beside: bool,
    /// The user who brought its policy's text: may bring another. None: guardd's own policy, or an older guardd kept none.
    #[serde(default)]
    pub(crate) brought_by: Option<u32>,
    /// The text has more in it than its file: what a person agreed to of the project's.
    #[serde(default)]
    pub(crate) agreed: bool,
    /// How many places came into reach that look like production.
    #[serde(default)]
    pub(crate) appeared: u32,
    /// More came than are shown: each new connection is asked about.
    #[serde(default)]
    pub(crate) all_asked: bool,
    /// What looks like production and is in reach; none where nobody has looked.
    #[serde(default)]
    pub(crate) production: Option<ProductionFound>,
    /// Its launcher looks first whether the settings let it start: no record says that it began.
    #[serde(default)]
    pub(crate) unstarted: bool,
    /// Why its command was not started.
    #[serde(default)]
    pub(crate) refused: Option<String>,
    /// Its starter had too many: no record says that it began until another is written of it. The next guardd writes one then.
    #[serde(default)]
    pub(crate) unrecorded: bool,
    /// When its command was seen to have ended, with processes left.
    #[serde(default)]
    pub(crate) command_ended_at: Option<Timestamp>,
}

impl SessionFacts {
    /// Of a session of that name that begins now, for that user: an outermost one, without a launcher.
    #[must_use]
    pub(crate) fn new(name: String, uid: u32, command: Vec<String>) -> Self {
        Self {
            name,
            uid,
            command,
            started_at: Timestamp::now(),
            pid: None,
            launcher: None,
            parent: None,
            around: Vec::new(),
            outermost: None,
            assigned: None,
            never_waits: false,
            waits: None,
            connects: false,
            scoped: false,
            root: false,
            user_namespace: None,
            observed: false,
            beside: false,
            brought_by: None,
            agreed: false,
            appeared: 0,
            all_asked: false,
            production: None,
            unstarted: false,
            refused: None,
            unrecorded: false,
            command_ended_at: None,
        }
    }

    /// How long its connections are held, if its start said so.
    #[must_use]
    pub(crate) fn hold(&self) -> Option<Duration> {
        if self.never_waits {
            Some(Duration::ZERO)
        } else {
            self.waits
                .and_then(|time| Duration::try_from_secs_f64(time).ok())
        }
    }

    /// For a session whose file is gone: only root answers for it. If the cgroup is not guardd's, the name is the unit's.
    #[must_use]
    pub(crate) fn unknown(cgroup: &SessionCgroup) -> Self {
        let unit = cgroup.path.file_name().filter(|_| !cgroup.is_ours());
        let unit = unit.map(OsStr::to_string_lossy);
        let name = unit.map_or_else(|| "unknown".to_owned(), |unit| short(unit_of(&unit)));
        Self {
            // Doubt is denial: without a supervisor, nothing connects them.
            connects: true,
            ..Self::new(name, 0, Vec::new())
        }
    }
}

/// The stage of a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeStage {
    /// No process has entered it yet.
    Empty {
        /// Since when.
        since: BootTime,
    },
    /// It has processes, or had when last checked; or its cgroup is not guardd's, and exists.
    Live,
    /// Its last process has ended, or its cgroup is gone.
    Ended {
        /// When.
        at: BootTime,
    },
}

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Its cgroup.
    pub(crate) cgroup: SessionCgroup,
    /// Its policy, then those of its parent sessions, then the fleet's, where that lies around it.
    pub(crate) chain: Vec<PolicyId>,
    /// The fleet's policy, if it is the last of them.
    pub(crate) base: Option<PolicyId>,
    /// What people know of it.
    pub(crate) about: SessionFacts,
    /// Its stage.
    pub(crate) stage: LifeStage,
}

impl Session {
    /// As `guard sessions` shows it.
    #[must_use]
    pub(crate) fn shown(&self, policy: String, user: String) -> proto::Session {
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
            observed: self.about.observed,
            appeared: self.about.appeared,
            all_asked: self.about.all_asked,
            policy_file: None,
            policy_sha256: None,
            parent: self.about.parent.map(|id| ids::session(SessionId(id))),
        }
    }

    /// The slot of the policy that was asked for: before it is what narrows it.
    #[must_use]
    pub(crate) fn asked_for(&self) -> Option<PolicyId> {
        self.own_chain().last().copied()
    }

    /// The chain without the fleet's policy.
    #[must_use]
    pub(crate) fn own_chain(&self) -> &[PolicyId] {
        &self.chain[..self.chain.len() - usize::from(self.base.is_some())]
    }

    /// Whose destinations are judged.
    #[must_use]
    pub(crate) fn subject(&self) -> VerdictSubject<'_> {
        VerdictSubject {
            session: Some(self.cgroup.id),
            ..VerdictSubject::from(&self.chain)
        }
    }

    /// The outermost session around it, or itself.
    #[must_use]
    pub(crate) fn outermost(&self) -> SessionId {
        SessionId(self.about.outermost.unwrap_or(self.cgroup.id.0))
    }

    /// The account for which limits count what it does.
    #[must_use]
    pub(crate) fn account(&self) -> Account {
        Account::inside(self.about.uid, self.outermost())
    }

    /// The account for which limits count its start.
    #[must_use]
    pub(crate) fn starter(&self) -> Account {
        match self.about.outermost {
            Some(_) => self.account(),
            None => Account::outside(self.about.uid),
        }
    }

    /// It and all its parent sessions, the outermost first.
    #[must_use]
    pub(crate) fn with_those_around(&self) -> Vec<u32> {
        let around = self.about.around.iter().copied();
        around.chain([self.cgroup.id.0]).collect()
    }

    /// Whether processes may be in it.
    #[must_use]
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.stage, LifeStage::Ended { .. })
    }
}

/// Owns the sessions: all that the kernel knows, also those that have just ended, and what else is in the slice.
#[derive(Debug)]
pub(crate) struct Sessions {
    all: BTreeMap<SessionId, Session>,
    /// What is kept about each, by its id.
    files: Shelf<SessionFacts>,
    /// The launchers of their commands.
    launchers: Launchers,
    /// Why cgroups that the settings have a policy for are denied everything, by the cgroup's name.
    unassigned: Unassigned,
    /// The units of the slice whose main process is elsewhere, as last seen.
    astray: BTreeSet<Main>,
    /// Whether this guardd has made or adopted a session.
    had_any: bool,
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub(crate) fn new(files: Shelf<SessionFacts>, launchers: Launchers) -> Self {
        Self {
            all: BTreeMap::new(),
            files,
            launchers,
            unassigned: Unassigned::new(),
            astray: BTreeSet::new(),
            had_any: false,
        }
    }

    /// Adds a new session.
    pub(crate) fn add(&mut self, session: Session) {
        self.had_any = true;
        self.all.insert(session.cgroup.id, session);
    }

    /// Whether this guardd has made or adopted a session.
    #[must_use]
    pub(crate) fn had_any(&self) -> bool {
        self.had_any
    }

    /// Writes a session's file.
    pub(crate) fn keep(&self, id: SessionId) {
        if let Some(session) = self.all.get(&id) {
            self.files.keep(&ids::session(id), &session.about);
        }
    }

    /// What an earlier guardd has kept, by the sessions' ids.
    #[must_use]
    pub(crate) fn kept(&self) -> Vec<(String, SessionFacts)> {
        self.files.all()
    }

    /// Removes the file of a session that has ended.
    pub(crate) fn remove_file(&self, id: &str) {
        self.files.remove(id);
    }

    /// Removes a session.
    pub(crate) fn remove(&mut self, id: SessionId) {
        self.all.remove(&id);
    }

    /// The session of that id, live or ended.
    #[must_use]
    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.all.get(&id)
    }

    /// As [`Self::get`], to be changed.
    fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.all.get_mut(&id)
    }

    /// The live session of that id.
    #[must_use]
    pub(crate) fn live(&self, id: SessionId) -> Option<&Session> {
        self.get(id).filter(|session| session.is_live())
    }

    /// The live session with that id or name, if it is one that `may` be seen.
    ///
    /// # Errors
    ///
    /// `NotFound`, also for sessions that may not be seen. `Invalid` if several have that name.
    pub(crate) fn called(
        &self,
        id: &str,
        may: impl Fn(u32) -> bool,
    ) -> Result<&Session, CallError> {
        if let Ok(parsed) = ids::parse_session(id) {
            let found = self.live(parsed);
            let found = found.filter(|session| may(session.about.uid));
            return found.ok_or_else(|| ids::no_session(id));
        }
        let name = short(id);
        // A session that is merely named like a unit does not stand for the unit, which may not have started yet.
        let is_units = systemd::is_kept_for_units(id);
        let is_meant = |session: &&Session| {
            let can_be = !is_units || !session.cgroup.is_ours();
            let is_called = [id, &name].contains(&session.about.name.as_str());
            can_be && is_called && may(session.about.uid)
        };
        let named = self.all_live().filter(is_meant);
        // Names from inside a session are the agent's choice: they do not identify a session.
        let is_outer = |session: &&Session| session.about.outermost.is_none();
        let (outer, inside): (Vec<_>, Vec<_>) = named.partition(is_outer);
        let mut named = outer.into_iter();
        match (named.next(), named.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(match inside.first() {
                Some(inside) => only_inside(id, inside),
                None => ids::no_session(id),
            }),
            (Some(_), Some(_)) => Err(CallError::invalid(
                format!("cannot tell which session is meant by {id}"),
                "several of yours have that name",
                "give an id: guard sessions",
            )),
        }
    }

    /// The live session that owns the cgroup of that id.
    #[must_use]
    pub(crate) fn of_cgroup(&self, cgroup: u64) -> Option<&Session> {
        self.all_live()
            .find(|session| session.cgroup.cgroup_id == cgroup)
    }

    /// All live sessions, oldest first.
    pub(crate) fn all_live(&self) -> impl Iterator<Item = &Session> {
        self.all.values().filter(|session| session.is_live())
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values()
    }

    /// Those that the policy in a slot judges, those included whose sockets may still send something.
    #[must_use]
    pub(crate) fn judged_under(&self, slot: PolicyId) -> HashSet<SessionId> {
        let judged = self.iter().filter(|one| one.chain.contains(&slot));
        judged.map(|one| one.cgroup.id).collect()
    }

    /// Whether a session with that id, or inside it, is left: what is counted for these together must be kept.
    #[must_use]
    pub(crate) fn share(&self, outermost: SessionId) -> bool {
        self.iter().any(|session| session.outermost() == outermost)
    }

    /// The outermost session around a live one, or itself.
    #[must_use]
    pub(crate) fn outermost(&self, id: SessionId) -> Option<SessionId> {
        self.live(id).map(Session::outermost)
    }

    /// The same for any session that the kernel knows, or the id itself if it is unknown: the key by which all sessions inside
    /// one are counted.
    #[must_use]
    pub(crate) fn outermost_of(&self, id: SessionId) -> SessionId {
        self.get(id).map_or(id, Session::outermost)
    }

    /// The account of any session that the kernel knows. An unknown one is nobody's.
    #[must_use]
    pub(crate) fn account_of(&self, id: SessionId) -> Account {
        let known = self.get(id).map(Session::account);
        known.unwrap_or(Account::inside(u32::MAX, id))
    }

    /// The account of a caller at the socket.
    #[must_use]
    pub(crate) fn account_of_caller(&self, caller: &Caller) -> Account {
        match caller.place {
            CallerPlace::Outside | CallerPlace::Courier => Account::outside(caller.uid),
            CallerPlace::Inside(Some(session)) => self.account_of(session),
            CallerPlace::Inside(None) | CallerPlace::Unowned(_) => Account::unowned(caller.uid),
        }
    }

    /// The account of who has authorised a call.
    #[must_use]
    pub(crate) fn account_of_whom(&self, who: Authorised) -> Account {
        match who {
            Authorised::Approver(who) => Account::outside(who.uid()),
            Authorised::Agent(agent) => self.account_of(agent.session()),
        }
    }

    /// Whether a session may cause a record now, and what that says of others.
    pub(crate) fn admit(
        &self,
        recorder: &mut Recorder,
        id: SessionId,
        now: BootTime,
    ) -> Option<AdmittedRecord> {
        recorder.admit(id, self.account_of(id), now)
    }

    /// The slots of the policies of sessions that people have started.
    #[must_use]
    pub(crate) fn peoples_slots(&self) -> HashSet<PolicyId> {
        let outer = self.all_live();
        let outer = outer.filter(|session| session.about.outermost.is_none());
        outer
            .flat_map(|session| session.chain.iter().copied())
            .collect()
    }

    /// The slots of the policies that sessions inside that one have brought.
    pub(crate) fn brought_into(
        &self,
        outermost: Option<SessionId>,
    ) -> impl Iterator<Item = &PolicyId> {
        let inside = self.iter();
        let inside = inside.filter(move |session| Some(session.outermost()) == outermost);
        let own = outermost.and_then(|id| self.get(id));
        let own = own.map_or(&[][..], |session| &session.chain);
        let slots = inside.flat_map(|session| &session.chain);
        slots.filter(move |slot| !own.contains(slot))
    }

    /// The slot of the policy that narrows that session alone, where it has one: see [`create::run`].
    #[must_use]
    pub(crate) fn slot_apart(&self, id: SessionId) -> Option<PolicyId> {
        let session = self.live(id)?;
        let own = usize::from(session.about.beside) + 1;
        let is_outermost = session.about.outermost.is_none();
        let has_one = is_outermost && session.own_chain().len() > own;
        session.chain.first().copied().filter(|_| has_one)
    }

    /// Has that slot, and none of `bases`, be the last of each chain. Returns whether any is another one now.
    ///
    /// # Errors
    ///
    /// The kernel's: that session, and those after it, are judged as before.
    pub(crate) fn chain_base(
        &mut self,
        kernel: &mut Datapath,
        base: Option<PolicyId>,
        bases: &[PolicyId],
    ) -> Result<bool, CallError> {
        let mut is_changed = false;
        for session in self.all.values_mut() {
            let own = session.chain.iter().copied();
            let own = own.filter(|slot| !bases.contains(slot));
            let chain: Vec<_> = own.chain(base).collect();
            // One that began before a place was kept for it.
            if chain.len() > MAX_CHAIN {
                continue;
            }
            if chain != session.chain {
                kernel.set_chain(&session.cgroup, &chain)?;
                session.chain = chain;
                is_changed = true;
            }
            session.base = base;
        }
        Ok(is_changed)
    }

    /// Which of an adopted session's policies is the fleet's, once those are adopted.
    pub(crate) fn note_base(&mut self, base: Option<PolicyId>) {
        for session in self.all.values_mut() {
            session.base = base.filter(|base| session.chain.last() == Some(base));
        }
    }

    /// The slots by which some session's packets are still judged.
    #[must_use]
    pub(crate) fn slots(&self) -> HashSet<PolicyId> {
        let chains = self.all.values().flat_map(|session| &session.chain);
        chains.copied().collect()
    }

    /// Those that ended long enough ago to be removed.
    #[must_use]
    pub(crate) fn drained(&self, now: BootTime) -> Vec<SessionId> {
        let crowded = self.users_with_many();
        let is_drained = |session: &&Session| match session.stage {
            LifeStage::Ended { at } => is_past(at, session.time_to_drain(&crowded), now),
            LifeStage::Empty { .. } | LifeStage::Live => false,
        };
        let drained = self.all.values().filter(is_drained);
        drained.map(|session| session.cgroup.id).collect()
    }

    /// The users who have so many that new ones may soon find no room.
    fn users_with_many(&self) -> BTreeSet<u32> {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for session in self.iter().filter(|one| one.counts_for_user()) {
            *counts.entry(session.about.uid).or_default() += 1;
        }
        let many = counts
            .into_iter()
            .filter(|(_, count)| *count >= MANY_OF_USER);
        many.map(|(uid, _)| uid).collect()
    }
}

impl Session {
    /// Whether it is one of those of which a user has so many at most: what `[[assign]]` makes has a limit of its own.
    fn counts_for_user(&self) -> bool {
        self.about.assigned.is_none()
    }

    /// How long its closed sockets are judged by its policy. One that was started inside another keeps its time: how many an agent
    /// may start in a minute is what bounds their records.
    fn time_to_drain(&self, crowded: &BTreeSet<u32>) -> Duration {
        let is_outermost = self.about.outermost.is_none();
        if is_outermost && self.counts_for_user() && crowded.contains(&self.about.uid) {
            TIME_TO_DRAIN_OF_MANY
        } else {
            TIME_TO_DRAIN
        }
    }
}

impl Sessions {
    /// The caller's only session, if no session is named.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are several, `NotFound` if there is none.
    pub(crate) fn only(&self, kernel: &Datapath, who: Approver) -> Result<SessionId, CallError> {
        let mine = self.all_live();
        let mine = mine.filter(|session| who.answers_for(session.about.uid));
        // A session inside another was started by that one.
        let mine = mine.filter(|session| session.about.outermost.is_none());
        // A session that has outlived its command is not meant.
        let (left, mine): (Vec<_>, Vec<_>) = mine.partition(|session| session.lost_command(kernel));
        if let ([_, ..], []) = (&left[..], &mine[..]) {
            let left: Vec<_> = left
                .iter()
                .map(|session| ids::session(session.cgroup.id))
                .collect();
            return Err(CallError::not_found(
                "no command of yours runs under the guard",
                format!("the command has ended of what is left: {}", left.join(", ")),
                "guard run -- CMD; or add --session S: guard sessions",
            ));
        }
        let mut mine = mine.into_iter();
        let first = mine.next().map(|session| session.cgroup.id);
        match (first, mine.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(CallError::invalid(
                "cannot tell for which session",
                "you have several",
                "add --session S; `guard sessions` lists them",
            )),
            (None, _) => Err(CallError::not_found(
                "there is no session",
                "nothing of yours runs under the guard",
                "guard run -- CMD",
            )),
        }
    }
}

/// The error if the name is only that of a session inside.
fn only_inside(name: &str, session: &Session) -> CallError {
    let around = ids::session(session.outermost());
    let id = ids::session(session.cgroup.id);
    CallError::not_found(
        format!("no session that you started is called {name}"),
        format!(
            "{id} is, which was started inside {around}, and a name never stands for a session inside"
        ),
        format!("give its id, if you mean that one: {id}"),
    )
}

/// Live ones of these numbers, each perhaps inside another.
#[cfg(test)]
pub(crate) fn none_but(all: &[(u32, Option<u32>)]) -> Sessions {
    let launchers = Launchers::unheard().unwrap();
    let mut sessions = Sessions::new(Shelf::nowhere(), launchers);
    for (id, outermost) in all {
        let cgroup = SessionCgroup {
            id: SessionId(*id),
            cgroup_id: u64::from(*id) + 100,
            path: format!("/guard/s{id}").into(),
        };
        let about = SessionFacts {
            name: format!("name{id}"),
            uid: 1000,
            outermost: *outermost,
            parent: *outermost,
            around: outermost.iter().copied().collect(),
            ..SessionFacts::unknown(&cgroup)
        };
        let own = [PolicyId(*id)].into_iter();
        sessions.add(Session {
            cgroup,
            chain: own.chain(outermost.map(PolicyId)).collect(),
            base: None,
            about,
            stage: LifeStage::Live,
        });
    }
    sessions
}

/// A live one, in that cgroup.
#[cfg(test)]
pub(crate) fn one_in_cgroup(cgroup_id: u64) -> Sessions {
    let mut sessions = none_but(&[(1, None)]);
    sessions.get_mut(SessionId(1)).unwrap().cgroup.cgroup_id = cgroup_id;
    sessions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(sessions: &Sessions, name: &str, uid: u32) -> Option<u32> {
        let found = sessions.called(name, |owner| owner == uid).ok()?;
        Some(found.cgroup.id.0)
    }

    #[test]
    fn a_name_stands_for_what_its_own_user_has_started_outside() {
        let mut sessions = none_but(&[(1, None), (2, Some(1))]);
        assert!(sessions.had_any());
        assert_eq!(called(&sessions, "name1", 1000), Some(1));
        assert_eq!(called(&sessions, "s2", 1000), Some(2));
        assert_eq!(called(&sessions, "name1", 1001), None);
        assert_eq!(called(&sessions, "s1", 1001), None);
        // What is inside calls itself what it likes.
        assert_eq!(called(&sessions, "name2", 1000), None);
        let both = sessions.get_mut(SessionId(2)).unwrap();
        both.about.name = "name1".to_owned();
        assert_eq!(called(&sessions, "name1", 1000), Some(1));
        // Where several were started outside, none is meant.
        sessions.get_mut(SessionId(2)).unwrap().about.outermost = None;
        assert_eq!(called(&sessions, "name1", 1000), None);
    }

    #[test]
    fn what_is_judged_by_peoples_policies_is_what_they_have_started() {
        let sessions = none_but(&[(1, None), (2, Some(1)), (3, None)]);
        let people = HashSet::from([PolicyId(1), PolicyId(3)]);
        assert_eq!(sessions.peoples_slots(), people);
        assert_eq!(sessions.outermost_of(SessionId(2)), SessionId(1));
        assert_eq!(sessions.outermost_of(SessionId(9)), SessionId(9));
        assert_eq!(sessions.outermost(SessionId(9)), None);
        let brought: Vec<_> = sessions.brought_into(Some(SessionId(1))).collect();
        assert_eq!(brought, [&PolicyId(2)]);
    }

    #[test]
    fn one_that_has_ended_is_known_until_its_sockets_have_nothing_left_to_send() {
        let mut sessions = none_but(&[(1, None), (2, Some(1))]);
        let at = BootTime(1_000_000_000_000);
        sessions.get_mut(SessionId(2)).unwrap().stage = LifeStage::Ended { at };
        assert_eq!(sessions.all_live().count(), 1);
        assert!(sessions.slots().contains(&PolicyId(2)));
        assert_eq!(sessions.drained(at), []);
        let later = BootTime(at.0 + TIME_TO_DRAIN.as_nanos() as u64);
        assert_eq!(sessions.drained(later), [SessionId(2)]);
        sessions.remove(SessionId(2));
        assert!(sessions.share(SessionId(1)) && !sessions.share(SessionId(2)));
    }

    #[test]
    fn of_a_user_with_many_those_that_ended_make_room_sooner() {
        let most = u32::try_from(MANY_OF_USER).unwrap();
        let ended = |count: u32| {
            // The last was started inside the first.
            let all = (1..=count).map(|id| (id, (id == count).then_some(1)));
            let mut sessions = none_but(&all.collect::<Vec<_>>());
            for session in sessions.all.values_mut() {
                session.stage = LifeStage::Ended { at: BootTime(1) };
            }
            sessions
        };
        let soon = BootTime(1 + TIME_TO_DRAIN_OF_MANY.as_nanos() as u64);
        assert_eq!(ended(most - 1).drained(soon), []);
        let many = ended(most);
        assert_eq!(many.drained(BootTime(soon.0 - 1)), []);
        assert_eq!(
            many.drained(soon).len(),
            MANY_OF_USER - 1,
            "but the one inside"
        );
        assert!(!many.drained(soon).contains(&SessionId(most)));
        // Another user's count does not matter, nor those by the settings.
        let mut others = ended(most);
        others.get_mut(SessionId(2)).unwrap().about.uid = 1001;
        assert_eq!(others.drained(soon), []);
        let mut assigned = ended(most);
        assigned.get_mut(SessionId(2)).unwrap().about.assigned = Some(AssignedBy::Unit);
        assert_eq!(assigned.drained(soon), []);
    }
}
