//! The system calls that a guarded command cannot make.
//!
//! The cgroup's programs judge what goes over IPv4 and IPv6. This filter refuses what no cgroup program ever sees, and the ways
//! of typing as the approver, into a terminal or a window. Everything else is allowed.
//!
//! - `socket`, `socketpair`: AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK only. All others (packet,
//!   vsock, XDP, Bluetooth, SMC, ALG, …): EPERM.
//! - `socket` of AF_NETLINK for NETLINK_USERSOCK: EPERM. It reaches other processes, and no service of the kernel's.
//! - `setsockopt` IP_FREEBIND and IPV6_FREEBIND: EPERM. What is sent to this machine itself from an address of production's
//!   is answered to production, by the kernel or by a server here.
//! - `setsockopt` TCP_ULP: EPERM. The kernel would encrypt (kTLS) what `[tls] gate = "kernel"` has read, or turn the connection into one
//!   without packets (SMC). TLS libraries encrypt by themselves then.
//! - `setsockopt` SO_TXTIME and SO_MAX_PACING_RATE: EPERM. Packets are judged before they are queued, and a program could have the queue
//!   send them after the hole's end.
//! - `setns`: EPERM. A network namespace of the same user's that was made outside, as a container's, forwards packets that
//!   no hook judges. A session may still make a namespace of its own.
//! - `open_by_handle_at`: EPERM. It opens a namespace, and a process, by a number that anybody can guess, where Landlock
//!   would have refused its path.
//! - io_uring: EPERM, for its own socket operation would pass by the line above. Programs fall back as
//!   they do where the sysctl `kernel.io_uring_disabled` is set. Refused is the use of a ring too, for
//!   it might come from outside.
//! - `ioctl` TIOCSTI and TIOCLINUX: EPERM.
//! - `ioctl` UI_DEV_CREATE: EPERM. A keyboard made by `/dev/uinput` types into whatever window a person looks at.
//! - `ioctl` TUNSETIFF: EPERM. Packets that are written to a TUN or TAP device have no socket, and one that is
//!   made for a user (for virtual machines, say) takes them from every process of that user.
//! - `request_key` with a description to make the key from: EPERM. The kernel would start a program for it,
//!   outside of every session, that may ask a name server. Looking for a key that is there is allowed.
//! - `prlimit64` that sets a limit of another process than the caller, as a number: EPERM. Landlock does not keep a session
//!   from it, and a process that may use no more time is killed.
//! - All of that in the x32 form too, whatever the arguments.
//! - Calls of another architecture kill the process (SIGSYS): the numbers mean other things there.
//!   So **32-bit programs do not run in a session** on a 64-bit machine.

use std::collections::BTreeMap;

use guard_sys::abi::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, IP_FREEBIND, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP,
    IPV6_FREEBIND, NETLINK_USERSOCK, SO_MAX_PACING_RATE, SO_TXTIME, SOL_SOCKET, SYS_io_uring_enter,
    SYS_io_uring_register, SYS_io_uring_setup, SYS_ioctl, SYS_open_by_handle_at, SYS_prlimit64,
    SYS_request_key, SYS_setns, SYS_setsockopt, SYS_socket, SYS_socketpair, TCP_ULP, TIOCLINUX,
    TIOCSTI, TUNSETIFF, UI_DEV_CREATE,
};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
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
    let requests = [TIOCSTI, TIOCLINUX, TUNSETIFF, UI_DEV_CREATE]
        .into_iter()
        .map(|request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request.into())?]))
        .collect::<Result<_, _>>()?;
    let of_another = SeccompRule::new(vec![
        argument(0, SeccompCmpOp::Ne, 0)?,
        SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?,
    ])?;
    let described = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    let both = |[first, second]: [(u8, i32); 2]| {
        SeccompRule::new(vec![
            argument(first.0, SeccompCmpOp::Eq, first.1 as u64)?,
            argument(second.0, SeccompCmpOp::Eq, second.1 as u64)?,
        ])
    };
    let mut sockets = families.clone();
    sockets.push(both([(0, AF_NETLINK), (2, NETLINK_USERSOCK)])?);
    let options = vec![
        both([(1, IPPROTO_IP), (2, IP_FREEBIND)])?,
        both([(1, IPPROTO_IPV6), (2, IPV6_FREEBIND)])?,
        both([(1, IPPROTO_TCP), (2, TCP_ULP)])?,
        both([(1, SOL_SOCKET), (2, SO_TXTIME)])?,
        both([(1, SOL_SOCKET), (2, SO_MAX_PACING_RATE)])?,
    ];
    // A call without rules is refused whatever its arguments.
    let refused = BTreeMap::from_iter([
        (SYS_socket, sockets),
        (SYS_socketpair, families),
        (SYS_setsockopt, options),
        (SYS_setns, vec![]),
        (SYS_open_by_handle_at, vec![]),
        (SYS_ioctl, requests),
        (SYS_prlimit64, vec![of_another]),
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
    const X32_SETSOCKOPT: i64 = 541;
    let numbers = refused.keys().copied();
    let numbers = numbers.chain([X32_IOCTL, X32_SETSOCKOPT]);
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
        assert!(length < 220, "{length} instructions");
    }
}
