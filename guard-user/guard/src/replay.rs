//! `guard replay`: what another policy would have said to what happened.

use guard_proto::LogRecord;
use guard_trail::replay::{self, JudgedRecord, RecordedKind, Replay, ReplayPolicy};
use guard_trail::trials::Trials;

use super::args::ReplayArgs;
use super::client::Client;
use super::diff::ReadPolicy;
use super::error::{CliError, Exit};
use super::policy::explain::environment_of;
use super::records::Teller;
use super::render::Output;
use super::render::page::{BAD, GOOD, HEAD, Page, WARN};
use super::render::time::Clock;

/// Prints what would have been otherwise. That something would have is no error: the status is 0.
pub(crate) fn replay(
    connect: impl FnOnce() -> Result<Client, CliError>,
    args: ReplayArgs,
    output: Output,
) -> Result<Exit, CliError> {
    let read = ReadPolicy::of(&args.policy, output)?;
    let is_one = args.session.is_some();
    let mut records = Teller::Guardd(connect()?).records(args.session, args.since)?;
    if !is_one {
        leave_out_trials(&mut records);
    }
    let mut environment = environment_of(&[&read.parsed.policy]);
    environment.judges_names = true;
    replay::add_recorded_names(&mut environment, &records);
    let compiled = read.compile(&environment, output)?;
    let judge = ReplayPolicy {
        policy: &read.parsed.policy,
        compiled: &compiled,
    };
    output.print(&replay::replay(&records, judge), page)?;
    Ok(Exit::DONE)
}

/// In the sessions of `guard doctor` everything has to be refused, under whatever policy the others are.
fn leave_out_trials(records: &mut Vec<LogRecord>) {
    let mut trials = Trials::default();
    records.retain(|record| !trials.has(record));
}

fn page(replay: &Replay, _: &Clock) -> Page {
    let mut page = Page::default();
    if replay.changes.is_empty() {
        page.styled(GOOD, "Nothing would have been otherwise")
            .line(format_args!(" under {}.", replay.policy));
    }
    for change in &replay.changes {
        let style = match change.opens {
            Some(true) => WARN,
            Some(false) => BAD,
            None => HEAD,
        };
        page.text(&change.destination);
        if let Some(host) = &change.host {
            page.text(format_args!(" ({host})"));
        }
        if let Some(request) = &change.request {
            page.text(format_args!(" {request}"));
        }
        page.text(": ")
            .styled(style, format_args!("{} -> {}", change.before, change.after))
            .line(format_args!(", {}, {}", times(change), rule(change)));
    }
    page.line(format_args!("As before: {}.", replay.unchanged));
    for unknown in &replay.unknown {
        page.styled(HEAD, "Not known: ").line(unknown);
    }
    page
}

fn times(change: &JudgedRecord) -> String {
    match (change.what, change.times) {
        (RecordedKind::Hole, 1) => "1 connection".to_owned(),
        (RecordedKind::Hole, times) => format!("{times} connections"),
        (_, 0) => "asked for".to_owned(),
        (_, 1) => "once".to_owned(),
        (_, times) => format!("{times} times"),
    }
}

fn rule(change: &JudgedRecord) -> String {
    match &change.after_rule {
        Some(rule) => format!("rule {rule}"),
        None => "the policy's default".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::render::examples::clock;
    use super::super::report::summary::tests::records;
    use super::*;
    use guard_policy::{Environment, Policy, compile, parse};

    fn parsed(text: &str) -> Policy {
        parse("test.toml", text).unwrap().policy
    }

    #[test]
    fn what_would_have_been_otherwise_is_said_line_by_line() {
        let to = |last: u8| json!({"address": format!("192.0.2.{last}"), "port": 443, "protocol": "tcp", "host": null});
        let denied = |session, last, count, verdict| json!({"kind": "denied", "session": session, "destination": to(last), "verdict": verdict, "rule": "old", "count": count});
        let http = |method, path, outcome| json!({"kind": "http", "session": "s1", "destination": to(20), "outcome": outcome, "method": method, "path": path});
        let records = records(json!([
            {"kind": "session-start", "session": "s1", "name": "a"},
            denied("s1", 10, 5, "confirm"), denied("s1", 10, 9, "confirm"), denied("s2", 10, 8, "confirm"),
            denied("s1", 11, 1, "deny"), denied("s1", 12, 2, "confirm"),
            {"kind": "denied", "session": "s1", "destination": {"protocol": "17", "socket_type": 3}, "verdict": "deny"},
            {"kind": "request", "session": "s1", "request": "r1", "destination": to(10), "verdict": "confirm"},
            {"kind": "hole-open", "session": "s1", "hole": "h1", "destination": "192.0.2.10/32", "ports": "tcp/443", "by": "alice"},
            {"kind": "hole-close", "session": "s1", "hole": "h1", "connections": 4},
            http("PUT", "/api/jobs/7", "refused"), http("DELETE", "/x", "refused"), http("PUT", "/other", "passed"),
            {"kind": "session-end", "session": "s1", "denied": 20},
        ]));
        let policy = parsed(
            "version = 1\nname = \"new\"\ndefault = \"confirm\"\n\
            [[rule]]\nname = \"web\"\nto = [\"192.0.2.10\"]\nports = [\"tcp/443\"]\naction = \"allow\"\n\
            [[rule]]\nname = \"never\"\nto = [\"192.0.2.12\"]\naction = \"deny\"\n\
            [[rule]]\nname = \"api\"\nto = [\"192.0.2.20\"]\naction = \"read-only\"\n\
            [[rule.http]]\nmethod = [\"PUT\"]\npath = \"/api/jobs/*\"\naction = \"allow\"\n\
            [[rule.http]]\nmethod = [\"DELETE\"]\naction = \"deny\"\n",
        );
        let compiled = compile(&policy, &Environment::default()).unwrap();
        let judge = ReplayPolicy {
            policy: &policy,
            compiled: &compiled,
        };
        let replay = replay::replay(&records, judge);
        insta::assert_snapshot!(page(&replay, &clock()).plain(), @r"
        192.0.2.10 tcp/443: confirm -> allow, 17 times, rule web
        192.0.2.11 tcp/443: deny -> confirm, once, the policy's default
        192.0.2.20 tcp/443 PUT /api/jobs/7: refused -> read, once, rule api
        192.0.2.10/32 tcp/443 opened by alice: opened -> allow, 4 connections, rule web
        192.0.2.12 tcp/443: confirm -> deny, 2 times, rule never
        192.0.2.20 tcp/443 DELETE /x: refused -> deny, once, rule api
        As before: 1.
        Not known: what was allowed is not in the audit log, unless a hole let it through: `guard diff OLD NEW` compares all
        Not known: 8 refusals were counted, and the audit log does not say where to
        Not known: refused socket calls have no destination: no policy changes them
        Not known: headers and bodies of HTTP requests are not in the audit log: they are judged by method, path and query
        ");
    }

    #[test]
    fn what_doctor_tries_is_left_out() {
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
        let denied = |session| json!({"kind": "denied", "session": session, "destination": to, "verdict": "deny", "count": 5});
        let mut records = records(json!([
            {"kind": "session-start", "session": "s1", "name": "guard doctor", "trial": true},
            denied("s1"), denied("s2"),
            {"kind": "session-end", "session": "s1", "denied": 9},
        ]));
        leave_out_trials(&mut records);
        let sessions: Vec<_> = records.iter().map(|one| one.session.as_deref()).collect();
        assert_eq!(sessions, [Some("s2")]);
    }

    #[test]
    fn names_are_what_they_were() {
        let records = records(
            json!([{"kind": "denied", "session": "s1", "verdict": "deny", "count": 1,
            "destination": {"address": "192.0.2.9", "port": 80, "protocol": "tcp", "host": "db.example.com"}}]),
        );
        let policy = parsed(
            "version = 1\ndefault = \"deny\"\n[[rule]]\nto = [\"db.example.com\"]\naction = \"allow\"\n",
        );
        let mut environment = Environment::default();
        environment
            .names
            .insert("db.example.com".into(), Vec::new());
        replay::add_recorded_names(&mut environment, &records);
        let compiled = compile(&policy, &environment).unwrap();
        let replay = replay::replay(
            &records,
            ReplayPolicy {
                policy: &policy,
                compiled: &compiled,
            },
        );
        assert_eq!(replay.changes[0].after, "allow");
        assert_eq!(replay.changes[0].opens, Some(true));
    }
}
