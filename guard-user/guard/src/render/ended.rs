//! Requests that do not wait any more, and how they ended.

use std::time::Duration;

use guard_policy::format_duration;
use guard_proto::{
    LogRecord, Request,
    record::{Answered, Field, Record},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::holes::HoleScope;
use super::page::{Page, STRONG};
use super::time::Clock;

/// A request that does not wait any more.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    #[serde(flatten)]
    pub(crate) request: Request,
    /// How it ended.
    pub(crate) ended: How,
}

/// How a request ended.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct How {
    /// `yes` or `no`; null: nobody answered.
    pub(crate) answer: Option<String>,
    /// Who answered.
    pub(crate) by: Option<String>,
    /// For so long; null: not known.
    pub(crate) seconds: Option<f64>,
    /// What of it a yes lets pass, in words; empty: all.
    #[serde(skip)]
    pub(crate) scope: String,
    /// `answered`, `session-end` or `expired`; null: not known.
    pub(crate) why: Option<&'static str>,
}

/// What is told of a time may be a moment late.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// guardd keeps a request that nobody tries any more so long.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

impl Ended {
    /// As the audit log has it.
    pub(crate) fn of(request: Request, records: &[LogRecord], now: Timestamp) -> Self {
        let mut how = How {
            answer: None,
            by: None,
            seconds: None,
            scope: String::new(),
            why: (now.duration_since(request.last_at) >= KEPT).then_some("expired"),
        };
        for record in records
            .iter()
            .filter(|one| one.session.as_ref() == Some(&request.session))
        {
            match record.record() {
                Record::Answered(one) if is_of(&one, &request.id) => {
                    how = How {
                        answer: one.answer.take(),
                        by: one.by.take(),
                        seconds: one.seconds.take(),
                        scope: String::new(),
                        why: Some("answered"),
                    };
                }
                Record::HoleOpen(one) if one.request.get() == Some(&request.id) => {
                    how.scope = HoleScope::of(&one).words();
                }
                Record::SessionEnd(_) if how.answer.is_none() => how.why = Some("session-end"),
                _ => {}
            }
        }
        Self {
            request,
            ended: how,
        }
    }
}

/// Whether an answer is to that request, or to one that it had become a part of.
fn is_of(answered: &Answered, id: &str) -> bool {
    let named = [&answered.request, &answered.called];
    let parts = answered.parts.get().into_iter().flatten();
    named
        .into_iter()
        .filter_map(Field::get)
        .chain(parts)
        .any(|one| one == id)
}

/// How it ended, in a line.
pub(crate) fn line(all: &Ended, _clock: &Clock) -> Page {
    let (request, how) = (&all.request, &all.ended);
    let mut page = Page::default();
    page.styled(STRONG, &request.id).text(": ");
    let time = how.seconds.map(Duration::try_from_secs_f64);
    let time = time.and_then(Result::ok).map_or_else(String::new, |time| {
        format!("{}, for {}", how.scope, format_duration(time))
    });
    match (&how.answer, &how.by, how.why) {
        (Some(answer), Some(by), _) => page.line(format_args!("{answer}, by {by}{time}")),
        (Some(answer), None, _) => page.line(format_args!("{answer}{time}")),
        (None, _, Some("session-end")) => page.line(format_args!(
            "not answered, and {} has ended",
            request.session
        )),
        (None, _, Some("expired")) => {
            page.line("not answered, and nobody has tried it for an hour")
        }
        (None, ..) => page.line("it does not wait any more"),
    };
    page
}

/// That a request's connections wait no more, while it does; as it was while they did. Before its time the program gave up.
pub(crate) fn given_up(request: &Request, clock: &Clock) -> Page {
    let is_early = request
        .waits_until
        .is_some_and(|until| until > clock.now + MOMENT);
    let why = match is_early {
        true => "the program gave up before anybody answered",
        false => "not answered in time, and its connection gave up",
    };
    waits_no_more(request, why)
}

/// That what guardd's proxy or its resolver held for a request has failed, since guardd has gone.
pub(crate) fn lost(request: &Request, _clock: &Clock) -> Page {
    waits_no_more(request, "it waits no more, since guardd has gone")
}

fn waits_no_more(request: &Request, why: &str) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, &request.id).line(format_args!(
        ": {why}; for the next one: guard approve {}",
        request.id
    ));
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::examples::{clock, request};
    use super::*;
    use crate::report::summary::tests::records;

    #[test]
    fn a_request_that_waits_no_more_says_how_it_ended() {
        let now = clock().now;
        let ended = |all| Ended::of(request(), &records(all), now);
        let said = |all| line(&ended(all), &clock()).plain();
        let answered = |session: &str, request: &str, answer: &str, by: serde_json::Value| json!({"kind": "answered", "session": session, "request": request, "answer": answer, "by": by});
        let yes = answered("s1", "r1", "yes", json!("alice"));
        let end = json!({"kind": "session-end", "session": "s1"});
        assert_eq!(said(json!([yes, end])), "r1: yes, by alice\n");
        assert_eq!(
            said(json!([answered("s1", "r1", "no", json!(null))])),
            "r1: no\n"
        );
        let others = [
            answered("s1", "r2", "yes", json!("bob")),
            answered("s2", "r1", "yes", json!("bob")),
        ];
        assert_eq!(said(json!(others)), "r1: it does not wait any more\n");
        let mut timed = yes.clone();
        timed["seconds"] = json!(900.0);
        assert_eq!(said(json!([timed.clone()])), "r1: yes, by alice, for 15m\n");
        let opened = |terms: serde_json::Value| {
            let mut hole =
                json!({"kind": "hole-open", "session": "s1", "hole": "h1", "request": "r1"});
            hole.as_object_mut()
                .unwrap()
                .extend(terms.as_object().unwrap().clone());
            said(json!([timed, hole]))
        };
        assert_eq!(
            opened(json!({"connections": 1, "read_only": true})),
            "r1: yes, by alice, reads only, 1 connection, for 15m\n"
        );
        let http = json!({"method": "DELETE", "path": "/a", "host": "photos", "requests_left": 1, "digest": "0a"});
        assert_eq!(
            opened(json!({"http": http})),
            "r1: yes, by alice, DELETE photos/a, once, for 15m\n"
        );
        // One that had become a part of another.
        let mut part = answered("s1", "r7", "no", json!("alice"));
        part["parts"] = json!(["r3", "r1"]);
        assert_eq!(said(json!([part])), "r1: no, by alice\n");
        assert_eq!(said(json!([end])), "r1: not answered, and s1 has ended\n");
        assert_eq!(
            given_up(&request(), &clock()).plain(),
            "r1: not answered in time, and its connection gave up; for the next one: guard approve r1\n"
        );
        assert_eq!(
            lost(&request(), &clock()).plain(),
            "r1: it waits no more, since guardd has gone; for the next one: guard approve r1\n"
        );
        // Its time was not over.
        let early = Request {
            waits_until: Some(now + SignedDuration::from_secs(56)),
            ..request()
        };
        assert_eq!(
            given_up(&early, &clock()).plain(),
            "r1: the program gave up before anybody answered; for the next one: guard approve r1\n"
        );
        let late = Ended::of(request(), &[], now + KEPT);
        assert_eq!(
            line(&late, &clock()).plain(),
            "r1: not answered, and nobody has tried it for an hour\n"
        );
        let object = serde_json::to_value(ended(json!([yes]))).unwrap();
        assert_eq!(object["id"], "r1");
        assert_eq!(
            object["ended"],
            json!({"answer": "yes", "by": "alice", "seconds": null, "why": "answered"})
        );
    }
}
