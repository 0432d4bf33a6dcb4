//! Why a destination gets its verdict.

use anstyle::Style;
use guard_policy::{self as policy, Destination};
use guard_proto::explain::Explanation;

use super::page::{BAD, GOOD, Page, STRONG, WARN};
use super::requests::listener;
use super::time::Clock;

/// One part of the destination.
pub(crate) fn one(explanation: &Explanation, _clock: &Clock) -> Page {
    let mut page = Page::default();
    page.styled(STRONG, destination(explanation))
        .text("  ")
        .styled(style(&explanation.verdict), &explanation.verdict)
        .end();
    if let Some(addresses) = addresses(explanation) {
        page.paragraph("is", addresses);
    }
    for known in known(explanation) {
        page.field("told", known);
    }
    let said = [
        &explanation.question,
        &explanation.leaves,
        &explanation.unheard,
    ];
    for question in said.into_iter().flatten() {
        page.paragraph("question", question);
    }
    if explanation.other_program.is_some() {
        page.field("for", "a server of the session's own");
    }
    page.field("rule", rule(explanation))
        .field("policy", policy(explanation));
    if let Some(matched) = &explanation.matched {
        page.field(
            "covers",
            format_args!("{matched}, which is the most specific that does"),
        );
    }
    if let Some(barred) = &explanation.barred {
        page.paragraph("not by", barred);
    }
    if let Some(tls) = &explanation.tls {
        page.paragraph("TLS", shown(tls));
    }
    match (&explanation.hole, explanation.verdict.as_str()) {
        (Some(hole), "read-only") => page.field(
            "hole",
            format_args!("{hole} lets what reads through for now"),
        ),
        (Some(hole), _) => page.field("hole", format_args!("{hole} lets it through for now")),
        (None, _) => next(&mut page, explanation),
    };
    if let Some(other) = &explanation.other_program {
        page.line("").styled(STRONG, destination(explanation));
        page.text("  ")
            .styled(style(&other.verdict), &other.verdict)
            .end();
        page.field("for", "another program's server there");
        for (label, words) in explanation.listener.iter().flat_map(listener) {
            page.paragraph(label, words);
        }
        page.field("rule", rule(other))
            .field("policy", policy(other));
        next(&mut page, other);
    }
    page
}

/// How a verdict looks.
pub(crate) fn style(verdict: &str) -> Style {
    match verdict {
        "allow" => GOOD,
        "deny" => BAD,
        _ => WARN,
    }
}

fn next<'a>(page: &'a mut Page, explanation: &Explanation) -> &'a mut Page {
    match explanation.verdict.as_str() {
        "confirm" if explanation.question.is_some() => page.paragraph(
            "",
            "when the session asks for it, it is a request: guard pending",
        ),
        // Not a hole for all that is sent there: the answer to one write is for that alone.
        "read-only" => page
            .paragraph(
                "",
                "what reads passes; a write waits as a request, whose yes is for that write alone",
            )
            .commands("guard pending"),
        "confirm" => page.commands(format_args!(
            "guard open {} --for 15m",
            open_argument(explanation)
        )),
        "deny" => page.paragraph(
            "",
            "no hole can be opened there: only a change of the policy helps",
        ),
        _ => page,
    }
}

/// "192.0.2.10 tcp/443,udp/53"
fn destination(explanation: &Explanation) -> String {
    match ports(explanation) {
        Some(ports) => format!("{} {ports}", explanation.destination),
        None => explanation.destination.clone(),
    }
}

/// The same as `guard open` takes it.
fn argument(explanation: &Explanation) -> String {
    match ports(explanation) {
        Some(ports) => format!("{} --ports {ports}", explanation.destination),
        None => explanation.destination.clone(),
    }
}

/// What `guard open` takes: with ports, or all of them.
fn open_argument(explanation: &Explanation) -> String {
    let argument = argument(explanation);
    let is_said = explanation.destination.parse::<Destination>();
    if ports(explanation).is_some() || is_said.is_ok_and(|to| to.port.is_some()) {
        argument
    } else {
        format!("{argument} --all-ports")
    }
}

/// The ports, but where the destination says them already.
fn ports(explanation: &Explanation) -> Option<&str> {
    let ports = explanation.ports.as_deref()?;
    let said = ports
        .strip_prefix("tcp/")
        .is_some_and(|port| explanation.destination.ends_with(&format!(":{port}")));
    (!said).then_some(ports)
}

/// What a name or a group stands for, where that is not what it says.
fn addresses(explanation: &Explanation) -> Option<String> {
    const MOST: usize = 8;
    let all = &explanation.addresses;
    let is_said = |address: &String| explanation.destination.contains(address.as_str());
    if all.is_empty() || all.iter().all(is_said) || explanation.destination.contains('/') {
        return None;
    }
    let more = all.len().saturating_sub(MOST);
    let shown = all[..all.len() - more].join(", ");
    Some(match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    })
}

/// The addresses that a session learned of a name, a line each.
fn known(explanation: &Explanation) -> Vec<String> {
    let told = explanation.known.iter();
    let told = told.filter_map(|one| {
        let until = one.until?;
        Some(format!(
            "{}  {}, until {until:.0}",
            one.address, one.verdict
        ))
    });
    told.collect()
}

/// What TLS has to show.
fn shown(names: &[String]) -> String {
    let words = |name: &String| match name.strip_prefix("*.") {
        Some(below) => format!("below {below}"),
        None => name.clone(),
    };
    let names: Vec<_> = names.iter().map(words).collect();
    format!("its SNI has to be {}; QUIC: refused", names.join(" or "))
}

fn rule(explanation: &Explanation) -> String {
    match (&explanation.rule, &explanation.reason) {
        (None, _) if explanation.question.is_some() => "none names it".into(),
        (Some(rule), Some(reason)) => format!("{rule}: {reason}"),
        (Some(rule), None) => rule.clone(),
        (None, _) => "none: the policy's default".into(),
    }
}

fn policy(explanation: &Explanation) -> String {
    let Some(file) = &explanation.file else {
        return explanation.policy.clone();
    };
    let place = policy::place(file, explanation.line);
    match policy::built_in(file) {
        Some(name) => format!("{place}: guard policy show {name}"),
        None => format!("{}, {place}", explanation.policy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{clock, explanation};
    use super::*;

    #[test]
    fn a_confirm_ends_with_how_to_open() {
        insta::assert_snapshot!(one(&explanation(), &clock()).plain(), @r"
        192.0.2.10  confirm
            rule     photos: production photo server
            policy   homelab, /etc/guard/policies/homelab.toml:12
            covers   192.0.2.0/24, which is the most specific that does
            guard open 192.0.2.10 --all-ports --for 15m
        ");
    }

    #[test]
    fn a_policy_that_is_built_in_is_not_named_as_a_file() {
        let mut built_in = explanation();
        built_in.file = Some("homelab.toml".into());
        let page = one(&built_in, &clock()).plain();
        let line = "    policy   homelab (built in), line 12: guard policy show homelab\n";
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn a_deny_says_that_no_hole_helps() {
        let denied = Explanation {
            verdict: "deny".into(),
            reason: None,
            ..explanation()
        };
        insta::assert_snapshot!(one(&denied, &clock()).plain(), @r"
        192.0.2.10  deny
            rule     photos
            policy   homelab, /etc/guard/policies/homelab.toml:12
            covers   192.0.2.0/24, which is the most specific that does
                     no hole can be opened there: only a change of the policy helps
        ");
    }

    #[test]
    fn where_reads_pass_no_hole_for_all_is_proposed() {
        let reads = Explanation {
            verdict: "read-only".into(),
            ..explanation()
        };
        insta::assert_snapshot!(one(&reads, &clock()).plain(), @r"
        192.0.2.10  read-only
            rule     photos: production photo server
            policy   homelab, /etc/guard/policies/homelab.toml:12
            covers   192.0.2.0/24, which is the most specific that does
                     what reads passes; a write waits as a request, whose yes is for
                     that write alone
            guard pending
        ");
    }

    #[test]
    fn a_question_that_a_person_is_asked_about_is_told() {
        let asked = Explanation {
            destination: "api.example.net".into(),
            name: Some("api.example.net".into()),
            addresses: Vec::new(),
            question: Some("a person is asked before it leaves".into()),
            rule: None,
            line: None,
            matched: None,
            ..explanation()
        };
        insta::assert_snapshot!(one(&asked, &clock()).plain(), @r"
        api.example.net  confirm
            question a person is asked before it leaves
            rule     none names it
            policy   homelab, /etc/guard/policies/homelab.toml
                     when the session asks for it, it is a request: guard pending
        ");
    }

    #[test]
    fn addresses_that_no_session_was_told_are_not_said_to_be() {
        let mut named = Explanation {
            destination: "photos.example.com".into(),
            ..explanation()
        };
        named.tell_name("photos.example.com");
        let page = one(&named, &clock()).plain();
        assert!(page.contains("    is       192.0.2.10\n"), "{page}");
        assert!(!page.contains("told"), "{page}");
    }

    #[test]
    fn a_default_and_a_hole_are_named() {
        let default = Explanation {
            verdict: "confirm".into(),
            rule: None,
            reason: None,
            line: None,
            matched: None,
            tls: None,
            barred: None,
            hole: Some("h3".into()),
            ..explanation()
        };
        insta::assert_snapshot!(one(&default, &clock()).plain(), @r"
        192.0.2.10  confirm
            rule     none: the policy's default
            policy   homelab, /etc/guard/policies/homelab.toml
            hole     h3 lets it through for now
        ");
    }
}
