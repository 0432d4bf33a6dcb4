//! Teardown: the only way to remove the guard.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use guard_common::meta;
use guard_sys::cgroup2;

use super::{ChildCgroup, DatapathError, Places, Result, cgroup, maps::Maps, pins};

/// How long killed processes may take to end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TornDown {
    /// Cgroups of sessions whose processes were ended.
    pub ended: Vec<PathBuf>,
    /// Whether there was anything at all.
    pub anything: bool,
}

/// Ends sessions if `force` is set, then removes the programs, the maps and the cgroups that guardd made, in this order:
/// nothing runs unguarded in between. `before` is called when nothing is left to guard and all is still guarded.
///
/// # Errors
///
/// [`DatapathError::SessionsLive`] without `force`; [`DatapathError::Busy`] while a guardd runs.
pub fn teardown(
    places: &Places,
    force: bool,
    before: impl FnOnce() -> Result<()>,
) -> Result<TornDown> {
    let mut done = TornDown::default();
    let pins_there = places.pin_dir.exists();
    let _pin_lock = pins_there
        .then(|| pins::lock(&places.pin_dir))
        .transpose()?;
    let made_root = made_root(places);
    if let Ok(root) = cgroup::Root::open(&places.cgroup_root) {
        let _root_lock = root.lock()?;
        done.anything = true;
        done.ended = end_sessions(&root, force)?;
    }
    before()?;
    if pins_there {
        done.anything = true;
        pins::discard(&places.pin_dir)?;
        let _ = fs::remove_dir(pins::making_root(&places.pin_dir));
    }
    if let Ok(root) = cgroup::Root::open(&places.cgroup_root) {
        root.let_go()?;
    }
    // A root into which others, such as the service manager, have put cgroups stays.
    let root_is_gone = made_root && cgroup::remove_alone(&places.cgroup_root)?;
    if !root_is_gone && places.cgroup_root.exists() {
        cgroup::unmark(&places.cgroup_root)?;
    }
    drop(_pin_lock);
    if pins_there {
        pins::remove_dir(&places.pin_dir)?;
    }
    Ok(done)
}

/// Whether an earlier guardd made the cgroup root: by the root's own mark, even if pins were removed already, or, for a guardd
/// that set no mark, by the map. If that cannot be read, the root stays.
fn made_root(places: &Places) -> bool {
    let told = || {
        Maps::open(&pins::live(&places.pin_dir))
            .and_then(|maps| maps.get_meta(meta::MADE_CGROUP_ROOT))
            .is_ok_and(|made| made == 1)
    };
    let half_made = pins::making_root(&places.pin_dir).exists();
    half_made || cgroup2::is_made_by_guard(&places.cgroup_root) || told()
}

fn end_sessions(root: &cgroup::Root, force: bool) -> Result<Vec<PathBuf>> {
    let mut live = Vec::new();
    for ChildCgroup { path, .. } in root.children()? {
        if cgroup::is_populated(&path)? {
            live.push(path);
        } else {
            remove_ours(&path)?;
        }
    }
    if live.is_empty() {
        return Ok(live);
    }
    if !force {
        let sessions = live.iter().filter_map(|path| path.file_name());
        return Err(DatapathError::SessionsLive {
            root: root.path().into(),
            sessions: sessions
                .map(|name| name.to_string_lossy())
                .collect::<Vec<_>>()
                .join(", "),
        });
    }
    for path in &live {
        cgroup::kill(path)?;
    }
    for path in &live {
        wait_until_empty(path)?;
        remove_ours(path)?;
    }
    Ok(live)
}

/// Others remove the cgroups that they made.
fn remove_ours(path: &Path) -> Result<()> {
    if cgroup::is_session_name(path) {
        cgroup::remove(path)
    } else {
        Ok(())
    }
}

fn wait_until_empty(path: &Path) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    while cgroup::is_populated(path)? {
        if Instant::now() > deadline {
            return Err(DatapathError::SessionsLive {
                root: path.into(),
                sessions: "killed, but still there".into(),
            });
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
