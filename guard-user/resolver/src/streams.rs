//! Questions by TCP, several at once in one connection (RFC 7766).

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use guard_common::{Origin, OriginKey};
use guard_sys::tcp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Notify},
    task::{JoinSet, spawn_local},
    time::timeout,
};

use super::{
    common::Common,
    networks::Network,
    question::{self, Question, Rejected},
    refusal::{self, Says},
    serve,
    slots::Slot,
};

/// Questions of one connection under way at once; further ones wait in it.
const PIPELINED: usize = 32;
/// For how long a connection may say nothing, or take nothing.
const IDLE: Duration = Duration::from_secs(30);
/// After an error that asking again at once cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Takes connections.
pub(super) async fn accept(common: Rc<Common>, network: Rc<Network>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (common, network) = (Rc::clone(&common), Rc::clone(&network));
                spawn_local(async move { serve(common, network, stream, peer).await });
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

/// Where answers go.
struct Writer {
    half: Mutex<OwnedWriteHalf>,
    /// They go nowhere any more.
    broken: Notify,
}

impl Writer {
    fn new(half: OwnedWriteHalf) -> Self {
        Self {
            half: Mutex::new(half),
            broken: Notify::new(),
        }
    }

    /// Writes an answer, whole.
    async fn write(&self, message: &[u8]) {
        let length = message.len() as u16;
        let framed = [&length.to_be_bytes()[..], message].concat();
        let mut half = self.half.lock().await;
        let written = timeout(IDLE, half.write_all(&framed)).await;
        if !matches!(written, Ok(Ok(()))) {
            self.broken.notify_one();
        }
    }

    /// Says what is wrong with a message, where there is anything to say.
    async fn reject(&self, rejected: &Rejected) {
        if let Some(message) = refusal::to_rejected(rejected) {
            self.write(&message).await;
        }
    }
}

/// A connection that is served.
struct AdmittedStream {
    /// Where it was going.
    origin: Origin,
    /// Whose it is.
    account: u32,
    /// Its place, as long as it is served.
    slot: Slot,
}

/// None where it is not served.
fn admit(
    common: &Common,
    network: &Network,
    stream: &TcpStream,
    peer: SocketAddr,
) -> Option<AdmittedStream> {
    let origin = origin(common, network, stream, peer).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read where a connection was going");
        None
    })?;
    let account = common.sessions.account(origin.session.0)?;
    Some(AdmittedStream {
        slot: common.connections.take(account)?,
        origin,
        account,
    })
}

/// Waits until one more question may be under way.
async fn have_room(answering: &mut JoinSet<()>) {
    while answering.len() >= PIPELINED {
        answering.join_next().await;
    }
    while answering.try_join_next().is_some() {}
}

async fn serve(common: Rc<Common>, network: Rc<Network>, stream: TcpStream, peer: SocketAddr) {
    let Some(AdmittedStream {
        origin,
        account,
        slot: _slot,
    }) = admit(&common, &network, &stream, peer)
    else {
        // Where that cannot be set it ends in the ordinary way.
        let _ = stream.set_zero_linger();
        return;
    };
    // Only slower without.
    let _ = stream.set_nodelay(true);
    let (mut reader, half) = stream.into_split();
    let writer = Rc::new(Writer::new(half));
    let mut answering = JoinSet::new();
    loop {
        have_room(&mut answering).await;
        let message = tokio::select! {
            read = timeout(IDLE, read(&mut reader)) => read,
            () = writer.broken.notified() => return,
        };
        let Ok(Ok(message)) = message else {
            break;
        };
        let question = match question::parse(&message) {
            Ok(question) => question,
            Err(Rejected::Silently) => return,
            Err(rejected) => {
                writer.reject(&rejected).await;
                continue;
            }
        };
        common.paces.turn(account, (common.now)()).await;
        let Some(slot) = common.exchanges.take(account) else {
            writer.write(&Says::Failed.to(&question)).await;
            continue;
        };
        let shared = (Rc::clone(&common), Rc::clone(&network), Rc::clone(&writer));
        answering.spawn_local(async move {
            let (common, network, writer) = shared;
            answer(&common, &network, &writer, &origin, &question).await;
            drop(slot);
        });
    }
    finish(&mut answering, &writer).await;
}

/// Lets what is under way end: a client that has only stopped asking still gets its answers.
async fn finish(answering: &mut JoinSet<()>, writer: &Writer) {
    tokio::select! {
        () = async { while answering.join_next().await.is_some() {} } => {}
        () = writer.broken.notified() => {}
    }
}

/// Where a connection was going; `None`: it was not redirected, or not to the resolver, or it is closed already, so that the entry may
/// be about a later one from the same port.
fn origin(
    common: &Common,
    network: &Network,
    stream: &TcpStream,
    peer: SocketAddr,
) -> io::Result<Option<Origin>> {
    let key = OriginKey::between(network.cookie, peer, stream.local_addr()?);
    let origin = common.maps.take_origin(&key)?;
    Ok(origin
        .filter(|origin| origin.reason.is_for_resolver() && tcp::stands(stream).unwrap_or(false)))
}

/// One message behind its length. Of a long one only so much is kept as has come.
async fn read(reader: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = reader.read_u16().await?;
    let mut message = Vec::new();
    let mut rest = reader.take(u64::from(length));
    rest.read_to_end(&mut message).await?;
    if message.len() == usize::from(length) {
        Ok(message)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

async fn answer(
    common: &Common,
    network: &Network,
    writer: &Writer,
    origin: &Origin,
    question: &Question,
) {
    let mut reply = serve::reply(common, network, origin, question, true).await;
    let message = std::mem::take(&mut reply.message);
    let asker = serve::asker(origin, question);
    // Not behind it: a program that takes none of its answers ends the connection, and with it whatever waits to be written there.
    tokio::join!(writer.write(&message), serve::tell(common, &asker, reply));
}
