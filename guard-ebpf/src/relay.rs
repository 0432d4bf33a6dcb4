//! Connections to this machine itself: who listens there, and where that leads. A port of the loopback may be the near end
//! of a tunnel, whose far end is what a session wants.
//!
//! A session's own servers are known by the cgroup that made their sockets: it reaches them always. Any other listener gets
//! a ticket when a session first connects to it, and guardd says under that where it leads. Until guardd has looked the
//! connection waits: its SYN is dropped, and comes again within milliseconds.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, bpf_sock, bpf_sock_addr},
    programs::SockAddrContext,
};
use guard_common::{
    BootTime, Connection, Decision, HoleId, MAX_LEADS, PolicyId, PolicyVerdict, Protocol, Session,
    Verdict, Wanted, relay_flags,
};

use crate::{
    ctx::{self, LOOPBACK_DEVICE},
    emit, kernel,
    maps::{self, NearState, RELAYS},
    verdict,
};

/// Who gets a connection. Any other number is a [`guard_common::Ticket`].
pub(crate) struct Near;

impl Near {
    /// Nobody of whom there is anything to say: the policies judge the address.
    pub(crate) const NOBODY: u64 = 0;
    /// A server of the session's own.
    pub(crate) const OWN: u64 = 1;
    /// Somebody, and memory is short, or the packet cannot be read: no listener has this ticket.
    const IN_DOUBT: u64 = 2;
    /// The lowest ticket that is given.
    const FIRST: u64 = 4;
    /// Set beside it where a packet begins a connection.
    pub(crate) const BEGINS: u64 = 1 << 63;
    /// Set beside it where guardd has not been told for a while that a session connects there.
    pub(crate) const TELL: u64 = 1 << 62;

    /// Whether that is somebody whom guardd looks at.
    #[inline(always)]
    pub(crate) const fn is_somebody(near: u64) -> bool {
        near & !(Self::BEGINS | Self::TELL) > Self::OWN
    }
}

/// No event about the same listener follows another within so many nanoseconds.
const PAUSE: u64 = 250_000_000;

/// What is known of where a connection would lead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruled {
    /// To a listener of the session's own.
    Own,
    /// This is the verdict, and [`Case::to`] what it is about.
    Known,
    /// To a listener that guardd has not looked at.
    Unknown,
}

impl Ruled {
    const UNKNOWN: u64 = 0;
    const OWN: u64 = 1;
    const KNOWN: u64 = 2;
}

/// Set beside what is wanted where it is by way of a listener that [`Case::to`] decides.
const THROUGH: u32 = 1 << 31;
/// Set beside what is wanted where a connection begins.
const BEGINS: u32 = 1 << 30;

/// A connection that is judged, and what comes of it: all of it in one place of the stack, of which there are 512 bytes for
/// everything that is called at once. Plain numbers, since the verifier looks at [`guard_relay`] by itself.
#[repr(C)]
pub(crate) struct Case {
    /// Whose it is.
    pub(crate) session: Session,
    granted: u32,
    cgroup: u64,
    /// The ticket of who gets it; once that is decided, under which generation it may be remembered.
    number: u64,
    said: u64,
    expires: u64,
    /// What decided: a destination that a listener leads to, or what was asked for.
    pub(crate) to: Connection,
    policy: u32,
    hole: u32,
    kind: u32,
    /// A [`Wanted`], [`THROUGH`] and [`BEGINS`].
    wanted: u32,
}

impl Case {
    /// Of a connection to that [`Near`]; `granted` and `wanted` as in [`guard_common::find_hole`].
    #[inline(always)]
    pub(crate) fn new(
        cgroup: u64,
        near: u64,
        to: &Connection,
        granted: HoleId,
        wanted: Wanted,
    ) -> Self {
        Self {
            session: maps::session(cgroup),
            granted: granted.0,
            cgroup,
            number: near & !(Near::BEGINS | Near::TELL),
            said: 0,
            expires: 0,
            to: Connection::new(to.to, to.protocol, to.port),
            policy: 0,
            hole: 0,
            kind: 0,
            wanted: wanted as u32 | if near & Near::BEGINS == 0 { 0 } else { BEGINS },
        }
    }

    /// The ticket of who gets it.
    #[inline(always)]
    pub(crate) fn ticket(&self) -> u64 {
        self.number
    }

    /// [`crate::emit::Refusal::through`], where a port of this machine was asked for.
    #[inline(always)]
    pub(crate) fn through(&self, asked: &Connection) -> u16 {
        if self.leads_on() { asked.port } else { 0 }
    }

    /// Decides it, by where it leads.
    #[inline(always)]
    pub(crate) fn decide(&mut self, to: &Connection) -> Ruled {
        if self.number == Near::NOBODY {
            guard_decide(self, to);
            return Ruled::Known;
        }
        match guard_relay(self, to) {
            Ruled::OWN => Ruled::Own,
            Ruled::KNOWN => Ruled::Known,
            _ => Ruled::Unknown,
        }
    }

    /// The same where it is known that the listener is not the session's own.
    #[inline(always)]
    pub(crate) fn decide_for_others(&mut self, to: &Connection) -> Ruled {
        let cgroup = core::mem::take(&mut self.cgroup);
        let ruled = self.decide(to);
        self.cgroup = cgroup;
        ruled
    }

    /// Notes that what it came to may be remembered under that generation; 0: not at all.
    #[inline(always)]
    pub(crate) fn may_be_remembered(&mut self, generation: u64) {
        self.number = generation;
    }

    /// See [`Self::may_be_remembered`].
    #[inline(always)]
    pub(crate) fn generation(&self) -> u64 {
        self.number
    }

    /// The cgroup that is judged.
    #[inline(always)]
    pub(crate) fn cgroup(&self) -> u64 {
        self.cgroup
    }

    /// A person has to be asked, after all.
    #[inline(always)]
    pub(crate) fn refuse(&mut self) {
        self.note(&Decision::by(PolicyId(self.policy), PolicyVerdict::CONFIRM));
    }

    /// What it came to.
    #[inline(always)]
    pub(crate) fn decision(&self) -> Decision {
        let mut decision = Decision::by(PolicyId(self.policy), PolicyVerdict::unpack(self.said));
        decision.hole = HoleId(self.hole);
        decision.kind = self.kind;
        decision.expires = BootTime(self.expires);
        decision
    }

    #[inline(always)]
    fn note(&mut self, decision: &Decision) {
        let said = PolicyVerdict {
            verdict: decision.verdict,
            flags: decision.flags,
            rule: decision.rule,
        };
        self.said = said.pack();
        self.policy = decision.policy.0;
        self.hole = decision.hole.0;
        self.kind = decision.kind;
        self.expires = decision.expires.0;
    }
}

/// By the policies' word on what was asked for. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_decide(case: *mut Case, to: *const Connection) -> u64 {
    if case.is_null() || to.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `Case::decide`, with references.
    let (case, to) = unsafe { (&mut *case, &*to) };
    let wanted = Wanted::from_u32(case.wanted & !(THROUGH | BEGINS));
    let decision = verdict::decide(&case.session, to, HoleId(case.granted), wanted);
    case.note(&decision);
    0
}

/// Marks a socket that a session makes.
#[inline(always)]
pub(crate) fn mark_owner(sk: *mut bpf_sock, cgroup: u64) {
    // Where memory is short it is looked at like a stranger's.
    if let Some(near) = kernel::new_socket_storage::<NearState>(maps::near(), sk) {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*near).owner).write_volatile(cgroup) };
    }
}

/// Who would get what a task of that cgroup asks for: a [`Near`].
#[inline(always)]
pub(crate) fn of_connect(ctx: &SockAddrContext, to: &Connection, cgroup: u64) -> u64 {
    guard_listener(ctx.as_ptr().cast(), to, cgroup)
}

/// [`of_connect`]. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_listener(ctx: *mut bpf_sock_addr, to: *const Connection, cgroup: u64) -> u64 {
    if to.is_null() {
        return Near::IN_DOUBT;
    }
    // SAFETY: not null, and only called from `of_connect`, with a reference.
    let to = unsafe { &*to };
    if to.protocol != Protocol::TCP || !to.to.is_loopback() {
        return Near::NOBODY;
    }
    let localhost = to.to.localhost();
    let found = kernel::with_receiver(ctx.cast(), (&localhost, 0), (&to.to, to.port), |listener| {
        with_tell(who(listener, cgroup, 0), listener, cgroup)
    });
    found.unwrap_or(Near::NOBODY)
}

/// Who gets a packet of a socket of that cgroup's: a [`Near`], with [`Near::BEGINS`]. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_receiver(skb: *mut __sk_buff, to: *const Connection, cgroup: u64) -> u64 {
    if to.is_null() {
        return Near::IN_DOUBT;
    }
    // SAFETY: not null, and only called from `of_packet`, with a reference.
    let to = unsafe { &*to };
    // SAFETY: the kernel's context.
    let is_near = unsafe { (&raw const (*skb).ifindex).read_volatile() } == LOOPBACK_DEVICE;
    if to.protocol != Protocol::TCP || !is_near {
        return Near::NOBODY;
    }
    let mut segment = MaybeUninit::uninit();
    if !ctx::segment(skb, &mut segment) {
        return Near::IN_DOUBT;
    }
    // SAFETY: `segment` wrote it.
    let segment = unsafe { segment.assume_init_ref() };
    let begins = if segment.begins() { Near::BEGINS } else { 0 };
    let found = kernel::with_receiver(
        skb.cast(),
        (&segment.from, segment.port),
        (&to.to, to.port),
        |receiver| {
            let made_in = kernel::socket_ancestor_cgroup(receiver, maps::SESSION_LEVEL.load());
            let near = who(receiver, cgroup, made_in);
            if begins == 0 {
                near
            } else {
                with_tell(near, receiver, cgroup)
            }
        },
    );
    found.unwrap_or(Near::NOBODY) | begins
}

/// Who gets a packet of a socket of that cgroup's: a [`Near`], with [`Near::BEGINS`].
#[inline(always)]
pub(crate) fn of_packet(skb: *mut __sk_buff, to: &Connection, cgroup: u64) -> u64 {
    guard_receiver(skb, to, cgroup)
}

#[inline(always)]
fn with_tell(near: u64, receiver: *mut bpf_sock, cgroup: u64) -> u64 {
    if Near::is_somebody(near) && is_due(receiver, cgroup) {
        near | Near::TELL
    } else {
        near
    }
}

/// `made_in`: the receiver's cgroup at the level of sessions, where the hook can tell, else 0.
#[inline(always)]
fn who(receiver: *mut bpf_sock, cgroup: u64, made_in: u64) -> u64 {
    if cgroup != 0 && made_in == cgroup {
        return Near::OWN;
    }
    // The guard's own proxy leads nowhere but by what was asked of it, and refuses who comes by himself.
    if kernel::socket_storage::<u64>(maps::listeners(), receiver).is_some() {
        return Near::NOBODY;
    }
    let Some(near) = kernel::new_socket_storage::<NearState>(maps::near(), receiver) else {
        return Near::IN_DOUBT;
    };
    // SAFETY: a live map value; aligned words.
    let (owner, ticket) = unsafe {
        (
            (&raw const (*near).owner).read_volatile(),
            (&raw const (*near).ticket).read_volatile(),
        )
    };
    if cgroup != 0 && owner == cgroup && made_in == 0 {
        return Near::OWN;
    }
    if ticket != 0 {
        return ticket;
    }
    let new = (kernel::random() >> 2) | Near::FIRST;
    // SAFETY: a live map value, aligned to 8.
    match unsafe { kernel::compare_exchange(&raw mut (*near).ticket, 0, new) } {
        0 => new,
        other => other,
    }
}

/// The verdict on a connection to the listener with a ticket: the strictest on where it leads.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_relay(case: *mut Case, to: *const Connection) -> u64 {
    if case.is_null() || to.is_null() {
        return Ruled::UNKNOWN;
    }
    // SAFETY: not null, and only called from `Case::decide`, with references.
    let (case, to) = unsafe { (&mut *case, &*to) };
    let Some(relay) = RELAYS.get_ptr(case.number) else {
        return unlooked(case, to);
    };
    // SAFETY: a live map value. It may be overwritten while it is read, which `head` and `tail` tell.
    let (head, len, leads) = unsafe {
        (
            (&raw const (*relay).head).read_volatile(),
            (&raw const (*relay).len).read_volatile(),
            &(*relay).leads,
        )
    };
    // SAFETY: as above.
    let owner = unsafe { (&raw const (*relay).owner).read_volatile() };
    let is_own = owner != 0 && owner == case.cgroup;
    // What it connects to for this one must not go unseen.
    if !is_own && case.wanted & BEGINS != 0 && !maps::is_followed(case.number) {
        return unlooked(case, to);
    }
    // The strictest counts, and of all that it leads to the first is what was asked for.
    guard_decide(case, to);
    let failed = kernel::find(len.min(MAX_LEADS as u32), (), |at| {
        case.add(leads.get(at)?);
        None
    });
    // SAFETY: as above.
    let (ticket, flags, again, tail) = unsafe {
        (
            (&raw const (*relay).ticket.0).read_volatile(),
            (&raw const (*relay).flags).read_volatile(),
            (&raw const (*relay).head).read_volatile(),
            (&raw const (*relay).tail).read_volatile(),
        )
    };
    if failed.is_some() || ticket != case.number || again != head || tail != head {
        return Ruled::UNKNOWN;
    }
    if is_own {
        return Ruled::OWN;
    }
    let verdict = case.verdict();
    if flags & relay_flags::ANYWHERE != 0 && verdict.strictness() < Verdict::Confirm.strictness() {
        let policy = case.session.policies[0];
        case.note(&Decision::by(policy, PolicyVerdict::CONFIRM));
        case.to = Connection::new(to.to, to.protocol, to.port);
        case.wanted |= THROUGH;
    }
    // A hole for the listener's own address is for where it leads, too.
    if case.leads_on() && matches!(case.verdict(), Verdict::Confirm) {
        let granted = HoleId(case.granted);
        if let Some(passage) = verdict::hole(case.session.id, to, granted, Wanted::All) {
            case.said = PolicyVerdict {
                verdict: Verdict::Allow,
                ..PolicyVerdict::unpack(case.said)
            }
            .pack();
            case.hole = passage.hole.0;
            case.kind = passage.kind;
            case.expires = passage.expires.0;
        }
    }
    Ruled::KNOWN
}

/// Of a listener that guardd has not looked at, or does not follow any more, nothing but this is known: what is denied whoever listens need not wait.
#[inline(always)]
fn unlooked(case: &mut Case, to: &Connection) -> u64 {
    let said = verdict::of_policies(&case.session, to);
    case.note(&said);
    match said.verdict {
        // Of an MPTCP server only the packet tells that it is the session's own.
        Verdict::Deny if !maps::has_multipath(case.cgroup) => Ruled::KNOWN,
        _ => Ruled::UNKNOWN,
    }
}

impl Case {
    #[inline(always)]
    fn leads_on(&self) -> bool {
        self.wanted & THROUGH != 0
    }

    #[inline(always)]
    pub(crate) fn verdict(&self) -> Verdict {
        PolicyVerdict::unpack(self.said).verdict
    }

    /// Takes one more place into account that the connection leads to.
    #[inline(always)]
    fn add(&mut self, to: &Connection) {
        let decision = verdict::decide(&self.session, to, HoleId(self.granted), Wanted::All);
        let decision = without_reads(decision);
        let (new, old) = (decision.verdict.strictness(), self.verdict().strictness());
        // Of equals the hole, so that the connection ends with it.
        if new > old || (new == old && decision.hole.0 != 0) {
            self.note(&decision);
            self.to = Connection::new(to.to, to.protocol, to.port);
            self.wanted |= THROUGH;
        }
    }
}

/// The proxy cannot go by way of a listener: what may only be read from waits for a person.
#[inline(always)]
fn without_reads(mut decision: Decision) -> Decision {
    if matches!(decision.verdict, Verdict::ReadOnly) {
        decision.verdict = Verdict::Confirm;
        decision.hole = HoleId(0);
    }
    decision
}

/// Whether guardd is to be told that a session connects to that listener. Whose share is used up takes no other's turn.
#[inline(always)]
fn is_due(receiver: *mut bpf_sock, cgroup: u64) -> bool {
    let Some(near) = kernel::socket_storage::<NearState>(maps::near(), receiver) else {
        return emit::may_tell_of_listener(cgroup);
    };
    let now = kernel::boot_time().0;
    // SAFETY: a live map value; one aligned word, and two writers write the present.
    unsafe {
        let told = &raw mut (*near).told;
        let is_due = now >= told.read_volatile() + PAUSE && emit::may_tell_of_listener(cgroup);
        if is_due {
            told.write_volatile(now);
        }
        is_due
    }
}
