//! The audit log's last day.

use std::rc::Rc;

use guard_courier::day::HOURS;
use guard_proto::{Flow, LogKind, LogRecord, central::Hour};
use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{Frame, chart, moment, none, place, seen};
use crate::trail::Day;

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
            ol.trail { @for record in &records { (entry(record)) } }
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
    let (kind, words) = words(record);
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
fn words(record: &LogRecord) -> (&'static str, &'static str) {
    let says = |key: &str, value: &str| record.fields.get(key).is_some_and(|said| said == value);
    match record.kind {
        LogKind::SessionStart => ("plain", "session starts"),
        LogKind::SessionEnd => ("plain", "session ends"),
        LogKind::StartRefused => ("stopped", "not started"),
        LogKind::Denied => ("stopped", "stopped"),
        LogKind::Held => ("asked", "waits"),
        LogKind::Request => ("asked", "asks"),
        LogKind::Noted => ("asked", "says why"),
        LogKind::Settled => ("plain", "settled"),
        LogKind::Appeared => ("asked", "in reach"),
        LogKind::Answered if says("answer", "yes") => ("good", "yes"),
        LogKind::Answered => ("stopped", "no"),
        LogKind::AnsweredInPart => ("good", "yes of one"),
        LogKind::AnswerRefused => ("stopped", "answer refused"),
        LogKind::ApproverAdded => ("good", "key added"),
        LogKind::ApproverRemoved => ("plain", "key removed"),
        LogKind::Dismissed if record.fields.get("withdrawn") == Some(&true.into()) => {
            ("plain", "not dismissed")
        }
        LogKind::Dismissed => ("asked", "dismissed"),
        LogKind::Trusted if record.fields.get("withdrawn") == Some(&true.into()) => {
            ("plain", "trusted no more")
        }
        LogKind::Trusted => ("asked", "trusted"),
        LogKind::HoleOpen => ("good", "hole opened"),
        LogKind::HoleClose => ("plain", "hole closed"),
        LogKind::PolicyLoad | LogKind::PolicyApplied
            if record
                .fields
                .get("error")
                .is_some_and(|error| !error.is_null()) =>
        {
            ("stopped", "policy refused")
        }
        LogKind::PolicyLoad => ("plain", "policy loaded"),
        LogKind::PolicyApplied => ("asked", "policy applied"),
        LogKind::Http if says("outcome", "passed") => ("good", "http passed"),
        LogKind::Http => ("stopped", "http"),
        LogKind::DaemonStart => ("plain", "guardd starts"),
        LogKind::DaemonStop => ("plain", "guardd stops"),
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
