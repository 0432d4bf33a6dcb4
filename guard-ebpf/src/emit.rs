//! Events for guardd, in the ring buffer: refusals, and connections that are held.
//!
//! Refusals are counted exactly and reported at a limited rate: a loop in a session costs guardd one event a second and
//! destination, and [`EVENTS_A_SECOND`] in all. Each refusal is in exactly one of `reported`, `summed_up` and `lost`.
//!
//! Hooks call [`case`], [`packet`], [`unsent`], [`past_resolver`], [`refused_though_allowed`], [`busy`], [`other`] or [`RefusalReport::emit`]; [`due`]
//! counts, and says whether an event is due; [`RefusalReport::report`] writes it.

use aya_ebpf::bindings::__sk_buff;
use guard_common::{
    AttemptCount, AttemptKey, BootTime, Cause, Connection, Decision, HELD_PAUSE, Hook, PolicyId,
    PolicyVerdict, Protocol, Session, SessionId, SessionStats, Verdict,
};

use crate::{
    case::Case,
    connected::Unsent,
    kernel,
    maps::{self, ATTEMPTS, EVENTS, NO_EXIST, SESSION_LEVEL, STATS, Shared},
    rates, verdict,
};

/// Refusals of one session that are reported in a second, at most.
const EVENTS_A_SECOND: u64 = 64;
/// The same of an outermost session and all that are inside it.
const EVENTS_TOGETHER: u64 = 256;
/// Added to a session's count of a second when others have used up their common share, and one of its refusals is reported
/// nevertheless: guardd must know that there are more.
const TOLD_ALL_THE_SAME: u64 = 1 << 32;

/// A refused or held call or packet, as it is reported.
pub(crate) struct RefusalReport<'a> {
    pub(crate) hook: Hook,
    pub(crate) cgroup: u64,
    pub(crate) session: &'a Session,
    pub(crate) to: &'a Connection,
    pub(crate) decision: &'a Decision,
    pub(crate) socket_type: u8,
    /// Whether it is held for an approver, not refused.
    pub(crate) held: bool,
    pub(crate) cause: Cause,
}

impl RefusalReport<'_> {
    /// Counts it, and reports it if that is due.
    #[inline(always)]
    pub(crate) fn emit(&self) {
        let verdict = reported(self.decision.verdict);
        let due = due(self.session.id, self.to, verdict as u8, self.held);
        if due != 0 {
            self.tell(due);
        }
    }

    /// Reports it. `count`: the number of attempts by now.
    #[inline(always)]
    fn tell(&self, count: u64) {
        self.tell_of(count, None);
    }

    /// The same; `unsent`: of who connected that socket, not of the current task.
    #[inline(always)]
    fn tell_of(&self, count: u64, unsent: Option<Unsent>) {
        let Some(stats) = STATS.get_ptr_mut(self.session.id.0) else {
            return;
        };
        let counter = if self.report(kernel::boot_time(), count, unsent) {
            Counter::Reported
        } else {
            Counter::Lost
        };
        counter.add(stats);
    }

    /// False if the ring buffer is full.
    #[inline(always)]
    fn report(&self, now: BootTime, count: u64, unsent: Option<Unsent>) -> bool {
        let Some(mut entry) = EVENTS.reserve(0) else {
            return false;
        };
        // A timer or an interrupt may send a packet: the current task may be any.
        let is_tasks = unsent.is_none() && !matches!(self.hook, Hook::Egress);
        let (pid, tgid, uid) = if let Some(unsent) = unsent {
            unsent.caller()
        } else if is_tasks {
            let (pid, tgid) = kernel::current_pid_tgid();
            (pid, tgid, kernel::current_uid())
        } else {
            (0, 0, u32::MAX)
        };
        let event = entry.as_mut_ptr();
        // SAFETY: the entry is room for an event. Field by field: the stack has no room for a whole one.
        unsafe {
            (&raw mut (*event).at).write(now);
            (&raw mut (*event).cgroup).write(self.cgroup);
            (&raw mut (*event).count).write(count);
            (&raw mut (*event).destination).write(self.to.to);
            (&raw mut (*event).session).write(self.session.id);
            (&raw mut (*event).pid).write(pid);
            (&raw mut (*event).tgid).write(tgid);
            (&raw mut (*event).uid).write(uid);
            (&raw mut (*event).policy).write(self.decision.policy.0);
            (&raw mut (*event).port).write(self.to.port);
            (&raw mut (*event).rule).write(self.decision.rule);
            (&raw mut (*event).protocol).write(self.to.protocol);
            (&raw mut (*event).verdict).write(reported(self.decision.verdict) as u8);
            (&raw mut (*event).hook).write(self.hook as u8);
            (&raw mut (*event).socket_type).write(self.socket_type);
            (&raw mut (*event).held).write(u8::from(self.held));
            (&raw mut (*event).cause).write(self.cause as u8);
            (&raw mut (*event).pad).write([0; 2]);
            // Programs at maps of sockets cannot ask for it; guardd can.
            if let Some(unsent) = unsent {
                unsent.copy_comm((&raw mut (*event).comm).cast());
            } else if is_tasks && !matches!(self.hook, Hook::Hello) {
                kernel::current_comm(&mut (*event).comm);
            } else {
                kernel::clear((&raw mut (*event).comm).cast());
            }
        }
        entry.submit(0);
        true
    }
}

/// What is reported of a refusal. What policies allow is refused where TLS does not show what they want, and where it is a question
/// that nobody would get.
#[inline(always)]
const fn reported(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Allow => Verdict::Deny,
        other => other,
    }
}

/// Counts a refusal, as that verdict or what else an [`AttemptKey`] has in its place. Returns the number of the session's attempts at
/// that destination if an event is due, else 0.
///
/// A function of its own in the kernel too: its stack is not needed when the refusal is reported, and all that are at once may
/// have 512 bytes together. The verifier checks it by itself.
#[inline(always)]
pub(crate) fn due(session: SessionId, to: &Connection, verdict: u8, held: bool) -> u64 {
    guard_due(session.0, to, u32::from(verdict), u32::from(held))
}

/// [`due`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_due(session: u32, to: *const Connection, verdict: u32, held: u32) -> u64 {
    if to.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `due`, with a reference.
    let (session, to) = (SessionId(session), unsafe { &*to });
    let (verdict, held) = (verdict as u8, held != 0);
    let Some(stats) = STATS.get_ptr_mut(session.0) else {
        return 0;
    };
    Counter::Denied.add(stats);
    let now = kernel::boot_time();
    match count(session, to, verdict, held, now) {
        Some(count) if has_room(session, stats, now) => count,
        _ => {
            Counter::SummedUp.add(stats);
            0
        }
    }
}

/// Counts the attempt. Returns the number of attempts if one must be reported.
#[inline(always)]
fn count(
    session: SessionId,
    to: &Connection,
    verdict: u8,
    held: bool,
    now: BootTime,
) -> Option<u64> {
    let key = AttemptKey {
        destination: to.to,
        session,
        port: to.port,
        protocol: to.protocol,
        verdict,
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
        // An approver must see a held connection soon, even if the destination was refused just before.
        let pause = if held { HELD_PAUSE } else { rates::SECOND };
        if now.0 < reported.read_volatile().0 + pause {
            return None;
        }
        reported.write_volatile(now);
        Some(count)
    }
}

/// Counts the refusal of something other than a connection, and reports it if there is room: `report` returns whether it could.
#[inline(always)]
pub(crate) fn other(session: SessionId, report: impl FnOnce(BootTime) -> bool) {
    let Some(stats) = STATS.get_ptr_mut(session.0) else {
        return;
    };
    Counter::Denied.add(stats);
    let now = kernel::boot_time();
    let counter = match has_room(session, stats, now) {
        true if report(now) => Counter::Reported,
        true => Counter::Lost,
        false => Counter::SummedUp,
    };
    counter.add(stats);
}

/// The refusal of a packet, reported if that is due; `said` is a [`PolicyVerdict::pack`]ed one.
#[inline(always)]
pub(crate) fn packet(
    skb: *mut __sk_buff,
    session: &Session,
    to: &Connection,
    said: u64,
    policy: PolicyId,
) {
    let verdict = PolicyVerdict::unpack(said).verdict as u8;
    let due = due(session.id, to, verdict, false);
    if due != 0 {
        let count = due.min(u64::from(u32::MAX));
        tell_packet(skb, session, to, said, u64::from(policy.0) | count << 32);
    }
}

/// `policy`, and in its high half how often the destination was refused.
///
/// A function of its own in the kernel too, as [`due`].
#[inline(never)]
fn tell_packet(skb: *mut __sk_buff, session: &Session, to: &Connection, said: u64, policy: u64) {
    let decision = &Decision::by(PolicyId(policy as u32), PolicyVerdict::unpack(said));
    let cgroup = kernel::packet_ancestor_cgroup(skb, SESSION_LEVEL.load());
    RefusalReport {
        hook: Hook::Egress,
        cgroup,
        session,
        to,
        decision,
        socket_type: 0,
        held: false,
        cause: Cause::Policies,
    }
    .tell(policy >> 32);
}

/// The verdict under which refusals are counted that no policy is the reason for: what policies refuse at the same destination is
/// counted, and so reported, for itself.
const NOT_FOR_POLICIES: u8 = Verdict::Allow as u8;

/// The refusal of what a UDP socket is connected to, when it sends something; reported if that is due, as one of `connect`. `said`
/// is [`verdict::packed`].
#[inline(always)]
pub(crate) fn unsent(unsent: Unsent, to: &Connection, said: u64, cause: Cause) {
    let session = maps::session(unsent.cgroup()).id;
    let verdict = match cause {
        Cause::Policies => PolicyVerdict::unpack(said & u64::from(u32::MAX)).verdict as u8,
        _ => NOT_FOR_POLICIES,
    };
    let due = due(session, to, verdict, false);
    if due != 0 {
        tell_unsent(unsent, to, said, due, cause);
    }
}

/// A function of its own in the kernel too, as [`due`].
#[inline(never)]
fn tell_unsent(unsent: Unsent, to: &Connection, said: u64, count: u64, cause: Cause) {
    RefusalReport {
        hook: unsent.hook(),
        cgroup: unsent.cgroup(),
        session: &maps::session(unsent.cgroup()),
        to,
        decision: &verdict::unpacked(said),
        socket_type: 0,
        held: false,
        cause,
    }
    .tell_of(count, Some(unsent));
}

/// The refusal of a packet to a name server that was not redirected, though the policies let it through; reported if that is due.
#[inline(always)]
pub(crate) fn past_resolver(case: &Case, to: &Connection) {
    let due = due(case.session.id, to, NOT_FOR_POLICIES, false);
    if due != 0 {
        tell_past_resolver(case, to, due);
    }
}

/// A function of its own in the kernel too, as [`due`].
#[inline(never)]
fn tell_past_resolver(case: &Case, to: &Connection, count: u64) {
    RefusalReport {
        hook: Hook::Egress,
        cgroup: case.cgroup(),
        session: &case.session,
        to,
        decision: &case.decision(),
        socket_type: 0,
        held: false,
        cause: Cause::PastResolver,
    }
    .tell(count);
}

/// The refusal of what the policies allow, reported if that is due: a connection that has to show a name, and shows none that
/// they want, or a question that cannot be redirected.
#[inline(always)]
pub(crate) fn refused_though_allowed(
    hook: Hook,
    cgroup: u64,
    session: &Session,
    to: &Connection,
    decision: &Decision,
) {
    RefusalReport {
        hook,
        cgroup,
        session,
        to,
        decision,
        socket_type: 0,
        held: false,
        cause: Cause::Policies,
    }
    .emit();
}

/// The refusal of a call whose socket cannot be written to, reported if that is due.
///
/// A function of its own for the sake of the stack, as [`due`].
#[inline(never)]
pub(crate) fn busy(to: &Connection, hook: Hook, cgroup: u64) {
    let session = &maps::session(cgroup);
    let due = due(session.id, to, NOT_FOR_POLICIES, false);
    if due != 0 {
        tell_busy(to, hook, cgroup, due);
    }
}

/// A function of its own in the kernel too, as [`due`].
#[inline(never)]
fn tell_busy(to: &Connection, hook: Hook, cgroup: u64, count: u64) {
    let session = &maps::session(cgroup);
    RefusalReport {
        hook,
        cgroup,
        session,
        to,
        decision: &Decision::by(session.policies[0], PolicyVerdict::DENY),
        socket_type: 0,
        held: false,
        cause: Cause::Busy,
    }
    .tell(count);
}

/// Why a case is refused.
#[inline(always)]
fn cause(case: &Case, hook: Hook) -> Cause {
    let is_connect = matches!(hook, Hook::Connect4 | Hook::Connect6);
    let is_udp = case.to.protocol == Protocol::UDP;
    match case.verdict() {
        Verdict::Deny if is_connect && is_udp => Cause::NothingSent,
        Verdict::Deny if case.is_refused() => Cause::OwnProxy,
        _ => Cause::Policies,
    }
}

/// Counts the refusal of a case, and reports it if that is due. `held`: it is held for an approver instead.
#[inline(always)]
pub(crate) fn case(case: &Case, hook: Hook, held: bool) {
    let counted = match cause(case, hook) {
        Cause::NothingSent => AttemptKey::NOTHING_SENT,
        _ => reported(case.verdict()) as u8,
    };
    let due = due(case.session.id, &case.to, counted, held);
    if due != 0 {
        tell_case(case, hook, held, due);
    }
}

/// A function of its own in the kernel too, as [`due`].
#[inline(never)]
fn tell_case(case: &Case, hook: Hook, held: bool, count: u64) {
    RefusalReport {
        hook,
        cgroup: case.cgroup(),
        session: &case.session,
        to: &case.to,
        decision: &case.decision(),
        socket_type: 0,
        held,
        cause: cause(case, hook),
    }
    .tell(count);
}

/// Whether a session may report a refusal once more in this second.
#[inline(always)]
fn has_room(session: SessionId, stats: *mut SessionStats, now: BootTime) -> bool {
    // SAFETY: pointers into a live map value.
    let before = unsafe {
        let (window, count) = (&raw mut (*stats).window, &raw mut (*stats).in_window);
        rates::count_in(window, count, now, rates::SECOND)
    };
    if before % TOLD_ALL_THE_SAME >= EVENTS_A_SECOND {
        return false;
    }
    if rates::count_together(session, Shared::Refusals, now) < EVENTS_TOGETHER {
        return true;
    }
    let is_first = before < TOLD_ALL_THE_SAME;
    if is_first {
        // SAFETY: as above, aligned to 8. Of two at once both may be reported.
        unsafe { kernel::fetch_add(&raw mut (*stats).in_window, TOLD_ALL_THE_SAME) };
    }
    is_first
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
