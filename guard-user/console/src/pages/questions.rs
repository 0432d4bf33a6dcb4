//! All that is asked.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use guard_proto::Request;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{Frame, asker, keyboard, moment, none_of, place, seen};
use crate::scope::Scope;

/// A question in a list, for the page and for the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct QuestionLine {
    /// The request.
    pub(crate) id: String,
    /// Its own page.
    pub(crate) link: String,
    /// What is wanted: `PUT`, `SELECT`, `tcp`.
    pub(crate) verb: String,
    /// Of what.
    pub(crate) what: String,
    /// Where.
    pub(crate) to: String,
    /// Who asks.
    pub(crate) who: String,
    /// What looks dangerous, first.
    pub(crate) beware: Option<String>,
    /// Until when somebody waits.
    pub(crate) waits_until: Option<String>,
    /// Since when.
    pub(crate) asked_at: String,
    /// What is another where it asks something else: the page of the question is reloaded then.
    pub(crate) asks: String,
}

impl QuestionLine {
    pub(crate) fn of(request: &Request, machine: &str) -> Self {
        let to = &request.destination;
        let host = request.http.as_ref().and_then(|http| http.host.as_deref());
        let host = host.or(to.host.as_deref());
        let address = match &request.burst {
            Some(burst) => format!("{} addresses of {}", burst.count, burst.prefix),
            None => place(&to.address, to.port),
        };
        let (verb, what) = match (&request.http, &request.question) {
            (Some(http), _) => (http.method.clone(), http.path.clone()),
            (None, Some(asked)) => ("name".to_owned(), asked.name.clone()),
            (None, None) => (to.protocol.clone(), address.clone()),
        };
        let to = match (host, what == address) {
            (Some(host), true) => host.to_owned(),
            (Some(host), false) => format!("{host} at {address}"),
            (None, true) => String::new(),
            (None, false) => address,
        };
        let http = request.http.as_ref();
        let beware = request.warnings.first().or_else(|| http?.warnings.first());
        Self {
            id: request.id.clone(),
            link: link(machine, &request.id),
            verb: seen(&verb),
            what: seen(&what),
            to: seen(&to),
            who: seen(&who(request)),
            beware: beware.map(|one| seen(one)),
            waits_until: request
                .waits_until
                .filter(|_| request.held)
                .map(|at| at.to_string()),
            asked_at: request.asked_at.to_string(),
            asks: asks(request),
        }
    }
}

/// What is another where a request asks something else: no secret, and no proof. A page that is reloaded too seldom has its answer
/// refused.
pub(crate) fn asks(request: &Request) -> String {
    let mut hasher = DefaultHasher::new();
    request.asks().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A question's own page, which stays the same.
pub(crate) fn link(machine: &str, id: &str) -> String {
    let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    format!("/q/{machine}/{}", part(id))
}

/// `curl in s1 of dev`
fn who(request: &Request) -> String {
    let comm = asker(request, "a process");
    format!("{comm} in {} of {}", request.session, request.user)
}

/// The page of a machine, with its last day below where that is known.
pub(crate) fn page(
    frame: &Frame<'_>,
    requests: &[Request],
    scope: &Scope,
    machine: &str,
    day: Option<&Markup>,
) -> Markup {
    let lines: Vec<_> = requests
        .iter()
        .map(|one| QuestionLine::of(one, machine))
        .collect();
    let none = none_of(
        scope,
        "Nothing is asked.",
        "What a session wants and no rule allows appears here while you look.",
    );
    list(frame, &lines, &none, day.unwrap_or(&html! {}))
}

/// The keys of the list.
const KEYS: [(&str, &str); 5] = [
    ("j or \u{2193}", "the next"),
    ("k or \u{2191}", "the one before"),
    ("Enter", "opens it"),
    ("n", "opens it at its no"),
    ("?", "shows this"),
];

/// The page of these; `none`: what it says where there are none, and `more` in any case.
pub(super) fn list(
    frame: &Frame<'_>,
    lines: &[QuestionLine],
    none: &Markup,
    more: &Markup,
) -> Markup {
    let content = html! {
        h1 { "Questions" }
        ul.questions id="questions" {
            @for line in lines { (entry(line)) }
        }
        (keyboard(&KEYS))
        div id="none" hidden[!lines.is_empty()] {
            (none)
        }
        (more)
        template id="question" { (blank()) }
        p.sr role="status" id="news" {}
    };
    frame.page("Questions", "questions", &content)
}

fn entry(line: &QuestionLine) -> Markup {
    // As it was written.
    let time = |text: &str| match text.parse() {
        Ok(at) => moment(at),
        Err(_) => html! { time {} },
    };
    html! {
        li data-id=(line.id) {
            a href=(line.link) {
                span.verb { (line.verb) }
                span.what { (line.what) }
                span.to { (line.to) }
                span.beware hidden[line.beware.is_none()] { (line.beware.as_deref().unwrap_or_default()) }
                span.meta {
                    span.who { (line.who) }
                    span.asked { "asked " (time(&line.asked_at)) }
                    span.waits hidden[line.waits_until.is_none()] {
                        "waits, gives up " (time(line.waits_until.as_deref().unwrap_or_default()))
                    }
                }
            }
        }
    }
}

/// What the script fills in, as text.
fn blank() -> Markup {
    html! {
        li {
            a {
                span.verb {}
                span.what {}
                span.to {}
                span.beware hidden {}
                span.meta {
                    span.who {}
                    span.asked { "asked " time {} }
                    span.waits hidden { "waits, gives up " time {} }
                }
            }
        }
    }
}
