//! Refusals: counted exactly, reported at a bounded rate.
//!
//! Whatever a session does in a loop costs guardd one event a second and destination, and
//! [`EVENTS_A_SECOND`] in all. Each refusal is in exactly one of `reported`, `summed_up` and `lost`.

use guard_common::{
    AttemptCount, AttemptKey, BootTime, Connection, Decision, Event, HELD_PAUSE, Hook, Session,
    SessionStats,
};

use crate::{
    kernel,
    maps::{ATTEMPTS, EVENTS, STATS},
};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// `BPF_NOEXIST` in linux/bpf.h.
const NO_EXIST: u64 = 1;

/// Events of one session at most.
const EVENTS_A_SECOND: u64 = 64;

/// What was refused.
pub(crate) struct Refusal<'a> {
    pub(crate) hook: Hook,
    pub(crate) cgroup: u64,
    pub(crate) session: &'a Session,
    pub(crate) to: &'a Connection,
    pub(crate) decision: &'a Decision,
    pub(crate) socket_type: u8,
    /// It waits for a person.
    pub(crate) held: bool,
}

impl Refusal<'_> {
    /// Counts it, and reports it where it is due.
    #[inline(always)]
    pub(crate) fn emit(&self) {
        let Some(stats) = STATS.get_ptr_mut(self.session.id.0) else {
            return;
        };
        Counter::Denied.add(stats);
        let now = kernel::boot_time();
        let counter = match self.count(now) {
            Some(count) if has_room(stats, now) => {
                if self.report(now, count) {
                    Counter::Reported
                } else {
                    Counter::Lost
                }
            }
            _ => Counter::SummedUp,
        };
        counter.add(stats);
    }

    /// Counts the attempt; how often it was made where it is due to be reported.
    #[inline(always)]
    fn count(&self, now: BootTime) -> Option<u64> {
        let key = AttemptKey {
            destination: self.to.to,
            session: self.session.id,
            port: self.to.port,
            protocol: self.to.protocol,
            verdict: self.decision.verdict as u8,
        };
        let first = AttemptCount {
            count: 1,
            reported: now,
        };
        let attempt = match ATTEMPTS.get_ptr_mut(key) {
            Some(attempt) => attempt,
            // Of two that are the first at once, one is the second.
            None if ATTEMPTS.insert(key, first, NO_EXIST).is_ok() => return Some(1),
            None => match ATTEMPTS.get_ptr_mut(key) {
                Some(attempt) => attempt,
                // No room: it is reported like a first.
                None => return Some(1),
            },
        };
        // SAFETY: pointers into a live map value; the count is only changed atomically, and two writers of
        // `reported` both write the present.
        unsafe {
            let count = kernel::fetch_add(&raw mut (*attempt).count, 1) + 1;
            let reported = &raw mut (*attempt).reported;
            // Somebody is to see soon what waits, also where it was refused just before.
            let pause = if self.held { HELD_PAUSE } else { SECOND };
            if now.0 < reported.read_volatile().0 + pause {
                return None;
            }
            reported.write_volatile(now);
            Some(count)
        }
    }

    /// False where the ring buffer is full.
    #[inline(always)]
    fn report(&self, now: BootTime, count: u64) -> bool {
        let Some(mut entry) = EVENTS.reserve(0) else {
            return false;
        };
        let mut event = Event {
            at: now,
            cgroup: self.cgroup,
            count,
            destination: self.to.to,
            session: self.session.id,
            uid: u32::MAX,
            policy: self.decision.policy.0,
            port: self.to.port,
            rule: self.decision.rule,
            protocol: self.to.protocol,
            verdict: self.decision.verdict as u8,
            hook: self.hook as u8,
            socket_type: self.socket_type,
            held: u8::from(self.held),
            ..Event::default()
        };
        // A packet may be sent by a timer or an interrupt: the current task is anybody.
        if !matches!(self.hook, Hook::Egress) {
            (event.pid, event.tgid) = kernel::current_pid_tgid();
            event.uid = kernel::current_uid();
            kernel::current_comm(&mut event.comm);
        }
        entry.write(event);
        entry.submit(0);
        true
    }
}

/// The refusal of a packet, reported.
///
/// A function of its own in the kernel too: its stack is not needed when others are called, and all that are at once
/// may have 512 bytes together.
#[inline(never)]
pub(crate) fn packet(cgroup: u64, session: &Session, to: &Connection, decision: &Decision) {
    Refusal {
        hook: Hook::Egress,
        cgroup,
        session,
        to,
        decision,
        socket_type: 0,
        held: false,
    }
    .emit();
}

/// Whether a session may report once more in this second.
#[inline(always)]
fn has_room(stats: *mut SessionStats, now: BootTime) -> bool {
    // SAFETY: pointers into a live map value. Two writers that race for a new window both write the
    // present, and at worst a few more events pass.
    unsafe {
        let window = &raw mut (*stats).window;
        let in_window = &raw mut (*stats).in_window;
        if now.0 >= window.read_volatile().0 + SECOND {
            window.write_volatile(now);
            in_window.write_volatile(0);
        }
        kernel::fetch_add(in_window, 1) < EVENTS_A_SECOND
    }
}

/// A number in [`SessionStats`].
#[derive(Clone, Copy)]
enum Counter {
    Denied,
    Reported,
    SummedUp,
    Lost,
}

impl Counter {
    #[inline(always)]
    fn add(self, stats: *mut SessionStats) {
        // SAFETY: a field of a live map value, aligned to 8.
        unsafe {
            let field = match self {
                Self::Denied => &raw mut (*stats).denied,
                Self::Reported => &raw mut (*stats).reported,
                Self::SummedUp => &raw mut (*stats).summed_up,
                Self::Lost => &raw mut (*stats).lost,
            };
            kernel::fetch_add(field, 1);
        }
    }
}
