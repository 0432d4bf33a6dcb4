//! What a hole would meet: every verdict inside a prefix and a set of ports.

use std::{cmp::Reverse, collections::HashSet, time::Duration};

use guard_common::Verdict;

use super::{
    compile::Compiled,
    known::NamedAt,
    model::{Policy, Rule},
    parts::Part,
    ports::PortSpec,
    prefix::Prefix,
};

/// A verdict that is met, and the rule that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met<'p> {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule; none where the default decides.
    pub rule: Option<&'p Rule>,
}

impl Met<'_> {
    /// Whether it stops connections that a hole could let through.
    #[must_use]
    pub const fn stops(&self) -> bool {
        matches!(self.verdict, Verdict::Confirm | Verdict::ReadOnly)
    }
}

/// All that decides for some connection to a prefix and ports, the strictest first, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage<'p> {
    /// Never empty.
    pub met: Vec<Met<'p>>,
    longest: Option<Duration>,
}

/// What a hole there would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening<'p> {
    /// It would change something.
    Possible {
        /// It may last this long at most: what the least patient rule that stops says.
        longest: Duration,
    },
    /// Nothing stops connections there that a hole could let through, and some pass.
    AlreadyAllowed,
    /// All is denied, and no hole changes that.
    Denied {
        /// The rule that denies, or one of them; none where the default does.
        rule: Option<&'p Rule>,
    },
}

/// What decides for connections to some address of `within` and some of `ports`; no ports means all.
#[must_use]
pub fn over<'p>(
    policy: &'p Policy,
    compiled: &Compiled,
    within: &Prefix,
    ports: &[PortSpec],
) -> Coverage<'p> {
    let deciding = compiled.deciding(within);
    let values: HashSet<_> = deciding.into_iter().map(|(_, value)| value).collect();
    let parts = values
        .into_iter()
        .flat_map(|value| compiled.parts(value, ports));
    Coverage::of(policy, parts)
}

/// The same at an address that a session knows by names, which count until their time is over.
#[must_use]
pub fn over_known<'p>(
    policy: &'p Policy,
    compiled: &Compiled,
    address: &Prefix,
    ports: &[PortSpec],
    known: NamedAt<'_>,
) -> Coverage<'p> {
    let parts = compiled.parts_known(address, known, ports);
    Coverage::of(policy, parts.into_iter())
}

impl<'p> Coverage<'p> {
    fn of(policy: &'p Policy, parts: impl Iterator<Item = Part>) -> Self {
        let mut met: Vec<_> = parts.map(|part| (part.verdict, part.rule)).collect();
        met.sort_unstable_by_key(|(verdict, rule)| (Reverse(verdict.strictness()), *rule));
        met.dedup();
        let met = met.into_iter().map(|(verdict, rule)| Met {
            verdict,
            rule: rule.and_then(|index| policy.rule(index)),
        });
        Self::new(policy, met.collect())
    }

    fn new(policy: &Policy, met: Vec<Met<'p>>) -> Self {
        let longest = met.iter().filter(|met| met.stops());
        let longest = longest.map(|met| policy.longest_hole(met.rule)).min();
        Self { met, longest }
    }

    /// With all that another prefix meets: a hole for a name or a group has several.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for met in other.met {
            if !self.met.contains(&met) {
                self.met.push(met);
            }
        }
        self.met
            .sort_by_key(|met| Reverse(met.verdict.strictness()));
        self.longest = match (self.longest, other.longest) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self
    }

    /// What a hole there would do.
    #[must_use]
    pub fn opening(&self) -> Opening<'p> {
        if let Some(longest) = self.longest {
            return Opening::Possible { longest };
        }
        let denied = |met: &&Met<'_>| met.verdict == Verdict::Deny;
        if self.met.iter().all(|met| denied(&met)) {
            Opening::Denied {
                rule: self.met.iter().find_map(|met| met.rule),
            }
        } else {
            Opening::AlreadyAllowed
        }
    }
}
