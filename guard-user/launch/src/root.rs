//! `--user root`: root of a user namespace, in which nobody is but the session's user.
//!
//! Outside it is that user, with no more rights: root's files, sockets and processes stay root's, and so do the guard's cgroups
//! and pins. Inside, uid 0 may what programs expect of it, on files of that user. What could undo the guard stays shut more
//! than once:
//!
//! - cgroups are read-only, and in the place of a bpffs is an empty directory, in a mount namespace of its own.
//! - What is not in [`KEPT`] is given up for good: nothing can be mounted or unmounted, nor the root directory changed. So a path
//!   is there what it is outside, which is what guardd is told when it lets the session connect to its socket.
//! - A further user namespace, which anybody may make, starts with all of its own capabilities, and is another one for all
//!   that counts here: mounts that came from this one are locked there. mount_namespaces(7)

use std::io;
use std::path::Path;

use caps::Capability;
use guard_proto::Failure;
use guard_sys::{mounts, user_namespace};
use rustix::fs::statfs;

use super::failure;
use super::identity::Identity;

/// What root keeps there: what is about files, and whom it is. Nothing about the kernel, devices, networks, mounts, other
/// processes or the root directory.
pub(super) const KEPT: [Capability; 7] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
];

/// `CGROUP_SUPER_MAGIC`, `CGROUP2_SUPER_MAGIC` and `BPF_FS_MAGIC` of linux/magic.h.
const CGROUPS: [u32; 2] = [0x0027_e0eb, 0x6367_7270];
const BPF: u32 = 0xcafe_4a11;

/// Makes this process root of a user namespace of its own, with every capability there until they are given up.
pub(super) fn become_root(identity: &Identity) -> Result<(), Failure> {
    let (uid, gid) = identity.outside();
    user_namespace::become_root(uid, gid).map_err(|why| no_root(&why))?;
    let shut = mounts::of_types(&["cgroup", "cgroup2", "bpf"])
        .and_then(|found| found.iter().try_for_each(|(at, _)| shut(at)));
    shut.map_err(|why| {
        failure(
            "cannot contain the command",
            format!("what undoes the guard cannot be shut away from root: {why}"),
            "leave out --user root",
        )
    })
}

/// Shuts what is seen at a mount point, whatever was mounted there before.
fn shut(at: &Path) -> io::Result<()> {
    let kind = match statfs(at) {
        // Whoever cannot come so far cannot reach what is there; and what others mounted over has no path.
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::NOENT) => return Ok(()),
        found => found?.f_type as u32,
    };
    let done = match kind {
        BPF => mounts::cover(at),
        kind if CGROUPS.contains(&kind) => mounts::make_read_only(at),
        _ => Ok(()),
    };
    done.map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", at.display())))
}

fn no_root(why: &io::Error) -> Failure {
    failure(
        "cannot run the command as root",
        format!("a user namespace of its own, with its mounts, cannot be made: {why}"),
        "let users have them: sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), kernel.unprivileged_userns_clone=1 (Debian), user.max_user_namespaces=10000; or leave out --user root",
    )
}
