//! The gate for TLS: connections that a rule allows by the names that TLS shows (SNI) wait for their first record.
//!
//! `connect` notes such a socket, and egress lets none of its payload pass until its stage is [`HelloStage::PASSED`]. An established
//! one is put into a map of sockets, so that its program's bytes come by [`hear`] before TCP has them: that reads the first
//! record, and passes or refuses it. Then the socket leaves the map, with its next round trip, since it is slower in there.
//!
//! What goes past [`hear`] (data with a SYN, what was sent before the connection stood, MPTCP) meets egress.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB,
        BPF_SOCK_OPS_RTT_CB_FLAG, bpf_sock, sk_msg_md,
    },
    helpers::generated as raw,
    programs::{SkMsgContext, SockAddrContext, SockOpsContext},
};
use guard_common::{
    Connection, Hook, NameId, PolicyId, Protocol, Said, Session, may_show,
    tls::{self, Bytes, MAX_LABELS, Patterns},
};

use crate::{
    began::Began,
    ctx, emit, kernel,
    maps::{self, GateState, ListenerState},
    verdict,
};

/// What a program at a map of sockets answers (`enum sk_action`).
const DROP: u32 = 0;
const PASS: u32 = 1;

/// How far a socket has come. Zeroed memory is [`Self::NONE`].
struct HelloStage;

impl HelloStage {
    /// It is not concerned.
    const NONE: u64 = 0;
    /// Nothing of it may pass.
    const WAITS: u64 = 1;
    /// It has shown a name that the policies allow.
    const PASSED: u64 = 2;
}

/// The record of a socket, which is connected and sends under its lock.
#[derive(Clone, Copy)]
struct Gate(*mut GateState);

impl Gate {
    #[inline(always)]
    fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::gate_states(), sk).map(Self)
    }

    #[inline(always)]
    fn stage(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).stage).read_volatile() }
    }

    #[inline(always)]
    fn set_stage(self, stage: u64) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0).stage).write_volatile(stage) };
    }

    /// The cgroup of the session that connected it.
    #[inline(always)]
    fn cgroup(self) -> u64 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).cgroup).read_volatile() }
    }

    /// When it was connected.
    #[inline(always)]
    fn began(self) -> Began {
        // SAFETY: as above.
        Began::at(unsafe { (&raw const (*self.0).began).read_volatile() })
    }

    #[inline(always)]
    fn note(self, to: &Connection, cgroup: u64) {
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            (&raw mut (*state).cgroup).write_volatile(cgroup);
            (&raw mut (*state).began).write_volatile(kernel::boot_time().0);
            ctx::write_address(&raw mut (*state).destination, &to.to);
            (&raw mut (*state).port).write_volatile(u64::from(to.port));
        }
        self.set_stage(HelloStage::WAITS);
    }

    /// The destination.
    #[inline(always)]
    fn asked(self) -> Connection {
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            let to = ctx::read_address(&raw const (*state).destination);
            let port = (&raw const (*state).port).read_volatile() as u16;
            Connection::new(to, Protocol::TCP, port)
        }
    }
}

/// Takes a socket out of the gate: it connects again.
#[inline(always)]
pub(crate) fn clear(sk: *mut bpf_sock) {
    if let Some(gate) = Gate::of(sk) {
        gate.set_stage(HelloStage::NONE);
    }
}

/// Has a connection wait for its first record. False where this kernel has no gate, or none for such a socket: those of MPTCP are
/// the kernel's own, and what is sent by them comes by no gate.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn begin(ctx: &SockAddrContext, to: &Connection, cgroup: u64) -> bool {
    let sk = ctx::socket(ctx);
    if !maps::has_gate() || cgroup == 0 || !is_made_by(sk, cgroup) {
        return false;
    }
    match kernel::new_socket_storage(maps::gate_states(), sk).map(Gate) {
        Some(gate) => {
            gate.note(to, cgroup);
            true
        }
        None => false,
    }
}

/// Whether a task of a session has made a socket.
#[inline(always)]
fn is_made_by(sk: *mut bpf_sock, cgroup: u64) -> bool {
    let state = kernel::socket_storage::<ListenerState>(maps::listener_states(), sk);
    // SAFETY: a live map value; one aligned word.
    state.is_some_and(|state| unsafe { (&raw const (*state).owner).read_volatile() } == cgroup)
}

/// Whether a packet may pass that the policies allow where TLS shows a name.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Passing {
    No = 0,
    /// This one, and the next is judged again.
    Once = 1,
    Yes = 2,
}

/// Judges such a packet, of a socket that was made in that cgroup.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn judge(skb: *mut __sk_buff, sk: *mut bpf_sock, cgroup: u64) -> Passing {
    let stage = match Gate::of(sk) {
        Some(gate) if gate.stage() == HelloStage::NONE => HelloStage::NONE,
        // A socket that is passed on reaches what both may.
        Some(gate) if gate.cgroup() != cgroup => return Passing::No,
        Some(gate) => gate.stage(),
        None => HelloStage::NONE,
    };
    if stage == HelloStage::PASSED {
        return Passing::Yes;
    }
    let Some(payload) = ctx::payload(skb) else {
        return Passing::No;
    };
    match stage {
        // It was allowed without when it began.
        HelloStage::NONE if !payload.begins => Passing::Yes,
        HelloStage::WAITS if payload.length == 0 => Passing::Once,
        _ => Passing::No,
    }
}

/// Handles the callbacks of TCP for a socket at the gate.
#[inline(always)]
pub(crate) fn operate(ctx: &SockOpsContext) {
    let Some(gate) = ctx::operated(ctx).and_then(Gate::of) else {
        return;
    };
    match (ctx.op(), gate.stage()) {
        (BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, HelloStage::WAITS) => {
            let mut key = kernel::socket_cookie(ctx.as_ptr());
            // SAFETY: the context, a map of sockets, and a key of its size. Where it fails, nothing of the connection passes.
            unsafe {
                raw::bpf_sock_hash_update(
                    ctx.ops,
                    maps::gate_sockets(),
                    (&raw mut key).cast::<c_void>(),
                    0,
                )
            };
            let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_RTT_CB_FLAG) as i32);
        }
        (BPF_SOCK_OPS_RTT_CB, HelloStage::PASSED) => {
            let key = kernel::socket_cookie(ctx.as_ptr());
            // SAFETY: a map, and a key of its size.
            unsafe {
                raw::bpf_map_delete_elem(maps::gate_sockets(), (&raw const key).cast::<c_void>())
            };
            let _ = ctx.set_cb_flags((ctx.cb_flags() & !BPF_SOCK_OPS_RTT_CB_FLAG) as i32);
        }
        _ => {}
    }
}

/// What a program has sent so far, as the kernel shows it.
struct Message(*mut sk_msg_md, Gate);

impl Message {
    /// Has the kernel show the first bytes, in one piece and of its own memory: nobody changes them afterwards.
    #[inline(always)]
    fn pull(&self, length: u32) -> bool {
        // SAFETY: the context.
        (unsafe { raw::bpf_msg_pull_data(self.0, 0, length, 0) }) == 0
    }

    /// Has the program be asked again when there are so many bytes. With 0 all that is there passes: without, what was waited
    /// for last is waited for again.
    #[inline(always)]
    fn wait_for(&self, length: u32) -> u32 {
        // SAFETY: the context.
        unsafe { raw::bpf_msg_cork_bytes(self.0, length) };
        PASS
    }

    #[inline(always)]
    fn size(&self) -> u32 {
        // SAFETY: the context.
        unsafe { (&raw const (*self.0).size).read_volatile() }
    }
}

impl Bytes for Message {
    #[inline(always)]
    fn byte(&self, at: u32) -> Option<u8> {
        // SAFETY: the context.
        let (start, end) = unsafe {
            (
                (&raw const (*self.0).__bindgen_anon_1.data).read_volatile() as usize,
                (&raw const (*self.0).__bindgen_anon_2.data_end).read_volatile() as usize,
            )
        };
        let at = kernel::opaque(u64::from(at));
        if at >= u64::from(tls::LONGEST) {
            return None;
        }
        let byte = start + at as usize;
        if byte + 1 > end {
            return None;
        }
        // SAFETY: it was just checked.
        Some(unsafe { (byte as *const u8).read_volatile() })
    }

    #[inline(always)]
    fn opaque(&self, number: u32) -> u32 {
        // SAFETY: a live map value; one aligned word, which only the socket's owner uses.
        unsafe {
            let room = &raw mut (*self.1.0).number;
            room.write_volatile(u64::from(number));
            room.read_volatile() as u32
        }
    }

    #[inline(always)]
    fn find<R>(&self, limit: u32, failed: R, mut at: impl FnMut() -> Option<R>) -> Option<R> {
        kernel::find(limit, failed, |_| at())
    }
}

/// Judges what a program sends on a socket at the gate.
#[inline(always)]
pub(crate) fn hear(ctx: &SkMsgContext) -> u32 {
    // SAFETY: the context.
    let sk = unsafe { (*ctx.msg).__bindgen_anon_3.sk };
    if sk.is_null() {
        return DROP;
    }
    let Some(gate) = Gate::of(sk) else {
        return DROP;
    };
    let message = Message(ctx.msg, gate);
    if gate.stage() == HelloStage::PASSED {
        return message.wait_for(0);
    }
    if message.size() < tls::HEADER {
        return message.wait_for(tls::HEADER);
    }
    let passes = match first_record(&message, gate) {
        NOT_WHOLE => return PASS,
        0 => false,
        count => is_allowed(gate, count),
    };
    if !passes {
        refused(gate);
        return DROP;
    }
    gate.set_stage(HelloStage::PASSED);
    message.wait_for(0)
}

/// More bytes are waited for.
const NOT_WHOLE: u32 = u32::MAX;

/// How many patterns the name has that the first record shows, which are in the gate's record then; 0 where it shows none, or
/// [`NOT_WHOLE`].
#[inline(never)]
fn first_record(message: &Message, gate: Gate) -> u32 {
    if !message.pull(tls::HEADER) {
        return 0;
    }
    let Ok(length) = tls::record_length(message) else {
        return 0;
    };
    if message.size() < length {
        message.wait_for(length);
        return NOT_WHOLE;
    }
    if !message.pull(length) {
        return 0;
    }
    let Ok(name) = tls::server_name(message, length) else {
        return 0;
    };
    // SAFETY: a live map value, which only the socket's owner uses.
    let patterns = unsafe { &mut (*gate.0).patterns };
    tls::patterns(message, name, patterns).unwrap_or(0)
}

/// Whether all policies of the session allow the name.
#[inline(always)]
fn is_allowed(gate: Gate, count: u32) -> bool {
    let session = maps::session(gate.cgroup());
    let to = gate.asked();
    let own = session.policies[0].0;
    if !may_be_shown(own, &session, &to, gate, count) {
        return false;
    }
    for at in 1..session.policies.len() {
        let policy = session.policies[at].0;
        if policy == 0 {
            break;
        }
        if !may_be_shown(policy, &session, &to, gate, count) {
            return false;
        }
    }
    true
}

#[inline(never)]
fn may_be_shown(policy: u32, session: &Session, to: &Connection, gate: Gate, count: u32) -> bool {
    let of_address = verdict::of_policy(PolicyId(policy), session.id, to, gate.began());
    // SAFETY: a live map value, which only the socket's owner uses.
    let patterns: &Patterns = unsafe { &(*gate.0).patterns };
    let said = kernel::find(count.min(MAX_LABELS as u32), Said::DENY.pack(), |at| {
        let pattern = *patterns.get(at)?;
        let said = verdict::said(PolicyId(policy), NameId(pattern), to);
        said.is_of_pattern().then_some(said.pack())
    });
    let said = said.map(Said::unpack);
    may_show(of_address, said)
}

/// Reports a connection that shows no name which the policies allow.
#[inline(never)]
fn refused(gate: Gate) {
    let session = maps::session(gate.cgroup());
    let to = gate.asked();
    let decision = verdict::of_policies(&session, &to, gate.began());
    emit::refused_though_allowed(Hook::Hello, gate.cgroup(), &session, &to, &decision);
}
