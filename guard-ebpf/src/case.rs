//! A call or packet and the verdict on it: by policies and holes, for connections to a listener on this machine by its upstreams, of
//! which the strictest counts.

use guard_common::{
    BootTime, BudgetId, Connection, Decision, HoleId, MAX_UPSTREAMS, NeededHoles, Passage,
    PolicyId, PolicyVerdict, Protocol, Session, UsedHoles, Verdict, Wanted, relay_flags, with_hole,
};

use crate::{
    began::Began,
    kernel,
    maps::{self, Kernel, RELAYS},
    relay::Receiver,
    socket, verdict,
};

/// The result of a decision.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It goes to a server of the session's own.
    Own,
    /// [`Case::decision`] is the verdict, on [`Case::to`].
    Decided,
    /// It goes to a listener that guardd has not scanned.
    Unscanned,
}

impl Ruling {
    const UNSCANNED: u64 = 0;
    const OWN: u64 = 1;
    const DECIDED: u64 = 2;
}

/// Flag of [`Case::wanted`]: [`Case::to`] is an upstream of the listener that was asked for.
const CASE_IS_UPSTREAM: u16 = 1 << 15;
/// Flag of [`Case::wanted`]: the connection begins.
const CASE_BEGINS: u16 = 1 << 14;
/// Flag of [`Case::wanted`]: a socket's cache has no room for all holes that the connection needs.
const CASE_NEEDS_MORE: u16 = 1 << 13;
/// Flag of [`Case::wanted`]: at an upstream TLS has to show a name.
const CASE_BY_SNI: u16 = 1 << 12;

/// A connection that is judged, and the decision: all in one place of the stack, which has 512 bytes for a whole chain of
/// calls. Plain numbers, since the verifier checks [`guard_relay`] by itself.
#[repr(C)]
pub(crate) struct Case {
    /// The session.
    pub(crate) session: Session,
    used_hole: u32,
    cgroup: u64,
    /// The receiver's number; once that is decided, the generation under which the decision may be cached.
    number: u64,
    /// A [`PolicyVerdict::pack`]ed one.
    said: u32,
    /// See [`UsedHoles::other`].
    other_used_hole: u32,
    expires: u64,
    /// The destination that decided: an upstream of the listener, or what was asked for.
    pub(crate) to: Connection,
    policy: u32,
    hole: u32,
    /// See [`NeededHoles::other`].
    other: u32,
    kind: u16,
    /// A [`Wanted`], and the flags above.
    wanted: u16,
    /// [`Began::coarse`].
    began: u32,
}

// Before Linux 6.1.100 and 6.3 each byte of what a global function gets has to have been written.
const _: () = assert!(
    size_of::<Case>() == size_of::<Session>() + size_of::<Connection>() + 3 * 8 + 7 * 4 + 2 * 2
);
// Kinds and what is beside them.
const _: () = assert!(Decision::SEVERAL <= u16::MAX as u32);

impl Case {
    /// A call that begins a connection to that receiver; `used` and `wanted` as in [`guard_common::find_hole`].
    #[inline(always)]
    pub(crate) fn of_call(
        cgroup: u64,
        receiver: Receiver,
        to: &Connection,
        used: HoleId,
        wanted: Wanted,
    ) -> Self {
        let wanted = wanted as u16 | CASE_BEGINS;
        Self::new(cgroup, receiver, to, used, wanted)
    }

    /// A packet. [`Self::set_began`] has to follow.
    #[inline(always)]
    pub(crate) fn of_packet(
        cgroup: u64,
        receiver: Receiver,
        to: &Connection,
        used: HoleId,
    ) -> Self {
        let begins = if receiver.begins() { CASE_BEGINS } else { 0 };
        let wanted = Wanted::All as u16 | begins;
        Self::new(cgroup, receiver, to, used, wanted)
    }

    #[inline(always)]
    fn new(cgroup: u64, receiver: Receiver, to: &Connection, used: HoleId, wanted: u16) -> Self {
        Self {
            session: maps::session(cgroup),
            used_hole: used.0,
            cgroup,
            number: receiver.number(),
            said: 0,
            other_used_hole: 0,
            expires: 0,
            to: Connection::new(to.to, to.protocol, to.port),
            policy: 0,
            hole: 0,
            other: 0,
            kind: 0,
            wanted,
            began: Began::NOW.coarse(),
        }
    }

    /// When the packet's connection began. Later than the rest, so that it takes no room of the stack beside that.
    #[inline(always)]
    pub(crate) fn set_began(&mut self, began: Began) {
        self.began = began.coarse();
    }

    /// Whether the packet's socket has used a hole.
    #[inline(always)]
    pub(crate) fn has_used_hole(&self) -> bool {
        self.used_hole != 0
    }

    /// The other hole that the packet's socket has used.
    #[inline(always)]
    pub(crate) fn set_other_used_hole(&mut self, hole: HoleId) {
        self.other_used_hole = hole.0;
    }

    /// The ticket of the listener.
    #[inline(always)]
    pub(crate) fn ticket(&self) -> u64 {
        self.number
    }

    /// Whether a call goes to the guard's own proxy.
    #[inline(always)]
    pub(crate) fn is_own_proxy(&self) -> bool {
        self.number == Receiver::REFUSED
    }

    /// [`crate::emit::RefusalReport::through`], where an upstream decided.
    #[inline(always)]
    pub(crate) fn through(&self, asked: &Connection) -> u16 {
        if self.has_upstream() { asked.port } else { 0 }
    }

    /// Decides it, by the listener's upstreams if there are any.
    #[inline(always)]
    pub(crate) fn decide(&mut self, to: &Connection) -> Ruling {
        if self.number == Receiver::NO_LISTENER {
            guard_decide(self, to);
            if self.hole != 0 {
                guard_take_holes(self);
            }
            return Ruling::Decided;
        }
        match guard_relay(self, to) {
            Ruling::OWN => Ruling::Own,
            Ruling::DECIDED => Ruling::Decided,
            _ => Ruling::Unscanned,
        }
    }

    /// Decides it by what the policies say of the address that was asked for, whatever the listener's upstreams are; no hole counts, or is used.
    #[inline(always)]
    pub(crate) fn decide_by_policies(&mut self, to: &Connection) {
        let decision = verdict::of_policies(&self.session, to, self.began());
        self.note(&decision);
    }

    /// As [`Self::decide`] if the listener is known to be another's.
    #[inline(always)]
    pub(crate) fn decide_for_others(&mut self, to: &Connection) -> Ruling {
        let cgroup = core::mem::take(&mut self.cgroup);
        let ruled = self.decide(to);
        self.cgroup = cgroup;
        ruled
    }

    /// Sets the generation under which the decision may be cached; 0: not at all.
    #[inline(always)]
    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.number = generation;
    }

    /// See [`Self::set_generation`].
    #[inline(always)]
    pub(crate) fn generation(&self) -> u64 {
        self.number
    }

    /// The generation under which the allowance of a call may be cached: none by TCP. Only the packet tells which listener on this machine
    /// gets the connection, by another address than the loopback's, too; and its SYN may come much later (`TCP_FASTOPEN_CONNECT`).
    #[inline(always)]
    pub(crate) fn generation_for_call(&self, generation: u64) -> u64 {
        match self.to.protocol {
            Protocol::TCP => 0,
            _ => generation,
        }
    }

    /// What the socket caches in place of the generation, where that is none: the other hole that it goes through.
    #[inline(always)]
    pub(crate) fn for_socket(&self, generation: u64) -> u64 {
        match generation {
            0 => socket::by_no_generation(BudgetId(self.other).hole()),
            generation => generation,
        }
    }

    /// The cgroup that is judged.
    #[inline(always)]
    pub(crate) fn cgroup(&self) -> u64 {
        self.cgroup
    }

    /// Makes the decision `confirm`: the hole is used up, and an approver must be asked again.
    #[inline(always)]
    pub(crate) fn confirm_again(&mut self) {
        self.note(&Decision::by(PolicyId(self.policy), PolicyVerdict::CONFIRM));
    }

    /// What was decided.
    #[inline(always)]
    pub(crate) fn decision(&self) -> Decision {
        let mut decision = Decision::by(PolicyId(self.policy), self.policy_verdict());
        decision.hole = HoleId(self.hole);
        decision.kind = u32::from(self.kind);
        decision.expires = BootTime(self.expires);
        decision
    }

    /// [`Decision::is_by_sni`] of it.
    #[inline(always)]
    pub(crate) fn is_by_sni(&self) -> bool {
        self.decision().is_by_sni()
    }

    /// Whether it has to be confirmed since a socket's cache has no room for all holes that it needs: one more does not help.
    #[inline(always)]
    pub(crate) fn needs_more(&self) -> bool {
        self.wanted & CASE_NEEDS_MORE != 0
    }

    /// The hole that it used, or 0.
    #[inline(always)]
    pub(crate) fn hole(&self) -> HoleId {
        HoleId(self.hole)
    }

    /// Gives back the connections that it took from holes: what is refused in the end uses none.
    #[inline(always)]
    pub(crate) fn give_back(&self) {
        guard_give_back(self);
    }

    #[inline(always)]
    fn note(&mut self, decision: &Decision) {
        self.said = decision.said().pack() as u32;
        self.policy = decision.policy.0;
        self.note_holes(&NeededHoles {
            hole: decision.hole,
            kind: decision.kind,
            other: BudgetId(0),
            expires: decision.expires,
        });
    }

    #[inline(always)]
    fn note_holes(&mut self, needed: &NeededHoles) {
        self.hole = needed.hole.0;
        self.kind = needed.kind as u16;
        self.other = needed.other.0;
        self.expires = needed.expires.0;
    }

    #[inline(always)]
    fn needed_holes(&self) -> NeededHoles {
        NeededHoles {
            hole: HoleId(self.hole),
            kind: u32::from(self.kind),
            other: BudgetId(self.other),
            expires: BootTime(self.expires),
        }
    }
}

/// Decides by the address that was asked for. Nothing is taken from a hole. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_decide(case: *mut Case, to: *const Connection) -> u64 {
    if case.is_null() || to.is_null() {
        return 0;
    }
    // SAFETY: not null, and all callers, in this file, pass references.
    let (case, to) = unsafe { (&mut *case, &*to) };
    let said = verdict::packed(&case.session, to, case.began());
    // Not before, so that less has to be kept meanwhile: the stack is short.
    let (session, used) = (case.session.id, case.used_holes());
    let decision = with_hole(verdict::unpacked(said), case.wanted(), |wanted| {
        verdict::find(session, to, used, wanted)
    });
    case.note(&decision);
    0
}

/// The verdict on a connection to the listener with a ticket: the strictest on its upstreams.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_relay(case: *mut Case, to: *const Connection) -> u64 {
    if case.is_null() || to.is_null() {
        return Ruling::UNSCANNED;
    }
    // SAFETY: not null, and only called from `Case::decide`, with references.
    let (case, to) = unsafe { (&mut *case, &*to) };
    let Some(relay) = RELAYS.get_ptr(case.number) else {
        return unscanned(case, to);
    };
    // SAFETY: a live map value. It may be overwritten while it is read, which `head` and `tail` tell.
    let (head, len, upstreams) = unsafe {
        (
            (&raw const (*relay).head).read_volatile(),
            (&raw const (*relay).len).read_volatile(),
            &(*relay).upstreams,
        )
    };
    // SAFETY: as above.
    let owner = unsafe { (&raw const (*relay).owner).read_volatile() };
    let is_own = owner != 0 && owner == case.cgroup;
    // A new upstream connection for this connection must not go unseen.
    if !is_own && case.wanted & CASE_BEGINS != 0 && !maps::is_followed(case.number) {
        return unscanned(case, to);
    }
    let is_whole = case.decide_by_all(to, upstreams, len);
    // SAFETY: as above.
    let (ticket, flags, again, tail) = unsafe {
        (
            (&raw const (*relay).ticket.0).read_volatile(),
            (&raw const (*relay).flags).read_volatile(),
            (&raw const (*relay).head).read_volatile(),
            (&raw const (*relay).tail).read_volatile(),
        )
    };
    if !is_whole || ticket != case.number || again != head || tail != head {
        return Ruling::UNSCANNED;
    }
    if is_own {
        return Ruling::OWN;
    }
    if flags & relay_flags::ANYWHERE != 0 || case.wanted & CASE_BY_SNI != 0 {
        case.ask_for_anywhere(to);
    }
    case.allow_by_hole_of_listener(to);
    guard_take_holes(case);
    Ruling::DECIDED
}

/// The ruling on a listener that guardd has not scanned, or no longer traces: a connection that the policies deny for any
/// listener need not be held. Nor need one to the guard's own proxy.
#[inline(always)]
fn unscanned(case: &mut Case, to: &Connection) -> u64 {
    let said = verdict::of_policies(&case.session, to, case.began());
    if case.is_own_proxy() {
        case.note(&Decision::by(said.policy, PolicyVerdict::DENY));
        return Ruling::DECIDED;
    }
    case.note(&said);
    match said.verdict {
        // For an MPTCP server only the packet tells that it is the session's own.
        Verdict::Deny if !maps::has_multipath(case.cgroup) => Ruling::DECIDED,
        _ => Ruling::UNSCANNED,
    }
}

impl Case {
    #[inline(always)]
    fn began(&self) -> Began {
        Began::of_coarse(self.began)
    }

    #[inline(always)]
    fn used_holes(&self) -> UsedHoles {
        UsedHoles {
            hole: HoleId(self.used_hole),
            other: HoleId(self.other_used_hole),
        }
    }

    #[inline(always)]
    fn wanted(&self) -> Wanted {
        const FLAGS: u16 = CASE_IS_UPSTREAM | CASE_BEGINS | CASE_NEEDS_MORE | CASE_BY_SNI;
        Wanted::from_u32(u32::from(self.wanted & !FLAGS))
    }

    #[inline(always)]
    fn policy_verdict(&self) -> PolicyVerdict {
        PolicyVerdict::unpack(u64::from(self.said))
    }

    /// Whether it passes as it is decided by now, be it redirected.
    #[inline(always)]
    fn passes(&self) -> bool {
        match self.verdict() {
            Verdict::Allow => true,
            Verdict::ReadOnly => matches!(self.wanted(), Wanted::Any),
            _ => false,
        }
    }

    #[inline(always)]
    fn has_upstream(&self) -> bool {
        self.wanted & CASE_IS_UPSTREAM != 0
    }

    /// What the policies said, as [`verdict::packed`]; with a hole's allowance in place of the verdict.
    #[inline(always)]
    pub(crate) fn said(&self) -> u64 {
        verdict::with_policy(self.policy_verdict(), PolicyId(self.policy))
    }

    #[inline(always)]
    pub(crate) fn verdict(&self) -> Verdict {
        self.policy_verdict().verdict
    }

    /// Decides by what was asked for, which is the first of the upstreams, and the others: the strictest verdict counts. False where
    /// not all could be read. Nothing is taken from the holes that it needs: a later upstream may refuse.
    #[inline(always)]
    fn decide_by_all(
        &mut self,
        to: &Connection,
        upstreams: &[Connection; MAX_UPSTREAMS],
        len: u32,
    ) -> bool {
        guard_decide(self, to);
        let failed = kernel::find(len.min(MAX_UPSTREAMS as u32), (), |at| {
            let to = upstreams.get(at)?;
            let said = verdict::packed(&self.session, to, self.began());
            // The gate looks at what goes to the listener, and nobody at what that sends there: no hole but the listener's lets it
            // pass.
            if verdict::asks_for_sni(said) {
                self.wanted |= CASE_BY_SNI;
            } else {
                self.add(to, said);
            }
            None
        });
        failed.is_none()
    }

    /// Makes the decision `confirm` unless it is stricter: the listener's upstream may be anywhere, or nobody looks at the TLS that it
    /// speaks there.
    #[inline(always)]
    fn ask_for_anywhere(&mut self, listener: &Connection) {
        if self.verdict().strictness() < Verdict::Confirm.strictness() {
            let policy = self.session.policies[0];
            self.note(&Decision::by(policy, PolicyVerdict::CONFIRM));
            self.to = Connection::new(listener.to, listener.protocol, listener.port);
            self.wanted |= CASE_IS_UPSTREAM;
        }
    }

    /// Allows by a hole for the listener's own address, which covers its upstreams: also where these have more holes than a socket
    /// caches.
    #[inline(always)]
    fn allow_by_hole_of_listener(&mut self, listener: &Connection) {
        let is_by_upstreams = self.wanted & (CASE_IS_UPSTREAM | CASE_NEEDS_MORE) != 0;
        if !is_by_upstreams || !matches!(self.verdict(), Verdict::Confirm) {
            return;
        }
        let (session, used) = (self.session.id, self.used_holes());
        let found = verdict::find(session, listener, used, Wanted::All);
        if let Some(passage) = found {
            let said = PolicyVerdict {
                verdict: Verdict::Allow,
                ..self.policy_verdict()
            };
            self.said = said.pack() as u32;
            self.wanted &= !CASE_NEEDS_MORE;
            self.note_holes(&NeededHoles {
                hole: passage.hole,
                kind: passage.kind,
                other: BudgetId(0),
                expires: passage.expires,
            });
        }
    }

    /// Takes an upstream into account.
    ///
    /// A function of its own for the sake of the stack, as [`crate::emit::due`].
    #[inline(never)]
    fn add(&mut self, to: &Connection, said: u64) {
        let (session, used) = (self.session.id, self.used_holes());
        let decision = with_hole(verdict::unpacked(said), Wanted::All, |wanted| {
            verdict::find(session, to, used, wanted)
        });
        let decision = without_reads(decision);
        let is_stricter = decision.verdict.strictness() > self.verdict().strictness();
        let is_first = self.hole == 0 && matches!(self.verdict(), Verdict::Allow);
        let needs_hole = decision.hole.0 != 0;
        // With equal verdicts the first hole counts, so that the connection ends with it.
        if is_stricter || (needs_hole && is_first) {
            self.note(&decision);
            self.to = Connection::new(to.to, to.protocol, to.port);
            self.wanted |= CASE_IS_UPSTREAM;
        } else if needs_hole && self.passes() {
            guard_join(self, decision.hole.0, decision.kind, decision.expires.0);
        }
    }
}

/// Takes a connection from each hole that it needs, if it passes: what is refused uses none. Where one has none left any more, an
/// approver must be asked again. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_take_holes(case: *mut Case) -> u64 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: not null, and all callers, in this file, pass references.
    let case = unsafe { &mut *case };
    if case.passes() && !case.needed_holes().take(&Kernel, case.used_holes()) {
        case.confirm_again();
    }
    0
}

/// Gives back what [`guard_take_holes`] took. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_give_back(case: *const Case) -> u64 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `Case::give_back`, with a reference.
    let case = unsafe { &*case };
    case.needed_holes().give_back(&Kernel, case.used_holes());
    0
}

/// Notes that this hole is needed as well. Where its socket's cache has no room for it beside the others, only a hole for the
/// listener helps. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_join(case: *mut Case, hole: u32, kind: u32, expires: u64) -> u64 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `Case::add`, with a reference.
    let case = unsafe { &mut *case };
    let mut needed = case.needed_holes();
    let more = Passage {
        hole: HoleId(hole),
        kind,
        expires: BootTime(expires),
    };
    if needed.add(&more) {
        case.note_holes(&needed);
    } else {
        case.confirm_again();
        case.wanted |= CASE_NEEDS_MORE;
    }
    0
}

/// The proxy cannot connect through a listener: `read-only` becomes `confirm`.
#[inline(always)]
fn without_reads(mut decision: Decision) -> Decision {
    if matches!(decision.verdict, Verdict::ReadOnly) {
        decision.verdict = Verdict::Confirm;
        decision.hole = HoleId(0);
    }
    decision
}
