//! Lines of the lists, and all about a request or a hole. What others say stands last in a line.

use guard_proto::{Flow, Hole, HttpRequest, LogRecord, Request, Session};

use crate::render::escape::quoted;
use crate::render::time::Clock;
use crate::render::{command_line, flows, holes, log, requests, sessions};

use super::model::Tone;

/// A label, what stands beside it, and how.
pub(crate) type LabelledText = (&'static str, String, Tone);

/// All of a request that a filter looks at.
pub(crate) fn request_text(request: &Request) -> String {
    let note = request.note.as_deref().unwrap_or_default();
    format!(
        "{} {} {} {} {note}",
        request.id,
        request.session,
        wants(request),
        request.rule.as_deref().unwrap_or_default(),
    )
}

/// All of a hole that a filter looks at.
pub(crate) fn hole_text(hole: &Hole) -> String {
    let by = hole.opened_by.as_deref().unwrap_or_default();
    let reason = hole.reason.as_deref().unwrap_or_default();
    format!(
        "{} {} {} {by} {reason}",
        hole.id,
        hole.session,
        target(hole)
    )
}

/// A request in a line of a list: what is ours, then what it wants.
pub(crate) fn request(request: &Request, clock: &Clock, is_narrow: bool) -> String {
    let tries = match request.count {
        0 | 1 => String::new(),
        count => format!("{count}x"),
    };
    let waits = request.waits_until.filter(|_| request.held);
    let when = match waits {
        Some(until) => format!("waits {}", clock.until(until).trim_start_matches("in ")),
        None => clock.ago(request.last_at),
    };
    let (id, session) = (&request.id, &request.session);
    if is_narrow {
        return format!("{id:<4} {tries:<3} {}", wants(request));
    }
    format!(
        "{id:<5} {session:<4} {tries:<4} {when:<14} {}",
        wants(request)
    )
}

/// The destination that a request is about, and the program that asks.
fn wants(request: &Request) -> String {
    let program = requests::program(request);
    match &request.http {
        Some(http) => format!("{}{}  {program}", requests::line(http), at(request)),
        None if request.question.is_some() => {
            format!("{program} asks {}", requests::target(request))
        }
        None => format!("{}  {program}", requests::target(request)),
    }
}

/// Where a request really goes, where its host is not that.
fn at(request: &Request) -> String {
    if requests::goes_elsewhere(request) {
        format!(" at {}", requests::target(request))
    } else {
        String::new()
    }
}

/// What a request is about, as a heading: in words of ours, and of the policy's author.
pub(crate) fn request_title(request: &Request) -> String {
    let wants = requests::wants(request);
    let (id, session) = (&request.id, &request.session);
    format!("{id}  {session} {wants} {}", requests::target(request))
}

/// The same below a list, where no heading says where to.
pub(crate) fn request_below(request: &Request, clock: &Clock) -> Vec<LabelledText> {
    let mut fields = request_fields(request, clock);
    if request.http.is_some() {
        fields.insert(0, ("to", requests::target(request), Tone::Strong));
    }
    fields
}

/// All about a request: what decides first.
pub(crate) fn request_fields(request: &Request, clock: &Clock) -> Vec<LabelledText> {
    let mut fields: Vec<LabelledText> = Vec::new();
    if let Some(http) = &request.http {
        http_fields(http, &mut fields);
    }
    if let Some(alike) = &request.alike {
        fields.push(("alike", requests::alike(alike), Tone::Strong));
    }
    if let Some(burst) = &request.burst {
        fields.push(("tried", requests::tried(burst), Tone::Strong));
    }
    if let Some(question) = &request.question {
        fields.push(("name", requests::name(request, question), Tone::Plain));
    }
    if let Some(told) = &request.named {
        fields.push(("name", requests::named(request, told, clock), Tone::Plain));
    }
    if let Some(listener) = &request.listener {
        let said = requests::listener(listener).into_iter();
        fields.extend(said.map(|(label, words)| (label, words, Tone::Plain)));
    }
    let warnings = request.warnings.iter();
    fields.extend(warnings.map(|warning| ("beware", warning.clone(), Tone::Warn)));
    fields.push(("rule", requests::rule(request), Tone::Plain));
    let inside = requests::inside(request).into_iter();
    fields.extend(inside.map(|words| ("inside", words, Tone::Plain)));
    if let Some(code) = &request.code {
        fields.push(("code", format!("{code}, for a signed answer"), Tone::Plain));
    }
    if let Some(until) = request.waits_until.filter(|_| request.held) {
        let waits = format!("for an answer: gives up {}", clock.until(until));
        fields.push(("waits", waits, Tone::Warn));
    }
    if !request.command.is_empty() {
        fields.push(("command", command_line(&request.command), Tone::Plain));
    }
    let program = match &request.exe {
        Some(exe) => format!("{}, {exe}", requests::program(request)),
        None => requests::program(request),
    };
    let session = format!(
        "{}, policy {}, user {}",
        requests::whose(request),
        requests::policy(request),
        request.user
    );
    fields.push(("program", program, Tone::Plain));
    fields.push(("asked", requests::asked(request, clock), Tone::Plain));
    fields.push(("session", session, Tone::Plain));
    if let Some(note) = &request.note {
        fields.push(("it says", quoted(note), Tone::Plain));
    }
    fields
}

/// What a request would do.
fn http_fields(http: &HttpRequest, fields: &mut Vec<LabelledText>) {
    let names = requests::names(http);
    let line = format!("{}{}", requests::line(http), requests::size(http));
    fields.push((names.line, line, Tone::Strong));
    let warnings = http.warnings.iter();
    fields.extend(warnings.map(|warning| ("beware", warning.clone(), Tone::Warn)));
    let headers = http.headers.iter();
    fields.extend(headers.map(|header| ("header", header.clone(), Tone::Plain)));
    if let Some(body) = requests::body(http) {
        fields.push((names.body, body, Tone::Plain));
    }
    if !http.kind.is_empty() {
        fields.push(("kind", http.kind.clone(), Tone::Plain));
    }
}

/// A hole in a line of a list.
pub(crate) fn hole(hole: &Hole, clock: &Clock) -> String {
    let left = match (&hole.shut_by, holes::left(hole)) {
        (Some(_), _) => "shut".to_owned(),
        (None, Some(_)) if hole.is_used_up() => "used up".to_owned(),
        (None, Some(left)) => format!("{left} left"),
        (None, None) => String::new(),
    };
    format!(
        "{:<5} {:<4} {:<9} {left:<7} {}  by {}  {}",
        hole.id,
        hole.session,
        remaining(hole, clock),
        target(hole),
        hole.opened_by.as_deref().unwrap_or("unknown"),
        hole.reason.as_deref().unwrap_or_default(),
    )
}

/// "14 min"
fn remaining(hole: &Hole, clock: &Clock) -> String {
    let until = clock.until(hole.expires_at);
    until.trim_start_matches("in ").to_owned()
}

/// Where a hole leads.
fn target(hole: &Hole) -> String {
    let ports = holes::ports(hole);
    let only = match &hole.http {
        Some(http) => format!(", {}", holes::requests(http)),
        None if hole.read_only => ", reads only".to_owned(),
        None => String::new(),
    };
    format!("{} {ports}{only}", hole.destination)
}

/// A hole that has just been opened.
pub(crate) fn opened(hole: &Hole) -> String {
    format!("{} open for {}: {}", hole.id, hole.session, target(hole))
}

/// All about a hole.
pub(crate) fn hole_fields(hole: &Hole, clock: &Clock) -> Vec<LabelledText> {
    let ends = format!(
        "{} ({})",
        clock.until(hole.expires_at),
        clock.at(hole.expires_at)
    );
    let opened = hole
        .opened_at
        .map_or_else(|| "unknown".into(), |at| clock.ago(at));
    let left = holes::left(hole).unwrap_or_else(|| "any number".into());
    let shut = hole.shut_by.as_ref();
    let shut = shut.map_or_else(String::new, |by| {
        format!("nothing passes now: {by} denies it")
    });
    [
        ("session", hole.session.clone()),
        ("to", target(hole)),
        ("ends", ends),
        ("left", left),
        ("opened", opened),
        (
            "by",
            hole.opened_by.clone().unwrap_or_else(|| "unknown".into()),
        ),
        ("reason", hole.reason.clone().unwrap_or_default()),
        ("shut", shut),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
    .map(|(label, text)| match label {
        "shut" => (label, text, Tone::Warn),
        _ => (label, text, Tone::Plain),
    })
    .collect()
}

/// What a session has reached.
pub(crate) fn reached(flow: &Flow, clock: &Clock) -> String {
    format!(
        "{:<5} {:<14} {:>5}x  {}  {} {}  {}",
        flow.session,
        clock.ago(flow.last_at),
        flow.connections,
        flow.program.as_deref().unwrap_or("-"),
        flows::port(flow),
        flows::to(flow),
        flows::by(flow),
    )
}

/// A session in a line of a list.
pub(crate) fn session(session: &Session, clock: &Clock) -> String {
    let appeared = match session.appeared {
        0 => String::new(),
        count if session.all_asked => format!("{count} came into reach: all is asked about  "),
        count => format!("{count} came into reach  "),
    };
    format!(
        "{:<5} {}  {}  {appeared}policy {}  {}",
        sessions::place(session),
        session.user,
        clock.ago(session.started_at),
        if session.observed {
            format!("{} (observed)", session.policy)
        } else {
            session.policy.clone()
        },
        if session.command.is_empty() {
            session.name.clone()
        } else {
            format!("{}  {}", session.name, command_line(&session.command))
        },
    )
}

/// A record of the audit log in a line, with the time of day alone.
pub(crate) fn record(record: &LogRecord, clock: &Clock) -> String {
    let line = log::line(record, clock).into_plain();
    // The day is `2026-11-20 `.
    line.get(11..).unwrap_or_default().trim_end().to_owned()
}

/// What colour it has.
pub(crate) fn record_tone(record: &LogRecord) -> Tone {
    use guard_proto::record::Record;
    match record.record() {
        Record::Denied(_) | Record::StartRefused(_) => Tone::Bad,
        Record::Noted(_)
        | Record::Request(_)
        | Record::Held(_)
        | Record::Http(_)
        | Record::Appeared(_) => Tone::Warn,
        Record::Answered(one) if one.answer.is("no") => Tone::Warn,
        Record::Answered(_) | Record::HoleOpen(_) | Record::SessionStart(_) => Tone::Good,
        _ => Tone::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples::{clock, hole as example};

    #[test]
    fn a_hole_that_is_shut_says_so_and_by_what() {
        let shut = Hole {
            connections_left: Some(3),
            shut_by: Some("rule never of floor".into()),
            ..example()
        };
        assert!(hole(&shut, &clock()).contains(" shut "), "{shut:?}");
        let field = hole_fields(&shut, &clock()).pop();
        let words = "nothing passes now: rule never of floor denies it".to_owned();
        assert_eq!(field, Some(("shut", words, Tone::Warn)));
        let fields = hole_fields(&example(), &clock());
        assert!(fields.iter().all(|(label, ..)| *label != "shut"));
    }
}
