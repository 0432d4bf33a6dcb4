//! The guard's root cgroup and those of sessions, as plain files.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use guard_sys::{bpf, cgroup2};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

use super::{DatapathError, Result};

/// An empty cgroup in the root. A cgroup with others below it cannot be removed, so nobody removes the root by mistake, and the
/// programs with it.
const KEEPER: &str = "guardd";

/// A cgroup right below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCgroup {
    /// Its directory.
    pub path: PathBuf,
    /// Its inode, the id by which programs know it.
    pub id: u64,
}

/// The root of the guarded cgroups. Root owns it, so that no agent can move out of it.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    dir: File,
    id: u64,
    level: u32,
}

impl Root {
    /// Makes it if it is absent; true if it did, or if a guardd was killed that had just done so. `making` is a directory that
    /// exists meanwhile: a root gets its mark only after it was made.
    pub(super) fn ensure(path: &Path, making: &Path) -> Result<(Self, bool)> {
        if !path.exists() {
            make_dir(making, 0o700)?;
        }
        let made = make_dir(path, 0o755).map(|made| made || making.exists());
        let root = made.and_then(|made| Ok((Self::open_marked(path, made)?, made)));
        if root.is_err() && making.exists() {
            let _ = remove(path);
        }
        let _ = fs::remove_dir(making);
        root
    }

    pub(super) fn open(path: &Path) -> Result<Self> {
        let dir = File::open(path).map_err(DatapathError::file("open", path))?;
        let meta = dir
            .metadata()
            .map_err(DatapathError::file("look at", path))?;
        let absent = || DatapathError::NoCgroup2 { path: path.into() };
        let hierarchy = cgroup2::Hierarchy::find().map_err(|_| absent())?;
        let level = cgroup2::level(&hierarchy.path(path).ok_or_else(absent)?);
        if meta.uid() != 0 {
            return Err(DatapathError::NotRoots { path: path.into() });
        }
        Ok(Self {
            path: path.into(),
            dir,
            id: meta.ino(),
            level,
        })
    }

    fn open_marked(path: &Path, made: bool) -> Result<Self> {
        let root = Self::open(path)?;
        // A root of an earlier guardd has the mark already.
        if made || !root.is_ours() {
            cgroup2::mark(path, made).map_err(DatapathError::file("mark", path))?;
        }
        root.keep()?;
        Ok(root)
    }

    /// Whether a guardd made it.
    pub(super) fn is_ours(&self) -> bool {
        cgroup2::is_made_by_guard(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Makes the [`KEEPER`] if it is absent.
    pub(super) fn keep(&self) -> Result<()> {
        match self.make(KEEPER) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(DatapathError::file("create", self.path.join(KEEPER))),
        }
    }

    /// Removes the [`KEEPER`] from a root that stays.
    pub(super) fn let_go(&self) -> Result<()> {
        remove(&self.path.join(KEEPER))
    }

    /// In this very root: if it is gone, not in another one at its path.
    fn make(&self, name: &str) -> io::Result<()> {
        Ok(mkdirat(&self.dir, name, Mode::from_raw_mode(0o755))?)
    }

    /// Whether it still exists: the kernel releases links to a cgroup a moment after it is removed.
    pub(super) fn stands(&self) -> bool {
        id(&self.path).is_ok_and(|id| id == self.id)
    }

    pub(super) fn dir(&self) -> &File {
        &self.dir
    }

    /// The level of a session's cgroup.
    pub(super) fn session_level(&self) -> u32 {
        self.level + 1
    }

    /// Locks the root: the holder is the only guardd there. Everybody may open the root's directory, and with that lock it.
    pub(super) fn lock(&self) -> Result<OwnedFd> {
        taken(bpf::lock_file(&self.path.join(KILL)), &self.path)
    }

    /// Makes a cgroup right below.
    pub(super) fn create(&self, name: &str) -> Result<ChildCgroup> {
        let path = self.path.join(name);
        self.make(name)
            .map_err(DatapathError::file("create", &path))?;
        let id = id(&path)?;
        Ok(ChildCgroup { path, id })
    }

    /// The cgroups right below, but for the [`KEEPER`].
    pub(super) fn children(&self) -> Result<Vec<ChildCgroup>> {
        let mut children = Vec::new();
        let others = subdirectories(&self.path)?.into_iter();
        for path in others.filter(|path| !path.ends_with(KEEPER)) {
            match cgroup2::id(&path) {
                Ok(id) => children.push(ChildCgroup { path, id }),
                // Others may remove theirs at any time.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(DatapathError::file("look at", path)(error)),
            }
        }
        Ok(children)
    }
}

/// Makes a directory; false if it exists.
fn make_dir(path: &Path, mode: u32) -> Result<bool> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(DatapathError::file("create", path)(e)),
    }
}

/// The result of a lock on `path`.
pub(super) fn taken(lock: io::Result<Option<OwnedFd>>, path: &Path) -> Result<OwnedFd> {
    lock.map_err(DatapathError::file("lock", path))?
        .ok_or_else(|| DatapathError::Busy { path: path.into() })
}

/// The id by which programs know a cgroup: its inode.
fn id(path: &Path) -> Result<u64> {
    cgroup2::id(path).map_err(DatapathError::file("look at", path))
}

/// Whether the cgroup with that id is the one at `path`. If that cannot be told, it is.
pub(super) fn is_at(path: &Path, cgroup_id: u64) -> bool {
    match cgroup2::id(path) {
        Ok(id) => id == cgroup_id,
        Err(error) => !is_gone(&error),
    }
}

/// Whether the name is one of guardd's own for cgroups.
pub(super) fn is_session_name(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix('s'))
        .filter(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

pub(super) fn subdirectories(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).map_err(DatapathError::file("read", path))?;
    Ok(entries
        .filter_map(io::Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect())
}

/// Moves a process in.
pub(super) fn enter(path: &Path, pid: u32) -> Result<()> {
    write(&path.join("cgroup.procs"), &pid.to_string())
}

/// Kills every process in it and below.
pub(super) fn kill(path: &Path) -> Result<()> {
    write(&path.join(KILL), "1")
}

/// As [`kill`], of the cgroup with that id, and not of another one at its path. One that is gone has no processes.
pub(super) fn kill_that(path: &Path, cgroup_id: u64) -> Result<()> {
    match write_in_that(path, cgroup_id, KILL, "1") {
        Err(error) if is_gone(&error) => Ok(()),
        written => written.map_err(DatapathError::file("end what runs in", path)),
    }
}

fn write_in_that(path: &Path, cgroup_id: u64, file: &str, text: &str) -> io::Result<()> {
    let dir = File::open(path)?;
    if dir.metadata()?.ino() != cgroup_id {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&dir, file, flags, Mode::empty())?;
    File::from(file).write_all(text.as_bytes())
}

fn write(file: &Path, text: &str) -> Result<()> {
    File::options()
        .write(true)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .map_err(DatapathError::file("write to", file))
}

/// Whether a process is in it or below. A cgroup that is gone has none.
pub(super) fn is_populated(path: &Path) -> Result<bool> {
    let events = path.join("cgroup.events");
    match fs::read_to_string(&events) {
        Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
        Err(e) if is_gone(&e) => Ok(false),
        Err(e) => Err(DatapathError::file("read", events)(e)),
    }
}

const KILL: &str = "cgroup.kill";

/// Cgroups that are read for processes. In a delegated cgroup a unit may make any number.
const MOST_LOOKED_AT: usize = 256;

/// The processes in it and below, in the nearest [`MOST_LOOKED_AT`] cgroups.
pub(super) fn processes(path: &Path) -> Vec<u32> {
    let mut cgroups = vec![path.to_owned()];
    let mut found = Vec::new();
    let mut looked_at = 0;
    while let Some(path) = cgroups.get(looked_at) {
        looked_at += 1;
        let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        found.extend(members.lines().filter_map(|line| line.parse::<u32>().ok()));
        let room = MOST_LOOKED_AT.saturating_sub(cgroups.len());
        if room == 0 {
            continue;
        }
        let below = fs::read_dir(path).into_iter().flatten();
        let below = below.filter_map(io::Result::ok);
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<_> = below.take(room).map(|entry| entry.path()).collect();
        cgroups.extend(below);
    }
    found
}

/// Removes an empty cgroup and what is below it.
pub(super) fn remove(path: &Path) -> Result<()> {
    for child in subdirectories(path).unwrap_or_default() {
        remove(&child)?;
    }
    match fs::remove_dir(path) {
        Err(e) if is_gone(&e) => Ok(()),
        removed => removed.map_err(DatapathError::file("remove", path)),
    }
}

/// Removes an empty cgroup without others below it; with others it stays. Returns whether it is gone.
pub(super) fn remove_alone(path: &Path) -> Result<bool> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if is_gone(&e) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(e) => Err(DatapathError::file("remove", path)(e)),
    }
}

/// Removes the mark of a guard's root from one that stays.
pub(super) fn unmark(path: &Path) -> Result<()> {
    cgroup2::unmark(path).map_err(DatapathError::file("unmark", path))
}

fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV)
}

/// `guard.slice` where systemd runs, else `guard`, at the root of the cgroup v2 hierarchy.
///
/// # Errors
///
/// If none is mounted, or systemd does not put its units into it: units of the slice would run unguarded.
pub fn default_root() -> io::Result<PathBuf> {
    let has_systemd = Path::new("/run/systemd/system").exists();
    // If systemd uses version 2, its own cgroup is `init.scope`.
    let uses_it = || cgroup2::path_of(1).is_ok_and(|path| path != Path::new("/"));
    if has_systemd && !uses_it() {
        return Err(io::Error::other(format!(
            "systemd keeps its units in cgroups of version 1 alone, where no guard sees them; \
             boot with {UNIFIED} on the kernel's command line"
        )));
    }
    let name = if has_systemd { "guard.slice" } else { "guard" };
    Ok(cgroup2::Hierarchy::find()?.mount().join(name))
}

/// Has systemd use version 2; since release 256 it always does.
const UNIFIED: &str = "systemd.unified_cgroup_hierarchy=1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ended_in_another_that_has_come_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (kill, id) = (dir.path().join(KILL), id(dir.path()).unwrap());
        fs::write(&kill, "").unwrap();
        kill_that(dir.path(), id + 1).unwrap();
        assert_eq!(fs::read_to_string(&kill).unwrap(), "");
        kill_that(dir.path(), id).unwrap();
        assert_eq!(fs::read_to_string(&kill).unwrap(), "1");
        kill_that(&dir.path().join("gone"), id).unwrap();
    }

    #[test]
    fn no_more_cgroups_are_looked_at_than_agreed() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..2 * MOST_LOOKED_AT {
            let inner = dir.path().join(number.to_string()).join("below");
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join("cgroup.procs"), "7\n").unwrap();
            fs::write(inner.with_file_name("cgroup.procs"), "8\n9\n").unwrap();
        }
        fs::write(dir.path().join("cgroup.procs"), "1\n").unwrap();
        let found = processes(dir.path());
        assert_eq!(found[0], 1);
        assert_eq!(found.len(), 1 + 2 * (MOST_LOOKED_AT - 1));
        assert_eq!(processes(&dir.path().join("0")), [8, 9, 7]);
        assert!(processes(&dir.path().join("gone")).is_empty());
    }
}
