//! What is enforced, read back from the kernel each time.

use guard_datapath::DatapathError;
use guard_proto::{Status, status::AuditStatus};
use guard_sys::release::release;

use crate::{sessions::slice, state::State};

impl State {
    /// guardd's status. Nothing in it about enforcement is from memory.
    #[must_use]
    pub fn status(&self) -> Status {
        let (hooks, problem) = match self.datapath.read_back() {
            Ok(hooks) => (hooks, None),
            Err(error) => {
                let problem = format!("{error}; {}", error.fix());
                match error {
                    DatapathError::NotEnforced { hooks, .. } => (hooks, Some(problem)),
                    _ => (Vec::new(), Some(problem)),
                }
            }
        };
        // What `guard doctor` tries is nothing that happened to anybody's sessions.
        let of_trial = |id| self.sessions.get(id).is_some_and(|one| self.is_trial(one));
        let live = move || {
            self.sessions
                .all_live()
                .filter(move |one| !self.is_trial(one))
        };
        let stats = self.datapath.stats().unwrap_or_default().into_iter();
        let stats: Vec<_> = stats.filter(|(id, _)| !of_trial(*id)).collect();
        let (kernel, default) = (&self.datapath, self.policies.default_slot());
        let unassigned = self.sessions.unassigned_warnings(kernel, default);
        Status {
            enforcing: problem.is_none(),
            problem,
            warnings: (self
                .recorder
                .audit()
                .problem()
                .map(str::to_owned)
                .into_iter())
            .chain(slice::without_unit(self.machine.cgroup_root()))
            .chain(self.policies.unusable_warnings())
            .chain(self.recorder.metrics_problem().map(str::to_owned))
            .chain(self.sessions.astray_warnings())
            .chain(unassigned)
            .chain(self.sessions.packet_warnings(&self.datapath))
            .chain(self.proxy_warning())
            .chain(self.doctor_warning())
            .collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: release(),
            cgroup_root: self.machine.cgroup_root().to_owned(),
            policy_dirs: self.policies.library().dirs().to_vec(),
            session_policy: Some(self.config.session_policy().to_owned()),
            policies: self
                .policies
                .statuses(|slot| live().filter(|one| one.chain.contains(&slot)).count()),
            sessions: live().count(),
            requests: self.requests.pending().len(),
            holes: self.datapath.holes().map_or(0, |mut holes| {
                holes.dedup_by_key(|hole| hole.entry.id);
                holes.len()
            }) + self.holes.judged_here().count(),
            refused: stats.iter().map(|(_, stats)| stats.denied).sum(),
            hooks,
            events_lost: stats.iter().map(|(_, stats)| stats.lost).sum(),
            events_summed_up: stats.iter().map(|(_, stats)| stats.summed_up).sum(),
            audit: Some(AuditStatus {
                path: self.recorder.audit().path().to_owned(),
                number: self.recorder.audit().head().number,
                hash: self.recorder.audit().head().hash.to_string(),
            }),
        }
    }
}
