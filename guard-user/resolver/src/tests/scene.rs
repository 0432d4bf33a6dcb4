//! A resolver on real sockets of this machine's loopback, a server behind it, and maps of the test's own.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    time::Duration,
};

use guard_common::{
    Address, BootTime, NameId, Named, NamedKey, NetnsCookie, Origin, OriginKey, PolicyId,
    QuestionHash, QueueKey, Reason, SessionId,
};
use guard_proto::names::{FromResolver, Names, NetworkId, Pattern, ToResolver};
use hickory_proto::op::Message;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::mpsc,
    task::{LocalSet, spawn_local},
};

use super::super::{
    common::{Common, TIMES, Times},
    link::Link,
    maps::Maps,
    networks::Networks,
    process::obey,
};

pub(super) const COOKIE: NetnsCookie = NetnsCookie(77);
/// The session of most tests, its process, and its only policy.
pub(super) const SESSION: SessionId = SessionId(7);
pub(super) const TGID: u32 = 4711;
pub(super) const SLOT: PolicyId = PolicyId(3);

/// In the place of the kernel's maps.
#[derive(Debug, Default)]
pub(super) struct TestMaps {
    origins: RefCell<HashMap<OriginKey, Origin>>,
    questions: RefCell<HashMap<OriginKey, Origin>>,
    pub(super) named: RefCell<HashMap<NamedKey, Named>>,
    pub(super) is_full: Cell<bool>,
    /// Of which sockets all was read, and when.
    pub(super) drained: RefCell<HashMap<QueueKey, BootTime>>,
    /// A client that must not have its answer yet when something is noted.
    waiting: RefCell<Option<std::net::UdpSocket>>,
}

impl Maps for Rc<TestMaps> {
    fn question(&self, key: &OriginKey) -> io::Result<Option<Origin>> {
        Ok(self.questions.borrow().get(key).copied())
    }

    fn take_origin(&self, key: &OriginKey) -> io::Result<Option<Origin>> {
        Ok(self.origins.borrow_mut().remove(key))
    }

    fn named(&self, key: &NamedKey) -> io::Result<Option<Named>> {
        Ok(self.named.borrow().get(key).copied())
    }

    fn put_named(&self, key: &NamedKey, named: &Named) -> io::Result<()> {
        if self.is_full.get() {
            return Err(io::Error::from_raw_os_error(7));
        }
        if let Some(client) = &*self.waiting.borrow() {
            let early = client.peek(&mut [0; 12]).unwrap_err();
            assert_eq!(early.kind(), io::ErrorKind::WouldBlock, "answered before");
        }
        self.named.borrow_mut().insert(*key, *named);
        Ok(())
    }

    fn remove_named(&self, keys: &[NamedKey]) -> io::Result<()> {
        self.named.borrow_mut().retain(|key, _| !keys.contains(key));
        Ok(())
    }

    fn drained(&self, queue: &QueueKey, at: BootTime) -> io::Result<()> {
        self.drained.borrow_mut().insert(*queue, at);
        Ok(())
    }
}

/// What a server sends for a question, in so many messages; `is_stream`: by TCP.
pub(super) type Serving = dyn Fn(Message, bool) -> Vec<Vec<u8>>;

/// Everything together.
pub(super) struct Scene {
    pub(super) common: Rc<Common>,
    pub(super) networks: Networks,
    pub(super) maps: Rc<TestMaps>,
    /// What guardd was told.
    pub(super) told: mpsc::Receiver<FromResolver>,
    /// What the server was asked.
    pub(super) asked: Rc<RefCell<Vec<Vec<u8>>>>,
    /// From where, by UDP.
    pub(super) peers: Rc<RefCell<Vec<SocketAddr>>>,
    /// Of IPv4 and of IPv6, as the resolver's own ends.
    pub(super) servers: [SocketAddr; 2],
    resolvers: [SocketAddr; 2],
    /// Of IPv4, which the resolver accepts from.
    listener: std::net::TcpListener,
}

/// Runs a test in a scene with a server, of which the session is `SESSION` under one policy.
pub(super) fn run(
    names: Names,
    patterns: &[(&str, bool)],
    serving: impl Fn(Message, bool) -> Vec<Vec<u8>> + 'static,
    test: impl AsyncFnOnce(Scene),
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let scene = Scene::new(Rc::new(serving)).await;
        scene.say(policy(SLOT, names, patterns));
        scene.say(session(SESSION, 1, &[SLOT]));
        scene.say(ToResolver::Servers {
            addresses: scene.servers.iter().map(SocketAddr::ip).collect(),
            search: vec!["corp.example".to_owned()],
            links: Vec::new(),
        });
        test(scene).await;
    });
}

pub(super) fn policy(slot: PolicyId, names: Names, patterns: &[(&str, bool)]) -> ToResolver {
    let patterns = patterns.iter().map(|(pattern, denied)| Pattern {
        pattern: (*pattern).to_owned(),
        denied: *denied,
    });
    ToResolver::Policy {
        slot: slot.0,
        names,
        patterns: patterns.collect(),
        silent: false,
        without_ech: false,
    }
}

pub(super) fn session(session: SessionId, account: u32, policies: &[PolicyId]) -> ToResolver {
    ToResolver::Session {
        session: session.0,
        account,
        policies: policies.iter().map(|slot| slot.0).collect(),
        opened: Vec::new(),
    }
}

impl Scene {
    async fn new(serving: Rc<Serving>) -> Self {
        let link = Rc::new(Link::new());
        let told = link.take_unsent();
        let maps: Rc<TestMaps> = Rc::default();
        let mut common = Common::new(link, Box::new(Rc::clone(&maps)), false);
        // Long enough for what happens, and short where something does not.
        common.times = Times {
            server: Duration::from_millis(500),
            person: Duration::from_millis(500),
            ..TIMES
        };
        let common = Rc::new(common);
        let networks = Networks::new(Rc::clone(&common));
        let (udp4, tcp4) = both("127.0.0.1").await;
        let (udp6, tcp6) = both("::1").await;
        let resolvers = [udp4.local_addr().unwrap(), udp6.local_addr().unwrap()];
        let tcp4 = tcp4.into_std().unwrap();
        let listener = tcp4.try_clone().unwrap();
        let sockets: Vec<OwnedFd> = vec![
            udp4.into_std().unwrap().into(),
            tcp4.into(),
            udp6.into_std().unwrap().into(),
            tcp6.into_std().unwrap().into(),
        ];
        let listen = ToResolver::Listen {
            network: NetworkId(0),
            cookie: COOKIE.0,
            ipv6: true,
            is_roots: true,
        };
        obey(listen, sockets, &common, &networks).unwrap();
        let (asked, peers) = (Rc::default(), Rc::default());
        let mut servers = [resolvers[0]; 2];
        for (server, address) in servers.iter_mut().zip(["127.0.0.1", "::1"]) {
            let (udp, tcp) = both(address).await;
            *server = udp.local_addr().unwrap();
            let heard = (Rc::clone(&asked), Rc::clone(&peers));
            spawn_local(serve_datagrams(udp, Rc::clone(&serving), heard));
            spawn_local(serve_streams(tcp, Rc::clone(&serving), Rc::clone(&asked)));
        }
        Self {
            common,
            networks,
            maps,
            told,
            asked,
            peers,
            servers,
            resolvers,
            listener,
        }
    }

    /// As guardd.
    pub(super) fn say(&self, said: ToResolver) {
        obey(said, Vec::new(), &self.common, &self.networks).unwrap();
    }

    /// A program of a session, whose datagrams were going to the server.
    pub(super) async fn client(&self, session: SessionId) -> UdpSocket {
        self.client_of(session, 0).await
    }

    /// The same over IPv6.
    pub(super) async fn client6(&self, session: SessionId) -> UdpSocket {
        self.client_of(session, 1).await
    }

    async fn client_of(&self, session: SessionId, family: usize) -> UdpSocket {
        let own = SocketAddr::new(self.resolvers[family].ip(), 0);
        let socket = UdpSocket::bind(own).await.unwrap();
        socket.connect(self.resolvers[family]).await.unwrap();
        let own = socket.local_addr().unwrap();
        let key = OriginKey::between(COOKIE, own, self.resolvers[family]);
        let origin = self.origin(session, family);
        self.maps.questions.borrow_mut().insert(key, origin);
        socket
    }

    /// From now on, a program's port is another session's.
    pub(super) fn now_is_of_another(&self, client: &UdpSocket, session: SessionId) {
        let own = client.local_addr().unwrap();
        let key = OriginKey::between(COOKIE, own, self.resolvers[0]);
        let server = self.servers[0];
        let to = Address::from(server.ip());
        let origin = Origin::new(
            Reason::QUESTION,
            guard_sys::clock::now(),
            session,
            TGID,
            to,
            server.port(),
        );
        self.maps.questions.borrow_mut().insert(key, origin);
    }

    /// A program has sent a question to several servers at once.
    pub(super) fn asks_at_once(&self, client: &UdpSocket, question: &[u8], servers: &[SocketAddr]) {
        let own = client.local_addr().unwrap();
        let key = OriginKey::between(COOKIE, own, self.resolvers[0]);
        let hash = QuestionHash::of(question);
        let mut questions = self.maps.questions.borrow_mut();
        for (nth, server) in (0..).zip(servers) {
            let to = Address::from(server.ip());
            let at = guard_sys::clock::now();
            let mut origin = Origin::new(Reason::QUESTION, at, SESSION, TGID, to, server.port());
            (origin.hash, origin.several) = (hash, 1);
            questions.insert(key.question(hash, nth), origin);
            origin.at = BootTime(1);
            questions.insert(key, origin);
        }
    }

    /// A connection of a program's, which was going to the server.
    pub(super) async fn stream(&self, session: SessionId) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        self.connect(socket, session, 0).await
    }

    /// The same of a program that takes no answers: a long one does not fit into what the kernel keeps of them.
    pub(super) async fn stalled_stream(&self, session: SessionId) -> TcpStream {
        // Both take the least there is. What is accepted has the listener's.
        set_socket_send_buffer_size(&self.listener, 1).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        self.connect(socket, session, 0).await
    }

    /// The same over IPv6.
    pub(super) async fn stream6(&self, session: SessionId) -> TcpStream {
        let socket = TcpSocket::new_v6().unwrap();
        socket.bind("[::1]:0".parse().unwrap()).unwrap();
        self.connect(socket, session, 1).await
    }

    async fn connect(&self, socket: TcpSocket, session: SessionId, family: usize) -> TcpStream {
        let own = socket.local_addr().unwrap();
        let key = OriginKey::between(COOKIE, own, self.resolvers[family]);
        let origin = self.origin(session, family);
        self.maps.origins.borrow_mut().insert(key, origin);
        socket.connect(self.resolvers[family]).await.unwrap()
    }

    fn origin(&self, session: SessionId, family: usize) -> Origin {
        let server = self.servers[family];
        let (to, port) = (Address::from(server.ip()), server.port());
        Origin::new(Reason::QUESTION, BootTime(1), session, TGID, to, port)
    }

    /// A program that nothing was redirected of.
    pub(super) async fn stranger(&self) -> (UdpSocket, TcpStream) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.resolvers[0]).await.unwrap();
        (socket, TcpStream::connect(self.resolvers[0]).await.unwrap())
    }

    /// From now on nothing may be noted once this program has its answer.
    pub(super) fn learns_first(&self, client: UdpSocket) -> UdpSocket {
        let client = client.into_std().unwrap();
        *self.maps.waiting.borrow_mut() = Some(client.try_clone().unwrap());
        UdpSocket::from_std(client).unwrap()
    }

    /// The patterns that the kernel has of an address.
    pub(super) fn patterns(&self, slot: PolicyId, address: &str) -> Vec<NameId> {
        let address = address.parse::<std::net::IpAddr>().unwrap().into();
        let key = NamedKey::new(SESSION, slot, address);
        let named = self.maps.named.borrow().get(&key).copied();
        let patterns = named.into_iter().flat_map(|named| named.patterns);
        let mut patterns: Vec<_> = patterns
            .map(|learned| learned.pattern)
            .filter(|pattern| *pattern != NameId(0))
            .collect();
        patterns.sort();
        patterns
    }
}

/// Waits until the kernel looks at the clock when a datagram arrives: it begins to some time after it is told to, and takes the
/// time at which it is read for it until then.
pub(super) async fn stamps() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    guard_sys::arrival::tell(&socket).unwrap();
    let at = socket.local_addr().unwrap();
    loop {
        socket.send_to(b"x", at).await.unwrap();
        let sent = guard_sys::clock::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let came = guard_sys::arrival::receive(&socket, &mut [0; 8]).unwrap();
        if came.arrived.0 < sent.0 + 1_000_000 {
            return;
        }
    }
}

/// A UDP socket and a TCP listener at one port.
async fn both(address: &str) -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind((address, 0)).await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        if let Ok(udp) = UdpSocket::bind((address, port)).await {
            return (udp, tcp);
        }
    }
}

/// What came, and from where.
type Heard = (Rc<RefCell<Vec<Vec<u8>>>>, Rc<RefCell<Vec<SocketAddr>>>);

async fn serve_datagrams(socket: UdpSocket, serving: Rc<Serving>, (asked, peers): Heard) {
    let mut buffer = [0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let message = buffer[..length].to_vec();
        asked.borrow_mut().push(message.clone());
        peers.borrow_mut().push(peer);
        for answer in serving(Message::from_vec(&message).unwrap(), false) {
            socket.send_to(&answer, peer).await.unwrap();
        }
    }
}

async fn serve_streams(
    listener: TcpListener,
    serving: Rc<Serving>,
    asked: Rc<RefCell<Vec<Vec<u8>>>>,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let message = framed(&mut stream).await;
        asked.borrow_mut().push(message.clone());
        for answer in serving(Message::from_vec(&message).unwrap(), true) {
            send_framed(&mut stream, &answer).await;
        }
    }
}

/// The next message of a connection.
pub(super) async fn framed(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u16().await.unwrap();
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.unwrap();
    message
}

pub(super) async fn send_framed(stream: &mut TcpStream, message: &[u8]) {
    let length = message.len() as u16;
    let framed = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&framed).await.unwrap();
}

/// Sends a question, and waits for its answer.
pub(super) async fn ask(client: &UdpSocket, message: &[u8]) -> Message {
    client.send(message).await.unwrap();
    hear(client).await
}

/// Waits for an answer.
pub(super) async fn hear(client: &UdpSocket) -> Message {
    let mut buffer = [0; 4096];
    let length = client.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}
