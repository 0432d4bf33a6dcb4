//! Requests that nobody answered while their session ran, by the audit log.

use std::time::Duration;

use guard_proto::{Call, ErrorName, Failure, LogRecord};

use super::client::Client;
use super::error::CliError;
use super::render::requests::{self, Gone};
use super::render::time::Clock;
use super::report::summary::Report;

/// What went with its session in this time is named where nothing waits.
const LATELY: Duration = Duration::from_hours(1);
/// In this time somebody may still type the id.
const TYPED: Duration = Duration::from_hours(24);
/// Where so many of a session wanted to go is named.
const NAMED: usize = 8;

fn report(client: Client, since: Duration) -> Result<Report, CliError> {
    let call = Call::Log {
        follow: false,
        session: None,
        since: Some(since.as_secs_f64()),
    };
    let records = client.stream::<LogRecord>(&call)?;
    let records = records.collect::<Result<Vec<_>, CliError>>()?;
    Ok(Report::of(&records))
}

/// The sessions that have ended lately and took requests with them.
pub(super) fn lately(client: Client) -> Result<Vec<Gone>, CliError> {
    Ok(of(&report(client, LATELY)?))
}

fn of(report: &Report) -> Vec<Gone> {
    let gone = report.sessions.iter().filter_map(|session| {
        let its = report.unanswered(session);
        let last = its.last()?;
        let wanted = its.iter().filter_map(|one| {
            let words = one.words()?;
            Some(format!("{}: {words}", one.id))
        });
        let wanted: Vec<_> = wanted.collect();
        Some(Gone {
            session: session.id.clone(),
            ids: its.iter().map(|one| one.id.clone()).collect(),
            wanted: wanted[wanted.len().saturating_sub(NAMED)..].to_vec(),
            argument: last.argument.clone(),
        })
    });
    gone.collect()
}

/// What could not be answered, each with its id: what ended a request that nobody answered is said.
pub(super) fn explained(client: Client, failed: Vec<(String, CliError)>) -> Vec<CliError> {
    let is_unknown = |error: &CliError| error.name() == Some(ErrorName::NotFound);
    let report = failed
        .iter()
        .any(|(_, error)| is_unknown(error))
        .then(|| report(client, TYPED).ok())
        .flatten();
    let clock = Clock::system();
    let all = failed
        .into_iter()
        .map(|(id, error)| match (&report, error) {
            (Some(report), CliError::Answer { name, failure }) if name == ErrorName::NotFound => {
                let failure = ended(report, &id, &clock).unwrap_or(failure);
                CliError::Answer { name, failure }
            }
            (_, error) => error,
        });
    all.collect()
}

/// What ended a request that nobody has answered, if anything did: a policy, or the end of its session.
fn ended(report: &Report, id: &str, clock: &Clock) -> Option<Failure> {
    let (one, session) = report.request_called(id)?;
    let is_answered = one.answer.is_some();
    let argument = one.argument.as_deref();
    if let Some(by) = one.settled.as_ref().filter(|_| !is_answered) {
        let again = argument.filter(|_| session.ended_at.is_none());
        return Some(requests::settled(id, again, &session.id, by, clock));
    }
    let ended_at = session.ended_at.filter(|_| !is_answered)?;
    Some(requests::went(id, argument, &session.id, ended_at, clock))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::examples::clock;
    use crate::report::summary::tests::records;

    fn log() -> Vec<LogRecord> {
        let to = |last: u8| json!({"address": format!("192.0.2.{last}"), "port": 443, "protocol": "tcp", "host": null});
        let asked = |request: &str, last| json!({"kind": "request", "session": "s1", "request": request, "destination": to(last), "verdict": "confirm"});
        records(json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            asked("r1", 1), asked("r2", 2), asked("r3", 3), asked("r4", 4), asked("r5", 5),
            {"kind": "answered", "session": "s1", "request": "r5", "answer": "no", "by": "alice"},
            {"kind": "session-start", "session": "s2", "name": "other"},
            {"kind": "request", "session": "s2", "request": "r6", "destination": to(6), "verdict": "confirm"},
            asked("r8", 8), asked("r9", 9),
            {"kind": "settled", "session": "s1", "request": "r8", "parts": ["r9"], "policy": "ci", "rule": null, "verdict": "allow"},
            {"kind": "session-end", "session": "s1", "denied": 4},
        ]))
    }

    #[test]
    fn the_last_that_nobody_answered_are_named() {
        let gone = of(&Report::of(&log()));
        let [gone] = &gone[..] else {
            panic!("{gone:?}");
        };
        assert_eq!(gone.ids, ["r1", "r2", "r3", "r4"]);
        let wanted = [
            "r1: tcp 192.0.2.1:443",
            "r2: tcp 192.0.2.2:443",
            "r3: tcp 192.0.2.3:443",
            "r4: tcp 192.0.2.4:443",
        ];
        assert_eq!(gone.wanted, wanted);
        assert_eq!(gone.argument.as_deref(), Some("192.0.2.4:443"));
    }

    #[test]
    fn an_answer_that_comes_after_the_session_is_told_so() {
        let report = Report::of(&log());
        let failure = ended(&report, "r2", &clock()).unwrap();
        assert!(
            failure.why.contains("it went with s1, which ended"),
            "{failure}"
        );
        assert!(
            failure.fix.contains("guard open 192.0.2.2:443"),
            "{failure:?}"
        );
        // What was answered, what still waits, and what never was.
        for id in ["r5", "r6", "r7"] {
            assert!(ended(&report, id, &clock()).is_none(), "{id}");
        }
    }

    #[test]
    fn what_a_policy_settled_did_not_go_with_its_session() {
        let report = Report::of(&log());
        for id in ["r8", "r9"] {
            let failure = ended(&report, id, &clock()).unwrap();
            assert!(failure.why.starts_with("policy ci allowed it"), "{failure}");
        }
        let mut ids = of(&report).into_iter().flat_map(|gone| gone.ids);
        assert!(!ids.any(|id| id == "r8" || id == "r9"));
    }
}
