//! Questions by UDP.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use guard_common::{ASKED_AT_ONCE, MAX_ASKED, Origin, OriginKey};
use guard_sys::arrival::{self, Datagram};
use tokio::{io::Interest, net::UdpSocket, task::spawn_local};

use super::{
    common::Common,
    networks::Network,
    question::{self, Question},
    refusal::{self, Says},
    serve,
};

/// After an error that asking again at once cannot help.
const BREATH: Duration = Duration::from_millis(100);

/// Nanoseconds by which a BPF program's clock may be ahead of others (`ktime_get_boot_fast_ns`): it takes longer to close a socket
/// and to open another one at its port.
const SLACK: u64 = 5_000;

/// Answers what comes to a socket.
pub(super) async fn serve(common: Rc<Common>, network: Rc<Network>, socket: UdpSocket) {
    let socket = Rc::new(socket);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let received = socket.async_io(Interest::READABLE, || {
            arrival::receive(&*socket, &mut buffer)
        });
        match received.await {
            Ok(datagram) => take(&common, &network, &socket, &buffer, &datagram),
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
    buffer: &[u8],
    datagram: &Datagram,
) {
    let (message, peer) = (&buffer[..datagram.length], datagram.from);
    let Some(origin) = origin(common, network, datagram) else {
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
    for origin in asked(common, network, datagram, origin, question.head.id) {
        let ends = (peer, serve::server(&origin));
        let Some(under_way) = common.begin(network.id, ends, &question) else {
            continue;
        };
        let Some(slot) = common.exchanges.take(account) else {
            return;
        };
        let (common, network, socket) = (Rc::clone(common), Rc::clone(network), Rc::clone(socket));
        let question = question.clone();
        spawn_local(async move {
            answer(&common, &network, &socket, (&origin, &question), peer).await;
            drop((under_way, slot));
        });
    }
}

/// The servers that a datagram is for: its own, and those that the same question was sent to after it. So each is asked, also where
/// all of them were sent before the first is read. Of a port whose datagrams go to one server alone, that one.
fn asked(
    common: &Common,
    network: &Network,
    datagram: &Datagram,
    last: Origin,
    id: u16,
) -> Vec<Origin> {
    if last.several == 0 {
        return vec![last];
    }
    let from = datagram.from;
    let key = OriginKey::datagram(network.cookie, from.ip().into(), from.port());
    let kept = (0..MAX_ASKED).filter_map(|nth| common.maps.origin(&key.question(id, nth)).ok()?);
    let arrived = datagram.arrived.0;
    let is_of_it = |kept: &Origin| {
        kept.session == last.session && kept.at.0.abs_diff(arrived) <= ASKED_AT_ONCE
    };
    let kept: Vec<_> = kept.filter(is_of_it).collect();
    let own = kept.iter().map(|kept| kept.at.0);
    let own = own.filter(|at| *at <= arrived).max();
    let from_own_on = |kept: &Origin| kept.at.0 >= own.unwrap_or_default();
    let asked: Vec<_> = kept.into_iter().filter(from_own_on).collect();
    match asked.is_empty() {
        true => vec![last],
        false => asked,
    }
}

/// Where a datagram was going; `None`: it was not redirected, or what is known of its port is of a datagram that came later. The
/// port may be another session's by now.
fn origin(common: &Common, network: &Network, datagram: &Datagram) -> Option<Origin> {
    let from = datagram.from;
    let key = OriginKey::datagram(network.cookie, from.ip().into(), from.port());
    let origin = common.maps.origin(&key).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read where a question was going");
        None
    });
    origin.filter(|origin| origin.at.0 <= datagram.arrived.0 + SLACK)
}

/// Whether another session has sent something from that port meanwhile: it gets no answer but its own.
fn has_passed_on(common: &Common, network: &Network, origin: &Origin, peer: SocketAddr) -> bool {
    let key = OriginKey::datagram(network.cookie, peer.ip().into(), peer.port());
    let now = common.maps.origin(&key);
    now.is_ok_and(|now| now.is_some_and(|now| now.session != origin.session))
}

async fn answer(
    common: &Common,
    network: &Network,
    socket: &UdpSocket,
    (origin, question): (&Origin, &Question),
    peer: SocketAddr,
) {
    let reply = serve::reply(common, network, origin, question, false).await;
    if !has_passed_on(common, network, origin, peer) {
        // The program may be gone.
        let _ = socket.send_to(&reply.message, peer).await;
    }
    serve::tell(common, &serve::asker(origin, question), reply).await;
}
