//! A person's yes to an HTTP request or SQL statement: a hole for that one, or for more like it.

use guard_common::{BootTime, HoleId};
use guard_judge::http as judge;
use guard_policy::Prefix;
use guard_proto::{
    self as proto, HoleTerms, HttpHole, HttpRequest, moment,
    record::{Answered, HoleOpen},
    wire::{AskAnswer, RedirectTarget, TransactionState},
};
use guard_sys::clock::{self, Clocks};

use super::{Proxy, requests::too_late_for};
use crate::{
    changes::Change,
    control::{answering::Answering, failure::CallError, ids},
    holes::{
        checked::CheckedHole,
        covers::{Covers, said},
        ending::HoleEnd,
        hole::{Hole, HoleOrigin, Scope},
        requests::RequestScope,
    },
    policies::Policies,
    record::audit::LogEntry,
    requests::{
        HttpRequestKey, Pending, RequestKey,
        approve_or_deny::CalledRequest,
        given::{self, AnsweredRequest, OpenedByYes, YesOrNo},
        hosts, shown,
    },
    sessions::Sessions,
    state::State,
    times::after,
};

/// What a person lets through beside the request itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Widening {
    /// All requests with its method and a path like this.
    pub(crate) path: Option<String>,
    /// All requests that change something there, at its host.
    pub(crate) writes: bool,
}

impl Widening {
    /// Whether it is nothing more.
    #[must_use]
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The requests that a yes to this one covers, which is called `id`. `is_held`: its client is held.
    fn covers(&self, id: &str, http: &HttpRequestKey, is_held: bool) -> Result<Covers, CallError> {
        let (request, alone) = (&http.request, http.alone.filter(|_| is_held));
        let covers = match (&self.path, self.writes) {
            (Some(_), true) => return Err(both()),
            (Some(pattern), false) => Covers::Path {
                scheme: request.scheme.clone(),
                host: request.host.clone(),
                method: request.method.clone(),
                // Its own text as the pattern means that text: no `*` is a wildcard that an agent has put there.
                pattern: if *pattern == request.path {
                    HttpRequest::literal(pattern)
                } else {
                    pattern.clone()
                },
                headers: said(request),
            },
            (None, true) => Covers::writes_to_host_of(request),
            (None, false) => match (alone, &request.digest) {
                (Some(number), _) => Covers::Waiting(request.clone(), number),
                (None, Some(_)) => Covers::Digest(request.clone()),
                (None, None) => return Err(unknown_again(request)),
            },
        };
        if covers.covers(http) {
            return Ok(covers);
        }
        Err(match (&self.path, http.plain) {
            (None, _) if request.is_grave() => grave(id, request),
            (None, _) => for_another_host(),
            (Some(_), _) if request.is_statement() && !has_pattern(http) => no_pattern(id, request),
            (Some(path), true) => not_like_that(id, path, request),
            (Some(_), false) => not_plain(),
        })
    }
}

/// A hole that a yes opens, and the request as the person saw it.
struct HoleOfYes<'a> {
    hole: Hole,
    shown: &'a proto::Request,
}

/// For how many requests a hole is; none for any number.
fn requests_left(covers: &Covers, widening: &Widening, requests: Option<u32>) -> Option<u32> {
    match (covers, widening.is_none()) {
        (Covers::Waiting(..), _) => Some(1),
        (_, true) => Some(requests.unwrap_or(1)),
        (_, false) => requests,
    }
}

/// The requests up to the one that was `called` which these holes answer, by their ids: of `requests` at most.
fn answered_by_holes(
    asked: &Pending,
    called: &str,
    holes: &[HoleOfYes<'_>],
    requests: Option<u32>,
) -> Vec<String> {
    let is_covered = |key: &RequestKey| holes.iter().any(|one| one.hole.is_for(key));
    let answered = asked.each_up_to(called);
    let answered = answered.filter(|(key, _)| is_covered(key));
    let mut answered: Vec<_> = answered.map(|(_, shown)| shown.id.clone()).collect();
    // A hole for a number of requests answers only that many: the newest, about which the person was asked last.
    if let Some(left) = requests.and_then(|left| usize::try_from(left).ok()) {
        answered.drain(..answered.len().saturating_sub(left.max(holes.len())));
    }
    answered
}

impl State {
    /// Answers an HTTP request with yes, or the statements of a series up to the id that it was `called` by.
    ///
    /// # Errors
    ///
    /// Why it cannot be let through; then it still waits.
    pub(crate) fn approve_http(
        &mut self,
        by: &Answering,
        called: CalledRequest<'_>,
        widening: &Widening,
        terms: &HoleTerms,
    ) -> Result<proto::HolesReply, CallError> {
        let wanted = self.proxy.wanted(called, widening)?;
        let CalledRequest { id: called, asked } = called;
        let key = &asked.key;
        let checked = checked_yes(&self.sessions, &self.policies, key, terms)?;
        let requests = terms.requests.or(terms.connections);
        let opened_by = self.machine.name_of(by);
        let mut open = Vec::new();
        for (covers, shown) in wanted {
            let left = requests_left(&covers, widening, requests);
            let scope = scope_for(key, shown, covers, left, checked.bytes)?;
            let hole = hole_for(shown, scope, &checked, &opened_by);
            open.push(HoleOfYes { hole, shown });
        }
        let answered = answered_by_holes(asked, called, &open, requests);
        let ids = self.write_holes(by, &checked, &open, &answered)?;
        self.note_http_yes(by, &ids, &open, asked, &answered);
        self.requests
            .take_those(|_, id| answered.iter().any(|one| one == id));
        for id in &answered {
            self.requests
                .answered_by(&opened_by, id, asked.owner, "yes");
        }
        let mut holes = Vec::new();
        for (id, HoleOfYes { hole, shown }) in ids.into_iter().zip(open) {
            holes.extend(self.put_hole(id, hole, shown));
        }
        Ok(proto::HolesReply {
            holes,
            warnings: checked.warnings,
        })
    }

    /// Notes which of the answered requests each hole is for, for `guard why`: before it may be used up.
    fn note_http_yes(
        &mut self,
        by: &Answering,
        ids: &[HoleId],
        holes: &[HoleOfYes<'_>],
        asked: &Pending,
        answered: &[String],
    ) {
        let is_answered = |shown: &proto::Request| answered.contains(&shown.id);
        for (id, HoleOfYes { hole, .. }) in ids.iter().zip(holes) {
            let its = asked.each().filter(|(key, _)| hole.is_for(key));
            for (key, shown) in its.filter(|(_, shown)| is_answered(shown)) {
                let opened = OpenedByYes {
                    hole: *id,
                    covers: given::HoleCoverage::Asked,
                    ended: None,
                };
                let request = AnsweredRequest::of(asked, &shown.id, key.clone(), shown);
                let said = YesOrNo::Yes(vec![opened]);
                self.note_given(by, key.session, said, Some(request));
            }
        }
    }

    /// Writes all holes to the audit log, or none; `answered` are the requests that they answer.
    fn write_holes(
        &mut self,
        by: &Answering,
        checked: &CheckedHole,
        holes: &[HoleOfYes<'_>],
        answered: &[String],
    ) -> Result<Vec<HoleId>, CallError> {
        let mut written = Vec::new();
        for HoleOfYes { hole, shown } in holes {
            let is_part = |id: &&String| holes.len() == 1 && **id != shown.id;
            let parts: Vec<_> = answered.iter().filter(is_part).cloned().collect();
            match self.write_hole(by, checked, hole, &parts, shown) {
                Ok(id) => written.push(id),
                Err(refusal) => {
                    for (id, HoleOfYes { hole, .. }) in written.into_iter().zip(holes) {
                        self.hole_ended(id, hole, HoleEnd::NotWritten, None);
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(written)
    }

    /// Writes the answer and the hole to the audit log. `parts`: the other requests that it answers.
    fn write_hole(
        &mut self,
        by: &Answering,
        checked: &CheckedHole,
        hole: &Hole,
        parts: &[String],
        asked: &proto::Request,
    ) -> Result<HoleId, CallError> {
        let left = hole.requests().and_then(|requests| requests.left);
        let session = ids::session(hole.session);
        let answered = Answered {
            request: asked.id.clone().into(),
            parts: (!parts.is_empty()).then(|| parts.to_vec()).into(),
            answer: "yes".into(),
            seconds: checked.time.as_secs_f64().into(),
            connections: left.into(),
            bytes: checked.bytes.into(),
            shown: shown::as_shown(asked).into(),
            ..self.machine.answered_by(by)
        };
        self.recorder.reserve()?;
        self.recorder
            .write(LogEntry::of(&session, checked.owner, answered))?;
        let id = self.datapath.next_hole()?;
        let shown = hole.shown(id, &Clocks::read());
        let shown = shown.ok_or_else(|| ids::no_hole(&ids::hole(id)))?;
        let opened = HoleOpen {
            hole: shown.id.into(),
            destination: shown.destination.into(),
            ports: shown.ports.into(),
            reason: shown.reason.into(),
            request: asked.id.clone().into(),
            expires_at: moment::text(shown.expires_at).into(),
            connections: left.into(),
            bytes: checked.bytes.into(),
            http: shown.http.map(|http| for_audit_log(http, asked)).into(),
            by: self.machine.name_of(by).into(),
            from: by.from.clone().into(),
            ..HoleOpen::default()
        };
        let written = self
            .recorder
            .write(LogEntry::of(&session, checked.owner, opened));
        if let Err(error) = written.and_then(|()| self.recorder.sync()) {
            self.hole_ended(id, hole, HoleEnd::NotWritten, None);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Puts a hole in place, and lets held clients through. Returns the hole as it is then.
    fn put_hole(&mut self, id: HoleId, hole: Hole, asked: &proto::Request) -> Option<proto::Hole> {
        let mut shown = hole.shown(id, &Clocks::read())?;
        self.recorder.count("holes_opened");
        self.recorder.count_answer("answers.yes", asked.asked_at);
        let is_counted = hole.requests().is_some_and(RequestScope::is_counted);
        let is_for = hole.clone();
        self.holes.add(id, hole);
        self.let_those_through(&asked.id);
        // So that `guard holes` shows a request that is refused although it would have passed.
        if !is_counted {
            self.requests.take_those(|one, _| is_for.is_for(one));
        }
        // The kernel half has no refusals of these.
        let (session, outermost) = (is_for.session, self.sessions.outermost_of(is_for.session));
        let is_open = |all: &[RequestKey]| all.iter().all(|one| is_for.is_for(one));
        drop(self.requests.lift_noes(session, outermost, is_open));
        self.apply(Change::Requests);
        self.apply(Change::Holes);
        let now = self.holes.get(id).and_then(Hole::requests);
        let left = now.map_or(Some(0), |now| now.left);
        if let Some(http) = &mut shown.http {
            http.requests_left = left;
        }
        Some(shown)
    }

    /// Lets held clients through, first those held for that answer; a client whose yes was used up by another gets a new
    /// request.
    fn let_those_through(&mut self, request: &str) {
        let now = clock::now();
        let mut answered = vec![request.to_owned()];
        let mut held = self.proxy.held.all();
        held.sort_by_key(|(_, client)| client.request != request);
        for (number, client) in held {
            let held_for = Some(client.request.as_str());
            if let Some(answer) = self.spend_hole(
                &client.key,
                &client.target,
                client.transaction,
                held_for,
                now,
            ) {
                self.proxy
                    .end_hold(&mut self.requests, number, &client, answer);
                answered.push(client.request);
            }
        }
        for request in answered {
            self.ask_again(&request);
        }
    }

    /// Uses a hole for a request of a connection to `target`, if there is one, and answers it. `held_for`: the request for whose answer its
    /// client is held, if it is.
    pub(super) fn spend_hole(
        &mut self,
        key: &RequestKey,
        target: &RedirectTarget,
        transaction: TransactionState,
        held_for: Option<&str>,
        now: BootTime,
    ) -> Option<AskAnswer> {
        let (id, requests) = self.holes.for_request(key, held_for, now)?;
        if let Some(answer) = too_late_for(transaction) {
            return Some(answer);
        }
        let request = requests.request.clone();
        let answer = self.pass(key, target, Some(&request), Some(id));
        if answer != AskAnswer::Yes {
            return Some(answer);
        }
        let http = key.http.as_deref();
        let length = http.and_then(|http| http.request.bytes).unwrap_or(0);
        if self.holes.spend(id, length)
            && let Some(hole) = self.holes.remove(id)
        {
            self.hole_ended(id, &hole, HoleEnd::UsedUp, None);
        }
        Some(answer)
    }
}

impl Proxy {
    /// What a yes lets through, and the request as people see it.
    fn wanted<'a>(
        &self,
        CalledRequest { id: called, asked }: CalledRequest<'a>,
        widening: &Widening,
    ) -> Result<Vec<(Covers, &'a proto::Request)>, CallError> {
        let mut wanted = Vec::new();
        for (key, shown) in asked.each_up_to(called) {
            let Some(http) = key.http.as_deref() else {
                return Err(no_http(called));
            };
            let is_held = self.held.is_asking(key);
            wanted.push((widening.covers(called, http, is_held)?, shown));
        }
        // A hole that is for more than one request is for all of the series.
        if !widening.is_none() {
            wanted.drain(..wanted.len().saturating_sub(1));
        }
        Ok(wanted)
    }
}

/// What may be opened for a request.
fn checked_yes(
    sessions: &Sessions,
    policies: &Policies,
    key: &RequestKey,
    terms: &HoleTerms,
) -> Result<CheckedHole, CallError> {
    let prefixes = vec![Prefix::host(key.destination)];
    let ports = vec![key.ports()];
    let mut checked = CheckedHole::of(sessions, policies, key.session, prefixes, ports, terms)?;
    // That was by what decides about the address alone.
    if let Some(live) = sessions.live(key.session)
        && let Some(longest) = hosts::longest_hole(policies, &live.chain, key)
    {
        checked.cap(longest);
    }
    Ok(checked)
}

/// What a hole lets through: `left` of these requests, at the destination of the one that a person saw.
fn scope_for(
    key: &RequestKey,
    shown: &proto::Request,
    covers: Covers,
    left: Option<u32>,
    bytes: Option<u64>,
) -> Result<RequestScope, CallError> {
    let scope = RequestScope {
        to: key.destination,
        port: key.port,
        request: shown.id.clone(),
        covers,
        left: left.map(u64::from),
        bytes,
        passed: 0,
    };
    let http = shown.http.as_ref();
    match http.filter(|http| !scope.has_room_for(http)) {
        Some(http) => Err(no_room(http)),
        None => Ok(scope),
    }
}

/// The hole for that, as its policies were checked.
fn hole_for(
    shown: &proto::Request,
    scope: RequestScope,
    checked: &CheckedHole,
    opened_by: &str,
) -> Hole {
    let clocks = Clocks::read();
    let about = HoleOrigin {
        session: checked.session.0,
        owner: checked.owner,
        opened_by: opened_by.to_owned(),
        reason: shown.note.clone(),
        opened_at: clocks.present(),
        bytes: checked.bytes,
    };
    Hole {
        session: checked.session,
        expires: after(clocks.now(), checked.time),
        about: Some(about),
        scope: Scope::Requests(Box::new(scope)),
    }
}

/// A hole for the audit log, without values in a query that may be credentials.
fn for_audit_log(hole: HttpHole, asked: &proto::Request) -> HttpHole {
    let is_statement = asked.http.as_ref().is_some_and(HttpRequest::is_statement);
    let kept = |path: String| {
        if is_statement {
            path
        } else {
            judge::without_secrets(&path)
        }
    };
    HttpHole {
        path: hole.path.map(kept),
        ..hole
    }
}

fn no_room(request: &HttpRequest) -> CallError {
    let why = match request.bytes {
        Some(bytes) => format!("its body has {bytes} bytes"),
        None => "nobody knows how long its body is: it has not been read to its end".to_owned(),
    };
    CallError::invalid(
        "cannot let that request through with so few bytes",
        why,
        "leave out --bytes, or give more",
    )
}

fn both() -> CallError {
    CallError::invalid(
        "cannot tell what to let through",
        "--path and --writes say two things",
        "give one of them",
    )
}

fn unknown_again(request: &HttpRequest) -> CallError {
    let why = if request.is_statement() {
        "its client has gone, and by which settings a server reads it is not known"
    } else {
        "its client has gone, and its body was not read to its end"
    };
    CallError::invalid(
        "this very request cannot be known again",
        why,
        "approve more than it with --path or --writes, or approve it while it waits: guard pending --follow",
    )
}

fn not_like_that(id: &str, pattern: &str, request: &HttpRequest) -> CallError {
    let (is, but) = if request.is_statement() {
        ("it is", "")
    } else {
        ("its path is", ", and no pattern is for an ambiguous path")
    };
    CallError::invalid(
        format!("{pattern:?} is not for this request"),
        format!("{is} {:?}; a * stands for any text{but}", request.path),
        format!(
            "take one that is for it: guard approve {id} --path {}",
            quoted(&request.as_pattern())
        ),
    )
}

/// Returns true if some pattern is for a statement: that which is its own text.
fn has_pattern(http: &HttpRequestKey) -> bool {
    let request = &http.request;
    let own = Covers::Path {
        scheme: request.scheme.clone(),
        host: request.host.clone(),
        method: request.method.clone(),
        pattern: request.as_pattern(),
        headers: said(request),
    };
    own.covers(http)
}

fn no_pattern(id: &str, request: &HttpRequest) -> CallError {
    CallError::invalid(
        "no pattern is for this statement",
        "a pattern is for one statement whose constants are values, with no function but known ones",
        if request.is_grave() {
            format!("guard approve {id}")
        } else {
            format!("guard approve {id}\nguard approve {id} --writes --for 5m")
        },
    )
}

fn grave(id: &str, request: &HttpRequest) -> CallError {
    CallError::invalid(
        format!("a yes to all writes is not for {}", request.method),
        "what drops, runs code, or changes rights or the server is asked about each time",
        format!("guard approve {id}"),
    )
}

/// For a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn not_plain() -> CallError {
    CallError::invalid(
        "no pattern is for this request",
        "a header or its query names more than its method and path, or may have the server take it for others",
        "approve it alone, or all that change something at its host with --writes",
    )
}

fn for_another_host() -> CallError {
    CallError::invalid(
        "a yes to all writes is for one host",
        "a header of this request names another, or not all of its headers are shown",
        "approve it alone",
    )
}

/// The error for `--path` and `--writes` where they have no meaning.
#[must_use]
pub(crate) fn no_http(id: &str) -> CallError {
    CallError::invalid(
        format!("{id} is about a connection"),
        "--path and --writes are for HTTP requests and SQL statements",
        format!("guard approve {id}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(digest: Option<&str>, alone: Option<u64>) -> HttpRequestKey {
        let request = HttpRequest {
            method: "PUT".to_owned(),
            path: "/api/jobs/7?now=1".to_owned(),
            digest: digest.map(str::to_owned),
            ..HttpRequest::default()
        };
        HttpRequestKey {
            request,
            alone,
            plain: true,
            series: false,
            matter: None,
        }
    }

    fn path(pattern: &str) -> Widening {
        Widening {
            path: Some(pattern.to_owned()),
            writes: false,
        }
    }

    #[test]
    fn a_plain_yes_is_for_one_request_that_can_be_known_again() {
        let plain = Widening::default();
        let known = put(Some("d1"), None);
        let one = plain.covers("r3", &known, false).unwrap();
        assert_eq!(one, Covers::Digest(known.request));
        let alone = put(None, Some(3));
        let held = plain.covers("r3", &alone, true).unwrap();
        assert_eq!(held, Covers::Waiting(alone.request.clone(), 3));
        for (gone, is_held) in [(alone, false), (put(None, None), true)] {
            let refusal = plain.covers("r3", &gone, is_held).unwrap_err();
            assert!(refusal.failure.fix.contains("--path"), "{refusal}");
        }
    }

    #[test]
    fn more_than_that_has_to_be_said_and_to_fit() {
        let one = put(None, None);
        assert!(path("/api/jobs/*").covers("r3", &one, false).is_ok());
        let other = path("/api/people/*").covers("r3", &one, false).unwrap_err();
        let example = "guard approve r3 --path '/api/jobs/7'";
        assert!(other.failure.fix.ends_with(example), "{other}");
        let writes = Widening {
            path: None,
            writes: true,
        };
        let all = |host: Option<&str>, sql| Covers::Writes {
            host: host.map(str::to_owned),
            sql,
        };
        assert_eq!(writes.covers("r3", &one, false).unwrap(), all(None, false));
        let mut named = one.clone();
        named.request.host = Some("photos".to_owned());
        assert_eq!(
            writes.covers("r3", &named, false).unwrap(),
            all(Some("photos"), false)
        );
        let mut forwarded = named.clone();
        forwarded.request.headers = vec!["x-forwarded-host: shop".to_owned()];
        let refusal = writes.covers("r3", &forwarded, false).unwrap_err();
        assert_eq!(refusal.failure.fix, "approve it alone");
        // Of a statement that is a login.
        named.request.scheme = HttpRequest::POSTGRES.to_owned();
        named.request.method = "UPDATE".to_owned();
        assert_eq!(writes.covers("r3", &named, false).unwrap(), all(None, true));
        for method in [
            "DROP TABLE",
            "DROP COLUMN",
            "TRUNCATE",
            "DO",
            "?",
            "CREATE FUNCTION",
            "CALL",
            "function call",
            "COPY FROM PROGRAM",
            "GRANT or REVOKE",
            "ALTER SYSTEM",
        ] {
            named.request.method = method.to_owned();
            let refusal = writes.covers("r3", &named, false).unwrap_err();
            assert_eq!(refusal.failure.fix, "guard approve r3", "{method}");
        }
        // A pattern that cannot be is not proposed.
        for (text, is_plain) in [("select $1; drop table t", true), ("select f($1)", false)] {
            (named.request.path, named.plain) = (text.to_owned(), is_plain);
            let refusal = path(text).covers("r3", &named, false).unwrap_err();
            assert!(!refusal.to_string().contains("--path"), "{refusal}");
        }
        let two = Widening {
            writes: true,
            ..path("*")
        };
        assert!(two.covers("r3", &one, false).is_err());
    }

    #[test]
    fn no_pattern_is_for_what_may_be_taken_for_another_request() {
        let other = HttpRequestKey {
            plain: false,
            ..put(Some("d1"), None)
        };
        let refusal = path("*").covers("r3", &other, false).unwrap_err();
        assert!(refusal.failure.fix.contains("--writes"), "{refusal}");
        let alone = Widening::default().covers("r3", &other, false).unwrap();
        assert_eq!(alone, Covers::Digest(other.request));
    }
}
