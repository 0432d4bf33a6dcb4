//! Connections of browsers: how many, how long, and how much each may say.

use std::{convert::Infallible, pin::pin, rc::Rc, sync::Arc, time::Duration};

use anyhow::Result;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::{Console, knocks::Peer, listen::Listeners, routes};

/// Connections at once: what is one too many waits.
const MOST: usize = 512;
/// How long the head of a request may take to come, also of the next one on a connection.
const HEAD: Duration = Duration::from_secs(15);
/// Bytes of a head at most.
const BUFFER: usize = 16 * 1024;
/// How long a connection lasts, and then what was asked last on it.
const LIFE: Duration = Duration::from_secs(300);
const LAST: Duration = Duration::from_secs(30);
/// Pause after an error that `accept` cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until it is stopped.
pub(crate) async fn serve(console: Rc<Console>, listeners: Listeners) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let places = Arc::new(Semaphore::new(MOST));
    let accept = async {
        match listeners {
            Listeners::Localhost(four, six) => {
                let other = async {
                    match six {
                        Some(six) => accept(&console, &places, &six).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::join!(accept(&console, &places, &four), other);
            }
            Listeners::Unix(listener) => loop {
                let Some(place) = place(&places).await else {
                    return;
                };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let who = stream.peer_cred().ok();
                        let peer = Peer::Unix(who.map(|who| who.uid()));
                        welcome(&console, stream, peer, place);
                    }
                    Err(error) => breathe(&error).await,
                }
            },
        }
    };
    tokio::select! {
        () = accept => {}
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

async fn accept(console: &Rc<Console>, places: &Arc<Semaphore>, listener: &TcpListener) {
    while let Some(place) = place(places).await {
        match listener.accept().await {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                // Of a connection that has ended already there is no telling.
                let to = stream.local_addr().unwrap_or(from);
                welcome(console, stream, Peer::Tcp { from, to }, place);
            }
            Err(error) => breathe(&error).await,
        }
    }
}

async fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).acquire_owned().await.ok()
}

async fn breathe(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    sleep(BREATH).await;
}

fn welcome<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    console: &Rc<Console>,
    stream: S,
    peer: Peer,
    place: OwnedSemaphorePermit,
) {
    let console = Rc::clone(console);
    tokio::task::spawn_local(async move {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let console = Rc::clone(&console);
            async move { Ok::<_, Infallible>(routes::answer(&console, peer, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        // Whatever is wrong with a connection ends with it.
        if timeout(LIFE, connection.as_mut()).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LAST, connection).await;
        }
        drop(place);
    });
}
