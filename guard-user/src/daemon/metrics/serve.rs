//! The HTTP server: one page, few connections, little time.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
    path::Path,
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
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
    net::{TcpListener, UnixListener},
    task::{JoinSet, spawn_blocking},
};

use super::{
    super::{auth::Place, shared::Shared},
    Format, Listen, Snapshot, render,
};
use crate::sys::{accounts, pidfd::Peer};

/// Whose members may read the metrics on a Unix socket, beside root.
const GROUP: &str = "guard";
/// Connections at once. Whoever comes then waits until one has ended.
const MAX_CONNECTIONS: usize = 16;
/// A request's head has to be there by then.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// All of it has to be over by then, the answer taken.
const WHOLE_TIME: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 64;
/// The least that hyper takes.
const MAX_HEAD: usize = 8192;
/// An address in use may be free later.
const AGAIN: Duration = Duration::from_secs(10);
/// After an error that `accept` cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Serves metrics for ever, where the settings say so. Where nothing can listen there, that is a warning, and tried
/// again: it is no reason to let go of the guard.
pub async fn serve(shared: Rc<Shared>) {
    let Some(listen) = shared.with(|state| state.config.metrics.listen.clone()) else {
        return std::future::pending().await;
    };
    loop {
        match Socket::open(&listen).await {
            Ok(socket) => {
                tracing::info!("metrics are served at {listen}");
                shared.with(|state| state.metrics_problem = None);
                accept(&shared, &socket).await;
            }
            Err(error) => shared.with(|state| {
                let problem = format!("metrics are not served: cannot listen at {listen}: {error}");
                if state.metrics_problem.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                }
                state.metrics_problem = Some(problem);
            }),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Takes the socket away again, where it is a file.
pub fn unlisten(listen: &Listen) {
    if let Listen::Unix(path) = listen
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
    async fn open(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Unix(path) => Ok(Self::Unix(UnixListener::from_std(bind(path)?)?)),
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
        }
    }
}

/// A socket at `path` for root and [`GROUP`], in place of the one that an earlier guardd has left there.
fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if path.exists() && !is_socket(path) {
        return Err(io::Error::other(
            "what is there is no socket, and is left alone",
        ));
    }
    // There under its name only when it is closed to all others.
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

async fn accept(shared: &Rc<Shared>, socket: &Socket) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection(shared, socket), if tasks.len() < MAX_CONNECTIONS => match accepted {
                Ok(task) => drop(tasks.spawn_local(task)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection for metrics ended in a way that it should not");
                }
            }
        }
    }
}

/// The next connection, as what is to be done with it.
async fn connection(
    shared: &Rc<Shared>,
    socket: &Socket,
) -> io::Result<Pin<Box<dyn Future<Output = ()>>>> {
    let shared = Rc::clone(shared);
    Ok(match socket {
        Socket::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let may = may_read(&shared, &stream);
            Box::pin(converse(shared, stream, may))
        }
        Socket::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            Box::pin(converse(shared, stream, true))
        }
    })
}

/// Whether a peer is outside of every session, as far as the kernel can tell.
fn may_read(shared: &Shared, stream: &tokio::net::UnixStream) -> bool {
    let place = Peer::of(stream)
        .ok()
        .and_then(|peer| shared.with(|state| state.caller(&peer)).ok());
    place.is_some_and(|caller| caller.place == Place::Outside)
}

/// One request and its answer.
async fn converse<S>(shared: Rc<Shared>, stream: S, may: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request| {
        let shared = Rc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, &request, may).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(WHOLE_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics was closed"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
    }
}

async fn answer(shared: &Shared, request: &Request<Incoming>, may: bool) -> Response<Full<Bytes>> {
    match (may, request.uri().path(), request.method()) {
        (false, ..) => short(
            StatusCode::FORBIDDEN,
            "no process under the guard may read this\n",
        ),
        (_, "/metrics", &Method::GET) => metrics(shared, request).await,
        (_, "/metrics", _) => {
            let mut refused = short(StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n");
            let headers = refused.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
            refused
        }
        _ => short(StatusCode::NOT_FOUND, "there is only /metrics\n"),
    }
}

async fn metrics(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let (counters, snapshot) = shared.with(|state| (state.counters.clone(), Snapshot::of(state)));
    // Thousands of sessions are a long text: nobody waits for it.
    let rendered = spawn_blocking(move || render(&counters, snapshot, format)).await;
    match rendered {
        Ok(Ok(text)) => {
            let mut page = Response::new(Full::from(text));
            let kind = HeaderValue::from_static(format.content_type());
            page.headers_mut().insert(CONTENT_TYPE, kind);
            page
        }
        _ => short(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written\n",
        ),
    }
}

fn short(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::from(text));
    *page.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    page.headers_mut().insert(CONTENT_TYPE, kind);
    page
}
