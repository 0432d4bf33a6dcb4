//! Whether a policy may let more through than another one, in whose place it is to judge a session. In doubt it may.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use guard_common::Verdict;
use guard_policy::{self as policy, DnsNames, Opens, Policy, Rule, Side, Target};

use super::InForce;

/// What it may let through that the other one does not, in words; none: it only narrows.
#[must_use]
pub fn widens(old: &InForce, new: &InForce) -> Option<String> {
    by_address(old, new)
        .or_else(|| by_rules(&old.policy, &new.policy))
        .or_else(|| by_settings(&old.policy, &new.policy))
        .or_else(|| by_holes(old, new))
        .or_else(|| by_words(old, new))
}

/// What an approver reads at a question: whoever wrote other words may have them let through what they would not.
fn by_words(old: &InForce, new: &InForce) -> Option<String> {
    const OTHER: &str = "whoever is asked would read";
    if let Some(change) = policy::diff_words(side(old), side(new)).first() {
        let to = &change.destination;
        return Some(match (&change.before, &change.after) {
            (before, Some(after)) if before.as_ref() == Some(after) => {
                format!("{OTHER} another reason of the rule {after:?} for {to}")
            }
            (_, Some(after)) => format!("{OTHER} of another rule, {after:?}, for {to}"),
            (_, None) => format!("{OTHER} of no rule for {to}"),
        });
    }
    let (was, is) = (moving_words(&old.policy), moving_words(&new.policy));
    let other = is.iter().find(|(rule, words)| {
        let before = was.get(*rule);
        before.is_some_and(|before| before != *words)
    })?;
    Some(format!("{OTHER} another name or reason of {}", other.0))
}

/// The names and reasons of the rules that ask about names, or about what this machine's networks decide: of what says the same in
/// all else, all.
fn moving_words(policy: &Policy) -> BTreeMap<String, BTreeSet<(&str, Option<&str>)>> {
    let mut all: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    let asks = |rule: &&Rule| matches!(rule.action.as_str(), "confirm" | "read-only");
    for rule in policy.rules.iter().filter(asks) {
        let targets = rule.to.iter();
        for target in targets.filter(|target| rule.by_sni || moves(target)) {
            let words = all.entry(in_words(rule, target)).or_default();
            words.insert(rule.words());
        }
    }
    all
}

/// Exactly, for what the names and groups of both stand for now.
fn by_address(old: &InForce, new: &InForce) -> Option<String> {
    let changes = policy::diff(side(old), side(new));
    let more = changes.iter().find(|one| one.opens != Opens::Less)?;
    let ports = more.ports.iter().map(|spec| format!(" {spec}"));
    let ports: String = ports.collect();
    Some(match more.opens {
        Opens::Otherwise => format!("other requests to {}{ports}", more.destination),
        _ => format!(
            "{} in place of {} for {}{ports}",
            more.after, more.before, more.destination
        ),
    })
}

fn side(policy: &InForce) -> Side<'_> {
    Side {
        policy: &policy.policy,
        compiled: &policy.compiled,
    }
}

/// For what may stand for other addresses later. There a rule that goes may have kept another one from having an effect.
fn by_rules(old: &Policy, new: &Policy) -> Option<String> {
    let (was, is) = (moving(old), moving(new));
    if let Some(gone) = was.difference(&is).next() {
        return Some(format!("what {} says is gone", gone.words));
    }
    let is_open = |one: &&Said| one.action != Verdict::Deny.as_str();
    if let Some(added) = is.difference(&was).find(is_open) {
        return Some(format!("{} is new", added.words));
    }
    let names_open = is.iter().any(|one| is_open(&one));
    let (was, is) = (fixed(old), fixed(new));
    let gone = was.difference(&is).next().filter(|_| names_open)?;
    Some(format!(
        "{} is gone, and names may have its addresses",
        gone.words
    ))
}

/// A rule for one target.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    /// What it does.
    action: &'static str,
    /// For a person.
    words: String,
    /// What it lets through by itself, exactly: in words two may be the same.
    requests: String,
}

/// The rules for names, or for what this machine's networks decide, each target by itself.
fn moving(policy: &Policy) -> BTreeSet<Said> {
    said(policy, |rule, target| rule.by_sni || moves(target))
}

/// The others.
fn fixed(policy: &Policy) -> BTreeSet<Said> {
    said(policy, |rule, target| !rule.by_sni && !moves(target))
}

fn moves(target: &Target) -> bool {
    match target {
        Target::Name(_) | Target::Wildcard(_) => true,
        Target::Group(group) => group.is_of_machine(),
        Target::Prefix(_) => false,
    }
}

fn said(policy: &Policy, is_meant: impl Fn(&Rule, &Target) -> bool) -> BTreeSet<Said> {
    let all = policy.rules.iter().flat_map(|rule| {
        let targets = rule.to.iter();
        let meant = targets.filter(|target| is_meant(rule, target));
        meant.map(|target| Said {
            action: rule.action.as_str(),
            words: in_words(rule, target),
            requests: format!("{:?} {:?} {:?}", rule.http, rule.profiles, rule.lists),
        })
    });
    all.collect()
}

fn in_words(rule: &Rule, target: &Target) -> String {
    let ports = rule.ports.iter().map(|spec| format!(" {spec}"));
    let ports: String = ports.collect();
    let private = if rule.private { " private" } else { "" };
    let tls = if rule.by_sni { " tls" } else { "" };
    format!(
        "the rule {} {target}{ports}{private}{tls}{}",
        rule.action.as_str(),
        requests(rule)
    )
}

/// ", profile postgres, with 2 HTTP rules"
fn requests(rule: &Rule) -> String {
    let profiles: Vec<_> = rule.profiles.iter().map(|one| one.as_str()).collect();
    let profiles = match &profiles[..] {
        [] => String::new(),
        all => format!(", profile {}", all.join(", ")),
    };
    let http = match rule.http.len() {
        0 => String::new(),
        1 => ", with an HTTP rule".to_owned(),
        more => format!(", with {more} HTTP rules"),
    };
    format!("{profiles}{http}")
}

/// For what holds for all destinations.
fn by_settings(old: &Policy, new: &Policy) -> Option<String> {
    if new.inbound && !old.inbound {
        return Some("replies to connections from outside".to_owned());
    }
    // Without any rule for names or [dns] nobody judges them, whatever the default is.
    let openness = |policy: &Policy| match policy.names_asked() {
        _ if !policy.has_patterns() => 3,
        DnsNames::Any => 2,
        DnsNames::Ask => 1,
        DnsNames::Rules => 0,
    };
    let searches = old.dns_search_silent && !new.dns_search_silent;
    if openness(new) > openness(old) || searches {
        return Some("questions for more names".to_owned());
    }
    if let Some(socket) = new.unix.iter().find(|name| !old.unix.contains(name)) {
        return Some(format!("the Unix socket {socket}"));
    }
    None
}

/// For how long holes may last: exactly by address, and by their rules for what may stand for other addresses later.
fn by_holes(old: &InForce, new: &InForce) -> Option<String> {
    let changes = policy::diff_holes(side(old), side(new));
    if let Some(longer) = changes.iter().find(|one| one.after > one.before) {
        let ports = longer.ports.iter().map(|spec| format!(" {spec}"));
        let ports: String = ports.collect();
        let [before, after] = [longer.before, longer.after].map(policy::format_duration);
        return Some(format!(
            "holes that last longer, {after} in place of {before} for {}{ports}",
            longer.destination
        ));
    }
    let (was, is) = (moving_holes(&old.policy), moving_holes(&new.policy));
    let longer = is.iter().find(|(rule, terms)| {
        let before = was.get(*rule).filter(|before| before != terms);
        before.is_some_and(|before| terms.last() > before.first())
    });
    if let Some((rule, _)) = longer {
        return Some(format!("holes that last longer for {rule}"));
    }
    // A yes to a question for a name, or to a port of this machine's loopback, has no rule.
    let longer = new.policy.longest_hole(None) > old.policy.longest_hole(None);
    longer.then(|| "holes that last longer".to_owned())
}

/// How long holes last at most by the rules for names, or for what this machine's networks decide: of what says the same in all
/// else, each term.
fn moving_holes(policy: &Policy) -> BTreeMap<String, BTreeSet<Duration>> {
    let mut all: BTreeMap<String, BTreeSet<Duration>> = BTreeMap::new();
    for rule in &policy.rules {
        let targets = rule.to.iter();
        for target in targets.filter(|target| rule.by_sni || moves(target)) {
            let terms = all.entry(in_words(rule, target)).or_default();
            terms.insert(policy.longest_hole(Some(rule)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use guard_common::PolicyId;

    use super::{super::of_texts, *};

    fn said(old: &str, new: &str) -> Option<String> {
        let texts = [old, new].map(|text| format!("version = 1\n{text}"));
        let policies = of_texts(&texts);
        let of = |slot| policies.get(PolicyId(slot)).unwrap();
        widens(of(1), of(2))
    }

    fn rule(to: &str, more: &str) -> String {
        format!(
            "[[rule]]\nname = \"{to} {}\"\nto = [\"{to}\"]\n{more}\n",
            more.len()
        )
    }

    fn held(to: &str, longest: &str) -> String {
        let text = rule(to, "action = \"confirm\"");
        format!("{text}max_hole = \"{longest}\"\n")
    }

    #[test]
    fn other_words_at_a_question_are_for_a_person_to_see() {
        let own = |to: &str, name: &str, reason: &str, action: &str| {
            format!(
                "[[rule]]\nname = \"{name}\"\nto = [\"{to}\"]\naction = \"{action}\"\nreason = \"{reason}\"\n"
            )
        };
        for to in ["192.0.2.10", "*.example.com"] {
            for action in ["confirm", "read-only"] {
                let old = own(to, "prod", "ask Ann", action);
                assert_eq!(said(&old, &old), None);
                for new in [
                    own(to, "prod", "nobody uses it", action),
                    own(to, "staging", "ask Ann", action),
                ] {
                    let words = said(&old, &new).unwrap_or_default();
                    let is_said = words.starts_with("whoever is asked would read");
                    assert!(is_said && words.contains(to), "{words}");
                }
                // Nobody is asked any more.
                let denied = own(to, "closed", "nobody uses it", "deny");
                assert_eq!(said(&denied, &denied.replace("nobody", "somebody")), None);
            }
        }
        let fewer = own("192.0.2.10", "prod", "ask Ann", "confirm");
        let strict = fewer.replace("confirm", "deny").replace("Ann", "nobody");
        assert_eq!(said(&fewer, &strict), None);
        // What the default asked about, too.
        let asks = "default = \"confirm\"\n";
        let named = own("192.0.2.10", "staging", "approve freely", "confirm");
        let words = said(asks, &format!("{asks}{named}")).unwrap_or_default();
        assert!(words.contains("\"staging\", for 192.0.2.10"), "{words}");
    }

    #[test]
    fn a_hole_that_may_last_longer_anywhere_is_more_whatever_the_policy_says_of_others() {
        let read = rule("192.0.2.10", "action = \"read-only\"\nmax_hole = \"15m\"");
        for (old, new, words) in [
            // Below what the policy itself lets holes last.
            (
                held("192.0.2.10", "15m"),
                held("192.0.2.10", "1h"),
                "1h in place of 15m for 192.0.2.10",
            ),
            (
                held("192.0.2.10", "15m"),
                held("192.0.2.10", "30d"),
                "30d in place of 15m for 192.0.2.10",
            ),
            (
                held("192.0.2.10", "15m"),
                rule("192.0.2.10", "action = \"confirm\""),
                "1h in place of 15m for 192.0.2.10",
            ),
            // One gets longer while another gets shorter.
            (
                held("192.0.2.10", "15m") + &held("192.0.2.11", "2h"),
                held("192.0.2.10", "20m") + &held("192.0.2.11", "5m"),
                "20m in place of 15m for 192.0.2.10",
            ),
            // Reads are asked about now, and what a yes opens may last longer.
            (
                read,
                held("192.0.2.10", "20m"),
                "20m in place of 15m for 192.0.2.10",
            ),
            (
                "default = \"confirm\"\n".to_owned() + &held("192.0.2.10", "15m"),
                "default = \"confirm\"\n".to_owned(),
                "1h in place of 15m for 192.0.2.10",
            ),
            (
                held("*.example.com", "15m"),
                held("*.example.com", "20m"),
                "for the rule confirm *.example.com",
            ),
            (
                held("@on-link", "15m"),
                held("@on-link", "20m"),
                "for the rule confirm @on-link",
            ),
            (
                held("x.example.com", "15m"),
                rule("x.example.com", "action = \"confirm\""),
                "for the rule confirm x.example.com",
            ),
        ] {
            let said = said(&old, &new).unwrap_or_default();
            assert!(
                said.contains("holes that last longer"),
                "{old} to {new}: {said}"
            );
            assert!(said.contains(words), "{old} to {new}: {said}");
        }
    }

    #[test]
    fn what_narrows_widens_nothing() {
        let allow = "default = \"allow\"\n";
        let deny = rule("192.0.2.10", "action = \"deny\"");
        let confirm = rule("192.0.2.10", "action = \"confirm\"");
        let name = rule("*.example.com", "action = \"confirm\"");
        for (old, new) in [
            (String::new(), String::new()),
            (allow.to_owned(), allow.to_owned() + &deny),
            (allow.to_owned() + &confirm, allow.to_owned() + &deny),
            (allow.to_owned(), String::new()),
            (allow.to_owned() + &name, allow.to_owned() + &name + &deny),
            (
                allow.to_owned(),
                allow.to_owned() + &rule("x.example.com", "action = \"deny\""),
            ),
            (
                "max_hole = \"1h\"\n".to_owned(),
                "max_hole = \"5m\"\n".to_owned(),
            ),
            (allow.to_owned(), "inbound = false\n".to_owned() + allow),
            // Each hole lasts as long as before, or less.
            (
                "max_hole = \"1h\"\n".to_owned() + &held("192.0.2.10", "15m"),
                "max_hole = \"5m\"\n".to_owned() + &held("192.0.2.10", "15m"),
            ),
            (held("192.0.2.10", "15m"), held("192.0.2.10", "5m")),
            (held("*.example.com", "15m"), held("*.example.com", "5m")),
            (held("@on-link", "15m"), held("@on-link", "15m")),
            (
                held("192.0.2.10", "15m"),
                rule("192.0.2.10", "action = \"deny\"\nmax_hole = \"1h\""),
            ),
        ] {
            assert_eq!(said(&old, &new), None, "{old} to {new}");
        }
    }

    #[test]
    fn what_lets_more_through_says_what() {
        let deny = rule("192.0.2.10", "action = \"deny\"");
        let confirm = rule("192.0.2.10", "action = \"confirm\"");
        let wide = rule("192.0.2.0/24", "action = \"confirm\"");
        let reads = rule("192.0.2.10", "action = \"read-only\"");
        let name = rule("*.example.com", "action = \"allow\"");
        let allow = "default = \"allow\"\n";
        for (old, new, words) in [
            (
                allow.to_owned() + &deny,
                allow.to_owned(),
                "allow in place of deny for 192.0.2.10",
            ),
            (
                allow.to_owned() + &deny,
                allow.to_owned() + &confirm,
                "confirm in place of deny for 192.0.2.10",
            ),
            (
                allow.to_owned() + &reads,
                allow.to_owned()
                    + &reads
                    + "[[rule.http]]\nmethod = [\"PUT\"]\naction = \"allow\"\n",
                "other requests to 192.0.2.10",
            ),
            (
                String::new(),
                name.clone(),
                "the rule allow *.example.com is new",
            ),
            (
                allow.to_owned(),
                allow.to_owned()
                    + &rule(
                        "x.example.com",
                        "ports = [\"tcp/5432\"]\naction = \"read-only\"\nprofile = [\"postgres\"]",
                    ),
                "the rule read-only x.example.com tcp/5432, profile postgres is new",
            ),
            // In words it is the same.
            (
                allow.to_owned()
                    + &rule("x.example.com", "action = \"read-only\"")
                    + "[[rule.http]]\nmethod = [\"PUT\"]\naction = \"confirm\"\n",
                allow.to_owned()
                    + &rule("x.example.com", "action = \"read-only\"")
                    + "[[rule.http]]\nmethod = [\"PUT\"]\naction = \"allow\"\n",
                "what the rule read-only x.example.com, with an HTTP rule says is gone",
            ),
            (
                allow.to_owned() + &rule("x.example.com", "action = \"deny\""),
                allow.to_owned(),
                "what the rule deny x.example.com says is gone",
            ),
            (
                allow.to_owned() + &rule("@on-link", "action = \"deny\""),
                allow.to_owned(),
                "@on-link says is gone",
            ),
            // The address was asked about whatever its names; now its name lets it pass.
            (
                name.clone() + &wide + &confirm,
                name.clone() + &wide,
                "names may have its addresses",
            ),
            ("inbound = false\n".to_owned(), String::new(), "replies"),
            (
                allow.to_owned() + "[dns]\nnames = \"ask\"\n",
                allow.to_owned() + "[dns]\nnames = \"any\"\n",
                "questions for more names",
            ),
            (
                "max_hole = \"5m\"\n".to_owned(),
                String::new(),
                "holes that last longer",
            ),
            (
                String::new(),
                "[unix]\nallow = [\"ssh-agent\"]\n".to_owned(),
                "the Unix socket ssh-agent",
            ),
        ] {
            let said = said(&old, &new).unwrap_or_default();
            assert!(said.contains(words), "{old} to {new}: {said}");
        }
    }
}
