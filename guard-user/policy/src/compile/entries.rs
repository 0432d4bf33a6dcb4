//! Rules as entries at prefixes, sorted.

use std::cmp::Reverse;

use super::{
    super::{
        model::{Environment, Rule},
        ports::PortSpec,
        prefix::Prefix,
        spans::Covered,
        target::Target,
    },
    patterns::Closed,
};

/// The place of a rule among all rules of its policy: of two that are equally specific, the one
/// with the lower rank decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank(u16);

/// A rule in its place.
pub(super) struct Ranked<'p> {
    pub(super) rule: &'p Rule,
    /// Its index in the policy.
    pub(super) index: u16,
    /// Its ports, the narrower first, without those that narrower ones decide entirely.
    pub(super) ports: Vec<PortSpec>,
}

/// Rules by rank: the stricter first, of those that allow the ones that look at TLS, those that open no private addresses, and for want
/// of anything else the name that sorts first, since the order in the file must never matter.
pub(super) struct Ranking<'p>(Vec<Ranked<'p>>);

impl<'p> Ranking<'p> {
    /// Of 65535 rules at most.
    pub(super) fn new(rules: &'p [Rule]) -> Self {
        let ranked = (0..).zip(rules).map(|(index, rule)| Ranked {
            rule,
            index,
            ports: needed_ports(&rule.ports),
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|ranked| {
            let rule = ranked.rule;
            let action = Reverse(rule.action.strictness());
            let by_sni = Reverse(rule.by_sni);
            (action, by_sni, rule.private, rule.name.as_str())
        });
        Self(ranked)
    }

    pub(super) fn get(&self, rank: Rank) -> &Ranked<'p> {
        &self.0[usize::from(rank.0)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Rank, &'p Rule)> {
        let rules = self.0.iter().map(|ranked| ranked.rule);
        (0..).map(Rank).zip(rules)
    }
}

/// However long a rule's list is, no more than what can decide is carried to each of its prefixes.
fn needed_ports(ports: &[PortSpec]) -> Vec<PortSpec> {
    let mut ports = ports.to_vec();
    ports.sort_unstable_by_key(|spec| (spec.width(), *spec));
    let mut covered = Covered::default();
    ports.retain(|spec| covered.add(spec.protocol, spec.low, spec.high));
    ports
}

/// How an entry speaks about its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The rule holds here.
    Holds,
    /// The rule holds here where none does for anything narrower than `@public`.
    HoldsWide,
    /// The rule holds here, but for the exceptions inside.
    HoldsBut,
    /// Here, what rules say of wider prefixes with exceptions does not hold.
    Exception,
    /// The rule holds here where it is stricter than what else does.
    Narrows,
}

/// A rule at a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) prefix: Prefix,
    pub(super) kind: Kind,
    pub(super) rank: Rank,
}

/// All entries of a policy, sorted by prefix.
pub(super) fn collect(
    ranking: &Ranking<'_>,
    environment: &Environment,
    closed: Option<&Closed<'_>>,
) -> Vec<Entry> {
    let targets = ranking.iter().map(|(_, rule)| rule.to.len()).sum();
    let mut entries = Vec::with_capacity(targets);
    for (rank, rule) in ranking.iter() {
        for target in &rule.to {
            push(&mut entries, rank, target, environment, closed);
        }
    }
    entries.sort_unstable();
    entries.dedup();
    entries
}

fn push(
    entries: &mut Vec<Entry>,
    rank: Rank,
    target: &Target,
    environment: &Environment,
    closed: Option<&Closed<'_>>,
) {
    let entry = |prefix, kind| Entry { prefix, kind, rank };
    match target {
        Target::Prefix(prefix) => entries.push(entry(*prefix, Kind::Holds)),
        Target::Name(name) => {
            let kind = |prefix: &Prefix| {
                if closed.is_some_and(|all| all.is_at(name, prefix)) {
                    Kind::Narrows
                } else {
                    Kind::Holds
                }
            };
            let prefixes = environment.resolved(name);
            entries.extend(prefixes.map(|prefix| entry(prefix, kind(&prefix))));
        }
        Target::Wildcard(_) => {}
        Target::Group(group) => {
            let exceptions = group.exceptions();
            let kind = match exceptions {
                _ if group.is_wide() => Kind::HoldsWide,
                [] => Kind::Holds,
                _ => Kind::HoldsBut,
            };
            let areas = group.areas(environment);
            entries.extend(areas.into_iter().map(|prefix| entry(prefix, kind)));
            entries.extend(exceptions.iter().map(|p| entry(*p, Kind::Exception)));
        }
    }
}
