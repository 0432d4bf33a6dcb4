//! Sessions, holes, what was reached, and keys.

use guard_proto::{ApproverShown, Flow, Hole, HttpHole, Session, flows::FlowsReply};
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Frame, browsers, lasting, moment, none, none_of, place, seen};
use crate::{push, scope::Scope};

/// Flows on the page.
const MOST: usize = 500;

fn link(place: &str, id: &str) -> String {
    format!("{place}{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

/// The live sessions.
pub(crate) fn sessions(frame: &Frame<'_>, sessions: &[Session], scope: &Scope) -> Markup {
    let content = html! {
        h1 { "Sessions" }
        @if sessions.is_empty() {
            (none_of(scope, "Nothing of theirs runs under the guard.", "guard run -- COMMAND starts a session."))
        }
        ul.cards {
            @for one in sessions {
                li {
                    p.title { b { (seen(&one.name)) } span.id { (one.id) } @if let Some(parent) = &one.parent { span.id { "in " (seen(parent)) } } }
                    p.code { code { (seen(&one.command.join(" "))) } }
                    dl.row {
                        div { dt { "Policy" } dd { (seen(&one.policy)) @if one.observed { " (observed)" } } }
                        div { dt { "User" } dd { (seen(&one.user)) } }
                        div { dt { "Since" } dd { (moment(one.started_at)) } }
                        @if one.all_asked {
                            div { dt { "Asked about" } dd { "each new connection: " (one.appeared) " places that look like production came into reach" } }
                        }
                        @if let Some(ended) = one.command_ended_at {
                            div { dt { "Ended" } dd { (moment(ended)) ", left " (one.left.len()) " processes" } }
                        }
                    }
                    p.links {
                        a href=(link("/flows?session=", &one.id)) { "What it reached" }
                        a href=(link("/log?session=", &one.id)) { "Log" }
                    }
                }
            }
        }
    };
    frame.page("Sessions", "sessions", &content)
}

/// The open holes.
pub(crate) fn holes(frame: &Frame<'_>, holes: &[Hole], scope: &Scope) -> Markup {
    let content = html! {
        h1 { "Holes" }
        @if holes.is_empty() {
            (none_of(scope, "No hole is open.", "A yes opens one, which ends by itself."))
        }
        ul.cards {
            @for one in holes { (hole(one)) }
        }
    };
    frame.page("Holes", "holes", &content)
}

/// Where the requests may go that a hole is for.
fn place_of(http: &HttpHole) -> String {
    match (&http.path, &http.host) {
        (Some(path), _) => path.clone(),
        (None, Some(host)) => format!("to {host}"),
        (None, None) => "anywhere".to_owned(),
    }
}

fn hole(one: &Hole) -> Markup {
    let by = one.opened_by.as_deref().unwrap_or("somebody");
    html! {
        li {
            p.title { b { (seen(&one.destination)) } @if let Some(ports) = &one.ports { span.ports { (seen(ports)) } } span.id { (one.id) " for " (one.session) } }
            (super::central::shut(one.shut_by.as_deref()))
            @if let Some(http) = &one.http {
                p.code { code { (seen(http.method.as_deref().unwrap_or("any write"))) " " (seen(&place_of(http))) } }
            }
            dl.row {
                div { dt { "Ends" } dd { (moment(one.expires_at)) } }
                div { dt { "Opened by" } dd { (seen(by)) @if let Some(at) = one.opened_at { ", " (moment(at)) } } }
                @if let Some(left) = one.connections_left { div { dt { "Connections" } dd { (left) " left" } } }
                @if let Some(left) = one.bytes_left { div { dt { "Bytes" } dd { (left) " left" } } }
                @if let Some(left) = one.http.as_ref().and_then(|http| http.requests_left) { div { dt { "Requests" } dd { (left) " left" } } }
                @if one.read_only { div { dt { "For" } dd { "reads alone" } } }
                @if let Some(reason) = &one.reason { div { dt { "Because" } dd { (seen(reason)) } } }
            }
            form method="post" action={ (link("/holes/", &one.id)) "/close" } {
                button.no type="submit" aria-label={ "Close " (one.id) } { "Close" }
            }
        }
    }
}

/// What was reached.
pub(crate) fn flows(
    frame: &Frame<'_>,
    listed: &FlowsReply,
    session: Option<&str>,
    scope: &Scope,
) -> Markup {
    let mut flows: Vec<_> = listed.flows.iter().collect();
    flows.sort_by_key(|one| std::cmp::Reverse(one.last_at));
    let left_out = flows.len().saturating_sub(MOST);
    flows.truncate(MOST);
    let content = html! {
        h1 { "Flows" @if let Some(session) = session { span.of { (seen(session)) } } }
        @if session.is_some() { p { a href="/flows" { "All sessions" } } }
        @for warning in &listed.warnings { p.note { (seen(warning)) } }
        @if flows.is_empty() {
            (none_of(scope, "Nothing was reached.", "Here is each destination that a session has connected to, by program."))
        } @else {
            (reached(&flows, seen, |one| html! { a href=(link("/flows?session=", &one.session)) { (seen(&one.session)) } }))
            @if left_out > 0 { p.more { (left_out) " more: " code { "guard flows" } } }
        }
    };
    frame.page("Flows", "flows", &content)
}

/// The table of these; `shown`: how text of that machine's is shown, `session`: how a session is.
pub(super) fn reached(
    flows: &[&Flow],
    shown: fn(&str) -> String,
    session: fn(&Flow) -> Markup,
) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="What was reached" {
            table {
                thead {
                    tr {
                        th scope="col" { "Destination" } th scope="col" { "Program" } th scope="col" { "Session" }
                        th.number scope="col" { "Connections" } th.number scope="col" { "Sent" } th.number scope="col" { "Received" }
                        th scope="col" { "Rule" } th scope="col" { "Last" }
                    }
                }
                tbody { @for one in flows { (flow(one, shown, session(one))) } }
            }
        }
    }
}

fn flow(one: &Flow, shown: fn(&str) -> String, session: Markup) -> Markup {
    let address = place(&one.address, one.port);
    html! {
        tr {
            th scope="row" {
                @match &one.host {
                    Some(host) => { span.host { (shown(host)) } " " span.address { (shown(&address)) } },
                    None => span.host { (shown(&address)) },
                }
                @if one.protocol != "tcp" { " " span.id { (shown(&one.protocol)) } }
            }
            td { (shown(one.program.as_deref().unwrap_or("?"))) }
            td { (session) }
            td.number { (one.connections) }
            td.number { (one.bytes_sent.map(bytes).unwrap_or_default()) }
            td.number { (one.bytes_received.map(bytes).unwrap_or_default()) }
            td { span class={ "verdict " (kind_of(&one.verdict)) } { (shown(&one.verdict)) } @if let Some(rule) = &one.rule { " " (shown(rule)) } }
            td { (moment(one.last_at)) }
        }
    }
}

/// The verdict, for its colour: what a machine says is no class of its own.
fn kind_of(verdict: &str) -> &'static str {
    let known = ["allow", "deny", "confirm", "read-only"].into_iter();
    let mut known = known.filter(|one| *one == verdict);
    known.next().unwrap_or_default()
}

/// `1.4 MiB`
fn bytes(count: u64) -> String {
    let mut unit = 1;
    for (name, next) in [("B", 1 << 10), ("KiB", 1 << 20), ("MiB", 1 << 30)] {
        if count < next {
            let tenths = (count % unit) * 10 / unit;
            return match unit {
                1 => format!("{count} B"),
                _ => format!("{}.{tenths} {name}", count / unit),
            };
        }
        unit = next;
    }
    format!("{}.{} GiB", count >> 30, (count % unit) * 10 / unit)
}

/// Who may answer, and with what.
pub(crate) fn approvers(
    frame: &Frame<'_>,
    all: &[ApproverShown],
    devices: Option<&push::pages::Shown>,
) -> Markup {
    let content = html! {
        h1 { "Keys" }
        @if all.is_empty() {
            (none("Nobody may answer from here yet.", "As root: guard approver invite NAME --answers-for USER"))
        }
        ul.cards {
            @for one in all { (approver(one, seen)) }
        }
        @if let Some(devices) = devices { (devices.markup()) }
        (browsers(devices.is_some()))
    };
    frame.page("Keys", "approvers", &content)
}

/// One of them; `shown`: how text of that machine's is shown.
pub(super) fn approver(one: &ApproverShown, shown: fn(&str) -> String) -> Markup {
    html! {
        li {
            p.title { b { (shown(&one.name)) } }
            dl.row {
                div { dt { "Answers for" } dd { (shown(&one.answers_for.join(", "))) } }
                div { dt { "Policies" } dd { (shown(&one.policies.join(", "))) } }
                @if let Some(most) = one.max_for { div { dt { "At most" } dd { (lasting(most)) } } }
            }
            ul.keys {
                @for key in &one.keys {
                    li {
                        span.id { (shown(&key.kind)) }
                        code { (shown(&key.fingerprint)) }
                        @if !key.fido { span.warn { "a program that reaches it can sign" } }
                        @if key.synced == Some(true) { span.of { "synced: it may be on other devices" } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_for_the_writes_to_one_host_names_it() {
        let hole = |host: Option<&str>, path: Option<&str>| {
            place_of(&HttpHole {
                host: host.map(str::to_owned),
                method: None,
                path: path.map(str::to_owned),
                requests_left: None,
                digest: None,
                sql: false,
            })
        };
        assert_eq!(hole(Some("staging"), None), "to staging");
        assert_eq!(hole(None, None), "anywhere");
        assert_eq!(hole(Some("staging"), Some("/x")), "/x");
    }

    #[test]
    fn sizes_read_well() {
        let said = [
            0,
            1023,
            1024,
            1536,
            1 << 20,
            (1 << 20) * 3 / 2,
            1 << 30,
            5 << 40,
        ]
        .map(super::bytes);
        assert_eq!(
            said.join(", "),
            "0 B, 1023 B, 1.0 KiB, 1.5 KiB, 1.0 MiB, 1.5 MiB, 1.0 GiB, 5120.0 GiB"
        );
    }
}
