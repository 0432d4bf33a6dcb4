//! What the service manager has to say beside: what units run, and which of the slice's have left it.
//!
//! No unit waits for that to be its session, and where the manager hangs this hangs alone.

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

/// How often it is asked, at least: a unit may be told to be in the slice while it runs elsewhere.
const LOOK: Duration = Duration::from_secs(60);
/// A unit that comes up is where it will be by then, its main process too.
const SETTLE: Duration = Duration::from_secs(2);

/// Asks for ever.
pub async fn follow(shared: Rc<Shared>) {
    loop {
        // That it took the longest is as good as a call.
        let _ = timeout(LOOK, shared.settled.notified()).await;
        if !systemd::is_there() {
            continue;
        }
        // What is left is asked the next time.
        let _ = timeout(systemd::PATIENCE, describe(&shared)).await;
        sleep(SETTLE).await;
        look(&shared).await;
    }
}

/// Finds out what those run that were in a hurry, or whose file was lost.
async fn describe(shared: &Shared) {
    for (id, cgroup) in shared.with(|state| state.sessions.undescribed()) {
        let path = shared.with(|state| state.machine.kernel_path(&cgroup.path));
        let Ok(unit) = systemd::ask(&cgroup.unit()).await else {
            continue;
        };
        // Else another one's: the manager does not know it.
        let is_its = path.is_some_and(|path| unit.is_at(&path));
        let description = is_its.then_some(unit.description);
        let command = description.unwrap_or_else(|| cgroup.unit());
        shared.with(|state| state.sessions.describe(id, command));
    }
}

/// Looks which units of the slice run elsewhere.
async fn look(shared: &Shared) {
    let places = shared.with(|state| {
        let root = state.machine.cgroup_root();
        Some((slice::at(root)?, state.machine.kernel_path(root)?))
    });
    let Some((slice, root)) = places else { return };
    match astray(slice, &root).await {
        Ok(astray) => shared.with(|state| state.sessions.note_astray(astray)),
        // What was seen last is said on.
        Err(error) => tracing::warn!(error, "cannot tell which units of the slice have left it"),
    }
}

/// The services that belong in the slice and whose main process is elsewhere, and stays there: one that was just started
/// may be on its way.
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
        // One that has ended is nowhere.
        path.is_ok_and(|path| !path.starts_with(root))
    };
    let mains = systemd::mains_of(slice).await?.into_iter();
    Ok(mains.filter(is_elsewhere).collect())
}

impl Sessions {
    /// The sessions of units of which it is not known yet what they run.
    fn undescribed(&self) -> Vec<(SessionId, Cgroup)> {
        let live = self.all_live();
        let units = live.filter(|one| !one.cgroup.is_ours() && one.about.command.is_empty());
        let units = units.map(|one| {
            let (path, id) = (one.cgroup.path.clone(), one.cgroup.cgroup_id);
            (one.cgroup.id, Cgroup { path, id })
        });
        // What no unit can be called, a container perhaps, nobody can describe.
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

    /// The units that their slice does not guard, and what to do about it.
    #[must_use]
    pub fn astray_warnings(&self) -> Vec<String> {
        let warnings = self.astray.iter().map(|Main { unit, pid }| {
            format!(
                "{unit} belongs in the slice, but its main process {pid} runs elsewhere, guarded by nothing: leave \
                 PAMName= out of the unit, and systemctl restart {unit}"
            )
        });
        warnings.collect()
    }
}
