//! The directory of pins.
//!
//! A guard is made unseen in `new` and becomes `live` by one rename, so that what is live is complete.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use aya::programs::links::FdLink;
use guard_sys::bpf;

use super::{DatapathError, Result, cgroup};

/// The usual mount point of bpffs.
const BPFFS: &str = "/sys/fs/bpf";

/// The source of guard's own bpffs mount in /proc/mounts.
const SOURCE: &str = "guard";

pub(super) fn live(pin_dir: &Path) -> PathBuf {
    pin_dir.join("live")
}

/// The pins that are being removed.
fn old(pin_dir: &Path) -> PathBuf {
    pin_dir.join("old")
}

pub(super) fn new(pin_dir: &Path) -> PathBuf {
    pin_dir.join("new")
}

/// Makes the pin directory, and mounts a bpffs if there is none. True if there was no directory.
pub(super) fn ensure(pin_dir: &Path) -> Result<bool> {
    let below_bpffs = pin_dir.starts_with(BPFFS);
    if below_bpffs {
        mount(Path::new(BPFFS))?;
    }
    let is_new = !pin_dir.exists();
    fs::create_dir_all(pin_dir).map_err(DatapathError::file("create", pin_dir))?;
    is_roots(pin_dir)?;
    let mounted = if below_bpffs { Ok(()) } else { mount(pin_dir) };
    mounted.and_then(|()| restrict(pin_dir)).inspect_err(|_| {
        if is_new {
            let _ = remove_dir(pin_dir);
        }
    })?;
    Ok(is_new)
}

fn mount(on: &Path) -> Result<()> {
    if bpf::is_bpffs(on).map_err(DatapathError::file("look at", on))? {
        return Ok(());
    }
    bpf::mount_bpffs(on, SOURCE).map_err(DatapathError::file("mount a bpffs on", on))
}

/// A bpffs that was mounted without a mode lets everybody make directories in it: if another user made the one for the pins, or
/// a link, all that guardd puts there is that user's.
fn is_roots(dir: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(dir).map_err(DatapathError::file("look at", dir))?;
    if meta.is_dir() && meta.uid() == 0 {
        Ok(())
    } else {
        Err(DatapathError::NotRootsPins { path: dir.into() })
    }
}

/// A process that can open a pin can change what is enforced.
fn restrict(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(DatapathError::file("restrict", dir))
}

/// Locks the pins: the holder is the only guardd there.
pub(super) fn lock(pin_dir: &Path) -> Result<OwnedFd> {
    cgroup::taken(bpf::lock_dir(pin_dir), pin_dir)
}

/// Makes an empty `new`; what an earlier guardd left in it has never enforced anything.
pub(super) fn begin(pin_dir: &Path) -> Result<PathBuf> {
    let dir = new(pin_dir);
    remove(&dir)?;
    fs::create_dir(&dir).map_err(DatapathError::file("create", &dir))?;
    Ok(dir)
}

/// The one step from nothing to everything.
pub(super) fn commit(pin_dir: &Path) -> Result<()> {
    let (from, to) = (new(pin_dir), live(pin_dir));
    fs::rename(&from, &to).map_err(DatapathError::file("rename to `live`", from))
}

/// Removes what is live: if guardd is killed meanwhile, it leaves something to clear away, not half a guard.
pub(super) fn discard(pin_dir: &Path) -> Result<()> {
    clear_away(pin_dir)?;
    let live = live(pin_dir);
    match fs::rename(&live, old(pin_dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(DatapathError::file("rename to `old`", live)(e)),
        Ok(()) => remove(&old(pin_dir)),
    }
}

/// Removes what a guardd left that was killed while it made or removed a guard.
pub(super) fn clear_away(pin_dir: &Path) -> Result<()> {
    for (dir, what) in [(old(pin_dir), "taking down"), (new(pin_dir), "attaching")] {
        if dir.exists() {
            remove(&dir)?;
            tracing::info!(
                pins = %dir.display(),
                "an earlier guardd was killed while {what}: what it left is removed"
            );
        }
    }
    Ok(())
}

/// A directory that exists while the cgroup root is being made, until the root has its mark.
pub(super) fn making_root(pin_dir: &Path) -> PathBuf {
    pin_dir.join("making-root")
}

/// Removes a directory of pins; links first, so that no program runs without its maps.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(DatapathError::file("read", dir))?,
    };
    let mut pins = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(DatapathError::file("read", dir))?;
    pins.sort_by_key(|pin| !is_link(pin));
    for pin in pins {
        fs::remove_file(&pin).map_err(DatapathError::file("remove", &pin))?;
    }
    fs::remove_dir(dir).map_err(DatapathError::file("remove", dir))
}

pub(super) fn link(dir: &Path, hook: &str) -> PathBuf {
    dir.join(format!("link_{hook}"))
}

/// Pins a link in place of another one, if there is one: that goes after this is pinned, so that both exist for a moment.
///
/// # Errors
///
/// The system's; then the other one is as it was.
pub(super) fn replace(link: &OwnedFd, pin: &Path) -> Result<()> {
    let beside = beside(pin);
    bpf::pin(link, &beside).map_err(DatapathError::file("pin", &beside))?;
    fs::rename(&beside, pin).map_err(DatapathError::file("replace", pin))
}

/// The same of one that aya made.
pub(super) fn replace_link(link: FdLink, pin: &Path) -> Result<()> {
    let beside = beside(pin);
    let pinned = link.pin(&beside);
    pinned.map_err(DatapathError::ebpf(format!("pin {}", beside.display())))?;
    fs::rename(&beside, pin).map_err(DatapathError::file("replace", pin))
}

/// Removes what a guardd left that was killed in [`replace`]: it would stay attached.
pub(super) fn clear_beside(pin: &Path) {
    let _ = fs::remove_file(beside(pin));
}

/// Removes a link, if it exists.
pub(super) fn take_away(pin: &Path) {
    clear_beside(pin);
    let _ = fs::remove_file(pin);
}

/// Without dots, which a bpffs allows in no name.
fn beside(pin: &Path) -> PathBuf {
    PathBuf::from(format!("{}_new", pin.display()))
}

pub(super) fn map(dir: &Path, name: &str) -> PathBuf {
    dir.join(name.to_lowercase())
}

/// The links that are pinned in `dir`.
pub(super) fn links(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(DatapathError::file("read", dir))?;
    let pins = entries.filter_map(io::Result::ok).map(|entry| entry.path());
    Ok(pins.filter(|pin| is_link(pin)).collect())
}

fn is_link(pin: &Path) -> bool {
    pin.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("link_"))
}

/// Removes the pin directory, and the bpffs on it if it is guard's own.
pub(super) fn remove_dir(pin_dir: &Path) -> Result<()> {
    if !pin_dir.starts_with(BPFFS) && bpf::is_bpffs(pin_dir).unwrap_or(false) && is_ours(pin_dir)? {
        rustix::mount::unmount(pin_dir, rustix::mount::UnmountFlags::empty())
            .map_err(|e| DatapathError::file("unmount", pin_dir)(e.into()))?;
    }
    match fs::remove_dir(pin_dir) {
        // Another program keeps something there.
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(DatapathError::file("remove", pin_dir)),
    }
}

fn is_ours(mount: &Path) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(DatapathError::file("read", "/proc/self/mounts"))?;
    let ours = format!("{SOURCE} {} bpf ", mount.display());
    Ok(mounts.lines().any(|line| line.starts_with(&ours)))
}
