//! What a policy says of names: an answer for each pattern, and where names do not count.

use std::collections::{BTreeSet, HashMap};

use guard_common::{Verdict, prefix_flags};

use super::{
    super::{
        diagnostic::Diagnostic,
        group::Group,
        invalid::Invalid,
        model::{Environment, Policy, Rule},
        name::{DomainName, NamePattern},
        prefix::Prefix,
    },
    Value,
    answer::{AddressVerdictId, AddressVerdicts},
    at_rule,
    entries::{Rank, Ranking},
};

/// The answer for a pattern.
pub(super) struct PatternAnswer {
    /// The address that stands for it.
    pub(super) key: Prefix,
    /// Its text.
    pub(super) pattern: NamePattern,
    /// What rules say of it.
    pub(super) answer: AddressVerdictId,
    /// The flags of its value.
    pub(super) flags: u8,
}

/// The answer for each pattern of a policy, with the flags of its value, sorted by the addresses that stand for them. A pattern
/// inherits from the wildcards that cover it, as a prefix does from wider ones; what no rule says is left to the address.
///
/// # Errors
///
/// Where two patterns have one number.
pub(super) fn answered(
    policy: &Policy,
    ranking: &Ranking<'_>,
    closed: &Closed<'_>,
    answers: &mut AddressVerdicts<'_>,
) -> Result<Vec<PatternAnswer>, Vec<Diagnostic>> {
    let mut ranks: HashMap<NamePattern, Vec<Rank>> = HashMap::new();
    for (rank, rule) in ranking.iter() {
        for pattern in rule.to.iter().filter_map(NamePattern::of) {
            ranks.entry(pattern).or_default().push(rank);
        }
    }
    let mut out = Vec::with_capacity(ranks.len());
    for pattern in ranks.keys() {
        let key = Prefix::host(pattern.id().key());
        let around = pattern.around();
        let mut covering: Vec<_> = around.filter_map(|wider| ranks.get(&wider)).collect();
        covering.reverse();
        let mut answer = answers.without_rules(Verdict::Deny);
        let own = ranks.get(pattern).into_iter();
        for ranks in covering.into_iter().chain(own) {
            let mut ranks = ranks.clone();
            ranks.dedup();
            let rules = answers.set(&ranks);
            answer = answers.layer(rules, answer, &key);
        }
        let is_private = |rule| is_private(pattern, policy.rule(rule), closed);
        let flag = if is_private(answers.get(answer).rule) {
            prefix_flags::PRIVATE
        } else {
            0
        };
        let answer = answers.mark_private(answer, is_private);
        out.push(PatternAnswer {
            key,
            pattern: pattern.clone(),
            answer,
            flags: prefix_flags::NAME | flag,
        });
    }
    out.sort_unstable_by_key(|one| one.key);
    match out.windows(2).find(|pair| pair[0].key == pair[1].key) {
        None => Ok(out),
        Some(pair) => Err(of_one_number(policy, [&pair[0].pattern, &pair[1].pattern])),
    }
}

/// That the kernel half cannot tell two patterns apart, at the last rule that has one of them.
fn of_one_number(policy: &Policy, both: [&NamePattern; 2]) -> Vec<Diagnostic> {
    let has_one = |rule: &&Rule| {
        let mut patterns = rule.to.iter().filter_map(NamePattern::of);
        patterns.any(|pattern| both.contains(&&pattern))
    };
    let [one, other] = both;
    let what = Invalid::new(format!("`{one}` and `{other}` have the same number"))
        .help("leave one of them out: no two names have that by chance, so whoever owns one of them has made it");
    let rule = policy.rules.iter().rfind(has_one);
    let error = rule.map(|rule| at_rule(policy, rule, what));
    error.into_iter().collect()
}

/// Whether what a rule says of a pattern may be said of private addresses: where the rule says so, or spells out the name, unless that
/// had public addresses first. What a pattern inherits is as private as where it is from.
fn is_private(pattern: &NamePattern, rule: Option<&Rule>, closed: &Closed<'_>) -> bool {
    let Some(rule) = rule else { return false };
    let is_spelled_out = match pattern {
        NamePattern::Name(name) => {
            !closed.public.contains(name.as_str()) && rule.names().any(|own| own == name)
        }
        NamePattern::Below(_) => false,
    };
    rule.private || is_spelled_out
}

/// Where names make no policy more permissive.
pub(super) struct Closed<'e> {
    /// Whatever the name.
    local: Vec<Prefix>,
    /// Unless the name may have private addresses.
    private: Vec<Prefix>,
    /// The names that rules spell out which may not.
    public: BTreeSet<&'e str>,
}

impl<'e> Closed<'e> {
    pub(super) fn new(ranking: &Ranking<'e>, environment: &Environment) -> Self {
        let areas = |groups: &[Group]| Group::with_translated(groups, environment);
        // `0.0.0.0/8` is "this host on this network" (RFC 791 3.2).
        let this = Prefix::v4([0, 0, 0, 0], 8);
        let mut local = areas(&Group::LOCAL);
        local.extend([Some(this), this.translated()].into_iter().flatten());
        let rules = ranking.iter().map(|(_, rule)| rule);
        let opening = rules.filter(|rule| rule.action != Verdict::Deny);
        let names = opening.filter(|rule| !rule.private).flat_map(Rule::names);
        let names = names.map(DomainName::as_str);
        Self {
            local,
            private: areas(&Group::INNER),
            public: names
                .filter(|name| environment.public.contains(*name))
                .collect(),
        }
    }

    /// Whether a name opens nothing at an address.
    pub(super) fn is_at(&self, name: &DomainName, address: &Prefix) -> bool {
        let is_in = |areas: &[Prefix]| areas.iter().any(|area| area.contains(address));
        is_in(&self.local) || (self.public.contains(name.as_str()) && is_in(&self.private))
    }

    /// Marks the values of local and private addresses, and of what a translator makes of them.
    pub(super) fn mark(&self, prefixes: &mut Vec<(Prefix, Value)>) {
        for (areas, flag) in [
            (&self.local, prefix_flags::LOCAL),
            (&self.private, prefix_flags::PRIVATE),
        ] {
            for area in areas {
                let around = super::super::lookup::longest(prefixes, area).map(|(_, value)| *value);
                if let (Err(at), Some(value)) = (
                    prefixes.binary_search_by_key(area, |(prefix, _)| *prefix),
                    around,
                ) {
                    prefixes.insert(at, (*area, value));
                }
                let first = prefixes.partition_point(|(prefix, _)| prefix < area);
                let inside = prefixes[first..].iter_mut();
                for (_, value) in inside.take_while(|(prefix, _)| area.contains(prefix)) {
                    value.flags |= flag;
                }
            }
        }
    }
}
