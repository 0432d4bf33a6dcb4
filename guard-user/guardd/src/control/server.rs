//! The control socket: one task for each connection, and limits on everything that a peer could use up.

use std::{collections::HashMap, io, os::fd::AsFd as _, rc::Rc, time::Duration};

use guard_common::BootTime;
use guard_proto::{
    Call,
    varlink::{self, Called, Incoming, WireError},
};
use guard_sys::{clock, packets, pidfd::Peer};
use tokio::{
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    task::JoinSet,
};

use crate::{
    control::{
        failure::CallError,
        frames::{FrameError, FrameReader, error_frame, send},
        streams, verbs,
        written::Written,
    },
    quota::{Account, AccountPlaces, Limit, Pace},
    shared::Shared,
    signed_answers::meter,
    state::State,
    times::is_past,
};

/// Connections at once. Each takes two descriptors. Processes inside cannot use up the connections of the person outside who has the same
/// uid.
const CONNECTIONS: Limit = Limit {
    session: Pace::held(32),
    user: Pace::held(384),
    all: 1024,
    reserve: 16,
};
/// Long frames that are read at once.
const LONG_FRAMES: Limit = Limit {
    session: Pace::held(2),
    user: Pace::held(4),
    all: 16,
    reserve: 1,
};
/// At most so often the log tells that an account has too many.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after an error that `accept` cannot help, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Returns the places for long frames.
pub(crate) fn long_frames() -> AccountPlaces {
    AccountPlaces::new(LONG_FRAMES)
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
    const MOST: usize = 2048;

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
struct Open {
    connections: AccountPlaces,
    turned_away: TurnedAway,
    tasks: JoinSet<()>,
}

/// Accepts connections and answers their calls, for ever.
pub(crate) async fn serve(shared: Rc<Shared>, listener: UnixListener) {
    let mut open = Open {
        connections: AccountPlaces::new(CONNECTIONS),
        turned_away: TurnedAway::default(),
        tasks: JoinSet::new(),
    };
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
    let account = shared.with(|state| state.sessions.account_of_caller(&caller));
    let Some(place) = open.connections.take(account) else {
        if let Some(times) = open.turned_away.note(account, clock::now()) {
            tracing::warn!(?account, times, "has too many connections");
        }
        return turn_away(&stream, too_many());
    };
    let shared = Rc::clone(shared);
    open.tasks.spawn_local(async move {
        let ended = converse(&shared, stream, &peer, caller.pid, account).await;
        place.leave();
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
        "a user has 384 at once at most, all sessions of a user as many, what runs in one session 32, and all together 1,024",
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
    let mut frames = FrameReader::new(read, shared.long_frames.clone(), account);
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
            // It changes nothing, and may wait long for its turn.
            let is_given_up = matches!(call, Call::Explain { .. });
            let answer = tokio::select! {
                answer = verbs::answer(shared, peer, call) => answer,
                () = frames.gone(), if is_given_up => return Ok(()),
            };
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
    use guard_common::SessionId;

    use super::*;

    /// Whatever 512 sessions of one user and that user outside do: others still get in, and that user past the sessions.
    #[test]
    fn one_user_keeps_nobody_else_out() {
        let open = AccountPlaces::new(CONNECTIONS);
        let mut held = Vec::new();
        let mut grab = |account| {
            let before = held.len();
            held.extend((0..1000).map_while(|_| open.take(account)));
            held.len() - before
        };
        let inside = (1..=512).map(|id| grab(Account::inside(1000, SessionId(id))));
        assert_eq!(inside.sum::<usize>(), 384);
        assert_eq!(grab(Account::outside(1000)), 384);
        // Another user takes the rest.
        assert_eq!(grab(Account::outside(1001)), 256);
        for account in [
            Account::inside(1002, SessionId(1000)),
            Account::outside(1002),
            Account::outside(999),
        ] {
            assert_eq!(grab(account), 16, "{account:?}");
        }
        assert_eq!(grab(Account::ROOT), 384);
        held.clear();
        assert!(open.take(Account::outside(1001)).is_some());
    }

    #[test]
    fn who_has_too_many_is_told_of_once_a_second() {
        const SECOND: u64 = 1_000_000_000;
        let mut away = TurnedAway::default();
        let [one, other] = [1, 2].map(|id| Account::inside(1000, SessionId(id)));
        let mut note = |account, now| away.note(account, BootTime(now));
        assert_eq!(note(one, 5), Some(1));
        let told = (6..5000).filter_map(|now| note(one, now)).count();
        assert_eq!(told, 0);
        assert_eq!(note(other, 6), Some(1));
        assert_eq!(note(one, SECOND + 5), Some(4995));
        assert_eq!(note(one, SECOND + 6), None);
        // Where there are too many to keep, those go of which nothing was logged lately.
        for uid in 0..TurnedAway::MOST {
            note(Account::unowned(uid as u32), 3 * SECOND);
        }
        note(Account::unowned(0), 9 * SECOND);
        assert_eq!(away.0.len(), 1);
    }
}
