//! For the agent inside: what was stopped, and what to do about it.

use guard_proto::{
    HttpRequest, Stopped,
    inside::{DecidesNow, Outcome, PersonsNo, Requested, WhyReport},
    names::FAILED,
};

use super::page::{Page, STRONG};
use super::time::Clock;
use super::{endpoint, explain, names, requests};
use crate::report::markdown::count;

/// What was stopped lately.
pub(crate) fn why(report: &WhyReport, clock: &Clock) -> Page {
    let session = &report.session;
    let mut page = Page::default();
    page.line(format_args!(
        "This is session {} ({}), under the policy {}.",
        session.id, session.name, session.policy
    ));
    if report.stopped.is_empty() {
        page.line("Nothing was stopped here lately. Where a command has failed, the guard is not the reason.");
    }
    for stopped in &report.stopped {
        page.line("");
        block(&mut page, stopped, clock);
    }
    if report.more {
        page.line("").line("More was stopped before that.");
    }
    page
}

/// What became of a request for a destination, as it was typed.
pub(crate) fn requested(requested: &Requested, typed: &str) -> Page {
    let asked = requested.request.as_ref();
    let to = asked.map(|request| endpoint::words(&request.destination));
    let mut page = Page::default();
    page.styled(STRONG, to.unwrap_or_else(|| typed.to_owned()))
        .text("  ")
        .styled(explain::style(&requested.verdict), &requested.verdict)
        .end()
        .paragraph("advice", &requested.advice);
    if let Some(request) = &requested.request {
        page.field(
            "request",
            format_args!(
                "{} waits for a person outside; try again once it is approved",
                request.id
            ),
        );
    }
    page
}

fn block(page: &mut Page, stopped: &Stopped, clock: &Clock) {
    page.styled(STRONG, endpoint::words(&stopped.destination))
        .text("  ")
        .styled(explain::style(&stopped.verdict), &stopped.verdict)
        .end();
    if let Some(http) = &stopped.http {
        page.paragraph(requests::names(http).line, requests::line(http));
    }
    if let Some(told) = &stopped.named {
        page.paragraph("name", names::told(told, clock));
    }
    let label = if stopped.has_passed() || stopped.count == 0 {
        "asked"
    } else {
        "stopped"
    };
    page.field(label, times(stopped, clock));
    if let Some(outcome) = &stopped.outcome {
        page.field("answer", answer(outcome, clock));
        page.field("passed", passed(outcome, stopped.http.as_ref()));
    }
    if let Some(no) = &stopped.refused {
        page.field("answer", said_no(no, clock));
    }
    // No rule and no default refuses a name without an answer.
    if stopped.verdict != FAILED {
        page.field("rule", rule(stopped));
    }
    since(page, stopped);
    if let Some(barred) = &stopped.barred {
        page.paragraph("not by", barred);
    }
    page.paragraph("advice", &stopped.advice);
    match &stopped.request {
        Some(request) => {
            page.field(
                "request",
                format_args!("{request} waits for a person outside"),
            );
        }
        // Not where somebody has said no, or has opened it already.
        None if stopped.advice.contains("guard request") => {
            let to = endpoint::argument(&stopped.destination);
            page.commands(format_args!("guard request {to} --reason 'what for'"));
        }
        None => {}
    }
}

/// What has changed since, or is not known any more.
fn since(page: &mut Page, stopped: &Stopped) {
    if let Some(now) = &stopped.now {
        page.field("now", decides(now));
    }
    if stopped.before_restart {
        page.field(
            "note",
            "that was before guardd restarted: the rule is the one that decides now",
        );
    }
}

fn times(stopped: &Stopped, clock: &Clock) -> String {
    match stopped.count {
        0 => format!("{}, before anything was tried", clock.ago(stopped.at)),
        1 => clock.ago(stopped.at),
        count => format!("{count} times, last {}", clock.ago(stopped.at)),
    }
}

/// "yes to r1 by alice, 3 s ago"; "opened by alice, 3 s ago" where nobody asked.
fn answer(outcome: &Outcome, clock: &Clock) -> String {
    let waited = if outcome.waited {
        ", for which it waited"
    } else {
        ""
    };
    let Outcome {
        request, by, at, ..
    } = outcome;
    let what = match request {
        Some(request) => format!("yes to {request}"),
        None => "opened".to_owned(),
    };
    format!("{what} by {by}, {}{waited}", clock.ago(*at))
}

/// "no to r1 by alice, 3 s ago"
fn said_no(no: &PersonsNo, clock: &Clock) -> String {
    let until = if no.until > clock.now {
        format!("; may be asked again {}", clock.until(no.until))
    } else {
        String::new()
    };
    format!(
        "no to {} by {}, {}{until}",
        no.request,
        no.by,
        clock.ago(no.at)
    )
}

/// "1 connection by h1, which has ended: expired"
fn passed(outcome: &Outcome, http: Option<&HttpRequest>) -> String {
    let what = match http {
        None => "connection",
        Some(http) if http.is_statement() => "statement",
        Some(_) => "request",
    };
    let through = match outcome.passed {
        0 => "nothing".to_owned(),
        many => count(many, what),
    };
    let ended = outcome.ended.as_ref();
    let ended = ended.map_or_else(String::new, |why| format!(", which has ended: {why}"));
    format!("{through}, by {}{ended}", outcome.hole)
}

fn rule(stopped: &Stopped) -> String {
    let rule = rule_of(stopped.rule.as_deref(), stopped.policy.as_deref());
    match &stopped.reason {
        Some(reason) => format!("{rule}: {reason}"),
        None => rule,
    }
}

/// "deny, by private of base"
fn decides(now: &DecidesNow) -> String {
    let rule = rule_of(now.rule.as_deref(), now.policy.as_deref());
    format!("{}, by {rule}: that has changed since", now.verdict)
}

fn rule_of(rule: Option<&str>, policy: Option<&str>) -> String {
    match (rule, policy) {
        (Some(rule), Some(policy)) => format!("{rule} of {policy}"),
        (Some(rule), None) => rule.to_owned(),
        (None, Some(policy)) => format!("the default of {policy}"),
        (None, None) => "the policy's default".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::examples::{clock, http, request, session, stopped};
    use super::*;

    #[test]
    fn nothing_stopped_says_so() {
        let report = WhyReport {
            session: session(),
            stopped: Vec::new(),
            more: false,
        };
        insta::assert_snapshot!(why(&report, &clock()).plain(), @r"
        This is session s1 (claude), under the policy homelab.
        Nothing was stopped here lately. Where a command has failed, the guard is not the reason.
        ");
    }

    #[test]
    fn what_was_stopped_ends_with_what_to_do() {
        let denied = Stopped {
            verdict: "deny".into(),
            rule: None,
            reason: None,
            count: 1,
            advice: "work without it: no person can let it through".into(),
            ..stopped()
        };
        let asked = Stopped {
            request: Some("r1".into()),
            count: 0,
            ..stopped()
        };
        let report = WhyReport {
            session: session(),
            stopped: vec![stopped(), denied, asked],
            more: true,
        };
        insta::assert_snapshot!(why(&report, &clock()).plain(), @r"
        This is session s1 (claude), under the policy homelab.

        tcp 192.0.2.10:443 (photos.example.com)  confirm
            stopped  2 times, last 3 s ago
            rule     photos: production photo server
            advice   ask for it with guard request, and try again once it is approved
            guard request 192.0.2.10:443 --reason 'what for'

        tcp 192.0.2.10:443 (photos.example.com)  deny
            stopped  3 s ago
            rule     the policy's default
            advice   work without it: no person can let it through

        tcp 192.0.2.10:443 (photos.example.com)  confirm
            asked    3 s ago, before anything was tried
            rule     photos: production photo server
            advice   ask for it with guard request, and try again once it is approved
            request  r1 waits for a person outside

        More was stopped before that.
        ");
    }

    #[test]
    fn what_waited_and_passed_was_not_stopped_and_says_what_came_of_it() {
        let outcome = Outcome {
            request: Some("r1".into()),
            by: "alice".into(),
            at: stopped().at,
            hole: "h1".into(),
            waited: true,
            passed: 1,
            ended: None,
            again: false,
        };
        let of = |outcome| Stopped {
            outcome: Some(outcome),
            advice: "a person has opened it".into(),
            ..stopped()
        };
        let later = Outcome {
            waited: false,
            passed: 0,
            ended: Some("expired".into()),
            ..outcome.clone()
        };
        let used_up = Outcome {
            request: None,
            waited: false,
            ended: Some("its connections are used up".into()),
            again: true,
            ..outcome.clone()
        };
        let report = WhyReport {
            session: session(),
            stopped: vec![of(outcome), of(later), of(used_up)],
            more: false,
        };
        insta::assert_snapshot!(why(&report, &clock()).plain(), @r"
        This is session s1 (claude), under the policy homelab.

        tcp 192.0.2.10:443 (photos.example.com)  confirm
            asked    2 times, last 3 s ago
            answer   yes to r1 by alice, 3 s ago, for which it waited
            passed   1 connection, by h1
            rule     photos: production photo server
            advice   a person has opened it

        tcp 192.0.2.10:443 (photos.example.com)  confirm
            stopped  2 times, last 3 s ago
            answer   yes to r1 by alice, 3 s ago
            passed   nothing, by h1, which has ended: expired
            rule     photos: production photo server
            advice   a person has opened it

        tcp 192.0.2.10:443 (photos.example.com)  confirm
            stopped  2 times, last 3 s ago
            answer   opened by alice, 3 s ago
            passed   1 connection, by h1, which has ended: its connections are used up
            rule     photos: production photo server
            advice   a person has opened it
        ");
    }

    #[test]
    fn a_no_and_what_has_changed_since_are_told() {
        let no = PersonsNo {
            request: "r2".into(),
            by: "alice".into(),
            at: stopped().at,
            until: clock().now + SignedDuration::from_mins(15),
        };
        let refused = Stopped {
            refused: Some(no),
            before_restart: true,
            advice: "go on without it".into(),
            ..stopped()
        };
        let now = DecidesNow {
            verdict: "deny".into(),
            rule: Some("private".into()),
            policy: Some("base".into()),
        };
        let changed = Stopped {
            now: Some(now),
            ..refused.clone()
        };
        let changed = Stopped {
            refused: None,
            before_restart: false,
            ..changed
        };
        let report = WhyReport {
            session: session(),
            stopped: vec![refused, changed],
            more: false,
        };
        insta::assert_snapshot!(why(&report, &clock()).plain(), @r"
        This is session s1 (claude), under the policy homelab.

        tcp 192.0.2.10:443 (photos.example.com)  confirm
            stopped  2 times, last 3 s ago
            answer   no to r2 by alice, 3 s ago; may be asked again in 15 min
            rule     photos: production photo server
            note     that was before guardd restarted: the rule is the one that decides now
            advice   go on without it

        tcp 192.0.2.10:443 (photos.example.com)  confirm
            stopped  2 times, last 3 s ago
            rule     photos: production photo server
            now      deny, by private of base: that has changed since
            advice   go on without it
        ");
    }

    #[test]
    fn a_yes_to_an_http_request_says_how_many_passed() {
        let outcome = Outcome {
            request: Some("r1".into()),
            by: "alice".into(),
            at: stopped().at,
            hole: "h1".into(),
            waited: false,
            passed: 2,
            ended: Some("used up".into()),
            again: false,
        };
        let passed = Stopped {
            http: Some(http()),
            outcome: Some(outcome),
            ..stopped()
        };
        let report = WhyReport {
            session: session(),
            stopped: vec![passed],
            more: false,
        };
        let text = why(&report, &clock()).plain();
        let words = "    passed   2 requests, by h1, which has ended: used up\n";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn a_stopped_http_request_is_named() {
        let asked = Stopped {
            verdict: "read-only".into(),
            http: Some(http()),
            request: Some("r1".into()),
            advice: "send it again once it is approved".into(),
            ..stopped()
        };
        let report = WhyReport {
            session: session(),
            stopped: vec![asked],
            more: false,
        };
        insta::assert_snapshot!(why(&report, &clock()).plain(), @r"
        This is session s1 (claude), under the policy homelab.

        tcp 192.0.2.10:443 (photos.example.com)  read-only
            http     DELETE https://photos.example.com/api/jobs/7?now=1
            stopped  2 times, last 3 s ago
            rule     photos: production photo server
            advice   send it again once it is approved
            request  r1 waits for a person outside
        ");
    }

    #[test]
    fn a_request_says_what_became_of_it() {
        let asked = Requested {
            verdict: "confirm".into(),
            request: Some(request()),
            advice: "a person was asked".into(),
        };
        let denied = Requested {
            verdict: "deny".into(),
            request: None,
            advice: "nobody can allow this".into(),
        };
        insta::assert_snapshot!(requested(&asked, "photos.example.com:443").plain(), @r"
        tcp 192.0.2.10:443 (photos.example.com)  confirm
            advice   a person was asked
            request  r1 waits for a person outside; try again once it is approved
        ");
        insta::assert_snapshot!(requested(&denied, "192.0.2.10:443").plain(), @r"
        192.0.2.10:443  deny
            advice   nobody can allow this
        ");
    }
}
