//! Units and containers that come up in the guard's root and say nothing of a policy: the settings have one for them.
//!
//! Until they are assigned, and where that fails, they are judged as what no session owns.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::{
    assign::{By, Cgroup, Wanted, make},
    failure::Refusal,
    ids,
    shared::Shared,
    state::State,
    systemd::{self, uid_of},
};
use crate::{proto::PolicyRef, sys::process::may_send_packets};

/// What went wrong is tried again after this long, if nothing happens before.
const AGAIN: Duration = Duration::from_secs(60);

/// Why, by the unit's name.
pub type Unassigned = BTreeMap<String, String>;

/// Gives those that come their policy, for ever; first those that came while no guardd ran.
pub async fn follow(shared: Rc<Shared>) {
    loop {
        settle(&shared).await;
        describe(&shared).await;
        // That it took the longest is as good as a call.
        let _ = tokio::time::timeout(AGAIN, shared.arrivals.notified()).await;
    }
}

async fn settle(shared: &Shared) {
    let mut unassigned = Unassigned::new();
    for cgroup in shared.with(|state| state.unowned()) {
        if let Err(refusal) = assign(shared, &cgroup).await {
            unassigned.insert(cgroup.unit(), refusal.failure.to_string());
        }
    }
    shared.with(|state| state.note_unassigned(unassigned));
}

/// Gives a cgroup the policy that the settings have for it, if they have one.
///
/// # Errors
///
/// Where that is bad; then the cgroup is as it was.
pub async fn assign(shared: &Shared, cgroup: &Cgroup) -> Result<(), Refusal> {
    let unit = cgroup.unit();
    let rule = shared.with(|state| {
        let mut rules = state.config.assign.iter();
        let rule = rules.find(|rule| rule.unit.matches(&unit));
        // Whoever was here before has it from these settings too, or decided before they were.
        rule.filter(|_| state.sessions.of_cgroup(cgroup.id).is_none())
            .cloned()
    });
    let Some(rule) = rule else { return Ok(()) };
    let wanted = Wanted {
        name: cgroup.name(),
        owner: rule.owner.as_deref().map_or(Ok(0), uid_of)?,
        command: Vec::new(),
        by: By::Settings,
    };
    let policy = PolicyRef {
        name: Some(rule.policy),
        file: None,
        text: None,
    };
    make(shared, cgroup.clone(), policy, wanted).await.map(drop)
}

/// Finds out what those run that were in a hurry, or whose file was lost.
async fn describe(shared: &Shared) {
    if !systemd::is_there() {
        return;
    }
    let nameless = shared.with(|state| {
        let live = state.sessions.all_live();
        let nameless = live.filter(|one| !one.cgroup.is_ours() && one.about.command.is_empty());
        let nameless = nameless.map(|one| {
            let (path, id) = (one.cgroup.path.clone(), one.cgroup.cgroup_id);
            (one.cgroup.id, Cgroup { path, id })
        });
        nameless.collect::<Vec<_>>()
    });
    for (id, cgroup) in nameless {
        let Ok(unit) = systemd::ask(&cgroup.unit()).await else {
            continue;
        };
        shared.with(|state| {
            if let Some(session) = state.sessions.get_mut(id).filter(|one| one.is_live()) {
                session.about.command = vec![unit.description];
                state
                    .shelves
                    .sessions
                    .keep(&ids::session(id), &session.about);
            }
        });
    }
}

impl State {
    fn note_unassigned(&mut self, unassigned: Unassigned) {
        for (unit, error) in &unassigned {
            if self.unassigned.get(unit) != Some(error) {
                tracing::error!(unit, error, "has no policy");
            }
        }
        self.unassigned = unassigned;
    }

    /// Which units and containers may put packets on a network past every hook. `guard run` takes that away by itself.
    pub fn packet_warnings(&self) -> Vec<String> {
        let live = self.sessions.all_live();
        let others = live.filter(|one| !one.cgroup.is_ours());
        let may = others.filter(|one| {
            let processes = self.datapath.processes(&one.cgroup);
            processes.into_iter().any(may_send_packets)
        });
        let warnings = may.map(|one| {
            format!(
                "{} has CAP_NET_RAW, and may send packets that nothing judges: in a unit, CapabilityBoundingSet= \
                 without it; for a container, --cap-drop=NET_RAW",
                one.about.name
            )
        });
        warnings.collect()
    }

    /// What runs without a policy of its own, and why.
    pub fn unassigned_warnings(&self) -> Vec<String> {
        let mut unowned = self.unowned();
        unowned.retain(|cgroup| self.datapath.has_processes(&cgroup.path));
        let warnings = unowned.iter().map(|cgroup| {
            let unit = cgroup.unit();
            let judged = match self.default_slot {
                Some(_) => "it is judged by default_policy",
                None => "it is denied everything",
            };
            match self.unassigned.get(&unit) {
                Some(error) => format!("{unit} has no policy, so {judged}: {error}"),
                None => format!(
                    "{unit} has no policy, so {judged}: sudo guard assign --policy NAME {unit}"
                ),
            }
        });
        warnings.collect()
    }
}
