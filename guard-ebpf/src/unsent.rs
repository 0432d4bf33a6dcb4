//! UDP sockets that are connected to what an approver has to allow first.
//!
//! `connect` of a UDP socket sends nothing, and resolvers connect one to each address of a name, only to sort these (RFC 6724). So
//! `connect` lets pass what the policies do not deny. The first packet is judged in its place, by the session that connected the
//! socket, and a refusal is reported then: nobody is asked about what is never sent.
//!
//! Questions to name servers are left out: `connect` alone can redirect them ([`crate::questions`]).

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    programs::SockAddrContext,
};
use guard_common::{
    Address, Cause, Connection, HoleId, Hook, PolicyVerdict, Protocol, Verdict, Wanted, with_hole,
};

use crate::{
    began::Began,
    connected::Unsent,
    ctx, emit, kernel, maps, questions,
    socket::{Judge, Socket},
    verdict,
};

/// The socket connects again: if it has a record, that is about this call from now on.
#[inline(always)]
pub(crate) fn renew(ctx: &SockAddrContext, to: &Connection, hook: Hook, cgroup: u64) {
    if to.protocol == Protocol::UDP
        && let Some(unsent) = Unsent::of(ctx::socket(ctx))
    {
        unsent.note(hook, cgroup);
    }
}

/// Lets a `connect` pass that the policies do not allow, if it sends nothing and they do not deny it. False where it must be refused.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
pub(crate) fn begin(
    ctx: &SockAddrContext,
    to: &Connection,
    hook: Hook,
    verdict: Verdict,
    cgroup: u64,
) -> bool {
    let connects = matches!(hook, Hook::Connect4 | Hook::Connect6);
    let may_be_allowed = matches!(verdict, Verdict::Confirm | Verdict::ReadOnly);
    if !connects || to.protocol != Protocol::UDP || !may_be_allowed || questions::may_be(to) {
        return false;
    }
    match Unsent::new(ctx::socket(ctx)) {
        Some(unsent) => {
            unsent.note(hook, cgroup);
            true
        }
        None => false,
    }
}

/// Whether a packet may be judged by its destination. Of a socket that `connect` let pass, what it is connected to is judged first,
/// as `connect` would have. `packet`: where the packet goes.
#[inline(always)]
pub(crate) fn judge(skb: *mut __sk_buff, packet: &Connection) -> bool {
    guard_unsent(skb, packet) != 0
}

/// [`judge`]. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_unsent(skb: *mut __sk_buff, packet: *const Connection) -> u32 {
    let Some(sk) = kernel::packet_socket(skb) else {
        return 0;
    };
    if packet.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `judge`, with a reference.
    u32::from(may_pass(skb, sk, unsafe { &*packet }))
}

#[inline(always)]
fn may_pass(skb: *mut __sk_buff, sk: *mut bpf_sock, packet: &Connection) -> bool {
    let Some(unsent) = Unsent::of(sk) else {
        return true;
    };
    // Before what it is connected to: who connects it meanwhile has it judged again.
    let connects = unsent.connects();
    let unjudged = connects.wrapping_sub(unsent.allowed());
    let mut to = Connection::new(Address::default(), Protocol::UDP, 0);
    let is_connected = ctx::connected_to(sk, &mut to);
    if is_connected && unsent.is_allowed(connects, &to) || !is_connected && unjudged == 0 {
        return true;
    }
    // What was corked (MSG_MORE) goes where the socket was connected when that was written. So nothing passes any more of one that
    // was connected elsewhere, or to nothing, before that was judged.
    if !is_connected || unjudged > 1 {
        // Whatever the policies say of where it would go now: who reads of the refusal is told of that, and why.
        if !is_connected {
            to = Connection::new(packet.to, packet.protocol, packet.port);
        }
        emit::unsent(
            unsent,
            &to,
            PolicyVerdict::DENY.pack(),
            Cause::ConnectedAgain,
        );
        return false;
    }
    let said = of_policies(unsent, &to);
    if !verdict::unpacked(said).allows() {
        let hole = hole(sk, unsent, &to, said);
        if hole.0 == 0 {
            emit::unsent(unsent, &to, said, Cause::Policies);
            return false;
        }
        maps::note_through(kernel::socket_cookie(skb.cast()), hole);
    }
    unsent.allow(connects, &to);
    true
}

/// What the policies say, packed.
///
/// A function of its own for the sake of the stack, as [`emit::due`], as those below.
#[inline(never)]
fn of_policies(unsent: Unsent, to: &Connection) -> u64 {
    verdict::packed(&maps::session(unsent.cgroup()), to, Began::NOW)
}

/// The hole that lets it through, which the socket has cached then; or 0.
#[inline(never)]
fn hole(sk: *mut bpf_sock, unsent: Unsent, to: &Connection, said: u64) -> HoleId {
    let used = used_hole(sk, unsent, to);
    let session = maps::session(unsent.cgroup()).id;
    let decision = with_hole(verdict::unpacked(said), Wanted::All, |wanted| {
        verdict::hole(session, to, used, wanted)
    });
    // Of no generation: the packet is judged, too.
    let is_cached = decision.allows()
        && Socket::new(sk)
            .is_some_and(|socket| socket.cache(to, &decision, 0, unsent.cgroup(), Judge::Task));
    if is_cached { decision.hole } else { HoleId(0) }
}

/// The hole that the socket has used there already, or 0.
#[inline(never)]
fn used_hole(sk: *mut bpf_sock, unsent: Unsent, to: &Connection) -> HoleId {
    match Socket::of(sk) {
        Some(socket) => socket.cached(to, 0, unsent.cgroup()).hole,
        None => HoleId(0),
    }
}
