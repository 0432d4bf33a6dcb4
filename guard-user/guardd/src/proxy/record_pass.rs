//! Lets a write pass: its record is in the audit log before the proxy gets the answer.

use guard_common::HoleId;
use guard_proto::{
    Failure,
    record::{Field, Http, RecordedDestination},
    wire::{AskAnswer, RedirectTarget},
};

use super::terms::TargetAccess;
use crate::{
    control::ids,
    record::{
        Recorder,
        audit::{AuditError, LogEntry},
    },
    requests::RequestKey,
    sessions::Sessions,
};

/// Why a request passes.
#[derive(Debug, Default)]
pub(super) struct PassedBy<'a> {
    /// The rule that stops it without a person's yes.
    pub(super) rule: Option<String>,
    /// The request that a person answered; without it and a hole, the policy has come to allow all.
    pub(super) request: Option<&'a str>,
    /// What that opened.
    pub(super) hole: Option<HoleId>,
}

/// The answer yes, if it can be written to the audit log.
///
/// No meter leaves out these records: each is a change at a read-only destination.
#[must_use]
pub(super) fn pass(
    recorder: &mut Recorder,
    sessions: &Sessions,
    key: &RequestKey,
    by: PassedBy<'_>,
) -> AskAnswer {
    match write_passed(recorder, sessions, key, by) {
        Ok(()) => {
            recorder.count_http("passed");
            AskAnswer::Yes
        }
        Err(error) => unwritten(error),
    }
}

fn write_passed(
    recorder: &mut Recorder,
    sessions: &Sessions,
    key: &RequestKey,
    by: PassedBy<'_>,
) -> Result<(), AuditError> {
    let session = sessions.get(key.session);
    let owner = session.map_or(0, |session| session.about.uid);
    let record = passed(key, by);
    let session = ids::session(key.session);
    recorder.write(LogEntry::of(session, owner, record))?;
    recorder.sync()
}

/// The record of one that passes.
fn passed(key: &RequestKey, by: PassedBy<'_>) -> Http {
    let http = key.http.as_deref().map(|http| &http.request);
    Http {
        outcome: "passed".into(),
        request: by.request.into(),
        hole: by.hole.map(ids::hole).into(),
        destination: RecordedDestination::Endpoint(key.endpoint(None)).into(),
        method: http.map(|http| http.method.clone()).into(),
        path: http.map(|http| http.path.clone()).into(),
        host: http.and_then(|http| http.host.clone()).into(),
        rule: by.rule.into(),
        sql: match http {
            Some(http) if http.is_statement() => true.into(),
            _ => Field::Absent,
        },
        ..Http::default()
    }
}

/// The outermost rule that stops it without a person's yes.
pub(super) fn rule_of(access: TargetAccess) -> Option<String> {
    match access {
        TargetAccess::Judged { rules, .. } => rules.into_iter().next()?.name,
        TargetAccess::Open | TargetAccess::Closed => None,
    }
}

/// The target of a request.
#[must_use]
pub(crate) fn target(key: &RequestKey) -> RedirectTarget {
    RedirectTarget {
        session: key.session.0,
        address: key.destination.to_ip(),
        port: key.port,
        listener: key.destination.ticket().map_or(0, |ticket| ticket.0),
    }
}

fn unwritten(error: AuditError) -> AskAnswer {
    let why = format!("it may pass, but that cannot be written down: {error}");
    tracing::error!("a request is refused: {why}");
    AskAnswer::No {
        request: None,
        why,
        fix: format!(
            "ask the person to {}, then send it again",
            Failure::from(error).fix
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, rc::Rc};

    use guard_common::{Address, SessionId};
    use guard_proto::HttpRequest;

    use super::*;
    use crate::{
        record::{audit::Audit, recorder},
        requests::HttpRequestKey,
        sessions::none_but,
    };

    fn write() -> RequestKey {
        let http = HttpRequestKey {
            request: HttpRequest {
                method: "DELETE".to_owned(),
                path: "/api/jobs/7?token=sesame".to_owned(),
                ..HttpRequest::default()
            },
            alone: None,
            plain: true,
            series: false,
            matter: None,
        };
        RequestKey::of_http(SessionId(1), Address::default(), 443, Rc::new(http))
    }

    #[test]
    fn a_write_passes_once_it_is_written_down() {
        let (mut recorder, _dir) = recorder();
        let by = PassedBy {
            rule: Some("photos".to_owned()),
            request: Some("r1"),
            hole: Some(HoleId(7)),
        };
        let sessions = none_but(&[(1, None)]);
        let answer = pass(&mut recorder, &sessions, &write(), by);
        assert_eq!(answer, AskAnswer::Yes);
        let log = fs::read_to_string(recorder.audit().path()).unwrap();
        for part in [
            "passed",
            "photos",
            "r1",
            "h7",
            "DELETE",
            "/api/jobs/7",
            "1000",
        ] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }

    #[test]
    fn a_write_that_cannot_be_written_down_does_not_pass() -> Result<(), AuditError> {
        let mut recorder = Recorder::new(Audit::open(Path::new("/dev/full"))?);
        let sessions = none_but(&[(1, None)]);
        let answer = pass(&mut recorder, &sessions, &write(), PassedBy::default());
        assert!(
            matches!(answer, AskAnswer::No { request: None, .. }),
            "{answer:?}"
        );
        Ok(())
    }
}
