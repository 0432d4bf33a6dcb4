//! Being root of a user namespace, and of no more than that. user_namespaces(7)

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{DumpableBehavior, dumpable_behavior, getuid, set_dumpable_behavior};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Users of the machine's own namespace, in `/proc/PID/uid_map`.
const ALL: u32 = u32::MAX;

/// Makes this process, which has one thread, root of a user namespace of its own, where uid 0 is `uid` outside, gid 0 is
/// `gid`, and there is nobody else; with mounts of its own, of which nothing is seen outside and no others arrive.
/// Both must be its own.
///
/// # Errors
///
/// The system's: `EPERM` or `EACCES` where users may not have such namespaces, `ENOSPC` where there are too many.
pub fn become_root(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: this is the only thread, so nobody else relies on what it shares with it; memory and descriptors stay.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
    // What cannot be dumped belongs to root in /proc, who is nobody here.
    let before = dumpable_behavior()?;
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let mapped = map(uid, gid);
    set_dumpable_behavior(before)?;
    mapped?;
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

fn map(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))
}

/// Who this process is outside, where it is uid 0 of a user namespace that is another user's than root; `None` for everybody
/// else. What is outside is seen from the next namespace only.
#[must_use]
pub fn root_is() -> Option<u32> {
    if !getuid().is_root() {
        return None;
    }
    let map = fs::read_to_string("/proc/thread-self/uid_map").ok()?;
    outside(&map)
}

/// For whom uid 0 stands. Each line is: the first uid inside, the first outside, and how many.
fn outside(map: &str) -> Option<u32> {
    let mut lines = map.lines().map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        Some([
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        ])
    });
    let [_, outside, count] = lines.find(|line| line.is_some_and(|[inside, ..]| inside == 0))??;
    (outside != 0 && count != ALL).then_some(outside)
}

/// How this process' user namespace shows the machine's root, uid 0 of the first namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineRoot {
    /// The namespace shows root as uid 0, and nobody else so.
    Zero,
    /// The namespace shows root as uid 0 if the next one does, which is not seen from here.
    PerhapsZero,
    /// The namespace shows root as the overflow uid, like everybody it has no uid for.
    Overflow,
    /// It cannot be told.
    Unknown,
}

/// Asks the kernel for that.
#[must_use]
pub fn machine_root() -> MachineRoot {
    // Each thread has the same namespace, but for one that is about to become a process of its own.
    let map = fs::read_to_string("/proc/thread-self/uid_map");
    map.map_or(MachineRoot::Unknown, |map| shown(&map))
}

/// Where a map has all uids, so has each one around it, since what is in one line here is in one line there: 0 is 0 all the
/// way up. Of every other the outer half is told in numbers of the next namespace only, which any user can make.
fn shown(map: &str) -> MachineRoot {
    let mut lines = Vec::new();
    for line in map.lines() {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let mut number = || numbers.next()?.ok();
        let (Some(inside), Some(outside), Some(count)) = (number(), number(), number()) else {
            return MachineRoot::Unknown;
        };
        lines.push([inside, outside, count]);
    }
    match lines.iter().find(|[_, outside, _]| *outside == 0) {
        Some([0, _, ALL]) => MachineRoot::Zero,
        Some([0, ..]) => MachineRoot::PerhapsZero,
        Some(_) => MachineRoot::Unknown,
        None => MachineRoot::Overflow,
    }
}

/// The number of the user namespace that a process is in. It is no other's while that stands.
///
/// # Errors
///
/// The system's.
pub fn of(pid: u32) -> io::Result<u32> {
    let number = fs::metadata(format!("/proc/{pid}/ns/user"))?.ino();
    u32::try_from(number).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_a_namespace_is_somebody_outside() {
        assert_eq!(outside("         0       1000          1\n"), Some(1000));
        assert_eq!(outside("1 100000 65536\n0 1000 1\n"), Some(1000));
        for none in [
            "         0          0 4294967295\n",
            "0 0 1\n",
            "1000 1000 1\n",
            "",
            "x\n",
        ] {
            assert_eq!(outside(none), None, "{none:?}");
        }
    }

    #[test]
    fn root_of_the_machine_is_uid_0_only_where_all_uids_are_the_machines() {
        for (map, root) in [
            ("         0          0 4294967295\n", MachineRoot::Zero),
            // The maps of `unshare -r`, and of one inside it.
            ("0 1000 1\n", MachineRoot::Overflow),
            ("0 0 1\n", MachineRoot::PerhapsZero),
            // The maps of systemd's PrivateUsers=, and of bubblewrap.
            ("0 0 1\n1000 1000 1\n", MachineRoot::PerhapsZero),
            ("1000 1000 1\n", MachineRoot::Overflow),
            ("0 1000 1\n1 100000 65536\n", MachineRoot::Overflow),
            ("0 1 1\n1 0 1\n", MachineRoot::Unknown),
            ("", MachineRoot::Overflow),
            ("x\n", MachineRoot::Unknown),
        ] {
            assert_eq!(shown(map), root, "{map:?}");
        }
    }
}
