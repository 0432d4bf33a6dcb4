//! Makes sessions of existing cgroups: those of units and containers right below the guard's root.
//!
//! Such a cgroup belongs to the service manager or container engine that made it. guardd writes nothing into it and never
//! removes it, and its session lasts as long as its directory. Until it is assigned it is judged by the entry under key 0.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use guard_common::{PolicyId, SessionId};
use guard_datapath::{ChildCgroup, Datapath};
use guard_proto::{PolicyRef, Started, calls::Assign};
use guard_sys::{cgroup2, pidfd::Peer};
use serde::{Deserialize, Serialize};

use crate::{
    control::{
        auth::{self, Agent, Assigner, CallerPlace, Starter},
        failure::CallError,
        ids,
    },
    doctor,
    machine::Machine,
    policies::{library::PolicyText, load},
    proxy,
    quota::Account,
    resolver,
    sessions::{
        LifeStage, SessionFacts, Sessions, arrivals,
        create::{self, is_still, shortened, shown_name},
        systemd::{self, Unit, uid_of, unit_of},
    },
    shared::Shared,
    state::State,
};

/// Who assigned a unit's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AssignedBy {
    /// The unit, before it started.
    Unit,
    /// Root, from outside.
    Root,
    /// guardd's settings.
    Settings,
}

impl AssignedBy {
    /// As in the audit log.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Root => "root",
            Self::Settings => "settings",
        }
    }
}

/// A cgroup right below the root that guardd did not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// The id that the kernel gives it.
    pub(crate) id: u64,
}

impl Cgroup {
    /// The unit that it belongs to, if any.
    #[must_use]
    pub(crate) fn unit(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        unit_of(&name).to_owned()
    }

    /// Whether that very cgroup still exists: a unit that starts again has a new one under the old name.
    #[must_use]
    pub(crate) fn stands(&self) -> bool {
        cgroup2::id(&self.path).is_ok_and(|id| id == self.id)
    }

    /// The session's name.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        short(&self.unit())
    }
}

impl From<ChildCgroup> for Cgroup {
    fn from(ChildCgroup { path, id }: ChildCgroup) -> Self {
        Self { path, id }
    }
}

/// Digits of a container's id, and below how many of them engines show.
const ID: usize = 64;
const SHOWN: usize = 12;

/// A unit's name, with a container's id as short as engines show it.
#[must_use]
pub(crate) fn short(unit: &str) -> String {
    let is_digit = |c: char| c.is_ascii_hexdigit();
    let mut ids = unit.split(|c| !is_digit(c));
    match ids.find(|digits| digits.len() == ID) {
        Some(id) => unit.replace(id, &id[..SHOWN]),
        None => unit.to_owned(),
    }
}

/// The session that a cgroup is to become.
#[derive(Clone, Debug)]
pub(crate) struct WantedSession {
    /// The session's name.
    pub(crate) name: String,
    /// The call says so itself.
    pub(crate) is_name_given: bool,
    /// Who answers for it.
    pub(crate) owner: u32,
    /// The call says so itself.
    pub(crate) is_owner_named: bool,
    /// The command that people are shown.
    pub(crate) command: Vec<String>,
    /// Who wants it.
    pub(crate) by: AssignedBy,
}

/// Makes a session of a unit's cgroup.
///
/// # Errors
///
/// Why there is none; then no session owns it, as before.
pub(crate) async fn assign(
    shared: &Shared,
    who: Assigner,
    peer: &Peer,
    pid: u32,
    call: Assign,
) -> Result<Started, CallError> {
    match who {
        Assigner::Root => from_outside(shared, call).await,
        Assigner::Starter(starter) => from_within(shared, starter, peer, pid, call).await,
        Assigner::Agent(agent) => shared.with(|state| state.assigned(agent, call)),
    }
}

/// For a command of `ExecStartPre=`: a process inside a guarded cgroup is not believed, so the service manager is asked whether
/// it is one.
async fn from_within(
    shared: &Shared,
    starter: Starter,
    peer: &Peer,
    pid: u32,
    call: Assign,
) -> Result<Started, CallError> {
    if call.unit.is_some() {
        return Err(not_of_another());
    }
    let (cgroup, path) = shared.with(|state| {
        state
            .sessions
            .cgroup_of(&state.datapath, &state.machine, starter)
    })?;
    if cgroup.unit().ends_with(".slice") {
        return Err(not_right_below());
    }
    let unit = shared.manager.ask(&cgroup.unit()).await?;
    unit.vouch_for(pid, &path)?;
    // systemd named the peer's pid only if the peer still lives.
    is_still(peer, pid)?;
    // The settings come first, so that it does not matter which of the two is faster.
    arrivals::assign(shared, &cgroup).await?;
    let place = shared.with(|state| state.caller(peer))?.place;
    if let CallerPlace::Outside = place {
        return Err(not_right_below());
    }
    let wanted = WantedSession::of(&call, &cgroup, Some(&unit), AssignedBy::Unit)?;
    let mut started = make(shared, cgroup, call.policy, wanted).await?;
    // The unit's next command may need them at once.
    let ready = resolver::worker::ready(shared).await;
    started.warnings.extend(ready);
    if proxy::worker::serves(shared, &started.session.id) {
        started.warnings.extend(proxy::worker::ready(shared).await);
    }
    if unit.is_roots {
        started.warnings.push(
            "it may run as root, which can take the guard down: give the unit a User=".to_owned(),
        );
    }
    Ok(started)
}

/// For root, about a unit that may run already.
async fn from_outside(shared: &Shared, call: Assign) -> Result<Started, CallError> {
    let Some(asked) = &call.unit else {
        return Err(CallError::invalid(
            "cannot tell which unit is meant",
            "the call came from outside of every unit in the guard's slice",
            "sudo guard assign --policy NAME UNIT; in a unit: ExecStartPre=+guard assign --policy NAME",
        ));
    };
    let (cgroup, path) = shared.with(|state| {
        let (kernel, machine) = (&state.datapath, &state.machine);
        state.sessions.cgroup_called(kernel, machine, asked)
    })?;
    let (unit, warning) = match managed(shared, &cgroup).await {
        Ok(unit) => (unit, None),
        Err(refusal) => (None, Some(refusal.failure.why)),
    };
    if let Some(unit) = &unit {
        if !asked.starts_with('/') {
            unit.is_not_elsewhere(&path)?;
        }
        unit.is_kept()?;
    }
    let unit = unit.filter(|unit| unit.is_at(&path));
    let wanted = WantedSession::of(&call, &cgroup, unit.as_ref(), AssignedBy::Root)?;
    let mut started = make(shared, cgroup, call.policy, wanted).await?;
    started.warnings.extend(warning.map(|why| {
        format!(
            "it is not known whether a PAMName= takes it out of the slice, nor its User=: {why}"
        )
    }));
    Ok(started)
}

/// What the service manager knows of a cgroup's unit, if there is one and the cgroup may be a unit's.
async fn managed(shared: &Shared, cgroup: &Cgroup) -> Result<Option<Unit>, CallError> {
    let name = cgroup.unit();
    if !systemd::is_there() || !systemd::is_unit_name(&name) {
        return Ok(None);
    }
    shared.manager.ask(&name).await.map(Some)
}

/// Makes a session of a cgroup, or returns its session if it is the same one.
///
/// # Errors
///
/// If its session is another one, the policy is bad, or the kernel has no room.
pub(crate) async fn make(
    shared: &Shared,
    cgroup: Cgroup,
    policy: PolicyRef,
    wanted: WantedSession,
) -> Result<Started, CallError> {
    doctor::is_closed(shared).await?;
    let source: PolicyText = shared.with(|state| state.policies.library().resolve(policy))?;
    // Only root assigns.
    let (slot, warnings) = load::slot_for(shared, source, Account::ROOT).await?;
    let base = create::base(shared, Account::ROOT).await?;
    shared.with(|state| {
        let started = state.assign(cgroup, slot, base, wanted, warnings);
        // That of a cgroup which is not made a session.
        started.inspect_err(|_| state.collect_slots())
    })
}

impl WantedSession {
    fn of(
        call: &Assign,
        cgroup: &Cgroup,
        unit: Option<&Unit>,
        by: AssignedBy,
    ) -> Result<Self, CallError> {
        let user = unit.and_then(|unit| unit.user.as_deref());
        let owner = match (call.owner, user) {
            (Some(owner), _) => owner,
            (None, Some(user)) => uid_of(user)?,
            (None, None) => 0,
        };
        Ok(Self {
            name: call.name.clone().unwrap_or_else(|| cgroup.name()),
            is_name_given: call.name.is_some(),
            owner,
            is_owner_named: call.owner.is_some(),
            command: unit
                .map(|unit| unit.description.clone())
                .into_iter()
                .collect(),
            by,
        })
    }
}

impl State {
    /// Makes a session of a cgroup.
    fn assign(
        &mut self,
        cgroup: Cgroup,
        slot: PolicyId,
        base: Option<PolicyId>,
        wanted: WantedSession,
        warnings: Vec<String>,
    ) -> Result<Started, CallError> {
        if let Some(session) = self.sessions.of_cgroup(cgroup.id) {
            let owner = wanted.is_owner_named.then_some(wanted.owner);
            let name = wanted.is_name_given.then_some(&wanted.name[..]);
            return self.already(session.cgroup.id, Some(slot), owner, name);
        }
        // Names may have been looked up for the policy meanwhile: a cgroup that has replaced this one was not meant.
        if !cgroup.stands() {
            return Err(is_gone(&cgroup));
        }
        let chain: Vec<_> = [slot].into_iter().chain(base).collect();
        self.has_base(&chain)?;
        let made = self
            .datapath
            .assign_session(cgroup.path, cgroup.id, &chain)?;
        let (name, command) = (shown_name(&wanted.name), shortened(wanted.command));
        let about = SessionFacts {
            assigned: Some(wanted.by),
            ..SessionFacts::new(name, wanted.owner, command)
        };
        self.register(made, chain, about, LifeStage::Live, warnings)
    }

    /// The answer to a process in a session. A policy that its unit has already is no error, since units start again and again.
    ///
    /// # Errors
    ///
    /// `Refused` if it is another policy, or not a unit that is starting; `Invalid` if it is about another unit.
    fn assigned(&mut self, agent: Agent, call: Assign) -> Result<Started, CallError> {
        let id = agent.session();
        let session = self.sessions.live(id);
        let session = session.ok_or_else(|| ids::no_session(&ids::session(id)))?;
        if session.cgroup.is_ours() {
            return Err(auth::inside());
        }
        if agent.uid() != 0 {
            return Err(auth::not_root_inside());
        }
        if call.unit.is_some() {
            return Err(not_of_another());
        }
        let source = self.policies.library().resolve(call.policy)?;
        let slot = self.policies.same(&source);
        self.already(id, slot, call.owner, call.name.as_deref())
    }

    /// The answer if the cgroup has a policy.
    ///
    /// # Errors
    ///
    /// `Refused` if that is not `slot`'s, or if another answers for it than the call names, or it has another name.
    fn already(
        &mut self,
        id: SessionId,
        slot: Option<PolicyId>,
        owner: Option<u32>,
        name: Option<&str>,
    ) -> Result<Started, CallError> {
        let session = self.sessions.live(id);
        let session = session.ok_or_else(|| ids::no_session(&ids::session(id)))?;
        let is_same = slot.is_some() && session.chain.first() == slot.as_ref();
        let is_owners = owner.is_none_or(|owner| owner == session.about.uid);
        let is_called = name.is_none_or(|name| shown_name(name) == session.about.name);
        let shown = self.shown(id);
        let shown = shown.ok_or_else(|| ids::no_session(&ids::session(id)))?;
        if !(is_same && is_owners && is_called) {
            let (name, policy) = (&shown.name, &shown.policy);
            let owner = &shown.user;
            let what = match (is_same, is_owners) {
                (false, _) => format!("{name} has another policy already"),
                (true, false) => format!("{name} has another owner already"),
                (true, true) => format!("{name} has another name already"),
            };
            return Err(CallError::refused(
                what,
                format!(
                    "it is the session {}, under {policy}, and {owner} answers for it",
                    shown.id
                ),
                format!(
                    "stop it, so that its cgroup goes, and start it again: systemctl stop {name}; and see whether \
                     [[assign]] in guardd.toml names it"
                ),
            ));
        }
        let warnings = vec![format!(
            "it was the session {} already, under that policy: nothing has changed",
            shown.id
        )];
        Ok(Started::new(shown, warnings))
    }
}

impl Sessions {
    /// The cgroups right below the root that others made and no session owns.
    #[must_use]
    pub(crate) fn unowned(&self, kernel: &Datapath) -> Vec<Cgroup> {
        let others = kernel.others().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot see which units there are");
            Vec::new()
        });
        let live = self.all_live();
        let owned: HashSet<_> = live.map(|session| session.cgroup.cgroup_id).collect();
        let unowned = others.into_iter().filter(|one| !owned.contains(&one.id));
        unowned.map(Cgroup::from).collect()
    }

    /// The cgroup that a caller starts in, and its path as `/proc/PID/cgroup` has it.
    fn cgroup_of(
        &self,
        kernel: &Datapath,
        machine: &Machine,
        starter: Starter,
    ) -> Result<(Cgroup, PathBuf), CallError> {
        let mut unowned = self.unowned(kernel).into_iter();
        let cgroup = unowned.find(|cgroup| cgroup.id == starter.cgroup());
        let cgroup = cgroup.ok_or_else(not_right_below)?;
        let path = machine
            .kernel_path(&cgroup.path)
            .ok_or_else(not_right_below)?;
        Ok((cgroup, path))
    }

    /// The cgroup that the caller names: a unit, with or without `.service`, or a path.
    fn cgroup_called(
        &self,
        kernel: &Datapath,
        machine: &Machine,
        asked: &str,
    ) -> Result<(Cgroup, PathBuf), CallError> {
        let others = kernel.others()?.into_iter();
        let others = others.filter_map(|cgroup| {
            let in_kernel = machine.kernel_path(&cgroup.path)?;
            Some((Cgroup::from(cgroup), in_kernel))
        });
        let is_meant = |(cgroup, in_kernel): &(Cgroup, PathBuf)| {
            let unit = cgroup.unit();
            let is_named = unit == asked || unit.strip_suffix(".service") == Some(asked);
            let is_path = |path: &Path| path == Path::new(asked);
            is_named || is_path(&cgroup.path) || is_path(in_kernel)
        };
        let mut meant = others.filter(is_meant);
        match (meant.next(), meant.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(self.none_called(kernel, machine, asked)),
            (Some((one, _)), Some((other, _))) => Err(CallError::invalid(
                format!("cannot tell which cgroup is meant by {asked}"),
                format!(
                    "there are {} and {}",
                    one.path.display(),
                    other.path.display()
                ),
                "give its path",
            )),
        }
    }

    fn none_called(&self, kernel: &Datapath, machine: &Machine, asked: &str) -> CallError {
        let root = machine.cgroup_root().display();
        let units: Vec<_> = self.unowned(kernel).iter().map(Cgroup::unit).collect();
        let fix = if units.is_empty() {
            "start it there: a unit with Slice=guard.slice, a container with \
                     --cgroup-parent=guard.slice"
                .to_owned()
        } else {
            format!("one of those without a policy: {}", units.join(", "))
        };
        CallError::not_found(
            format!("there is no unit {asked} to give a policy to"),
            format!("no cgroup right below {root} is called so"),
            fix,
        )
    }
}

fn is_gone(cgroup: &Cgroup) -> CallError {
    let unit = cgroup.unit();
    CallError::not_found(
        format!("{unit} has ended"),
        format!("its cgroup {} went meanwhile", cgroup.path.display()),
        "if it has started again, try again",
    )
}

fn not_of_another() -> CallError {
    CallError::invalid(
        "a unit gives a policy to itself only",
        "the call came from inside a unit, and names one",
        "leave UNIT out: ExecStartPre=+guard assign --policy NAME",
    )
}

fn not_right_below() -> CallError {
    CallError::refused(
        "cannot give it a policy",
        "the call did not come from a unit that is right in the guard's slice",
        "put the unit there: Slice=guard.slice; a slice in it is one session for all its units, by root: \
         sudo guard assign --policy NAME SLICE",
    )
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn the_id_of_a_container_is_as_short_as_engines_show_it() {
        let id = "4f1d0c9a8b7e".to_owned() + &"0".repeat(52);
        for (unit, shown) in [
            (format!("docker-{id}.scope"), "docker-4f1d0c9a8b7e.scope"),
            (
                format!("guard-libpod_pod_{id}.slice"),
                "guard-libpod_pod_4f1d0c9a8b7e.slice",
            ),
            ("agent.service".to_owned(), "agent.service"),
            (String::new(), ""),
        ] {
            assert_eq!(short(&unit), shown);
        }
        let longer = format!("docker-{id}0.scope");
        assert_eq!(short(&longer), longer);
    }
}
