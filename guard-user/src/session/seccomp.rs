//! The system calls that a guarded command does without.
//!
//! The cgroup's programs judge what goes over IPv4 and IPv6. This filter takes away what no cgroup program
//! ever sees, and the two ways of pushing text into the terminal of the person who answers. Everything
//! else is allowed.
//!
//! - `socket`, `socketpair`: AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK only. All others (packet,
//!   vsock, XDP, Bluetooth, SMC, ALG, …): EPERM.
//! - io_uring: EPERM, for its own socket operation would pass by the line above. Programs fall back as
//!   they do where the sysctl `kernel.io_uring_disabled` is set. Refused is the use of a ring too, for
//!   it might come from outside.
//! - `ioctl` TIOCSTI and TIOCLINUX: EPERM.
//! - `ioctl` TUNSETIFF: EPERM. Packets that are written to a TUN or TAP device have no socket, and one that is
//!   made for a user (for virtual machines, say) takes them from every process of that user.
//! - `request_key` with a description to make the key from: EPERM. The kernel would start a program for it,
//!   outside of every session, that may ask a name server. Looking for a key that is there is allowed.
//! - All of that in the x32 form too, whatever the arguments.
//! - Calls of another architecture kill the process (SIGSYS): the numbers mean other things there.
//!   So **32-bit programs do not run in a session** on a 64-bit machine.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

use crate::sys::abi::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SYS_io_uring_enter, SYS_io_uring_register,
    SYS_io_uring_setup, SYS_ioctl, SYS_request_key, SYS_socket, SYS_socketpair, TIOCLINUX, TIOCSTI,
    TUNSETIFF,
};

/// EPERM, what the guard's hooks answer with too; the same on every architecture.
const EPERM: u32 = 1;

/// The families that remain.
const FAMILIES: [i32; 4] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];

/// Applies the filter to this thread and to all that comes from it, for good.
pub(super) fn apply() -> Result<(), Error> {
    apply_filter(&program()?)
}

fn program() -> Result<BpfProgram, BackendError> {
    let families = vec![SeccompRule::new(
        FAMILIES
            .into_iter()
            .map(|family| argument(0, SeccompCmpOp::Ne, family as u64))
            .collect::<Result<_, _>>()?,
    )?];
    let requests = [TIOCSTI, TIOCLINUX, TUNSETIFF]
        .into_iter()
        .map(|request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request.into())?]))
        .collect::<Result<_, _>>()?;
    let described = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    // A call without rules is refused whatever its arguments.
    let refused = BTreeMap::from_iter([
        (SYS_socket, families.clone()),
        (SYS_socketpair, families),
        (SYS_ioctl, requests),
        (SYS_request_key, vec![SeccompRule::new(vec![described])?]),
        (SYS_io_uring_setup, vec![]),
        (SYS_io_uring_enter, vec![]),
        (SYS_io_uring_register, vec![]),
    ]);
    let refused = with_other_forms(refused);
    let arch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(EPERM);
    SeccompFilter::new(refused, SeccompAction::Allow, errno, arch)?.try_into()
}

/// A condition on an argument that the kernel takes as 32 bits: it ignores the others, so must we.
fn argument(at: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(at, SeccompCmpArgLen::Dword, op, value)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The x32 forms of the same calls: same architecture for seccomp, other numbers
/// (`arch/x86/entry/syscalls/syscall_64.tbl`).
#[cfg(target_arch = "x86_64")]
fn with_other_forms(mut refused: Rules) -> Rules {
    const X32: i64 = 0x4000_0000;
    const X32_IOCTL: i64 = 514;
    let numbers = refused.keys().copied().chain([X32_IOCTL]);
    let forms: Vec<_> = numbers.map(|number| number | X32).collect();
    refused.extend(forms.into_iter().map(|number| (number, vec![])));
    refused
}

/// There is one form only.
#[cfg(not(target_arch = "x86_64"))]
fn with_other_forms(refused: Rules) -> Rules {
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_small_enough_to_pass_each_call_quickly() {
        let length = program().unwrap().len();
        assert!(length < 120, "{length} instructions");
    }
}
