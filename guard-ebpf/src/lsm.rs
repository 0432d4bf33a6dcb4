//! Programs at the kernel's security hooks: they are run for every process of the machine, and judge what those in sessions do
//! to others. guardd loads them as programs of a security module, or to run before the functions that call the modules: both
//! get the same arguments.
//!
//! A connection to a Unix socket is judged by its listener: by the cgroup in which the listening socket was made. A network
//! socket that is passed in, and a signal, are judged likewise. The kernel's structures are read at offsets that guardd finds
//! in its type information (BTF). What cannot be read counts as another's.

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::{Array, HashMap},
    macros::{btf_map, lsm},
    programs::LsmContext,
};
use guard_common::{
    AllowedName, AllowedSocket, LSM_JUDGES, LsmEvent, LsmHook, LsmSession, MAX_CHAIN, NAME_SIZE, at,
};

use crate::{
    emit, kernel,
    layout::{self, field, socket_cgroup},
    maps::{self, EVENTS, NO_PREALLOC, SESSION_LEVEL},
};

const GO_ON: i32 = 0;
/// `-EPERM`
const REFUSE: i32 = -1;

/// `AF_UNIX` of linux/socket.h.
const UNIX: u32 = 1;
/// `S_IFMT` and `S_IFSOCK` of linux/stat.h.
const KIND_OF_FILE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

/// How each session is judged, by the id of its cgroup. Written by guardd.
#[btf_map]
static LSM_SESSIONS: HashMap<u64, LsmSession, 4096, NO_PREALLOC> = HashMap::new();

/// Sockets of others that sessions may connect to: 1. Written by guardd.
#[btf_map]
static LSM_SOCKETS: HashMap<AllowedSocket, u8, 16384, NO_PREALLOC> = HashMap::new();

/// Names that sessions may connect to: 1. Written by guardd.
#[btf_map]
static LSM_NAMES: HashMap<AllowedName, u8, 16384, NO_PREALLOC> = HashMap::new();

/// The cookie of a socket to which all connections are refused: by it guardd finds out whether the programs are run. Written by
/// guardd, 0 but for that moment.
#[btf_map]
static LSM_PROBE: Array<u64, 1> = Array::new();

/// See [`LSM_JUDGES`].
#[btf_map]
static LSM_STATE: Array<u64, 5> = Array::new();

/// `connect` on a connection-oriented Unix socket.
#[lsm(hook = "unix_stream_connect")]
pub fn unix_stream_connect(ctx: LsmContext) -> i32 {
    if is_probe(&ctx) {
        return REFUSE;
    }
    let Some(session) = judged() else {
        return GO_ON;
    };
    judge_socket(session, argument(&ctx, 1), LsmHook::UnixConnect)
}

/// `connect` and `sendto` on a Unix datagram socket. A connected one was judged when it connected.
#[lsm(hook = "unix_may_send")]
pub fn unix_may_send(ctx: LsmContext) -> i32 {
    note_asked(LsmHook::UnixSend);
    let Some(session) = judged() else {
        return GO_ON;
    };
    let [own, other] = [0, 1].map(|n| kernel::peek::<u64>(field(argument(&ctx, n), at::SOCKET_SK)));
    if other != 0 && kernel::peek::<u64>(field(own, at::UNIX_PEER)) == other {
        return GO_ON;
    }
    judge_socket(session, other, LsmHook::UnixSend)
}

/// A file that is received by `SCM_RIGHTS` or pidfd_getfd(2).
#[lsm(hook = "file_receive")]
pub fn file_receive(ctx: LsmContext) -> i32 {
    note_asked(LsmHook::Receive);
    let Some(session) = judged() else {
        return GO_ON;
    };
    let file = argument(&ctx, 0);
    let inode: u64 = kernel::peek(field(file, at::FILE_INODE));
    let mode: Option<u16> = kernel::try_peek(field(inode, at::INODE_MODE));
    let socket: Option<u64> = kernel::try_peek(field(file, at::FILE_PRIVATE));
    // A file opened with O_PATH has no socket.
    if mode.is_some_and(|mode| mode & KIND_OF_FILE != SOCKET) || socket == Some(0) {
        return GO_ON;
    }
    let sk: u64 = kernel::peek(field(socket.unwrap_or(0), at::SOCKET_SK));
    let family = u32::from(kernel::peek::<u16>(field(sk, at::SK_FAMILY)));
    if family == UNIX || is_within(session_of(socket_cgroup(sk)), session) {
        return GO_ON;
    }
    refuse(session, LsmHook::Receive, family, 0)
}

/// A signal.
#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    note_asked(LsmHook::Kill);
    let Some(session) = judged() else {
        return GO_ON;
    };
    let (task, credentials) = (argument(&ctx, 0), argument(&ctx, 3));
    // With credentials of its own it is not the current task's: a USB device signals the process that has asked it to.
    let set: u64 = kernel::peek(field(task, at::TASK_CGROUPS));
    let cgroup: u64 = kernel::peek(field(set, at::CSET_CGROUP));
    if credentials != 0 || is_within(session_of(cgroup), session) {
        return GO_ON;
    }
    let process = kernel::peek(field(task, at::TASK_TGID));
    refuse(session, LsmHook::Kill, process, 0)
}

/// The current task's session, if it is judged; 0 for a task in the guard's root that no session owns.
#[inline(always)]
fn judged() -> Option<u64> {
    let level = SESSION_LEVEL.load();
    if !layout::is_within_root() || !judges() {
        return None;
    }
    let session = kernel::task_ancestor_cgroup(level);
    match known(session) {
        Some(known) if known.free != 0 => None,
        _ => Some(session),
    }
}

#[inline(always)]
fn judges() -> bool {
    // SAFETY: an array's element; one aligned word.
    let judges = LSM_STATE
        .get_ptr(LSM_JUDGES)
        .map_or(0, |judges| unsafe { judges.read_volatile() });
    judges != 0
}

#[inline(always)]
fn known(session: u64) -> Option<LsmSession> {
    // SAFETY: a live map value, of plain numbers. guardd writes it before the session has a process; later it replaces it as a whole,
    // with another `free` alone.
    unsafe { LSM_SESSIONS.get(session) }.copied()
}

#[inline(always)]
fn is_probe(ctx: &LsmContext) -> bool {
    let cookie = probe();
    cookie != 0 && kernel::peek::<u64>(field(argument(ctx, 1), at::SK_COOKIE)) == cookie
}

#[inline(always)]
fn note_asked(hook: LsmHook) {
    if probe() == 0 {
        return;
    }
    if let Some(asked) = LSM_STATE.get_ptr_mut(hook as u32) {
        // SAFETY: an array's element; one aligned word.
        unsafe { asked.write_volatile(1) };
    }
}

#[inline(always)]
fn probe() -> u64 {
    // SAFETY: an array's element; one aligned word.
    LSM_PROBE
        .get_ptr(0)
        .map_or(0, |probe| unsafe { probe.read_volatile() })
}

#[inline(always)]
fn judge_socket(session: u64, other: u64, hook: LsmHook) -> i32 {
    let theirs = session_of(socket_cgroup(other));
    if session != 0 && theirs == session || is_allowed(session, other) {
        return GO_ON;
    }
    refuse(session, hook, 0, other)
}

/// Whether all sessions, or this one, may connect to a socket of others.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "the stack has no room for another key"
)]
fn is_allowed(session: u64, sk: u64) -> bool {
    let cookie: u64 = kernel::peek(field(sk, at::SK_COOKIE));
    let by_cookie = |session| {
        let key = AllowedSocket { session, cookie };
        LSM_SOCKETS.get_ptr(key).is_some()
    };
    // A socket whose cookie was never asked for is in no list.
    if cookie != 0 && (by_cookie(0) || by_cookie(session)) {
        return true;
    }
    let mut key = AllowedName {
        session,
        name: [0; NAME_SIZE],
        length: 0,
    };
    // SAFETY: the pointer is to as many writable bytes.
    key.length = unsafe { read_name(key.name.as_mut_ptr(), sk) };
    if LSM_NAMES.get_ptr(&key).is_some() {
        return true;
    }
    key.session = 0;
    // Any user may bind a socket under any name, in a place of its own: only root's counts.
    kernel::peek::<u32>(field(sk, at::SK_UID)) == 0 && LSM_NAMES.get_ptr(&key).is_some()
}

/// Reads the name of a Unix socket, and returns its length; 0 if it has none.
///
/// # Safety
///
/// `to` is [`NAME_SIZE`] writable bytes, all of them 0.
#[inline(always)]
unsafe fn read_name(to: *mut u8, sk: u64) -> u32 {
    /// `sun_family`
    const FAMILY: u32 = 2;
    let address: u64 = kernel::peek(field(sk, at::UNIX_ADDR));
    let length: u32 = kernel::peek(field(address, at::ADDR_LEN));
    let length = kernel::opaque(u64::from(length.wrapping_sub(FAMILY)));
    if length > NAME_SIZE as u64 {
        return 0;
    }
    let name = field(address, at::ADDR_NAME) + u64::from(FAMILY);
    // SAFETY: the caller's; the length is at most as many.
    if unsafe { kernel::copy(to, length as u32, name) } {
        length as u32
    } else {
        0
    }
}

/// Refuses, and reports it.
#[inline(always)]
fn refuse(session: u64, hook: LsmHook, subject: u32, sk: u64) -> i32 {
    emit::other(maps::session(session).id, |now| {
        let Some(mut entry) = EVENTS.reserve_untyped::<LsmEvent>(0) else {
            return false;
        };
        let (pid, tgid) = kernel::current_pid_tgid();
        entry.write(LsmEvent {
            at: now,
            cgroup: session,
            pid,
            tgid,
            subject,
            hook: hook as u32,
            comm: [0; 16],
            name: [0; NAME_SIZE],
            pad: [0; 4],
        });
        // SAFETY: the entry was just written.
        let event = unsafe { &mut *entry.as_mut_ptr() };
        kernel::current_comm(&mut event.comm);
        if sk != 0 {
            // SAFETY: the name was just made of as many zeros.
            unsafe { read_name(event.name.as_mut_ptr(), sk) };
        }
        entry.submit(0);
        true
    });
    REFUSE
}

/// Whether a session is that one, or inside it, however deep.
#[inline(always)]
fn is_within(mut session: u64, around: u64) -> bool {
    for _ in 0..MAX_CHAIN {
        if session == 0 || around == 0 {
            return false;
        }
        if session == around {
            return true;
        }
        session = known(session).map_or(0, |known| known.outer);
    }
    false
}

/// The id of a cgroup's ancestor at the level of sessions; 0 if it has none.
#[inline(always)]
fn session_of(cgroup: u64) -> u64 {
    layout::ancestor(cgroup, SESSION_LEVEL.load())
}

/// An argument of the hook, as a number: the verifier does not track a pointer that is read so.
#[inline(always)]
fn argument(ctx: &LsmContext, n: usize) -> u64 {
    kernel::peek(ctx.as_ptr() as u64 + 8 * n as u64)
}
