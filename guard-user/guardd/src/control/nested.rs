//! What a process inside may read of the audit log: what became of a session that its own session started, so that a nested
//! `guard run` can say so at its end. Who answered, and by what, is for the person outside.

use guard_proto::{
    LogKind, LogRecord,
    record::{Field, Record},
};
use serde_json::json;
use tokio::net::unix::OwnedWriteHalf;

use crate::{
    control::{
        auth::{self, Agent},
        frames::{FrameError, error_frame, send},
        ids,
        streams::{frame, next_batch, opened},
        verbs::Turn,
    },
    record::reader::Filter,
    shared::Shared,
};

/// The kinds that are told.
const KINDS: [LogKind; 9] = [
    LogKind::SessionStart,
    LogKind::SessionEnd,
    LogKind::Denied,
    LogKind::Request,
    LogKind::Noted,
    LogKind::Answered,
    LogKind::HoleOpen,
    LogKind::HoleClose,
    LogKind::Http,
];
/// Their fields that are told.
const FIELDS: [&str; 26] = [
    "uid",
    "left_out",
    "last",
    "name",
    "policy",
    "user",
    "parent",
    "denied",
    "names",
    "destination",
    "rule",
    "verdict",
    "count",
    "comm",
    "exe",
    "request",
    "note",
    "http",
    "answer",
    "hole",
    "ports",
    "connections",
    "outcome",
    "method",
    "host",
    "why",
];

/// Sends the records of a session that the caller's started, and refuses where there are none.
///
/// # Errors
///
/// If the connection fails, or the audit log cannot be read.
pub(super) async fn log(
    shared: &Shared,
    who: Agent,
    session: String,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let turn = Turn::of(shared, who).await;
    let sent = send_all(shared, who, session, write).await;
    turn.end();
    sent
}

async fn send_all(
    shared: &Shared,
    who: Agent,
    session: String,
    write: &mut OwnedWriteHalf,
) -> Result<(), FrameError> {
    let (own, started) = shared.with(|state| {
        let own = state.sessions.live(who.session());
        let own = own.map(|own| (ids::session(own.cgroup.id), own.about.clone()));
        let started = ids::parse_session(&session).ok();
        let started = started.and_then(|id| state.sessions.get(id));
        (own, started.and_then(|session| session.about.parent))
    });
    let Some((parent, about)) = own else {
        return send(write, error_frame(auth::inside().into())?).await;
    };
    // Before that the ids were those of others: they begin at one with each boot.
    let filter = Filter {
        session: Some(session),
        since: Some(about.started_at),
        uids: Some(vec![about.uid]),
    };
    let (mut reader, _) = opened(shared, filter)?;
    // Of one of which nothing is written, the log does not say who started it.
    let mut is_its = started == Some(who.session().0);
    loop {
        let batch;
        (batch, reader) = next_batch(reader).await?;
        for record in batch.records {
            is_its |= is_start_in(&record, &parent);
            if let Some(told) = told(record).filter(|_| is_its) {
                send(write, frame(&told, true)?).await?;
            }
        }
        if batch.is_last {
            break;
        }
    }
    let last = if is_its {
        frame(&json!({}), false)?
    } else {
        error_frame(auth::inside().into())?
    };
    send(write, last).await
}

fn is_start_in(record: &LogRecord, parent: &str) -> bool {
    match record.record() {
        Record::SessionStart(one) => matches!(one.parent, Field::Is(own) if own == parent),
        _ => false,
    }
}

/// What the inside is told of it.
fn told(mut record: LogRecord) -> Option<LogRecord> {
    record
        .fields
        .retain(|name, _| FIELDS.contains(&name.as_str()));
    KINDS.contains(&record.kind).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: serde_json::Value) -> Result<LogRecord, serde_json::Error> {
        serde_json::from_value(fields)
    }

    #[test]
    fn who_answered_and_how_stays_outside() -> Result<(), serde_json::Error> {
        let answered = record(json!({
            "at": "2026-11-20T12:00:00Z", "kind": "answered", "session": "s2", "request": "r1", "answer": "yes", "by": "alice",
            "from": {"uid": 1000}, "signed": {"by": "alice"}, "shown": {"token": "x"},
        }))?;
        let told = told(answered).map(|told| serde_json::to_value(told.fields));
        let expected = json!({"request": "r1", "answer": "yes"});
        assert_eq!(told.transpose()?, Some(expected));
        Ok(())
    }

    #[test]
    fn where_production_is_stays_outside() -> Result<(), serde_json::Error> {
        for kind in [
            "appeared",
            "dismissed",
            "trusted",
            "approver-added",
            "daemon-start",
        ] {
            let one = json!({"at": "2026-11-20T12:00:00Z", "kind": kind, "session": "s2", "key": "A", "file": ".env"});
            assert!(told(record(one)?).is_none(), "{kind}");
        }
        Ok(())
    }

    #[test]
    fn only_a_session_that_this_one_started_is_its() -> Result<(), serde_json::Error> {
        let start = |parent: Option<&str>| {
            record(
                json!({"at": "2026-11-20T12:00:00Z", "kind": "session-start", "session": "s2", "parent": parent}),
            )
        };
        assert!(is_start_in(&start(Some("s1"))?, "s1"));
        assert!(!is_start_in(&start(Some("s3"))?, "s1"));
        assert!(!is_start_in(&start(None)?, "s1"));
        Ok(())
    }
}
