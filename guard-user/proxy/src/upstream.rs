//! The upstream connection of a client's connection: its own, in the same protocol.

use std::{
    cell::{Cell, RefCell},
    error::Error,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Response, header};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{Mutex, Notify, OnceCell},
    task::spawn_local,
};

use super::{
    body::Body,
    connecting::Connecting,
    connection::MAX_HEAD,
    greeted::{FirstWord, Greeted},
    link::GuarddLink,
    mended::Mended,
    networks::Network,
    sieve::{Limits, Phase, SentRequest, SentRequests, Sieve, SievedIo},
    stream::Stream,
    tls::Secure,
    wire::RedirectTarget,
};

/// How long an HTTP/2 server may take to send its SETTINGS.
const GREETING: Duration = Duration::from_secs(10);
/// Bytes that are read from the other end before they are passed on.
const READ: usize = 64 * 1024;

/// Why there is no connection to a destination.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unopened {
    /// The system refuses it.
    #[error("cannot connect to {to}: {error}")]
    Unreachable {
        /// The destination.
        to: SocketAddr,
        /// What the system says.
        error: Arc<io::Error>,
    },
    /// The destination is not the one the client asked for, or cannot prove it.
    #[error("{0}")]
    Untrusted(Arc<str>),
    /// It is in use, or was.
    #[error("an earlier attempt failed")]
    Used,
}

/// Runs hyper's tasks on this thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

/// The HTTP version of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 1.0 or 1.1.
    Http1,
    /// 2.
    Http2,
}

#[derive(Debug)]
enum Sender {
    Http1(Mutex<http1::SendRequest<Body>>),
    Http2(http2::SendRequest<Body>),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// There is no connection to the destination.
    #[error(transparent)]
    Unopened(#[from] Unopened),
    /// The destination does not begin as an HTTP/2 server, or has agreed on another protocol within TLS.
    #[error("the destination does not speak the client's version of HTTP")]
    Other,
    /// The destination has closed the connection, or broken the protocol.
    #[error("no answer from the destination: {}", whole(.0))]
    Broken(#[from] hyper::Error),
}

/// An error with its causes: hyper's own text is the last of them.
fn whole(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The result of connecting. The first that opens the connection takes the stream.
type Connected = Result<RefCell<Option<Rc<TcpStream>>>, Unopened>;

/// The result of opening. The first handshake takes the stream.
type Opened = Result<RefCell<Option<Stream>>, Unopened>;

/// A connection to the destination, made when the client's was accepted.
#[derive(Debug)]
pub(super) struct Upstream {
    to: SocketAddr,
    connecting: Connecting,
    connected: OnceCell<Connected>,
    /// TLS on it, if it is used.
    secure: std::cell::OnceCell<Rc<Secure>>,
    opened: OnceCell<Opened>,
    sender: OnceCell<Sender>,
    asks: SentRequests,
    /// The same queue for `mended`, which reads it at another time.
    to_mend: SentRequests,
    ended: Rc<UpstreamEnd>,
}

/// Tells that the upstream connection has ended, while that concerns the client.
#[derive(Debug)]
pub(super) struct UpstreamEnd {
    tell: Rc<Notify>,
    concerns: Cell<bool>,
}

impl UpstreamEnd {
    fn tell(&self) {
        if self.concerns.get() {
            self.tell.notify_one();
        }
    }
}

impl Upstream {
    /// Connects, and tells when the connection has ended. Nothing is sent before the first request.
    #[must_use]
    pub(super) fn begin(
        network: Rc<Network>,
        link: Rc<GuarddLink>,
        target: RedirectTarget,
        tell: Rc<Notify>,
    ) -> Self {
        let concerns = Cell::new(true);
        let to = SocketAddr::new(target.address, target.port);
        // Nothing is sent to another program that has taken the port of the wanted one.
        let connect = async move {
            let stream = network.connect(&link, to).await?;
            if link.has_reached(target).await {
                Ok(stream)
            } else {
                Err(io::Error::other("another program listens there by now"))
            }
        };
        Self {
            to,
            connecting: Connecting::begin(connect),
            connected: OnceCell::new(),
            secure: std::cell::OnceCell::new(),
            opened: OnceCell::new(),
            sender: OnceCell::new(),
            asks: SentRequests::default(),
            to_mend: SentRequests::default(),
            ended: Rc::new(UpstreamEnd { tell, concerns }),
        }
    }

    /// Another connection replaces it.
    pub(super) fn retire(&self) {
        self.ended.concerns.set(false);
    }

    /// Waits until the destination sends something before a request. Not to be awaited after a request was sent.
    pub(super) async fn speaks_first(&self) -> FirstWord {
        let stream = match self.connected().await {
            Ok(stream) => stream.borrow().clone(),
            Err(_) => None,
        };
        if let Some(stream) = stream
            && let Ok(word) = FirstWord::hear(&stream).await
        {
            return word;
        }
        std::future::pending().await
    }

    /// A waiter may stop, and another one goes on: nothing is lost.
    async fn connected(&self) -> &Connected {
        let connected = || async {
            let stream = self.connecting.ended().await;
            let stream = stream.map(|stream| RefCell::new(Some(Rc::new(stream))));
            stream.map_err(|error| Unopened::Unreachable {
                to: self.to,
                error: Arc::new(error),
            })
        };
        self.connected.get_or_init(connected).await
    }

    /// The connection itself, for other protocols than HTTP.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) async fn stream(&self) -> Result<TcpStream, Unopened> {
        let connected = self.connected().await.as_ref();
        let stream = connected.map_err(Clone::clone)?.take();
        stream.and_then(Rc::into_inner).ok_or(Unopened::Used)
    }

    /// Returns the connection, for the next user.
    pub(super) fn give_back(&self, stream: TcpStream) {
        if let Some(Ok(place)) = self.connected.get() {
            place.replace(Some(Rc::new(stream)));
        }
    }

    /// Uses TLS on it. Must be called before anything is sent.
    pub(super) fn secure(&self, secure: Rc<Secure>) {
        // The first call counts.
        let _ = self.secure.set(secure);
    }

    /// Waits until it is ready for requests.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub(super) async fn opened(&self) -> Result<(), Unopened> {
        self.open().await.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Why the destination is not trusted, once that is known.
    pub(super) fn distrusted(&self) -> Option<Arc<str>> {
        match self.opened.get() {
            Some(Err(Unopened::Untrusted(why))) => Some(Arc::clone(why)),
            _ => None,
        }
    }

    async fn open(&self) -> &Opened {
        let open = || async {
            let stream = self.stream().await?;
            let stream = match self.secure.get() {
                None => Stream::Plain(stream),
                Some(secure) => {
                    let dialled = Box::pin(secure.dial(stream)).await;
                    dialled.map_err(|why| Unopened::Untrusted(why.into()))?
                }
            };
            Ok(RefCell::new(Some(stream)))
        };
        self.opened.get_or_init(open).await
    }

    async fn sender(&self, version: Version) -> Result<&Sender, Unanswered> {
        let begin = || async {
            let opened = self.open().await.as_ref();
            let stream = opened.map_err(Clone::clone)?.take();
            let stream = stream.ok_or(Unopened::Used)?;
            // Boxed, since it happens once for each connection: it takes no room later.
            Box::pin(self.handshake(stream, version)).await
        };
        self.sender.get_or_try_init(begin).await
    }

    /// Begins an HTTP/2 connection if there is none. The first caller may stop waiting, and others do not.
    async fn begun(self: &Rc<Self>, version: Version) -> Result<(), Unanswered> {
        if version == Version::Http1 || self.sender.initialized() {
            return Ok(());
        }
        let this = Rc::clone(self);
        let begun = spawn_local(async move { this.sender(version).await.map(drop) });
        begun.await.unwrap_or(Err(Unanswered::Other))
    }

    async fn handshake(&self, stream: Stream, version: Version) -> Result<Sender, Unanswered> {
        let ended = Rc::clone(&self.ended);
        if !stream.may_speak(version) {
            return Err(Unanswered::Other);
        }
        Ok(match version {
            Version::Http1 => {
                let limits = Limits::of_answers();
                let max_fields = limits.fields;
                let sieve = Sieve::responses(limits, self.asks.clone());
                let mended = Mended::new(stream, self.to_mend.clone());
                let io = SievedIo::new(mended, sieve);
                let watch = io.watch();
                let (sender, connection) = http1::Builder::new()
                    .preserve_header_case(true)
                    .max_buf_size(READ)
                    .max_headers(max_fields)
                    .handshake(TokioIo::new(io))
                    .await?;
                spawn_local(async move {
                    let _ = connection.with_upgrades().await;
                    // It was upgraded, and has another owner.
                    if watch.phase() != Phase::Opaque {
                        ended.tell();
                    }
                });
                Sender::Http1(Mutex::new(sender))
            }
            Version::Http2 => {
                let (io, greeted) = Greeted::new(stream);
                let (sender, connection) = http2::Builder::new(LocalExecutor)
                    .max_header_list_size(MAX_HEAD)
                    .handshake(TokioIo::new(io))
                    .await?;
                spawn_local(async move {
                    let _ = connection.await;
                    ended.tell();
                });
                let greeted = tokio::time::timeout(GREETING, greeted).await;
                if !matches!(greeted, Ok(Ok(()))) {
                    return Err(Unanswered::Other);
                }
                Sender::Http2(sender)
            }
        })
    }

    /// Sends a request, and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) async fn send(
        self: &Rc<Self>,
        request: Request<Body>,
        version: Version,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.begun(version).await?;
        Ok(match self.sender(version).await? {
            Sender::Http1(sender) => {
                let answer = {
                    let mut sender = sender.lock().await;
                    sender.ready().await?;
                    let asked = SentRequest {
                        head: request.method() == Method::HEAD,
                        upgrade: request.headers().contains_key(header::UPGRADE),
                    };
                    self.asks.push(asked);
                    self.to_mend.push(asked);
                    sender.send_request(request)
                };
                answer.await?
            }
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }
}
