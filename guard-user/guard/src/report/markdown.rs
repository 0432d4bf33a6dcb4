//! A report as GitHub's Markdown.

use std::fmt::{Display, Write};

use super::super::render::{escape::visible, flows};
use super::summary::Report;

/// Longer values are cut: the audit log has all of them.
const LIMIT: usize = 120;
/// Rows of a table. GitHub takes a page of 1 MiB.
const ROWS: usize = 200;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::from("### guard\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{}\n", headline(report));
    for not_counted in report.not_counted() {
        let _ = writeln!(page, "{not_counted}\n");
    }
    stopped(&mut page, report);
    asked(&mut page, report);
    holes(&mut page, report);
    reached(&mut page, report);
    page
}

fn stopped(page: &mut String, report: &Report) {
    let rows = report.stopped.iter().map(|one| {
        [
            code(one.words()),
            one.count.to_string(),
            code(&one.verdict),
            match &one.rule {
                Some(rule) => code(rule),
                None => one.rule_or("none", "the default"),
            },
            some(programs(&one.programs)),
            code(session(one.session.as_deref(), one.name.as_deref())),
        ]
    });
    let head = [
        "destination",
        "times",
        "verdict",
        "rule",
        "program",
        "session",
    ];
    table(page, "Stopped", head, rows);
}

fn asked(page: &mut String, report: &Report) {
    let rows = report.requests.iter().map(|one| {
        [
            code(&one.id),
            some(one.words()),
            some(one.note.as_ref()),
            one.answer.as_ref().map_or("none".to_owned(), code),
            some(one.by.as_ref()),
        ]
    });
    let head = [
        "request",
        "destination",
        "the agent's words",
        "answer",
        "by",
    ];
    table(page, "Asked", head, rows);
}

fn holes(page: &mut String, report: &Report) {
    let rows = report.holes.iter().map(|one| {
        let ports = one.ports.as_deref().unwrap_or("all ports");
        [
            code(&one.id),
            some(
                one.destination
                    .as_ref()
                    .map(|to| format!("{to} {ports}{}", one.scope)),
            ),
            some(one.by.as_ref()),
            one.ended.as_ref().map_or("open".to_owned(), code),
            one.cut.to_string(),
        ]
    });
    let head = ["hole", "destination", "by", "ended", "connections cut"];
    table(page, "Holes", head, rows);
}

fn reached(page: &mut String, report: &Report) {
    let rows = report.reached.iter().map(|one| {
        [
            code(flows::to(one)),
            code(flows::port(one)),
            some(one.program.as_ref()),
            one.connections.to_string(),
            code(flows::by(one)),
            code(&one.session),
        ]
    });
    let head = ["destination", "port", "program", "times", "by", "session"];
    table(page, "Reached", head, rows);
}

/// All of it in a sentence.
pub(crate) fn headline(report: &Report) -> String {
    let sessions = count(report.sessions.len() as u64, "session");
    if report.stopped.is_empty() && report.refused == 0 {
        return format!("Nothing was stopped in {sessions}.");
    }
    let left_out = match report.left_out {
        0 => String::new(),
        left_out => format!(" Left out of the audit log: {}.", count(left_out, "record")),
    };
    let has_attempts = report.refused > 0 || report.destinations() > 0;
    let attempts = has_attempts.then(|| {
        let attempts = count(report.refused, "attempt");
        format!(
            "{attempts} to {}",
            count(report.destinations(), "destination")
        )
    });
    let writes = (report.writes > 0).then(|| report.sent());
    let closed = (report.closed > 0).then(|| count(report.closed, "connection") + " closed");
    let all: Vec<_> = attempts.into_iter().chain(writes).chain(closed).collect();
    format!("Stopped in {sessions}: {}.{left_out}", all.join(", and "))
}

/// "1 session", "2 sessions"
pub(crate) fn count(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

fn table<const N: usize>(
    page: &mut String,
    title: &str,
    heads: [&str; N],
    rows: impl ExactSizeIterator<Item = [String; N]>,
) {
    let more = rows.len().saturating_sub(ROWS);
    if rows.len() == 0 {
        return;
    }
    let _ = writeln!(page, "#### {title}\n");
    let _ = writeln!(page, "| {} |", heads.join(" | "));
    let _ = writeln!(page, "|{}", " --- |".repeat(N));
    for row in rows.take(ROWS) {
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
    if more > 0 {
        let _ = writeln!(page, "\nand {more} more: `guard report --json` has them.");
    }
    page.push('\n');
}

/// The programs of a line.
pub(super) fn programs(all: &std::collections::BTreeSet<String>) -> Option<String> {
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// A session by its id and name.
pub(super) fn session(id: Option<&str>, name: Option<&str>) -> String {
    match (id, name) {
        (Some(id), Some(name)) => format!("{id} {name}"),
        (Some(id), None) => id.to_owned(),
        _ => "none".to_owned(),
    }
}

fn some(text: Option<impl Display>) -> String {
    text.map_or_else(String::new, code)
}

/// Foreign text as a span of code, in which nothing has a meaning: no link, no mention, no HTML, no other cell. What
/// would end the span or the cell is shown as what looks like it.
fn code(text: impl Display) -> String {
    let text = visible(text, LIMIT).replace('`', "'").replace('|', "¦");
    match text.trim() {
        "" => String::new(),
        text => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{records, story};
    use super::*;

    #[test]
    fn a_report_reads_well() {
        insta::assert_snapshot!(page(&story()), @r#"
        ### guard

        Stopped in 3 sessions: 11 attempts to 4 destinations. Left out of the audit log: 2 records.

        #### Stopped

        | destination | times | verdict | rule | program | session |
        | --- | --- | --- | --- | --- | --- |
        | `tcp 192.0.2.10:443` | 5 | `deny` | `metadata` | `/usr/bin/curl, wget` | `s1 make` |
        | `tcp 192.0.2.11:5432 (db.example.com)` | 1 | `confirm` | the default | `/usr/bin/psql` | `s1 make` |
        | `socket 17 of type 3` | 1 | `deny` | the default |  | `s2 inner` |
        | `tcp 192.0.2.10:443` | 1 | `deny` | the default |  | `s3 other` |

        #### Asked

        | request | destination | the agent's words | answer | by |
        | --- | --- | --- | --- | --- |
        | `r1` | `tcp 192.0.2.11:5432 (db.example.com)` | `migrate` | `yes` | `alice` |

        #### Holes

        | hole | destination | by | ended | connections cut |
        | --- | --- | --- | --- | --- |
        | `h1` | `192.0.2.11/32 tcp/5432, 2 connections` | `alice` | `expired` | 2 |
        "#);
    }

    #[test]
    fn foreign_text_stays_in_its_cell() {
        let hostile = "`|\\| <img src=x> [a](http://evil) @all\n| x | ::error::\u{1b}[0K";
        let report = Report::of(&records(serde_json::json!([
            {"kind": "denied", "session": hostile, "destination": {"address": hostile, "port": 1, "protocol": "tcp", "host": hostile},
             "rule": hostile, "verdict": hostile, "exe": hostile},
            {"kind": "request", "session": hostile, "request": hostile, "note": hostile, "destination": hostile},
        ])));
        let page = page(&report);
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let mut seen = 0;
        for row in rows {
            let cells: Vec<_> = row.split('|').collect();
            assert!([7, 8].contains(&cells.len()), "{row}");
            assert_eq!(row.matches('`').count() % 2, 0, "{row}");
            seen += 1;
        }
        assert_eq!(seen, 2, "{page}");
        assert!(!page.contains('\u{1b}'));
    }
}
