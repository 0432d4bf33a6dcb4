//! The network namespaces that the resolver serves: its own, and those in which guardd has given it listeners and sockets.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    rc::Rc,
    time::Duration,
};

use guard_common::NetnsCookie;
use guard_proto::names::NetworkId;
use guard_sys::{arrival, packets::MAX_DESCRIPTORS, readiness::Readable};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::Notify,
    task::JoinSet,
};

use super::{common::Common, datagrams, link::Link, streams};

/// A pool with fewer sockets of a kind than that is filled up, as far as one message can; of UDP and TCP, each of IPv4 and IPv6.
const LOW: [usize; 4] = [8, 4, 2, 2];
const FULL: [usize; 4] = [16, 8, 4, 4];
const _: () = assert!(FULL[0] + FULL[1] + FULL[2] + FULL[3] <= MAX_DESCRIPTORS);
/// The timeout for a socket in another network.
const TIMEOUT: Duration = Duration::from_secs(2);
/// After a message without a socket.
const BREATH: Duration = Duration::from_millis(100);

/// One network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) id: NetworkId,
    /// By which the kernel knows it.
    pub(super) cookie: NetnsCookie,
    /// Nobody else is root there.
    is_roots: bool,
    pool: Option<Pool>,
    /// Where it is this process's own: a socket of IPv4 and one of IPv6, each for the next question.
    spare: [RefCell<Option<Readable>>; 2],
}

/// Sockets that were made in a network that this process is not in.
#[derive(Debug, Default)]
struct Pool {
    kinds: [RefCell<Vec<OwnedFd>>; 4],
    /// Those that somebody has wanted: a network without IPv6 is not asked for it again and again.
    used: [Cell<bool>; 4],
    /// More are on their way.
    asked: Cell<bool>,
    filled: Notify,
}

/// Which list of a pool.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Udp,
    Tcp,
}

/// A network and the program that listens there.
#[derive(Debug)]
struct Served {
    network: Rc<Network>,
    _listening: JoinSet<()>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Networks {
    common: Rc<Common>,
    served: RefCell<HashMap<NetworkId, Served>>,
}

impl Networks {
    /// None yet.
    pub(super) fn new(common: Rc<Common>) -> Self {
        Self {
            common,
            served: RefCell::default(),
        }
    }

    /// Takes questions from these sockets: a UDP socket and a TCP listener, of IPv4 and perhaps of IPv6.
    ///
    /// # Errors
    ///
    /// There are more or fewer, or one is none.
    pub(super) fn listen(
        &self,
        network: Network,
        ipv6: bool,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<()> {
        if sockets.len() != if ipv6 { 4 } else { 2 } {
            let why = "guardd has sent more or fewer sockets than it said";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let network = Rc::new(network);
        let mut listening = JoinSet::new();
        let mut sockets = sockets.into_iter();
        while let (Some(udp), Some(tcp)) = (sockets.next(), sockets.next()) {
            arrival::tell(&udp)?;
            let udp = std::net::UdpSocket::from(udp);
            udp.set_nonblocking(true)?;
            let udp = UdpSocket::from_std(udp)?;
            let local = udp.local_addr()?;
            let tcp = std::net::TcpListener::from(tcp);
            tcp.set_nonblocking(true)?;
            let tcp = TcpListener::from_std(tcp)?;
            let served = (Rc::clone(&self.common), Rc::clone(&network));
            listening.spawn_local(datagrams::serve(served.0, served.1, udp, local));
            let served = (Rc::clone(&self.common), Rc::clone(&network));
            listening.spawn_local(streams::accept(served.0, served.1, tcp));
        }
        let id = network.id;
        let served = Served {
            network,
            _listening: listening,
        };
        self.served.borrow_mut().insert(id, served);
        Ok(())
    }

    /// Puts sockets into the pool of a network: so many of each kind, in this order.
    pub(super) fn stock(&self, id: NetworkId, counts: [usize; 4], sockets: Vec<OwnedFd>) {
        let served = self.served.borrow();
        let network = served.get(&id).map(|served| &served.network);
        if let Some(pool) = network.and_then(|network| network.pool.as_ref()) {
            pool.stock(counts, sockets);
        }
    }

    /// Takes no more questions there.
    pub(super) fn forget(&self, id: NetworkId) {
        self.served.borrow_mut().remove(&id);
    }
}

/// A socket for datagrams to a server, without a port until it is connected: nobody else reaches it at any time.
fn unbound(to: SocketAddr) -> io::Result<Readable> {
    let family = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Readable::new(socket_with(family, SocketType::DGRAM, flags, None)?)
}

impl Network {
    /// One without sockets yet.
    pub(super) fn new(id: NetworkId, cookie: NetnsCookie, is_roots: bool) -> Self {
        Self {
            id,
            cookie,
            is_roots,
            pool: (id != NetworkId(0)).then(Pool::default),
            spare: [RefCell::default(), RefCell::default()],
        }
    }

    fn spare(&self, to: SocketAddr) -> &RefCell<Option<Readable>> {
        let [v4, v6] = &self.spare;
        if to.is_ipv4() { v4 } else { v6 }
    }

    /// Makes the socket for the next question to a server of that family, unless it is there: while a server thinks there is time.
    pub(super) fn prepare(&self, to: SocketAddr) {
        let mut spare = self.spare(to).borrow_mut();
        if self.is_own() && spare.is_none() {
            // Where it cannot be made the next question finds out why.
            *spare = unbound(to).ok();
        }
    }

    /// Whether the address of one of the machine's name servers is that one's here, too. A session's own network has whatever
    /// servers the session likes, and the loopback of any other has servers of its own.
    pub(super) fn has_machines(&self, server: IpAddr) -> bool {
        self.pool.is_none() || (self.is_roots && !server.to_canonical().is_loopback())
    }

    /// Whether it is this process's own, in which guardd knows the links.
    pub(super) const fn is_own(&self) -> bool {
        self.pool.is_none()
    }

    /// A socket for datagrams to a server and from nobody else, at a port that the kernel has chosen. It does not block.
    ///
    /// # Errors
    ///
    /// The system's; `TimedOut` where guardd has no socket there to give.
    pub(super) async fn datagrams(&self, link: &Link, to: SocketAddr) -> io::Result<Readable> {
        let spare = self.spare(to).take();
        let socket = match (&self.pool, spare) {
            (Some(pool), _) => {
                let taken = pool.take(self.id, link, Transport::Udp, to).await?;
                rustix::io::ioctl_fionbio(&taken, true)?;
                Readable::new(taken)?
            }
            (None, Some(spare)) => spare,
            (None, None) => unbound(to)?,
        };
        rustix::net::connect(&socket, &to)?;
        Ok(socket)
    }

    /// A connection to a server.
    ///
    /// # Errors
    ///
    /// As [`Self::datagrams`].
    pub(super) async fn connect(&self, link: &Link, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = match &self.pool {
            Some(pool) => {
                let taken = pool.take(self.id, link, Transport::Tcp, to).await?;
                let socket = std::net::TcpStream::from(taken);
                socket.set_nonblocking(true)?;
                TcpSocket::from_std_stream(socket)
            }
            None if to.is_ipv4() => TcpSocket::new_v4()?,
            None => TcpSocket::new_v6()?,
        };
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Pool {
    /// One out of the pool, when there is one.
    async fn take(
        &self,
        network: NetworkId,
        link: &Link,
        transport: Transport,
        to: SocketAddr,
    ) -> io::Result<OwnedFd> {
        let kind = match (transport, to.is_ipv4()) {
            (Transport::Udp, true) => 0,
            (Transport::Udp, false) => 1,
            (Transport::Tcp, true) => 2,
            (Transport::Tcp, false) => 3,
        };
        self.used[kind].set(true);
        let taken = async {
            loop {
                let filled = self.filled.notified();
                let taken = self.kinds[kind].borrow_mut().pop();
                self.fill(network, link);
                match taken {
                    Some(socket) => return socket,
                    None if self.asked.get() => filled.await,
                    None => tokio::time::sleep(BREATH).await,
                }
                if self.kinds[kind].borrow().is_empty() {
                    tokio::time::sleep(BREATH).await;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, taken).await.map_err(|_| {
            let why = "guardd has given no socket in the network of the session";
            io::Error::new(io::ErrorKind::TimedOut, why)
        })
    }

    /// Has guardd make what there are too few of.
    fn fill(&self, network: NetworkId, link: &Link) {
        let mut wanted = [0; 4];
        for (kind, wanted) in wanted.iter_mut().enumerate() {
            let there = self.kinds[kind].borrow().len();
            if self.used[kind].get() && there < LOW[kind] {
                *wanted = FULL[kind] - there;
            }
        }
        if wanted != [0; 4] && !self.asked.get() {
            self.asked.set(link.want_sockets(network, wanted));
        }
    }

    fn stock(&self, counts: [usize; 4], sockets: Vec<OwnedFd>) {
        let mut sockets = sockets.into_iter();
        for (kind, count) in self.kinds.iter().zip(counts) {
            kind.borrow_mut().extend(sockets.by_ref().take(count));
        }
        self.asked.set(false);
        self.filled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, AsRawFd as _};

    use guard_proto::names::FromResolver;
    use rustix::net::SendFlags;

    use super::*;

    #[test]
    fn a_name_server_is_the_machines_where_root_alone_can_have_its_address() {
        let is_machines = |id, is_roots, server: &str| {
            let network = Network::new(NetworkId(id), NetnsCookie(33), is_roots);
            network.has_machines(server.parse().unwrap())
        };
        let (outside, stubs) = ("192.0.2.53", ["127.0.0.53", "::1", "::ffff:127.0.0.53"]);
        assert!(is_machines(0, true, outside) && is_machines(0, false, stubs[0]));
        assert!(is_machines(3, true, outside));
        assert!(!is_machines(3, false, outside));
        for stub in stubs {
            assert!(!is_machines(3, true, stub), "{stub}");
        }
    }

    #[tokio::test]
    async fn sockets_of_another_network_are_asked_for_when_they_are_wanted() {
        let link = Link::new();
        let mut unsent = link.take_unsent();
        let network = Network::new(NetworkId(3), NetnsCookie(33), true);
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let give = async {
            let said = unsent.recv().await.unwrap();
            let wanted = FromResolver::Sockets {
                network: NetworkId(3),
                udp4: FULL[0],
                udp6: 0,
                tcp4: 0,
                tcp6: 0,
            };
            assert_eq!(said, wanted);
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let pool = network.pool.as_ref().unwrap();
            pool.stock([1, 0, 0, 0], vec![socket.into()]);
        };
        let (socket, ()) = tokio::join!(network.datagrams(&link, to), give);
        assert_eq!(peer(&socket.unwrap()), to);
        // Those are the other network's: none is made here.
        network.prepare(to);
        assert!(network.spare(to).borrow().is_none());
    }

    #[tokio::test]
    async fn the_socket_for_the_next_question_has_no_port_and_is_used_once() {
        let link = Link::new();
        let network = Network::new(NetworkId(0), NetnsCookie(33), true);
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(at).await.unwrap();
            let to = server.local_addr().unwrap();
            network.prepare(to);
            let number = {
                let spare = network.spare(to).borrow();
                let spare = spare.as_ref().unwrap();
                let own = rustix::net::getsockname(spare).unwrap();
                assert_eq!(SocketAddr::try_from(own).unwrap().port(), 0);
                spare.as_fd().as_raw_fd()
            };
            let first = network.datagrams(&link, to).await.unwrap();
            let second = network.datagrams(&link, to).await.unwrap();
            assert_eq!((peer(&first), peer(&second)), (to, to));
            assert_eq!(first.as_fd().as_raw_fd(), number);
            assert_ne!(second.as_fd().as_raw_fd(), number);
            rustix::net::send(&first, b"text", SendFlags::empty()).unwrap();
            let (length, from) = server.recv_from(&mut [0; 8]).await.unwrap();
            assert_eq!(length, 4);
            let own = rustix::net::getsockname(&first).unwrap();
            assert_eq!(SocketAddr::try_from(own).unwrap(), from);
        }
    }

    fn peer(socket: &Readable) -> SocketAddr {
        let peer = rustix::net::getpeername(socket).unwrap().unwrap();
        SocketAddr::try_from(peer).unwrap()
    }
}
