//! Connections that are turned: to a read-only destination a program gets as far as the guard's own proxy, on the
//! loopback of its network namespace.
//!
//! `connect` leads the socket there and notes what it asked for; egress judges each packet by that, and tells the proxy
//! where the connection was going; `getpeername` tells the program what it asked for.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, bpf_sock},
    programs::SockAddrContext,
};
use guard_common::{
    Address, Connection, Decision, HoleId, Hook, NetnsCookie, Origin, OriginKey, PolicyVerdict,
    Protocol, Session, SessionId, Verdict, Wanted,
};

use crate::{
    ctx, kernel,
    maps::{self, ORIGINS, TurnedState},
    verdict,
};

/// How a socket has come to a proxy. Zeroed memory is [`Self::NONE`].
pub(crate) struct Way;

impl Way {
    /// It has not.
    pub(crate) const NONE: u32 = 0;
    /// It asked for something else, and was turned.
    pub(crate) const TURNED: u32 = 1;
    /// It asked for the proxy's own address.
    pub(crate) const ITSELF: u32 = 2;
}

/// What is noted of a TCP socket. Only its owner connects it, and sends on it: both happen under the socket's lock.
#[derive(Clone, Copy)]
pub(crate) struct Turned(*mut TurnedState);

impl Turned {
    #[inline(always)]
    pub(crate) fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::turned(), sk).map(Self)
    }

    /// A [`Way`], and the hole by which it was led there, or 0.
    #[inline(always)]
    fn way(self) -> (u32, HoleId) {
        // SAFETY: a live map value.
        let way = unsafe { (&raw const (*self.0).way).read_volatile() };
        (way as u32, HoleId((way >> 32) as u32))
    }

    /// Whether it asked for something else, and was turned.
    #[inline(always)]
    pub(crate) fn is_turned(self) -> bool {
        self.way().0 == Way::TURNED
    }

    /// The socket is connected anew.
    #[inline(always)]
    pub(crate) fn forget(self) {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*self.0).way).write_volatile(u64::from(Way::NONE)) };
    }

    #[inline(always)]
    fn note(
        self,
        (way, hole): (u32, HoleId),
        asked: &Connection,
        session: SessionId,
        proxy: &Proxy,
    ) {
        let way = (u64::from(hole.0) << 32) | u64::from(way);
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            (&raw mut (*state).netns).write_volatile(proxy.netns.0);
            let destination = (&raw mut (*state).destination).cast::<u32>();
            destination.write_volatile(asked.to.0[0]);
            destination.add(1).write_volatile(asked.to.0[1]);
            destination.add(2).write_volatile(asked.to.0[2]);
            destination.add(3).write_volatile(asked.to.0[3]);
            (&raw mut (*state).session).write_volatile(session.0);
            (&raw mut (*state).port).write_volatile(asked.port);
            (&raw mut (*state).proxy).write_volatile(proxy.port);
            (&raw mut (*state).tgid).write_volatile(u64::from(kernel::current_pid_tgid().1));
            (&raw mut (*state).way).write_volatile(way);
        }
    }

    /// What it asked for.
    #[inline(always)]
    pub(crate) fn asked(self) -> Connection {
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            let destination = (&raw const (*state).destination).cast::<u32>();
            let to = Address([
                destination.read_volatile(),
                destination.add(1).read_volatile(),
                destination.add(2).read_volatile(),
                destination.add(3).read_volatile(),
            ]);
            let port = (&raw const (*state).port).read_volatile();
            Connection::new(to, Protocol::TCP, port)
        }
    }

    #[inline(always)]
    fn session(self) -> SessionId {
        // SAFETY: a live map value.
        SessionId(unsafe { (&raw const (*self.0).session).read_volatile() })
    }

    #[inline(always)]
    fn tgid(self) -> u32 {
        // SAFETY: a live map value.
        unsafe { (&raw const (*self.0).tgid).read_volatile() as u32 }
    }

    #[inline(always)]
    fn proxy(self) -> Proxy {
        // SAFETY: a live map value.
        unsafe {
            Proxy {
                netns: NetnsCookie((&raw const (*self.0).netns).read_volatile()),
                port: (&raw const (*self.0).proxy).read_volatile(),
            }
        }
    }
}

/// The guard's proxy in a network namespace.
struct Proxy {
    netns: NetnsCookie,
    /// In host byte order; 0 where there is none.
    port: u16,
}

impl Proxy {
    /// The one that a socket could be led to.
    #[inline(always)]
    fn near(ctx: &SockAddrContext) -> Self {
        let netns = kernel::netns_cookie(ctx.as_ptr());
        let port = maps::proxy(netns);
        Self { netns, port }
    }

    #[inline(always)]
    fn is_at(&self, to: &Connection) -> bool {
        self.port != 0 && may_be_for_proxy(to) && to.port == self.port
    }
}

/// Leads a socket to the proxy where the decision about what it asks for is that it may be read from. False where it
/// was not, and so is refused.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn turn(
    ctx: &SockAddrContext,
    asked: &Connection,
    hook: Hook,
    decision: &Decision,
    session: SessionId,
) -> bool {
    let connects = matches!(hook, Hook::Connect4 | Hook::Connect6);
    let readable = matches!(decision.verdict, Verdict::ReadOnly);
    if !connects || !readable || asked.protocol != Protocol::TCP {
        return false;
    }
    let proxy = Proxy::near(ctx);
    // Turned to itself it would be asked to connect to itself.
    if proxy.port == 0 || proxy.is_at(asked) {
        return false;
    }
    let localhost = asked.to.localhost();
    if !kernel::is_listening(ctx.as_ptr(), maps::listeners(), &localhost, proxy.port) {
        return false;
    }
    let Some(turned) = kernel::new_socket_storage(maps::turned(), ctx::socket(ctx)).map(Turned)
    else {
        return false;
    };
    turned.note((Way::TURNED, decision.hole), asked, session, &proxy);
    match hook {
        Hook::Connect4 => ctx::lead4(ctx, &localhost, proxy.port),
        _ => ctx::lead6(ctx, &localhost, proxy.port),
    }
    true
}

/// Notes of a socket that may go where it asked whether that is the proxy: then it has to be told from those that were
/// turned. False where that cannot be noted.
#[inline(always)]
pub(crate) fn note_way(ctx: &SockAddrContext, asked: &Connection) -> bool {
    if !may_be_for_proxy(asked) {
        return true;
    }
    let proxy = Proxy::near(ctx);
    if !proxy.is_at(asked) {
        return true;
    }
    match kernel::new_socket_storage(maps::turned(), ctx::socket(ctx)).map(Turned) {
        Some(turned) => {
            turned.note((Way::ITSELF, HoleId(0)), asked, SessionId(0), &proxy);
            true
        }
        None => false,
    }
}

/// Whether a packet goes where a proxy may be.
#[inline(always)]
pub(crate) fn may_be_for_proxy(to: &Connection) -> bool {
    to.protocol == Protocol::TCP && to.to.is_localhost()
}

/// What is noted of a packet's socket where it goes to the proxy that this socket has come to.
#[inline(always)]
pub(crate) fn of_packet(sk: *mut bpf_sock, to: &Connection) -> Option<Turned> {
    let turned = Turned::of(sk)?;
    let leads_there = turned.way().0 != Way::NONE && turned.proxy().port == to.port;
    if leads_there { Some(turned) } else { None }
}

/// The policies' word on what a turned socket asked for, and that of the hole by which it was turned, where its packets may
/// pass; else a denial. The session that the socket was made in must be the one that connected it, and the proxy must
/// still be there.
#[inline(always)]
pub(crate) fn decide(turned: Turned, asked: &Connection, session: &Session) -> Decision {
    let (_, hole) = turned.way();
    let decision = verdict::decide(session, asked, hole, Wanted::Turned);
    let proxy = turned.proxy();
    if session.id.0 == turned.session().0 && maps::proxy(proxy.netns) == proxy.port {
        return decision;
    }
    Decision::by(session.policies[0], PolicyVerdict::DENY)
}

/// Tells the proxy of a connection that begins; false where it could not.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn tell(skb: *mut __sk_buff, sk: *mut bpf_sock) -> bool {
    let mut segment = MaybeUninit::uninit();
    if !ctx::segment(skb, &mut segment) {
        return false;
    }
    // SAFETY: `segment` wrote it.
    let segment = unsafe { segment.assume_init_ref() };
    if !segment.begins() {
        return true;
    }
    let Some(turned) = Turned::of(sk) else {
        return false;
    };
    let (asked, proxy) = (turned.asked(), turned.proxy());
    // A SYN may come long after `connect` (TCP_FASTOPEN_CONNECT).
    let localhost = asked.to.localhost();
    if !kernel::is_listening(skb.cast(), maps::listeners(), &localhost, proxy.port) {
        return false;
    }
    let key = OriginKey::new(proxy.netns, segment.from, segment.port);
    let whose = (turned.session(), turned.tgid());
    let origin = Origin::new(kernel::boot_time(), whose, asked.to, asked.port);
    ORIGINS.insert(key, origin, 0).is_ok()
}

/// Whether a packet goes to the proxy because its program asked for just that. What was told of another one that had its
/// port is forgotten where it begins a connection. `None` where the packet cannot be read.
#[inline(always)]
pub(crate) fn is_for_itself(skb: *mut __sk_buff, turned: Turned) -> Option<bool> {
    if turned.way().0 != Way::ITSELF {
        return Some(false);
    }
    let mut segment = MaybeUninit::uninit();
    if !ctx::segment(skb, &mut segment) {
        return None;
    }
    // SAFETY: `segment` wrote it.
    let segment = unsafe { segment.assume_init_ref() };
    if segment.begins() {
        // There may be none.
        let key = OriginKey::new(turned.proxy().netns, segment.from, segment.port);
        let _ = ORIGINS.remove(key);
    }
    Some(true)
}

/// What a turned socket asked for, where it is connected to the proxy.
#[inline(always)]
pub(crate) fn peer(ctx: &SockAddrContext, connected: &Connection) -> Option<Connection> {
    let turned = Turned::of(ctx::socket(ctx))?;
    let is_turned = turned.way().0 == Way::TURNED
        && connected.to.is_localhost()
        && turned.proxy().port == connected.port;
    if is_turned {
        Some(turned.asked())
    } else {
        None
    }
}
