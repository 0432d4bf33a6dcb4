//! What policies say of a name: labels against patterns.

use std::collections::HashMap;

use guard_common::NameId;
use guard_policy::{DomainName, Invalid, Wildcard};
use guard_proto::names::{Names, Pattern};

use super::name::WireName;

/// Names that a browser asks for to find out whether it should send its questions to somebody else, and all below them. There
/// are none here: then it does not (RFC 9462 4, and Mozilla's canary domain).
const CANARIES: [&[u8]; 2] = [
    b"\x13use-application-dns\x03net\0",
    b"\x04_dns\x08resolver\x04arpa\0",
];

/// What one policy says of names.
#[derive(Clone, Debug)]
pub(super) struct NamePolicy {
    names: Names,
    silent: bool,
    /// Patterns that are one name, by its bytes.
    exact: HashMap<WireName, NameRule>,
    /// Patterns that are all names below one, by that one's bytes.
    below: HashMap<Box<[u8]>, NameRule>,
}

/// What a policy says of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameRule {
    /// The pattern, as the kernel knows it.
    pub(super) pattern: NameId,
    /// It is not asked for.
    pub(super) denied: bool,
}

/// A pattern that covers a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FoundRule<'a> {
    rule: NameRule,
    /// The name that the wildcard stands below; `None`: it is the very name.
    below: Option<&'a [u8]>,
}

/// Why a name is refused that a rule denies.
const DENIED: &str = "a rule denies the name";
/// Why a name is refused that no rule is about.
pub(super) const UNNAMED: &str = "no rule names it";

/// Whether a name may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameVerdict {
    /// It may.
    Passes,
    /// A person is asked.
    Ask,
    /// It may not, and why.
    Refused(&'static str),
}

/// What a session's policies say of a name together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// The strictest of them.
    pub(super) verdict: NameVerdict,
    /// Of whose names it is one, as a budget counts them; `None` for a name that a policy has word for word: no program has
    /// chosen its labels.
    pub(super) zone: Option<WireName>,
    /// Every policy lets any name pass, and none has a pattern for this one.
    pub(super) is_free: bool,
    /// A policy that asks about it does not ask about what a search list may have made.
    pub(super) is_silent: bool,
}

impl NamePolicy {
    /// From the patterns of its rules. One that is there twice is denied if it is so once.
    ///
    /// # Errors
    ///
    /// A pattern is neither a name nor a wildcard.
    pub(super) fn new(names: Names, patterns: &[Pattern], silent: bool) -> Result<Self, Invalid> {
        let mut policy = Self {
            names,
            silent,
            exact: HashMap::new(),
            below: HashMap::new(),
        };
        for Pattern { pattern, denied } in patterns {
            let rule = |text: &str| NameRule {
                pattern: NameId::of(text),
                denied: *denied,
            };
            let stricter = |rule: &mut NameRule| rule.denied |= denied;
            if pattern.starts_with('*') {
                let wildcard: Wildcard = pattern.parse()?;
                let below = WireName::from(wildcard.below()).bytes().into();
                let rule = rule(&wildcard.to_string());
                policy
                    .below
                    .entry(below)
                    .and_modify(stricter)
                    .or_insert(rule);
            } else {
                let name: DomainName = pattern.parse()?;
                let rule = rule(name.as_str());
                let exact = WireName::from(&name);
                policy
                    .exact
                    .entry(exact)
                    .and_modify(stricter)
                    .or_insert(rule);
            }
        }
        Ok(policy)
    }

    /// One that refuses every name: for what could not be understood.
    #[must_use]
    pub(super) fn closed() -> Self {
        Self {
            names: Names::Rules,
            silent: false,
            exact: HashMap::new(),
            below: HashMap::new(),
        }
    }

    /// The most specific pattern that covers a name: the name itself before a wildcard, a longer wildcard before a shorter one.
    /// Names that no host has are covered by what denies, and by nothing else.
    #[must_use]
    pub(super) fn rule(&self, name: &WireName) -> Option<NameRule> {
        self.find(name)
            .map(|found| found.rule)
            .filter(|rule| rule.denied || name.is_host())
    }

    fn find<'a>(&self, name: &'a WireName) -> Option<FoundRule<'a>> {
        if let Some(rule) = self.exact.get(name) {
            return Some(FoundRule {
                rule: *rule,
                below: None,
            });
        }
        if self.below.is_empty() {
            return None;
        }
        name.suffixes().skip(1).find_map(|suffix| {
            let rule = self.below.get(suffix)?;
            Some(FoundRule {
                rule: *rule,
                below: Some(suffix),
            })
        })
    }

    /// What it says of a name, and the pattern that covers it.
    fn verdict<'a>(
        &self,
        name: &'a WireName,
        is_odd: bool,
    ) -> (NameVerdict, Option<FoundRule<'a>>) {
        let found = self.find(name).filter(|found| found.rule.denied || !is_odd);
        let verdict = match (&found, self.names) {
            (Some(found), _) if found.rule.denied => NameVerdict::Refused(DENIED),
            (Some(_), _) | (None, Names::Any) => NameVerdict::Passes,
            (None, _) if is_odd => NameVerdict::Refused("no host has such a name"),
            (None, Names::Ask) => NameVerdict::Ask,
            (None, Names::Rules) => NameVerdict::Refused(UNNAMED),
        };
        (verdict, found)
    }
}

/// What a session's policies say of a name. None of them: it is refused.
#[must_use]
pub(super) fn judge<'a>(
    policies: impl IntoIterator<Item = &'a NamePolicy>,
    name: &WireName,
) -> Judgement {
    let is_odd = !name.is_host();
    let mut verdict = None;
    let (mut is_free, mut is_exact, mut is_silent) = (true, false, false);
    let mut below: &[u8] = &[];
    for policy in policies {
        let (its, found) = policy.verdict(name, is_odd);
        is_free &= found.is_none() && its == NameVerdict::Passes;
        is_silent |= its == NameVerdict::Ask && policy.silent;
        // The outermost, which comes last, says how names are counted: one inside may spell out as many as it likes.
        (is_exact, below) = match found.map(|found| found.below) {
            Some(None) => (true, &[][..]),
            Some(Some(zone)) => (false, zone),
            None => (false, &[][..]),
        };
        verdict = Some(verdict.map_or(its, |so_far| stricter(so_far, its)));
    }
    Judgement {
        verdict: verdict.unwrap_or(NameVerdict::Refused("no policy is in force")),
        zone: (!is_exact).then(|| zone(name, below)),
        is_free,
        is_silent,
    }
}

/// Judges a question for the servers of a service, `_SERVICE._PROTO.HOST` (RFC 2782): what rules say of `HOST` holds, unless one denies
/// either name. The labels in front count against the budget of `HOST`, also where a rule names it word for word: the program chose them.
#[must_use]
pub(super) fn judge_service<'a>(
    policies: impl IntoIterator<Item = &'a NamePolicy> + Clone,
    name: &WireName,
) -> Judgement {
    let own = judge(policies.clone(), name);
    let Some(host) = name.host_of_service() else {
        return own;
    };
    let judged = judge(policies, &host);
    match (own.verdict, judged.verdict) {
        (NameVerdict::Refused(DENIED), _) => own,
        (_, NameVerdict::Refused(DENIED)) => judged,
        (NameVerdict::Passes, _) => own,
        _ => Judgement {
            zone: Some(judged.zone.unwrap_or(host)),
            ..judged
        },
    }
}

fn stricter(one: NameVerdict, other: NameVerdict) -> NameVerdict {
    match (one, other) {
        (refused @ NameVerdict::Refused(_), _) | (_, refused @ NameVerdict::Refused(_)) => refused,
        (NameVerdict::Ask, _) | (_, NameVerdict::Ask) => NameVerdict::Ask,
        (NameVerdict::Passes, NameVerdict::Passes) => NameVerdict::Passes,
    }
}

/// What a wildcard stands below, or the last two labels where these are more.
fn zone(name: &WireName, below: &[u8]) -> WireName {
    let count = name.labels().count();
    let of_two = name.suffixes().nth(count.saturating_sub(2));
    let longer = of_two
        .into_iter()
        .chain([below])
        .max_by_key(|one| one.len());
    let zone = longer.and_then(WireName::read);
    zone.unwrap_or_else(|| name.clone())
}

/// Whether a name is there to find out who should be asked.
#[must_use]
pub(super) fn is_canary(name: &WireName) -> bool {
    name.suffixes().any(|suffix| CANARIES.contains(&suffix))
}

#[cfg(test)]
mod tests {
    use guard_rounds::rounds;
    use proptest::prelude::*;

    use super::{super::name::name, *};

    fn policy(names: Names, patterns: &[(&str, bool)]) -> NamePolicy {
        let patterns: Vec<_> = patterns
            .iter()
            .map(|(pattern, denied)| Pattern {
                pattern: (*pattern).to_owned(),
                denied: *denied,
            })
            .collect();
        NamePolicy::new(names, &patterns, false).unwrap()
    }

    fn verdict(policies: &[&NamePolicy], text: &str) -> NameVerdict {
        judge(policies.iter().copied(), &name(text)).verdict
    }

    const DENIED: NameVerdict = NameVerdict::Refused(super::DENIED);
    const UNNAMED: NameVerdict = NameVerdict::Refused(super::UNNAMED);
    const ODD: NameVerdict = NameVerdict::Refused("no host has such a name");

    #[test]
    fn the_most_specific_pattern_decides() {
        let policy = policy(
            Names::Any,
            &[
                ("*.example.com", true),
                ("*.open.example.com", false),
                ("secret.open.example.com", true),
                ("example.com", false),
                ("github.com.", true),
                ("xn--bcher-kva.example", true),
            ],
        );
        for (text, wanted) in [
            ("example.com", NameVerdict::Passes),
            ("a.example.com", DENIED),
            ("open.example.com", DENIED),
            ("a.b.open.example.com", NameVerdict::Passes),
            ("SECRET.open.example.com", DENIED),
            ("a.secret.open.example.com", NameVerdict::Passes),
            ("aexample.com", NameVerdict::Passes),
            ("example.com.evil.test", NameVerdict::Passes),
            ("github.com", DENIED),
            ("github.com.", DENIED),
            ("github.com.evil.test", NameVerdict::Passes),
            ("XN--bcher-KVA.example", DENIED),
            ("bcher-kva.example", NameVerdict::Passes),
        ] {
            assert_eq!(verdict(&[&policy], text), wanted, "{text}");
        }
        for (text, pattern) in [
            ("a.open.example.com", "*.open.example.com"),
            ("github.com", "github.com"),
        ] {
            let rule = policy.rule(&name(text)).unwrap();
            assert_eq!(rule.pattern, NameId::of(pattern));
        }
    }

    #[test]
    fn a_name_without_a_pattern_is_judged_by_what_the_policy_says_of_such() {
        let patterns = &[("*.example.com", false)];
        for (names, wanted) in [
            (Names::Any, NameVerdict::Passes),
            (Names::Ask, NameVerdict::Ask),
            (Names::Rules, UNNAMED),
        ] {
            let policy = policy(names, patterns);
            assert_eq!(verdict(&[&policy], "example.net"), wanted);
            assert_eq!(verdict(&[&policy], "a.example.com"), NameVerdict::Passes);
        }
    }

    #[test]
    fn of_several_policies_the_strictest_decides_and_of_none_none_passes() {
        let (any, ask) = (policy(Names::Any, &[]), policy(Names::Ask, &[]));
        let rules = policy(Names::Rules, &[("*.example.com", false)]);
        assert_eq!(verdict(&[&any, &ask], "example.net"), NameVerdict::Ask);
        assert_eq!(verdict(&[&ask, &any, &rules], "example.net"), UNNAMED);
        assert_eq!(
            verdict(&[&any, &rules], "a.example.com"),
            NameVerdict::Passes
        );
        assert!(matches!(
            verdict(&[], "example.com"),
            NameVerdict::Refused(_)
        ));
        assert_eq!(
            verdict(&[&any, &NamePolicy::closed()], "example.net"),
            UNNAMED
        );
    }

    #[test]
    fn an_odd_name_is_nobodys_unless_it_is_denied() {
        let odd = |bytes: &[u8]| WireName::read(bytes).unwrap();
        let allowed = odd(b"\x03a b\x07example\x03com\0");
        let denied = odd(b"\x02-a\x04evil\x07example\0");
        let patterns = &[("*.example.com", false), ("*.evil.example", true)];
        for (names, wanted) in [
            (Names::Any, NameVerdict::Passes),
            (Names::Ask, ODD),
            (Names::Rules, ODD),
        ] {
            let policy = policy(names, patterns);
            assert_eq!(judge([&policy], &allowed).verdict, wanted);
            assert_eq!(policy.rule(&allowed), None);
            assert_eq!(judge([&policy], &denied).verdict, DENIED);
            assert!(policy.rule(&denied).unwrap().denied);
        }
        let (any, ask) = (policy(Names::Any, &[]), policy(Names::Ask, &[]));
        assert_eq!(judge([&any, &ask], &odd(&[0])).verdict, ODD);
    }

    #[test]
    fn a_service_is_judged_by_its_host_unless_a_rule_denies_either() {
        let patterns = [
            ("deb.example", false),
            ("*.closed.example", true),
            ("closed.example", false),
            ("shut.example", true),
            ("*.open.example", false),
        ];
        let of = |names| {
            let policy = policy(names, &patterns);
            move |text: &str| {
                let judged = judge_service([&policy], &name(text));
                let zone = judged.zone.map(|zone| zone.to_string());
                (judged.verdict, zone.unwrap_or_default())
            }
        };
        let passes = NameVerdict::Passes;
        for (names, text, wanted, zone) in [
            (Names::Ask, "_http._tcp.deb.example", passes, "deb.example"),
            (
                Names::Rules,
                "_http._tcp.deb.example",
                passes,
                "deb.example",
            ),
            (Names::Any, "_http._tcp.deb.example", passes, "deb.example"),
            (
                Names::Rules,
                "_http._tcp.closed.example",
                DENIED,
                "closed.example",
            ),
            (
                Names::Any,
                "_http._tcp.closed.example",
                DENIED,
                "closed.example",
            ),
            (Names::Any, "_http._tcp.shut.example", DENIED, ""),
            (
                Names::Ask,
                "_ldap._tcp.a.open.example",
                passes,
                "open.example",
            ),
            (
                Names::Ask,
                "_http._tcp.other.example",
                NameVerdict::Ask,
                "other.example",
            ),
            (
                Names::Rules,
                "_http._tcp.other.example",
                UNNAMED,
                "other.example",
            ),
            // Not the names of services: 16 letters, a letter that no service has, another protocol.
            (
                Names::Ask,
                "_abcdefghijklmnop._tcp.deb.example",
                NameVerdict::Ask,
                "deb.example",
            ),
            (
                Names::Ask,
                "_a_b._tcp.deb.example",
                NameVerdict::Ask,
                "deb.example",
            ),
            (
                Names::Ask,
                "_http._ab.deb.example",
                NameVerdict::Ask,
                "deb.example",
            ),
        ] {
            assert_eq!(
                of(names)(text),
                (wanted, zone.to_owned()),
                "{names:?} {text}"
            );
        }
    }

    #[test]
    fn a_name_is_counted_below_its_wildcard_or_its_last_two_labels() {
        let policy = policy(
            Names::Any,
            &[
                ("*.a.example.com", false),
                ("*.test", false),
                ("x.a.example.com", false),
            ],
        );
        let zone = |text| {
            judge([&policy], &name(text))
                .zone
                .map(|zone| zone.to_string())
        };
        assert_eq!(zone("v.w.a.example.com").as_deref(), Some("a.example.com"));
        assert_eq!(zone("v.w.b.example.com").as_deref(), Some("example.com"));
        assert_eq!(zone("v.w.b.test").as_deref(), Some("b.test"));
        assert_eq!(zone("localhost").as_deref(), Some("localhost"));
        assert_eq!(zone("x.a.example.com"), None);
        assert!(judge([&policy], &name("example.net")).is_free);
        // A policy inside does not part a zone, nor take names out of it: its own comes first.
        let outer = self::policy(Names::Any, &[("*.example.com", false)]);
        for text in ["x.a.example.com", "v.w.a.example.com"] {
            let zone = judge([&policy, &outer], &name(text)).zone;
            assert_eq!(zone.unwrap().to_string(), "example.com", "{text}");
        }
        assert!(!judge([&policy], &name("v.a.example.com")).is_free);
    }

    #[test]
    fn what_is_there_twice_is_denied_if_it_is_so_once() {
        for denied in [[true, false], [false, true]] {
            let patterns = denied.map(|denied| ("*.Example.com", denied));
            assert_eq!(
                verdict(&[&policy(Names::Any, &patterns)], "a.example.com"),
                DENIED
            );
        }
        let odd = Pattern {
            pattern: "*".to_owned(),
            denied: false,
        };
        assert!(NamePolicy::new(Names::Any, &[odd], false).is_err());
    }

    #[test]
    fn browsers_are_told_to_keep_to_this_resolver() {
        assert!(is_canary(&name("use-application-dns.net")));
        assert!(is_canary(&name("_dns.resolver.arpa")));
        assert!(is_canary(&name("a.USE-application-dns.net")));
        assert!(!is_canary(&name("resolver.arpa")));
        assert!(!is_canary(&name("ause-application-dns.net")));
        assert!(!is_canary(&name("use-application-dns.net.example")));
    }

    /// What the patterns say of a name, one after the other: the longest that covers it, an exact one first.
    fn plainly(names: Names, patterns: &[(String, bool)], text: &str) -> NameVerdict {
        let name: DomainName = text.parse().unwrap();
        let covers = |pattern: &str| match pattern.parse::<Wildcard>() {
            Ok(wildcard) => wildcard.covers(&name),
            Err(_) => pattern == name.as_str(),
        };
        let covering = patterns.iter().filter(|(pattern, _)| covers(pattern));
        let rank = |pattern: &str| (!pattern.starts_with('*'), pattern.len());
        let best = covering.max_by_key(|(pattern, denied)| (rank(pattern), *denied));
        match (best, names) {
            (Some((_, true)), _) => DENIED,
            (Some((_, false)), _) | (None, Names::Any) => NameVerdict::Passes,
            (None, Names::Ask) => NameVerdict::Ask,
            (None, Names::Rules) => UNNAMED,
        }
    }

    fn names() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]{1,2}", 1..5).prop_map(|labels| labels.join("."))
    }

    proptest! {
        #![proptest_config(rounds(1024))]

        #[test]
        fn a_policy_says_what_its_patterns_say_one_by_one(
            patterns in prop::collection::vec((any::<bool>(), names(), any::<bool>()), 0..12),
            text in names(),
            fallback in prop_oneof![Just(Names::Any), Just(Names::Ask), Just(Names::Rules)],
        ) {
            let patterns: Vec<_> = patterns
                .into_iter()
                .map(|(is_wild, text, denied)| {
                    (if is_wild { format!("*.{text}") } else { text }, denied)
                })
                .collect();
            let borrowed: Vec<_> = patterns
                .iter()
                .map(|(pattern, denied)| (pattern.as_str(), *denied))
                .collect();
            let policy = policy(fallback, &borrowed);
            prop_assert_eq!(verdict(&[&policy], &text), plainly(fallback, &patterns, &text));
        }
    }
}
