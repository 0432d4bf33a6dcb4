//! Connections that are held for an approver: `connect` goes on, and egress drops the SYN, until a hole lets it pass.
//!
//! The kernel's own timer sends a dropped SYN again, so a held connection goes on with the first SYN after the answer. The
//! interval is short where egress answers "congestion" ([`PROBE`]): TCP then tries again half a second later
//! (`TCP_RESOURCE_PROBE_INTERVAL`), as many times as `TCP_SYNCNT` says, at most 127. After these the interval is
//! [`LONGEST_STEP`] if the kernel has `TCP_RTO_MAX_MS`, and else doubles each time.
//!
//! Nothing here lets a packet pass. Without guardd the SYN is dropped until the deadline, and then the connection fails.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTO_CB,
        BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TIMEOUT_INIT, BPF_TCP_SYN_SENT, bpf_sock,
    },
    programs::{SockAddrContext, SockOpsContext},
};
use guard_common::{BootTime, Connection, Decision, Held, Protocol, SessionId};

use crate::{
    ctx, kernel,
    maps::{self, FIRST_PROBE, HELD, HoldState, Shared},
    rates,
};

/// The answer of egress that drops a packet and reports congestion to TCP (`NET_XMIT_DROP`).
pub(crate) const PROBE: i32 = 2;
/// The answer of egress that drops a packet, and nothing else.
const DROP: i32 = 0;

/// Options of linux/tcp.h, and one of linux/bpf.h.
const TCP_SYNCNT: i32 = 7;
const TCP_RTO_MAX_MS: i32 = 44;
const TCP_BPF_IW: i32 = 1001;
/// The most that `TCP_SYNCNT` takes.
const MOST_PROBES: i32 = 127;
/// `net.ipv4.tcp_syn_retries` as kernels have it: for a socket that was held before and is connected again.
const USUAL_PROBES: i32 = 6;
/// In milliseconds.
const LONGEST_STEP: i32 = 4000;
/// In milliseconds: `TCP_RTO_MAX` of net/tcp.h, for the time after.
const USUAL_LONGEST_STEP: i32 = 120_000;
/// Segments that a connection begins with (RFC 6928). One that has sent its SYN several times would begin with one.
const INITIAL_WINDOW: i32 = 10;

/// Flag beside the port: `connect` could not tell whether the connection may pass, and its first packet is judged.
const IN_DOUBT: u32 = 1 << 16;
/// How long, in nanoseconds, such a connection is held without an approver: guardd ends it before, or lets it pass.
const DOUBT_TIMEOUT: u64 = 10_000_000_000;
/// The first probe of such a connection comes sooner by this factor, and the interval doubles for this many probes.
const DOUBT_PROBES_SOONER: u32 = 20;
const DOUBT_PROBES: u32 = 6;

/// Nanoseconds for each connection of an outermost session and those inside it that begins to be held, and how many do at once:
/// [`HELD`] has room for 65,536 of all sessions, and guardd counts them only when it reviews.
const INTERVAL: u64 = rates::SECOND / 128;
const AT_ONCE: u64 = 4096;

/// The record of a TCP socket whose connection is held. `connect` and what sends its SYN both happen under the socket's lock.
#[derive(Clone, Copy)]
pub(crate) struct Hold(*mut HoldState);

impl Hold {
    /// The record of a socket whose connection is held, or was.
    #[inline(always)]
    pub(crate) fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::holding(), sk).map(Self)
    }

    /// The deadline; 0 if the connection is not held.
    #[inline(always)]
    fn until(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).until).read_volatile() }
    }

    /// Ends the hold: the socket connects again.
    #[inline(always)]
    pub(crate) fn clear(self, ctx: &SockAddrContext) {
        if self.until() == 0 {
            return;
        }
        self.end();
        kernel::set_tcp_option(ctx.as_ptr(), TCP_SYNCNT, USUAL_PROBES);
        // The callback for its end may have removed it already.
        let _ = HELD.remove(kernel::socket_cookie(ctx.as_ptr()));
    }

    #[inline(always)]
    pub(crate) fn end(self) {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*self.0).until).write_volatile(0) };
    }

    /// `doubt` is [`IN_DOUBT`], or 0.
    #[inline(always)]
    fn note(
        self,
        to: &Connection,
        session: SessionId,
        [since, until]: [u64; 2],
        quick: u64,
        doubt: u32,
    ) {
        let tgid = u64::from(kernel::current_pid_tgid().1);
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            ctx::write_address(&raw mut (*state).destination, &to.to);
            (&raw mut (*state).session).write_volatile(session.0);
            (&raw mut (*state).port).write_volatile(u32::from(to.port) | doubt);
            (&raw mut (*state).drops).write_volatile(quick << 32);
            (&raw mut (*state).since).write_volatile(since);
            (&raw mut (*state).tgid).write_volatile(tgid);
            (&raw mut (*state).until).write_volatile(until);
        }
    }

    /// Whether its first packet tells more than `connect` could.
    #[inline(always)]
    fn is_in_doubt(self) -> bool {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).port).read_volatile() & IN_DOUBT != 0 }
    }

    /// The destination; another program's listener by `Address::of_listener`.
    #[inline(always)]
    fn asked(self) -> Connection {
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            let to = ctx::read_address(&raw const (*state).destination);
            let port = (&raw const (*state).port).read_volatile() as u16;
            Connection::new(to, Protocol::TCP, port)
        }
    }

    /// The session of the task that connected.
    #[inline(always)]
    fn session(self) -> SessionId {
        // SAFETY: a live map value.
        SessionId(unsafe { (&raw const (*self.0).session).read_volatile() })
    }

    /// Whether the held connection is one of that session to that destination.
    #[inline(always)]
    fn is_for(self, to: &Connection, session: SessionId) -> bool {
        let asked = self.asked();
        let is_there = asked.to.connected().0 == to.to.0 && asked.port == to.port;
        self.until() != 0
            && is_there
            && self.session().0 == session.0
            && to.protocol == Protocol::TCP
    }

    /// Lists it in [`HELD`], where guardd finds it. False if there is no room, or its session has held too many of late.
    #[inline(always)]
    fn tell(self, cookie: u64) -> bool {
        if !rates::may_begin(self.session(), Shared::Held, INTERVAL, AT_ONCE, true) {
            return false;
        }
        // SAFETY: a live map value.
        let (since, tgid) = unsafe {
            (
                (&raw const (*self.0).since).read_volatile(),
                (&raw const (*self.0).tgid).read_volatile() as u32,
            )
        };
        let times = [BootTime(since), BootTime(self.until())];
        let held = Held::new(times, self.session(), tgid, &self.asked());
        HELD.insert(cookie, held, 0).is_ok()
    }

    /// Counts one more dropped packet, and returns what egress answers: [`PROBE`] or [`DROP`].
    #[inline(always)]
    fn drop_one(self) -> i32 {
        // SAFETY: a live map value; nobody else has the socket's lock.
        let before = unsafe {
            let drops = &raw mut (*self.0).drops;
            let before = drops.read_volatile();
            drops.write_volatile(before + 1);
            before
        };
        if self.is_in_doubt() && (before as u32) < DOUBT_PROBES {
            return DROP;
        }
        if before as u32 <= (before >> 32) as u32 {
            PROBE
        } else {
            DROP
        }
    }

    /// Whether exactly one of its packets was dropped.
    #[inline(always)]
    fn has_dropped_once(self) -> bool {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).drops).read_volatile() as u32 == 1 }
    }

    /// Whether any of its packets was dropped.
    #[inline(always)]
    fn has_dropped(self) -> bool {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).drops).read_volatile() as u32 != 0 }
    }
}

/// Holds a connection that an approver could allow. False if the connection must be refused: no approver follows, too many of the
/// session's have been held of late, or memory is short.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn begin(ctx: &SockAddrContext, to: &Connection, session: SessionId) -> bool {
    let now = kernel::boot_time();
    match maps::hold_terms(session, to, now) {
        Some((time, quick)) => hold(ctx, to, session, [now.0, now.0 + time], quick, 0),
        None => false,
    }
}

/// Holds a connection whose first packet tells more than `connect` could: for guardd, which lets it pass or ends it, and for an approver
/// if one follows. False as [`begin`].
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn begin_in_doubt(ctx: &SockAddrContext, to: &Connection, session: SessionId) -> bool {
    let now = kernel::boot_time();
    let (time, quick) = maps::hold_terms(session, to, now).unwrap_or((DOUBT_TIMEOUT, 0));
    let until = now.0 + time.max(DOUBT_TIMEOUT);
    hold(ctx, to, session, [now.0, until], quick, IN_DOUBT)
}

#[inline(always)]
fn hold(
    ctx: &SockAddrContext,
    to: &Connection,
    session: SessionId,
    times: [u64; 2],
    quick: u64,
    doubt: u32,
) -> bool {
    // Its turn is taken when it begins: `connect` may still fail.
    if !rates::may_begin(session, Shared::Held, INTERVAL, AT_ONCE, false) {
        return false;
    }
    let Some(hold) = kernel::new_socket_storage(maps::holding(), ctx::socket(ctx)).map(Hold) else {
        return false;
    };
    hold.note(to, session, times, quick, doubt);
    kernel::set_tcp_option(ctx.as_ptr(), TCP_SYNCNT, MOST_PROBES);
    true
}

/// Whether a packet's connection is held for another session than the one in which its socket was made. That one's policies do
/// not help: a socket that is passed on reaches what both may.
#[inline(always)]
pub(crate) fn is_of_another(sk: *mut bpf_sock, session: SessionId) -> bool {
    match Hold::of(sk) {
        Some(hold) => hold.until() != 0 && hold.session().0 != session.0,
        None => false,
    }
}

/// Whether a packet's connection is held.
#[inline(always)]
pub(crate) fn is_held(sk: *mut bpf_sock) -> bool {
    match Hold::of(sk) {
        Some(hold) => hold.until() != 0,
        None => false,
    }
}

/// The answer of egress for a packet that may not pass, if its connection is held.
#[inline(always)]
pub(crate) fn judge(sk: *mut bpf_sock, to: &Connection, session: SessionId) -> Option<i32> {
    let hold = Hold::of(sk)?;
    if hold.is_for(to, session) {
        Some(hold.drop_one())
    } else {
        None
    }
}

/// Whether the first packet of a connection that is held in doubt was dropped just now: `connect` has not reported it.
#[inline(always)]
pub(crate) fn is_first_doubt(sk: *mut bpf_sock) -> bool {
    Hold::of(sk).is_some_and(|hold| hold.is_in_doubt() && hold.has_dropped_once())
}

/// Notes that a packet passes: a connection that was held goes through `decision`'s hole from now on.
#[inline(always)]
pub(crate) fn note_passed(skb: *mut __sk_buff, sk: *mut bpf_sock, decision: &Decision) {
    if decision.hole.0 != 0 && Hold::of(sk).is_some_and(|hold| hold.until() != 0) {
        maps::note_through(kernel::socket_cookie(skb.cast()), decision.hole);
    }
}

/// Handles the callbacks of TCP for a socket whose connection is held.
#[inline(always)]
pub(crate) fn operate(ctx: &SockOpsContext) {
    let Some(hold) = ctx::operated(ctx).and_then(Hold::of) else {
        return;
    };
    if hold.until() == 0 {
        return;
    }
    match ctx.op() {
        BPF_SOCK_OPS_TIMEOUT_INIT if hold.is_in_doubt() => {
            ctx.set_reply((FIRST_PROBE.load() / DOUBT_PROBES_SOONER).max(1));
        }
        BPF_SOCK_OPS_TIMEOUT_INIT => ctx.set_reply(FIRST_PROBE.load()),
        // Not in `connect`: that may still fail, and no callback would report the end.
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            if !hold.tell(kernel::socket_cookie(ctx.as_ptr())) {
                // guardd cannot find it, so it is not held for an approver: it fails soon.
                kernel::set_tcp_option(ctx.as_ptr(), TCP_SYNCNT, 1);
                return;
            }
            let flags = ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG;
            let _ = ctx.set_cb_flags(flags as i32);
        }
        BPF_SOCK_OPS_RTO_CB => {
            // Not before: the time until the first probe may not be longer than this.
            kernel::set_tcp_option(ctx.as_ptr(), TCP_RTO_MAX_MS, LONGEST_STEP);
            if kernel::boot_time().0 >= hold.until() {
                kernel::set_tcp_option(ctx.as_ptr(), TCP_SYNCNT, 1);
            }
        }
        BPF_SOCK_OPS_STATE_CB if ctx.arg(0) == BPF_TCP_SYN_SENT => {
            let _ = HELD.remove(kernel::socket_cookie(ctx.as_ptr()));
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            if hold.has_dropped() {
                kernel::set_tcp_option(ctx.as_ptr(), TCP_BPF_IW, INITIAL_WINDOW);
                kernel::set_tcp_option(ctx.as_ptr(), TCP_RTO_MAX_MS, USUAL_LONGEST_STEP);
            }
            kernel::set_tcp_option(ctx.as_ptr(), TCP_SYNCNT, USUAL_PROBES);
            // What was held in doubt is counted as refused by its first packet.
            if !hold.is_in_doubt() || hold.has_dropped() {
                maps::count_went_on(hold.session());
            }
            hold.end();
            let noted = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG;
            let _ = ctx.set_cb_flags((ctx.cb_flags() & !noted) as i32);
        }
        _ => {}
    }
}
