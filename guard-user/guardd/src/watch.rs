//! Changes that inotify reports: a session has ended, a policy file has changed, somebody removes the cgroup root.

use std::{
    collections::HashMap,
    fs, io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use guard_common::SessionId;
use guard_sys::readiness::Readiness;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// What has changed in the file system. [`crate::changes::Change`] is another: what an operation of guardd's has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileChange {
    /// Something in a policy directory.
    Policies,
    /// Whether a session's cgroup has processes.
    Session(SessionId),
    /// Cgroups right below the root have come or gone, or one beside it has gone: perhaps the root itself.
    Root,
}

/// The watches that are set.
#[derive(Debug)]
pub(crate) struct Watches {
    inotify: OwnedFd,
    what: HashMap<i32, FileChange>,
    /// The policy directories. For one that does not exist, the nearest existing parent is watched.
    policies: Vec<PathBuf>,
}

/// The events by which an editor or a package manager changes a file, renames it into place or removes it.
const POLICY_EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::ONLYDIR);

/// The events of a link's target: it is written, or replaced.
const TARGET_EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

impl Watches {
    /// No watches yet, and what becomes ready when one has events.
    ///
    /// # Errors
    ///
    /// Where the kernel has no inotify instance left.
    pub(crate) fn new() -> io::Result<(Self, Readiness)> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let readable = Readiness::of(&inotify)?;
        let watches = Self {
            inotify,
            what: HashMap::new(),
            policies: Vec::new(),
        };
        Ok((watches, readable))
    }

    /// Watches a session's `cgroup.events`: the kernel reports each change of `populated`.
    ///
    /// # Errors
    ///
    /// Where the kernel takes no more watches or the cgroup is gone.
    pub(crate) fn session(&mut self, session: SessionId, cgroup: &Path) -> io::Result<()> {
        let events = cgroup.join("cgroup.events");
        let id = inotify::add_watch(&self.inotify, events, WatchFlags::MODIFY)?;
        self.what.insert(id, FileChange::Session(session));
        Ok(())
    }

    /// Watches whether the cgroup root, or its parent, is removed, and for cgroups that others make in it or remove. The root's
    /// own watch would report its end only when nobody has it open.
    ///
    /// # Errors
    ///
    /// Where the kernel takes no more watches or the cgroup is gone.
    pub(crate) fn root(&mut self, root: &Path) -> io::Result<()> {
        let inside = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        let id = inotify::add_watch(&self.inotify, root, inside)?;
        self.what.insert(id, FileChange::Root);
        if let Some(beside) = root.parent() {
            let id = inotify::add_watch(&self.inotify, beside, WatchFlags::DELETE)?;
            self.what.insert(id, FileChange::Root);
        }
        Ok(())
    }

    /// Watches a directory of policies, or for it to be made if it is absent.
    ///
    /// # Errors
    ///
    /// Where the kernel takes no more watches.
    pub(crate) fn policies(&mut self, dir: &Path) -> io::Result<()> {
        if !self.policies.iter().any(|known| known == dir) {
            self.policies.push(dir.to_owned());
        }
        let mut watched = None;
        // Again if it was made between the check and the watch.
        while let Some(there) = dir.ancestors().find(|path| path.is_dir())
            && watched != Some(there)
        {
            let id = inotify::add_watch(&self.inotify, there, POLICY_EVENTS)?;
            self.what.insert(id, FileChange::Policies);
            watched = Some(there);
        }
        self.targets(dir);
        Ok(())
    }

    /// Watches the targets of the links in a directory: the directory's watch does not report their changes.
    fn targets(&mut self, dir: &Path) {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        for link in links {
            // A link without a target is a policy that is absent.
            if let Ok(id) = inotify::add_watch(&self.inotify, link.path(), TARGET_EVENTS) {
                self.what.insert(id, FileChange::Policies);
            }
        }
    }

    /// What has changed since the last time, each once.
    pub(crate) fn changes(&mut self) -> Vec<FileChange> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut changes: Vec<FileChange> = Vec::new();
        // WOULDBLOCK ends it; any other error would come again at the next change.
        while let Ok(event) = reader.next() {
            let what = match self.what.get(&event.wd()) {
                Some(what) => *what,
                // The queue overflowed: report every kind of change. Sessions of ours are checked anyway, a little later.
                None if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    changes.push(FileChange::Root);
                    FileChange::Policies
                }
                None => continue,
            };
            if event.events().contains(ReadFlags::IGNORED) {
                self.what.remove(&event.wd());
            }
            if !changes.contains(&what) {
                changes.push(what);
            }
        }
        if changes.contains(&FileChange::Policies) {
            self.follow_directories();
        }
        changes
    }

    /// Watches the policy directories that were made or replaced meanwhile. A directory is not watched twice.
    fn follow_directories(&mut self) {
        for dir in self.policies.clone() {
            if let Err(error) = self.policies(&dir) {
                tracing::warn!(%error, dir = %dir.display(), "cannot be watched for changes");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watches() -> (Watches, tokio::runtime::Runtime) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let (watches, _) = Watches::new().unwrap();
        drop(guard);
        (watches, runtime)
    }

    #[test]
    fn a_file_that_is_renamed_into_place_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watches, _runtime) = watches();
        watches.policies(dir.path()).unwrap();
        assert!(watches.changes().is_empty());
        let new = dir.path().join(".new");
        fs::write(&new, "version = 1").unwrap();
        watches.changes();
        fs::rename(&new, dir.path().join("a.toml")).unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
    }

    #[test]
    fn a_directory_that_is_replaced_is_watched_on() {
        let top = tempfile::tempdir().unwrap();
        let [dir, old, new] = ["policies", "old", "new"].map(|name| top.path().join(name));
        fs::create_dir(&dir).unwrap();
        let (mut watches, _runtime) = watches();
        watches.policies(&dir).unwrap();
        fs::create_dir(&new).unwrap();
        fs::rename(&dir, &old).unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
        fs::rename(&new, &dir).unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
        fs::write(dir.join("a.toml"), "version = 1").unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
        fs::remove_dir_all(&dir).unwrap();
        watches.changes();
        fs::create_dir(&dir).unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
    }

    #[test]
    fn where_too_much_happens_everything_is_looked_at() {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (mut watches, _runtime) = watches();
        watches.policies(dir.path()).unwrap();
        // Each is made, and then written. What is the same as the last is not queued again.
        for number in 0..=most / 2 {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let changes = watches.changes();
        assert!(changes.contains(&FileChange::Root) && changes.contains(&FileChange::Policies));
        assert!(watches.changes().is_empty());
    }

    #[test]
    fn what_a_link_leads_to_is_watched() {
        let top = tempfile::tempdir().unwrap();
        let [dir, target] = ["policies", "mine.toml"].map(|name| top.path().join(name));
        fs::create_dir(&dir).unwrap();
        fs::write(&target, "version = 1").unwrap();
        std::os::unix::fs::symlink(&target, dir.join("a.toml")).unwrap();
        let (mut watches, _runtime) = watches();
        watches.policies(&dir).unwrap();
        assert!(watches.changes().is_empty());
        fs::write(&target, "version = 2").unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
        // As an editor does it, twice.
        for _ in 0..2 {
            let new = top.path().join("new");
            fs::write(&new, "version = 3").unwrap();
            assert!(watches.changes().is_empty());
            fs::rename(&new, &target).unwrap();
            assert_eq!(watches.changes(), [FileChange::Policies]);
        }
    }

    #[test]
    fn a_directory_that_comes_later_is_seen_and_watched() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("guard/policies");
        let (mut watches, _runtime) = watches();
        watches.policies(&later).unwrap();
        fs::create_dir_all(&later).unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
        fs::write(later.join("a.toml"), "version = 1").unwrap();
        assert_eq!(watches.changes(), [FileChange::Policies]);
    }
}
