//! A client's connection, from its original destination to its end: which protocol the client speaks, TLS, and the sieve.

use std::{io, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, time::Duration};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    answers::Problem,
    client::{Client, ConnectionContext, Redirected},
    greeted::FirstWord,
    link::GuarddLink,
    networks::{Common, ConnectionSlot, Network},
    origin::{self, ConnectionOrigin},
    postgres,
    process::reset,
    shared_io::SharedIo,
    shown,
    sieve::{Limits, Malformed, Phase, Protocol, Sieve, SievedIo, Watch},
    stream::Stream,
    tls::{self, Greeting, HANDSHAKE, Speaks, Tls},
    upstream::{LocalExecutor, Upstream, Version},
    wire::Entry,
};

/// How long a client may send nothing before it is assumed not to speak HTTP.
const SILENCE: Duration = Duration::from_secs(60);
const SILENT: &str = "the client says nothing";
/// Interval of checks on a head that stays incomplete, and below how many there are.
const STALL_CHECK: Duration = Duration::from_secs(5);
const STALL_CHECKS: u32 = 6;
/// How long a refused client may go on sending, and still get the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Requests of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 128;
/// Bytes of one of their bodies in flight, and below of all: a body that waits does not block others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an HTTP/2 head at most.
pub(super) const MAX_HEAD: u32 = 64 * 1024;
/// Bytes that hyper buffers at most, of a head that has passed the sieve and of what follows it.
const MAX_BUFFER: usize = 128 * 1024;

/// Serves a connection that `networks.rs` has accepted until its end, in the lane of its account.
pub(super) async fn serve(
    common: &Rc<Common>,
    network: Rc<Network>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    match origin::of(&common.origins, network.cookie, &stream, peer) {
        Ok(Some(origin)) => {
            let Some(account) = account_of(&common.link, &origin).await else {
                return reset(&stream);
            };
            let context = ConnectionContext::new(
                Rc::clone(&common.link),
                Redirected {
                    target: origin.target,
                    tgid: origin.tgid,
                },
                network,
                Arc::clone(&common.room),
                Rc::clone(&common.across),
            );
            let common = Rc::clone(common);
            let lanes = common.lanes.clone();
            lanes.spawn(account, async move {
                let place = |account| common.place(account).map(Some).ok_or(LimitReached);
                serve_to(context, Rc::clone(&common.tls), stream, place).await;
            });
        }
        // It was not redirected: the proxy serves no direct connections.
        Ok(None) => reset(&stream),
        Err(error) => {
            tracing::warn!(%error, "cannot tell where a connection wanted to go");
            reset(&stream);
        }
    }
}

/// The account of a connection; none: nothing passes. Of the terms nothing else is taken
/// here: the lane's turn may come late, and what holds then is for [`serve_to`] to ask.
async fn account_of(link: &GuarddLink, origin: &ConnectionOrigin) -> Option<u32> {
    // Those that begin do not wait where their session connects too fast: nothing counts them yet.
    let terms = link.terms_now(origin.target).await;
    terms.ok().flatten().map(|terms| terms.account)
}

/// The account has reached its limit of connections.
pub(super) struct LimitReached;

/// As [`serve`], in the lane of its account. Nothing is connected to unless its terms still let something pass.
pub(super) async fn serve_to(
    mut context: ConnectionContext,
    tls: Rc<Tls>,
    stream: TcpStream,
    place: impl FnOnce(u32) -> Result<Option<ConnectionSlot>, LimitReached>,
) {
    let Some(terms) = context.link.terms(context.target).await else {
        return reset(&stream);
    };
    let Ok(place) = place(terms.account) else {
        return reset(&stream);
    };
    // Without it the connection is slower, but works.
    let _ = stream.set_nodelay(true);
    let upstream = context.connect();
    if terms.by_sni && terms.is_open() {
        return Box::pin(shown::serve(
            context,
            terms.account,
            stream,
            upstream,
            place,
        ))
        .await;
    }
    match postgres::is_spoken(&terms) {
        Some(false) => {}
        Some(true) => {
            return Box::pin(postgres::serve(context, tls, stream, upstream, place)).await;
        }
        None => {
            context.log(Entry::refused(
                "its policies disagree about whether PostgreSQL is spoken there",
            ));
            return reset(&stream);
        }
    }
    let opened = match begun(&context, &stream, &upstream).await {
        // Boxed, so that rare or short stages take no room in other connections.
        Some(BegunConnection::Client(HANDSHAKE)) => {
            Box::pin(secured(&mut context, tls, stream, &upstream)).await
        }
        Some(BegunConnection::Client(_)) => Ok(Some(Stream::Plain(stream))),
        Some(BegunConnection::Http2) => {
            return Box::pin(greet(context, Stream::Plain(stream), upstream, place)).await;
        }
        None => return,
    };
    match opened {
        Ok(Some(stream)) => speak(context, stream, upstream, place).await,
        Ok(None) => {}
        Err(why) => context.log(Entry::refused(&why)),
    }
}

/// The beginning of a connection.
enum BegunConnection {
    /// The client's first byte.
    Client(u8),
    /// The destination's SETTINGS: it speaks HTTP/2, and the client may wait for them.
    Http2,
}

/// Waits for the first byte of either end; `None` if none is worth waiting for. The client's counts first.
async fn begun(
    context: &ConnectionContext,
    stream: &TcpStream,
    upstream: &Upstream,
) -> Option<BegunConnection> {
    let mut first = [0];
    let why = tokio::select! {
        biased;
        begun = tokio::time::timeout(SILENCE, stream.peek(&mut first)) => match begun {
            Ok(Ok(1)) => return Some(BegunConnection::Client(first[0])),
            Ok(_) => return None,
            Err(_) => SILENT,
        },
        word = upstream.speaks_first() => match word {
            FirstWord::Settings => return Some(BegunConnection::Http2),
            FirstWord::Other => "the destination speaks first, which no HTTP server does",
        },
    };
    context.log(Entry::refused(why));
    None
}

/// Speaks HTTP/2 with a client that has not sent anything yet, as the destination does.
async fn greet(
    context: ConnectionContext,
    stream: Stream,
    upstream: Rc<Upstream>,
    place: Option<ConnectionSlot>,
) {
    let io = SievedIo::new(stream, Sieve::requests(Limits::default()).only_http2());
    let watch = io.watch();
    let client = Rc::new(Client::new(context, upstream, io.watch(), place));
    tokio::select! {
        () = http2(Rc::clone(&client), io) => {}
        () = client.hole_closed() => {}
        () = silent(&watch) => client.log(Entry::refused(SILENT)),
    }
    if let Some(malformed) = watch.refusal() {
        client.log(Entry::refused(&malformed.to_string()));
    }
}

/// Waits until a client should have begun HTTP/2, and has not.
async fn silent(watch: &Watch) {
    tokio::time::sleep(SILENCE).await;
    if watch.phase() == Phase::Opaque {
        std::future::pending().await
    }
}

/// Speaks TLS on both sides. If the destination cannot be trusted, the client's requests are answered with that. None: the connection ends,
/// as nothing passes there any more, or its session shows names too fast.
async fn secured(
    context: &mut ConnectionContext,
    tls: Rc<Tls>,
    stream: TcpStream,
    upstream: &Upstream,
) -> Result<Option<Stream>, String> {
    let greeting = Greeting::hear(tls, stream, context.target.address, Speaks::Http).await?;
    context.secure = Some(Rc::clone(&greeting.secure));
    // The destination hears no name that it may not. The client's requests are answered with that.
    if greeting.secure.hold(context).await.is_err() {
        return Ok(None);
    }
    upstream.secure(Rc::clone(&greeting.secure));
    if upstream.opened().await.is_err() {
        greeting.secure.settle();
    }
    greeting.answer().await.map(Some)
}

/// Speaks HTTP with a client.
async fn speak(
    context: ConnectionContext,
    stream: Stream,
    upstream: Rc<Upstream>,
    place: Option<ConnectionSlot>,
) {
    let agreed = context.secure.as_ref().map(|secure| secure.version());
    let mut io = SievedIo::new(
        stream,
        Sieve::requests(Limits::default()).encoding_queries(),
    );
    let client = Rc::new(Client::new(context, upstream, io.watch(), place));
    match (spoken(&client, &mut io).await, agreed) {
        (Ok(Some(Protocol::Http1)), None | Some(Version::Http1)) => tokio::select! {
            () = http1(Rc::clone(&client), io) => {}
            () = client.hole_closed() => {}
        },
        (Ok(Some(Protocol::Http2)), None | Some(Version::Http2)) => {
            io.become_opaque();
            tokio::select! {
                () = http2(Rc::clone(&client), io) => {}
                () = client.hole_closed() => {}
            }
        }
        (Ok(Some(_)), _) => {
            let why = "the client speaks another version of HTTP than it has agreed to";
            client.log(Entry::refused(why));
        }
        (Ok(None), _) => {}
        (Err(error), _) => match Malformed::behind(&error) {
            Some(malformed) => refuse(&client, io, malformed).await,
            None => gone(&client),
        },
    }
}

/// The HTTP version that the client speaks; `None` if it has gone, or has sent nothing for too long.
async fn spoken(client: &Client, io: &mut SievedIo<Stream>) -> io::Result<Option<Protocol>> {
    match tokio::time::timeout(SILENCE, io.protocol()).await {
        Ok(Ok(None)) => {
            gone(client);
            Ok(None)
        }
        Ok(spoken) => spoken,
        Err(_) => {
            client.log(Entry::refused(SILENT));
            Ok(None)
        }
    }
}

/// Records that a client has left before its first request. Clients that pin the destination's key do so when the handshake has
/// succeeded.
fn gone(client: &Client) {
    if client.context.secure.is_some() {
        client.log(Entry::refused(tls::GONE));
    }
}

async fn http1(client: Rc<Client>, io: SievedIo<Stream>) {
    let watch = io.watch();
    let shared = SharedIo::new(io);
    client.watch_departure(shared.departure());
    let answering = Rc::clone(&client);
    let service = service_fn(move |request| Rc::clone(&answering).answer(request, Version::Http1));
    {
        let serving = http1::Builder::new()
            .auto_date_header(false)
            .preserve_header_case(true)
            // Else it reads ahead, and a refusal of the next request ends the answer to this one.
            .half_close(true)
            // The sieve holds back incomplete heads, and its phase tells of them.
            .header_read_timeout(None)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(shared.clone()), service)
            .with_upgrades();
        let mut serving = pin!(serving);
        let ended = tokio::select! {
            // hyper's errors are of no interest.
            _ = &mut serving => true,
            () = stalled(&client, &watch) => true,
            () = client.upstream_ended() => false,
        };
        if !ended {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
    match (watch.refusal(), shared.back()) {
        (Some(malformed), Some(io)) => refuse(&client, io, malformed).await,
        (None, Some(mut io)) => linger(io.get_mut()).await,
        (_, None) => {}
    }
}

/// Waits until the client has begun a head and not completed it for long, though no answer is under way.
async fn stalled(client: &Client, watch: &Watch) {
    let mut seen = 0;
    while seen < STALL_CHECKS {
        tokio::time::sleep(STALL_CHECK).await;
        seen = match watch.phase() {
            Phase::Head if !client.is_busy() => seen + 1,
            _ => 0,
        };
    }
}

async fn http2(client: Rc<Client>, io: SievedIo<Stream>) {
    let answering = Rc::clone(&client);
    let service = service_fn(move |request| Rc::clone(&answering).answer(request, Version::Http2));
    let serving = http2::Builder::new(LocalExecutor)
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service);
    let mut serving = pin!(serving);
    tokio::select! {
        _ = &mut serving => return,
        () = client.upstream_ended() => {}
    }
    serving.as_mut().graceful_shutdown();
    // hyper's errors are of no interest.
    let _ = serving.await;
}

/// Records what was not understood, and answers it if no other answer is under way.
async fn refuse(client: &Client, mut io: SievedIo<Stream>, malformed: Malformed) {
    client.log(Entry {
        status: Some(malformed.status().as_u16()),
        // As by HTTP/2: nobody can allow a tunnel.
        denied: malformed == Malformed::Connect,
        ..Entry::refused(&malformed.to_string())
    });
    if client.is_busy() || matches!(malformed, Malformed::NotHttp(_) | Malformed::Truncated) {
        return;
    }
    let answer = Problem::unreadable(malformed.status(), malformed.to_string()).as_http1();
    let stream = io.get_mut();
    let told = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    // The client may be gone.
    if matches!(tokio::time::timeout(LINGER, told).await, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Reads what a client still sends after an early answer. Else a reset would overtake the answer.
async fn linger(stream: &mut Stream) {
    let rest = async {
        // Not within the future, which exists as long as the connection.
        let mut rest = vec![0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // A client that sends for longer is not waited for.
    let _ = tokio::time::timeout(LINGER, rest).await;
}
