//! Units and containers that appear in the guard's root and bring no policy, but have one by the settings.
//!
//! Until they are assigned, and if that fails, they are judged as cgroups that no session owns.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use guard_common::PolicyId;
use guard_datapath::Datapath;
use guard_proto::PolicyRef;
use guard_sys::process::{PacketRight, packet_rights};

use crate::{
    config::AssignRule,
    control::failure::CallError,
    policies::load::in_background,
    sessions::{
        Sessions,
        assign::{AssignedBy, Cgroup, WantedSession, make},
        systemd::uid_of,
    },
    shared::Shared,
};

/// Interval before a failed assignment is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// Sessions by the settings at most, with those that ended in the last minute: a user who can start containers leaves room for
/// the sessions of others.
const MOST: usize = 2048;
/// Cgroups without a policy that are named one by one.
const MOST_NAMED: usize = 16;

/// The reason, by the unit's name.
pub(crate) type Unassigned = BTreeMap<String, String>;

/// Assigns policies to cgroups as they appear, for ever; first to those that appeared while no guardd ran.
pub(crate) async fn follow(shared: Rc<Shared>) {
    loop {
        settle(&shared).await;
        shared.settled.notify_one();
        // A timeout is as good as a call.
        let _ = tokio::time::timeout(AGAIN, shared.arrivals.notified()).await;
    }
}

async fn settle(shared: &Shared) {
    let mut unassigned = Unassigned::new();
    // An error in a rule is the same for all cgroups that match it, and is found only once.
    let mut wrong: Vec<(AssignRule, String)> = Vec::new();
    for cgroup in shared.with(|state| state.sessions.unowned(&state.datapath)) {
        let unit = cgroup.unit();
        let Some(rule) = shared.with(|state| state.config.rule_for(&unit)) else {
            continue;
        };
        if let Some((_, why)) = wrong.iter().find(|(known, _)| *known == rule) {
            unassigned.insert(unit, why.clone());
            continue;
        }
        if let Err(refusal) = give(shared, &cgroup, rule.clone()).await
            && cgroup.stands()
        {
            let why = refusal.failure.to_string();
            unassigned.insert(unit, why.clone());
            wrong.push((rule, why));
        }
    }
    shared.with(|state| state.sessions.note_unassigned(unassigned));
}

/// Gives a cgroup the policy that the settings have for it, if they have one.
///
/// # Errors
///
/// If that fails; then the cgroup is as it was.
pub(crate) async fn assign(shared: &Shared, cgroup: &Cgroup) -> Result<(), CallError> {
    match shared.with(|state| state.config.rule_for(&cgroup.unit())) {
        Some(rule) => give(shared, cgroup, rule).await,
        None => Ok(()),
    }
}

/// The service manager is not asked: it may take long, and its answer is no reason to wait. A process that PAM has moved out of
/// the cgroup is not in the session, whatever policy the cgroup has; `units` checks for that.
async fn give(shared: &Shared, cgroup: &Cgroup, rule: AssignRule) -> Result<(), CallError> {
    // A unit that has a session already has it by these settings too, or was assigned before they were read.
    if shared.with(|state| state.sessions.of_cgroup(cgroup.id).is_some()) {
        return Ok(());
    }
    shared.with(|state| state.sessions.has_room())?;
    let owner = match rule.owner {
        // A remote account database takes its time.
        Some(owner) => in_background(move || uid_of(&owner)).await?,
        None => 0,
    };
    let wanted = WantedSession {
        name: cgroup.name(),
        is_name_given: false,
        owner,
        is_owner_named: false,
        command: Vec::new(),
        by: AssignedBy::Settings,
    };
    let policy = PolicyRef {
        name: Some(rule.policy),
        file: None,
        text: None,
    };
    make(shared, cgroup.clone(), policy, wanted).await.map(drop)
}

impl Sessions {
    fn has_room(&self) -> Result<(), CallError> {
        let all = self.iter();
        let of_settings = all.filter(|one| one.about.assigned == Some(AssignedBy::Settings));
        if of_settings.count() < MOST {
            Ok(())
        } else {
            Err(CallError::refused(
                "no more sessions by [[assign]]",
                format!("there are {MOST}, those that ended in the last minute among them"),
                "stop some, or wait",
            ))
        }
    }

    fn note_unassigned(&mut self, unassigned: Unassigned) {
        for (unit, error) in &unassigned {
            if self.unassigned.get(unit) != Some(error) {
                tracing::error!(unit, error, "has no policy");
            }
        }
        self.unassigned = unassigned;
    }

    /// Units and containers that may send packets past every hook. `guard run` removes those rights by itself.
    pub(crate) fn packet_warnings(&self, kernel: &Datapath) -> Vec<String> {
        let live = self.all_live();
        let others = live.filter(|one| !one.cgroup.is_ours());
        let may = others.filter_map(|one| {
            let processes = kernel.processes(&one.cgroup).into_iter();
            let rights: BTreeSet<_> = processes.flat_map(packet_rights).collect();
            packet_warning(&one.about.name, &rights)
        });
        may.collect()
    }

    /// Cgroups without a policy of their own, and why.
    pub(crate) fn unassigned_warnings(
        &self,
        kernel: &Datapath,
        default: Option<PolicyId>,
    ) -> Vec<String> {
        let mut unowned = self.unowned(kernel).into_iter();
        let is_used = |cgroup: &Cgroup| kernel.has_processes(&cgroup.path);
        let named = unowned.by_ref().filter(is_used).take(MOST_NAMED);
        let mut warnings: Vec<_> = named
            .map(|cgroup| self.unassigned_warning(&cgroup, default))
            .collect();
        let more = unowned.len();
        if more > 0 {
            warnings.push(format!("{more} more cgroups in the slice have no policy"));
        }
        warnings
    }

    fn unassigned_warning(&self, cgroup: &Cgroup, default: Option<PolicyId>) -> String {
        let unit = cgroup.unit();
        let judged = match default {
            Some(_) => "it is judged by default_policy",
            None => "it is denied everything",
        };
        match self.unassigned.get(&unit) {
            Some(error) => format!("{unit} has no policy, so {judged}: {error}"),
            None => {
                format!("{unit} has no policy, so {judged}: sudo guard assign --policy NAME {unit}")
            }
        }
    }
}

/// What may get past every hook, by which rights, and how it loses them.
fn packet_warning(name: &str, rights: &BTreeSet<PacketRight>) -> Option<String> {
    let by = |right| rights.contains(&right);
    let (does, drop) = match (by(PacketRight::Raw), by(PacketRight::Admin)) {
        (false, false) => return None,
        (true, false) => (
            "has CAP_NET_RAW, and may send packets that nothing judges",
            "NET_RAW",
        ),
        (true, true) => (
            "has CAP_NET_RAW and CAP_NET_ADMIN, and may send packets that nothing judges",
            "NET_RAW,NET_ADMIN",
        ),
        (false, true) => (
            "has CAP_NET_ADMIN, and may send packets elsewhere once they are judged",
            "NET_ADMIN",
        ),
    };
    Some(format!(
        "{name} {does}: in a unit, CapabilityBoundingSet= without it; for a container, --cap-drop={drop}"
    ))
}
