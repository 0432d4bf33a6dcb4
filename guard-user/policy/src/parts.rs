//! Which answers lie inside a prefix and a set of ports.

use guard_common::{DEFAULT_RULE, Protocol, Verdict};

use super::{
    compile::{Compiled, Value},
    name::NamePattern,
    ports::PortSpec,
    prefix::Prefix,
    spans::Covered,
};

/// Ports that one rule, or the default, decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Empty means all that no other part has.
    pub(super) ports: Vec<PortSpec>,
    pub(super) verdict: Verdict,
    /// Where TLS shows a name that the policy allows.
    pub(super) by_sni: bool,
    /// Index of the rule; none where the default decides.
    pub(super) rule: Option<u16>,
}

impl Compiled {
    /// The prefixes that decide for some address of `within`, wider ones first. The first is
    /// `within` itself in place of the one that covers it.
    pub(super) fn deciding(&self, within: &Prefix) -> Vec<(Prefix, &Value)> {
        let around = self.longest(within).map(|(_, value)| (*within, value));
        let after = |(prefix, _): &(Prefix, Value)| prefix <= within;
        let inside = &self.prefixes[self.prefixes.partition_point(after)..];
        let inside = inside.iter().take_while(|(p, _)| within.contains(p));
        let inside = inside.map(|(prefix, value)| (*prefix, value));
        let mut all: Vec<_> = around.into_iter().chain(inside).collect();
        let mut hidden = hidden(&all).into_iter();
        all.retain(|_| !hidden.next().unwrap_or(false));
        all
    }

    /// Who decides which of `ports`, in the order in which they are tried. No ports means all.
    pub(super) fn parts(&self, value: &Value, ports: &[PortSpec]) -> Vec<Part> {
        let mut parts = Vec::new();
        match ports {
            [] => self.parts_of(value, &PortSpec::all(Protocol::ANY), &mut parts),
            specs => {
                for spec in specs {
                    self.parts_of(value, spec, &mut parts);
                }
            }
        }
        parts
    }

    /// The same for a name that a pattern covers. What its rules leave out the default decides.
    pub(super) fn parts_of_name(
        &self,
        pattern: Option<&NamePattern>,
        default: Verdict,
        ports: &[PortSpec],
    ) -> Vec<Part> {
        let by_default = Value {
            verdict: default,
            rule: DEFAULT_RULE,
            list: None,
            flags: 0,
        };
        let value = pattern.and_then(|pattern| self.value_of(pattern.id()));
        let parts = self
            .parts(&value.copied().unwrap_or(by_default), ports)
            .into_iter();
        let parts = parts.map(|part| match part.rule {
            Some(_) => part,
            None => Part {
                verdict: default,
                ..part
            },
        });
        parts.collect()
    }

    fn parts_of(&self, value: &Value, asked: &PortSpec, parts: &mut Vec<Part>) {
        let mut covered = Covered::default();
        for range in self.ranges(value) {
            let spec = PortSpec {
                protocol: range.protocol,
                low: range.low,
                high: range.high,
            };
            let Some(both) = spec.intersection(asked) else {
                continue;
            };
            if covered.add(both.protocol, both.low, both.high) {
                let (verdict, by_sni) = (range.verdict(), range.is_by_sni());
                add(parts, verdict, by_sni, range.rule, Some(both));
            }
        }
        let any = asked.protocol == Protocol::ANY;
        if any || !covered.has_all(asked.protocol, asked.low, asked.high) {
            let spec = (!any).then_some(*asked);
            add(parts, value.verdict, false, value.rule, spec);
        }
    }
}

/// Adds ports to the part of which the same rule says the same, or a new part. No port means the rest: no range comes from the
/// rule that decides that, since it has no ports, but what it says of ports where TLS has to show a name; nor from the default.
fn add(parts: &mut Vec<Part>, verdict: Verdict, by_sni: bool, rule: u16, spec: Option<PortSpec>) {
    let rule = (rule != DEFAULT_RULE).then_some(rule);
    let is_same =
        |part: &&mut Part| (part.rule, part.verdict, part.by_sni) == (rule, verdict, by_sni);
    match parts.iter_mut().find(is_same) {
        Some(part) => part.ports.extend(spec),
        None => parts.push(Part {
            ports: spec.into_iter().collect(),
            verdict,
            by_sni,
            rule,
        }),
    }
}

/// Which of these prefixes, sorted and the first containing all others, decide for no address
/// because longer ones among them cover all of theirs.
fn hidden(sorted: &[(Prefix, &Value)]) -> Vec<bool> {
    // Per open prefix: its index, and how many of its addresses longer ones have so far. The count
    // wraps to zero at 2^128, which is the size of `::/0` written in 128 bits.
    let mut open: Vec<(usize, u128)> = Vec::new();
    let mut hidden = vec![false; sorted.len()];
    let size = |prefix: &Prefix| match prefix.length() {
        0 => 0,
        length => 1_u128 << (128 - length),
    };
    let mut has_inner = vec![false; sorted.len()];
    let mut close = |(index, taken): (usize, u128), has_inner: &[bool]| {
        hidden[index] = has_inner[index] && taken == size(&sorted[index].0);
    };
    for (index, (prefix, _)) in sorted.iter().enumerate() {
        while let Some(done) = open.pop_if(|(outer, _)| !sorted[*outer].0.contains(prefix)) {
            close(done, &has_inner);
        }
        if let Some((outer, taken)) = open.last_mut() {
            *taken = taken.wrapping_add(size(prefix));
            has_inner[*outer] = true;
        }
        open.push((index, 0));
    }
    while let Some(done) = open.pop() {
        close(done, &has_inner);
    }
    hidden
}
