//! Questions by UDP.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use guard_common::{Origin, OriginKey};
use tokio::{net::UdpSocket, task::spawn_local};

use super::{
    common::Common,
    networks::Network,
    question::{self, Question},
    refusal::{self, Says},
    serve,
};

/// After an error that asking again at once cannot help.
const BREATH: Duration = Duration::from_millis(100);

/// Answers what comes to a socket.
pub(super) async fn serve(common: Rc<Common>, network: Rc<Network>, socket: UdpSocket) {
    let socket = Rc::new(socket);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => {
                take(&common, &network, &socket, &buffer[..length], peer);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot hear questions");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Begins to answer a datagram. One that the kernel half has not redirected gets nothing.
fn take(
    common: &Rc<Common>,
    network: &Rc<Network>,
    socket: &Rc<UdpSocket>,
    message: &[u8],
    peer: SocketAddr,
) {
    let key = OriginKey::datagram(network.cookie, peer.ip().into(), peer.port());
    let origin = common.maps.origin(&key).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read where a question was going");
        None
    });
    let Some(origin) = origin else {
        return;
    };
    // Where there is no room for an answer it is as lost as any datagram.
    let send = |message: &[u8]| drop(socket.try_send_to(message, peer));
    let question = match question::parse(message) {
        Ok(question) => question,
        Err(rejected) => {
            refusal::to_rejected(&rejected)
                .iter()
                .for_each(|message| send(message));
            return;
        }
    };
    let Some(account) = common.sessions.account(origin.session.0) else {
        send(&Says::Failed.to(&question));
        return;
    };
    let ends = (peer, serve::server(&origin));
    let Some(under_way) = common.begin(network.id, ends, &question) else {
        return;
    };
    let Some(slot) = common.exchanges.take(account) else {
        return;
    };
    let (common, network, socket) = (Rc::clone(common), Rc::clone(network), Rc::clone(socket));
    spawn_local(async move {
        answer(&common, &network, &socket, (&origin, &question), peer).await;
        drop((under_way, slot));
    });
}

async fn answer(
    common: &Common,
    network: &Network,
    socket: &UdpSocket,
    (origin, question): (&Origin, &Question),
    peer: SocketAddr,
) {
    let reply = serve::reply(common, network, origin, question, false).await;
    // The program may be gone.
    let _ = socket.send_to(&reply.message, peer).await;
    serve::tell(common, &serve::asker(origin, question), reply).await;
}
