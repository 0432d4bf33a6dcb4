//! The kernel log, to debug a verdict: each decision with what decided it, 64 lines a second.
//!
//! Whether anything is logged is a constant that guardd sets when it loads the programs. If it is [`kernel_log::OFF`] the
//! verifier removes all that [`is_on`] leads to; only the load of the constant stays. A flag in a map would leave the code in
//! the programs for good. Lines are numbers, to which guardd adds names: the verifier would check each length of a name.
//!
//! Instructions that the verifier goes through, and those that are left (Linux 6.18, 2026-11-25):
//!
//! | | connect4 | connect6 | sendmsg4 | sendmsg6 | egress | sock_create |
//! |---|---|---|---|---|---|---|
//! | without this code | 11614, 2597 | 11901, 2631 | 9507, 2233 | 10024, 2260 | 21710, 3433 | 746, 414 |
//! | off | 11331, 2640 | 11572, 2669 | 9769, 2303 | 10009, 2316 | 21612, 3504 | 1651, 436 |
//! | on | 43055, 3514 | 43329, 3543 | 25713, 3129 | 25991, 3141 | 107354, 4687 | 9315, 1131 |

use core::mem::MaybeUninit;

use aya_ebpf::{
    Global,
    bindings::{__sk_buff, bpf_sock},
    btf_maps::Array,
    macros::btf_map,
};
use aya_log_ebpf::info;
use guard_common::{Address, Connection, HoleId, Hook, LogLines, LogOutcome, Protocol, kernel_log};

use crate::{case::Case, ctx, kernel, maps, rates, socket::Socket};

/// Lines in a second, of all sessions together.
const LINES_A_SECOND: u64 = 64;

/// The session whose decisions are logged: see [`kernel_log`]. Set by guardd when it loads the programs.
#[unsafe(no_mangle)]
static KERNEL_LOG: Global<u32> = Global::new(kernel_log::OFF);

/// What was logged. Written here.
#[btf_map]
static LOG_LINES: Array<LogLines, 1> = Array::new();

/// Whether any decisions are logged.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    KERNEL_LOG.load() != kernel_log::OFF
}

/// A decision by the policies, on the destination that was `asked` for.
#[inline(always)]
pub(crate) fn case(case: &Case, asked: &Connection, hook: Hook, outcome: LogOutcome) {
    if is_on() {
        let decision = case.decision();
        let by = u64::from(decision.policy.0)
            | u64::from(decision.rule) << 32
            | (decision.verdict as u64) << 48;
        write(
            case.session.id.0,
            asked,
            by,
            how(hook, decision.hole, outcome),
        );
    }
}

/// A decision without the policies, for a cgroup.
#[inline(always)]
pub(crate) fn plain(cgroup: u64, to: &Connection, hook: Hook, hole: HoleId, outcome: LogOutcome) {
    if is_on() {
        write(maps::session(cgroup).id.0, to, 0, how(hook, hole, outcome));
    }
}

/// The same of a packet.
#[inline(always)]
pub(crate) fn packet(skb: *mut __sk_buff, to: &Connection, outcome: LogOutcome) {
    if is_on() {
        let cgroup = kernel::packet_ancestor_cgroup(skb, maps::SESSION_LEVEL.load());
        plain(cgroup, to, Hook::Egress, HoleId(0), outcome);
    }
}

/// The same of a packet that cannot be parsed.
#[inline(always)]
pub(crate) fn unreadable(skb: *mut __sk_buff) {
    if is_on() {
        let nowhere = Connection::new(Address::default(), Protocol(0), 0);
        packet(skb, &nowhere, LogOutcome::Unreadable);
    }
}

/// The same of a packet of a flow in the verdict cache.
#[inline(always)]
pub(crate) fn cached_flow(skb: *mut __sk_buff, sk: *mut bpf_sock) {
    if is_on() {
        write_cached(skb, sk);
    }
}

/// A function of its own in the kernel too, as [`crate::emit::due`].
#[inline(never)]
fn write_cached(skb: *mut __sk_buff, sk: *mut bpf_sock) {
    let mut to = MaybeUninit::uninit();
    if !ctx::packet(skb, &mut to) {
        return;
    }
    // SAFETY: `packet` wrote it.
    let to = unsafe { to.assume_init_ref() };
    let cgroup = kernel::packet_ancestor_cgroup(skb, maps::SESSION_LEVEL.load());
    let hole = Socket::of(sk).map_or(HoleId(0), |socket| {
        socket.cached(to, maps::generation(), cgroup).hole
    });
    plain(cgroup, to, Hook::Egress, hole, LogOutcome::Cached);
}

#[inline(always)]
fn how(hook: Hook, hole: HoleId, outcome: LogOutcome) -> u64 {
    u64::from(hole.0) | (hook as u64) << 32 | (outcome as u64) << 40
}

/// `by`: the policy's slot, the rule from bit 32 and the verdict from bit 48 on. `how`: the hole, the hook from bit 32 and the
/// outcome from bit 40 on. The line has numbers only, since the verifier would check each length of a name.
///
/// A function of its own in the kernel too, as [`crate::emit::due`].
#[inline(never)]
fn write(session: u32, to: &Connection, by: u64, how: u64) {
    let wanted = KERNEL_LOG.load();
    if (wanted != kernel_log::ALL && wanted != session) || !has_room() {
        return;
    }
    let address: [u8; 16] = zerocopy::transmute!(to.to);
    info!(
        &(),
        "{} {} {:i} {} {} {} {} {} {} {}",
        (how >> 32) as u8,
        (how >> 40) as u8,
        address,
        to.port,
        to.protocol.0,
        session,
        by as u32,
        (by >> 32) as u16,
        (by >> 48) as u8,
        how as u32
    );
}

/// Whether one more line may be written in this second. Counts it, or that it was left out.
#[inline(always)]
fn has_room() -> bool {
    let Some(lines) = LOG_LINES.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: pointers into a live map value, aligned to 8.
    unsafe {
        let (window, count) = (&raw mut (*lines).window, &raw mut (*lines).in_window);
        let has_room =
            rates::count_in(window, count, kernel::boot_time(), rates::SECOND) < LINES_A_SECOND;
        let counter = if has_room {
            &raw mut (*lines).written
        } else {
            &raw mut (*lines).left_out
        };
        kernel::fetch_add(counter, 1);
        has_room
    }
}
