//! A report as GitHub's workflow commands: each of them becomes an annotation of the job.
//!
//! <https://docs.github.com/actions/using-workflows/workflow-commands-for-github-actions>

use std::fmt::{Display, Write};

use super::super::render::escape::visible;
use super::markdown::{count, headline, programs, session};
use super::summary::Report;

/// GitHub shows so many annotations of one kind in a step.
const MOST: usize = 9;
const LIMIT: usize = 200;

/// The commands, a line each.
pub(super) fn commands(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for one in report.stopped.iter().take(MOST) {
        let title = property(format_args!("guard stopped {}", one.words()));
        let rule = one.rule_or("no rule", "the default");
        let by = programs(&one.programs).map(|by| format!(" by {by}"));
        let message = data(format_args!(
            "{}{}: {rule} ({}), session {}",
            count(one.count, "time"),
            by.unwrap_or_default(),
            one.verdict,
            session(one.session.as_deref(), one.name.as_deref()),
        ));
        let _ = writeln!(out, "::warning title={title}::{message}");
    }
    if report.stopped.len() > MOST {
        let more = report.stopped.len() - MOST;
        let _ = writeln!(
            out,
            "::warning title=guard stopped more::{} more in the job's summary",
            count(more as u64, "destination")
        );
    }
    let _ = writeln!(out, "::notice title=guard::{}", data(headline(report)));
    out
}

/// Text after the `::`.
fn data(text: impl Display) -> String {
    let text = visible(text, LIMIT).replace('%', "%25");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property: what ends it has no meaning.
fn property(text: impl Display) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{records, story};
    use super::*;

    #[test]
    fn a_report_is_a_line_for_each_destination() {
        insta::assert_snapshot!(commands(&story()), @r#"
        ::warning title=guard stopped tcp 192.0.2.10%3A443::5 times by /usr/bin/curl, wget: metadata (deny), session s1 make
        ::warning title=guard stopped tcp 192.0.2.11%3A5432 (db.example.com)::1 time by /usr/bin/psql: the default (confirm), session s1 make
        ::warning title=guard stopped socket 17 of type 3::1 time: the default (deny), session s2 inner
        ::warning title=guard stopped tcp 192.0.2.10%3A443::1 time: the default (deny), session s3 other
        ::notice title=guard::Stopped in 3 sessions: 11 attempts to 4 destinations. Left out of the audit log: 2 records.
        "#);
    }

    #[test]
    fn a_rule_that_is_called_as_the_default_is_a_rule() {
        let records = ["(default)", "the default", "-", "photos"].map(|rule| {
            serde_json::json!({"kind": "denied", "session": "s1", "rule": rule, "verdict": "deny",
                "destination": {"address": "192.0.2.1", "port": rule.len(), "protocol": "tcp", "host": null}})
        });
        let report = Report::of(&self::records(serde_json::Value::from_iter(records)));
        let mut rules: Vec<_> = report
            .stopped
            .iter()
            .map(|one| one.rule_or("-", "(default)"))
            .collect();
        rules.sort();
        assert_eq!(
            rules,
            [r#""(default)""#, r#""-""#, r#""the default""#, "photos"]
        );
    }

    #[test]
    fn foreign_text_cannot_give_commands() {
        let hostile = "x,file=/etc/passwd::y\r\n::error::z%0A::add-mask::\u{2028}##[error]";
        let report = Report::of(&records(serde_json::json!([
            {"kind": "session-start", "session": "s1", "name": hostile},
            {"kind": "denied", "session": "s1", "destination": {"address": hostile, "port": 1, "protocol": "tcp", "host": hostile},
             "rule": hostile, "verdict": hostile, "exe": hostile},
        ])));
        let text = commands(&report);
        assert_eq!(text.lines().count(), 2, "{text}");
        let line = text.lines().next().unwrap();
        let rest = line.strip_prefix("::warning title=").unwrap();
        let (title, message) = rest.split_once("::").unwrap();
        assert!(!title.contains([':', ',']), "{title}");
        assert!(!message.contains("%0A"), "{message}");
        assert!(!text.contains(['\r', '\u{2028}']));
    }

    #[test]
    fn a_flood_is_a_few_lines() {
        let many: Vec<_> = (0..100)
            .map(|last| {
                let to = format!("192.0.2.{last}");
                serde_json::json!({"kind": "denied", "session": "s1", "destination": to, "count": 1})
            })
            .collect();
        let mut timed = Vec::new();
        for one in many.chunks(50) {
            timed.extend(records(serde_json::Value::Array(one.to_vec())));
        }
        let text = commands(&Report::of(&timed));
        assert_eq!(text.lines().count(), MOST + 2, "{text}");
        assert!(text.contains("91 destinations more"), "{text}");
    }
}
