//! Who receives a connection on this machine: a server of the session's own, or another program's listener.
//!
//! A session's own servers are known by the cgroup that made their sockets; the session always reaches them. Any other listener on the
//! loopback gets a ticket when a session first connects to it, and is judged as a destination of its own
//! ([`guard_common::Address::of_listener`]).
//!
//! Which of the listeners that share a port (`SO_REUSEPORT`) gets a packet, nobody can tell before it arrives: what looks them up goes by
//! a hash, the kernel by a program of theirs (`SO_ATTACH_REUSEPORT_CBPF`), and one may end meanwhile. So a listener of TCP there gets a SYN
//! without data and nothing else: no `TCP_FASTOPEN` (TCP repeats it without), and no ACK that opens a connection by itself (SYN cookies).
//! A datagram to a shared port never counts as one to the session's own server.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_TCP_LISTEN, BPF_TCP_NEW_SYN_RECV, BPF_TCP_SYN_SENT, BPF_TCP_TIME_WAIT,
        bpf_sock, bpf_sock_addr,
    },
    programs::SockAddrContext,
};
use guard_common::{Connection, DNS_PORT, Protocol, Ticket};

use crate::{
    ctx::{self, LOOPBACK_DEVICE},
    kernel::{self, SocketAddress},
    maps::{self, HERE, ListenerState},
    redirect::Redirect,
};

/// Who receives a connection: one of the numbers below [`Self::FIRST_TICKET`], or a listener's [`Ticket`]; with two flags.
#[derive(Clone, Copy)]
pub(crate) struct Receiver(u64);

impl Receiver {
    /// Nobody, or the address alone decides.
    pub(crate) const NO_LISTENER: u64 = 0;
    /// A server of the session's own.
    const OWN: u64 = 1;
    /// Memory is short, or the packet cannot be parsed.
    const IN_DOUBT: u64 = 2;
    /// The packet may get to another socket than the one that was found, with its data. Of a call too: the guard's own proxy would get it.
    const REFUSED: u64 = 3;
    /// What is left of a closed connection gets the packet, and no program does.
    const NOBODY: u64 = 4;
    /// TIME_WAIT matched a SYN: a listener takes it, which [`of_packet`] finds.
    const TAKEN_OVER: u64 = 5;
    /// The lowest ticket that is given.
    const FIRST_TICKET: u64 = 8;
    /// The packet begins a connection.
    const BEGINS: u64 = 1 << 63;
    /// Another socket may get the next packet.
    const ONCE: u64 = 1 << 62;

    /// No listener, where only the address counts.
    pub(crate) const NONE: Self = Self(Self::NO_LISTENER);

    /// Without the flags.
    #[inline(always)]
    const fn number(self) -> u64 {
        self.0 & !(Self::BEGINS | Self::ONCE)
    }

    /// Whether it may not pass, whatever the policies say.
    #[inline(always)]
    pub(crate) const fn is_refused(self) -> bool {
        matches!(self.number(), Self::IN_DOUBT | Self::REFUSED)
    }

    /// Whether no program gets the packet.
    #[inline(always)]
    pub(crate) const fn is_nobody(self) -> bool {
        self.number() == Self::NOBODY
    }

    /// Whether it is a server of the session's own.
    #[inline(always)]
    pub(crate) const fn is_own(self) -> bool {
        self.number() == Self::OWN
    }

    /// Whether the verdict is one on this packet alone.
    #[inline(always)]
    pub(crate) const fn is_once(self) -> bool {
        self.0 & (Self::BEGINS | Self::ONCE) != 0
    }

    /// Puts another program's listener on the loopback in place of the address that was asked for. Name servers are judged by their
    /// addresses.
    ///
    /// A function of its own for the sake of the stack, as [`crate::emit::due`].
    #[inline(never)]
    pub(crate) fn put_into(self, asked: &mut Connection) {
        let number = self.number();
        if number >= Self::FIRST_TICKET && asked.to.is_loopback() && asked.port != DNS_PORT {
            asked.to = asked.to.of_listener(Ticket(number as u32));
        }
    }
}

/// Records the session that makes a socket, and what the thread calls itself.
#[inline(always)]
pub(crate) fn mark_owner(sk: *mut bpf_sock, cgroup: u64) {
    // If memory is short, it counts as another program's.
    if let Some(state) = kernel::new_socket_storage::<ListenerState>(maps::listener_states(), sk) {
        // SAFETY: a live map value; nobody else has the socket yet.
        unsafe {
            (&raw mut (*state).owner).write_volatile(cgroup);
            kernel::current_comm(&mut *(&raw mut (*state).program).cast());
        }
    }
}

/// The receiver of a call that a task of that cgroup makes.
#[inline(always)]
pub(crate) fn of_call(ctx: &SockAddrContext, to: &Connection, cgroup: u64) -> Receiver {
    Receiver(guard_listener(ctx.as_ptr().cast(), to, cgroup))
}

/// [`of_connect`]. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_listener(ctx: *mut bpf_sock_addr, to: *const Connection, cgroup: u64) -> u64 {
    if to.is_null() {
        return Receiver::IN_DOUBT;
    }
    // SAFETY: not null, and only called from `of_call`, with a reference.
    let to = unsafe { &*to };
    if !to.to.is_loopback() || to.port == DNS_PORT {
        return Receiver::NO_LISTENER;
    }
    if to.protocol == Protocol::UDP {
        return of_datagram(ctx.cast(), to, cgroup);
    }
    if to.protocol != Protocol::TCP {
        return Receiver::NO_LISTENER;
    }
    let localhost = to.to.localhost();
    let found = kernel::with_receiver(
        ctx.cast(),
        SocketAddress::nobody(&localhost),
        SocketAddress::of(to),
        |listener| {
            // What would be sent there is refused: see `receiver_of_packet`.
            if is_proxy(listener) {
                Receiver::REFUSED
            } else {
                receiver_of(listener, cgroup, 0)
            }
        },
    );
    found.unwrap_or(Receiver::NO_LISTENER)
}

/// A server of the session's own that a `connect` to an address of this machine other than the loopback's goes to.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn is_own_here(ctx: &SockAddrContext, to: &Connection, cgroup: u64) -> bool {
    let is_here = kernel::netns_cookie(ctx.as_ptr()).0 == maps::OWN_NETWORK.load()
        && HERE.get_ptr(to.to).is_some();
    if to.protocol != Protocol::TCP || !is_here {
        return false;
    }
    let localhost = to.to.localhost();
    let found = kernel::with_receiver(
        ctx.as_ptr(),
        SocketAddress::nobody(&localhost),
        SocketAddress::of(to),
        |listener| cgroup != 0 && owner_of(listener) == cgroup,
    );
    found.unwrap_or(false)
}

/// The receiver of a datagram to the loopback. A peer that has connected its socket to the sender is not found: it may be a client of the
/// session's own server, and the guard's resolver is one.
#[inline(always)]
fn of_datagram(context: *mut c_void, to: &Connection, cgroup: u64) -> u64 {
    // All sockets at the port get it.
    if to.to.is_loopback_broadcast() {
        return Receiver::REFUSED;
    }
    let found = kernel::with_udp_receiver(context, SocketAddress::of(to), |receiver| {
        if is_proxy(receiver) {
            return Receiver::REFUSED;
        }
        if owner_of(receiver) == cgroup && cgroup != 0 && !kernel::may_share_port(receiver) {
            return Receiver::OWN;
        }
        ticket_of(receiver)
    });
    found.unwrap_or(Receiver::NO_LISTENER) | Receiver::ONCE
}

/// [`of_packet`]. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_receiver(skb: *mut __sk_buff, to: *const Connection, cgroup: u64) -> u64 {
    if to.is_null() {
        return Receiver::IN_DOUBT;
    }
    // SAFETY: not null, and only called from `of_packet`, with a reference.
    let to = unsafe { &*to };
    // SAFETY: the kernel's context.
    let is_local = unsafe { (&raw const (*skb).ifindex).read_volatile() } == LOOPBACK_DEVICE;
    if to.protocol == Protocol::UDP && to.to.is_loopback() && to.port != DNS_PORT && is_local {
        return of_datagram(skb.cast(), to, cgroup);
    }
    if to.protocol != Protocol::TCP || !is_local {
        return Receiver::NO_LISTENER;
    }
    let mut segment = MaybeUninit::uninit();
    if !ctx::segment(skb, &mut segment) {
        return Receiver::IN_DOUBT;
    }
    // SAFETY: `segment` wrote it.
    let segment = unsafe { segment.assume_init_ref() };
    let arriving = Arriving {
        begins: segment.begins(),
        has_syn: segment.has_syn(),
    };
    if arriving.begins && segment.payload(skb) != 0 {
        return Receiver::REFUSED;
    }
    let from = SocketAddress {
        address: &segment.from,
        port: segment.port,
    };
    let found = kernel::with_any_receiver(skb, from, SocketAddress::of(to), |receiver| {
        receiver_of_packet(receiver, arriving, cgroup)
    });
    let (begins, nobody) = if arriving.begins {
        (Receiver::BEGINS, Receiver::NO_LISTENER)
    } else {
        (0, Receiver::NO_LISTENER | Receiver::ONCE)
    };
    found.unwrap_or(nobody) | begins
}

/// What counts of a segment where it arrives.
#[derive(Clone, Copy)]
struct Arriving {
    begins: bool,
    has_syn: bool,
}

/// A [`Receiver`]'s number with flags, of what was found for a packet.
#[inline(always)]
fn receiver_of_packet(receiver: *mut bpf_sock, packet: Arriving, cgroup: u64) -> u64 {
    let state = kernel::state(receiver);
    let lasts = match state {
        BPF_TCP_TIME_WAIT if packet.begins => return Receiver::TAKEN_OVER,
        BPF_TCP_TIME_WAIT => return Receiver::NOBODY,
        // It waits for no such packet, and may have been made only to be found here: a listener gets what comes after its end.
        BPF_TCP_SYN_SENT if !packet.has_syn => return Receiver::REFUSED,
        BPF_TCP_SYN_SENT | BPF_TCP_NEW_SYN_RECV => false,
        BPF_TCP_LISTEN if !packet.begins && kernel::may_share_port(receiver) => {
            return Receiver::REFUSED;
        }
        BPF_TCP_LISTEN => false,
        // Once it is gone, too.
        _ => !kernel::may_share_port(receiver),
    };
    let once = if packet.begins { 0 } else { Receiver::ONCE };
    let once_unless_it_lasts = if lasts && !is_made_inside(receiver) {
        0
    } else {
        once
    };
    let made_in = kernel::socket_ancestor_cgroup(receiver, maps::SESSION_LEVEL.load());
    if cgroup != 0 && made_in == cgroup {
        return Receiver::OWN | once;
    }
    // What a listener's request becomes is that listener's.
    let full = if state == BPF_TCP_NEW_SYN_RECV {
        match kernel::listener_of(receiver) {
            Some(listener) => listener,
            None => return Receiver::IN_DOUBT,
        }
    } else {
        receiver
    };
    // What was redirected there was judged before. Its SYN may come long after `connect` (TCP_FASTOPEN_CONNECT), when the port was anybody's.
    if is_proxy(full) {
        return Receiver::REFUSED;
    }
    receiver_of(full, cgroup, made_in) | once_unless_it_lasts
}

/// Whether a session has made a socket, or the listener that it was accepted from. Nobody believes what that says of its port: the session
/// may have it say so (`setsockopt`), and end it whenever it likes.
#[inline(always)]
fn is_made_inside(sk: *mut bpf_sock) -> bool {
    owner_of(sk) != 0
}

/// The cgroup of the session that has made a socket, or the listener that it was accepted from; 0 where none did.
#[inline(always)]
fn owner_of(sk: *mut bpf_sock) -> u64 {
    let state = kernel::socket_storage::<ListenerState>(maps::listener_states(), sk);
    // SAFETY: a live map value; one aligned word.
    state.map_or(0, |state| unsafe {
        (&raw const (*state).owner).read_volatile()
    })
}

/// The receiver of a packet of a socket of that cgroup's.
#[inline(always)]
pub(crate) fn of_packet(skb: *mut __sk_buff, to: &Connection, cgroup: u64) -> Receiver {
    let receiver = Receiver(guard_receiver(skb, to, cgroup));
    if receiver.number() == Receiver::TAKEN_OVER {
        Receiver(guard_taking_over(skb, to, cgroup))
    } else {
        receiver
    }
}

/// The listener that takes a SYN at whose place [`guard_receiver`] found what is left of a closed connection: the port that it comes from
/// was used just before, and the other end was closed first. The kernel looks for a listener then, too (`TCP_TW_SYN`).
///
/// Beside [`guard_receiver`] and not within it, for the sake of the stack. The verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_taking_over(skb: *mut __sk_buff, to: *const Connection, cgroup: u64) -> u64 {
    if to.is_null() {
        return Receiver::IN_DOUBT;
    }
    // SAFETY: not null, and only called from `of_packet`, with a reference.
    let to = unsafe { &*to };
    let localhost = to.to.localhost();
    let found = kernel::with_receiver(
        skb.cast(),
        SocketAddress::nobody(&localhost),
        SocketAddress::of(to),
        |listener| {
            // As in `receiver_of_packet`.
            if is_proxy(listener) {
                return Receiver::REFUSED;
            }
            let made_in = kernel::socket_ancestor_cgroup(listener, maps::SESSION_LEVEL.load());
            receiver_of(listener, cgroup, made_in)
        },
    );
    found.unwrap_or(Receiver::NO_LISTENER) | Receiver::BEGINS
}

/// Whether a packet begins a connection that was redirected to the guard's own proxy, and another listens on the loopback where it wanted to
/// go than its `connect` found there: that may be long ago (TCP_FASTOPEN_CONNECT).
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn is_overtaken(skb: *mut __sk_buff, redirect: Redirect) -> bool {
    let asked = redirect.asked();
    let to = Connection::new(asked.to.connected(), asked.protocol, asked.port);
    if !redirect.is_to_proxy() || !to.to.is_loopback() {
        return false;
    }
    let mut segment = MaybeUninit::uninit();
    if !ctx::segment(skb, &mut segment) {
        return true;
    }
    // SAFETY: `segment` wrote it.
    if !unsafe { segment.assume_init_ref() }.begins() {
        return false;
    }
    let localhost = to.to.localhost();
    // As `guard_listener`, which found the other one.
    let found = kernel::with_receiver(
        skb.cast(),
        SocketAddress::nobody(&localhost),
        SocketAddress::of(&to),
        ticket_of,
    );
    match found {
        Some(ticket) => to.to.of_listener(Ticket(ticket as u32)).0 != asked.to.0,
        // It is not there any more.
        None => false,
    }
}

/// A [`Receiver`]'s number, where it is not the guard's own proxy. `made_in`: the receiving socket's cgroup at the level of sessions, if the
/// hook can tell, else 0.
#[inline(always)]
fn receiver_of(receiver: *mut bpf_sock, cgroup: u64, made_in: u64) -> u64 {
    if cgroup != 0 && (made_in == cgroup || (made_in == 0 && owner_of(receiver) == cgroup)) {
        return Receiver::OWN;
    }
    ticket_of(receiver)
}

/// The ticket of a socket, which gets one if it has none.
#[inline(always)]
fn ticket_of(receiver: *mut bpf_sock) -> u64 {
    let Some(state) =
        kernel::new_socket_storage::<ListenerState>(maps::listener_states(), receiver)
    else {
        return Receiver::IN_DOUBT;
    };
    // SAFETY: a live map value; one aligned word.
    let ticket = unsafe { (&raw const (*state).ticket).read_volatile() };
    if ticket != 0 {
        return ticket;
    }
    let new = u64::from(kernel::random() as u32) | Receiver::FIRST_TICKET;
    // SAFETY: a live map value, aligned to 8.
    match unsafe { kernel::compare_exchange(&raw mut (*state).ticket, 0, new) } {
        0 => new,
        other => other,
    }
}

/// Whether it is a socket of the guard's own proxy, or of its resolver.
#[inline(always)]
fn is_proxy(listener: *mut bpf_sock) -> bool {
    kernel::socket_storage::<u64>(maps::listeners(), listener).is_some()
}
