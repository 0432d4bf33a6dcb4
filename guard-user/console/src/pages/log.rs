//! The audit log's last day.

use std::rc::Rc;

use guard_courier::day::HOURS;
use guard_proto::{Flow, LogRecord, central::Hour, record::Record};
use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{Frame, chart, moment, none, place, seen};
use crate::audit_log::Day;

/// Records on the page.
const MOST: usize = 200;

/// The page.
pub(crate) fn page(frame: &Frame<'_>, day: &Day, flows: &[Flow], session: Option<&str>) -> Markup {
    let is_meant =
        |record: &&LogRecord| session.is_none_or(|id| record.session.as_deref() == Some(id));
    let own = || day.records.iter().map(Rc::as_ref).filter(is_meant);
    let records: Vec<_> = own().take(MOST).collect();
    let all = own().count() + day.left_out;
    let now = Timestamp::now();
    let content = html! {
        h1 { "Log" @if let Some(session) = session { span.of { (seen(session)) } } }
        @if session.is_none() { (chart::chart(&day.hours.with_flows(flows, now), now)) }
        @else { p { a href="/log" { "All sessions" } } }
        @if records.is_empty() {
            (none("Nothing has happened.", "Here is what sessions of the last day were refused, asked, and were answered."))
        } @else {
            ol.log { @for record in &records { (entry(record)) } }
            @if all > records.len() {
                p.more { (all - records.len()) " more of the last day: " code { "guard log --since 1d" } }
            }
        }
    };
    frame.page("Log", "log", &content)
}

/// The last day at a glance, for another page; `late`: as it was then, for it is being read.
pub(crate) fn glance(day: &Day, flows: &[Flow], late: Option<Timestamp>) -> Markup {
    let now = Timestamp::now();
    html! {
        section.glance data-reading[late.is_some()] {
            h2 { a href="/log" { "The last day" } }
            (chart_of(&day.hours.with_flows(flows, now), now, late))
        }
    }
}

/// The hours until then; `late`: as they were at a time before.
pub(super) fn chart_of(hours: &[Hour; HOURS], until: Timestamp, late: Option<Timestamp>) -> Markup {
    html! {
        (chart::chart(hours, until))
        @if let Some(at) = late { p.note { "As it was " (moment(at)) ": the log is being read." } }
    }
}

/// In its place where it is not there yet. The script reloads the page.
pub(crate) fn reading() -> Markup {
    html! {
        section.glance data-reading {
            h2 { a href="/log" { "The last day" } }
            (is_read("/"))
        }
    }
}

/// That it is being read; `again`: the page that will have it.
pub(super) fn is_read(again: &str) -> Markup {
    html! {
        p.note {
            "The log is long and is being read. "
            a href=(again) { "Load the page again" } " in a moment."
        }
    }
}

/// One record.
pub(crate) fn entry(record: &LogRecord) -> Markup {
    let (kind, words) = words(&record.record());
    html! {
        li class=(kind) {
            span.at { (moment(record.at)) }
            span.kind { (words) }
            span.of {
                @if let Some(session) = &record.session {
                    a href={ "/log?session=" (escaped(session)) } { (seen(session)) }
                }
            }
            span.text { (seen(&text(&record.fields))) }
        }
    }
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A class for its colour, and the kind in words.
fn words(record: &Record) -> (&'static str, &'static str) {
    match record {
        Record::SessionStart(_) => ("plain", "session starts"),
        Record::SessionEnd(_) => ("plain", "session ends"),
        Record::StartRefused(_) => ("stopped", "not started"),
        Record::Denied(_) => ("stopped", "stopped"),
        Record::Held(_) => ("asked", "waits"),
        Record::Request(_) => ("asked", "asks"),
        Record::Noted(_) => ("asked", "says why"),
        Record::Settled(_) => ("plain", "settled"),
        Record::Appeared(_) => ("asked", "in reach"),
        Record::Answered(one) if one.answer.is("yes") => ("good", "yes"),
        Record::Answered(_) => ("stopped", "no"),
        Record::AnsweredInPart(_) => ("good", "yes of one"),
        Record::AnswerRefused(_) => ("stopped", "answer refused"),
        Record::ApproverAdded(_) => ("good", "key added"),
        Record::ApproverRemoved(_) => ("plain", "key removed"),
        Record::Dismissed(one) if one.withdrawn.is(&true) => ("plain", "not dismissed"),
        Record::Dismissed(_) => ("asked", "dismissed"),
        Record::Trusted(one) if one.withdrawn.is(&true) => ("plain", "trusted no more"),
        Record::Trusted(_) => ("asked", "trusted"),
        Record::HoleOpen(_) => ("good", "hole opened"),
        Record::HoleClose(_) => ("plain", "hole closed"),
        Record::PolicyLoad(one) if !one.error.is_none() => ("stopped", "policy refused"),
        Record::PolicyLoad(_) => ("plain", "policy loaded"),
        Record::PolicyApplied(one) if !one.error.is_none() => ("stopped", "policy refused"),
        Record::PolicyApplied(_) => ("asked", "policy applied"),
        Record::Http(one) if one.outcome.is("passed") => ("good", "http passed"),
        Record::Http(_) => ("stopped", "http"),
        Record::DaemonStart(_) => ("plain", "guardd starts"),
        Record::DaemonStop(_) => ("plain", "guardd stops"),
    }
}

/// What it is about, in a line.
fn text(fields: &Map<String, Value>) -> String {
    let word = |from: &Map<String, Value>, key: &str| match from.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let labelled = |label: &str, key: &str| word(fields, key).map(|text| format!("{label} {text}"));
    let http = fields
        .get("http")
        .and_then(Value::as_object)
        .unwrap_or(fields);
    let request = match (word(http, "method"), word(http, "path")) {
        (Some(method), Some(path)) => Some(format!("{method} {path}")),
        (method, path) => method.or(path),
    };
    let command = fields
        .get("command")
        .and_then(Value::as_array)
        .map(|words| {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            words.join(" ")
        });
    let parts = [
        word(fields, "request").or_else(|| word(fields, "hole")),
        request,
        destination(fields),
        word(fields, "host")
            .filter(|_| fields.contains_key("file") || fields.contains_key("label")),
        labelled("port", "port").filter(|_| fields.contains_key("label")),
        labelled("in", "file"),
        labelled("SHA-256", "sha256"),
        word(fields, "comm"),
        command.filter(|command| !command.is_empty()),
        rule(fields),
        labelled("by", "by"),
        labelled("policy", "policy").filter(|_| !fields.contains_key("verdict")),
        word(fields, "why"),
        word(fields, "reason"),
        word(fields, "approver"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.join(" · ")
}

/// The rule, and the policy where that is not the session's own: the fleet's around it, or one of a parent session.
fn rule(fields: &Map<String, Value>) -> Option<String> {
    let word = |key: &str| fields.get(key).and_then(Value::as_str);
    let around = word("policy").filter(|_| fields.contains_key("verdict"));
    match (word("rule"), around) {
        (Some(rule), Some(policy)) => Some(format!("by rule {rule} of {policy}")),
        (Some(rule), None) => Some(format!("by rule {rule}")),
        (None, Some(policy)) => Some(format!("by the default of {policy}")),
        (None, None) => None,
    }
}

fn destination(fields: &Map<String, Value>) -> Option<String> {
    match fields.get("destination")? {
        Value::String(prefix) => Some(prefix.clone()),
        Value::Object(to) => {
            let word = |key: &str| to.get(key).and_then(Value::as_str);
            let port = to.get("port").and_then(Value::as_u64);
            let port = port.and_then(|port| u16::try_from(port).ok());
            let address = place(word("address")?, port);
            Some(match word("host") {
                Some(host) => format!("{host} ({address})"),
                None => address,
            })
        }
        _ => None,
    }
}
