//! One question: what is dangerous in it is the largest. And what became of it, once it is over.

use std::time::Duration;

use guard_proto::{
    ApproverShown, Failure, HttpRequest, LogRecord, Request,
    approvers::Asked,
    record::{Answered, Record},
};
use guard_signed::{Document as _, Question};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Frame, asker, keyboard_of_one, letters, moment, place, program,
    questions::{asks, link},
    seen, seen_long,
};
use crate::audit_log::Day;

/// All there is to show.
pub(crate) struct Asking<'a> {
    /// As guardd lists it.
    pub(crate) request: &'a Request,
    /// The bytes that an answer is for.
    pub(crate) asked: Result<&'a Asked, &'a Failure>,
    /// Who may answer.
    pub(crate) approvers: &'a [ApproverShown],
    /// Who looks.
    pub(crate) by: &'a str,
    pub(crate) machine: &'a str,
}

/// The page.
pub(crate) fn page(frame: &Frame<'_>, asking: &Asking<'_>) -> Markup {
    let request = asking.request;
    let hash = asking.asked.ok().map(|asked| &asked.hash);
    let content = html! {
        p.crumbs { a href="/" { "Questions" } span aria-hidden="true" { "/" } (request.id) }
        article.asking id="asking" tabindex="-1" data-id=(request.id) data-asks=(asks(request)) data-hash=[hash] {
            (headline(request))
            (warnings(request))
            @if let Some(http) = &request.http { (body(http)) }
            (facts(asking))
            (answer(asking))
            @if let Ok(asked) = asking.asked { (bytes(asked)) }
            (keyboard_of_one())
        }
    };
    frame.page(&format!("{}?", request.id), "question", &content)
}

/// Who wants what, where.
fn headline(request: &Request) -> Markup {
    let to = &request.destination;
    let comm = seen(&asker(request, "A process"));
    html! {
        p.asks { b { (comm) } " in " (request.session) " of " b { (seen(&request.user)) } " wants" }
        @match (&request.http, &request.question) {
            (Some(http), _) => {
                h1 { span.verb { (seen(&http.method)) } " " span.what { (seen_long(&http.path)) } }
                p.to {
                    @if let Some(host) = &http.host {
                        span.host { (seen(&http.scheme)) "://" (seen(host)) } " at "
                    }
                    span.address { (seen(&place(&to.address, to.port))) }
                }
            }
            (None, Some(asked)) => {
                h1 { span.verb { "name" } " " span.what { (seen(&asked.name)) } }
                p.to { "to ask " span.address { (seen(&to.address)) } " for it" }
            }
            (None, None) => { (connection(request)) }
        }
        (letters(names(request)))
        @if let Some(listener) = &request.listener {
            p.to {
                "listener " (seen(&program(listener.program.as_deref(), "an unknown program")))
                @if !listener.command.is_empty() { ": " (seen_long(&listener.command.join(" "))) }
            }
            @if listener.forwards { p.beware { "it passes on what it gets to another place" } }
        }
    }
}

/// What it names, each once.
fn names(request: &Request) -> Vec<&str> {
    let http = request.http.as_ref().and_then(|http| http.host.as_deref());
    let asked = request.question.as_ref().map(|asked| &*asked.name);
    let host = request.destination.host.as_deref();
    let mut names: Vec<_> = [http, asked, host].into_iter().flatten().collect();
    names.dedup();
    names
}

fn connection(request: &Request) -> Markup {
    let to = &request.destination;
    let address = seen(&place(&to.address, to.port));
    html! {
        @if let Some(burst) = &request.burst {
            h1 { span.verb { (to.protocol) } " " span.what { (burst.count) " addresses of " (seen(&burst.prefix)) } }
            p.to { span.address { (seen_long(&burst.addresses.join(", "))) } }
        } @else if let Some(host) = &to.host {
            h1 { span.verb { (to.protocol) } " " span.what { (seen(&place(host, to.port))) } }
            p.to { "at " span.address { (address) } }
        } @else {
            h1 { span.verb { (to.protocol) } " " span.what { (address) } }
        }
    }
}

fn warnings(request: &Request) -> Markup {
    let http = request.http.as_ref().map(|http| &http.warnings[..]);
    let all = request.warnings.iter().chain(http.unwrap_or_default());
    let all: Vec<_> = all.collect();
    html! {
        @if !all.is_empty() {
            ul.beware aria-label="Beware" { @for one in all { li { (seen_long(one)) } } }
        }
    }
}

/// What is sent.
fn body(http: &HttpRequest) -> Markup {
    let size = http.bytes.map_or_else(
        || "of unknown length".to_owned(),
        |bytes| format!("{bytes} bytes"),
    );
    html! {
        section.body {
            h2 { @if http.is_statement() { "Statement" } @else { "Body" } span.size { (size) } }
            @match &http.body_preview {
                Some(text) if !text.is_empty() => pre { (lines(text)) },
                _ => p.nothing { @if http.bytes == Some(0) { "empty" } @else { "not shown" } },
            }
            @if let Some(form) = &http.body_form { p.form { (seen(form)) } }
            @if !http.headers.is_empty() {
                ul.headers { @for header in &http.headers { li { (seen(header)) } } }
            }
        }
    }
}

/// Line by line, with what else cannot be seen written out.
fn lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(seen_long).collect();
    lines.join("\n")
}

fn facts(asking: &Asking<'_>) -> Markup {
    let request = asking.request;
    // What is signed names the process that asked first: another number beside it would look like another program.
    let pid = request.pid.filter(|_| asking.asked.is_err());
    let rule = request.rule.as_deref().unwrap_or("its default");
    html! {
        dl.facts {
            dt { "Stopped by" }
            dd { b { (seen(rule)) } " (" (request.verdict) ") of the policy " b { (seen(&request.policy)) } }
            @if let Some(reason) = &request.reason { dt { "Because" } dd { (seen_long(reason)) } }
            @if !request.command.is_empty() { dt { "Command" } dd { code { (seen_long(&request.command.join(" "))) } } }
            @if let Some(exe) = &request.exe {
                dt { "Program" }
                dd { code { (seen(exe)) } @if let Some(pid) = pid { " (" (pid) ")" } }
            }
            dt { "Asked" }
            dd {
                (moment(request.asked_at))
                @if request.count > 1 { ", " (request.count) " times" }
                @if let Some(until) = request.waits_until.filter(|_| request.held) {
                    ", " span.waits { "waits and gives up " (moment(until)) }
                }
            }
            @if let Some(alike) = &request.alike {
                dt { "Alike" }
                dd { (alike.count) " like this, each with an id of its own: a yes is for this one, a no for all" }
            }
            @if let Some(note) = &request.note { dt { "It says" } dd { q { (seen_long(note)) } } }
        }
    }
}

fn answer(asking: &Asking<'_>) -> Markup {
    let place = link(asking.machine, &asking.request.id);
    let question = asking
        .asked
        .ok()
        .and_then(|asked| Question::from_bytes(asked.question.as_bytes()).ok());
    let people: Vec<_> = asking
        .approvers
        .iter()
        .filter(|one| may(one, asking.request))
        .collect();
    let can_sign = question
        .as_ref()
        .is_some_and(|one| one.shown_whole && !one.offers.is_empty());
    html! {
        section.answer aria-label="Answer" {
            @match (&question, asking.asked) {
                (Some(question), Ok(asked)) if can_sign && !people.is_empty() => {
                    (yes(&place, question, asked, &people))
                }
                (Some(question), _) if !question.shown_whole => {
                    p.note { "Not all of it can be shown, so a yes has to be given at the machine." }
                }
                (Some(_), _) if people.is_empty() => {
                    p.note { "Nobody with a passkey answers for " (seen(&asking.request.user)) ", so no yes can be signed here. Root invites you to make one:" }
                    pre { "sudo guard approver invite " (seen(asking.by)) }
                }
                (_, Err(failure)) => p.note { (seen(&failure.what)) ": " (seen_long(&failure.why)) },
                _ => p.note { "Nothing can be opened for it from here." },
            }
            form.no method="post" action={ (place) "/no" } {
                button.no type="submit" { "No" }
                span.hint { "is not asked again for 15 min" }
            }
            p.said role="alert" id="said" {}
        }
    }
}

/// Whether somebody's passkey may answer it; guardd looks at the policy, too.
fn may(one: &ApproverShown, request: &Request) -> bool {
    one.answers_for.contains(&request.user) && one.keys.iter().any(|key| key.kind == "passkey")
}

/// What the script signs with.
pub(super) fn yes(
    place: &str,
    question: &Question,
    asked: &Asked,
    people: &[&ApproverShown],
) -> Markup {
    html! {
        form.yes id="yes" action={ (place) "/answer" } data-question=(asked.question) {
            fieldset {
                legend { "Let it" }
                div.offers {
                    @for (offer, words) in &offers(question) {
                        label {
                            input type="radio" name="offer" value=(offer) checked[is_once(offer)] required;
                            span { (words) }
                        }
                    }
                }
            }
            div.signs {
                label.as hidden[people.len() == 1] {
                    "Sign as "
                    select name="by" {
                        @for one in people {
                            option value=(one.name) data-keys=(keys(one)) { (one.name) }
                        }
                    }
                }
                @if let Some(by) = &question.code_by {
                    label.code {
                        // What tells a phone by on_request has no code in it.
                        "Code, as " (seen(by)) @if by == "on_request" { " or guard pending" } " shows it beside the same request "
                        input name="code" inputmode="numeric" autocomplete="off" maxlength="3" size="4" required;
                    }
                }
            }
            // Why the button cannot be pressed yet, in the script's words.
            p.why id="why" {}
            button.main.yes type="submit" aria-describedby="why" disabled { "Yes, sign with passkey" }
            noscript { p.note { "A yes is signed by your passkey, which takes script. No works without." } }
        }
    }
}

/// "15 min": what is not whole in a unit is told in the next smaller one.
fn spelled(seconds: u64) -> String {
    match seconds {
        0 => "0 s".to_owned(),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn keys(one: &ApproverShown) -> String {
    let passkeys = one.keys.iter().filter(|key| key.kind == "passkey");
    let ids: Vec<_> = passkeys.map(|key| key.id.as_str()).collect();
    ids.join(" ")
}

/// Whether it lets through what was asked and nothing else, once: all more than that a person chooses.
fn is_once(offer: &str) -> bool {
    offer == "connections=1" || offer == "requests=1"
}

/// What may be answered, in words. The least comes first.
fn offers(question: &Question) -> Vec<(String, String)> {
    let words = |offer: &String| {
        let words = match offer.split_once('=') {
            Some(("for", seconds)) => {
                let lasting = spelled(seconds.parse().ok()?);
                match question.kind.as_str() {
                    "connect" => format!("for {lasting}"),
                    // A request is let through once, whenever it comes.
                    _ => format!("once, within {lasting}"),
                }
            }
            Some(("connections" | "requests", "1")) => "once".to_owned(),
            Some((what @ ("connections" | "requests"), count)) => format!("{count} {what}"),
            Some(("scope", "prefix")) => "all of the prefix".to_owned(),
            Some(("scope", "writes")) => match question.kind.as_str() {
                "sql" => "all that change something there".to_owned(),
                _ => "all that change something at its host".to_owned(),
            },
            Some(("path", path)) => format!("all with the path {}", seen(path)),
            None if offer == "read-only" => "reads alone".to_owned(),
            _ => return None,
        };
        Some((offer.clone(), words))
    };
    let mut all: Vec<_> = question.offers.iter().filter_map(words).collect();
    all.sort_by_key(|(offer, _)| match offer.split_once('=') {
        _ if is_once(offer) => 0,
        Some(("for", seconds)) => seconds.parse::<u64>().unwrap_or(u64::MAX).saturating_add(1),
        _ => u64::MAX,
    });
    all
}

/// What is signed, in guardd's own lines: the script signs only where these stand here.
fn bytes(asked: &Asked) -> Markup {
    let question = Question::from_bytes(asked.question.as_bytes());
    html! {
        @if let Ok(question) = question {
            details.bytes {
                summary { "What a yes signs" }
                ol id="shows" { @for line in &question.shows { li { (line) } } }
                p { "Question " code { (asked.hash) } " of the machine " code { (question.machine) } }
            }
        }
    }
}

/// What became of a request that waits no more.
pub(crate) fn over(frame: &Frame<'_>, id: &str, day: &Day) -> Markup {
    let records: Vec<_> = day.about(id).collect();
    let content = html! {
        p.crumbs { a href="/" { "Questions" } span aria-hidden="true" { "/" } (seen(id)) }
        @if let Some(latest) = records.first() {
            h1 { (verdict(&records)) }
            p { (moment(latest.at)) }
            @if let Some(until) = refused_until(&records) { p { "It is not asked again until " (moment(until)) "." } }
            ol.log { @for record in records.iter().rev() { (super::log::entry(record)) } }
        } @else {
            h1 { "No such question" }
            p { "Nothing that waits has the id " (seen(id)) ", and nothing of the last day had." }
        }
        p { a href="/" { "All questions" } }
    };
    frame.page(&format!("{} is over", seen(id)), "over", &content)
}

/// The answer that was given, if there was one.
fn answered(records: &[&LogRecord]) -> Option<(Timestamp, Box<Answered>)> {
    let mut records = records.iter();
    records.find_map(|record| match record.record() {
        Record::Answered(answered) => Some((record.at, answered)),
        _ => None,
    })
}

/// The time until which a no stands.
fn refused_until(records: &[&LogRecord]) -> Option<Timestamp> {
    let (at, answered) = answered(records)?;
    let is_no = answered.answer.get().map(String::as_str) == Some("no");
    let seconds = answered.seconds.get().copied().filter(|_| is_no)?;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    at.checked_add(time).ok()
}

fn verdict(records: &[&LogRecord]) -> String {
    let Some((_, answered)) = answered(records) else {
        return "Nobody has answered".to_owned();
    };
    let by = seen(answered.by.get().map_or("somebody", String::as_str));
    match answered.answer.get().map(String::as_str) {
        Some("yes") => format!("Yes, by {by}"),
        Some("no") => format!("No, by {by}"),
        _ => format!("Answered by {by}"),
    }
}
