//! What tasks in sessions do with sockets from outside, and with Unix sockets, judged at the top of the hierarchy: guardd
//! attaches these programs to its root, where they run for every process of the machine, and allow all that are not in the
//! guard's root.
//!
//! The kernel's structures behind a context are read at the offsets of [`layout`]: the context itself tells neither the cgroup
//! in which a socket was made, nor the path of a Unix socket.

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::HashMap,
    macros::{btf_map, cgroup_sock_addr},
    programs::SockAddrContext,
};
use guard_common::{NAME_SIZE, UnixSession, at, unix_flags};

use crate::{
    ALLOW, REFUSE, kernel,
    layout::{self, field},
    maps::{NO_PREALLOC, SESSION_LEVEL},
};

/// `PROC_USER_INIT_INO` of linux/proc_ns.h: the machine's own user namespace.
const USER_INIT_INO: u32 = 0xefff_fffd;
/// `sun_family`, in bytes.
const FAMILY: u64 = 2;

/// The path of a Unix socket, padded with zeros. In words: the verifier requires each byte of a key to be written, and LLVM
/// writes zeros of that alignment by itself.
type SocketPath = [u32; NAME_SIZE / 4];

/// How the Unix sockets of each session are judged, by the id of its cgroup. Written by guardd.
#[btf_map]
static UNIX: HashMap<u64, UnixSession, 4096, NO_PREALLOC> = HashMap::new();

/// Paths to which every session may connect without a supervisor: 1. Written by guardd.
#[btf_map]
static UNIX_PATHS: HashMap<SocketPath, u8, 256, NO_PREALLOC> = HashMap::new();

/// `connect` on an IPv4 socket, of any process of the machine.
#[cgroup_sock_addr(connect4)]
fn top_connect4(ctx: SockAddrContext) -> i32 {
    judge_socket(&ctx)
}

/// `connect` on an IPv6 socket, of any process of the machine.
#[cgroup_sock_addr(connect6)]
fn top_connect6(ctx: SockAddrContext) -> i32 {
    judge_socket(&ctx)
}

/// A datagram with an address of its own, IPv4, of any process of the machine.
#[cgroup_sock_addr(sendmsg4)]
fn top_sendmsg4(ctx: SockAddrContext) -> i32 {
    judge_socket(&ctx)
}

/// A datagram with an address of its own, IPv6, of any process of the machine.
#[cgroup_sock_addr(sendmsg6)]
fn top_sendmsg6(ctx: SockAddrContext) -> i32 {
    judge_socket(&ctx)
}

/// `connect` and `sendto` on a Unix socket, of any process of the machine.
///
/// aya has no name for the hooks `connect_unix` and `sendmsg_unix`, and rejects an object with a section of such a name. So
/// this has the section of `connect4`, and guardd takes its instructions out of the object and loads them by itself.
#[cgroup_sock_addr(connect4)]
fn top_unix(ctx: SockAddrContext) -> i32 {
    judge_path(&ctx)
}

/// Refuses sockets that were made outside and are used within, because they were inherited or passed in. Programs at the
/// guard's root do not see them: the kernel runs those of the cgroup in which a socket was made.
#[inline(always)]
fn judge_socket(ctx: &SockAddrContext) -> i32 {
    if !layout::is_within_root() {
        return ALLOW;
    }
    let sk: u64 = kernel::peek(field(address(ctx), at::SOCK_ADDR_SK));
    if layout::is_made_within_root(sk) {
        ALLOW
    } else {
        REFUSE
    }
}

/// A path is compared and never looked up: so only paths count that no agent can redirect, in directories of root's, and only
/// for tasks that cannot mount anything there, as they could in a user namespace of their own. In that of `guard run --user
/// root` nobody can mount, nor change the root directory. A supervisor connects all other allowed sockets.
#[inline(always)]
fn judge_path(ctx: &SockAddrContext) -> i32 {
    if !layout::is_within_root() {
        return ALLOW;
    }
    let session = session(kernel::task_ancestor_cgroup(SESSION_LEVEL.load()));
    if session.flags & unix_flags::FREE != 0 {
        return ALLOW;
    }
    let asked: u64 = kernel::peek(field(address(ctx), at::SOCK_ADDR_UADDR));
    let mut path: SocketPath = [0; NAME_SIZE / 4];
    // SAFETY: the pointer is to as many writable bytes.
    unsafe { kernel::copy_string(path.as_mut_ptr().cast(), NAME_SIZE as u32, asked + FAMILY) };
    // An abstract name begins with a NUL.
    let is_allowed = if path[0].to_ne_bytes()[0] == 0 {
        session.flags & unix_flags::ABSTRACT != 0
    } else {
        has_plain_paths(&session) && UNIX_PATHS.get_ptr(path).is_some()
    };
    if is_allowed { ALLOW } else { REFUSE }
}

/// Whether paths have their usual meaning for the current task.
#[inline(always)]
fn has_plain_paths(session: &UnixSession) -> bool {
    let credentials: u64 = kernel::peek(field(kernel::current_task(), at::TASK_CRED));
    let namespace: u64 = kernel::peek(field(credentials, at::CRED_USER_NS));
    let number: u32 = kernel::peek(field(namespace, at::USER_NS_INUM));
    number == USER_INIT_INO || (number != 0 && number == session.user_namespace)
}

#[inline(always)]
fn session(cgroup: u64) -> UnixSession {
    let Some(session) = UNIX.get_ptr(cgroup) else {
        return UnixSession::default();
    };
    // SAFETY: a live map value; two aligned words.
    unsafe {
        UnixSession {
            flags: (&raw const (*session).flags).read_volatile(),
            user_namespace: (&raw const (*session).user_namespace).read_volatile(),
        }
    }
}

/// The address of the kernel's own context (`struct bpf_sock_addr_kern`), as a number: the verifier does not track a pointer
/// that is read so.
#[inline(always)]
fn address(ctx: &SockAddrContext) -> u64 {
    ctx.as_ptr() as u64
}
