//! What guardd tells, each by a thread and a connection of its own that comes back when guardd does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use guard_proto::{Call, HolesReply, LogRecord, RequestsReply, SessionsReply, requests::Denied};
use jiff::Timestamp;
use ratatui::crossterm::event;
use rustix::event::{EventfdFlags, eventfd};

use super::answer::{AnswerOutcome, Decision};
use super::model::{Event, Lists};
use crate::client::Client;
use crate::error::CliError;
use crate::flows;

/// A guardd that is gone is looked for this often.
const RETRY: Duration = Duration::from_millis(500);
/// Without any news, what changes by itself (tries, what is left of a hole) is looked at this often.
const LOOK: Duration = Duration::from_secs(5);
/// And with a lot of news not more often than this.
const PAUSE: Duration = Duration::from_millis(250);
/// The part of the audit log that is shown at first, in seconds.
const PAST: f64 = 3600.0;

/// Where threads put what happens.
#[derive(Clone)]
pub(crate) struct FeedSender {
    events: mpsc::Sender<Event>,
    bell: Arc<OwnedFd>,
    is_broken: Arc<AtomicBool>,
}

/// Where it is read.
pub(crate) struct FeedReceiver {
    pub(crate) events: Receiver<Event>,
    bell: Arc<OwnedFd>,
    is_broken: Arc<AtomicBool>,
}

/// Both ends.
///
/// # Errors
///
/// The system's.
pub(crate) fn channel() -> io::Result<(FeedSender, FeedReceiver)> {
    let (sender, events) = mpsc::channel();
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let is_broken = Arc::new(AtomicBool::new(false));
    let tell = FeedSender {
        events: sender,
        bell: Arc::clone(&bell),
        is_broken: Arc::clone(&is_broken),
    };
    let told = FeedReceiver {
        events,
        bell,
        is_broken,
    };
    Ok((tell, told))
}

impl FeedSender {
    /// Whether anybody still listens.
    fn tell(&self, event: Event) -> bool {
        let heard = self.events.send(event).is_ok();
        self.ring();
        heard
    }

    fn ring(&self) {
        // Full of rings that nobody has heard yet, it does as well.
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
    }
}

impl Drop for FeedSender {
    fn drop(&mut self) {
        // A screen that gets no requests any more must not look as if there were none.
        if thread::panicking() {
            self.is_broken.store(true, Ordering::SeqCst);
            self.ring();
        }
    }
}

impl FeedReceiver {
    /// Takes note of the rings so far.
    pub(crate) fn hear(&self) {
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
    }

    /// Whether one of the threads has ended as none should.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::SeqCst)
    }
}

impl AsFd for FeedReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Reads keys. Anything else that comes from a terminal, such as what somebody pastes, is none.
pub(crate) fn keys(tell: FeedSender, start: Instant) {
    thread::spawn(move || {
        while let Ok(read) = event::read() {
            if let event::Event::Key(key) = read
                && !tell.tell(Event::Key(key, start.elapsed()))
            {
                return;
            }
        }
    });
}

/// Follows the requests that wait: connections are held for an approver who does.
pub(crate) fn requests(tell: FeedSender, socket: &Path) {
    let socket = socket.to_owned();
    thread::spawn(move || {
        loop {
            let Err(error) = each(&socket, &Call::Pending {}, |answer: RequestsReply| {
                tell.tell(Event::Requests(answer.requests))
            }) else {
                return;
            };
            if let Some(failure) = error.failure().cloned()
                && !tell.tell(Event::Lost(failure))
            {
                return;
            }
            thread::sleep(RETRY);
        }
    });
}

/// Follows the audit log.
pub(crate) fn records(tell: FeedSender, socket: &Path) {
    let socket = socket.to_owned();
    let call = Call::Log {
        follow: true,
        session: None,
        since: Some(PAST),
    };
    thread::spawn(move || {
        loop {
            let now = Timestamp::now();
            let mut has_begun = false;
            let ended = each(&socket, &call, |record: LogRecord| {
                if !has_begun {
                    has_begun = true;
                    tell.tell(Event::AuditLog(now));
                }
                tell.tell(Event::Record(Box::new(record)))
            });
            if ended.is_ok() {
                return;
            }
            thread::sleep(RETRY);
        }
    });
}

/// Hands the answers of a stream on until nobody takes them, and gives the error that ended it before.
fn each<Reply: serde::de::DeserializeOwned>(
    socket: &Path,
    call: &Call,
    mut take: impl FnMut(Reply) -> bool,
) -> Result<(), CliError> {
    for answer in Client::connect(socket)?.stream(call)? {
        if !take(answer?) {
            return Ok(());
        }
    }
    Err(CliError::Local(guard_proto::Failure {
        what: "cannot follow guardd".into(),
        why: "it has ended what it told".into(),
        fix: "guard status".into(),
    }))
}

/// Looks at the lists whenever it is asked to, and now and then without.
///
/// Who asks says whether anybody looks at what sessions have reached.
pub(crate) fn lists(tell: FeedSender, socket: &Path) -> SyncSender<bool> {
    let (nudge, nudged) = mpsc::sync_channel(1);
    let socket = socket.to_owned();
    thread::spawn(move || {
        let mut reached = false;
        loop {
            match nudged.recv_timeout(LOOK) {
                Ok(is_seen) => reached = is_seen,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // That guardd is gone is what the stream of requests tells.
            if let Ok(lists) = look(&socket, reached)
                && !tell.tell(Event::Lists(lists))
            {
                return;
            }
            thread::sleep(PAUSE);
        }
    });
    nudge
}

fn look(socket: &Path, reached: bool) -> Result<Lists, CliError> {
    let mut client = Client::connect(socket)?;
    let sessions: SessionsReply = client.call(&Call::Sessions {})?;
    let requests: RequestsReply = client.call(&Call::Pending {})?;
    let holes: HolesReply = client.call(&Call::Holes {})?;
    let reached = reached
        .then(|| flows::reached(&mut client, None))
        .transpose()?;
    Ok(Lists {
        reached: reached.map(|reached| reached.flows),
        requests: requests.requests,
        sessions: sessions.sessions,
        holes: holes.holes,
    })
}

/// Gives answers, beside all else: each may have to wait for a disk. One after the other, for guardd lets nobody have
/// many connections at once.
pub(crate) fn answer(tell: FeedSender, socket: PathBuf, answers: Vec<Decision>) {
    thread::spawn(move || {
        for answer in answers {
            let outcome = give(&socket, &answer.call).unwrap_or_else(AnswerOutcome::from);
            tell.tell(Event::Outcome(answer.id, outcome));
        }
    });
}

fn give(socket: &Path, call: &Call) -> Result<AnswerOutcome, CliError> {
    let mut client = Client::connect(socket)?;
    Ok(match call {
        Call::Deny { .. } => client
            .call::<Denied>(call)
            .map(|denied| AnswerOutcome::Denied(denied.until))?,
        Call::Close { .. } => AnswerOutcome::Closed(client.call(call)?),
        _ => AnswerOutcome::Opened(client.call(call)?),
    })
}
