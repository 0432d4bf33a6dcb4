//! The calls with a stream of answers: the pending requests, and the audit log.

use std::{io, time::Duration};

use guard_proto::{Call, Requests, varlink};
use guard_sys::pidfd::Peer;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::{net::unix::OwnedWriteHalf, task::spawn_blocking};

use crate::{
    changes::Change,
    control::{
        auth::{Approver, Authorised, Courier, authorise, courier},
        failure::CallError,
        frames::{FrameError, FrameReader, error_frame, send},
        ids,
        written::Written,
    },
    record::reader::{AuditReader, Batch, Filter},
    requests::followers::Following,
    shared::Shared,
    state::State,
};

/// Changes within this time are sent together.
const GATHER: Duration = Duration::from_millis(50);
/// Interval of checks that the caller may still see what it sees.
const RECHECK: Duration = Duration::from_secs(5);

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
            Self::Courier(_) => Some(state.owners_carried()),
        }
    }

    fn pending(self, state: &mut State) -> Result<Requests, CallError> {
        match self {
            Self::Approver(who) => state.pending(who),
            Self::Courier(who) => state.pending_to(who),
        }
    }

    /// Has connections wait for the answers of whoever looks at this.
    fn follow(self, state: &State) -> Vec<Following> {
        let who = match self {
            Self::Approver(who) => vec![who],
            Self::Courier(_) => state.carried_for(),
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
pub async fn stream(
    shared: &Shared,
    peer: &Peer,
    call: Call,
    frames: &mut FrameReader<Written>,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let who = match viewer(shared, peer, &call) {
        Ok(who) => who,
        Err(refusal) => return send(write, error_frame(refusal.into())?).await,
    };
    let answers = async {
        match call {
            Call::Log {
                follow,
                session,
                since,
            } => {
                // One that is neither live nor in the log would be waited for in vain.
                let sought = session
                    .clone()
                    .filter(|id| follow && !shared.with(|state| is_live(state, who, id)));
                let owners = shared.with(|state| who.owners(state));
                let filter = filter(owners, session, since);
                log(shared, filter, (follow, sought), write).await
            }
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

/// The caller, who is outside.
fn viewer(shared: &Shared, peer: &Peer, call: &Call) -> Result<Viewer, CallError> {
    let caller = shared.with(|state| state.caller(peer))?;
    if let Some(who) = courier(&caller, call)? {
        return Ok(Viewer::Courier(who));
    }
    match authorise(&caller, call)? {
        Authorised::Approver(who) => Ok(Viewer::Approver(who)),
        Authorised::Agent(_) => Err(CallError::refused(
            "this cannot be asked from inside",
            "it is for the person outside",
            "guard why",
        )),
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
    shared.reschedule();
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
        // Whoever was enrolled or removed meanwhile changes for whom a courier carries.
        if matches!(who, Viewer::Courier(_)) {
            let now = shared.with(|state| who.follow(state));
            drop(std::mem::replace(&mut following, now));
        }
    }
}

/// Id, whether a connection is held, note and code, warnings, the name, and how many addresses were tried.
type Gist = (
    String,
    bool,
    [Option<String>; 2],
    Vec<String>,
    Option<String>,
    Option<usize>,
);

/// The parts of the requests of which a change is worth an answer.
fn gist(requests: &Requests) -> Vec<Gist> {
    let all = requests.requests.iter();
    all.map(|one| {
        let (said, warnings) = ([one.note.clone(), one.code.clone()], one.warnings.clone());
        let count = one.burst.as_ref().map(|burst| burst.count);
        let host = one.destination.host.clone();
        (one.id.clone(), one.held, said, warnings, host, count)
    })
    .collect()
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
        "guard sessions",
    )
}

/// The records that a filter lets through; an answer without a record ends them. `sought`: a session that is followed only where
/// there are records of it.
async fn log(
    shared: &Shared,
    filter: Filter,
    (follow, mut sought): (bool, Option<String>),
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let (files, mut reached) = shared.with(|state| {
        let audit = state.recorder.audit();
        let files = audit.current().map(|current| (audit.previous(), current));
        (files, audit.reached())
    });
    let (previous, (current, mut part)) = files?;
    let mut trail = match previous {
        Some(previous) => {
            let mut trail = AuditReader::new(previous, filter);
            trail.then(current);
            trail
        }
        None => AuditReader::new(current, filter),
    };
    loop {
        let written = *reached.borrow_and_update();
        let (batch, back): (Batch, AuditReader) = in_background(move || {
            let batch = trail.next_batch()?;
            Ok((batch, trail))
        })
        .await?;
        trail = back;
        for record in &batch.records {
            sought = None;
            send(write, frame(record, true)?).await?;
        }
        if !batch.is_last {
            continue;
        }
        if written.part != part {
            // The file was read to its end before: it has no more.
            let (next, its) = shared.with(|state| state.recorder.audit().current())?;
            trail.then(next);
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

fn frame<T: serde::Serialize>(parameters: &T, continues: bool) -> Result<Vec<u8>, FrameError> {
    Ok(varlink::answer(parameters, continues).map_err(io::Error::from)?)
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
