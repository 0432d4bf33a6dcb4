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
    ctx, emit, kernel,
    maps::{self, UnsentState},
    questions,
    socket::{Judge, Socket},
    verdict::{self, Stage},
};

/// The record of a socket. What it is connected to the kernel says itself: threads may connect one socket at once.
#[derive(Clone, Copy)]
pub(crate) struct Unsent(*mut UnsentState);

impl Unsent {
    #[inline(always)]
    fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::unsent(), sk).map(Self)
    }

    /// Notes who connects it. What it sends is judged again.
    #[inline(always)]
    fn note(self, hook: Hook, cgroup: u64) {
        let state = self.0;
        let (pid, tgid) = kernel::current_pid_tgid();
        // SAFETY: a live map value, aligned to 8.
        unsafe {
            (&raw mut (*state).cgroup).write_volatile(cgroup);
            (&raw mut (*state).hook).write_volatile(hook as u32);
            (&raw mut (*state).pid).write_volatile(pid);
            (&raw mut (*state).tgid).write_volatile(tgid);
            (&raw mut (*state).uid).write_volatile(kernel::current_uid());
            kernel::current_comm(&mut *(&raw mut (*state).comm).cast());
            kernel::fetch_add(&raw mut (*state).connects, 1);
        }
    }

    /// How often it was connected.
    #[inline(always)]
    fn connects(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).connects).read_volatile() }
    }

    /// How often it had been when what it sends was last allowed.
    #[inline(always)]
    fn allowed(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).allowed).read_volatile() }
    }

    /// Whether that connection was allowed.
    #[inline(always)]
    fn is_allowed(self, connects: u64, to: &Connection) -> bool {
        let state = self.0;
        // SAFETY: a live map value; aligned words.
        unsafe {
            let allowed = (&raw const (*state).to).cast::<u32>();
            (&raw const (*state).allowed).read_volatile() == connects
                && allowed.read_volatile() == to.to.0[0]
                && allowed.add(1).read_volatile() == to.to.0[1]
                && allowed.add(2).read_volatile() == to.to.0[2]
                && allowed.add(3).read_volatile() == to.to.0[3]
                && (&raw const (*state).port).read_volatile() == u32::from(to.port)
        }
    }

    #[inline(always)]
    fn allow(self, connects: u64, to: &Connection) {
        let state = self.0;
        // SAFETY: a live map value; aligned words.
        unsafe {
            let allowed = (&raw mut (*state).to).cast::<u32>();
            allowed.write_volatile(to.to.0[0]);
            allowed.add(1).write_volatile(to.to.0[1]);
            allowed.add(2).write_volatile(to.to.0[2]);
            allowed.add(3).write_volatile(to.to.0[3]);
            (&raw mut (*state).port).write_volatile(u32::from(to.port));
            (&raw mut (*state).allowed).write_volatile(connects);
        }
    }

    /// The cgroup of the session that connected it.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).cgroup).read_volatile() }
    }

    /// The hook of that call.
    #[inline(always)]
    pub(crate) fn hook(self) -> Hook {
        // SAFETY: a live map value; one aligned word.
        match unsafe { (&raw const (*self.0).hook).read_volatile() } {
            hook if hook == Hook::Connect6 as u32 => Hook::Connect6,
            _ => Hook::Connect4,
        }
    }

    /// The thread, the process and the user that connected it.
    #[inline(always)]
    pub(crate) fn caller(self) -> (u32, u32, u32) {
        let state = self.0;
        // SAFETY: a live map value; aligned words.
        unsafe {
            (
                (&raw const (*state).pid).read_volatile(),
                (&raw const (*state).tgid).read_volatile(),
                (&raw const (*state).uid).read_volatile(),
            )
        }
    }

    /// Copies what the thread called itself.
    ///
    /// # Safety
    ///
    /// `comm` is 16 writable bytes, aligned to 4.
    #[inline(always)]
    pub(crate) unsafe fn copy_comm(self, comm: *mut u32) {
        for at in 0..4 {
            // SAFETY: a live map value, and the caller's.
            unsafe {
                let from = (&raw const (*self.0).comm).cast::<u32>().add(at);
                comm.add(at).write_volatile(from.read_volatile());
            }
        }
    }
}

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
    match kernel::new_socket_storage(maps::unsent(), ctx::socket(ctx)).map(Unsent) {
        Some(unsent) => {
            unsent.note(hook, cgroup);
            true
        }
        None => false,
    }
}

/// Whether a packet may be judged by its destination. Of a socket that `connect` let pass, what it is connected to is judged first,
/// as `connect` would have. `packet`: where the packet goes.
///
/// A function of its own for the sake of the stack, as [`emit::due`].
#[inline(never)]
pub(crate) fn judge(skb: *mut __sk_buff, sk: *mut bpf_sock, packet: &Connection) -> bool {
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
        maps::remember_through(kernel::socket_cookie(skb.cast()), hole);
    }
    unsent.allow(connects, &to);
    true
}

/// What the policies say, packed.
///
/// A function of its own for the sake of the stack, as [`emit::due`], as those below.
#[inline(never)]
fn of_policies(unsent: Unsent, to: &Connection) -> u64 {
    verdict::packed(&maps::session(unsent.cgroup()), to, Stage::Begins)
}

/// The hole that lets it through, of which the socket remembers; or 0.
#[inline(never)]
fn hole(sk: *mut bpf_sock, unsent: Unsent, to: &Connection, said: u64) -> HoleId {
    let granted = granted(sk, unsent, to);
    let session = maps::session(unsent.cgroup()).id;
    let decision = with_hole(verdict::unpacked(said), Wanted::All, |wanted| {
        verdict::hole(session, to, granted, wanted)
    });
    // Of no generation: the packet is judged, too.
    let is_noted = decision.allows()
        && Socket::new(sk)
            .is_some_and(|socket| socket.remember(to, &decision, 0, unsent.cgroup(), Judge::Task));
    if is_noted { decision.hole } else { HoleId(0) }
}

/// The hole that the socket has used there already, or 0.
#[inline(never)]
fn granted(sk: *mut bpf_sock, unsent: Unsent, to: &Connection) -> HoleId {
    match Socket::of(sk) {
        Some(socket) => socket.recall(to, 0, unsent.cgroup()).granted,
        None => HoleId(0),
    }
}
