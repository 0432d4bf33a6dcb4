//! The end of `guard run`: what was stopped and asked meanwhile, in a few lines.

use std::collections::{BTreeMap, BTreeSet};

use guard_proto::{LogRecord, record::Record};
use serde::Serialize;
use serde_json::json;

use super::markdown::count;
use super::summary::{Report, StoppedLine, destination};
use crate::render::page::{BAD, COMMAND, Page, WARN};
use crate::render::{Output, escape};

/// Limit of the destinations that are named, and of the warnings.
const NAMED: usize = 3;

/// What a person is to know of a destination, whatever was asked of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Warning {
    /// In words.
    destination: Option<String>,
    /// A database's user and name.
    host: Option<String>,
    /// What it is.
    why: String,
}

/// What happened in one session.
#[derive(Debug)]
pub(crate) struct RunSummary {
    report: Report,
    /// Connections that holes let through, as far as they have ended.
    through: u64,
    /// HTTP requests by what became of them.
    http: BTreeMap<String, u64>,
    /// Connections that were closed for what came first, such as the name in TLS.
    closed: u64,
    /// What looks like production and came into reach meanwhile: host and ports.
    appeared: BTreeSet<(String, String)>,
    /// What came into reach is more than is listed, and each connection was asked about from then on.
    all_asked: bool,
    /// Each once.
    warnings: BTreeSet<Warning>,
    /// Processes of the session go on, so that its requests can be answered.
    goes_on: bool,
    /// It is said inside of another session, where none of the commands can be typed.
    is_inside: bool,
    /// guardd has ended with the session: its audit log is left, for root.
    is_left: bool,
    /// The session is of another user than the one who typed the command, who may see and answer it as root alone.
    is_anothers: bool,
}

impl RunSummary {
    /// From a session's records; `goes_on`: it lives on without its command.
    pub(crate) fn of(records: &[LogRecord], goes_on: bool) -> Self {
        let mut http = BTreeMap::new();
        let (mut through, mut closed) = (0, 0);
        let mut warnings = BTreeSet::new();
        let mut appeared = BTreeSet::new();
        for record in records {
            match record.record() {
                Record::Http(one) if one.outcome.is("warned") => {
                    warnings.extend(one.why.clone().take().map(|why| Warning {
                        destination: destination(&one.destination).0,
                        host: one.host.clone().take(),
                        why,
                    }));
                }
                // Nothing was read that could be a request.
                Record::Http(one) if one.outcome.is("refused") && one.method.is_none() => {
                    closed += 1;
                }
                Record::Http(one) => {
                    if let Some(outcome) = one.outcome.take() {
                        *http.entry(outcome).or_default() += 1;
                    }
                }
                Record::Appeared(one) => {
                    let [host, ports] =
                        [&one.host, &one.ports].map(|one| one.clone().take().unwrap_or_default());
                    appeared.insert((host, ports));
                }
                Record::HoleClose(one) => through += one.connections.take().unwrap_or(0),
                _ => {}
            }
        }
        Self {
            report: Report::of(records),
            through,
            http,
            closed,
            appeared,
            all_asked: records.iter().any(has_all_asked),
            warnings,
            goes_on,
            is_inside: false,
            is_left: false,
            is_anothers: false,
        }
    }

    /// The same, where the user who typed the command answers as root alone.
    pub(crate) fn answered_by_root(self) -> Self {
        Self {
            is_anothers: true,
            ..self
        }
    }

    /// The same, where guardd ends with the session.
    pub(crate) fn left_to_root(self) -> Self {
        Self {
            is_left: true,
            ..self
        }
    }

    /// The same, said inside of another session.
    pub(crate) fn inside(self) -> Self {
        Self {
            is_inside: true,
            ..self
        }
    }

    /// Tells, on standard error, what was stopped and asked while a command ran, if anything was.
    pub(crate) fn tell(&self, output: Output) {
        if !self.is_quiet() {
            output.behind_command(|| self.json(), || self.page());
        }
    }

    /// Whether there is nothing to say.
    fn is_quiet(&self) -> bool {
        let report = &self.report;
        report.stopped.is_empty()
            && report.requests.is_empty()
            && report.holes.is_empty()
            && self.http.is_empty()
            && self.closed == 0
            && self.appeared.is_empty()
            && self.warnings.is_empty()
    }

    /// For programs.
    fn json(&self) -> Option<String> {
        let report = serde_json::to_value(&self.report).ok()?;
        Some(
            json!({
                "summary": report, "http": self.http, "closed": self.closed, "connections": self.through, "warnings": self.warnings,
                "appeared": self.appeared.len(),
            })
            .to_string(),
        )
    }

    /// A few lines for people.
    fn page(&self) -> Page {
        let mut page = Page::default();
        let parts = [
            self.stopped(),
            self.asked(),
            self.opened(),
            self.http(),
            self.closed(),
            self.appeared(),
            self.warned(),
            self.left_out(),
        ];
        let said: Vec<_> = parts.into_iter().flatten().collect();
        page.styled(BAD, "guard:")
            .line(format_args!(" {}.", said.join("; ")));
        for one in self.report.stopped.iter().take(NAMED) {
            page.text("    ")
                .line(format_args!("{}{}", self.at_least(), in_short(one)));
        }
        for one in self.warnings.iter().take(NAMED) {
            let named = one.destination.iter().chain(&one.host);
            let named = named.map(String::as_str).collect::<Vec<_>>().join(", ");
            page.text("    ")
                .styled(WARN, "beware")
                .line(format_args!(" {named}: {}", one.why));
        }
        if let Some(session) = self.report.sessions.first() {
            self.commands(&mut page, &session.id);
        }
        page
    }

    /// How to see the rest, and what to type next.
    fn commands(&self, page: &mut Page, session: &str) {
        let more = self.report.stopped.len().saturating_sub(NAMED);
        if more > 0 {
            page.text(format_args!("    and {more} more: "));
        } else {
            page.text("    ");
        }
        if self.is_inside {
            page.text("outside of the session: ");
        }
        let sudo = self.sudo();
        page.styled(
            COMMAND,
            format_args!("{sudo}guard report --session {session}"),
        )
        .end();
        self.next(page, session);
    }

    /// Before a command that reads the audit log.
    fn sudo(&self) -> &'static str {
        if self.is_left || self.is_anothers {
            "sudo "
        } else {
            ""
        }
    }

    /// Before a command that answers.
    fn sudo_to_answer(&self) -> &'static str {
        if self.is_anothers { "sudo " } else { "" }
    }

    /// What to type, by what has become of the requests.
    fn next(&self, page: &mut Page, session: &str) {
        let requests = &self.report.requests;
        let open = requests.iter().find(|one| one.is_open());
        let said_yes = requests
            .iter()
            .any(|one| one.answer.as_deref() == Some("yes"));
        let opened = open.and_then(|one| one.argument.as_deref());
        let sudo = self.sudo_to_answer();
        let (words, command) = match (open, opened) {
            (Some(one), _) if self.goes_on => (
                format!("{session} goes on, so {} can be answered", one.id),
                format!("{sudo}guard approve {}", one.id),
            ),
            (Some(_), Some(argument)) => (
                "next time, while it runs".to_owned(),
                format!("{sudo}guard open {argument}"),
            ),
            (Some(_), None) => (
                "next time, answer while it waits".to_owned(),
                format!("{sudo}guard watch"),
            ),
            _ if said_yes => (
                "to make the answers permanent".to_owned(),
                format!("{}guard suggest --session {session}", self.sudo()),
            ),
            _ => return,
        };
        let outside = if self.is_inside { ", outside" } else { "" };
        page.text(format_args!("    {words}{outside}: "))
            .styled(COMMAND, command)
            .end();
    }

    fn stopped(&self) -> Option<String> {
        let report = &self.report;
        let writes = (report.writes > 0).then(|| report.sent());
        let reach = (report.destinations() > 0).then(|| {
            let attempts = count(report.refused, "attempt");
            let destinations = count(report.destinations(), "destination");
            format!("{attempts} to reach {destinations}")
        });
        let all: Vec<_> = reach.into_iter().chain(writes).collect();
        (!all.is_empty()).then(|| format!("stopped {}{}", self.at_least(), all.join(", and ")))
    }

    /// Before a number: the audit log may have fewer records than there were.
    fn at_least(&self) -> &'static str {
        if self.report.may_lack {
            "at least "
        } else {
            ""
        }
    }

    fn left_out(&self) -> Option<String> {
        let left_out = self.report.left_out;
        (left_out > 0).then(|| format!("{} left out of the audit log", count(left_out, "record")))
    }

    /// The answers: how many of which kind, and by whom.
    fn asked(&self) -> Option<String> {
        let requests = &self.report.requests;
        let mut answers: BTreeMap<String, u64> = BTreeMap::new();
        for one in requests {
            let answer = match (&one.answer, &one.by) {
                (Some(answer), Some(by)) => format!("{answer} by {by}"),
                (Some(answer), None) => answer.clone(),
                (None, _) => "without an answer".to_owned(),
            };
            *answers.entry(answer).or_default() += 1;
        }
        let answers = answers
            .iter()
            .map(|(answer, times)| format!("{times} {answer}"));
        let answers: Vec<_> = answers.collect();
        (!requests.is_empty()).then(|| {
            format!(
                "{}{} ({})",
                self.at_least(),
                count(requests.len() as u64, "request"),
                answers.join(", ")
            )
        })
    }

    fn opened(&self) -> Option<String> {
        let holes = &self.report.holes;
        let by: BTreeSet<_> = holes.iter().filter_map(|one| one.by.as_deref()).collect();
        let by: Vec<_> = by.into_iter().collect();
        (!holes.is_empty()).then(|| {
            let through = match self.through {
                0 => String::new(),
                through => format!(", which let {} through", count(through, "connection")),
            };
            let by = if by.is_empty() {
                String::new()
            } else {
                format!(" by {}", by.join(", "))
            };
            format!("{} opened{by}{through}", count(holes.len() as u64, "hole"))
        })
    }

    fn appeared(&self) -> Option<String> {
        let places = self.appeared.len() as u64;
        let verb = if places == 1 { "looks" } else { "look" };
        (places > 0).then(|| {
            let places = count(places, "place");
            let then = if self.all_asked {
                " and more, so that each new connection was asked about"
            } else {
                ""
            };
            format!("{places} that {verb} like production came into reach{then} (guard discover)")
        })
    }

    fn warned(&self) -> Option<String> {
        let warnings = self.warnings.len() as u64;
        (warnings > 0).then(|| count(warnings, "warning"))
    }

    fn closed(&self) -> Option<String> {
        let closed = count(self.closed, "connection");
        (self.closed > 0).then(|| format!("{closed} closed, whose first bytes no rule allows"))
    }

    fn http(&self) -> Option<String> {
        // The refused ones are among what was stopped.
        let others = self
            .http
            .iter()
            .filter(|(outcome, _)| *outcome != "refused");
        let others = others.map(|(outcome, times)| format!("{times} {outcome}"));
        let others: Vec<_> = others.collect();
        (!others.is_empty()).then(|| format!("writes: {}", others.join(", ")))
    }
}

fn has_all_asked(record: &LogRecord) -> bool {
    matches!(record.record(), Record::Appeared(one) if one.asks.is(&true) && one.more.is(&true))
}

/// How often a place was refused, by which name, what was sent there, and by which rule.
fn in_short(one: &StoppedLine) -> String {
    let rule = one.rule_or("no rule refuses it", escape::DEFAULT);
    let times = match one.count {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    let sends = one.sends.iter().map(|sends| format!(", {sends}"));
    let name = one.question().map(|name| format!(" for {name}"));
    let more: String = name.into_iter().chain(sends).collect();
    // Of a name that was asked for it stands there already; of what was sent, `guard report` tells.
    let is_connection = one.question().is_none() && one.sends.is_none();
    let host = one.host.as_ref().filter(|_| is_connection);
    let host = host.map_or_else(String::new, |host| format!("{host}, "));
    format!(
        "{times} {}{more} ({host}{}, {rule})",
        one.destination, one.verdict
    )
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::records;
    use super::*;

    #[test]
    fn it_is_a_few_lines_and_none_where_nothing_was_stopped() {
        let to = |last: u8| json!({"address": format!("192.0.2.{last}"), "port": 443, "protocol": "tcp", "host": null});
        let start = json!({"kind": "session-start", "session": "s1", "name": "make"});
        let quiet = RunSummary::of(&records(json!([start])), false);
        assert!(quiet.is_quiet());
        let denied = |last, times| json!({"kind": "denied", "session": "s1", "destination": to(last), "rule": "production", "verdict": "confirm", "count": times});
        let all = json!([
            start, denied(1, 5), denied(2, 1), denied(3, 1), denied(4, 2),
            {"kind": "request", "session": "s1", "request": "r1", "destination": to(1)},
            {"kind": "request", "session": "s1", "request": "r2", "destination": to(2)},
            {"kind": "answered", "session": "s1", "request": "r1", "answer": "yes", "by": "alice"},
            {"kind": "hole-open", "session": "s1", "request": "r1", "hole": "h1", "by": "alice"},
            {"kind": "hole-close", "session": "s1", "hole": "h1", "why": "expired", "connections": 2},
            {"kind": "http", "session": "s1", "destination": to(1), "outcome": "refused", "method": "PUT", "path": "/api/jobs", "rule": "photos"},
            {"kind": "http", "session": "s1", "destination": to(1), "outcome": "passed", "method": "PUT", "path": "/api/jobs", "rule": "photos"},
            {"kind": "http", "session": "s1", "outcome": "refused", "why": "another name in TLS"},
        ]);
        let summary = RunSummary::of(&records(all), false);
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: stopped 9 attempts to reach 4 destinations, and 1 write; 2 requests (1 without an answer, 1 yes by alice); 1 hole opened by alice, which let 2 connections through; writes: 1 passed; 1 connection closed, whose first bytes no rule allows.
            5 times tcp 192.0.2.1:443 (confirm, production)
            2 times tcp 192.0.2.4:443 (confirm, production)
            once tcp 192.0.2.2:443 (confirm, production)
            and 3 more: guard report --session s1
            next time, while it runs: guard open 192.0.2.2:443
        ");
        let json: serde_json::Value = serde_json::from_str(&summary.json().unwrap()).unwrap();
        assert_eq!(json["summary"]["refused"], 9);
        assert_eq!(
            (&json["summary"]["writes"], &json["http"]["refused"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(json["connections"], 2);
    }

    #[test]
    fn what_the_log_left_out_makes_every_number_a_least_one() {
        let to = json!({"address": "192.0.2.1", "port": 443, "protocol": "tcp", "host": null});
        let write = json!({"kind": "http", "session": "s1", "destination": to, "outcome": "refused", "method": "PUT", "path": "/a", "rule": "photos"});
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"}, write, write,
            {"kind": "request", "session": "s1", "request": "r1", "destination": to},
            {"kind": "session-end", "session": "s1", "denied": 0, "left_out": 37},
        ]);
        let summary = RunSummary::of(&records(all), false);
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: stopped at least 2 writes; at least 1 request (1 without an answer); 37 records left out of the audit log.
            at least 2 times tcp 192.0.2.1:443, PUT /a (read-only, photos)
            guard report --session s1
            next time, while it runs: guard open 192.0.2.1:443
        ");
    }

    #[test]
    fn names_that_were_not_told_are_named_with_why() {
        let denied = |name: &str, why: &str| {
            let to = json!({"address": "192.0.2.53", "port": 53, "protocol": "dns", "host": name});
            json!({"kind": "denied", "session": "s1", "destination": to, "verdict": "deny", "why": why, "count": 1})
        };
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            denied("a.example", "no rule names it (A)"),
            denied("a.example", "no rule names it (AAAA)"),
            denied("b.example", "nobody answered in time (A)"),
        ]);
        let summary = RunSummary::of(&records(all), false);
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: stopped 2 attempts to reach 2 destinations.
            once dns 192.0.2.53:53 for a.example (deny, no rule names it)
            once dns 192.0.2.53:53 for b.example (deny, nobody answered in time)
            guard report --session s1
        ");
    }

    #[test]
    fn what_no_rule_denies_is_named_with_why() {
        let denied = |rule: Option<&str>, verdict: &str, port, why: &str| {
            let to = json!({"address": "192.0.2.1", "port": port, "protocol": "udp", "host": null});
            json!({"kind": "denied", "session": "s1", "destination": to, "rule": rule, "verdict": verdict, "why": why, "count": 1})
        };
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            denied(None, "deny", 1, "the socket was connected again: open a new socket"),
            denied(Some("names"), "deny", 2, "TLS has to show a name"),
            denied(None, "confirm", 3, "nobody answered in time"),
        ]);
        let summary = RunSummary::of(&records(all), false);
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: stopped 3 attempts to reach 3 destinations.
            once udp 192.0.2.1:1 (deny, the socket was connected again: open a new socket)
            once udp 192.0.2.1:2 (deny, names)
            once udp 192.0.2.1:3 (confirm, the policy's default)
            guard report --session s1
        ");
    }

    #[test]
    fn writes_alone_are_stopped_as_well() {
        let to = json!({"address": "192.0.2.1", "port": 5432, "protocol": "tcp", "host": null});
        let refused = json!({
            "kind": "http", "session": "s1", "destination": to, "outcome": "refused", "method": "UPDATE",
            "path": "update users set name = $1", "host": "app@shop", "rule": "database",
        });
        let start = json!({"kind": "session-start", "session": "s1", "name": "make"});
        let summary = RunSummary::of(&records(json!([start, refused, refused])), false);
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: stopped 2 writes.
            2 times tcp 192.0.2.1:5432, update users set name = $1 (read-only, database)
            guard report --session s1
        ");
    }

    #[test]
    fn inside_of_another_session_the_commands_are_for_outside() {
        let to = json!({"address": "192.0.2.1", "port": 443, "protocol": "tcp", "host": null});
        let all = json!([
            {"kind": "session-start", "session": "s2", "name": "make", "parent": "s1"},
            {"kind": "denied", "session": "s2", "destination": to, "rule": "production", "verdict": "confirm", "count": 1},
            {"kind": "request", "session": "s2", "request": "r1", "destination": to},
            {"kind": "answered", "session": "s2", "request": "r1", "answer": "yes"},
            {"kind": "hole-open", "session": "s2", "request": "r1", "hole": "h1"},
        ]);
        let summary = RunSummary::of(&records(all), false).inside();
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: stopped 1 attempt to reach 1 destination; 1 request (1 yes); 1 hole opened.
            once tcp 192.0.2.1:443 (confirm, production)
            outside of the session: guard report --session s2
            to make the answers permanent, outside: guard suggest --session s2
        ");
    }

    #[test]
    fn what_guardd_has_left_is_for_root_to_read() {
        let to = json!({"address": "192.0.2.1", "port": 443, "protocol": "tcp", "host": null});
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            {"kind": "denied", "session": "s1", "destination": to, "rule": "production", "verdict": "confirm", "count": 1},
            {"kind": "request", "session": "s1", "request": "r1", "destination": to},
            {"kind": "answered", "session": "s1", "request": "r1", "answer": "yes"},
        ]);
        let summary = RunSummary::of(&records(all), false).left_to_root();
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: stopped 1 attempt to reach 1 destination; 1 request (1 yes).
            once tcp 192.0.2.1:443 (confirm, production)
            sudo guard report --session s1
            to make the answers permanent: sudo guard suggest --session s1
        ");
    }

    #[test]
    fn who_started_it_for_another_user_is_told_what_root_types() {
        let to = json!({"address": "192.0.2.1", "port": 443, "protocol": "tcp", "host": null});
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            {"kind": "denied", "session": "s1", "destination": to, "rule": "production", "verdict": "confirm", "count": 1},
            {"kind": "request", "session": "s1", "request": "r1", "destination": to},
        ]);
        for (goes_on, last) in [
            (true, "so r1 can be answered: sudo guard approve r1\n"),
            (false, "while it runs: sudo guard open 192.0.2.1:443\n"),
        ] {
            let summary = RunSummary::of(&records(all.clone()), goes_on).answered_by_root();
            let said = summary.page().plain();
            assert!(
                said.contains("    sudo guard report --session s1\n"),
                "{said}"
            );
            assert!(said.ends_with(last), "{said}");
        }
    }

    #[test]
    fn what_lies_behind_a_destination_is_told_once() {
        let to = json!({"address": "2001:db8::1", "port": 5432, "protocol": "tcp", "host": null});
        let warned = json!({
            "kind": "http", "session": "s1", "destination": to, "outcome": "warned", "host": "app@shop",
            "why": "this database has foreign tables of postgres_fdw",
        });
        let start = json!({"kind": "session-start", "session": "s1", "name": "make"});
        let summary = RunSummary::of(&records(json!([start, warned, warned])), false);
        assert!(!summary.is_quiet());
        insta::assert_snapshot!(summary.page().plain(), @r"
        guard: 1 warning.
            beware tcp [2001:db8::1]:5432, app@shop: this database has foreign tables of postgres_fdw
            guard report --session s1
        ");
        let json: serde_json::Value = serde_json::from_str(&summary.json().unwrap()).unwrap();
        assert_eq!(json["warnings"][0]["host"], "app@shop");
        assert_eq!(json["http"], json!({}));
    }

    #[test]
    fn its_last_line_is_what_to_type_next() {
        let to = json!({"address": "2001:db8::1", "port": 443, "protocol": "tcp", "host": null});
        let asked = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            {"kind": "denied", "session": "s1", "destination": to, "rule": "production", "verdict": "confirm", "count": 1},
            {"kind": "request", "session": "s1", "request": "r3", "destination": to},
        ]);
        let mut answered = asked.clone();
        let yes = json!({"kind": "answered", "session": "s1", "request": "r3", "answer": "yes", "by": "alice"});
        answered.as_array_mut().unwrap().push(yes);
        let mut denied = asked.clone();
        denied.as_array_mut().unwrap().pop();
        let mut write = asked.clone();
        write[2]["verdict"] = json!("read-only");
        write[2]["http"] = json!({"method": "PUT", "path": "/api/jobs", "host": "photos"});
        for (all, goes_on, last) in [
            (
                &asked,
                true,
                "    s1 goes on, so r3 can be answered: guard approve r3",
            ),
            (
                &asked,
                false,
                "    next time, while it runs: guard open [2001:db8::1]:443",
            ),
            (
                &answered,
                false,
                "    to make the answers permanent: guard suggest --session s1",
            ),
            (&denied, false, "    guard report --session s1"),
            // Not the widest hole of all for one write.
            (
                &write,
                false,
                "    next time, answer while it waits: guard watch",
            ),
            (
                &write,
                true,
                "    s1 goes on, so r3 can be answered: guard approve r3",
            ),
        ] {
            let page = RunSummary::of(&records(all.clone()), goes_on).page();
            assert_eq!(page.plain().lines().next_back(), Some(last));
        }
    }

    #[test]
    fn a_name_that_was_denied_is_said() {
        let server =
            json!({"address": "192.0.2.53", "port": 53, "protocol": "dns", "host": "a.example"});
        let summary = RunSummary::of(
            &records(json!([
                {"kind": "session-start", "session": "s1", "name": "make"},
                {"kind": "denied", "session": "s1", "destination": server, "verdict": "deny", "count": 2},
            ])),
            false,
        );
        let said = summary.page().plain();
        assert!(
            said.contains("2 times dns 192.0.2.53:53 for a.example (deny"),
            "{said}"
        );
    }
}
