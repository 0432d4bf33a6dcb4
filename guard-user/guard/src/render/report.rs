//! What was stopped, asked and opened, in tables.

use super::page::{BAD, GOOD, HEAD, Page, WARN};
use super::time::Clock;
use crate::report::markdown::count;
use crate::report::summary::{HoleLine, Report, RequestLine, SessionLine, StoppedLine};

/// All of it.
pub(crate) fn page(report: &Report, clock: &Clock) -> Page {
    let mut page = Page::default();
    headline(&mut page, report);
    left_out(&mut page, report);
    for not_counted in report.not_counted() {
        page.styled(HEAD, not_counted).end();
    }
    sessions(&mut page, &report.sessions, clock);
    stopped(&mut page, &report.stopped);
    requests(&mut page, &report.requests);
    holes(&mut page, &report.holes);
    if !report.reached.is_empty() {
        page.line("");
        super::flows::table(&mut page, &report.reached, clock);
    }
    page
}

fn sessions(page: &mut Page, sessions: &[SessionLine], clock: &Clock) {
    let sessions = sessions.iter().map(|one| {
        [
            one.id.clone(),
            one.name.clone().unwrap_or_default(),
            one.policy.clone().unwrap_or_default(),
            one.user.clone().unwrap_or_default(),
            one.started_at.map_or_else(String::new, |at| clock.at(at)),
            if one.ended_at.is_some() { "yes" } else { "no" }.to_owned(),
        ]
    });
    let heads = ["SESSION", "NAME", "POLICY", "USER", "STARTED", "ENDED"];
    table(page, heads, sessions);
}

fn stopped(page: &mut Page, stopped: &[StoppedLine]) {
    let stopped = stopped.iter().map(|one| {
        let programs: Vec<_> = one.programs.iter().map(String::as_str).collect();
        [
            one.words(),
            one.count.to_string(),
            one.verdict.clone(),
            one.rule_or("-", "(default)"),
            programs.join(", "),
            one.session.clone().unwrap_or_else(|| "-".into()),
        ]
    });
    let heads = ["STOPPED", "TIMES", "VERDICT", "RULE", "PROGRAM", "SESSION"];
    table(page, heads, stopped);
}

fn requests(page: &mut Page, requests: &[RequestLine]) {
    let requests = requests.iter().map(|one| {
        [
            one.id.clone(),
            one.words().unwrap_or_default(),
            one.answer.clone().unwrap_or_else(|| "none".into()),
            one.by.clone().unwrap_or_default(),
            one.note.clone().unwrap_or_default(),
        ]
    });
    let heads = ["ASKED", "DESTINATION", "ANSWER", "BY", "NOTE"];
    table(page, heads, requests);
}

fn holes(page: &mut Page, holes: &[HoleLine]) {
    let holes = holes.iter().map(|one| {
        [
            one.id.clone(),
            one.name
                .as_ref()
                .or(one.destination.as_ref())
                .cloned()
                .unwrap_or_default(),
            one.ports.clone().unwrap_or_else(|| "all".into()) + &one.scope,
            one.by.clone().unwrap_or_default(),
            one.ended.clone().unwrap_or_else(|| "open".into()),
            one.cut.to_string(),
        ]
    });
    let heads = ["HOLE", "DESTINATION", "PORTS", "BY", "ENDED", "CUT"];
    table(page, heads, holes);
}

fn headline(page: &mut Page, report: &Report) {
    let sessions = count(report.sessions.len() as u64, "session");
    if report.stopped.is_empty() && report.refused == 0 {
        page.styled(GOOD, "Nothing was stopped")
            .line(format_args!(" in {sessions}."));
        return;
    }
    let destinations = count(report.destinations(), "destination");
    let attempts = (report.refused > 0 || report.destinations() > 0).then(|| {
        (
            format!("{} refused", report.refused),
            format!(", of {destinations}"),
        )
    });
    let writes = (report.writes > 0).then(|| match attempts {
        Some(_) => (report.sent(), String::new()),
        None => (report.sent() + " refused", String::new()),
    });
    let closed = (report.closed > 0).then(|| {
        (
            count(report.closed, "connection") + " closed",
            String::new(),
        )
    });
    for (at, (bad, more)) in [attempts, writes, closed].into_iter().flatten().enumerate() {
        page.text(if at == 0 { "" } else { ", and " });
        page.styled(BAD, bad).text(more);
    }
    page.line(format_args!(", in {sessions}."));
}

/// What the audit log lacks: also where nothing else was stopped.
fn left_out(page: &mut Page, report: &Report) {
    if report.left_out > 0 {
        page.styled(
            WARN,
            format_args!("{} records were left out of the audit log", report.left_out),
        )
        .styled(
            HEAD,
            ": a session may cause 60 at once and 5 a second after that.",
        )
        .end();
    }
    if report.starts_left_out > 0 {
        page.styled(
            WARN,
            format_args!(
                "{} starts and ends were left out of the audit log",
                report.starts_left_out
            ),
        )
        .styled(
            HEAD,
            ", of sessions of which it has nothing else: a user may start 1,000 at once and 5 a second after that.",
        )
        .end();
    }
}

fn table<const N: usize>(
    page: &mut Page,
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        page.line("").table(heads, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::clock;
    use super::*;
    use crate::report::summary::tests::{records, story};
    use serde_json::json;

    #[test]
    fn a_report_says_how_much_was_stopped_first() {
        insta::assert_snapshot!(page(&story(), &clock()).plain(), @r#"
        11 refused, of 4 destinations, in 3 sessions.
        2 records were left out of the audit log: a session may cause 60 at once and 5 a second after that.

        SESSION  NAME   POLICY  USER    STARTED              ENDED
        s1       make   ci      runner  2026-11-20 12:00:01  yes
        s2       inner  narrow  runner  2026-11-20 12:00:09  no
        s3       other                  2026-11-20 12:00:12  no

        STOPPED                               TIMES  VERDICT  RULE       PROGRAM              SESSION
        tcp 192.0.2.10:443                    5      deny     metadata   /usr/bin/curl, wget  s1
        tcp 192.0.2.11:5432 (db.example.com)  1      confirm  (default)  /usr/bin/psql        s1
        socket 17 of type 3                   1      deny     (default)                       s2
        tcp 192.0.2.10:443                    1      deny     (default)                       s3

        ASKED  DESTINATION                           ANSWER  BY     NOTE
        r1     tcp 192.0.2.11:5432 (db.example.com)  yes     alice  migrate

        HOLE  DESTINATION    PORTS                    BY     ENDED    CUT
        h1    192.0.2.11/32  tcp/5432, 2 connections  alice  expired  2
        "#);
    }

    #[test]
    fn starts_and_ends_that_are_left_out_are_told() {
        let report = Report::of(&records(json!([
            {"kind": "session-start", "session": "s9", "name": "make", "starts_left_out": 14},
        ])));
        let said = page(&report, &clock()).plain();
        let told = "14 starts and ends were left out of the audit log, of sessions of which it has nothing else";
        assert!(said.contains(told), "{said}");
        assert!(!said.contains("records were left out"), "{said}");
    }

    #[test]
    fn a_request_is_told_with_what_it_would_send_and_a_question_with_its_name() {
        let to = json!({"address": "192.0.2.20", "port": 443, "protocol": "tcp", "host": null});
        let server = json!({"address": "192.0.2.53", "port": 53, "protocol": "dns", "host": null});
        let put = json!({"method": "PUT", "scheme": "https", "path": "/api/jobs/7", "host": "photos.example.com"});
        let name = json!({"name": "db.example.com", "types": ["A"], "bytes": 30});
        let report = Report::of(&records(json!([
            {"kind": "request", "session": "s1", "request": "r1", "destination": to, "http": put},
            {"kind": "request", "session": "s1", "request": "r2", "destination": server, "question": name},
        ])));
        let page = page(&report, &clock()).plain();
        let asked = page.lines().skip_while(|line| !line.starts_with("ASKED"));
        let asked = asked.collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(asked, @r"
        ASKED  DESTINATION                                                    ANSWER  BY  NOTE
        r1     tcp 192.0.2.20:443, PUT https://photos.example.com/api/jobs/7  none
        r2     the name db.example.com by 192.0.2.53:53                       none
        ");
        let json = serde_json::to_value(&report.requests).unwrap();
        assert_eq!(
            (&json[0]["method"], &json[0]["path"], &json[0]["host"]),
            (
                &json!("PUT"),
                &json!("/api/jobs/7"),
                &json!("photos.example.com")
            )
        );
        assert_eq!(json[1]["host"], "db.example.com");
    }

    #[test]
    fn a_write_that_was_refused_is_told_as_stopped() {
        let to = json!({"address": "192.0.2.20", "port": 443, "protocol": "tcp", "host": null});
        let put = json!({
            "kind": "http", "session": "s1", "outcome": "refused", "destination": to, "method": "PUT", "path": "/api/jobs/7",
            "host": "photos.example.com", "rule": "photos",
        });
        let denied = json!({"kind": "denied", "session": "s1", "destination": to, "rule": "photos", "verdict": "read-only", "count": 2});
        let mut passed = put.clone();
        passed["outcome"] = json!("passed");
        let report = Report::of(&records(json!([put, put, passed])));
        let said = page(&report, &clock()).plain();
        assert!(
            said.starts_with("2 writes refused, in 1 session.\n"),
            "{said}"
        );
        let report = Report::of(&records(json!([put, denied, put, passed])));
        assert_eq!(
            (report.refused, report.writes, report.destinations()),
            (2, 2, 1)
        );
        let said = page(&report, &clock()).plain();
        assert!(
            said.starts_with("2 refused, of 1 destination, and 2 writes, in 1 session.\n"),
            "{said}"
        );
        let stopped: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("tcp"))
            .collect();
        insta::assert_snapshot!(stopped.join("\n"), @r"
        tcp 192.0.2.20:443 (photos.example.com), PUT /api/jobs/7  2      read-only  photos           s1
        tcp 192.0.2.20:443                                        2      read-only  photos           s1
        ");
        let headline = crate::report::markdown::headline(&report);
        assert_eq!(
            headline,
            "Stopped in 1 session: 2 attempts to 1 destination, and 2 writes."
        );
    }

    #[test]
    fn nothing_is_said_in_a_line() {
        insta::assert_snapshot!(page(&Report::default(), &clock()).plain(), @"Nothing was stopped in 0 sessions.");
    }
}
