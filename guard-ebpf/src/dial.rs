//! Dials: connections of processes that serve a listener which a session has connected to. The listener may be a relay, and
//! its dials show its upstreams. guardd names the processes; those that these have started count with them. Nothing is
//! refused here, and no other process is reported.

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::{Array, HashMap, LruHashMap},
    macros::{btf_map, cgroup_sock_addr},
    programs::SockAddrContext,
};
use guard_common::{BootTime, Connection, Dialed, Dialer, Hook, Protocol, at};

use crate::{
    ALLOW, ctx, emit, hold, kernel, layout,
    maps::{self, NO_PREALLOC, SESSION_LEVEL, Shared},
    rates,
    redirect::Redirect,
};

/// The shortest interval, in nanoseconds, between two reports of a process's connections to the same destination.
const PAUSE: u64 = 100_000_000;
/// Reports in a second for one process and its descendants. Those in sessions also count on the share of their outermost
/// session.
const TOLD_A_SECOND: u64 = 256;
/// Processes that are looked at, the one that connects first and then its ancestors: a relay may start processes for each connection.
const GENERATIONS: u32 = 5;

/// The processes, by their ids. Written by guardd.
#[btf_map]
static DIALERS: HashMap<u32, Dialer, 65536, NO_PREALLOC> = HashMap::new();

/// The latest deadline of all entries, after which other processes of the machine lose no time. Written by guardd.
#[btf_map]
static DIALING: Array<u64, 1> = Array::new();

/// When each destination was last reported. Written here.
#[btf_map]
static DIALED: LruHashMap<Dialed, u64, 4096> = LruHashMap::new();

/// `connect` on an IPv4 socket, of any process of the machine.
#[cgroup_sock_addr(connect4)]
fn top_dial4(ctx: SockAddrContext) -> i32 {
    note(&ctx, &ctx::connection4(&ctx));
    ALLOW
}

/// `connect` on an IPv6 socket, of any process of the machine.
#[cgroup_sock_addr(connect6)]
fn top_dial6(ctx: SockAddrContext) -> i32 {
    note(&ctx, &ctx::connection6(&ctx));
    ALLOW
}

/// Programs that resolve names often connect a UDP socket to each address, and send nothing: only TCP connections count.
#[inline(always)]
fn note(ctx: &SockAddrContext, to: &Connection) {
    let now = kernel::boot_time();
    if to.protocol != Protocol::TCP || !is_anybody(now) || kernel::is_refused() {
        return;
    }
    let sk = ctx::socket(ctx);
    // It may never get there.
    if hold::is_held(sk) {
        return;
    }
    // A connection that was redirected to the guard's own proxy goes on to its original destination.
    let to = match Redirect::of(sk) {
        Some(redirect) if redirect.is_redirected() => redirect.asked(),
        _ => Connection::new(to.to, to.protocol, to.port),
    };
    // What a session's process does is not its parent's doing, if that is outside the session.
    let cgroup = if layout::is_within_root() {
        kernel::task_ancestor_cgroup(SESSION_LEVEL.load())
    } else {
        0
    };
    let mut task = kernel::current_task();
    // So few rounds never fail.
    let _: Option<()> = kernel::find(GENERATIONS, (), |_| {
        let process: u32 = kernel::peek(layout::field(task, at::TASK_TGID));
        if let Some(dialer) = dialer(process, cgroup, now) {
            tell(ctx, &to, process, dialer, cgroup, now);
        }
        task = kernel::peek(layout::field(task, at::TASK_PARENT));
        None
    });
}

#[inline(always)]
fn is_anybody(now: BootTime) -> bool {
    let until = DIALING.get_ptr(0);
    // SAFETY: an array's element; one aligned word.
    until.is_some_and(|until| now.0 < unsafe { until.read_volatile() })
}

/// The entry of a process, if the process is in that session's cgroup.
#[inline(always)]
fn dialer(process: u32, cgroup: u64, now: BootTime) -> Option<*mut Dialer> {
    let dialer = DIALERS.get_ptr_mut(process)?;
    // SAFETY: a live map value; aligned words.
    let (until, of) = unsafe {
        (
            (&raw const (*dialer).until.0).read_volatile(),
            (&raw const (*dialer).cgroup).read_volatile(),
        )
    };
    (now.0 < until && of == cgroup).then_some(dialer)
}

#[inline(always)]
fn tell(
    ctx: &SockAddrContext,
    to: &Connection,
    process: u32,
    dialer: *mut Dialer,
    cgroup: u64,
    now: BootTime,
) {
    let key = Dialed {
        to: to.to,
        process,
        port: u32::from(to.port),
    };
    let told = DIALED.get_ptr(key);
    // SAFETY: a live map value; one aligned word.
    let is_told = told.is_some_and(|told| now.0 < unsafe { told.read_volatile() } + PAUSE);
    if is_told {
        return;
    }
    if !has_sessions_room(cgroup) {
        return lose(dialer);
    }
    // SAFETY: pointers into a live map value.
    let before = unsafe {
        let (window, count) = (&raw mut (*dialer).window, &raw mut (*dialer).in_window);
        rates::count_in(window, count, now, rates::SECOND)
    };
    let hook = match before {
        TOLD_A_SECOND => Hook::ManyDials,
        more if more > TOLD_A_SECOND => return,
        _ => Hook::Dial,
    };
    if !emit::dial(hook, to, process, kernel::netns_cookie(ctx.as_ptr())) {
        return lose(dialer);
    }
    let _ = DIALED.insert(key, now.0, 0);
}

#[inline(always)]
fn lose(dialer: *mut Dialer) {
    // SAFETY: a live map value, aligned to 8.
    unsafe { kernel::fetch_add(&raw mut (*dialer).lost, 1) };
}

/// Whether the share of the process's session has room: a session may have any number of processes, and all share the ring
/// buffer.
#[inline(always)]
fn has_sessions_room(cgroup: u64) -> bool {
    cgroup == 0 || rates::may_tell(maps::session(cgroup).id, Shared::Dials)
}
