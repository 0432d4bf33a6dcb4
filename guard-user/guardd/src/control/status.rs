//! What is enforced, read back from the kernel each time.

use guard_datapath::{Datapath, DatapathError};
use guard_proto::{
    HookStatus, Presence, Status,
    status::{AuditHead, AuditStatus},
};
use guard_sys::release::release;

use crate::{
    control::auth::Approver,
    fleet::{heard::HeardAt, offering::look_again},
    policies::Policies,
    proxy::worker::ProxyWorker,
    sessions::{Session, Sessions, slice},
    shared::Shared,
    state::State,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a courier may tell others of this machine, as it is now. Callers that come together are told the same.
pub(crate) async fn presence(shared: &Shared) -> Presence {
    let ask = async {
        look_again(shared).await;
        shared.with(|state| state.presence())
    };
    shared.presence.get(ask).await
}

/// guardd's status, as it is now. Callers that come together are told the same: it is read back from the kernel, and while
/// somebody asks for it all the time, others are heard.
pub(crate) async fn status(shared: &Shared) -> Status {
    shared.doctor.want();
    let ask = async {
        look_again(shared).await;
        shared.with(|state| state.status())
    };
    shared.status.get(ask).await
}

impl Sessions {
    /// A status as that user is shown it: other users' sessions, and the processes in them, are left out.
    #[must_use]
    pub(crate) fn status_for(&self, who: Approver, mut status: Status) -> Status {
        let may = |owner| who.answers_for(owner);
        let is_its = |session: &str| self.called(session, may).is_ok();
        status.unserved_networks.retain(|one| is_its(&one.session));
        status
    }
}

impl State {
    /// guardd's status. Nothing in it about enforcement is from memory.
    #[must_use]
    pub(crate) fn status(&self) -> Status {
        let (hooks, problem) = read_back(&self.datapath);
        // What `guard doctor` tries is nothing that happened to anybody's sessions.
        let of_trial = |id| {
            self.sessions
                .get(id)
                .is_some_and(|one| self.policies.is_trial(one))
        };
        let stats = self.datapath.stats().unwrap_or_default().into_iter();
        let stats: Vec<_> = stats.filter(|(id, _)| !of_trial(*id)).collect();
        Status {
            enforcing: problem.is_none(),
            problem,
            warnings: self.warnings(),
            version: VERSION.to_owned(),
            kernel: release(),
            cgroup_root: self.machine.cgroup_root().to_owned(),
            policy_dirs: self.policies.library().dirs().to_vec(),
            session_policy: Some(self.config.session_policy().to_owned()),
            policies: self.policies.statuses(|slot| {
                let under = there(&self.sessions, &self.policies);
                under.filter(|one| one.chain.contains(&slot)).count()
            }),
            sessions: there(&self.sessions, &self.policies).count(),
            requests: self.requests.pending().len(),
            holes: self
                .holes
                .count_open(&self.datapath.holes().unwrap_or_default()),
            refused: stats.iter().map(|(_, stats)| stats.denied).sum(),
            hooks,
            events_lost: stats.iter().map(|(_, stats)| stats.lost).sum(),
            events_summed_up: stats.iter().map(|(_, stats)| stats.summed_up).sum(),
            names_summed_up: self.resolver.all_names_summed_up(),
            unserved_networks: self.unserved_networks(),
            audit: Some(AuditStatus {
                path: self.recorder.audit().path().to_owned(),
                number: self.recorder.audit().head().number,
                hash: self.recorder.audit().head().hash.to_string(),
            }),
            fleet: self.fleet.shown(),
            fleet_link: self.fleet.link().shown(&HeardAt::now()),
            since: Some(self.recorder.began()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let (kernel, default) = (&self.datapath, self.policies.default_slot());
        let problem = self.recorder.audit().problem();
        (problem.map(str::to_owned).into_iter())
            .chain(slice::without_unit(self.machine.cgroup_root()))
            .chain(self.policies.unusable_warnings())
            .chain(self.config.warning().map(str::to_owned))
            .chain(self.sessions.astray_warnings())
            .chain(self.sessions.unassigned_warnings(kernel, default))
            .chain(self.sessions.packet_warnings(kernel))
            .chain(self.worker_warning::<ProxyWorker>())
            .chain(self.sessions.named_warning(kernel))
            .chain(self.fleet.warning())
            .chain(self.fleet.link().warning(&HeardAt::now()))
            .chain(self.doctor_warning())
            .collect()
    }

    /// What a courier may tell others of this machine. Nothing in it about enforcement is from memory.
    fn presence(&self) -> Presence {
        let (_, problem) = read_back(&self.datapath);
        let head = self.recorder.audit().head();
        Presence {
            machine: self.signed_answers.machine().to_owned(),
            version: VERSION.to_owned(),
            enforcing: problem.is_none(),
            problem,
            sessions: there(&self.sessions, &self.policies).count(),
            requests: self.requests.pending().len(),
            holes: self
                .holes
                .count_open(&self.datapath.holes().unwrap_or_default()),
            audit: AuditHead {
                number: head.number,
                hash: head.hash.to_string(),
            },
            fleet: self.fleet.shown(),
        }
    }
}

/// The live sessions, without those that `guard doctor` makes: they are nobody's.
fn there<'s>(sessions: &'s Sessions, policies: &'s Policies) -> impl Iterator<Item = &'s Session> {
    let live = sessions.all_live();
    live.filter(move |one| !policies.is_trial(one))
}

/// The hooks as the kernel has them, and why they do not enforce, where they do not.
fn read_back(datapath: &Datapath) -> (Vec<HookStatus>, Option<String>) {
    let error = match datapath.read_back() {
        Ok(hooks) => return (hooks, None),
        Err(error) => error,
    };
    let problem = format!("{error}; {}", error.fix());
    match error {
        DatapathError::NotEnforced { hooks, .. } => (hooks, Some(problem)),
        _ => (Vec::new(), Some(problem)),
    }
}
