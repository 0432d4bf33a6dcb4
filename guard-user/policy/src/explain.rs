//! Why a destination gets its verdict.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use guard_common::{BootTime, Connection, DNS_PORT, Protocol, Verdict};
use serde::{Deserialize, Serialize};

use super::{
    compile::Compiled,
    known::{NamedAt, UNNAMED, barred, by_pattern},
    lookup::longest,
    model::{DnsNames, Environment, Policy, Rule},
    name::{DomainName, NamePattern},
    parts::Part,
    ports::PortSpec,
    prefix::Prefix,
    target::{Destination, Target},
};

/// A verdict, and what gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedVerdict {
    /// The address, with the port where one was asked about, or the prefix, whose port `ports` has.
    pub destination: String,
    /// The addresses and prefixes that the destination stands for.
    pub addresses: Vec<String>,
    /// The ports that it holds for; empty means all, but for those that other explanations of the
    /// same destination name.
    pub ports: Vec<PortSpec>,
    /// `allow`, `confirm`, `read-only` or `deny`.
    pub verdict: String,
    /// The rule's name; none where the default decides.
    pub rule: Option<String>,
    /// Why the rule is there, in its author's words.
    pub reason: Option<String>,
    /// The policy's name.
    pub policy: String,
    /// The policy's file.
    pub file: String,
    /// The line of the rule, or of `default`.
    pub line: Option<usize>,
    /// The hole that allows it. Not known here: the daemon fills it in.
    pub hole: Option<String>,
    /// What in the rule's `to` and `ports` matched.
    pub matched: Option<String>,
    /// The names of which TLS has to show one there, where the rule says `tls = "name"`. QUIC is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Vec<String>>,
    /// A rule that has the name, where it opens nothing at these addresses, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
}

/// What holds for a destination, and why: one explanation for each prefix and set of ports that has
/// an answer of its own. `ports` counts where the destination names no port; none means all.
///
/// Empty where the destination is a name, or a group, without an address in `environment`.
#[must_use]
pub fn explain(
    policy: &Policy,
    compiled: &Compiled,
    environment: &Environment,
    to: &Destination,
    ports: &[PortSpec],
) -> Vec<ExplainedVerdict> {
    let asked = to.ports(ports);
    let mut explainer = Explainer {
        policy,
        environment,
        targets: HashMap::new(),
    };
    // What no rule names gets what is said of its addresses.
    let by_name = |name: &DomainName| {
        compiled.pattern_of(name).is_some() || environment.resolved(name).next().is_none()
    };
    if let (Target::Name(name), true) = (&to.target, compiled.judges_names())
        && by_name(name)
    {
        return of_name(&mut explainer, compiled, to, name, &asked);
    }
    let mut explanations = Vec::new();
    for within in to.target.prefixes(environment) {
        for (prefix, value) in compiled.deciding(&within) {
            for part in compiled.parts(value, &asked) {
                explanations.push(explainer.explain(&prefix, to.port, part));
            }
        }
    }
    explanations
}

/// What holds for a name: together for those of its addresses that are as the name, and apart for each other one.
fn of_name(
    explainer: &mut Explainer<'_>,
    compiled: &Compiled,
    to: &Destination,
    name: &DomainName,
    asked: &[PortSpec],
) -> Vec<ExplainedVerdict> {
    let (policy, environment) = (explainer.policy, explainer.environment);
    let pattern = compiled.pattern_of(name);
    let pattern = pattern.as_ref();
    let (mut addresses, mut explanations) = (Vec::new(), Vec::new());
    for address in environment.resolved(name) {
        match apart(explainer, compiled, to, &address, asked, pattern) {
            None => addresses.push(address.to_short()),
            Some(apart) => explanations.extend(apart),
        }
    }
    if addresses.is_empty() && !explanations.is_empty() {
        return explanations;
    }
    let parts = compiled.parts_of_name(pattern, policy.default, asked);
    let by_name = parts.into_iter().map(|part| ExplainedVerdict {
        addresses: addresses.clone(),
        ..explainer.explain_name(to, pattern, part)
    });
    by_name.chain(explanations).collect()
}

/// What holds for an address of a name at which the rule that has the name opens nothing, or another one decides; none where it decides as at
/// others.
fn apart(
    explainer: &mut Explainer<'_>,
    compiled: &Compiled,
    to: &Destination,
    address: &Prefix,
    asked: &[PortSpec],
    pattern: Option<&NamePattern>,
) -> Option<Vec<ExplainedVerdict>> {
    let named = by_pattern(pattern?.id());
    let known = NamedAt {
        named: &named,
        now: BootTime(0),
    };
    let parts = compiled.parts_known(address, known, asked);
    let policy = explainer.policy;
    let by_name = compiled.parts_of_name(pattern, policy.default, asked);
    let is_anothers = |part: &Part| {
        let mut own = by_name.iter().map(|own| own.rule);
        part.rule.is_some() && !own.any(|rule| rule == part.rule)
    };
    let is_apart = parts.iter().any(is_anothers);
    let all = parts.into_iter().map(|part| {
        let at = place(address, &part, asked);
        ExplainedVerdict {
            destination: to.to_string(),
            barred: barred(policy, compiled, &at, known).map(|one| one.to_string()),
            ..explainer.explain(address, to.port, part)
        }
    });
    let all: Vec<_> = all.collect();
    (is_apart || all.iter().any(|one| one.barred.is_some())).then_some(all)
}

/// A connection that the part is about.
fn place(address: &Prefix, part: &Part, asked: &[PortSpec]) -> Connection {
    let spec = part.ports.first().or(asked.first()).copied();
    let spec = spec.unwrap_or_else(|| PortSpec::all(UNNAMED));
    Connection::new(address.address(), spec.protocol, spec.low)
}

/// The same for an address that a session knows by names, which count until their time is over.
#[must_use]
pub fn explain_known(
    policy: &Policy,
    compiled: &Compiled,
    environment: &Environment,
    to: &Destination,
    ports: &[PortSpec],
    known: NamedAt<'_>,
) -> Vec<ExplainedVerdict> {
    let NamedAt { named, now } = known;
    let Target::Prefix(address) = &to.target else {
        return Vec::new();
    };
    let mut explainer = Explainer {
        policy,
        environment,
        targets: HashMap::new(),
    };
    let asked = to.ports(ports);
    let parts = compiled.parts_known(address, known, &asked);
    let told = parts.into_iter().map(|part| {
        let at = place(address, &part, &asked);
        let barred = barred(policy, compiled, &at, known).map(|one| one.to_string());
        let rule = part.rule.and_then(|index| policy.rule(index));
        let patterns = rule.into_iter().flat_map(|rule| &rule.to);
        let mut patterns = patterns.filter_map(NamePattern::of);
        let by_name = patterns.find(|one| {
            let mut learned = named.patterns.iter().filter(|known| known.counts(now));
            learned.any(|known| known.pattern == one.id())
        });
        let one = explainer.explain(address, to.port, part);
        let by_name = by_name.map(|pattern| pattern.to_string());
        ExplainedVerdict {
            matched: by_name.or_else(|| one.matched.clone()),
            barred,
            ..one
        }
    });
    told.collect()
}

/// Whether whoever is judged by that policy may ask each name server of this machine for every name.
#[must_use]
pub fn may_ask_for_names(policy: &Policy, compiled: &Compiled, environment: &Environment) -> bool {
    let port = [PortSpec::one(Protocol::UDP, DNS_PORT)];
    let passes = |server: &IpAddr| {
        let to = Destination {
            target: Target::Prefix(Prefix::from(*server)),
            port: None,
        };
        let said = explain(policy, compiled, environment, &to, &port);
        said.iter()
            .all(|one| one.verdict == Verdict::Allow.as_str())
    };
    let servers = &environment.dns;
    policy.names_asked() == DnsNames::Any && !servers.is_empty() && servers.iter().all(passes)
}

/// What a project's policy stops, and what the policy says that it judges beside: both have to allow. Of one answer each the stricter,
/// of equals the policy's; of several those of the project's that stop anything before all of the policy's.
#[must_use]
pub fn beside(
    project: Vec<ExplainedVerdict>,
    policy: Vec<ExplainedVerdict>,
) -> Vec<ExplainedVerdict> {
    let stops = |one: &ExplainedVerdict| one.verdict != Verdict::Allow.as_str();
    match (&project[..], &policy[..]) {
        ([one], [other]) if strictness(&other.verdict) >= strictness(&one.verdict) => policy,
        ([_], [_]) => project,
        _ => project.into_iter().filter(stops).chain(policy).collect(),
    }
}

/// How strict the verdict of that word is, as [`Verdict::strictness`]; a word that is none is a denial.
#[must_use]
pub fn strictness(verdict: &str) -> u8 {
    let all = [Verdict::Allow, Verdict::ReadOnly, Verdict::Confirm];
    let known = all.iter().find(|one| one.as_str() == verdict);
    known.copied().unwrap_or(Verdict::Deny).strictness()
}

/// Puts together what says the same of every part of what was asked about: one answer that all of it
/// has is one explanation, of the destination as it was asked about.
#[must_use]
pub fn joined(all: Vec<ExplainedVerdict>, asked: &Destination) -> Vec<ExplainedVerdict> {
    let places: HashSet<_> = all.iter().map(|one| one.destination.clone()).collect();
    let mut answers: Vec<Vec<ExplainedVerdict>> = Vec::new();
    let mut known = HashMap::new();
    for one in all {
        let at = *known.entry(ExplanationKey::of(&one)).or_insert_with(|| {
            answers.push(Vec::new());
            answers.len() - 1
        });
        answers[at].push(one);
    }
    let of_all = |alike: Vec<ExplainedVerdict>| {
        if alike.len() == places.len() {
            alike
                .into_iter()
                .reduce(ExplainedVerdict::and)
                .map_or_else(Vec::new, |one| {
                    let destination = asked.to_string();
                    vec![ExplainedVerdict { destination, ..one }]
                })
        } else {
            alike
        }
    };
    answers.into_iter().flat_map(of_all).collect()
}

/// What explanations share that say the same.
#[derive(PartialEq, Eq, Hash)]
struct ExplanationKey {
    ports: Vec<PortSpec>,
    verdict: String,
    policy: String,
    rule: Option<String>,
    hole: Option<String>,
    tls: Option<Vec<String>>,
}

impl ExplanationKey {
    fn of(one: &ExplainedVerdict) -> Self {
        Self {
            ports: one.ports.clone(),
            verdict: one.verdict.clone(),
            policy: one.policy.clone(),
            rule: one.rule.clone(),
            hole: one.hole.clone(),
            tls: one.tls.clone(),
        }
    }
}

impl ExplainedVerdict {
    /// Of both, which say the same.
    fn and(mut self, other: Self) -> Self {
        self.addresses.extend(other.addresses);
        self.matched = match (self.matched, other.matched) {
            (Some(ours), Some(others)) if !ours.split(", ").any(|one| one == others) => {
                Some(format!("{ours}, {others}"))
            }
            (ours, others) => ours.or(others),
        };
        self
    }
}

struct Explainer<'p> {
    policy: &'p Policy,
    environment: &'p Environment,
    /// The targets of rules that were asked about, by prefix: a rule may have a million.
    targets: HashMap<u16, Vec<(Prefix, &'p Target)>>,
}

impl Explainer<'_> {
    fn explain(&mut self, prefix: &Prefix, port: Option<u16>, part: Part) -> ExplainedVerdict {
        let shown = Destination {
            target: Target::Prefix(*prefix),
            port: port.filter(|_| prefix.is_host()),
        };
        let matched = part
            .rule
            .map(|index| self.matched(index, prefix, &part.ports));
        ExplainedVerdict {
            addresses: vec![prefix.to_short()],
            matched,
            ..self.explained(shown.to_string(), part)
        }
    }

    /// What holds for the addresses that a session learns of a name.
    fn explain_name(
        &self,
        to: &Destination,
        pattern: Option<&NamePattern>,
        part: Part,
    ) -> ExplainedVerdict {
        let matched = pattern.filter(|_| part.rule.is_some());
        ExplainedVerdict {
            matched: matched.map(ToString::to_string),
            ..self.explained(to.to_string(), part)
        }
    }

    fn explained(&self, destination: String, part: Part) -> ExplainedVerdict {
        let rule = part.rule.and_then(|index| self.policy.rule(index));
        ExplainedVerdict {
            destination,
            addresses: Vec::new(),
            verdict: part.verdict.as_str().to_owned(),
            rule: rule.map(|rule| rule.name.clone()),
            reason: rule.and_then(|rule| rule.reason.clone()),
            policy: self.policy.name.clone(),
            file: self.policy.file.clone(),
            line: rule.map_or(self.policy.default_line, |rule| Some(rule.line)),
            hole: None,
            matched: None,
            barred: None,
            tls: rule.filter(|_| part.by_sni).map(shown),
            ports: part.ports,
        }
    }

    /// The entries of a rule that make it hold: of `to`, and of `ports` where it has any.
    fn matched(&mut self, rule: u16, prefix: &Prefix, ports: &[PortSpec]) -> String {
        let target = self.target(rule, prefix);
        let specs = self.policy.rules[usize::from(rule)].ports.iter();
        let touching = |spec: &&PortSpec| ports.iter().any(|p| p.intersection(spec).is_some());
        match specs.filter(touching).min_by_key(|spec| spec.width()) {
            Some(spec) => format!("{target} {spec}"),
            None => target,
        }
    }

    /// The closest target of a rule that has all of a prefix. Where the compiler has joined targets
    /// there is none; then the first that lies inside.
    fn target(&mut self, rule: u16, prefix: &Prefix) -> String {
        let targets = self.targets.entry(rule).or_insert_with(|| {
            let rule = &self.policy.rules[usize::from(rule)];
            targets_by_prefix(rule, self.environment)
        });
        let inside = || targets.get(targets.partition_point(|(other, _)| other < prefix));
        let found = longest(targets, prefix).or_else(inside);
        found.map_or_else(String::new, |(_, target)| target.to_string())
    }
}

/// The names of a rule.
fn shown(rule: &Rule) -> Vec<String> {
    let patterns = rule.to.iter().filter_map(NamePattern::of);
    patterns.map(|pattern| pattern.to_string()).collect()
}

fn targets_by_prefix<'p>(rule: &'p Rule, environment: &Environment) -> Vec<(Prefix, &'p Target)> {
    let prefixes = |target: &'p Target| {
        let prefixes = target.prefixes(environment).into_iter();
        prefixes.map(move |prefix| (prefix, target))
    };
    let mut targets: Vec<_> = rule.to.iter().flat_map(prefixes).collect();
    targets.sort_by_key(|(prefix, _)| *prefix);
    targets
}
