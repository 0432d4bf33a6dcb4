//! Redirects connections to read-only destinations to the guard's own proxy, and DNS questions to its resolver
//! ([`crate::questions`]), on the loopback of the same network namespace.
//!
//! `connect` rewrites the address and records the original destination; egress judges each packet by that destination, and
//! tells the proxy about it; `getpeername` returns it to the program.

use aya_ebpf::{EbpfContext as _, bindings::bpf_sock, programs::SockAddrContext};
use guard_common::{
    Connection, Decision, HoleId, Hook, NetnsCookie, PolicyVerdict, Protocol, Reason, Session,
    SessionId, Verdict, Wanted,
};

use crate::{
    began::Began,
    case::Case,
    ctx, kernel,
    maps::{self, RedirectState},
    verdict,
};

/// Why a socket is redirected, and whose it is.
pub(crate) struct RedirectCause {
    pub(crate) reason: Reason,
    /// The hole for reads that it uses, or 0.
    pub(crate) hole: HoleId,
    pub(crate) session: SessionId,
    /// Of a question 1 where it goes by UDP.
    pub(crate) by_udp: u32,
}

/// The record of a socket. A TCP one is connected under the socket's lock. Threads may send questions on one UDP socket at once:
/// whatever mixture of their destinations egress reads, it judges that one, and tells the resolver of that one.
#[derive(Clone, Copy)]
pub(crate) struct Redirect(*mut RedirectState);

impl Redirect {
    /// Whether its socket's questions go to the resolver at that port.
    #[inline(always)]
    fn asks(self, port: u16) -> bool {
        // SAFETY: a live map value.
        let resolver = unsafe { (&raw const (*self.0).proxy).read_volatile() };
        self.reason().0 == Reason::QUESTION && resolver == port
    }

    /// The record in a socket's storage.
    #[inline(always)]
    pub(crate) const fn new(state: *mut RedirectState) -> Self {
        Self(state)
    }

    #[inline(always)]
    pub(crate) fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::redirects(), sk).map(Self)
    }

    /// A [`Reason`], and the hole for reads that the redirect used, or 0.
    #[inline(always)]
    pub(crate) fn reason(self) -> (Reason, HoleId) {
        // SAFETY: a live map value.
        let reason = unsafe { (&raw const (*self.0).reason).read_volatile() };
        (Reason(reason as u8), HoleId((reason >> 32) as u32))
    }

    /// Whether it was redirected from another destination.
    #[inline(always)]
    pub(crate) fn is_redirected(self) -> bool {
        let (reason, _) = self.reason();
        reason.is_for_proxy() || reason.is_for_resolver()
    }

    /// Whether it was redirected to the proxy.
    #[inline(always)]
    pub(crate) fn is_to_proxy(self) -> bool {
        self.reason().0.is_for_proxy()
    }

    /// Clears it: the socket connects again.
    #[inline(always)]
    pub(crate) fn clear(self) {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*self.0).reason).write_volatile(u64::from(Reason::NONE.0)) };
    }

    #[inline(always)]
    pub(crate) fn note(self, cause: &RedirectCause, asked: &Connection, proxy: &Proxy) {
        let reason = (u64::from(cause.hole.0) << 32) | u64::from(cause.reason.0);
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            (&raw mut (*state).netns).write_volatile(proxy.netns.0);
            ctx::write_address(&raw mut (*state).destination, &asked.to);
            (&raw mut (*state).session).write_volatile(cause.session.0);
            (&raw mut (*state).port).write_volatile(asked.port);
            (&raw mut (*state).proxy).write_volatile(proxy.port);
            (&raw mut (*state).by_udp).write_volatile(cause.by_udp);
            (&raw mut (*state).tgid).write_volatile(kernel::current_pid_tgid().1);
            (&raw mut (*state).reason).write_volatile(reason);
        }
    }

    /// The original destination; another program's listener by `Address::of_listener`.
    #[inline(always)]
    pub(crate) fn asked(self) -> Connection {
        let state = self.0;
        // SAFETY: a live map value.
        unsafe {
            let to = ctx::read_address(&raw const (*state).destination);
            let port = (&raw const (*state).port).read_volatile();
            let protocol = if self.is_datagram() {
                Protocol::UDP
            } else {
                Protocol::TCP
            };
            Connection::new(to, protocol, port)
        }
    }

    /// Whether it is a question by UDP.
    #[inline(always)]
    pub(crate) fn is_datagram(self) -> bool {
        // SAFETY: a live map value; one aligned word.
        self.reason().0 == Reason::QUESTION && unsafe { (*self.0).by_udp } != 0
    }

    #[inline(always)]
    pub(crate) fn session(self) -> SessionId {
        // SAFETY: a live map value.
        SessionId(unsafe { (&raw const (*self.0).session).read_volatile() })
    }

    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        // SAFETY: a live map value.
        unsafe { (&raw const (*self.0).tgid).read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn proxy(self) -> Proxy {
        // SAFETY: a live map value.
        unsafe {
            Proxy {
                netns: NetnsCookie((&raw const (*self.0).netns).read_volatile()),
                port: (&raw const (*self.0).proxy).read_volatile(),
            }
        }
    }
}

/// The guard's proxy, or its resolver, in a network namespace.
pub(crate) struct Proxy {
    pub(crate) netns: NetnsCookie,
    /// In host byte order; 0 where there is none.
    pub(crate) port: u16,
}

impl Proxy {
    /// That of the calling task's namespace.
    #[inline(always)]
    fn local(ctx: &SockAddrContext) -> Self {
        let netns = kernel::netns_cookie(ctx.as_ptr());
        let port = maps::proxy(netns);
        Self { netns, port }
    }

    #[inline(always)]
    fn is_at(&self, to: &Connection) -> bool {
        self.port != 0
            && to.protocol == Protocol::TCP
            && to.to.is_localhost()
            && to.port == self.port
    }
}

/// Redirects a socket to the proxy if the decision is `read-only`, or that TLS has to show a name. False if that
/// could not be done: the connection is refused.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn begin(ctx: &SockAddrContext, asked: &Connection, hook: Hook, case: &Case) -> bool {
    let connects = matches!(hook, Hook::Connect4 | Hook::Connect6);
    let readable = match case.verdict() {
        Verdict::ReadOnly => true,
        Verdict::Allow => case.is_by_sni(),
        _ => false,
    };
    if !connects || !readable || asked.protocol != Protocol::TCP {
        return false;
    }
    let proxy = Proxy::local(ctx);
    // The proxy would have to connect to itself. `connect` refuses that, unless the proxy has begun to listen since its look-up.
    if proxy.port == 0 || proxy.is_at(asked) {
        return false;
    }
    let localhost = asked.to.localhost();
    if !kernel::is_listening(ctx.as_ptr(), maps::listeners(), &localhost, proxy.port) {
        return false;
    }
    let Some(redirect) =
        kernel::new_socket_storage(maps::redirects(), ctx::socket(ctx)).map(Redirect)
    else {
        return false;
    };
    let cause = RedirectCause {
        reason: Reason::REDIRECTED,
        hole: case.hole(),
        session: case.session.id,
        by_udp: 0,
    };
    redirect.note(&cause, &case.to, &proxy);
    match hook {
        Hook::Connect4 => ctx::set_destination4(ctx, &localhost, proxy.port),
        _ => ctx::set_destination6(ctx, &localhost, proxy.port),
    }
    true
}

/// Whether what a socket sends to the resolver's own address is a question that was redirected there.
#[inline(always)]
pub(crate) fn is_question(ctx: &SockAddrContext, to: &Connection) -> bool {
    Redirect::of(ctx::socket(ctx)).is_some_and(|redirect| redirect.asks(to.port))
}

/// Whether a proxy or a resolver may listen at that destination.
#[inline(always)]
pub(crate) fn may_be_redirected(to: &Connection) -> bool {
    to.to.is_localhost() && matches!(to.protocol, Protocol::TCP | Protocol::UDP)
}

/// The record of a packet's socket, where the packet goes to the proxy that this socket was redirected to.
#[inline(always)]
pub(crate) fn of_packet(sk: *mut bpf_sock, to: &Connection) -> Option<Redirect> {
    let redirect = Redirect::of(sk)?;
    let is_connected = redirect.is_redirected() && redirect.proxy().port == to.port;
    if is_connected { Some(redirect) } else { None }
}

/// The policies' verdict on the original destination, and that of the hole which the redirect used. A denial if the socket was
/// made in another session than the one that connected it, or if the proxy is gone.
#[inline(always)]
pub(crate) fn decide(
    redirect: Redirect,
    asked: &Connection,
    session: &Session,
    began: Began,
) -> Decision {
    let (reason, hole) = redirect.reason();
    let is_question = reason == Reason::QUESTION;
    let wanted = if is_question {
        Wanted::All
    } else {
        Wanted::Redirected
    };
    let decision = verdict::decide(session, asked, began, hole, wanted);
    let proxy = redirect.proxy();
    let port = if is_question {
        maps::resolver(proxy.netns)
    } else {
        maps::proxy(proxy.netns)
    };
    if session.id.0 == redirect.session().0 && port == proxy.port {
        return decision;
    }
    Decision::by(session.policies[0], PolicyVerdict::DENY)
}

/// The original destination of a redirected socket that is connected to the proxy.
#[inline(always)]
pub(crate) fn peer(ctx: &SockAddrContext, connected: &Connection) -> Option<Connection> {
    let redirect = Redirect::of(ctx::socket(ctx))?;
    let is_redirected = redirect.is_redirected()
        && connected.to.is_localhost()
        && redirect.proxy().port == connected.port;
    if !is_redirected {
        return None;
    }
    let asked = redirect.asked();
    Some(Connection::new(
        asked.to.connected(),
        asked.protocol,
        asked.port,
    ))
}
