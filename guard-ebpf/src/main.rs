//! The kernel half of guard: cgroup programs, attached once at the guard's root cgroup.
//!
//! `connect` and `sendmsg` are judged by the cgroup of the task that asks, packets by the cgroup that
//! their socket was made in: whoever passes a socket on gets what both may reach. Each hook reads its
//! context, has `verdict.rs` decide, and answers.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
// The attribute macros make public functions without documentation of their own.
#![allow(missing_docs, unreachable_pub)]

mod answered_names;
mod began;
mod case;
mod connected;
mod ctx;
mod emit;
mod flows;
mod gate;
mod hold;
mod kernel;
mod layout;
mod listener;
mod log;
mod lsm;
mod maps;
mod origins;
mod outside;
mod questions;
mod rates;
mod redirect;
mod socket;
mod unsent;
mod verdict;

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock,
    },
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, sk_msg, sock_ops},
    programs::{SkBuffContext, SkMsgContext, SockAddrContext, SockContext, SockOpsContext},
};
use guard_common::{
    Address, Cause, Connection, DEFAULT_RULE, Decision, HoleId, Hook, LogOutcome, PolicyId,
    PolicyVerdict, Protocol, Tables as _, Verdict, Wanted, prefix_flags,
};

use crate::{
    began::Began,
    case::Case,
    emit::RefusalReport,
    gate::Passing,
    hold::Hold,
    listener::Receiver,
    maps::Kernel,
    redirect::Redirect,
    socket::{CachedVerdict, Judge, Socket},
};

/// Verdicts of cgroup programs.
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
/// None of both, within this program.
const UNDECIDED: i32 = -1;
/// [`ALLOW`] for this packet, within this program: the next one is judged again.
const ALLOW_ONCE: i32 = 3;

/// `TCP_LISTEN` of net/tcp_states.h.
const TCP_LISTEN: u32 = 10;

/// `connect` on an IPv4 socket.
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    connect(&ctx, &ctx::connection4(&ctx), Hook::Connect4)
}

/// `connect` on an IPv6 socket.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    connect(&ctx, &ctx::connection6(&ctx), Hook::Connect6)
}

/// A datagram with an address of its own, IPv4.
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    send(&ctx, &ctx::connection4(&ctx), Hook::Sendmsg4)
}

/// A datagram with an address of its own, IPv6.
#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    send(&ctx, &ctx::connection6(&ctx), Hook::Sendmsg6)
}

/// A packet on its way out: each is judged, also of what the others let pass.
#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    let answer = judge_packet(&ctx);
    // The verifier has to see that nothing else is answered. The compiler knows that already, and would drop the match; the volatile read
    // keeps it.
    // SAFETY: a reference to it.
    match unsafe { (&raw const answer).read_volatile() } {
        ALLOW => ALLOW,
        hold::PROBE => hold::PROBE,
        _ => REFUSE,
    }
}

/// A packet on its way in: each passes, and what a name server answers is read.
#[cgroup_skb(ingress)]
fn ingress(ctx: SkBuffContext) -> i32 {
    answered_names::note(ctx.as_ptr().cast());
    ALLOW
}

/// `getpeername` on an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
fn getpeername4(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = redirect::peer(&ctx, &ctx::connection4(&ctx)) {
        ctx::set_destination4(&ctx, &asked.to, asked.port);
    }
    ALLOW
}

/// `getpeername` on an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
fn getpeername6(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = redirect::peer(&ctx, &ctx::connection6(&ctx)) {
        ctx::set_destination6(&ctx, &asked.to, asked.port);
    }
    ALLOW
}

/// The sender of a datagram that is received, on an IPv4 socket.
#[cgroup_sock_addr(recvmsg4)]
fn recvmsg4(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = redirect::peer(&ctx, &ctx::connection4(&ctx)) {
        ctx::set_destination4(&ctx, &asked.to, asked.port);
    }
    ALLOW
}

/// The sender of a datagram that is received, on an IPv6 socket.
#[cgroup_sock_addr(recvmsg6)]
fn recvmsg6(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = redirect::peer(&ctx, &ctx::connection6(&ctx)) {
        ctx::set_destination6(&ctx, &asked.to, asked.port);
    }
    ALLOW
}

/// `socket` on an IP family.
#[cgroup_sock(sock_create)]
fn sock_create(ctx: SockContext) -> i32 {
    judge_creation(&ctx)
}

/// `listen` on a TCP socket. Only for kernels before 6.6, whose IPv6 lets a listener's answers by without asking
/// egress ("bpf, net: Check skb ownership against full socket"), so that it is not marked there. What others
/// replied stays as it is.
#[sock_ops]
fn listen(ctx: SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_TCP_LISTEN_CB
        && let Some(socket) = ctx::operated(&ctx).and_then(Socket::new)
    {
        socket.mark_inbound();
    }
    ALLOW as u32
}

/// Callbacks of TCP (`sock_ops`): they pace the SYNs of a held connection and note its end (`hold.rs`), keep a socket from the mark or
/// the hole of what it was before, and count what each reaches (`flows.rs`). What other programs replied stays as it is.
#[sock_ops]
fn hold(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            if let Some(socket) = ctx::operated(&ctx).and_then(Socket::of) {
                socket.unmark_inbound();
            }
        }
        // What it accepts inherits its storage, and must not go through the hole of what it was connected to; but for what another CPU
        // judges in that moment.
        BPF_SOCK_OPS_TCP_LISTEN_CB => {
            if let Some(socket) = ctx::operated(&ctx).and_then(Socket::of) {
                socket.evict();
            }
            if let Some(hold) = ctx::operated(&ctx).and_then(Hold::of) {
                hold.end();
            }
        }
        _ => {}
    }
    hold::operate(&ctx);
    // After those, which want no more of these callbacks once the connection stands.
    flows::operate(&ctx);
    ALLOW as u32
}

/// Callbacks of TCP for sockets that have to show a name in TLS.
#[sock_ops]
fn gate_ops(ctx: SockOpsContext) -> u32 {
    gate::operate(&ctx);
    ALLOW as u32
}

/// What programs send on such sockets.
#[sk_msg]
fn gate_hello(ctx: SkMsgContext) -> u32 {
    gate::hear(&ctx)
}

/// Judges `connect`. A socket may connect again, elsewhere: what was cached for the last destination is cleared first.
#[inline(always)]
fn connect(ctx: &SockAddrContext, to: &Connection, hook: Hook) -> i32 {
    let cgroup = kernel::task_ancestor_cgroup(maps::SESSION_LEVEL.load());
    if !clear_last_destination(ctx, to) {
        emit::busy(to, hook, cgroup);
        return REFUSE;
    }
    if questions::is_direct(ctx, to) {
        return REFUSE;
    }
    unsent::renew(ctx, to, hook, cgroup);
    if questions::may_be(to) {
        let answer = questions::judge(ctx, to, hook, cgroup);
        if answer != UNDECIDED {
            return answer;
        }
    }
    let answer = judge_call(ctx, to, hook, cgroup, HoleId(0));
    if answer == ALLOW {
        answered_names::expect(ctx, to);
    }
    answer
}

/// False where another thread is writing the cache, and where memory is too short to know when the connection began.
#[inline(always)]
fn clear_last_destination(ctx: &SockAddrContext, to: &Connection) -> bool {
    let sk = ctx::socket(ctx);
    if !began::note(sk) {
        return false;
    }
    if let Some(socket) = Socket::of(sk)
        && !socket.clear()
    {
        return false;
    }
    if let Some(redirect) = Redirect::of(sk) {
        redirect.clear();
    }
    if to.protocol == Protocol::TCP
        && let Some(hold) = Hold::of(sk)
    {
        hold.clear(ctx);
    }
    gate::clear(sk);
    true
}

/// Judges a datagram with an address of its own. Consecutive datagrams to one destination count as one connection.
#[inline(always)]
fn send(ctx: &SockAddrContext, to: &Connection, hook: Hook) -> i32 {
    let cgroup = kernel::task_ancestor_cgroup(maps::SESSION_LEVEL.load());
    if questions::is_direct(ctx, to) {
        // What a socket sends that is connected by an IPv4-mapped address comes here, with the address that `connect` gave it
        // (udpv6_sendmsg in net/ipv6/udp.c). Egress judges it.
        return if redirect::is_question(ctx, to) {
            ALLOW
        } else {
            REFUSE
        };
    }
    if questions::may_be(to) {
        let answer = questions::judge(ctx, to, hook, cgroup);
        if answer != UNDECIDED {
            return answer;
        }
    }
    let cached = cached(ctx::socket(ctx), to, maps::generation(), cgroup);
    if cached.allowed {
        log::plain(cgroup, to, hook, cached.hole, LogOutcome::Cached);
        return ALLOW;
    }
    let answer = judge_call(ctx, to, hook, cgroup, cached.hole);
    if answer == ALLOW {
        answered_names::expect(ctx, to);
    }
    answer
}

/// What the cache of a socket says about a destination.
#[inline(always)]
pub(crate) fn cached(
    sk: *mut bpf_sock,
    to: &Connection,
    generation: u64,
    cgroup: u64,
) -> CachedVerdict {
    match Socket::of(sk) {
        Some(socket) => socket.cached(to, generation, cgroup),
        None => CachedVerdict::default(),
    }
}

/// The verdict on a call of the current task, which is in that cgroup: its own servers pass; then the policies and holes decide.
#[inline(always)]
fn judge_call(
    ctx: &SockAddrContext,
    to: &Connection,
    hook: Hook,
    cgroup: u64,
    used: HoleId,
) -> i32 {
    // Read before the decision, so that a change meanwhile voids it.
    let generation = maps::generation();
    let receiver = listener::of_call(ctx, to, cgroup);
    if receiver.is_own() {
        return allow_own_server(to, hook, cgroup);
    }
    let mut case = Case::of_call(cgroup, receiver, to, used, wanted_by(to, hook));
    case.set_receiver(receiver);
    case.decide();
    let decision = case.decision();
    if !decision.allows() || !passes_gate(ctx, to, hook, &decision, cgroup) {
        if is_for_packets(ctx, to, hook, &case) {
            return ALLOW;
        }
        return redirect_or_hold(ctx, to, hook, &case);
    }
    let generation = case.generation_for_call(generation_for_call(&decision, generation));
    let answer = allow_call(ctx, to, &decision, generation, cgroup);
    if answer != ALLOW {
        emit::busy(to, hook, cgroup);
    }
    let outcome = outcome(answer == ALLOW, LogOutcome::Allowed);
    log::case(&case, to, hook, outcome);
    answer
}

/// Which holes help a call.
#[inline(always)]
fn wanted_by(to: &Connection, hook: Hook) -> Wanted {
    if is_tcp_connect(to, hook) {
        Wanted::Any
    } else {
        Wanted::All
    }
}

/// Allows a call to a server of the session's own.
#[inline(always)]
fn allow_own_server(to: &Connection, hook: Hook, cgroup: u64) -> i32 {
    log::plain(cgroup, to, hook, HoleId(0), LogOutcome::Own);
    ALLOW
}

/// Whether a call that is allowed may go on: if TLS has to show a name, only to wait for that at the gate.
#[inline(always)]
fn passes_gate(
    ctx: &SockAddrContext,
    to: &Connection,
    hook: Hook,
    decision: &Decision,
    cgroup: u64,
) -> bool {
    let needs_gate = decision.is_by_sni() && is_tcp_connect(to, hook);
    !needs_gate || gate::begin(ctx, to, cgroup)
}

/// That it was allowed by `allowed`, or refused.
#[inline(always)]
fn outcome(is_allowed: bool, allowed: LogOutcome) -> LogOutcome {
    if is_allowed {
        allowed
    } else {
        LogOutcome::Refused
    }
}

/// Only such a call can be redirected, or held.
#[inline(always)]
fn is_tcp_connect(to: &Connection, hook: Hook) -> bool {
    matches!(hook, Hook::Connect4 | Hook::Connect6) && to.protocol == Protocol::TCP
}

/// Allows a call. Where a hole allowed it, the socket must record which one: its packets are judged by that. `generation`:
/// [`generation_for_call`].
#[inline(always)]
pub(crate) fn allow_call(
    ctx: &SockAddrContext,
    to: &Connection,
    decision: &Decision,
    generation: u64,
    cgroup: u64,
) -> i32 {
    if decision.hole.0 == 0 {
        return ALLOW;
    }
    match Socket::new(ctx::socket(ctx)) {
        Some(socket) if socket.cache(to, decision, generation, cgroup, Judge::Task) => {
            maps::note_through(kernel::socket_cookie(ctx.as_ptr()), decision.hole);
            ALLOW
        }
        _ => REFUSE,
    }
}

/// What becomes of a call that is not allowed: it is redirected to the proxy, held, or refused; or it passes for now, since it
/// sends nothing.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
fn redirect_or_hold(ctx: &SockAddrContext, to: &Connection, hook: Hook, case: &Case) -> i32 {
    let decision = case.decision();
    let session = &case.session;
    let is_redirected = redirect::begin(ctx, to, hook, case);
    if decision.hole.0 != 0 {
        note_hole_used(ctx, case, is_redirected);
    }
    if is_redirected {
        log::case(case, to, hook, LogOutcome::Redirected);
        return ALLOW;
    }
    if unsent::begin(ctx, to, hook, decision.verdict, case.cgroup()) {
        log::case(case, to, hook, LogOutcome::Unsent);
        return ALLOW;
    }
    // `connect` alone can redirect a question: once it is open, the program has to connect again.
    let can_wait = is_tcp_connect(to, hook)
        && matches!(decision.verdict, Verdict::Confirm)
        && !questions::is_judged(to, &decision);
    let held = can_wait && hold::begin(ctx, &case.to, session.id);
    log::case(case, to, hook, outcome(held, LogOutcome::Held));
    emit::case(case, hook, held);
    if held { ALLOW } else { REFUSE }
}

/// Lets a call pass that is not allowed, since its packets tell more: it goes to a server of the session's own at this machine's own
/// address, or to a listener on the loopback of which the packet tells more. False where it stays as it is.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
fn is_for_packets(ctx: &SockAddrContext, to: &Connection, hook: Hook, case: &Case) -> bool {
    if !is_tcp_connect(to, hook) || case.is_refused() {
        return false;
    }
    let outcome = if listener::is_own_here(ctx, to, case.cgroup()) {
        LogOutcome::Own
    } else if is_in_doubt(case) && hold::begin_in_doubt(ctx, &case.to, case.session.id) {
        LogOutcome::InDoubt
    } else {
        return false;
    };
    case.give_back();
    log::case(case, to, hook, outcome);
    true
}

/// Whether the first packet of a connection to a listener on the loopback may pass though the call may not. Of an MPTCP server only the
/// packet tells that it is the session's own; and guardd may know the listener's program as one that is reached without a question.
#[inline(always)]
fn is_in_doubt(case: &Case) -> bool {
    let is_asked = matches!(case.verdict(), Verdict::Confirm);
    case.is_listener()
        && (maps::has_multipath(case.cgroup()) || (is_asked && maps::remembers(case.session.id)))
}

/// The generation under which a call's allowance is cached. Where the hole counts bytes, or packets wait for a name, it is never
/// valid: then only the hole is known again.
#[inline(always)]
pub(crate) fn generation_for_call(decision: &Decision, generation: u64) -> u64 {
    if decision.counts_bytes() || decision.is_by_sni() {
        0
    } else {
        generation
    }
}

/// The same of a packet's allowance.
#[inline(always)]
fn generation_for_packet(decision: &Decision, passing: Passing, generation: u64) -> u64 {
    if decision.counts_bytes() || passing != Passing::Yes {
        0
    } else {
        generation
    }
}

/// Records the hole that a redirect used, or gives the connection back to it where there was no redirect.
#[inline(always)]
fn note_hole_used(ctx: &SockAddrContext, case: &Case, is_redirected: bool) {
    if is_redirected {
        maps::note_through(kernel::socket_cookie(ctx.as_ptr()), case.hole());
    } else {
        case.give_back();
    }
}

/// The verdict on a packet, by the session that its socket was made in: cached flows pass; [`Packet::judge`] has the stages of others.
#[inline(always)]
fn judge_packet(ctx: &SkBuffContext) -> i32 {
    let skb = ctx.as_ptr().cast();
    let Some(sk) = kernel::packet_socket(skb) else {
        return REFUSE;
    };
    let generation = maps::generation();
    if is_cached_flow(skb, sk, generation) {
        log::cached_flow(skb, sk);
        return ALLOW;
    }
    let mut to = MaybeUninit::uninit();
    match Packet::read(skb, sk, generation, &mut to) {
        Some(packet) => packet.judge(),
        None => REFUSE,
    }
}

/// A packet of a flow that is not cached.
#[derive(Clone, Copy)]
struct Packet<'a> {
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    to: &'a Connection,
    /// Under which its allowance is cached; 0: not at all.
    generation: u64,
}

impl<'a> Packet<'a> {
    /// Reads where a packet goes into `to`. `None` where it cannot be parsed.
    #[inline(always)]
    fn read(
        skb: *mut __sk_buff,
        sk: *mut bpf_sock,
        generation: u64,
        to: &'a mut MaybeUninit<Connection>,
    ) -> Option<Self> {
        if !ctx::packet(skb, to) {
            log::unreadable(skb);
            return None;
        }
        // SAFETY: `packet` wrote it.
        let to = unsafe { to.assume_init_ref() };
        Some(Self {
            skb,
            sk,
            to,
            generation,
        })
    }

    /// The verdict on it: a redirected one is judged by its original destination; what its socket is connected to is judged where
    /// `connect` let that pass; the session's own servers pass; then the policies and holes decide.
    #[inline(always)]
    fn judge(mut self) -> i32 {
        let Self { skb, sk, to, .. } = self;
        if ctx::strays(skb, to) {
            return self.refuse(LogOutcome::Strays);
        }
        let answer = self.judge_redirect();
        if answer != UNDECIDED {
            return answer;
        }
        if !unsent::judge(skb, to) {
            return self.refuse(LogOutcome::Refused);
        }
        let cgroup = kernel::packet_ancestor_cgroup(skb, maps::SESSION_LEVEL.load());
        let cached = cached(sk, to, self.generation, cgroup);
        if cached.allowed {
            log::plain(cgroup, to, Hook::Egress, cached.hole, LogOutcome::Cached);
            return ALLOW;
        }
        let inbound = inbound(sk, to, &cached);
        let receiver = listener::of_packet(skb, to, cgroup);
        if receiver.is_once() {
            // Several sockets may share a port: the next packet may go to another than the one that begins a connection.
            self.generation = 0;
        }
        let answer = self.judge_receiver(receiver);
        if answer != UNDECIDED {
            return answer;
        }
        self.judge_by_policies(cgroup, cached.hole, receiver, inbound)
    }

    #[inline(always)]
    fn refuse(self, outcome: LogOutcome) -> i32 {
        log::packet(self.skb, self.to, outcome);
        REFUSE
    }

    /// The verdict on a packet of a redirected socket, whose receiver hears of it; [`UNDECIDED`] for others.
    #[inline(always)]
    fn judge_redirect(self) -> i32 {
        if !redirect::may_be_redirected(self.to) {
            return UNDECIDED;
        }
        let answer = guard_redirected(self.skb, self.to);
        // The resolver hears what it is told of and no more, and nobody else hears what was meant for it. A socket that was connected to it
        // stays so where its next `connect` is refused, though nothing tells any more which server was meant.
        if self.to.protocol == Protocol::UDP
            && questions::is_heard(self.skb, self.to) == (answer == UNDECIDED)
        {
            return self.refuse(LogOutcome::Refused);
        }
        match answer {
            UNDECIDED => UNDECIDED,
            ALLOW | ALLOW_ONCE if origins::tell(self.skb) => {
                log::packet(self.skb, self.to, LogOutcome::ToProxy);
                if answer == ALLOW {
                    guard_cache_plain(self.skb, self.to, self.generation);
                }
                ALLOW
            }
            _ => self.refuse(LogOutcome::Refused),
        }
    }

    /// The verdict on a packet whose receiver alone decides it; [`UNDECIDED`] for others.
    #[inline(always)]
    fn judge_receiver(self, receiver: Receiver) -> i32 {
        if receiver.is_refused() {
            return self.refuse(LogOutcome::Refused);
        }
        if receiver.is_nobody() {
            // It decides nothing, and is not logged for the sake of the stack.
            return ALLOW;
        }
        if receiver.is_own() {
            return self.allow_own_server();
        }
        UNDECIDED
    }

    /// Allows a packet to a server of the session's own.
    #[inline(always)]
    fn allow_own_server(self) -> i32 {
        log::packet(self.skb, self.to, LogOutcome::Own);
        flows::note_own(self.sk);
        if self.generation != 0 {
            guard_cache_plain(self.skb, self.to, self.generation);
        }
        ALLOW
    }

    /// The verdict of policies and holes, at the listener that receives the packet if that is another program's.
    #[inline(always)]
    fn judge_by_policies(
        self,
        cgroup: u64,
        used: HoleId,
        receiver: Receiver,
        inbound: Inbound,
    ) -> i32 {
        let receiver = match inbound {
            Inbound::No => receiver,
            _ => Receiver::NONE,
        };
        let mut case = Case::of_packet(cgroup, receiver, self.to, used);
        case.set_receiver(receiver);
        if hold::is_of_another(self.sk, case.session.id) {
            log::case(&case, self.to, Hook::Egress, LogOutcome::Refused);
            return REFUSE;
        }
        case.set_began(Began::of_packet(self.sk, self.to));
        case.decide();
        case.set_generation(self.generation);
        conclude(self.skb, self.to, &mut case, inbound)
    }
}

/// Whether a packet is of the flow that its socket was allowed last: what most packets are, without a copy of the destination.
#[inline(always)]
fn is_cached_flow(skb: *mut __sk_buff, sk: *mut bpf_sock, generation: u64) -> bool {
    if let Some(flow) = ctx::flow(skb)
        && let Some(socket) = Socket::of(sk)
    {
        socket.has_cached(&flow, generation)
    } else {
        false
    }
}

/// Whether a packet answers a peer that has connected from outside. A held connection was begun here: its mark may be left from the
/// listener that its socket was before.
#[inline(always)]
fn inbound(sk: *mut bpf_sock, to: &Connection, cached: &CachedVerdict) -> Inbound {
    let listens = to.protocol == Protocol::TCP && listens(sk);
    if !(listens || cached.inbound) || hold::is_held(sk) {
        Inbound::No
    } else if listens {
        Inbound::Listener
    } else {
        Inbound::Accepted
    }
}

#[inline(always)]
fn listens(sk: *mut bpf_sock) -> bool {
    // SAFETY: a socket from the context.
    unsafe { (&raw const (*sk).state).read_volatile() == TCP_LISTEN }
}

/// Whether a packet is on a connection that came in from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Inbound {
    No = 0,
    /// It is, and its socket was accepted.
    Accepted = 1,
    /// It is, and its socket is the listener.
    Listener = 2,
}

impl Inbound {
    /// Back from `as u32`.
    #[inline(always)]
    const fn from_u32(number: u32) -> Self {
        match number {
            1 => Self::Accepted,
            2 => Self::Listener,
            _ => Self::No,
        }
    }
}

/// Applies the decision on a packet: it passes, is held, or is refused.
#[inline(always)]
fn conclude(skb: *mut __sk_buff, to: &Connection, case: &mut Case, inbound: Inbound) -> i32 {
    guard_conclude(skb, to, case, inbound as u32)
}

/// [`conclude`], with [`Inbound`] as a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_conclude(
    skb: *mut __sk_buff,
    to: *const Connection,
    case: *mut Case,
    inbound: u32,
) -> i32 {
    let Some(sk) = kernel::packet_socket(skb) else {
        return REFUSE;
    };
    if to.is_null() || case.is_null() {
        return REFUSE;
    }
    // SAFETY: not null, and only called from `conclude`, with references.
    let (to, case) = unsafe { (&*to, &mut *case) };
    let (inbound, decision) = (Inbound::from_u32(inbound), case.decision());
    if inbound == Inbound::No && questions::goes_past(skb, to, &decision, case.cgroup()) {
        return refuse_past_resolver(to, case);
    }
    let passing = judge_gate(skb, sk, case, &decision, inbound);
    if passing == Passing::No {
        // What is allowed is not held. The next packet would take from its holes again.
        case.give_back();
    } else if !take_bytes(skb, &decision) {
        case.confirm_again();
    } else if decision.allows() || (inbound != Inbound::No && decision.allows_reply()) {
        cache_allowed(sk, to, case, passing, inbound);
        hold::note_passed(skb, sk, &decision);
        log::case(case, to, Hook::Egress, LogOutcome::Allowed);
        note_flow(sk, to, case, inbound);
        return ALLOW;
    } else if let Some(answer) = hold::judge(sk, to, case.session.id) {
        log::case(case, to, Hook::Egress, LogOutcome::Held);
        if hold::is_first_doubt(sk) {
            emit::case(case, Hook::Egress, true);
        }
        return answer;
    }
    log::case(case, to, Hook::Egress, LogOutcome::Refused);
    emit::case(case, Hook::Egress, false);
    REFUSE
}

/// Refuses a packet that the policies let through, and that goes past the resolver.
#[inline(always)]
fn refuse_past_resolver(to: &Connection, case: &Case) -> i32 {
    case.give_back();
    log::case(case, to, Hook::Egress, LogOutcome::Refused);
    emit::past_resolver(case, to);
    REFUSE
}

/// Whether a packet passes the gate, if TLS has to show a name.
#[inline(always)]
fn judge_gate(
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    case: &Case,
    decision: &Decision,
    inbound: Inbound,
) -> Passing {
    if decision.allows() && decision.is_by_sni() && inbound == Inbound::No {
        gate::judge(skb, sk, case.cgroup())
    } else {
        Passing::Yes
    }
}

/// Takes a packet's bytes from its hole, if that counts them. False where they are more than were left.
#[inline(always)]
fn take_bytes(skb: *mut __sk_buff, decision: &Decision) -> bool {
    !decision.counts_bytes() || maps::take_bytes(decision.hole, kernel::length(skb))
}

/// Counts a packet that passes, unless its connection came in.
#[inline(always)]
fn note_flow(sk: *mut bpf_sock, to: &Connection, case: &Case, inbound: Inbound) {
    if inbound == Inbound::No {
        flows::note_packet(sk, to, case.session.id, case.said());
    }
}

/// Caches that a packet is allowed. What cannot be cached is decided again with the next packet.
#[inline(always)]
fn cache_allowed(
    sk: *mut bpf_sock,
    to: &Connection,
    case: &Case,
    passing: Passing,
    inbound: Inbound,
) {
    let decision = case.decision();
    if let Some(socket) = Socket::new(sk) {
        if inbound == Inbound::Listener {
            socket.mark_inbound();
            // It may have been closed and connected outwards since its state was read. Once it stands, `hold` unmarks it in any case.
            if !listens(sk) {
                socket.unmark_inbound();
            }
        }
        let generation = generation_for_packet(&decision, passing, case.generation());
        socket.cache(to, &decision, generation, case.cgroup(), Judge::Packet);
    }
}

/// The verdict on a packet to the proxy, of a socket that was redirected there; [`UNDECIDED`] for others, and [`ALLOW_ONCE`]
/// where a hole, which ends, lets it pass. The verifier checks it by itself, as those below.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_redirected(skb: *mut __sk_buff, to: *const Connection) -> i32 {
    let Some(sk) = kernel::packet_socket(skb) else {
        return REFUSE;
    };
    if to.is_null() {
        return REFUSE;
    }
    // SAFETY: not null, and only called from `judge_redirect`, with a reference.
    let to = unsafe { &*to };
    let Some(redirect) = redirect::of_packet(sk, to) else {
        return UNDECIDED;
    };
    let session = maps::session(kernel::packet_ancestor_cgroup(
        skb,
        maps::SESSION_LEVEL.load(),
    ));
    let asked = redirect.asked();
    let decision = redirect::decide(redirect, &asked, &session, Began::of_packet(sk, to));
    if matches!(decision.verdict, Verdict::ReadOnly | Verdict::Allow) {
        if asked.protocol == Protocol::UDP {
            let said = verdict::with_policy(decision.said(), decision.policy);
            flows::note_packet(sk, &asked, session.id, said);
        }
        // The resolver is told of each datagram.
        return match (decision.hole.0, asked.protocol) {
            (0, Protocol::TCP) => ALLOW,
            _ => ALLOW_ONCE,
        };
    }
    let said = decision.said().pack();
    emit::packet(skb, &session, &asked, said, decision.policy);
    REFUSE
}

/// Caches that a socket's packets pass without a hole: those of a redirect, and those to a server of the session's own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_cache_plain(
    skb: *mut __sk_buff,
    to: *const Connection,
    generation: u64,
) -> u32 {
    let Some(sk) = kernel::packet_socket(skb) else {
        return 0;
    };
    if to.is_null() {
        return 0;
    }
    // SAFETY: not null, and all callers, in this file, pass references.
    let to = unsafe { &*to };
    let cgroup = kernel::packet_ancestor_cgroup(skb, maps::SESSION_LEVEL.load());
    // Which policy allows does not matter: that there is no hole does.
    let passes = PolicyVerdict {
        verdict: Verdict::Allow,
        flags: 0,
        rule: DEFAULT_RULE,
    };
    let decision = Decision::by(PolicyId(0), passes);
    if let Some(socket) = Socket::new(sk) {
        socket.cache(to, &decision, generation, cgroup, Judge::Packet);
    }
    0
}

/// Kinds of sockets that the hooks above judge may be made, and ping ones where the innermost policy allows any
/// echo; raw, UDP-Lite, SCTP, DCCP, L2TP and whatever comes may not.
#[inline(always)]
fn judge_creation(ctx: &SockContext) -> i32 {
    const SOCK_STREAM: u32 = 1;
    const SOCK_DGRAM: u32 = 2;
    /// linux/in.h
    const IPPROTO_MPTCP: u32 = 262;
    // SAFETY: the kernel's context.
    let (kind, protocol) = unsafe { ((*ctx.sock).type_, (*ctx.sock).protocol) };
    let cgroup = kernel::task_ancestor_cgroup(maps::SESSION_LEVEL.load());
    if protocol == IPPROTO_MPTCP {
        maps::note_multipath(cgroup);
    }
    let protocol = Protocol::canonical(protocol);
    match (kind, protocol) {
        (SOCK_STREAM, Protocol::TCP) => {
            listener::mark_owner(ctx.sock, cgroup);
            return ALLOW;
        }
        (SOCK_DGRAM, Protocol::UDP) => {
            listener::mark_owner(ctx.sock, cgroup);
            return ALLOW;
        }
        _ => {}
    }
    let session = maps::session(cgroup);
    let any = Address::default();
    let policy = Kernel.prefix(session.policies[0], &any);
    let pings = policy.is_some_and(|value| value.flags & prefix_flags::PING != 0);
    let to = Connection::new(any, protocol, 0);
    if kind == SOCK_DGRAM && protocol == Protocol::ICMP && pings {
        log::plain(
            cgroup,
            &to,
            Hook::SockCreate,
            HoleId(0),
            LogOutcome::Allowed,
        );
        return ALLOW;
    }
    log::plain(
        cgroup,
        &to,
        Hook::SockCreate,
        HoleId(0),
        LogOutcome::Refused,
    );
    RefusalReport {
        hook: Hook::SockCreate,
        cgroup,
        session: &session,
        to: &to,
        decision: &Decision::by(session.policies[0], PolicyVerdict::DENY),
        socket_type: kind as u8,
        held: false,
        cause: Cause::Policies,
    }
    .emit();
    REFUSE
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could loop, so that none with a panic in it loads.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
