//! The network namespaces that the proxy serves: its own, and those in which guardd has given it listeners and sockets. Accepts
//! connections there, and connects from there.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use guard_common::NetnsCookie;
use guard_sys::{bpf::Origins, packets::MAX_DESCRIPTORS, tcp};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::{JoinSet, spawn_local},
};

use super::{
    connection, lanes::Lanes, link::GuarddLink, postgres::AcrossConnections, room::Room, tls::Tls,
    wire::NetworkId,
};

/// Connections at once, and below of one account. Each takes two descriptors.
const MAX_CONNECTIONS: usize = 4096;
const MAX_OF_ACCOUNT: usize = 2048;
/// How many more an account may have if others have taken all.
const RESERVE: usize = 16;
/// A pool with fewer sockets of a family is filled up, as far as one message can.
const LOW: usize = 8;
const FULL: usize = MAX_DESCRIPTORS / 2;
/// The timeout for a socket in another network.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an error that an immediate retry cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// One network.
#[derive(Debug)]
pub(super) struct Network {
    id: NetworkId,
    /// The kernel's number for it.
    pub(super) cookie: NetnsCookie,
    pool: Option<Pool>,
}

/// Sockets that were made in a network that this process is not in.
#[derive(Debug, Default)]
struct Pool {
    ipv4: RefCell<Vec<OwnedFd>>,
    ipv6: RefCell<Vec<OwnedFd>>,
    /// Whether more were asked for.
    asked: Cell<bool>,
    filled: Notify,
}

/// A network and the tasks of its listeners.
#[derive(Debug)]
struct Served {
    network: Rc<Network>,
    _listening: JoinSet<()>,
}

/// What all connections share.
pub(super) struct Common {
    /// The connection to guardd.
    pub(super) link: Rc<GuarddLink>,
    /// The map with the original destinations of connections.
    pub(super) origins: Origins,
    /// The state of TLS.
    pub(super) tls: Rc<Tls>,
    /// The limits on bodies that are read before they may pass.
    pub(super) room: Arc<Room>,
    /// Statements that were allowed and may be done once more, in a database.
    pub(super) across: Rc<AcrossConnections>,
    /// The lanes of the accounts.
    pub(super) lanes: Lanes,
    open: RefCell<HashMap<u32, usize>>,
}

impl Common {
    /// Without connections yet.
    #[must_use]
    pub(super) fn new(link: Rc<GuarddLink>, origins: Origins, tls: Rc<Tls>) -> Self {
        Self {
            link,
            origins,
            tls,
            room: Arc::default(),
            across: Rc::default(),
            lanes: Lanes::default(),
            open: RefCell::default(),
        }
    }

    /// A slot for a connection of an account, if there is one.
    pub(super) fn place(self: &Rc<Self>, account: u32) -> Option<ConnectionSlot> {
        let mut open = self.open.borrow_mut();
        let own = open.get(&account).copied().unwrap_or_default();
        let is_full = open.values().sum::<usize>() >= MAX_CONNECTIONS;
        if own >= MAX_OF_ACCOUNT || (is_full && own >= RESERVE) {
            return None;
        }
        open.insert(account, own + 1);
        Some(ConnectionSlot {
            common: Rc::clone(self),
            account,
        })
    }
}

/// All networks.
pub(super) struct Networks {
    common: Rc<Common>,
    served: RefCell<HashMap<NetworkId, Served>>,
}

impl Networks {
    /// No networks yet.
    #[must_use]
    pub(super) fn new(link: Rc<GuarddLink>, origins: Origins, tls: Rc<Tls>) -> Self {
        Self {
            common: Rc::new(Common::new(link, origins, tls)),
            served: RefCell::default(),
        }
    }

    /// Accepts connections at these listeners.
    ///
    /// # Errors
    ///
    /// If one of them is no listener.
    pub(super) fn listen(
        &self,
        id: NetworkId,
        cookie: NetnsCookie,
        listeners: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let network = Rc::new(Network::new(id, cookie));
        let mut listening = JoinSet::new();
        for listener in listeners {
            let listener = std::net::TcpListener::from(listener);
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let (common, network) = (Rc::clone(&self.common), Rc::clone(&network));
            listening.spawn_local(accept(common, network, listener));
        }
        let served = Served {
            network,
            _listening: listening,
        };
        self.served.borrow_mut().insert(id, served);
        Ok(())
    }

    /// Adds sockets to the pool of a network; the first `ipv4` of them are IPv4.
    pub(super) fn stock(&self, id: NetworkId, ipv4: usize, mut sockets: Vec<OwnedFd>) {
        let served = self.served.borrow();
        let network = served.get(&id).map(|served| &served.network);
        let Some(pool) = network.and_then(|network| network.pool.as_ref()) else {
            return;
        };
        let ipv6 = sockets.split_off(ipv4.min(sockets.len()));
        pool.ipv4.borrow_mut().extend(sockets);
        pool.ipv6.borrow_mut().extend(ipv6);
        pool.asked.set(false);
        pool.filled.notify_waiters();
    }

    /// Accepts no more connections there.
    pub(super) fn forget(&self, id: NetworkId) {
        self.served.borrow_mut().remove(&id);
    }
}

async fn accept(common: Rc<Common>, network: Rc<Network>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (common, network) = (Rc::clone(&common), Rc::clone(&network));
                spawn_local(async move {
                    connection::serve(&common, network, stream, peer).await;
                });
            }
            Err(error) if tcp::is_closed(&error) => {
                tracing::warn!(%error, network = network.id.0, "somebody has closed a listener there");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Counts a connection towards the limits of [`Common::place`], until it is dropped.
pub(super) struct ConnectionSlot {
    common: Rc<Common>,
    account: u32,
}

impl std::fmt::Debug for ConnectionSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionSlot")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.common.open.borrow_mut();
        if let Some(count) = open.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.account);
            }
        }
    }
}

impl Network {
    /// A network without sockets yet.
    #[must_use]
    pub(super) fn new(id: NetworkId, cookie: NetnsCookie) -> Self {
        Self {
            id,
            cookie,
            pool: (id != NetworkId(0)).then(Pool::default),
        }
    }

    /// Connects to the destination from this network.
    ///
    /// # Errors
    ///
    /// The system's; `TimedOut` if guardd gives no socket.
    pub(super) async fn connect(&self, link: &GuarddLink, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = match (&self.pool, to.ip()) {
            (Some(pool), ip) => TcpSocket::from_std_stream(self.take(pool, link, ip).await?.into()),
            (None, IpAddr::V4(_)) => TcpSocket::new_v4()?,
            (None, IpAddr::V6(_)) => TcpSocket::new_v6()?,
        };
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Takes a socket from the pool, when there is one.
    async fn take(&self, pool: &Pool, link: &GuarddLink, to: IpAddr) -> io::Result<OwnedFd> {
        let family = match to {
            IpAddr::V4(_) => &pool.ipv4,
            IpAddr::V6(_) => &pool.ipv6,
        };
        let taken = async {
            loop {
                let filled = pool.filled.notified();
                let taken = family.borrow_mut().pop();
                self.fill(pool, link);
                match taken {
                    Some(socket) => return socket,
                    None => filled.await,
                }
                if family.borrow().is_empty() {
                    tokio::time::sleep(BREATH).await;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, taken).await.map_err(|_| {
            let why = "guardd has given no socket in the network of the session";
            io::Error::new(io::ErrorKind::TimedOut, why)
        })
    }

    /// Asks guardd for more sockets if there are too few.
    fn fill(&self, pool: &Pool, link: &GuarddLink) {
        let lacking = |family: &RefCell<Vec<OwnedFd>>| match family.borrow().len() {
            enough if enough >= LOW => 0,
            few => FULL - few,
        };
        let (ipv4, ipv6) = (lacking(&pool.ipv4), lacking(&pool.ipv6));
        if ipv4 + ipv6 > 0 && !pool.asked.replace(true) {
            link.want_sockets(self.id, ipv4, ipv6);
        }
    }
}
