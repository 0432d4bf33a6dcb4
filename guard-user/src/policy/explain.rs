//! Why a destination gets its verdict.

use serde::{Deserialize, Serialize};

use super::{
    compile::Compiled,
    group::Group,
    model::{Environment, Policy, Rule},
    parts::Part,
    ports::PortSpec,
    prefix::Prefix,
    target::{Destination, Target},
};

/// A verdict, and what gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The address or prefix, with the port where one was asked about.
    pub destination: String,
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
) -> Vec<Explanation> {
    let asked = to.ports(ports);
    let mut explanations = Vec::new();
    for within in to.target.prefixes(environment) {
        for (prefix, value) in compiled.deciding(&within) {
            for part in compiled.parts(value, &asked) {
                let shown = Destination {
                    target: Target::Prefix(prefix),
                    port: to.port,
                };
                let explanation = one(policy, environment, &prefix, part);
                explanations.push(Explanation {
                    destination: shown.to_string(),
                    ..explanation
                });
            }
        }
    }
    explanations
}

fn one(policy: &Policy, environment: &Environment, prefix: &Prefix, part: Part) -> Explanation {
    let index = part.rule.map(usize::from);
    let rule = index.and_then(|index| policy.rules.get(index));
    Explanation {
        destination: prefix.to_short(),
        verdict: part.verdict.as_str().to_owned(),
        rule: rule.map(|rule| rule.name.clone()),
        reason: rule.and_then(|rule| rule.reason.clone()),
        policy: policy.name.clone(),
        file: policy.file.clone(),
        line: rule.map_or(policy.default_line, |rule| Some(rule.line)),
        hole: None,
        matched: rule.map(|rule| matched(rule, environment, prefix, &part.ports)),
        ports: part.ports,
    }
}

/// The entries of a rule that make it hold: of `to`, and of `ports` where it has any.
fn matched(rule: &Rule, environment: &Environment, prefix: &Prefix, ports: &[PortSpec]) -> String {
    let best = |target: &&Target| closeness(target, environment, prefix);
    let target = rule.to.iter().max_by_key(best);
    let target = target.map(Target::to_string).unwrap_or_default();
    let touching = |spec: &&PortSpec| ports.iter().any(|part| part.intersection(spec).is_some());
    match rule
        .ports
        .iter()
        .filter(touching)
        .min_by_key(|spec| spec.width())
    {
        Some(spec) => format!("{target} {spec}"),
        None => target,
    }
}

/// How closely a target fits a prefix. Best is the longest that contains it. Where the compiler has
/// joined targets none does; then any that lies inside.
fn closeness(target: &Target, environment: &Environment, prefix: &Prefix) -> Option<u8> {
    let fit = |area: Prefix| match area.contains(prefix) {
        true => Some(area.length() + 1),
        false => prefix.contains(&area).then_some(0),
    };
    match target {
        Target::Prefix(area) => fit(*area),
        Target::Name(name) => environment.resolved(name).filter_map(fit).max(),
        Target::Wildcard(_) => None,
        Target::Group(group) => closeness_of_group(*group, environment, prefix, fit),
    }
}

fn closeness_of_group(
    group: Group,
    environment: &Environment,
    prefix: &Prefix,
    fit: impl Fn(Prefix) -> Option<u8>,
) -> Option<u8> {
    let excepted = group.exceptions().iter().any(|e| e.contains(prefix));
    let areas = group.areas(environment).into_iter();
    areas.filter_map(fit).filter(|_| !excepted).max()
}
