//! Whether a policy may let more through than another one, in whose place it is to judge. In doubt it may.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use guard_common::Verdict;

use super::{
    diff::{
        Opens, PatternChange, Side, diff, diff_by_name, diff_holes, diff_names, diff_replies,
        diff_words,
    },
    duration::format_duration,
    model::{DnsNames, Environment, Policy, Rule},
    name::NamePattern,
    target::Target,
};

/// Names and groups of a rule that are listed with it.
const TARGETS: usize = 3;

/// What it may let through that the other one does not, each in words; empty: it only narrows. Both sides are compiled for a machine
/// that judges names ([`Environment::judges_names`]).
#[must_use]
pub fn widens(old: Side<'_>, new: Side<'_>, environment: &Environment) -> Vec<String> {
    ways(old, new, environment, &BTreeSet::new())
}

/// As [`widens`], but for rules that are new for names and leave these no more than before, wherever they lead: what somebody adds to
/// a policy whose `default` allows.
#[must_use]
pub fn widens_but_for_names(
    old: Side<'_>,
    new: Side<'_>,
    environment: &Environment,
) -> Vec<String> {
    let names = diff_names(old, new, environment).into_iter();
    let less = names.filter(|one| one.opens == Opens::Less);
    let less = less.map(|one| one.pattern.to_string()).collect();
    ways(old, new, environment, &less)
}

/// New rules for the names in `less` are none.
fn ways(
    old: Side<'_>,
    new: Side<'_>,
    environment: &Environment,
    less: &BTreeSet<String>,
) -> Vec<String> {
    let mut all = by_address(old, new);
    all.extend(by_replies(old, new));
    let by_rules = by_rules(old.policy, new.policy, less);
    if by_rules.is_empty() {
        all.extend(by_names(old, new, environment));
    }
    all.extend(by_rules);
    all.extend(by_settings(old.policy, new.policy));
    all.extend(by_holes(old, new));
    all.extend(by_words(old, new));
    all
}

/// What an approver reads at a question: whoever wrote other words may have them let through what they would not.
fn by_words(old: Side<'_>, new: Side<'_>) -> Vec<String> {
    const OTHER: &str = "whoever is asked would read";
    let changes = diff_words(old, new).into_iter();
    let mut all: Vec<_> = changes
        .map(|change| {
            let to = &change.destination;
            match (&change.before, &change.after) {
                (before, Some(after)) if before.as_ref() == Some(after) => {
                    format!("{OTHER} another reason of the rule {after:?} for {to}")
                }
                (_, Some(after)) => format!("{OTHER} of another rule, {after:?}, for {to}"),
                (_, None) => format!("{OTHER} of no rule for {to}"),
            }
        })
        .collect();
    let (was, is) = (moving_words(old.policy), moving_words(new.policy));
    let other = is.iter().filter(|(rule, words)| {
        let before = was.get(*rule);
        before.is_some_and(|before| before != *words)
    });
    all.extend(other.map(|(rule, _)| format!("{OTHER} another name or reason of {rule}")));
    all
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
fn by_address(old: Side<'_>, new: Side<'_>) -> Vec<String> {
    let changes = diff(old, new).into_iter();
    let more = changes.filter(|one| one.opens != Opens::Less);
    let told = more.map(|more| {
        let ports = more.ports.iter().map(|spec| format!(" {spec}"));
        let ports: String = ports.collect();
        let rules = more.after_rules.iter().flatten();
        let rules: String = rules.map(|rule| by_rule(new.policy, rule)).collect();
        match more.opens {
            Opens::Otherwise => format!("other requests to {}{ports}{rules}", more.destination),
            _ => format!(
                "{} in place of {} for {}{ports}{rules}",
                more.after, more.before, more.destination
            ),
        }
    });
    told.collect()
}

/// Where a rule's `deny` goes that stopped them.
fn by_replies(old: Side<'_>, new: Side<'_>) -> Vec<String> {
    let changes = diff_replies(old, new).into_iter();
    let more = changes.filter(|one| one.opens == Opens::More);
    let told = more.map(|more| {
        let ports = more.ports.iter().map(|spec| format!(" {spec}"));
        let ports: String = ports.collect();
        format!("replies to connections from {}{ports}", more.destination)
    });
    told.collect()
}

/// What names get that no rule for them has been added to or taken from, or by a rule that denies and leaves more to others.
fn by_names(old: Side<'_>, new: Side<'_>, environment: &Environment) -> Vec<String> {
    let names = diff_names(old, new, environment).into_iter();
    // How long holes last is listed by itself, where they last longer.
    let is_of_holes = |one: &PatternChange| {
        let [before, after] = [&one.before, &one.after].map(|words| {
            let words = words.iter().map(|words| words.split(" max_hole=").next());
            words.collect::<BTreeSet<_>>()
        });
        one.opens == Opens::Otherwise && before == after
    };
    let names = names.filter(|one| one.opens != Opens::Less && !is_of_holes(one));
    let names = names.map(|one| {
        let or_nothing = |words: &[String]| match words {
            [] => "nothing".to_owned(),
            words => words.join(" and "),
        };
        let [before, after] = [&one.before, &one.after].map(|words| or_nothing(words));
        format!("{after} in place of {before} for the name {}", one.pattern)
    });
    let addresses = diff_by_name(old, new).into_iter();
    let addresses = addresses.filter(|one| one.opens != Opens::Less);
    let addresses = addresses.map(|one| {
        let to = &one.destination;
        format!(
            "{} in place of {} for {to}, by a name",
            one.after, one.before
        )
    });
    names.chain(addresses).collect()
}

/// ", by the rule api (api.example.com)": with what the file has in place of addresses.
fn by_rule(policy: &Policy, rule: &str) -> String {
    let mut named = policy.rules.iter().filter(|one| one.name == rule);
    let targets = named.next().into_iter().flat_map(|one| &one.to);
    let targets: Vec<_> = targets.filter(|to| moves(to)).collect();
    let shown: Vec<_> = targets
        .iter()
        .take(TARGETS)
        .map(ToString::to_string)
        .collect();
    let more = if targets.len() > TARGETS { ", …" } else { "" };
    if shown.is_empty() {
        format!(", by the rule {rule}")
    } else {
        format!(", by the rule {rule} ({}{more})", shown.join(", "))
    }
}

/// For what may stand for other addresses later. There a rule that goes may have kept another one from having an effect.
fn by_rules(old: &Policy, new: &Policy, less: &BTreeSet<String>) -> Vec<String> {
    let (was, is) = (moving(old), moving(new));
    let gone = was.difference(&is);
    let mut all: Vec<_> = gone
        .map(|gone| format!("what {} says is gone", gone.words))
        .collect();
    let is_open = |one: &&RuleForTarget| one.action != Verdict::Deny.as_str();
    let is_less = |one: &&RuleForTarget| one.name.as_ref().is_some_and(|name| less.contains(name));
    let added = is.difference(&was).filter(is_open);
    let added = added.filter(|one| !is_less(one));
    all.extend(added.map(|added| format!("{} is new", added.words)));
    let names_open = is.iter().any(|one| is_open(&one));
    // A name is asked for where a rule leaves some of its ports to others.
    let is_judged = old.names_asked() != DnsNames::Any;
    let (asked, asks) = (denied_in_part(old), denied_in_part(new));
    let added = asks.difference(&asked).filter(|_| is_judged);
    all.extend(added.map(|rule| format!("{rule} is new, and has names asked for")));
    let (was, is) = (fixed(old), fixed(new));
    let gone = was.difference(&is).filter(|_| names_open);
    all.extend(gone.map(|gone| {
        let rule = &gone.words;
        format!("{rule} is gone, and names may have its addresses")
    }));
    all
}

/// A rule for one target.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RuleForTarget {
    /// What it does.
    action: &'static str,
    /// For a person.
    words: String,
    /// What it lets through by itself, exactly: in words two may be the same.
    requests: String,
    /// The name, or the wildcard, of a rule that opens no private addresses and leaves TLS alone.
    name: Option<String>,
}

/// The rules for names, or for what this machine's networks decide, each target by itself.
fn moving(policy: &Policy) -> BTreeSet<RuleForTarget> {
    said(policy, |rule, target| rule.by_sni || moves(target))
}

/// The others.
fn fixed(policy: &Policy) -> BTreeSet<RuleForTarget> {
    said(policy, |rule, target| !rule.by_sni && !moves(target))
}

/// The rules that deny names at some ports, in words.
fn denied_in_part(policy: &Policy) -> BTreeSet<String> {
    let denies = |rule: &&Rule| rule.action == Verdict::Deny && !rule.ports.is_empty();
    let rules = policy.rules.iter().filter(denies);
    let all = rules.flat_map(|rule| {
        let names = rule
            .to
            .iter()
            .filter(|to| matches!(to, Target::Name(_) | Target::Wildcard(_)));
        names.map(|name| in_words(rule, name))
    });
    all.collect()
}

fn moves(target: &Target) -> bool {
    match target {
        Target::Name(_) | Target::Wildcard(_) => true,
        Target::Group(group) => group.is_of_machine(),
        Target::Prefix(_) => false,
    }
}

fn said(policy: &Policy, is_meant: impl Fn(&Rule, &Target) -> bool) -> BTreeSet<RuleForTarget> {
    let all = policy.rules.iter().flat_map(|rule| {
        let targets = rule.to.iter();
        let meant = targets.filter(|target| is_meant(rule, target));
        meant.map(|target| RuleForTarget {
            action: rule.action.as_str(),
            words: in_words(rule, target),
            requests: format!("{:?} {:?} {:?}", rule.http, rule.profiles, rule.lists),
            name: NamePattern::of(target)
                .filter(|_| !rule.private && !rule.by_sni)
                .map(|name| name.to_string()),
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
fn by_settings(old: &Policy, new: &Policy) -> Vec<String> {
    let mut all = Vec::new();
    if new.inbound && !old.inbound {
        all.push("replies to connections from outside".to_owned());
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
        all.push("questions for more names".to_owned());
    }
    let sockets = new.unix.iter().filter(|name| !old.unix.contains(name));
    all.extend(sockets.map(|socket| format!("the Unix socket {socket}")));
    all
}

/// For how long holes may last: exactly by address, and by their rules for what may stand for other addresses later.
fn by_holes(old: Side<'_>, new: Side<'_>) -> Vec<String> {
    let changes = diff_holes(old, new).into_iter();
    let longer = changes.filter(|one| one.after > one.before);
    let mut all: Vec<_> = longer
        .map(|longer| {
            let ports = longer.ports.iter().map(|spec| format!(" {spec}"));
            let ports: String = ports.collect();
            let [before, after] = [longer.before, longer.after].map(format_duration);
            format!(
                "holes that last longer, {after} in place of {before} for {}{ports}",
                longer.destination
            )
        })
        .collect();
    let (was, is) = (moving_holes(old.policy), moving_holes(new.policy));
    let longer = is.iter().filter(|(rule, terms)| {
        let before = was.get(*rule).filter(|before| before != terms);
        before.is_some_and(|before| terms.last() > before.first())
    });
    all.extend(longer.map(|(rule, _)| format!("holes that last longer for {rule}")));
    // A yes to a question for a name, or to a port of this machine's loopback, has no rule.
    if all.is_empty() && new.policy.longest_hole(None) > old.policy.longest_hole(None) {
        all.push("holes that last longer".to_owned());
    }
    all
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
    use super::{
        super::{compile::compile, parse::parse},
        *,
    };

    type Ways = fn(Side<'_>, Side<'_>, &Environment) -> Vec<String>;

    fn told(old: &str, new: &str) -> Vec<String> {
        told_by(widens, old, new)
    }

    fn told_by(ways: Ways, old: &str, new: &str) -> Vec<String> {
        let environment = Environment {
            judges_names: true,
            ..Environment::default()
        };
        let [old, new] = [old, new].map(|text| {
            let text = format!("version = 1\n{text}");
            parse("one.toml", &text).unwrap().policy
        });
        let [a, b] = [&old, &new].map(|policy| compile(policy, &environment).unwrap());
        let [old, new] =
            [(&old, &a), (&new, &b)].map(|(policy, compiled)| Side { policy, compiled });
        ways(old, new, &environment)
    }

    /// All of it; none: it only narrows.
    fn said(old: &str, new: &str) -> Option<String> {
        let all = told(old, new);
        (!all.is_empty()).then(|| all.join("; "))
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
    fn a_rule_that_is_new_for_a_name_may_leave_it_no_more_than_before() {
        for to in ["db.example.net", "*.example.net"] {
            let [asks, private] = ["", "private = true"]
                .map(|more| rule(to, &format!("action = \"confirm\"\n{more}")));
            for (default, new, is_more) in [
                ("allow", &asks, false),
                ("deny", &asks, true),
                ("allow", &private, true),
            ] {
                let old = format!("default = \"{default}\"\n");
                let new = format!("{old}{new}");
                let ways = told_by(widens_but_for_names, &old, &new);
                assert_eq!(!ways.is_empty(), is_more, "{new}{ways:?}");
                assert!(!told(&old, &new).is_empty(), "{new}");
            }
        }
    }

    #[test]
    fn a_port_that_is_closed_hides_nothing_of_another_one() {
        let old = format!("default = \"allow\"\n{}", held("*.prod.example.com", "15m"));
        let db = |ports: &str, more: &str| {
            rule(
                "db.prod.example.com",
                &format!("ports = [\"{ports}\"]\n{more}"),
            )
        };
        let closed = db("tcp/1", "action = \"deny\"");
        let narrows = format!("{old}{closed}");
        assert_eq!(told_by(widens_but_for_names, &old, &narrows), [""; 0]);
        for other in [
            "action = \"confirm\"\nmax_hole = \"30d\"",
            "action = \"read-only\"\nhttp = [{ method = [\"PUT\"], action = \"allow\" }]",
        ] {
            let new = format!("{narrows}{}", db("tcp/443", other));
            assert!(
                !told_by(widens_but_for_names, &old, &new).is_empty(),
                "{new}"
            );
        }
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
            // What it leaves to the wildcard is as without it: no private addresses.
            (
                allow.to_owned() + &name,
                allow.to_owned()
                    + &name
                    + &rule("a.example.com", "ports = [\"tcp/9\"]\naction = \"deny\""),
            ),
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
    fn all_that_widens_is_told_as_the_file_names_it() {
        let host = |last: usize| {
            let to = format!("192.0.2.{last}");
            rule(&to, "ports = [\"tcp/80\"]\naction = \"allow\"")
        };
        let name = rule(
            "api.example.com",
            "ports = [\"tcp/80\"]\naction = \"allow\"",
        );
        let new = host(1) + &host(3) + &name + "[unix]\nallow = [\"ssh-agent\"]\n";
        let all = said("", &new).unwrap_or_default();
        for part in [
            "allow in place of deny for 192.0.2.1 tcp/80, by the rule 192.0.2.1 35; ",
            "allow in place of deny for 192.0.2.3 tcp/80, by the rule 192.0.2.3 35; ",
            "the rule allow api.example.com tcp/80 is new; ",
            "the Unix socket ssh-agent",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let many: String = (0..20).map(|one| host(2 * one + 1)).collect();
        assert_eq!(told("", &many).len(), 20);
    }

    #[test]
    fn what_lets_more_through_says_what() {
        let deny = rule("192.0.2.10", "action = \"deny\"");
        let confirm = rule("192.0.2.10", "action = \"confirm\"");
        let wide = rule("192.0.2.0/24", "action = \"confirm\"");
        let reads = rule("192.0.2.10", "action = \"read-only\"");
        let name = rule("*.example.com", "action = \"allow\"");
        let allow = "default = \"allow\"\n";
        let below = "[dns]\nnames = \"any\"\n".to_owned() + &name;
        for (old, new, words) in [
            // Ports that a rule leaves to the wildcard, of a name that may have private addresses.
            (
                below.clone(),
                below
                    + &rule(
                        "a.example.com",
                        "ports = [\"tcp/9\"]\naction = \"read-only\"",
                    ),
                "the rule read-only a.example.com tcp/9 is new",
            ),
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
            // Nobody could ask for any name below it.
            (
                name.clone(),
                name.clone() + &rule("*.evil.test", "ports = [\"tcp/9\"]\naction = \"deny\""),
                "the rule deny *.evil.test tcp/9 is new, and has names asked for",
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
            // A session connects to it no more than before, and it to a server in the session.
            (
                deny.clone(),
                String::new(),
                "replies to connections from 192.0.2.10",
            ),
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
