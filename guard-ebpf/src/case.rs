//! A call or packet and the verdict on it: by policies and holes, at another program's listener on the loopback as
//! [`guard_common::Address::of_listener`] has it.

use guard_common::{
    BootTime, Connection, Decision, HoleId, Passage, PolicyId, PolicyVerdict, Protocol, Session,
    Verdict, Wanted, with_hole,
};

use crate::{
    began::Began,
    listener::Receiver,
    maps::{self, Kernel},
    verdict,
};

/// Flag of [`Case::wanted`]: it is refused whatever the policies say.
const REFUSED: u16 = 1 << 15;

/// A connection that is judged, and the decision: all in one place of the stack, which has 512 bytes for a whole chain of
/// calls. Plain numbers, since the verifier checks [`guard_decide`] by itself.
#[repr(C)]
pub(crate) struct Case {
    /// The session.
    pub(crate) session: Session,
    used_hole: u32,
    cgroup: u64,
    /// Under which the decision may be cached; 0: not at all.
    generation: u64,
    expires: u64,
    /// The destination that is judged: what was asked for, or the listener there.
    pub(crate) to: Connection,
    /// A [`PolicyVerdict::pack`]ed one.
    said: u32,
    policy: u32,
    hole: u32,
    kind: u16,
    /// A [`Wanted`], and [`REFUSED`].
    wanted: u16,
    /// [`Began::coarse`].
    began: u32,
}

// Before Linux 6.1.100 and 6.3 each byte of what a global function gets has to have been written.
const _: () = assert!(
    size_of::<Case>() == size_of::<Session>() + size_of::<Connection>() + 3 * 8 + 5 * 4 + 2 * 2
);

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
        Self::new(cgroup, receiver, to, used, Wanted::All)
    }

    #[inline(always)]
    fn new(cgroup: u64, receiver: Receiver, to: &Connection, used: HoleId, wanted: Wanted) -> Self {
        let refused = if receiver.is_refused() { REFUSED } else { 0 };
        Self {
            session: maps::session(cgroup),
            used_hole: used.0,
            cgroup,
            generation: 0,
            expires: 0,
            to: Connection::new(to.to, to.protocol, to.port),
            said: 0,
            policy: 0,
            hole: 0,
            kind: 0,
            wanted: wanted as u16 | refused,
            began: Began::NOW.coarse(),
        }
    }

    /// Judges what the receiver stands for: another program's listener on the loopback has an address of its own.
    #[inline(always)]
    pub(crate) fn set_receiver(&mut self, receiver: Receiver) {
        receiver.put_into(&mut self.to);
    }

    /// When the packet's connection began. Later than the rest, so that it takes no room of the stack beside that.
    #[inline(always)]
    pub(crate) fn set_began(&mut self, began: Began) {
        self.began = began.coarse();
    }

    /// Whether it is refused whatever the policies say: a call to the guard's own proxy.
    #[inline(always)]
    pub(crate) fn is_refused(&self) -> bool {
        self.wanted & REFUSED != 0
    }

    /// Decides it, and takes a connection from the hole that lets it through.
    #[inline(always)]
    pub(crate) fn decide(&mut self) {
        guard_decide(self);
        if self.hole != 0 {
            guard_take(self);
        }
    }

    /// Sets the generation under which the decision may be cached; 0: not at all.
    #[inline(always)]
    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// See [`Self::set_generation`].
    #[inline(always)]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation under which the allowance of a call may be cached: none by TCP. Only the packet tells which listener on this machine
    /// gets the connection, by another address than the loopback's, too; and its SYN may come much later (`TCP_FASTOPEN_CONNECT`). Nor at
    /// a listener of UDP's: another may have the port when the next datagram is sent.
    #[inline(always)]
    pub(crate) fn generation_for_call(&self, generation: u64) -> u64 {
        match self.to.protocol {
            Protocol::TCP => 0,
            _ if self.is_listener() => 0,
            _ => generation,
        }
    }

    /// Whether it goes to another program's listener on the loopback.
    #[inline(always)]
    pub(crate) fn is_listener(&self) -> bool {
        self.to.to.is_listener()
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

    /// The hole that it used, or 0.
    #[inline(always)]
    pub(crate) fn hole(&self) -> HoleId {
        HoleId(self.hole)
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

    /// Gives back the connection that it took from a hole: what is refused in the end uses none.
    #[inline(always)]
    pub(crate) fn give_back(&self) {
        guard_give_back(self);
    }

    #[inline(always)]
    fn passage(&self) -> Passage {
        Passage {
            hole: self.hole(),
            kind: u32::from(self.kind),
            expires: BootTime(self.expires),
        }
    }

    #[inline(always)]
    fn began(&self) -> Began {
        Began::of_coarse(self.began)
    }

    #[inline(always)]
    fn wanted(&self) -> Wanted {
        Wanted::from_u32(u32::from(self.wanted & !REFUSED))
    }

    #[inline(always)]
    fn policy_verdict(&self) -> PolicyVerdict {
        PolicyVerdict::unpack(u64::from(self.said))
    }

    #[inline(always)]
    fn note(&mut self, decision: &Decision) {
        self.said = decision.said().pack() as u32;
        self.policy = decision.policy.0;
        self.hole = decision.hole.0;
        self.kind = decision.kind as u16;
        self.expires = decision.expires.0;
    }
}

/// [`Case::decide`], but nothing is taken from a hole. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_decide(case: *mut Case) -> u64 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `Case::decide`, with a reference.
    let case = unsafe { &mut *case };
    let said = verdict::packed(&case.session, &case.to, case.began());
    if case.is_refused() {
        let policy = verdict::unpacked(said).policy;
        case.note(&Decision::by(policy, PolicyVerdict::DENY));
        return 0;
    }
    // Not before, so that less has to be kept meanwhile: the stack is short.
    let (session, used) = (case.session.id, HoleId(case.used_hole));
    let decision = with_hole(verdict::unpacked(said), case.wanted(), |wanted| {
        verdict::find(session, &case.to, used, wanted)
    });
    case.note(&decision);
    0
}

/// Takes a connection from the hole that lets it through. Where that has none left any more, an approver must be asked again. The
/// verifier checks it by itself: beside [`guard_decide`] and not within it, for the sake of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_take(case: *mut Case) -> u64 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `Case::decide`, with a reference.
    let case = unsafe { &mut *case };
    let taken = case.passage();
    if !taken.take(&Kernel, HoleId(case.used_hole), case.wanted()) {
        case.confirm_again();
    }
    0
}

/// [`Case::give_back`]. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_give_back(case: *const Case) -> u64 {
    if case.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `Case::give_back`, with a reference.
    let case = unsafe { &*case };
    let taken = case.passage();
    if taken.hole.0 != 0 {
        taken.give_back(&Kernel, HoleId(case.used_hole), case.wanted());
    }
    0
}
