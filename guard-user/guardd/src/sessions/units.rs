//! What the service manager is asked beside: what units run, and which units of the slice have left it.
//!
//! No unit's session waits for this, and a manager that hangs delays nothing else.

use std::{collections::BTreeSet, path::Path, rc::Rc, time::Duration};

use guard_common::SessionId;
use guard_sys::cgroup2;
use tokio::time::{sleep, timeout};

use crate::{
    sessions::{
        Sessions,
        assign::Cgroup,
        create::shortened,
        slice,
        systemd::{self, Main},
    },
    shared::Shared,
};

/// The longest interval between two checks: a unit may be added to the slice while it runs elsewhere.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long after it starts a unit, with its main process, is where it will stay.
const SETTLE: Duration = Duration::from_secs(2);

/// Asks the manager, for ever.
pub(crate) async fn follow(shared: Rc<Shared>) {
    loop {
        // A timeout is as good as a call.
        let _ = timeout(INTERVAL, shared.settled.notified()).await;
        if !systemd::is_there() {
            continue;
        }
        // The rest is asked the next time.
        let _ = timeout(systemd::TIMEOUT, describe(&shared)).await;
        sleep(SETTLE).await;
        check(&shared).await;
    }
}

/// Asks for the descriptions of units that were assigned without one, or whose file was lost.
async fn describe(shared: &Shared) {
    for (id, cgroup) in shared.with(|state| state.sessions.undescribed()) {
        let path = shared.with(|state| state.machine.kernel_path(&cgroup.path));
        let Ok(unit) = systemd::ask(&cgroup.unit()).await else {
            continue;
        };
        // Else it is another cgroup's: the manager does not know it.
        let is_its = path.is_some_and(|path| unit.is_at(&path));
        let description = is_its.then_some(unit.description);
        let command = description.unwrap_or_else(|| cgroup.unit());
        shared.with(|state| state.sessions.describe(id, command));
    }
}

/// Checks which units of the slice run elsewhere.
async fn check(shared: &Shared) {
    let places = shared.with(|state| {
        let root = state.machine.cgroup_root();
        Some((slice::at(root)?, state.machine.kernel_path(root)?))
    });
    let Some((slice, root)) = places else { return };
    match astray(slice, &root).await {
        Ok(astray) => shared.with(|state| state.sessions.note_astray(astray)),
        // The last result stays.
        Err(error) => tracing::warn!(error, "cannot tell which units of the slice have left it"),
    }
}

/// The services of the slice whose main process is elsewhere, and stays there: that of one just started may still be moved.
async fn astray(slice: &str, root: &Path) -> Result<BTreeSet<Main>, String> {
    let mut astray = elsewhere(slice, root).await?;
    if !astray.is_empty() {
        sleep(SETTLE).await;
        let still = elsewhere(slice, root).await?;
        astray.retain(|one| still.contains(one));
    }
    Ok(astray)
}

async fn elsewhere(slice: &str, root: &Path) -> Result<BTreeSet<Main>, String> {
    let is_elsewhere = |main: &Main| {
        let path = cgroup2::path_of(main.pid);
        // A process that has ended is nowhere.
        path.is_ok_and(|path| !path.starts_with(root))
    };
    let mains = systemd::mains_of(slice).await?.into_iter();
    Ok(mains.filter(is_elsewhere).collect())
}

impl Sessions {
    /// The sessions of units whose description is not known yet.
    fn undescribed(&self) -> Vec<(SessionId, Cgroup)> {
        let live = self.all_live();
        let units = live.filter(|one| !one.cgroup.is_ours() && one.about.command.is_empty());
        let units = units.map(|one| {
            let (path, id) = (one.cgroup.path.clone(), one.cgroup.cgroup_id);
            (one.cgroup.id, Cgroup { path, id })
        });
        // A cgroup whose name no unit can have, perhaps a container's, has no description.
        let named = units.filter(|(_, cgroup)| systemd::is_unit_name(&cgroup.unit()));
        named.collect()
    }

    fn describe(&mut self, id: SessionId, command: String) {
        let Some(session) = self.get_mut(id).filter(|one| one.is_live()) else {
            return;
        };
        session.about.command = shortened(vec![command]);
        self.keep(id);
    }

    fn note_astray(&mut self, astray: BTreeSet<Main>) {
        for Main { unit, pid } in astray.difference(&self.astray) {
            tracing::error!(
                unit,
                pid,
                "belongs in the slice and runs elsewhere, unguarded"
            );
        }
        self.astray = astray;
    }

    /// The units that their slice does not guard, and what to do about each.
    #[must_use]
    pub(crate) fn astray_warnings(&self) -> Vec<String> {
        let warnings = self.astray.iter().map(|Main { unit, pid }| {
            format!(
                "{unit} belongs in the slice, but its main process {pid} runs elsewhere, guarded by nothing: leave \
                 PAMName= out of the unit, and systemctl restart {unit}"
            )
        });
        warnings.collect()
    }
}
