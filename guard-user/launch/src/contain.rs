//! What is taken away from a process before it becomes the command.
//!
//! The order matters, and each step is checked:
//!
//! 1. It must be in the session's cgroup: from then on all that it does is judged.
//! 2. Standard input, output and error must not be network sockets or the like: they were made outside, and a
//!    socket is judged by the cgroup that it was made in.
//! 3. All other descriptors close when the command is executed, for the same reason.
//! 4. Capabilities leave the bounding set while there is `CAP_SETPCAP` to do so.
//! 5. Groups, then gid, then uid: each needs privileges that the next takes away. Then the session keyring, which gives its
//!    caller's keys to each process that has it.
//! 6. All other capability sets are emptied; that neither they nor uid 0 nor gid 0 can be had back is
//!    tried out.
//! 7. Where the command is to be root, it becomes that of a user namespace, and gives up there all capabilities but a few:
//!    `root.rs`.
//! 8. no_new_privs: no set-user-ID program gives anything back either.
//! 9. A Landlock domain, where the kernel has one: processes outside are out of its reach.
//! 10. The seccomp filter, last, as it would have to allow all of the above.

use std::fs;
use std::io;
use std::ops::Not as _;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use caps::{CapSet, Capability};
use guard_proto::Failure;
use guard_sys::cgroup2::{self, Hierarchy};
use guard_sys::process::{close_on_exec_from, leave_session_keyring};
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::identity::{CommandIdentity, Switch};
use super::landlock::AbstractNames;
use super::launch::ToldRoot;
use super::{failure, landlock, root, seccomp};

const WHAT: &str = "cannot contain the command";
const FIX: &str =
    "see what this machine cannot do; guard needs Linux 6.1 or later with seccomp:\nguard doctor";
/// `ip netns exec` mounts a `/sys` of its own (ip-netns(8)).
const HIDDEN: &str =
    "no cgroups are to be seen here: nothing is mounted at /sys/fs/cgroup, as under ip netns exec";
const TO_SEE: &str = "enter the network alone: nsenter --net=/run/netns/NAME guard run …";

/// Runs all steps. `cgroup` is the session's, as a directory or as in `/proc/self/cgroup`.
pub(super) fn contain(
    identity: &CommandIdentity,
    cgroup: &Path,
    told_root: ToldRoot,
    names: AbstractNames,
) -> Result<(), Failure> {
    check_cgroup(cgroup)?;
    check_standard_descriptors()?;
    close_on_exec_from(3).map_err(|why| refuse("descriptors stay open", why))?;
    give_up_rights(identity)?;
    if identity.becomes_root() {
        root::become_root(identity)?;
        told_root()?;
        give_up_capabilities(&root::KEPT)?;
    }
    confine(names)
}

/// From step 4 on: gives up rights, and the ways to regain them. Open descriptors stay.
///
/// # Errors
///
/// Which right could not be given up; then this process must end.
pub fn give_up(identity: &CommandIdentity) -> Result<(), Failure> {
    give_up_rights(identity)?;
    confine(AbstractNames::Scoped)
}

/// Steps 4 to 6, for a user and for root outside. A caller that is root of a user namespace keeps root's rights there.
fn give_up_rights(identity: &CommandIdentity) -> Result<(), Failure> {
    let kept: &[Capability] = if identity.is_root_inside() {
        &root::KEPT
    } else {
        &[]
    };
    drop_bounding_set(kept).map_err(|why| refuse("the bounding set stays", why))?;
    if let Some(switch) = identity.switch() {
        become_user(switch).map_err(|why| refuse("the user cannot be changed", why))?;
    }
    drop_capabilities(kept).map_err(|why| refuse("capabilities stay", why))?;
    check_capabilities(kept)?;
    check_user(identity)
}

/// Gives up all capabilities but those.
fn give_up_capabilities(kept: &[Capability]) -> Result<(), Failure> {
    drop_bounding_set(kept).map_err(|why| refuse("the bounding set stays", why))?;
    drop_capabilities(kept).map_err(|why| refuse("capabilities stay", why))?;
    check_capabilities(kept)
}

/// Steps 8 to 10, for good.
fn confine(names: AbstractNames) -> Result<(), Failure> {
    set_no_new_privs(true).map_err(|why| refuse("no_new_privs cannot be set", why))?;
    landlock::apply(names)?;
    seccomp::apply().map_err(|why| refuse("the seccomp filter is refused", why))
}

fn refuse(step: &str, why: impl ToString) -> Failure {
    failure(WHAT, format!("{step}: {}", why.to_string()), FIX)
}

/// Checks that this process is in the session's cgroup or below it.
fn check_cgroup(expected: &Path) -> Result<(), Failure> {
    let own = cgroup2::own_path().map_err(|why| refuse("its cgroup cannot be read", why))?;
    let hierarchy = Hierarchy::find();
    let seen = hierarchy.as_ref().ok().and_then(|all| all.path(expected));
    let expected = seen.unwrap_or_else(|| expected.to_owned());
    // The root cgroup is no session's: everything is below it.
    if own.starts_with(&expected) && cgroup2::level(&expected) > 0 {
        return Ok(());
    }
    if hierarchy.is_err_and(|why| why.kind() == io::ErrorKind::NotFound) {
        return Err(failure(WHAT, HIDDEN, TO_SEE));
    }
    let why = format!("it is {}, not {}", own.display(), expected.display());
    Err(refuse("it is in the wrong cgroup", why))
}

fn check_standard_descriptors() -> Result<(), Failure> {
    check_standard(std::io::stdin(), "input")?;
    check_standard(std::io::stdout(), "output")?;
    check_standard(std::io::stderr(), "error")
}

fn check_standard(stream: impl AsFd + AsRawFd, name: &str) -> Result<(), Failure> {
    let what = match socket_domain(&stream) {
        Ok(AddressFamily::UNIX) | Err(Errno::BADF) => return Ok(()),
        Ok(_) => "a network socket",
        Err(Errno::NOTSOCK) if is_kernel_object(&stream)? => "a kernel object, such as a ring,",
        Err(Errno::NOTSOCK) => return Ok(()),
        Err(why) => return Err(refuse("a standard descriptor cannot be checked", why)),
    };
    Err(failure(
        "cannot guard the command",
        format!("its standard {name} is {what} from outside, which nothing judges"),
        "put a pipe between, as in: cat | guard run -- … | cat",
    ))
}

/// Whether a stream is a kernel object: an `io_uring` made outside sends for whoever writes to it, and eBPF maps, links and the
/// like are never read or written as a stream.
fn is_kernel_object(stream: &impl AsRawFd) -> Result<bool, Failure> {
    let link = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let target = fs::read_link(link)
        .map_err(|why| refuse("a standard descriptor cannot be checked", why))?;
    Ok(target.as_os_str().as_bytes().starts_with(b"anon_inode:"))
}

/// With `CAP_SETPCAP` only; without it no_new_privs does the same.
fn drop_bounding_set(kept: &[Capability]) -> Result<(), caps::errors::CapsError> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        return Ok(());
    }
    let known = caps::runtime::thread_all_supported();
    known
        .into_iter()
        .filter(|one| !kept.contains(one))
        .try_for_each(|one| caps::drop(None, CapSet::Bounding, one))
}

fn become_user(switch: &Switch) -> io::Result<()> {
    let groups: Vec<_> = switch
        .groups
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    let gid = Gid::from_raw(switch.account.gid);
    let uid = Uid::from_raw(switch.account.uid);
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // The launcher's keys are not that user's.
    leave_session_keyring()
        .map_err(|why| io::Error::new(why.kind(), format!("its session keyring stays: {why}")))
}

/// Drops all capabilities but those.
fn drop_capabilities(kept: &[Capability]) -> Result<(), caps::errors::CapsError> {
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    let mut left = caps::read(None, CapSet::Permitted)?;
    left.retain(|one| kept.contains(one));
    caps::set(None, CapSet::Effective, &left)?;
    caps::set(None, CapSet::Permitted, &left)
}

/// Checks that the dropped capabilities are gone.
fn check_capabilities(kept: &[Capability]) -> Result<(), Failure> {
    let status = fs::read_to_string("/proc/self/status");
    let status = status.map_err(|why| refuse("its status cannot be read", why))?;
    let left = status.lines().find(|line| holds_capabilities(line, kept));
    left.map_or(Ok(()), |left| Err(refuse("capabilities stay", left)))
}

/// Checks that this process has the right user, and cannot become another one.
fn check_user(identity: &CommandIdentity) -> Result<(), Failure> {
    let uid = rustix::process::getuid();
    if uid.as_raw() != identity.seen() || uid != rustix::process::geteuid() {
        return Err(refuse("it is the wrong user", uid.as_raw()));
    }
    if !identity.is_root_inside() && set_thread_res_uid(None, Uid::ROOT, None).is_ok() {
        return Err(refuse("it can become root", "setresuid(2) let it"));
    }
    if !rustix::process::getgid().is_root() && set_thread_res_gid(None, Gid::ROOT, None).is_ok() {
        return Err(refuse("it can join root's group", "setresgid(2) let it"));
    }
    Ok(())
}

/// Whether a line of `/proc/self/status` has capabilities beside those. All bits count, also those without a name in any
/// library.
fn holds_capabilities(line: &str, kept: &[Capability]) -> bool {
    let kept = kept.iter().fold(0, |bits, one| bits | one.bitmask());
    let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
    let bits = sets.iter().find_map(|set| line.strip_prefix(set));
    bits.is_some_and(|bits| {
        let bits = u64::from_str_radix(bits.trim(), 16);
        bits.is_ok_and(|bits| bits & !kept == 0).not()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bit_in_any_set_counts() {
        assert!(holds_capabilities("CapPrm:\t000001fffeffffff", &[]));
        assert!(holds_capabilities("CapAmb:\t8000000000000000", &[]));
        assert!(holds_capabilities("CapAmb:\tx", &[]));
        assert!(!holds_capabilities("CapEff:\t0000000000000000", &[]));
        assert!(!holds_capabilities("CapBnd:\t000001fffeffffff", &[]));
        let chown = &[Capability::CAP_CHOWN];
        assert!(!holds_capabilities("CapEff:\t0000000000000001", chown));
        assert!(holds_capabilities("CapEff:\t0000000000000003", chown));
    }

    #[test]
    fn another_cgroup_is_refused() {
        for other in ["/no/such/cgroup", "/proc", "relative", "/"] {
            assert!(check_cgroup(other.as_ref()).is_err(), "{other}");
        }
    }
}
