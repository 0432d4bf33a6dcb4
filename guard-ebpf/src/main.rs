//! The kernel half of guard: cgroup programs, attached once at the guard's root cgroup.
//!
//! `connect` and `sendmsg` are judged by the cgroup of the task that asks, packets by the cgroup that
//! their socket was made in: whoever passes a socket on gets what both may reach. Each hook reads its
//! context, asks [`guard_common::decide`], and answers.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
// The attribute macros make public functions without documentation of their own.
#![allow(missing_docs, unreachable_pub)]

mod ctx;
mod dial;
mod emit;
mod hold;
mod kernel;
mod layout;
mod lsm;
mod maps;
mod relay;
mod socket;
mod turned;
mod verdict;

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock,
    },
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, sock_ops},
    programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext},
};
use guard_common::{
    Address, Connection, DEFAULT_RULE, Decision, HoleId, Hook, NetnsCookie, PolicyId,
    PolicyVerdict, Protocol, Tables as _, Verdict, Wanted, prefix_flags,
};

use crate::{
    emit::Refusal,
    hold::Hold,
    maps::Kernel,
    relay::{Case, Near, Ruled},
    socket::{Judge, Remembered, Socket},
    turned::Turned,
};

/// Verdicts of cgroup programs.
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
/// None of both, within this program.
const UNDECIDED: i32 = -1;
/// [`ALLOW`] for this packet, within this program: the next one is judged anew.
const ALLOW_ONCE: i32 = 2;

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

/// A packet on its way out: the backstop for whatever did not come through the others.
#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    judge_packet(&ctx)
}

/// `getpeername` on an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
fn getpeername4(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = turned::peer(&ctx, &ctx::connection4(&ctx)) {
        ctx::lead4(&ctx, &asked.to, asked.port);
    }
    ALLOW
}

/// `getpeername` on an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
fn getpeername6(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = turned::peer(&ctx, &ctx::connection6(&ctx)) {
        ctx::lead6(&ctx, &asked.to, asked.port);
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

/// What TCP asks and tells of a socket: those whose connections wait are handled. What others replied stays as it is.
#[sock_ops]
fn hold(ctx: SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
        && let Some(socket) = ctx::operated(&ctx).and_then(Socket::of)
    {
        socket.unmark_inbound();
    }
    hold::operate(&ctx);
    ALLOW as u32
}

/// A socket may be connected again, elsewhere: what it was allowed before does not count.
#[inline(always)]
fn connect(ctx: &SockAddrContext, to: &Connection, hook: Hook) -> i32 {
    let sk = ctx::socket(ctx);
    if let Some(socket) = Socket::of(sk)
        && !socket.forget()
    {
        return REFUSE;
    }
    if to.protocol == Protocol::TCP
        && let Some(turned) = Turned::of(sk)
    {
        turned.forget();
    }
    if to.protocol == Protocol::TCP
        && let Some(hold) = Hold::of(sk)
    {
        hold.forget(ctx);
    }
    let cgroup = kernel::task_ancestor_cgroup(maps::SESSION_LEVEL.load());
    let answer = ask(ctx, to, hook, cgroup, HoleId(0));
    if answer == ALLOW && !turned::note_way(ctx, to) {
        return REFUSE;
    }
    answer
}

/// Datagrams to one destination after the other are one connection.
#[inline(always)]
fn send(ctx: &SockAddrContext, to: &Connection, hook: Hook) -> i32 {
    let generation = maps::generation();
    let cgroup = kernel::task_ancestor_cgroup(maps::SESSION_LEVEL.load());
    let known = match Socket::of(ctx::socket(ctx)) {
        Some(socket) => socket.recall(to, generation, cgroup),
        None => Remembered::default(),
    };
    if known.allowed {
        return ALLOW;
    }
    ask(ctx, to, hook, cgroup, known.granted)
}

/// The verdict for what the current task, of that cgroup, asks of a socket.
#[inline(always)]
fn ask(ctx: &SockAddrContext, to: &Connection, hook: Hook, cgroup: u64, granted: HoleId) -> i32 {
    // Before the decision, so that what changes meanwhile voids it.
    let generation = maps::generation();
    let near = relay::of_connect(ctx, to, cgroup);
    if near == Near::OWN {
        return ALLOW;
    }
    let connects = matches!(hook, Hook::Connect4 | Hook::Connect6);
    let wanted = match connects && to.protocol == Protocol::TCP {
        true => Wanted::Any,
        false => Wanted::All,
    };
    let mut case = Case::new(cgroup, near | Near::BEGINS, to, granted, wanted);
    if near & Near::TELL != 0 {
        let netns = kernel::netns_cookie(ctx.as_ptr());
        emit::listener(to, case.session.id, case.ticket(), netns);
    }
    match case.decide(to) {
        Ruled::Own => return ALLOW,
        Ruled::Unknown if hold::look(ctx, to, case.session.id) => return ALLOW,
        Ruled::Unknown => return REFUSE,
        Ruled::Known => {}
    }
    let decision = case.decision();
    if !decision.allows() {
        return divert(ctx, to, hook, &case);
    }
    if decision.hole.0 == 0 {
        return ALLOW;
    }
    // The packets must know which hole the connection was taken from.
    match Socket::new(ctx::socket(ctx)) {
        Some(socket)
            if socket.remember(
                to,
                &decision,
                valid(&decision, generation),
                cgroup,
                Judge::Task,
            ) =>
        {
            maps::remember_through(kernel::socket_cookie(ctx.as_ptr()), decision.hole);
            ALLOW
        }
        _ => REFUSE,
    }
}

/// What becomes of a connection that may not go where it was asked for: it is turned to the proxy, waits, or is refused.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
fn divert(ctx: &SockAddrContext, to: &Connection, hook: Hook, case: &Case) -> i32 {
    let decision = case.decision();
    let session = &case.session;
    let is_turned = turned::turn(ctx, to, hook, &decision, session.id);
    if decision.hole.0 != 0 {
        note_turned(ctx, decision.hole, is_turned);
    }
    if is_turned {
        return ALLOW;
    }
    let connects = matches!(hook, Hook::Connect4 | Hook::Connect6);
    let can_wait =
        connects && to.protocol == Protocol::TCP && matches!(decision.verdict, Verdict::Confirm);
    let held = can_wait && hold::begin(ctx, to, session.id, &case.to);
    emit::case(case, to, hook, held);
    if held { ALLOW } else { REFUSE }
}

/// Under which generation an allowance is remembered. Where bytes are counted it never holds, and only the hole is known
/// again.
#[inline(always)]
fn valid(decision: &Decision, generation: u64) -> u64 {
    if decision.counts_bytes() {
        0
    } else {
        generation
    }
}

/// Notes which hole for reads a connection was taken from, or gives it back where it could not be turned.
#[inline(always)]
fn note_turned(ctx: &SockAddrContext, hole: HoleId, is_turned: bool) {
    match is_turned {
        true => maps::remember_through(kernel::socket_cookie(ctx.as_ptr()), hole),
        false => maps::give_back(hole),
    }
}

/// The verdict for a packet, by the session that its socket was made in.
#[inline(always)]
fn judge_packet(ctx: &SkBuffContext) -> i32 {
    let skb = ctx.as_ptr().cast();
    let Some(sk) = kernel::packet_socket(skb) else {
        return REFUSE;
    };
    let generation = maps::generation();
    // What most packets are, without a copy of where they go.
    if let Some(flow) = ctx::flow(skb)
        && let Some(socket) = Socket::of(sk)
        && socket.knows(&flow, generation)
    {
        return ALLOW;
    }
    let mut to = MaybeUninit::uninit();
    if !ctx::packet(skb, &mut to) {
        return REFUSE;
    }
    // SAFETY: `packet` wrote it.
    let to = unsafe { to.assume_init_ref() };
    if ctx::strays(skb, to) {
        return REFUSE;
    }
    if turned::may_be_for_proxy(to) {
        match judge_turned(skb, sk, to) {
            UNDECIDED => {}
            ALLOW if turned::tell(skb, sk) => {
                remember_turned(skb, sk, to, generation);
                return ALLOW;
            }
            ALLOW_ONCE if turned::tell(skb, sk) => return ALLOW,
            _ => return REFUSE,
        }
    }
    let cgroup = kernel::packet_ancestor_cgroup(skb, maps::SESSION_LEVEL.load());
    let known = match Socket::of(sk) {
        Some(socket) => socket.recall(to, generation, cgroup),
        None => Remembered::default(),
    };
    if known.allowed {
        return ALLOW;
    }
    // SAFETY: a socket from the context.
    let listens = unsafe { (*sk).state } == TCP_LISTEN && to.protocol == Protocol::TCP;
    // What waits was begun here. A mark may have come later, from the answer of the listener that its socket was before.
    let replies = (listens || known.inbound) && !hold::waits(sk);
    let near = relay::of_packet(skb, to, cgroup);
    let begins = near & Near::BEGINS != 0;
    if near & !Near::BEGINS == Near::OWN {
        // Who gets the first packet of a connection may be another one of those that share a port.
        if !begins {
            remember_turned(skb, sk, to, generation);
        }
        return ALLOW;
    }
    let who = if replies || !Near::is_somebody(near) {
        Near::NOBODY
    } else {
        near
    };
    let mut case = Case::new(cgroup, who, to, known.granted, Wanted::All);
    if hold::is_of_another(sk, case.session.id) {
        return REFUSE;
    }
    // Also of one that is known: `connect` may have told of another that shares the port.
    if who & Near::TELL != 0 {
        emit::listener(to, case.session.id, case.ticket(), NetnsCookie(0));
    }
    if case.decide_for_others(to) == Ruled::Unknown {
        return hold::judge(sk, to, case.session.id).unwrap_or(REFUSE);
    }
    // Who gets the next one may be another, as above.
    case.may_be_remembered(if begins { 0 } else { generation });
    let answers = match (replies, listens) {
        (true, true) => Answers::Listens,
        (true, false) => Answers::Replies,
        (false, _) => Answers::No,
    };
    conclude(skb, sk, to, &mut case, answers)
}

/// Whether a packet is on a connection that came in from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Answers {
    No = 0,
    /// It is.
    Replies = 1,
    /// It is a listener's.
    Listens = 2,
}

/// What becomes of a packet that is decided.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
fn conclude(
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    to: &Connection,
    case: &mut Case,
    answers: Answers,
) -> i32 {
    let decision = case.decision();
    let is_spent = decision.counts_bytes() && !maps::take_bytes(decision.hole, kernel::length(skb));
    if is_spent {
        case.refuse();
    } else if decision.allows() || (answers != Answers::No && decision.allows_reply()) {
        // What cannot be remembered is decided again with the next packet.
        if let Some(socket) = Socket::new(sk) {
            if answers == Answers::Listens {
                socket.mark_inbound();
            }
            socket.remember(
                to,
                &decision,
                valid(&decision, case.generation()),
                case.cgroup(),
                Judge::Packet,
            );
        }
        hold::note_passed(skb, sk, &decision);
        return ALLOW;
    } else if let Some(answer) = hold::judge(sk, to, case.session.id) {
        return answer;
    }
    emit::case(case, to, Hook::Egress, false);
    REFUSE
}

/// The verdict for a packet to the proxy, of a socket that was turned there; [`UNDECIDED`] for others, and [`ALLOW_ONCE`]
/// where a hole has it pass, which ends.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
fn judge_turned(skb: *mut __sk_buff, sk: *mut bpf_sock, to: &Connection) -> i32 {
    let Some(turned) = turned::of_packet(sk, to) else {
        return UNDECIDED;
    };
    match turned::is_for_itself(skb, turned) {
        Some(true) => return UNDECIDED,
        Some(false) => {}
        None => return REFUSE,
    }
    let session = maps::session(kernel::packet_ancestor_cgroup(
        skb,
        maps::SESSION_LEVEL.load(),
    ));
    let asked = turned.asked();
    let decision = turned::decide(turned, &asked, &session);
    if matches!(decision.verdict, Verdict::ReadOnly | Verdict::Allow) {
        return match decision.hole.0 {
            0 => ALLOW,
            _ => ALLOW_ONCE,
        };
    }
    let said = PolicyVerdict {
        verdict: decision.verdict,
        flags: decision.flags,
        rule: decision.rule,
    };
    emit::packet(skb, &session, &asked, said.pack(), decision.policy);
    REFUSE
}

/// Remembers that a socket's packets pass which are turned, or go to a server of the session's own.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
fn remember_turned(skb: *mut __sk_buff, sk: *mut bpf_sock, to: &Connection, generation: u64) {
    let cgroup = kernel::packet_ancestor_cgroup(skb, maps::SESSION_LEVEL.load());
    // Which policy does not matter: that there is no hole is what is remembered.
    let passes = PolicyVerdict {
        verdict: Verdict::Allow,
        flags: 0,
        rule: DEFAULT_RULE,
    };
    let decision = Decision::by(PolicyId(0), passes);
    if let Some(socket) = Socket::new(sk) {
        socket.remember(to, &decision, generation, cgroup, Judge::Packet);
    }
}

/// Kinds of sockets that the hooks above judge may be made, and ping ones where a policy allows any
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
            relay::mark_owner(ctx.sock, cgroup);
            return ALLOW;
        }
        (SOCK_DGRAM, Protocol::UDP) => return ALLOW,
        _ => {}
    }
    let session = maps::session(cgroup);
    let any = Address::default();
    let policy = Kernel.prefix(session.policies[0], &any);
    let pings = policy.is_some_and(|value| value.flags & prefix_flags::PING != 0);
    if kind == SOCK_DGRAM && protocol == Protocol::ICMP && pings {
        return ALLOW;
    }
    let to = Connection::new(any, protocol, 0);
    Refusal {
        hook: Hook::SockCreate,
        cgroup,
        session: &session,
        to: &to,
        decision: &Decision::by(session.policies[0], PolicyVerdict::DENY),
        socket_type: kind as u8,
        held: false,
        through: 0,
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
