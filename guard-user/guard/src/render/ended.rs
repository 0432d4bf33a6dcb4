//! Requests that do not wait any more, and how they ended.

use std::net::IpAddr;
use std::time::Duration;

use guard_policy::{PortSpec, Prefix, format_duration, protocol_number};
use guard_proto::{
    HttpRequest, LogRecord, Request,
    record::{Answered, Field, HoleOpen, Record, Settled},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::holes::HoleScope;
use super::page::{Page, STRONG};
use super::requests::policy_did;
use super::time::Clock;

/// A request that does not wait any more.
#[derive(Debug, Serialize)]
pub(crate) struct EndedRequest {
    #[serde(flatten)]
    pub(crate) request: Request,
    /// How it ended.
    pub(crate) ended: How,
}

/// How a request ended.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct How {
    /// `yes` or `no`.
    pub(crate) answer: Option<String>,
    /// Who answered.
    pub(crate) by: Option<String>,
    /// For so long.
    pub(crate) seconds: Option<f64>,
    /// What of it a yes lets pass, in words; empty: all.
    #[serde(skip)]
    pub(crate) scope: String,
    /// `answered`, `joined`, `opened`, `settled`, `session-end` or `expired`; null: not known.
    pub(crate) why: Option<&'static str>,
    /// `r9` or `h5`; what it is part of now, or what covers it.
    pub(crate) other: Option<String>,
    /// What a policy did that has settled it.
    #[serde(skip)]
    pub(crate) policy_did: Option<String>,
    /// The other request to which a yes has opened that hole.
    #[serde(skip)]
    pub(crate) yes_to: Option<String>,
}

/// What is reported of a time may be a moment late.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// guardd keeps a request that nobody tries any more so long.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

impl EndedRequest {
    /// As the audit log has it, and what waits now.
    pub(crate) fn of(
        request: Request,
        records: &[LogRecord],
        waiting: &[Request],
        now: Timestamp,
    ) -> Self {
        let joined = waiting.iter().find(|one| is_part(&request, one));
        let is_old = now.duration_since(request.last_at) >= KEPT;
        let mut ended = How {
            why: match joined {
                Some(_) => Some("joined"),
                None => is_old.then_some("expired"),
            },
            other: joined.map(|one| one.id.clone()),
            ..How::default()
        };
        let own = |one: &&LogRecord| one.session.as_ref() == Some(&request.session);
        for record in records.iter().filter(own) {
            ended.read(record, &request);
        }
        if request.held && ended.answer.is_none() {
            ended.why = ended.why.or(Some("withdrawn"));
        }
        Self { request, ended }
    }
}

impl How {
    /// Takes in what a record of the request's session says of it.
    fn read(&mut self, record: &LogRecord, request: &Request) {
        let is_answered = self.answer.is_some();
        match record.record() {
            Record::Answered(one) if is_of(&one, &request.id) => {
                *self = Self {
                    answer: one.answer.take(),
                    by: one.by.take(),
                    seconds: one.seconds.take(),
                    why: Some("answered"),
                    ..Self::default()
                };
            }
            Record::HoleOpen(one) if one.request.get() == Some(&request.id) => {
                self.scope = HoleScope::of(&one).words();
            }
            // An older one would have let it pass.
            Record::HoleOpen(one)
                if !is_answered && record.at >= request.last_at && is_for(&one, request) =>
            {
                *self = Self {
                    by: one.by.take(),
                    why: Some("opened"),
                    other: one.hole.take(),
                    yes_to: one.request.take(),
                    ..Self::default()
                };
            }
            Record::Settled(one) if !is_answered && is_settled(&one, &request.id) => {
                let (policy, verdict) = (one.policy.get(), one.verdict.get());
                let did = policy_did(policy.map(String::as_str), verdict.map(String::as_str));
                *self = Self {
                    why: Some("settled"),
                    policy_did: Some(did),
                    ..Self::default()
                };
            }
            Record::SessionEnd(_) if matches!(self.why, None | Some("expired")) => {
                self.why = Some("session-end");
            }
            _ => {}
        }
    }
}

/// Whether a request has become a part of another, which is about many addresses, names or statements.
fn is_part(request: &Request, of: &Request) -> bool {
    if (&request.session, request.id == of.id) != (&of.session, false) {
        return false;
    }
    let (to, all) = (&request.destination, &of.destination);
    let is_there = (&to.protocol, to.port) == (&all.protocol, all.port);
    let of_names = of.question.as_ref().and_then(|one| one.zone());
    match (&request.question, &of.burst, &request.http, &of.http) {
        (Some(own), ..) => of_names.is_some_and(|zone| is_below(&own.name, zone)),
        (None, Some(burst), None, _) => is_there && holds(&burst.prefix, &to.address),
        (None, _, Some(own), Some(all)) => {
            let all = all.path.split_once(&own.path);
            is_there && all.is_some_and(|(_, rest)| rest.starts_with(HttpRequest::BETWEEN))
        }
        _ => false,
    }
}

/// Whether a hole that was not opened for that request covers it.
fn is_for(hole: &HoleOpen, request: &Request) -> bool {
    let to = &request.destination;
    let place = hole.destination.get().map_or("", String::as_str);
    if let Some(question) = &request.question {
        let zone = place.strip_prefix("*.");
        let is_below = zone.is_some_and(|zone| is_below(&question.name, zone));
        return hole.http.is_none() && (place == question.name || is_below);
    }
    let lets_through = match (hole.http.get(), &request.http) {
        (None, None) => true,
        // One for reads lets no such request through.
        (None, Some(_)) => hole.read_only.get() != Some(&true),
        (Some(scope), Some(http)) => {
            let is = |wanted: Option<&str>, own: &str| wanted.is_none_or(|wanted| wanted == own);
            scope.digest.is_none()
                && is(scope.method.as_deref(), &http.method)
                && is(scope.path.as_deref(), &http.path)
        }
        (Some(_), None) => false,
    };
    let is_name = to.host.is_some() && to.host.as_ref() == hole.name.get();
    let protocol = protocol_number(&to.protocol);
    let covers = |spec: PortSpec| {
        protocol.is_some_and(|protocol| spec.covers(protocol, to.port.unwrap_or(0)))
    };
    let ports = hole.ports.get().map(|ports| ports.parse::<PortSpec>());
    let has_port = ports.is_none_or(|spec| spec.is_ok_and(covers));
    lets_through && has_port && (is_name || holds(place, &to.address))
}

/// Whether an address lies in a prefix.
fn holds(prefix: &str, address: &str) -> bool {
    let (prefix, address) = (prefix.parse::<Prefix>(), address.parse::<IpAddr>());
    let address = address.map(Prefix::from);
    prefix.is_ok_and(|prefix| address.is_ok_and(|address| prefix.contains(&address)))
}

/// Whether a name, or all below one, lies below another.
fn is_below(name: &str, zone: &str) -> bool {
    let above = name.strip_suffix(zone);
    above.is_some_and(|labels| labels.ends_with('.') && labels != "*.")
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

/// Whether a policy has settled that request, or one that it had become a part of.
fn is_settled(settled: &Settled, id: &str) -> bool {
    let parts = settled.parts.get().into_iter().flatten();
    settled
        .request
        .get()
        .into_iter()
        .chain(parts)
        .any(|one| one == id)
}

/// How it ended, in a line.
pub(crate) fn line(all: &EndedRequest, _clock: &Clock) -> Page {
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
        (None, _, Some("opened")) => page.line(opened(how)),
        (None, _, Some("settled")) => {
            let did = how.policy_did.as_deref().unwrap_or("a policy was changed");
            page.line(format_args!("{did}, before anybody had answered"))
        }
        (None, _, Some("joined")) => page.line(format_args!(
            "it is a part of {} now",
            how.other.as_deref().unwrap_or("another")
        )),
        (None, _, Some("session-end")) => page.line(format_args!(
            "not answered, and {} has ended",
            request.session
        )),
        (None, _, Some("expired")) => {
            page.line("not answered, and nobody has tried it for an hour")
        }
        (None, _, Some("withdrawn")) => {
            page.line("nothing waits for it any more: its program gave up, or it went on by itself")
        }
        (None, ..) => page.line("it does not wait any more"),
    };
    page
}

/// That a hole covers it which was opened for something else.
fn opened(how: &How) -> String {
    let hole = how.other.as_deref().unwrap_or("a hole");
    let by = how.by.as_deref().unwrap_or("somebody");
    match &how.yes_to {
        Some(other) => format!("the yes to {other}, by {by}, is for it, too ({hole})"),
        None => format!("{hole}, opened by {by}, lets it pass"),
    }
}

/// That a request's connections wait no more, while it does; as it was while they did. Before its time the program gave up.
pub(crate) fn given_up(request: &Request, clock: &Clock) -> Page {
    let is_early = request
        .waits_until
        .is_some_and(|until| until > clock.now + MOMENT);
    let why = if is_early {
        "the program gave up before anybody answered"
    } else {
        "not answered in time, and its connection gave up"
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

    use guard_proto::{DnsQuestion, requests::Burst};

    use super::super::examples::{clock, request};
    use super::*;
    use crate::report::summary::tests::records;

    #[test]
    fn a_request_that_waits_no_more_says_how_it_ended() {
        let now = clock().now;
        let ended = |all| EndedRequest::of(request(), &records(all), &[], now);
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
        // What settled it was no end of its session.
        let settled = json!({"kind": "settled", "session": "s1", "request": "r7", "parts": ["r1"], "policy": "ci", "rule": null, "verdict": "deny"});
        assert_eq!(
            said(json!([settled, end])),
            "r1: policy ci denied it, before anybody had answered\n"
        );
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
        let late = EndedRequest::of(request(), &[], &[], now + KEPT);
        assert_eq!(
            line(&late, &clock()).plain(),
            "r1: not answered, and nobody has tried it for an hour\n"
        );
        let object = serde_json::to_value(ended(json!([yes]))).unwrap();
        assert_eq!(object["id"], "r1");
        assert_eq!(
            object["ended"],
            json!({"answer": "yes", "by": "alice", "seconds": null, "why": "answered", "other": null})
        );
    }

    #[test]
    fn what_another_answer_was_for_too_names_it() {
        let to = |host: Option<&str>| {
            let mut one = request();
            one.destination.host = host.map(str::to_owned);
            one
        };
        let said = |one: Request, hole: serde_json::Value| {
            let mut record =
                json!({"kind": "hole-open", "session": "s1", "hole": "h5", "by": "alice"});
            let fields = record.as_object_mut().unwrap();
            fields.extend(hole.as_object().unwrap().clone());
            let ended = EndedRequest::of(one, &records(json!([record])), &[], clock().now);
            line(&ended, &clock()).plain()
        };
        let unknown = "r1: it does not wait any more\n";
        let address = request().destination.address;
        let there = json!({"destination": format!("{address}/32"), "ports": "tcp/443"});
        assert_eq!(
            said(to(None), there.clone()),
            "r1: h5, opened by alice, lets it pass\n"
        );
        let mut yes = there.clone();
        yes["request"] = json!("r28");
        let too = "r1: the yes to r28, by alice, is for it, too (h5)\n";
        assert_eq!(said(to(None), yes), too);
        // Of a name, the record has the first address.
        let named =
            json!({"destination": "192.0.2.99/32", "name": "db.example.com", "request": "r28"});
        assert_eq!(said(to(Some("db.example.com")), named.clone()), too);
        assert_eq!(said(to(Some("other.example.com")), named), unknown);
        let mut other = there.clone();
        other["ports"] = json!("tcp/80");
        assert_eq!(said(to(None), other), unknown);
        // A hole for HTTP lets no connection through.
        let mut http = there;
        http["http"] = json!({"method": null, "path": null, "requests_left": null, "digest": null});
        assert_eq!(said(to(None), http), unknown);
    }

    #[test]
    fn what_has_become_a_part_of_another_names_it() {
        let said = |of: &Request| {
            let ended = EndedRequest::of(request(), &[], std::slice::from_ref(of), clock().now);
            line(&ended, &clock()).plain()
        };
        let burst = |prefix: &str| Request {
            id: "r9".to_owned(),
            burst: Some(Burst {
                prefix: prefix.to_owned(),
                addresses: Vec::new(),
                count: 4,
            }),
            ..request()
        };
        let address = request().destination.address;
        assert_eq!(
            said(&burst(&format!("{address}/32"))),
            "r1: it is a part of r9 now\n"
        );
        assert_eq!(
            said(&burst("198.51.100.0/24")),
            "r1: it does not wait any more\n"
        );
        let own = Request {
            id: "r1".to_owned(),
            ..burst("0.0.0.0/0")
        };
        assert_eq!(said(&own), "r1: it does not wait any more\n");
        let question = |name: &str| DnsQuestion {
            name: name.to_owned(),
            types: Vec::new(),
            bytes: 9,
        };
        let asked = |id: &str, name: &str| Request {
            id: id.to_owned(),
            question: Some(question(name)),
            ..request()
        };
        let zone = asked("r9", "*.evil.example");
        assert!(is_part(&asked("r1", "a.b.evil.example"), &zone));
        assert!(!is_part(&asked("r1", "evil.example"), &zone));
        assert!(!is_part(&asked("r1", "an-evil.example"), &zone));
    }
}
