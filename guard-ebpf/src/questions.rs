//! DNS questions of sessions whose policies speak of names: redirected to the guard's resolver.
//!
//! Whatever server a program asks at port 53 by UDP or TCP, the resolver gets the question, judges the name, asks that server, and
//! notes in `NAMED` what it said before the program hears it. `connect` and `sendmsg` rewrite the address, egress tells the
//! resolver which server was meant, `recvmsg` and `getpeername` show that one.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, bpf_sock},
    programs::SockAddrContext,
};
use guard_common::{
    ASKED_AT_ONCE, Address, BootTime, Connection, DNS_PORT, Decision, HoleId, Hook, MAX_ASKED,
    NetnsCookie, Origin, OriginKey, Protocol, QuestionHash, QueueKey, Reason, SessionId, Wanted,
    prefix_flags, with_hole,
};

use crate::{
    ALLOW, REFUSE, UNDECIDED, allow_call,
    began::Began,
    cached, ctx, emit, generation_for_call,
    kernel::{self, SocketAddress},
    maps::{self, ListenerState, QUESTIONS, Shared},
    rates,
    redirect::{Proxy, Redirect, RedirectCause},
    verdict,
};

/// Nanoseconds for each datagram of an outermost session and those inside it that reaches the resolver, and how many do at once. The
/// resolver has one thread for all sessions: who sends more loses them itself, and takes a sixth of the thread.
const INTERVAL: u64 = 250_000;
const AT_ONCE: u64 = 256;
/// So many of them wait in a socket's buffer, which all sessions share: as many as are let through at once, however slowly the resolver
/// reads.
const MAX_UNREAD: u64 = AT_ONCE;
/// Bytes of a datagram with its headers: more says no question (RFC 1035 3.1, RFC 8467), and fills that buffer.
const LONGEST: u32 = 1280;

/// Whether a call may be a question.
#[inline(always)]
pub(crate) fn may_be(to: &Connection) -> bool {
    to.port == DNS_PORT && matches!(to.protocol, Protocol::TCP | Protocol::UDP)
}

/// Redirects a question that the policies let through; [`UNDECIDED`] where nothing is to be redirected: the policies do not speak
/// of names, they do not let it through, or it goes to a server of the session's own.
#[inline(always)]
pub(crate) fn judge(ctx: &SockAddrContext, to: &Connection, hook: Hook, cgroup: u64) -> i32 {
    let port = match ask(ctx, to, hook, cgroup) {
        REFUSED => {
            refused(to, hook, cgroup);
            return REFUSE;
        }
        NOT_REDIRECTED => return UNDECIDED,
        port => port as u16,
    };
    let localhost = to.to.localhost();
    match hook {
        Hook::Connect4 | Hook::Sendmsg4 => ctx::set_destination4(ctx, &localhost, port),
        _ => ctx::set_destination6(ctx, &localhost, port),
    }
    ALLOW
}

/// Reports a question that the policies let through, and that no resolver gets.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
fn refused(to: &Connection, hook: Hook, cgroup: u64) {
    report(to, hook, cgroup, of_policies(to, cgroup));
}

/// A function of its own beside [`of_policies`], not around it.
#[inline(never)]
fn report(to: &Connection, hook: Hook, cgroup: u64, said: u64) {
    let decision = verdict::unpacked(said);
    emit::refused_though_allowed(hook, cgroup, &maps::session(cgroup), to, &decision);
}

const REFUSED: u32 = 0;
const NOT_REDIRECTED: u32 = 1 << 16;

/// The port of the resolver that gets the question, or one of these.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`], as all that it calls.
#[inline(never)]
fn ask(ctx: &SockAddrContext, to: &Connection, hook: Hook, cgroup: u64) -> u32 {
    let said = of_policies(to, cgroup);
    let decision = verdict::unpacked(said);
    if !is_judged(to, &decision) || is_own(ctx.as_ptr(), to, cgroup) {
        return NOT_REDIRECTED;
    }
    if decision.allows() {
        return redirected(ctx, to, cgroup, HoleId(0));
    }
    match hole(ctx, to, hook, cgroup, said) {
        HoleId(0) => NOT_REDIRECTED,
        hole => redirected(ctx, to, cgroup, hole),
    }
}

/// What the policies say, packed.
#[inline(never)]
fn of_policies(to: &Connection, cgroup: u64) -> u64 {
    verdict::packed(&maps::session(cgroup), to, Began::NOW)
}

/// The hole that lets it through, which the socket has cached then; or 0.
#[inline(never)]
fn hole(ctx: &SockAddrContext, to: &Connection, hook: Hook, cgroup: u64, said: u64) -> HoleId {
    // Read before the decision, so that a change meanwhile voids it.
    let generation = maps::generation();
    let used = match hook {
        Hook::Sendmsg4 | Hook::Sendmsg6 => cached(ctx::socket(ctx), to, generation, cgroup).hole,
        _ => HoleId(0),
    };
    let session = maps::session(cgroup).id;
    let decision = with_hole(verdict::unpacked(said), Wanted::All, |wanted| {
        verdict::hole(session, to, used, wanted)
    });
    let generation = generation_for_call(&decision, generation);
    if decision.allows() && allow_call(ctx, to, &decision, generation, cgroup) == ALLOW {
        decision.hole
    } else {
        HoleId(0)
    }
}

/// The port of the resolver that gets the question, of which the socket's record tells; or [`REFUSED`].
#[inline(never)]
fn redirected(ctx: &SockAddrContext, to: &Connection, cgroup: u64, hole: HoleId) -> u32 {
    let netns = kernel::netns_cookie(ctx.as_ptr());
    let resolver = Proxy {
        netns,
        port: maps::resolver(netns),
    };
    if resolver.port == 0 || is_bound_to_device(ctx) || !listens(ctx, to, resolver.port) {
        return REFUSED;
    }
    let state = kernel::new_socket_storage(maps::redirects(), ctx::socket(ctx));
    let Some(redirect) = state.map(Redirect::new) else {
        return REFUSED;
    };
    let session = maps::session(cgroup);
    let is_udp = u32::from(to.protocol == Protocol::UDP);
    let cause = RedirectCause {
        reason: Reason::QUESTION,
        hole,
        session: session.id,
        by_udp: is_udp,
    };
    redirect.note(&cause, to, &resolver);
    u32::from(resolver.port)
}

/// Whether a program asks for the resolver's own address: it serves only what was redirected.
#[inline(always)]
pub(crate) fn is_direct(ctx: &SockAddrContext, to: &Connection) -> bool {
    to.to.is_localhost()
        && matches!(to.protocol, Protocol::TCP | Protocol::UDP)
        && to.port != 0
        && to.port == maps::resolver(kernel::netns_cookie(ctx.as_ptr()))
}

/// Whether the name in a question is judged there.
#[inline(always)]
pub(crate) fn is_judged(to: &Connection, decision: &Decision) -> bool {
    may_be(to) && decision.flags & prefix_flags::NAMES != 0
}

/// Whether a packet that the policies let through goes past the resolver: what is redirected goes to its port. Its socket was
/// connected before a policy had rules for names.
#[inline(always)]
pub(crate) fn goes_past(
    skb: *mut __sk_buff,
    to: &Connection,
    decision: &Decision,
    cgroup: u64,
) -> bool {
    // By TCP what goes to the session's own servers does not come here.
    let is_own = || to.protocol == Protocol::UDP && is_own(skb.cast(), to, cgroup);
    decision.allows() && is_judged(to, decision) && !is_own()
}

/// Whether one more datagram of a session may go to the resolver now, from that address.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
pub(crate) fn has_room(session: SessionId, netns: NetnsCookie, from: &Address) -> bool {
    let now = kernel::boot_time();
    let Some(share) = maps::share(session, Shared::Questions, now) else {
        return false;
    };
    // SAFETY: a pointer into a live map value.
    let is_due = unsafe { rates::takes_turn(&raw mut (*share).in_window, now, INTERVAL, AT_ONCE) };
    is_due && is_read(session, QueueKey::new(netns, from), now)
}

/// Whether the resolver has read what the session has sent to that socket, but for [`MAX_UNREAD`].
///
/// The count begins again when the resolver has found nothing left to read. So nothing is ever counted down, and what gets lost on its way
/// counts only until then. Where all does, nothing is read: one datagram a second passes in any case.
#[inline(always)]
fn is_read(session: SessionId, mut queue: QueueKey, now: BootTime) -> bool {
    let drained = maps::drained(&queue);
    let Some(unread) = maps::unread(&mut queue, session) else {
        return false;
    };
    // SAFETY: pointers into a live map value. Two writers that race for a new count both write the present, and at worst a few
    // more pass.
    unsafe {
        let (since, count) = (&raw mut (*unread).since, &raw mut (*unread).count);
        if since.read_volatile() != drained {
            since.write_volatile(drained);
            count.write_volatile(0);
        }
        kernel::fetch_add(count, 1) < MAX_UNREAD
            || rates::takes_turn(&raw mut (*unread).next, now, rates::SECOND, 1)
    }
}

/// The [`QuestionHash`] of a datagram from that address; none where it is too long for a question.
///
/// A function of its own, as [`has_room`].
#[inline(never)]
pub(crate) fn hash(skb: *mut __sk_buff, from: &Address) -> u32 {
    /// Of UDP.
    const HEADER: u32 = 8;
    let start = HEADER + if from.is_v4() { 20 } else { 40 };
    // SAFETY: the kernel's context.
    let length = unsafe { (&raw const (*skb).len).read_volatile() };
    if length > LONGEST {
        return TOO_LONG;
    }
    let mut hash = QuestionHash::begin(length.wrapping_sub(start));
    let mut add = |at: u32| {
        let mut word = [0; QuestionHash::WORD as usize];
        let is_there = kernel::load_bytes(skb, at, &mut word);
        if is_there {
            hash = hash.with(word);
        }
        is_there
    };
    kernel::find(LONGEST / QuestionHash::WORD, 0_u32, |at| {
        let is_there = add(start + at as u32 * QuestionHash::WORD);
        if is_there { None } else { Some(0_u32) }
    });
    if length >= start + QuestionHash::WORD {
        add(length - QuestionHash::WORD);
    }
    // A question whose hash is that number is as lost as any datagram may be.
    hash.ended()
}

/// What is no [`hash`].
pub(crate) const TOO_LONG: u32 = u32::MAX;

/// Notes where a datagram goes. Where a port's go to several servers, each question is noted as well: a program may have sent it to
/// all of them before the resolver reads the first (musl). False if there is no room. What was given is changed.
///
/// A function of its own, as [`has_room`].
#[inline(never)]
pub(crate) fn note(key: &mut OriginKey, origin: &mut Origin) -> bool {
    let now = origin.at;
    let mut last = *origin;
    let goes_on = read(key, &mut last);
    let is_other = goes_on && !is_same_server(&last, origin);
    if goes_on {
        // Since when this session has sent from that port, with no other one in between.
        origin.at = last.at;
        origin.several = last.several | u8::from(is_other);
    }
    let (at, of): (&OriginKey, &Origin) = (key, origin);
    if QUESTIONS.insert(at, of, 0).is_err() {
        return false;
    }
    if is_other && last.several == 0 {
        last.at = BootTime(now.0 - 1);
        keep(key, &last);
    }
    if origin.several != 0 {
        origin.at = now;
        keep(key, origin);
    }
    true
}

/// Notes a question that was sent to one of several servers.
///
/// A function of its own, as [`has_room`].
#[inline(never)]
fn keep(key: &mut OriginKey, origin: &Origin) {
    for nth in 0..MAX_ASKED {
        key.set_question(origin.hash, nth);
        // The last of them makes room.
        if nth + 1 == MAX_ASKED || is_free(key, origin) {
            let at: &OriginKey = key;
            let _ = QUESTIONS.insert(at, origin, 0);
            return;
        }
    }
}

/// Whether that key has room for a question: there is none, or an old one, or the same.
///
/// A function of its own, as [`has_room`].
#[inline(never)]
fn is_free(key: &OriginKey, kept: &Origin) -> bool {
    let mut other = *kept;
    !read(key, &mut other) || kept.at.0 > other.at.0 + ASKED_AT_ONCE || is_same_server(&other, kept)
}

#[inline(always)]
fn is_same_server(one: &Origin, other: &Origin) -> bool {
    one.destination.0 == other.destination.0 && one.port == other.port
}

/// Reads what is noted of a key; false where there is nothing, or of another session than the one that is given.
#[inline(always)]
fn read(key: &OriginKey, to: &mut Origin) -> bool {
    let Some(origin) = QUESTIONS.get_ptr(key) else {
        return false;
    };
    // SAFETY: a live map value; aligned words. Where its memory becomes another entry's meanwhile, that is this session's as well,
    // or it is told by the session, which is read last again.
    unsafe {
        let whose = || (&raw const (*origin).session.0).read_volatile();
        if whose() != to.session.0 {
            return false;
        }
        to.at = BootTime((&raw const (*origin).at.0).read_volatile());
        let destination = (&raw const (*origin).destination).cast::<u32>();
        to.destination.0[0] = destination.read_volatile();
        to.destination.0[1] = destination.add(1).read_volatile();
        to.destination.0[2] = destination.add(2).read_volatile();
        to.destination.0[3] = destination.add(3).read_volatile();
        to.tgid = (&raw const (*origin).tgid).read_volatile();
        to.port = (&raw const (*origin).port).read_volatile();
        to.several = (&raw const (*origin).several).read_volatile();
        to.hash = (&raw const (*origin).hash).read_volatile();
        whose() == to.session.0
    }
}

/// What a socket is bound to decides its device, and the loopback is another one (`SO_BINDTODEVICE`, which anybody may set).
#[inline(always)]
fn is_bound_to_device(ctx: &SockAddrContext) -> bool {
    // SAFETY: the context's socket.
    (unsafe { (*ctx::socket(ctx)).bound_dev_if }) != 0
}

/// Whether a datagram gets to a resolver of the guard's.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
pub(crate) fn is_heard(skb: *mut __sk_buff, to: &Connection) -> bool {
    is_resolvers(skb.cast(), SocketAddress::of(to))
}

/// Whether a socket of a resolver's receives what is sent there by UDP.
#[inline(always)]
fn is_resolvers(context: *mut c_void, to: SocketAddress<'_>) -> bool {
    let is_marked =
        |found: *mut bpf_sock| kernel::socket_storage::<u64>(maps::listeners(), found).is_some();
    kernel::with_udp_receiver(context, to, is_marked).unwrap_or(false)
}

/// Whether the resolver is still there.
#[inline(always)]
fn listens(ctx: &SockAddrContext, to: &Connection, port: u16) -> bool {
    let localhost = to.to.localhost();
    if to.protocol == Protocol::TCP {
        return kernel::is_listening(ctx.as_ptr(), maps::listeners(), &localhost, port);
    }
    let resolver = SocketAddress {
        address: &localhost,
        port,
    };
    is_resolvers(ctx.as_ptr(), resolver)
}

/// Whether a socket of the session itself receives it. By TCP egress asks once more, and for each packet; by UDP nobody does, so that a port
/// counts only where no other socket can share it.
#[inline(never)]
fn is_own(context: *mut c_void, to: &Connection, cgroup: u64) -> bool {
    if !to.to.is_loopback() || cgroup == 0 {
        return false;
    }
    let is_own = |found: *mut bpf_sock| {
        let state = kernel::socket_storage::<ListenerState>(maps::listener_states(), found);
        // SAFETY: a live map value; one aligned word.
        state.is_some_and(|state| unsafe { (&raw const (*state).owner).read_volatile() } == cgroup)
    };
    let localhost = to.to.localhost();
    let (own, at) = (SocketAddress::nobody(&localhost), SocketAddress::of(to));
    let found = if to.protocol == Protocol::TCP {
        kernel::with_receiver(context, own, at, is_own)
    } else {
        let is_own_alone = |found| is_own(found) && !kernel::may_share_port(found);
        kernel::with_udp_receiver(context, at, is_own_alone)
    };
    found.unwrap_or(false)
}
