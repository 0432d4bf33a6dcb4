//! Questions by UDP.

use std::{future::poll_fn, io, net::SocketAddr, rc::Rc, task::Poll, time::Duration};

use guard_common::{ASKED_AT_ONCE, BootTime, MAX_ASKED, Origin, OriginKey, QuestionHash, QueueKey};
use guard_sys::arrival::{self, Datagram};
use tokio::{io::Interest, net::UdpSocket, task::spawn_local};

use super::{
    common::Common,
    networks::Network,
    question::{self, Question},
    refusal::{self, Says},
    serve,
    turns::Turns,
};

/// After an error that asking again at once cannot help.
const BREATH: Duration = Duration::from_millis(100);

/// Nanoseconds by which a BPF program's clock may be ahead of others (`ktime_get_boot_fast_ns`): it takes longer to close a socket
/// and to open another one at its port.
const SLACK: u64 = 5_000;

/// Datagrams that are read before some of them are answered: the more are in here, the fewer wait where all sessions' do.
const READ_AT_ONCE: usize = 128;
/// Questions that are begun then, one of each account in turn.
const BEGUN_AT_ONCE: usize = 8;
/// Questions of an account that wait for their turn: as many as the kernel half lets through at once.
const MOST_OF_ACCOUNT: usize = 256;

/// So many datagrams may be read before the kernel half learns that none is left, and for so long: that is a system call. It takes
/// them for unread, of which a session may have [`MOST_OF_ACCOUNT`], and so lets it send an eighth less at worst.
pub(super) const UNTOLD: usize = 32;
/// In nanoseconds.
const UNTOLD_FOR: u64 = 100_000_000;

/// A datagram that asks something.
#[derive(Debug)]
struct Asked {
    question: Question,
    peer: SocketAddr,
    /// Both ends of the datagram.
    ends: OriginKey,
    /// Where it was going.
    origin: Origin,
    /// The [`QuestionHash`] of the message.
    hash: u32,
    arrived: BootTime,
}

/// A socket, and what was read of it.
struct Listening {
    common: Rc<Common>,
    network: Rc<Network>,
    socket: Rc<UdpSocket>,
    /// By which the kernel half knows the socket.
    queue: QueueKey,
    /// The socket's address.
    local: SocketAddr,
    buffer: Vec<u8>,
    turns: Turns<Asked>,
    /// Datagrams that were read since the kernel half learned that none is left, and when that was.
    untold: usize,
    told: BootTime,
}

/// Answers what comes to a socket, which is bound to that address.
pub(super) async fn serve(
    common: Rc<Common>,
    network: Rc<Network>,
    socket: UdpSocket,
    local: SocketAddr,
) {
    let mut listening = Listening {
        queue: QueueKey::new(network.cookie, &local.ip().into()),
        local,
        common,
        network,
        socket: Rc::new(socket),
        buffer: vec![0; usize::from(u16::MAX)],
        turns: Turns::new(MOST_OF_ACCOUNT),
        untold: 0,
        told: BootTime(0),
    };
    // What another resolver has not read is lost.
    listening.tell_drained();
    loop {
        if let Err(error) = listening.read().await {
            tracing::warn!(%error, "cannot hear questions");
            tokio::time::sleep(BREATH).await;
        }
        listening.begin_some();
        if !listening.turns.is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

impl Listening {
    /// Reads what there is, and waits for it where nothing is to be answered.
    async fn read(&mut self) -> io::Result<()> {
        let (socket, buffer) = (&self.socket, &mut self.buffer);
        if self.turns.is_empty() {
            let mut receive = || arrival::receive(&**socket, buffer);
            let received = socket.async_io(Interest::READABLE, &mut receive).await?;
            self.take(&received);
            // It leaves before there is a look at whether others came, and that is written: while the server thinks there is time.
            self.begin_some();
            let_others_begin().await;
        }
        for _ in 0..READ_AT_ONCE {
            let (socket, buffer) = (&self.socket, &mut self.buffer);
            // Not where tokio alone says so: it looks now and then.
            let mut is_drained = false;
            let receive = || {
                let received = arrival::receive(&**socket, buffer);
                is_drained = received.as_ref().is_err_and(is_empty);
                received
            };
            match socket.try_io(Interest::READABLE, receive) {
                Ok(received) => self.take(&received),
                Err(error) if is_empty(&error) => {
                    if is_drained {
                        self.tell_drained();
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the kernel half that nothing is left to read, where that is due: sessions may send as much again.
    fn tell_drained(&mut self) {
        let now = (self.common.now)();
        if self.untold < UNTOLD && now.0 < self.told.0 + UNTOLD_FOR {
            return;
        }
        (self.untold, self.told) = (0, now);
        if let Err(error) = self.common.maps.drained(&self.queue, now) {
            tracing::warn!(%error, "cannot say that all questions are read");
        }
    }

    /// Has a datagram wait for its turn. One that the kernel half has not redirected gets nothing.
    fn take(&mut self, datagram: &Datagram) {
        self.untold += 1;
        let (message, peer) = (&self.buffer[..datagram.length], datagram.from);
        let ends = OriginKey::between(self.network.cookie, peer, self.local);
        let Some(origin) = origin(&self.common, &ends, datagram) else {
            return;
        };
        // Where there is no room for an answer it is as lost as any datagram.
        let send = |message: &[u8]| drop(self.socket.try_send_to(message, peer));
        let question = match question::parse(message) {
            Ok(question) => question,
            Err(rejected) => {
                refusal::to_rejected(&rejected)
                    .iter()
                    .for_each(|message| send(message));
                return;
            }
        };
        let Some(account) = self.common.sessions.account(origin.session.0) else {
            send(&Says::Failed.to(&question));
            return;
        };
        let asked = Asked {
            question,
            peer,
            ends,
            origin,
            hash: QuestionHash::of(message),
            arrived: datagram.arrived,
        };
        self.turns.add(account, asked);
    }

    /// Begins to answer some of what waits.
    fn begin_some(&mut self) {
        for _ in 0..BEGUN_AT_ONCE {
            let Some((account, asked)) = self.turns.take() else {
                return;
            };
            self.begin(account, &asked);
        }
    }

    fn begin(&self, account: u32, asked: &Asked) {
        let (question, peer, ends) = (&asked.question, asked.peer, asked.ends);
        for origin in origins(&self.common, asked) {
            let (session, server) = (origin.session, serve::server(&origin));
            let Some(under_way) = self.common.begin(session, ends, server, question) else {
                continue;
            };
            let Some(slot) = self.common.exchanges.take(account) else {
                return;
            };
            let common = Rc::clone(&self.common);
            let (network, socket) = (Rc::clone(&self.network), Rc::clone(&self.socket));
            let question = question.clone();
            spawn_local(async move {
                let reply = serve::reply(&common, &network, &origin, &question, false).await;
                if !has_passed_on(&common, &ends, &origin) {
                    // The program may be gone.
                    let _ = socket.send_to(&reply.message, peer).await;
                }
                serve::tell(&common, &serve::asker(&origin, &question), reply).await;
                drop((under_way, slot));
            });
        }
    }
}

/// Lets what was spawned run up to where it waits. `yield_now` would have tokio look at all sockets in between.
async fn let_others_begin() {
    let mut is_over = false;
    poll_fn(|context| {
        if is_over {
            return Poll::Ready(());
        }
        is_over = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether nothing is left to read.
fn is_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// The servers that a datagram is for: its own, and those that the same question was sent to after it. So each is asked, also where
/// all of them were sent before the first is read. Of a port whose datagrams go to one server alone, that one.
fn origins(common: &Common, asked: &Asked) -> Vec<Origin> {
    let last = asked.origin;
    if last.several == 0 {
        return vec![last];
    }
    let of_server = |nth| {
        let key = asked.ends.question(asked.hash, nth);
        common.maps.question(&key).ok()?
    };
    let kept = (0..MAX_ASKED).filter_map(of_server);
    let arrived = asked.arrived.0;
    let is_of_it = |kept: &Origin| {
        kept.session == last.session && kept.at.0.abs_diff(arrived) <= ASKED_AT_ONCE
    };
    let kept: Vec<_> = kept.filter(is_of_it).collect();
    let own = kept.iter().map(|kept| kept.at.0);
    let own = own.filter(|at| *at <= arrived).max();
    let from_own_on = |kept: &Origin| kept.at.0 >= own.unwrap_or_default();
    let found: Vec<_> = kept.into_iter().filter(from_own_on).collect();
    if found.is_empty() { vec![last] } else { found }
}

/// Where a datagram was going; `None`: it was not redirected, or what is known of its port is of a datagram that came later. The
/// port may be another session's by now.
fn origin(common: &Common, ends: &OriginKey, datagram: &Datagram) -> Option<Origin> {
    let origin = common.maps.question(ends).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read where a question was going");
        None
    });
    origin.filter(|origin| {
        origin.reason.is_for_resolver() && origin.at.0 <= datagram.arrived.0 + SLACK
    })
}

/// Whether another session has sent something from that port meanwhile: it gets no answer but its own.
fn has_passed_on(common: &Common, ends: &OriginKey, origin: &Origin) -> bool {
    let now = common.maps.question(ends);
    now.is_ok_and(|now| now.is_some_and(|now| now.session != origin.session))
}
