//! The calls with a stream of answers: the pending requests, and the audit log.

use std::{io, time::Duration};

use guard_proto::{Call, RequestsReply, record::LogLine, varlink};
use guard_sys::{pidfd::Peer, threads};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::{net::unix::OwnedWriteHalf, sync::Semaphore};

use crate::{
    changes::Change,
    control::{
        auth::{self, Agent, Approver, Authorised, Courier, authorise, courier},
        failure::CallError,
        frames::{FrameError, FrameReader, error_frame, send},
        ids, nested,
        written::Written,
    },
    record::{
        lines::LineReader,
        reader::{AuditReader, Batch, Filter},
    },
    requests::followers::Following,
    shared::Shared,
    state::State,
};

/// Changes within this time are sent together.
const GATHER: Duration = Duration::from_millis(50);
/// Interval of checks that the caller may still see what it sees.
const RECHECK: Duration = Duration::from_secs(5);
/// Reads of the audit log at a time, of all callers together: one goes on when its caller has hung up, and guardd has few threads
/// (`TasksMax=`).
const READS: usize = 16;
/// Their permits.
static READING: Semaphore = Semaphore::const_new(READS);

/// Whom a stream is for.
#[derive(Clone, Copy)]
enum Viewer {
    Approver(Approver),
    Courier(Courier),
}

impl Viewer {
    /// The users whose sessions it sees; none: all.
    fn owners(self, state: &State) -> Option<Vec<u32>> {
        match self {
            Self::Approver(who) => (!who.is_root()).then(|| vec![who.uid()]),
            Self::Courier(_) => Some(state.signed_answers.courier_owners()),
        }
    }

    /// Whether it may read all of the audit log.
    fn keeps_log(self, shared: &Shared) -> bool {
        match self {
            Self::Approver(who) => who.is_root(),
            Self::Courier(who) => shared.with(|state| state.signed_answers.keeps_log(who)),
        }
    }

    fn pending(self, state: &mut State) -> Result<RequestsReply, CallError> {
        match self {
            Self::Approver(who) => state.pending(who),
            Self::Courier(who) => state.pending_to(who),
        }
    }

    /// The requests of a session.
    fn of_session(self, state: &mut State, session: &str) -> Result<RequestsReply, CallError> {
        // The kernel need not count where nothing is.
        if !asks(state, session) {
            return Ok(RequestsReply::default());
        }
        let mut listed = self.pending(state)?;
        listed.requests.retain(|one| one.session == session);
        Ok(listed)
    }

    /// Holds connections for the answers of the approver who follows this.
    fn follow(self, state: &State) -> Vec<Following> {
        let who = match self {
            Self::Approver(who) => vec![who],
            Self::Courier(_) => state.signed_answers.courier_approvers(),
        };
        let requests = &state.requests;
        who.into_iter().map(|who| requests.follow(who)).collect()
    }
}

/// Answers a call with a stream, until the peer has gone.
///
/// # Errors
///
/// If the connection fails.
pub(crate) async fn stream(
    shared: &Shared,
    peer: &Peer,
    call: Call,
    frames: &mut FrameReader<Written>,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let who = match asker(shared, peer, &call) {
        Ok(StreamReader::Viewer(who)) => who,
        Ok(StreamReader::Parent(who, session)) => {
            return nested::log(shared, who, session, write).await;
        }
        Err(refusal) => return send(write, error_frame(refusal.into())?).await,
    };
    let answers = async {
        match call {
            Call::Log {
                follow,
                session,
                since,
            } => {
                // One that is neither live nor in the log never was: it is not as if nothing had happened there.
                let sought = session
                    .clone()
                    .filter(|id| !shared.with(|state| is_live(state, who, id)));
                let owners = shared.with(|state| who.owners(state));
                let filter = filter(owners, session, since);
                log(shared, filter, follow, sought, write).await
            }
            Call::LogLines { from, follow } => {
                if who.keeps_log(shared) {
                    lines(shared, from, follow, write).await
                } else {
                    send(write, error_frame(not_its_log().into())?).await
                }
            }
            Call::Held { ref session } => held(shared, peer, &call, session, write).await,
            _ => pending(shared, peer, &call, who, write).await,
        }
    };
    let done = tokio::select! {
        done = answers => done,
        // A call during a stream cannot be answered: it ends the connection, as a close does.
        () = frames.stirs() => Err(FrameError::Truncated),
    };
    // An approver may have left.
    shared.with(|state| state.apply(Change::Approvers));
    done
}

/// Whom a stream is for, and where from.
enum StreamReader {
    Viewer(Viewer),
    /// A process inside, which asks about a session that it may have started.
    Parent(Agent, String),
}

fn asker(shared: &Shared, peer: &Peer, call: &Call) -> Result<StreamReader, CallError> {
    let caller = shared.with(|state| state.caller(peer))?;
    if let Some(who) = courier(&caller, call)? {
        return Ok(StreamReader::Viewer(Viewer::Courier(who)));
    }
    match (authorise(&caller, call)?, call) {
        (Authorised::Approver(who), _) => Ok(StreamReader::Viewer(Viewer::Approver(who))),
        (
            Authorised::Agent(who),
            Call::Log {
                follow: false,
                session: Some(session),
                ..
            },
        ) => Ok(StreamReader::Parent(who, session.clone())),
        (Authorised::Agent(_), _) => Err(auth::inside()),
    }
}

/// The caller, who is outside.
fn viewer(shared: &Shared, peer: &Peer, call: &Call) -> Result<Viewer, CallError> {
    match asker(shared, peer, call)? {
        StreamReader::Viewer(who) => Ok(who),
        StreamReader::Parent(..) => Err(auth::inside()),
    }
}

/// The pending requests, now and at each change.
async fn pending(
    shared: &Shared,
    peer: &Peer,
    call: &Call,
    who: Viewer,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let follow = |state: &mut State| {
        let following = who.follow(state);
        state.apply(Change::Approvers);
        following
    };
    let mut following = shared.with(follow);
    let mut changes = shared.changes();
    let mut told = None;
    loop {
        changes.mark_unchanged();
        let now = match shared.with(|state| who.pending(state)) {
            Ok(now) => now,
            Err(refusal) => return send(write, error_frame(refusal.into())?).await,
        };
        let seen = gist(&now);
        if told.as_ref() != Some(&seen) {
            send(write, frame(&now, true)?).await?;
            told = Some(seen);
            tokio::time::sleep(GATHER).await;
        }
        // A timeout is as good as a change: both are checked.
        let _ = tokio::time::timeout(RECHECK, changes.changed()).await;
        if let Err(refusal) = viewer(shared, peer, call) {
            return send(write, error_frame(refusal.into())?).await;
        }
        // Each approver who was enrolled or removed meanwhile changes for whom a courier carries.
        if matches!(who, Viewer::Courier(_)) {
            let now = shared.with(|state| who.follow(state));
            drop(std::mem::replace(&mut following, now));
        }
    }
}

/// The requests of a session, now and at each change. Nothing is held for a caller that looks so: a launcher has no answer.
async fn held(
    shared: &Shared,
    peer: &Peer,
    call: &Call,
    session: &str,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let mut changes = shared.changes();
    let mut now = RequestsReply::default();
    let mut told: Option<Vec<(String, bool)>> = None;
    loop {
        changes.mark_unchanged();
        // Each session may have one who looks so, whom all changes wake, of whatever session. Mostly it asks nothing, nor did before: there
        // is nothing to say, and nobody need be asked who looks.
        let said_none = told.as_ref().is_some_and(Vec::is_empty);
        if !said_none || shared.with(|state| asks(state, session)) {
            let held = viewer(shared, peer, call);
            let held = held.and_then(|who| shared.with(|state| who.of_session(state, session)));
            now = match held {
                Ok(held) => held,
                Err(refusal) => return send(write, error_frame(refusal.into())?).await,
            };
            let seen = gist(&now);
            if told.as_ref() != Some(&seen) {
                send(write, frame(&now, true)?).await?;
                told = Some(seen);
            }
        }
        tokio::time::sleep(GATHER).await;
        if changes.changed().await.is_err() {
            return send(write, frame(&now, false)?).await;
        }
    }
}

/// Returns true if a session has a request.
fn asks(state: &State, session: &str) -> bool {
    let mut all = state.requests.pending().iter();
    all.any(|one| one.shown.session == session)
}

/// What of the requests is worth an answer where it changes: what each asks, and whether a connection waits for it.
fn gist(requests: &RequestsReply) -> Vec<(String, bool)> {
    let all = requests.requests.iter();
    all.map(|one| (one.asks(), one.held)).collect()
}

/// Whether a session is live that the caller answers for.
fn is_live(state: &State, who: Viewer, session: &str) -> bool {
    let id = ids::parse_session(session).ok();
    let live = id.and_then(|id| state.sessions.live(id));
    let owners = who.owners(state);
    live.is_some_and(|live| owners.is_none_or(|owners| owners.contains(&live.about.uid)))
}

/// Neither the log nor guardd knows of that session.
fn unknown(session: &str) -> CallError {
    CallError::not_found(
        format!("there is no session {session}"),
        "no live session of yours has that id, and the audit log has no record of it",
        "see which live, and which have ended:\nguard sessions\nguard report",
    )
}

/// The records that a filter lets through; an answer without a record ends them. `sought`: a session that is an error where
/// there are no records of it.
async fn log(
    shared: &Shared,
    filter: Filter,
    follow: bool,
    mut sought: Option<String>,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let mut reached = shared.with(|state| state.recorder.audit().reached());
    let (mut reader, mut part) = opened(shared, filter)?;
    loop {
        let written = *reached.borrow_and_update();
        let batch;
        (batch, reader) = next_batch(reader).await?;
        // One that has no record in that time has some before it.
        sought = sought.filter(|_| !reader.knows_session());
        for record in &batch.records {
            send(write, frame(record, true)?).await?;
        }
        if !batch.is_last {
            continue;
        }
        if written.part != part {
            // The file was read to its end before: it has no more.
            let (next, its) = shared.with(|state| state.recorder.audit().current())?;
            reader.then(next);
            part = its;
            continue;
        }
        if let Some(session) = sought.take() {
            return send(write, error_frame(unknown(&session).into())?).await;
        }
        if !follow || reached.changed().await.is_err() {
            return send(write, frame(&json!({}), false)?).await;
        }
    }
}

/// The refusal for a courier that the settings do not give the audit log.
fn not_its_log() -> CallError {
    CallError::refused(
        "the audit log is not sent to this courier",
        "it says what every user's sessions did, and the settings give it to another user, or to none",
        "as root, in /etc/guard/guardd.toml, under [fleet]: log = \"USER\"\nsystemctl restart guardd",
    )
}

/// The records as they stand in the log, from a number on.
async fn lines(
    shared: &Shared,
    from: Option<u64>,
    follow: bool,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let (mut reached, head) = shared.with(|state| {
        let audit = state.recorder.audit();
        (audit.reached(), audit.head())
    });
    // One that the log has not reached is of another log: that was removed.
    let from = from.filter(|from| *from <= head.number);
    let (mut reader, mut part) = lines_opened(shared, from.unwrap_or(0)).await?;
    loop {
        let written = *reached.borrow_and_update();
        let some;
        (some, reader) = in_background(move || Ok((reader.next_some()?, reader))).await?;
        for line in some.lines {
            send(write, frame(&LogLine { line }, true)?).await?;
        }
        if !some.is_last {
            continue;
        }
        if written.part != part {
            // The file was read to its end before: it has no more. Whatever was put aside meanwhile is found again.
            (reader, part) = lines_opened(shared, reader.next()).await?;
            continue;
        }
        if !follow || reached.changed().await.is_err() {
            return send(write, frame(&json!({}), false)?).await;
        }
    }
}

/// All files of the audit log that have records from that number on, and the number of the last of them.
async fn lines_opened(shared: &Shared, from: u64) -> io::Result<(LineReader, u64)> {
    let (path, current) = shared.with(|state| {
        let audit = state.recorder.audit();
        (audit.path().to_owned(), audit.current())
    });
    let (current, part) = current?;
    let reader = in_background(move || LineReader::open(&path, current, from)).await?;
    Ok((reader, part))
}

/// The audit log from its beginning, as far as it is not compressed, and the number of its last file.
pub(super) fn opened(shared: &Shared, filter: Filter) -> io::Result<(AuditReader, u64)> {
    let (previous, current, times) = shared.with(|state| {
        let audit = state.recorder.audit();
        (audit.previous(), audit.current(), audit.times())
    });
    let (current, part) = current?;
    let reader = match previous {
        Some(previous) => {
            let mut reader = AuditReader::new(previous, filter);
            reader.then(current);
            reader
        }
        None => AuditReader::new(current, filter),
    };
    Ok((reader.by(times), part))
}

/// Reads on where that keeps nobody waiting.
pub(super) async fn next_batch(mut reader: AuditReader) -> io::Result<(Batch, AuditReader)> {
    in_background(move || Ok((reader.next_batch()?, reader))).await
}

/// The records that the caller asks for and may see.
fn filter(uids: Option<Vec<u32>>, session: Option<String>, since: Option<f64>) -> Filter {
    let since = since
        .and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok())
        .and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    Filter {
        session,
        since,
        uids,
    }
}

pub(super) fn frame<T: serde::Serialize>(
    parameters: &T,
    continues: bool,
) -> Result<Vec<u8>, FrameError> {
    Ok(varlink::answer(parameters, continues).map_err(io::Error::from)?)
}

/// Reads on a thread of its own, when it is its turn. The thread keeps the turn, no matter who waits for it.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let turn = READING.acquire().await.map_err(io::Error::other)?;
    let read = move || {
        let done = work();
        drop(turn);
        done
    };
    threads::run(read).await?
}
