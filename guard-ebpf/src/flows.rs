//! Flows: what sessions have reached, added up by destination and program. Nothing is decided here, and nothing is done for a packet
//! of a flow whose verdict is cached.
//!
//! A TCP connection counts when it is established, and its bytes when it is closed: the kernel counts these itself. Anything else
//! counts when egress judges a packet of a socket that has not sent there last, and its bytes are not known. What a session's own
//! servers get is left out.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK,
        bpf_sock,
    },
    programs::SockOpsContext,
};
use guard_common::{Connection, Flow, FlowCount, FlowKey, MAX_FLOWS, Mark, Protocol, SessionId};

use crate::{
    began::Began,
    ctx, kernel,
    maps::{self, FLOWS, ListenerState, NO_EXIST},
    redirect::Redirect,
    verdict,
};

/// [`ListenerState::counted`] of a socket whose packets go to a server of the session's own; else a [`Mark`], or 0.
const OWN: u64 = 1;
/// The same of one that connects by TCP to anybody else. No mark is either of the two.
const CONNECTS: u64 = 4;

/// Handles the callbacks of TCP: counts connections and their bytes.
#[inline(always)]
pub(crate) fn operate(ctx: &SockOpsContext) {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connects(ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => begins(ctx),
        // Both ends have connected to each other. What was accepted is not listed.
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB if has_connected(ctx) => begins(ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => ends(ctx),
        _ => {}
    }
}

#[inline(always)]
fn connects(ctx: &SockOpsContext) {
    let Some((_, state)) = made_inside(ctx) else {
        return;
    };
    // SAFETY: a live map value; one aligned word.
    unsafe {
        let counted = &raw mut (*state).counted;
        if counted.read_volatile() != OWN {
            counted.write_volatile(CONNECTS);
        }
    }
}

#[inline(always)]
fn has_connected(ctx: &SockOpsContext) -> bool {
    // SAFETY: a live map value; one aligned word.
    made_inside(ctx).is_some_and(|(_, state)| unsafe {
        (&raw const (*state).counted).read_volatile() == CONNECTS
    })
}

#[inline(always)]
fn begins(ctx: &SockOpsContext) {
    let Some((sk, state)) = made_inside(ctx) else {
        return;
    };
    // SAFETY: a live map value; aligned words.
    let (owner, counted) = unsafe {
        let counted = &raw mut (*state).counted;
        let before = counted.read_volatile();
        counted.write_volatile(0);
        ((&raw const (*state).owner).read_volatile(), before)
    };
    if counted == OWN {
        return;
    }
    let to = destination(ctx, sk);
    if count(state, owner, &to) {
        let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    }
}

#[inline(always)]
fn ends(ctx: &SockOpsContext) {
    let Some((sk, state)) = made_inside(ctx) else {
        return;
    };
    // SAFETY: a live map value; one aligned word.
    let owner = unsafe { (&raw const (*state).owner).read_volatile() };
    let to = destination(ctx, sk);
    let key = &FlowKey::new(maps::session(owner).id, &to, program(state));
    let Some(flow) = FLOWS.get_ptr_mut(key) else {
        return;
    };
    let (acked, received) = counted_twice(ctx.arg(0));
    // SAFETY: the kernel's context, and a live map value, aligned to 8.
    unsafe {
        let sent = (&raw const (*ctx.ops).bytes_acked).read_volatile();
        let got = (&raw const (*ctx.ops).bytes_received).read_volatile();
        kernel::fetch_add(&raw mut (*flow).sent, sent.saturating_sub(acked));
        kernel::fetch_add(&raw mut (*flow).received, got.saturating_sub(received));
        (&raw mut (*flow).last).write_volatile(kernel::boot_time());
    }
}

/// What TCP counts as bytes and is none: a SYN that was acknowledged, a FIN that was, and one that was received. By the state that
/// a connection was closed in.
#[inline(always)]
const fn counted_twice(state: u32) -> (u64, u64) {
    match state {
        BPF_TCP_LAST_ACK | BPF_TCP_CLOSING => (2, 1),
        BPF_TCP_FIN_WAIT2 => (2, 0),
        BPF_TCP_CLOSE_WAIT => (1, 1),
        _ => (1, 0),
    }
}

/// The socket of a callback and what is noted of it, if a session made it.
#[inline(always)]
fn made_inside(ctx: &SockOpsContext) -> Option<(*mut bpf_sock, *mut ListenerState)> {
    let sk = ctx::operated(ctx)?;
    let state = kernel::socket_storage::<ListenerState>(maps::listener_states(), sk)?;
    Some((sk, state))
}

/// The destination of a connection: what was asked for, if it was redirected.
#[inline(always)]
fn destination(ctx: &SockOpsContext, sk: *mut bpf_sock) -> Connection {
    match Redirect::of(sk) {
        Some(redirect) if redirect.is_redirected() => redirect.asked(),
        _ => ctx::peer(ctx),
    }
}

/// What the thread called itself that made a socket.
#[inline(always)]
fn program(state: *mut ListenerState) -> [u64; 2] {
    // SAFETY: a live map value; aligned words.
    unsafe {
        let program = (&raw const (*state).program).cast::<u64>();
        [program.read_volatile(), program.add(1).read_volatile()]
    }
}

/// Notes that a connection goes to a server of the session's own.
#[inline(always)]
pub(crate) fn note_own(sk: *mut bpf_sock) {
    if let Some(state) = kernel::socket_storage::<ListenerState>(maps::listener_states(), sk) {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*state).counted).write_volatile(OWN) };
    }
}

/// Counts a packet of a session that passes, if its socket did not send there last; `said`: what the policies say of it. Connections
/// of TCP count when they are established, but for sockets that no session's program made, as those of MPTCP.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn note_packet(sk: *mut bpf_sock, to: &Connection, session: SessionId, said: u64) {
    let Some(state) = kernel::new_socket_storage::<ListenerState>(maps::listener_states(), sk)
    else {
        return;
    };
    // SAFETY: a live map value; aligned words.
    let (owner, counted) = unsafe {
        (
            (&raw const (*state).owner).read_volatile(),
            (&raw const (*state).counted).read_volatile(),
        )
    };
    let is_counted = Mark(counted).is_of(to);
    if (to.protocol == Protocol::TCP && owner != 0) || is_counted || session.0 == 0 {
        return;
    }
    let mark = Mark::new(kernel::random() as u32, to);
    // SAFETY: as above. Of two packets that are sent at once both may count.
    unsafe { (&raw mut (*state).counted).write_volatile(mark.0) };
    let key = &FlowKey::new(session, to, program(state));
    match FLOWS.get_ptr_mut(key) {
        Some(flow) => {
            // SAFETY: as above.
            unsafe { (&raw mut (*flow).said).write_volatile(said) };
            add(flow);
        }
        None => {
            begin(key, said, 0);
        }
    }
}

/// Counts a TCP connection of the session whose cgroup that is. False where there is no room for it, and where no session owns that.
#[inline(never)]
fn count(state: *mut ListenerState, cgroup: u64, to: &Connection) -> bool {
    let session = maps::session(cgroup);
    if session.id.0 == 0 {
        return false;
    }
    let generation = maps::generation();
    let key = &FlowKey::new(session.id, to, program(state));
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        // SAFETY: a live map value; one aligned word.
        let decided = unsafe { (&raw const (*flow).generation).read_volatile() };
        if decided != generation {
            let said = verdict::packed(&session, to, Began::NOW);
            // SAFETY: as above.
            unsafe {
                (&raw mut (*flow).said).write_volatile(said);
                (&raw mut (*flow).generation).write_volatile(generation);
            }
        }
        add(flow);
        return true;
    }
    let said = verdict::packed(&session, to, Began::NOW);
    begin(key, said, generation)
}

/// One more connection.
#[inline(always)]
fn add(flow: *mut Flow) {
    // SAFETY: a live map value, aligned to 8.
    unsafe {
        kernel::fetch_add(&raw mut (*flow).connections, 1);
        (&raw mut (*flow).last).write_volatile(kernel::boot_time());
    }
}

/// The first connection of a flow. A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
fn begin(key: &FlowKey, said: u64, generation: u64) -> bool {
    if !takes_room(key.session) {
        give_back(key.session);
        leave_out(key.session);
        return false;
    }
    let now = kernel::boot_time();
    let flow = Flow {
        first: now,
        last: now,
        connections: 1,
        sent: 0,
        received: 0,
        said,
        generation,
    };
    if FLOWS.insert(key, flow, NO_EXIST).is_ok() {
        return true;
    }
    give_back(key.session);
    match FLOWS.get_ptr_mut(key) {
        // Of two that are the first at once, one is the second.
        Some(flow) => {
            add(flow);
            true
        }
        None => {
            leave_out(key.session);
            false
        }
    }
}

/// Counts one more flow of a session's. Whether it may be kept.
#[inline(never)]
fn takes_room(session: SessionId) -> bool {
    match maps::flow_count(session, FlowCount::Kept) {
        // SAFETY: a live map value, aligned to 8.
        Some(kept) => unsafe { kernel::fetch_add(kept, 1) < MAX_FLOWS },
        None => false,
    }
}

#[inline(never)]
fn give_back(session: SessionId) {
    if let Some(kept) = maps::flow_count(session, FlowCount::Kept) {
        // SAFETY: as above.
        unsafe { kernel::fetch_add(kept, u64::MAX) };
    }
}

#[inline(never)]
fn leave_out(session: SessionId) {
    if let Some(left_out) = maps::flow_count(session, FlowCount::LeftOut) {
        // SAFETY: as above.
        unsafe { kernel::fetch_add(left_out, 1) };
    }
}
