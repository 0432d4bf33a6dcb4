//! The control socket: one task for each connection, and limits on everything that a peer could use up.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    os::fd::AsFd as _,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use guard_common::{BootTime, SessionId};
use guard_proto::{
    Call,
    varlink::{self, Called, Incoming, WireError},
};
use guard_sys::{clock, packets, pidfd::Peer};
use tokio::{
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    control::{
        auth::CallerPlace,
        failure::CallError,
        frames::{FrameError, FrameReader, error_frame, send},
        streams, verbs,
        written::Written,
    },
    record::metrics,
    shared::Shared,
    signed_answers::meter,
    state::State,
    times::is_past,
};

/// Connections at once, of all callers but root. Each takes two descriptors.
const MAX_CONNECTIONS: usize = 1024;
/// Connections at once of one user outside.
const MAX_OF_USER: usize = 512;
/// Connections at once of one session.
const MAX_OF_SESSION: usize = 32;
/// Long frames at once of root, of all users, and of all that is inside sessions.
const LONG_FRAMES: usize = 4;
/// At most so often the log tells that an account has too many.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after an error that `accept` cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// The account that a connection counts on. A session has its own: processes inside cannot use up the connections of the person
/// outside who has the same uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Account {
    User(u32),
    Session(Option<SessionId>),
    /// Processes in a cgroup that no session owns, by its id.
    Unowned(u64),
}

/// Long frames that are read at once. What is inside keeps nobody outside from sending one, and no user keeps root from it.
#[derive(Debug)]
pub(crate) struct LongFrames {
    root: Arc<Semaphore>,
    users: Arc<Semaphore>,
    inside: Arc<Semaphore>,
}

impl Default for LongFrames {
    fn default() -> Self {
        let few = || Arc::new(Semaphore::new(LONG_FRAMES));
        Self {
            root: few(),
            users: few(),
            inside: few(),
        }
    }
}

impl LongFrames {
    fn of(&self, account: Account) -> Arc<Semaphore> {
        let own = match account {
            Account::User(0) => &self.root,
            Account::User(_) => &self.users,
            Account::Session(_) | Account::Unowned(_) => &self.inside,
        };
        Arc::clone(own)
    }
}

/// The open connections.
#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    of: HashMap<Account, usize>,
}

impl OpenConnections {
    fn admit(&mut self, account: Account) -> bool {
        let of_one = self.of.entry(account).or_default();
        let most = match account {
            Account::User(_) => MAX_OF_USER,
            Account::Session(_) | Account::Unowned(_) => MAX_OF_SESSION,
        };
        let is_root = account == Account::User(0);
        if *of_one >= most || (self.total >= MAX_CONNECTIONS && !is_root) {
            return false;
        }
        *of_one += 1;
        self.total += 1;
        true
    }

    fn leave(&mut self, account: Account) {
        self.total = self.total.saturating_sub(1);
        if let Some(of_one) = self.of.get_mut(&account) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                self.of.remove(&account);
            }
        }
    }
}

/// Who was turned away, so that nobody fills guardd's own log by connecting again and again.
#[derive(Debug, Default)]
struct TurnedAway(HashMap<Account, TurnedAwayCount>);

/// What the log has of one account.
#[derive(Debug, Default)]
struct TurnedAwayCount {
    /// When it was last logged; none: never.
    at: Option<BootTime>,
    /// How often it was turned away since.
    since: u64,
}

impl TurnedAway {
    /// Accounts that are kept: more than may have connections.
    const MOST: usize = 2 * MAX_CONNECTIONS;

    /// Notes that one was, and returns how often since it was logged, if that is to be logged now.
    fn note(&mut self, account: Account, now: BootTime) -> Option<u64> {
        let is_due = |told: &TurnedAwayCount| told.at.is_none_or(|at| is_past(at, PAUSE, now));
        if self.0.len() >= Self::MOST {
            self.0.retain(|_, told| !is_due(told));
        }
        let told = self.0.entry(account).or_default();
        told.since += 1;
        is_due(told).then(|| {
            told.at = Some(now);
            std::mem::take(&mut told.since)
        })
    }
}

/// The open connections and their tasks. They end when this is dropped.
#[derive(Default)]
struct Open {
    connections: Rc<RefCell<OpenConnections>>,
    turned_away: TurnedAway,
    tasks: JoinSet<()>,
}

/// A connection's place among those of its account, until it is dropped.
#[must_use]
struct ConnectionPlace {
    connections: Rc<RefCell<OpenConnections>>,
    account: Account,
}

impl ConnectionPlace {
    /// Ends it. A task that names a field of it captures that field alone, and the slot would be released before the task
    /// begins: so each task ends with this.
    fn leave(self) {}
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.connections.borrow_mut().leave(self.account);
    }
}

/// Accepts connections and answers their calls, for ever.
pub(crate) async fn serve(shared: Rc<Shared>, listener: UnixListener) {
    let mut open = Open::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => welcome(&shared, &mut open, stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(ended) = open.tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection ended in a way that it should not");
                }
            }
        }
    }
}

/// Starts a task for a connection. One whose peer is unknown, or has too many, gets an error reply and is closed.
fn welcome(shared: &Rc<Shared>, open: &mut Open, stream: UnixStream) {
    let known = shared.with(|state| {
        let peer = state
            .machine
            .peer(&stream)
            .map_err(|error| unknown(&error))?;
        let caller = state.caller(&peer)?;
        Ok((peer, caller))
    });
    let (peer, caller) = match known {
        Ok(known) => known,
        Err(refusal) => {
            tracing::debug!(%refusal, "a connection of somebody unknown");
            return turn_away(&stream, refusal);
        }
    };
    let account = match caller.place {
        CallerPlace::Outside | CallerPlace::Courier => Account::User(caller.uid),
        // The sessions inside an outermost one share its limit.
        CallerPlace::Inside(session) => Account::Session(session.map(|session| {
            let outermost = shared.with(|state| state.sessions.outermost(session));
            outermost.unwrap_or(session)
        })),
        CallerPlace::Unowned(cgroup) => Account::Unowned(cgroup),
    };
    if !open.connections.borrow_mut().admit(account) {
        if let Some(times) = open.turned_away.note(account, clock::now()) {
            tracing::warn!(?account, times, "has too many connections");
        }
        return turn_away(&stream, too_many());
    }
    let admitted = ConnectionPlace {
        connections: Rc::clone(&open.connections),
        account,
    };
    let shared = Rc::clone(shared);
    open.tasks.spawn_local(async move {
        let ended = converse(&shared, stream, &peer, caller.pid, account).await;
        admitted.leave();
        if let Err(error) = ended {
            tracing::debug!(%error, ?account, "a connection was closed");
        }
    });
}

/// Sends an error reply if the socket has room for it, and does not wait for the peer to read it. Tokio's own `try_write` sends nothing
/// before its driver has looked at the socket.
fn turn_away(stream: &UnixStream, refusal: CallError) {
    if let Ok(mut frame) = error_frame(refusal.into()) {
        frame.push(0);
        let _ = packets::try_send(stream.as_fd(), &frame);
    }
}

fn unknown(why: &io::Error) -> CallError {
    let why = match why.kind() {
        io::ErrorKind::TimedOut => {
            "there are too many callers whose processes cannot be looked at".into()
        }
        _ => why.to_string(),
    };
    CallError::refused("cannot tell who is asking", why, "try again in a minute")
}

fn too_many() -> CallError {
    CallError::refused(
        "this is one connection too many",
        format!(
            "a user has {MAX_OF_USER} at once at most, what runs in a session {MAX_OF_SESSION}, and all together {MAX_CONNECTIONS}"
        ),
        "end some of the programs that talk to guardd, and try again",
    )
}

/// Answers the calls of one connection until it ends.
async fn converse(
    shared: &Shared,
    stream: UnixStream,
    peer: &Peer,
    pid: u32,
    account: Account,
) -> Result<(), FrameError> {
    let (read, mut write) = stream.into_split();
    let read = Written::by(pid, read);
    let mut frames = FrameReader::new(read, shared.long_frames.of(account));
    loop {
        let frame = match frames.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(error) => {
                // An error reply is worth a try; then there is nothing more to read.
                let refusal = too_much(&error);
                let _ = send(&mut write, error_frame(refusal.into())?).await;
                return Err(error);
            }
        };
        match varlink::understand(&frame) {
            Ok(incoming) => respond(shared, peer, incoming, &mut frames, &mut write).await?,
            Err(error) => send(&mut write, error_frame(error)?).await?,
        }
    }
}

/// Answers one call.
async fn respond(
    shared: &Shared,
    peer: &Peer,
    incoming: Incoming,
    frames: &mut FrameReader<Written>,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    // A caller that has just been refused, and asks why, gets to know of it.
    shared.with(State::read_events);
    let frame = match incoming.asked {
        Called::Service(answer) => varlink::answer(&answer, false).map_err(io::Error::from)?,
        Called::Guard(call) if incoming.more && is_stream(&call) => {
            return streams::stream(shared, peer, call, frames, write).await;
        }
        Called::Guard(Call::Held { .. } | Call::Log { .. } | Call::LogLines { .. }) => {
            error_frame(WireError::expected_more())?
        }
        Called::Guard(Call::AnswerSigned { .. })
            if shared.with(|state| {
                state
                    .signed_answers
                    .has_too_many_wrong(peer.uid(), clock::now())
            }) =>
        {
            send(write, error_frame(too_many_wrong().into())?).await?;
            return Err(FrameError::Flood);
        }
        Called::Guard(call) => {
            let (method, began) = (metrics::method(&call), Instant::now());
            let answer = verbs::answer(shared, peer, call).await;
            shared.with(|state| {
                state
                    .recorder
                    .counters()
                    .call_answered(method, began.elapsed())
            });
            match answer {
                Ok(frame) => frame,
                Err(refusal) => error_frame(refusal.into())?,
            }
        }
    };
    if incoming.oneway {
        return Ok(());
    }
    send(write, frame).await
}

fn too_many_wrong() -> CallError {
    CallError::refused(
        "the answer was not read",
        format!(
            "{} in this second were signed by nobody that is known",
            meter::MOST
        ),
        "try again in a second",
    )
}

fn is_stream(call: &Call) -> bool {
    matches!(
        call,
        Call::Pending {} | Call::Held { .. } | Call::Log { .. } | Call::LogLines { .. }
    )
}

fn too_much(error: &FrameError) -> CallError {
    let fix = match error {
        FrameError::Io(why) if why.kind() == io::ErrorKind::PermissionDenied => {
            return CallError::refused(
                "the call was not answered",
                error.to_string(),
                "connect in the process that calls",
            );
        }
        FrameError::TooLong { .. } => "shorten it; a long policy belongs in /etc/guard/policies",
        FrameError::Busy => "try again in a moment",
        _ => "connect again",
    };
    CallError::invalid("the call was not read", error.to_string(), fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_cannot_use_up_its_persons_connections() {
        let mut connections = OpenConnections::default();
        let inside = Account::Session(Some(SessionId(1)));
        let admitted = (0..1000).filter(|_| connections.admit(inside)).count();
        assert_eq!(admitted, MAX_OF_SESSION);
        assert!(connections.admit(Account::User(1000)));
        connections.leave(inside);
        assert!(connections.admit(inside));
    }

    #[test]
    fn who_has_too_many_is_told_of_once_a_second() {
        const SECOND: u64 = 1_000_000_000;
        let mut away = TurnedAway::default();
        let [one, other] = [1, 2].map(|id| Account::Session(Some(SessionId(id))));
        let mut note = |account, now| away.note(account, BootTime(now));
        assert_eq!(note(one, 5), Some(1));
        let told = (6..5000).filter_map(|now| note(one, now)).count();
        assert_eq!(told, 0);
        assert_eq!(note(other, 6), Some(1));
        assert_eq!(note(one, SECOND + 5), Some(4995));
        assert_eq!(note(one, SECOND + 6), None);
        // Where there are too many to keep, those go of which nothing was logged lately.
        for uid in 0..TurnedAway::MOST {
            note(Account::Unowned(uid as u64), 3 * SECOND);
        }
        note(Account::Unowned(0), 9 * SECOND);
        assert_eq!(away.0.len(), 1);
    }

    #[test]
    fn root_gets_in_when_all_others_are_there() {
        let mut connections = OpenConnections::default();
        for uid in 1..2000 {
            connections.admit(Account::User(uid));
        }
        assert!(!connections.admit(Account::User(3000)));
        assert!(connections.admit(Account::User(0)));
    }
}
