//! The file systems that the guard's kernel state shows in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};

use crate::exec;

/// Where pins live.
pub const BPFFS: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` in linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Where the cgroup v2 hierarchy is mounted: not always /sys/fs/cgroup.
///
/// # Errors
///
/// That it is mounted nowhere.
pub fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    mounts.lines().find_map(cgroup2_mount).context(
        "cgroup v2 is not mounted: run `mount -t cgroup2 none /sys/fs/cgroup/unified`, \
         or boot with systemd.unified_cgroup_hierarchy=1",
    )
}

/// The mount point of a line of mountinfo (proc_pid_mountinfo(5)), if the whole of cgroup v2 is there.
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    (file_system.starts_with("cgroup2 ") && root == "/").then(|| point.into())
}

/// Mounts bpffs where systemd would have, if nobody has yet. It stays.
///
/// # Errors
///
/// That it cannot be mounted.
pub fn bpffs() -> Result<()> {
    // Two runs that both find nothing would hide each other's pins. Who comes after the mount locks
    // another directory, and finds it mounted.
    let lock = File::open(BPFFS).with_context(|| format!("cannot open {BPFFS}"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    if is_bpffs(Path::new(BPFFS)) {
        return Ok(());
    }
    mount("bpf", BPFFS, "bpf", MountFlags::empty(), Some(c"mode=0755"))
        .with_context(|| format!("cannot mount bpffs on {BPFFS}"))
}

/// The same command, with a file for its `/etc/hosts` that it alone sees so. Root's to run.
#[must_use]
pub fn with_hosts(command: &Command, file: &Path) -> Command {
    with_file(command, file, "/etc/hosts")
}

/// The same command, with a file in another one's place that it alone sees there. Root's to run.
#[must_use]
pub fn with_file(command: &Command, file: &Path, place: &str) -> Command {
    with_all(command, &[(file.to_owned(), place.into())])
}

/// The same with several files and directories, one after the other, with what is mounted in them.
#[must_use]
pub fn with_all(command: &Command, all: &[(PathBuf, PathBuf)]) -> Command {
    let mount = |(what, place): &(PathBuf, PathBuf)| {
        format!(
            "mount --rbind '{}' '{}' && ",
            what.display(),
            place.display()
        )
    };
    let mounts: String = all.iter().map(mount).collect();
    let mut with = Command::new("unshare");
    let script = format!("{mounts} exec \"$@\"");
    with.args(["--mount", "--", "sh", "-c", &script, "sh"]);
    exec::by(with, command)
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.f_type as u64 == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_wherever_it_is() {
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw";
        let legacy = "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let part = "51 31 0:38 /user.slice /mnt rw - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2_mount(legacy), None);
        assert_eq!(cgroup2_mount(part), None);
    }
}
