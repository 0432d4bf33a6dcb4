//! Connections of processes that serve a listener which a session has connected to: the listener may be a relay, and this is
//! where it leads. guardd names the processes; what these have started counts with them. Nothing is refused here, and of
//! nobody else anything told.

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::{Array, HashMap, LruHashMap},
    macros::{btf_map, cgroup_sock_addr},
    programs::SockAddrContext,
};
use guard_common::{BootTime, Connection, Dialed, Dialer, Protocol, at};

use crate::{
    ALLOW, ctx, emit, kernel, layout,
    maps::{NO_PREALLOC, SESSION_LEVEL},
};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Connections of one process and what it has started that are told of, at most.
const TOLD_A_SECOND: u64 = 64;
/// A process may be so many generations away from the one that guardd knows: a relay may start others for each connection.
const GENERATIONS: u32 = 4;

/// The processes, by their ids. Written by guardd.
#[btf_map]
static DIALERS: HashMap<u32, Dialer, 4096, NO_PREALLOC> = HashMap::new();

/// When the last of them is none any more, so that all others of the machine lose no time. Written by guardd.
#[btf_map]
static DIALING: Array<u64, 1> = Array::new();

/// When guardd was last told of that. Written here.
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

/// Who asks for an address often connects a UDP socket, to all that there are, and sends nothing: only TCP leads anywhere.
#[inline(always)]
fn note(ctx: &SockAddrContext, to: &Connection) {
    let now = kernel::boot_time();
    if to.protocol != Protocol::TCP || !is_anybody(now) {
        return;
    }
    let Some((process, dialer)) = dialer(now) else {
        return;
    };
    let key = Dialed {
        to: to.to,
        process,
        port: u32::from(to.port),
    };
    let told = DIALED.get_ptr(key);
    // SAFETY: a live map value; one aligned word.
    let is_told = told.is_some_and(|told| now.0 < unsafe { told.read_volatile() } + SECOND);
    if is_told || !has_room(dialer, now) {
        return;
    }
    if emit::dial(to, process, kernel::netns_cookie(ctx.as_ptr())) {
        let _ = DIALED.insert(key, now.0, 0);
    }
}

#[inline(always)]
fn is_anybody(now: BootTime) -> bool {
    let until = DIALING.get_ptr(0);
    // SAFETY: an array's element; one aligned word.
    until.is_some_and(|until| now.0 < unsafe { until.read_volatile() })
}

/// The process that guardd knows: the current one, or one that started it. What a session does is none of those outside
/// who started that.
#[inline(always)]
fn dialer(now: BootTime) -> Option<(u32, *mut Dialer)> {
    let cgroup = match layout::is_within_root() {
        true => kernel::task_ancestor_cgroup(SESSION_LEVEL.load()),
        false => 0,
    };
    let mut task = kernel::current_task();
    for _ in 0..GENERATIONS {
        let process: u32 = kernel::peek(layout::field(task, at::TASK_TGID));
        if let Some(dialer) = DIALERS.get_ptr_mut(process) {
            // SAFETY: a live map value; aligned words.
            let (until, of) = unsafe {
                (
                    (&raw const (*dialer).until.0).read_volatile(),
                    (&raw const (*dialer).cgroup).read_volatile(),
                )
            };
            if now.0 < until && of == cgroup {
                return Some((process, dialer));
            }
        }
        task = kernel::peek(layout::field(task, at::TASK_PARENT));
    }
    None
}

/// Whether one more is told of in this second.
#[inline(always)]
fn has_room(dialer: *mut Dialer, now: BootTime) -> bool {
    // SAFETY: pointers into a live map value.
    unsafe {
        let (window, count) = (&raw mut (*dialer).window, &raw mut (*dialer).in_window);
        emit::is_within_limit(window, count, now, TOLD_A_SECOND)
    }
}
