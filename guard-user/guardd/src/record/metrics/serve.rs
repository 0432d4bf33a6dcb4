//! The HTTP server of the metrics: one page, few connections, short timeouts.

use std::{
    cell::RefCell,
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
    path::Path,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use guard_sys::{accounts, pidfd::Peer, sock_owner, threads};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    task::JoinSet,
};

use super::{
    MetricsFormat, MetricsListen, Snapshot,
    crowd::{AccountId, Crowd, Seat},
    render,
};
use crate::{
    control::{auth::CallerPlace, fresh::Fresh},
    shared::Shared,
};

/// The group whose members may read the metrics on a Unix socket, beside root.
const GROUP: &str = "guard";
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// How long a request and its answer may take.
const WHOLE_TIME: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 64;
/// The smallest limit that hyper accepts.
const MAX_HEAD: usize = 8192;
/// Interval before an address in use is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Pause after an error that `accept` cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);
/// Pause after a connection was closed for another, so that clients that reconnect cost little.
const PACE: Duration = Duration::from_millis(1);
/// The shortest interval between two pages. Each client gets one that was made after its request.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves metrics for ever, if the settings say so. A failure to listen is a warning, and tried again: it does not stop the
/// guard.
pub(crate) async fn serve(shared: Rc<Shared>) {
    let Some(listen) = shared.with(|state| state.config.metrics.listen.clone()) else {
        return std::future::pending().await;
    };
    let server = Rc::new(Server::new(Rc::clone(&shared)));
    loop {
        match Socket::open(&listen).await {
            Ok(socket) => {
                tracing::info!("metrics are served at {listen}");
                shared.with(|state| state.recorder.note_metrics(None));
                accept(&server, &socket).await;
            }
            Err(error) => shared.with(|state| {
                let problem = format!("metrics are not served: cannot listen at {listen}: {error}");
                if state.recorder.note_metrics(Some(problem.clone())) {
                    tracing::error!("{problem}");
                }
            }),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Removes the socket, if it is a file.
pub(crate) fn unlisten(listen: &MetricsListen) {
    if let MetricsListen::Unix(path) = listen
        && is_socket(path)
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(%error, path = %path.display(), "cannot be removed");
    }
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Socket {
    async fn open(listen: &MetricsListen) -> io::Result<Self> {
        match listen {
            MetricsListen::Unix(path) => Ok(Self::Unix(UnixListener::from_std(bind(path)?)?)),
            MetricsListen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
        }
    }
}

/// A socket at `path` for root and [`GROUP`], in place of an earlier guardd's.
fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if path.exists() && !is_socket(path) {
        return Err(io::Error::other(
            "what is there is no socket, and is left alone",
        ));
    }
    // It gets its name only when it is closed to all others.
    let new = path.with_extension("new");
    if is_socket(&new) {
        fs::remove_file(&new)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(&new)?;
    // As a service guardd is in the group already, and may not change it.
    if let Some(group) = accounts::group(GROUP)?
        && fs::metadata(&new)?.gid() != group
    {
        chown(&new, None, Some(group))?;
    }
    fs::set_permissions(&new, fs::Permissions::from_mode(0o660))?;
    fs::rename(&new, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

/// A page of each format; none if it cannot be written.
type Page = Fresh<Option<Bytes>>;

struct Server {
    shared: Rc<Shared>,
    crowd: Rc<RefCell<Crowd>>,
    plain: Page,
    open_metrics: Page,
}

impl Server {
    fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            crowd: Rc::default(),
            plain: Fresh::new(PAUSE),
            open_metrics: Fresh::new(PAUSE),
        }
    }
}

/// An accepted connection.
struct Scraper {
    stream: Box<dyn Stream>,
    account: AccountId,
    may_read: bool,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

async fn accept(server: &Rc<Server>, socket: &Socket) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = caller(&server.shared, socket) => match accepted {
                Ok(caller) => {
                    let (seat, made_room) = Seat::take(&server.crowd, caller.account);
                    let number = seat.number();
                    let task = tasks.spawn_local(converse(Rc::clone(server), caller, seat));
                    server.crowd.borrow_mut().is_served_by(number, task);
                    if made_room {
                        tokio::time::sleep(PACE).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(ended) = tasks.join_next() => match ended {
                Err(error) if !error.is_cancelled() => {
                    tracing::error!(%error, "a connection for metrics ended in a way that it should not");
                }
                _ => {}
            }
        }
    }
}

/// Accepts the next connection.
async fn caller(shared: &Shared, socket: &Socket) -> io::Result<Scraper> {
    Ok(match socket {
        Socket::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let peer = shared.with(|state| state.machine.peer(&stream)).ok();
            Scraper {
                account: peer.as_ref().map(Peer::uid),
                may_read: peer.is_some_and(|peer| may_read(shared, &peer)),
                stream: Box::new(stream),
            }
        }
        Socket::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            Scraper {
                account: owner(&stream),
                may_read: true,
                stream: Box::new(stream),
            }
        }
    })
}

/// The user at the other end.
fn owner(stream: &TcpStream) -> AccountId {
    let (Ok(peer), Ok(own)) = (stream.peer_addr(), stream.local_addr()) else {
        return None;
    };
    let owner = sock_owner::owner_of(peer, own);
    owner.unwrap_or_else(|error| {
        tracing::debug!(%error, "whose a connection for metrics is cannot be told");
        None
    })
}

/// Whether a peer is outside of every session, as far as the kernel can tell.
fn may_read(shared: &Shared, peer: &Peer) -> bool {
    let caller = shared.with(|state| state.caller(peer));
    caller.is_ok_and(|caller| caller.place == CallerPlace::Outside)
}

/// One request and its answer.
async fn converse(server: Rc<Server>, caller: Scraper, seat: Seat) {
    let (server, seat, may_read) = (&server, &seat, caller.may_read);
    let service = service_fn(|request| async move {
        seat.asked();
        Ok::<_, Infallible>(answer(server, &request, may_read).await)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(caller.stream), service);
    match tokio::time::timeout(WHOLE_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics was closed"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
    }
}

async fn answer(server: &Server, request: &Request<Incoming>, may: bool) -> Response<Full<Bytes>> {
    match (may, request.uri().path(), request.method()) {
        (false, ..) => short(
            StatusCode::FORBIDDEN,
            "no process under the guard may read this\n",
        ),
        (_, "/metrics", &Method::GET) => metrics(server, request).await,
        (_, "/metrics", _) => {
            let mut refused = short(StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n");
            let headers = refused.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
            refused
        }
        _ => short(StatusCode::NOT_FOUND, "there is only /metrics\n"),
    }
}

async fn metrics(server: &Server, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    let format = MetricsFormat::accepted(accept.unwrap_or_default());
    let page = match format {
        MetricsFormat::Plain => &server.plain,
        MetricsFormat::OpenMetrics => &server.open_metrics,
    };
    let Some(text) = page.get(written(&server.shared, format)).await else {
        return short(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written\n",
        );
    };
    let mut page = Response::new(Full::from(text));
    let kind = HeaderValue::from_static(format.content_type());
    page.headers_mut().insert(CONTENT_TYPE, kind);
    page
}

async fn written(shared: &Shared, format: MetricsFormat) -> Option<Bytes> {
    let (counters, snapshot) =
        shared.with(|state| (state.recorder.counters().clone(), Snapshot::of(state)));
    // Thousands of sessions are a long text: nothing else waits for it.
    let rendered = threads::run(move || render(&counters, snapshot, format)).await;
    rendered.ok()?.ok().map(Bytes::from)
}

fn short(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::from(text));
    *page.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    page.headers_mut().insert(CONTENT_TYPE, kind);
    page
}
