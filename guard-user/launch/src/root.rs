//! `--user root`: root of a user namespace whose only user is the session's user.
//!
//! Outside it is that user, with no more rights: root's files, sockets and processes stay root's, and so do the guard's cgroups
//! and pins. Inside, uid 0 has the rights over that user's files that programs expect of it. What could undo the guard is
//! closed in more than one way:
//!
//! - cgroups are read-only, and in the place of a bpffs is an empty directory, in a mount namespace of its own.
//! - Capabilities that are not in [`KEPT`] are given up for good: nothing can be mounted or unmounted, nor the root directory
//!   changed. So a path means there what it means outside, and guardd relies on that when it lets the session connect to its
//!   socket.
//! - A further user namespace, which anybody may make, starts with all of its own capabilities, but does not count as this
//!   one: mounts that came from this one are locked there. mount_namespaces(7)

use std::io;
use std::path::Path;

use caps::Capability;
use guard_proto::Failure;
use guard_sys::{mounts, user_namespace};
use rustix::fs::statfs;

use super::failure;
use super::identity::{CommandIdentity, OutsideIds};

/// The capabilities that root keeps there: over files, and to change users. None over the kernel, devices, networks, mounts,
/// other processes or the root directory.
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
pub(super) fn become_root(identity: &CommandIdentity) -> Result<(), Failure> {
    let OutsideIds { uid, gid } = identity.outside();
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

/// Hides a mount point, whatever was mounted there before.
fn shut(at: &Path) -> io::Result<()> {
    let kind = match statfs(at) {
        // A process that cannot reach the directory cannot reach what is mounted there; and what is hidden by another mount has
        // no path.
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
        "let users have them: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), kernel.unprivileged_userns_clone=1 (Debian), user.max_user_namespaces=10000; or leave out --user root",
    )
}
