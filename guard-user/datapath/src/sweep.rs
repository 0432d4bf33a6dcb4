//! Removes leftovers: the kernel state of sessions that are gone, and of changes during which guardd was killed.

use std::{collections::HashSet, path::PathBuf};

use guard_common::{AttemptKey, BudgetId, HoleId, HoleList, Session, SessionId};

use super::{
    ChildCgroup, Datapath, DatapathError, Result, SessionCgroup, cgroup, hole_list,
    maps::{Maps, gone, read},
};

/// How much of each was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions whose cgroup is gone.
    pub sessions: usize,
    /// Cgroups that no session owns, without processes.
    pub cgroups: usize,
    /// Entries of maps that belong to no session and no hole.
    pub entries: usize,
}

impl Datapath {
    /// Removes entries of sessions whose cgroup is gone, cgroups of guardd's own that no session owns, and entries that belong
    /// to neither.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn sweep(&mut self) -> Result<Swept> {
        let cgroups = self.root.children()?;
        let standing: HashSet<u64> = cgroups.iter().map(|cgroup| cgroup.id).collect();
        let entries = self.maps.sessions()?;
        let (live, dead): (Vec<_>, Vec<_>) = (entries.into_iter())
            .partition(|(cgroup, _)| *cgroup == 0 || standing.contains(cgroup));
        for (cgroup_id, session) in &dead {
            self.close_all_holes(session.id)?;
            self.forget_session(&SessionCgroup {
                id: session.id,
                cgroup_id: *cgroup_id,
                path: PathBuf::new(),
            })?;
        }
        let owned: HashSet<u64> = live.iter().map(|(cgroup, _)| *cgroup).collect();
        let unowned = remove_unowned(&cgroups, &owned)?;
        let left = self.root.children()?;
        let standing: HashSet<u64> = left.iter().map(|cgroup| cgroup.id).collect();
        Ok(Swept {
            sessions: dead.len(),
            cgroups: unowned,
            entries: self.sweep_entries(&live)? + self.sweep_unix(&standing),
        })
    }

    /// Removes what is known of sessions, holes and budgets that are gone: a guardd that was killed may have forgotten a session by half.
    fn sweep_entries(&mut self, live: &[(u64, Session)]) -> Result<usize> {
        let live: HashSet<SessionId> = live.iter().map(|(_, session)| session.id).collect();
        let is_stray = |id: u32| id != 0 && !live.contains(&SessionId(id));
        let mut swept = 0;
        for session in self
            .maps
            .hole_owners()?
            .into_iter()
            .filter(|id| is_stray(*id))
        {
            self.close_all_holes(SessionId(session))?;
            swept += 1;
        }
        let holes = self.maps.hole_ids()?;
        let budgets = self
            .maps
            .budgets
            .keys()
            .collect::<std::result::Result<Vec<_>, _>>();
        let budgets = budgets.map_err(DatapathError::ebpf("list the map BUDGETS"))?;
        for hole in budgets
            .into_iter()
            .map(|budget| BudgetId(budget).hole())
            .filter(|hole| !holes.contains(hole))
        {
            self.forget_budget(hole)?;
            swept += 1;
        }
        for (id, _) in self.stats()?.into_iter().filter(|(id, _)| is_stray(id.0)) {
            gone(self.maps.stats.remove(&id.0))
                .map_err(DatapathError::ebpf("write the map STATS"))?;
            swept += 1;
        }
        swept += self.sweep_terms(is_stray)?;
        let attempts = self
            .maps
            .attempts
            .keys()
            .collect::<std::result::Result<Vec<_>, _>>();
        let attempts = attempts.map_err(DatapathError::ebpf("list the map ATTEMPTS"))?;
        for key in attempts {
            if is_stray(read::<AttemptKey, _>(&key).session.0) {
                gone(self.maps.attempts.remove(&key))
                    .map_err(DatapathError::ebpf("write the map ATTEMPTS"))?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Removes with whom such sessions share their reports, and for how long their connections are held.
    fn sweep_terms(&mut self, is_stray: impl Fn(u32) -> bool) -> Result<usize> {
        let mut swept = 0;
        for session in self.maps.nested()?.into_iter().filter(|id| is_stray(*id)) {
            self.maps.forget_outermost(SessionId(session))?;
            swept += 1;
        }
        for session in self.hold_terms()?.into_iter().filter(|id| is_stray(id.0)) {
            self.clear_hold_terms(session)?;
            swept += 1;
        }
        Ok(swept)
    }
}

impl Maps {
    /// The sessions that share their reports with an outermost one.
    fn nested(&self) -> Result<Vec<u32>> {
        let Some(map) = &self.outermost else {
            return Ok(Vec::new());
        };
        let nested = map.keys().collect::<std::result::Result<_, _>>();
        nested.map_err(DatapathError::ebpf("list the map OUTERMOST"))
    }

    /// The sessions that have a list of holes.
    fn hole_owners(&self) -> Result<Vec<u32>> {
        let owners = self.holes.keys().collect::<std::result::Result<_, _>>();
        owners.map_err(DatapathError::ebpf("list the map HOLES"))
    }

    /// Every hole in a list, ended or not.
    fn hole_ids(&self) -> Result<HashSet<HoleId>> {
        let mut ids = HashSet::new();
        for entry in self.holes.iter() {
            let (_, value) = entry.map_err(DatapathError::ebpf("list the map HOLES"))?;
            let list: HoleList = read(&value);
            ids.extend(hole_list::entries(&list).iter().map(|hole| hole.id));
        }
        Ok(ids)
    }
}

fn remove_unowned(cgroups: &[ChildCgroup], owned: &HashSet<u64>) -> Result<usize> {
    let mut removed = 0;
    for ChildCgroup { path, id } in cgroups {
        if cgroup::is_session_name(path) && !owned.contains(id) && !cgroup::is_populated(path)? {
            cgroup::remove(path)?;
            removed += 1;
        }
    }
    Ok(removed)
}
