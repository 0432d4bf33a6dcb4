//! The cgroup v2 hierarchy: where it is mounted, and the ids and levels by which eBPF programs know
//! its cgroups.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use rustix::io::Errno;

/// Where the cgroup v2 hierarchy is mounted.
///
/// Never assumed: it is `/sys/fs/cgroup` on most machines, `/sys/fs/cgroup/unified` where version 1
/// is still in use, and anything in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    mount: PathBuf,
    /// Which cgroup is to be seen at `mount`.
    root: PathBuf,
}

impl Hierarchy {
    /// Finds the mount, one of the whole hierarchy if there is one.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none. Else the system's.
    pub fn find() -> io::Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        Self::choose(&table).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "no cgroup v2 hierarchy is mounted; \
                 try `mount -t cgroup2 none /sys/fs/cgroup`",
            )
        })
    }

    fn choose(table: &str) -> Option<Self> {
        let found = table.lines().filter_map(Self::from_line);
        // The wider a view, the shorter its root. Of equals the last: it hides the others.
        found.rev().min_by_key(|one| one.root.components().count())
    }

    /// A line of `/proc/PID/mountinfo`, proc_pid_mountinfo(5).
    fn from_line(line: &str) -> Option<Self> {
        let (fields, rest) = line.split_once(" - ")?;
        if rest.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let root = unescape(fields.next()?);
        let mount = unescape(fields.next()?);
        // A mount of what is outside this process' cgroup namespace.
        (!has_dots(&root)).then_some(Self { mount, root })
    }

    /// The directory at which the hierarchy is mounted.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The directory of the cgroup that `/proc/PID/cgroup` calls `path`. `None` where it is not to
    /// be seen at this mount.
    #[must_use]
    pub fn dir(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok()?;
        (!has_dots(below)).then(|| self.mount.join(below))
    }

    /// Whether the cgroup that `/proc/PID/cgroup` calls `path` is in any guard's, as far as this mount shows it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn is_guarded(&self, path: &Path) -> io::Result<bool> {
        let mut dirs = path.ancestors().filter_map(|above| self.dir(above));
        dirs.try_fold(false, |found, dir| Ok(found || is_marked(&dir)?))
    }

    /// What `/proc/PID/cgroup` calls the cgroup at `dir`. `None` where `dir` is not at this mount.
    #[must_use]
    pub fn path(&self, dir: &Path) -> Option<PathBuf> {
        let below = dir.strip_prefix(&self.mount).ok()?;
        (!has_dots(below)).then(|| self.root.join(below))
    }
}

fn has_dots(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// Octal escapes stand for blanks and the like in `/proc/PID/mountinfo`.
pub(super) fn unescape(field: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")];
    let field = escapes
        .iter()
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to));
    field.replace("\\134", "\\").into()
}

/// The extended attribute that every guard's root cgroup has. Only its owner, root, sets it.
const MARK: &str = "user.guard";

/// The mark of a root that was there before.
const FOUND: &[u8] = b"1";
/// The mark of a root that its guard made, and removes again.
const MADE: &[u8] = b"made";

/// Marks the cgroup at `dir` as the root of a guard, for all guards on this machine to see; `made` says that its
/// guard made it.
///
/// # Errors
///
/// The system's; `EOPNOTSUPP` before Linux 5.7.
pub fn mark(dir: &Path, made: bool) -> io::Result<()> {
    let mark = if made { MADE } else { FOUND };
    Ok(setxattr(dir, MARK, mark, XattrFlags::empty())?)
}

/// Whether a guard made the root at `dir`. Where that cannot be read, none did.
#[must_use]
pub fn is_made_by_guard(dir: &Path) -> bool {
    let mut mark = [0_u8; 8];
    getxattr(dir, MARK, &mut mark).is_ok_and(|length| mark.get(..length) == Some(MADE))
}

/// Takes the mark away.
///
/// # Errors
///
/// The system's.
pub fn unmark(dir: &Path) -> io::Result<()> {
    match removexattr(dir, MARK) {
        Err(Errno::NODATA) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Whether root has marked it: users may own cgroups, and then they mark what they like.
fn is_marked(dir: &Path) -> io::Result<bool> {
    match getxattr(dir, MARK, &mut [0_u8; 8]) {
        Ok(_) | Err(Errno::RANGE) => Ok(fs::metadata(dir)?.uid() == 0),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The v2 line of a `/proc/PID/cgroup`.
///
/// # Errors
///
/// `NotFound` where there is none.
pub fn path_in(cgroups: &str) -> io::Result<PathBuf> {
    let line = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    let none = || io::Error::new(io::ErrorKind::NotFound, "it is in no cgroup of version 2");
    line.map(PathBuf::from).ok_or_else(none)
}

/// The cgroup of the process that has that pid now, as in `/proc/PID/cgroup`.
///
/// # Errors
///
/// `NotFound` where there is none, or it is in no cgroup of version 2. Else the system's.
pub fn path_of(pid: u32) -> io::Result<PathBuf> {
    path_in(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?)
}

/// The cgroup of this process, as in `/proc/self/cgroup`.
///
/// # Errors
///
/// `NotFound` where it is in no cgroup of version 2. Else the system's.
pub fn own_path() -> io::Result<PathBuf> {
    path_in(&fs::read_to_string("/proc/self/cgroup")?)
}

/// The id of the cgroup at `dir`, as `bpf_get_current_cgroup_id()` gives it: the number of its
/// inode.
///
/// # Errors
///
/// The system's.
pub fn id(dir: &Path) -> io::Result<u64> {
    Ok(fs::metadata(dir)?.ino())
}

/// How deep below the root of the hierarchy `path` is, as `bpf_get_current_ancestor_cgroup_id()`
/// counts: the root is 0. `path` is as in `/proc/PID/cgroup`, and the answer is right in the
/// machine's own cgroup namespace only, for any other hides what is above it.
#[must_use]
pub fn level(path: &Path) -> u32 {
    let names = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    names.count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    fn hierarchy(mount: &str, root: &str) -> Hierarchy {
        Hierarchy {
            mount: mount.into(),
            root: root.into(),
        }
    }

    #[test]
    fn version_1_beside_it_is_passed_over() {
        let found = Hierarchy::choose(HYBRID).unwrap();
        assert_eq!(found, hierarchy("/sys/fs/cgroup/unified", "/"));
    }

    #[test]
    fn a_mount_of_the_whole_is_preferred() {
        let table = "\
1 2 0:38 /a.slice /mnt/part rw - cgroup2 none rw
1 2 0:38 / /mnt/all\\040of\\134it rw shared:4 master:1 - cgroup2 none rw
1 2 0:38 /a.slice/b /mnt/less rw - cgroup2 none rw
1 2 0:38 /../c /mnt/outside rw - cgroup2 none rw";
        let found = Hierarchy::choose(table).unwrap();
        assert_eq!(found, hierarchy("/mnt/all of\\it", "/"));
        assert_eq!(Hierarchy::choose("1 2 0:1 / / rw - ext4 /dev/vda rw"), None);
    }

    #[test]
    fn directories_and_paths_are_two_names_for_one_cgroup() {
        let part = hierarchy("/mnt/part", "/a.slice");
        for (path, dir) in [("/a.slice", "/mnt/part"), ("/a.slice/b/c", "/mnt/part/b/c")] {
            assert_eq!(part.dir(path.as_ref()).unwrap(), Path::new(dir));
            assert_eq!(part.path(dir.as_ref()).unwrap(), Path::new(path));
        }
        for outside in ["/", "/a.slices", "/b", "/a.slice/../b", "/../b"] {
            assert_eq!(part.dir(outside.as_ref()), None, "{outside}");
        }
        assert_eq!(part.path("/mnt/part/../b".as_ref()), None);
    }

    #[test]
    fn levels_count_from_the_root() {
        assert_eq!(level("/".as_ref()), 0);
        assert_eq!(level("/guard.slice".as_ref()), 1);
        assert_eq!(level("/guard.slice/s1".as_ref()), 2);
    }

    #[test]
    fn what_is_marked_is_guarded_with_all_below_it() {
        let here = Hierarchy::find().unwrap();
        let top = format!("guard-test-mark-{}", std::process::id());
        let dir = here.mount().join(&top);
        if fs::create_dir_all(dir.join("inner")).is_err() {
            // Only root makes cgroups; the privileged tests try it for real.
            return;
        }
        let root = here.path(&dir).unwrap();
        let seen = |path: &Path| here.is_guarded(path).unwrap();
        assert!(!seen(&root.join("inner")));
        mark(&dir, false).unwrap();
        assert!(!is_made_by_guard(&dir));
        mark(&dir, true).unwrap();
        assert!(is_made_by_guard(&dir));
        assert!(seen(&root) && seen(&root.join("inner")) && seen(&root.join("gone")));
        assert!(!seen(root.parent().unwrap()));
        std::os::unix::fs::chown(&dir, Some(65534), None).unwrap();
        assert!(!seen(&root), "a user's own mark");
        unmark(&dir).unwrap();
        unmark(&dir).unwrap();
        fs::remove_dir(dir.join("inner")).unwrap();
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn this_machine_has_a_hierarchy_and_we_are_in_it() {
        let here = Hierarchy::find().unwrap();
        let own = own_path().unwrap();
        assert_eq!(path_of(std::process::id()).unwrap(), own);
        assert!(path_of(0).is_err());
        let dir = here.dir(&own).unwrap();
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        let own = std::process::id().to_string();
        assert!(members.lines().any(|pid| pid == own));
        assert!(id(&dir).unwrap() > 0);
    }
}
