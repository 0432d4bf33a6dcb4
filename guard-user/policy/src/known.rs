//! What holds for an address that a session knows by names: a name counts as a rule for it, as the kernel half has it.

use std::{collections::BTreeSet, fmt};

use guard_common::{
    BootTime, Connection, DEFAULT_RULE, Learned, NameId, Named, PolicyId, PolicyVerdict, Protocol,
    RangeEntry, named_verdict, prefix_flags, said_of,
};

use super::{
    compile::Compiled, invalid::quoted, model::Policy, parts::Part, ports::PortSpec, prefix::Prefix,
};

/// Before all: what is known by names counts then, also that whose time is over.
const EVER: BootTime = BootTime(0);

/// By which names a session knows an address, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct NamedAt<'a> {
    /// The patterns of the names, each with the time until which it counts.
    pub named: &'a Named,
    /// The moment.
    pub now: BootTime,
}

/// A rule that has a name by which a session knows an address, and opens nothing at that address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Barred {
    /// The time of the name's answer is over: another look-up heals that.
    IsOver {
        /// The rule, in quotes.
        rule: String,
    },
    /// No look-up helps.
    ByAddress {
        /// The rule, in quotes.
        rule: String,
        /// Why, in words.
        why: &'static str,
    },
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsOver { rule } => write!(
                f,
                "{rule} has the name, and the time of its answer is over: look it up again"
            ),
            Self::ByAddress { rule, why } => write!(f, "{rule} has the name, and {why}"),
        }
    }
}

/// Returns the rule that has a name by which a session knows an address, where it opens nothing at that address. None where it would
/// open nothing more.
#[must_use]
pub fn barred(
    policy: &Policy,
    compiled: &Compiled,
    to: &Connection,
    known: NamedAt<'_>,
) -> Option<Barred> {
    let NamedAt { named, now } = known;
    let lookup = compiled.lookup();
    let says = |pattern| said_of(&lookup, PolicyId(0), pattern, to);
    let base = says(NameId(0)).verdict;
    let flag = |flag: u8| base.flags & flag != 0;
    let (is_local, is_private) = (flag(prefix_flags::LOCAL), flag(prefix_flags::PRIVATE));
    let decides = named_verdict(says, Some(named), EVER);
    if !(is_local || is_private) || decides.rule != base.rule {
        let decides_now = named_verdict(says, Some(named), now);
        let is_less = decides_now.verdict.strictness() <= decides.verdict.strictness();
        let rule = policy.rule(decides.rule).filter(|_| !is_less)?;
        let rule = quoted(&rule.name);
        return Some(Barred::IsOver { rule });
    }
    let learned = named.patterns.iter().filter(|one| one.counts(EVER));
    let mut said = learned.map(|one| says(one.pattern));
    let barred = said.find(|one| {
        let is_open = one.verdict.verdict.strictness() < base.verdict.strictness();
        is_open && (is_local || !one.may_be_private())
    })?;
    let rule = policy.rule(barred.verdict.rule)?;
    let why = if is_local {
        "no name opens an address of @loopback, @link-local, @metadata, @multicast or @guarded-host"
    } else {
        "it opens no address of @private or @on-link without private = true"
    };
    let rule = quoted(&rule.name);
    Some(Barred::ByAddress { rule, why })
}

/// What a session would know the addresses of a name by, once it has asked for it.
pub(super) fn by_pattern(pattern: NameId) -> Named {
    let mut named = Named::default();
    if let Some(first) = named.patterns.first_mut() {
        *first = Learned {
            pattern,
            until: BootTime(u64::MAX),
        };
    }
    named
}

/// A protocol that no policy speaks of (RFC 3692, for experiments): what holds for it holds for all that no rule's ports name.
pub(super) const UNNAMED: Protocol = Protocol(253);

impl Compiled {
    /// Who decides which of `ports` at an address that a session knows by these names. No ports means all.
    pub(super) fn parts_known(
        &self,
        address: &Prefix,
        known: NamedAt<'_>,
        ports: &[PortSpec],
    ) -> Vec<Part> {
        let NamedAt { named, now } = known;
        let lookup = self.lookup();
        let judged = |protocol, port| {
            let to = Connection::new(address.address(), protocol, port);
            let says = |pattern| said_of(&lookup, PolicyId(0), pattern, &to);
            decided(&named_verdict(says, Some(named), now))
        };
        let ranges = self.ranges_known(address, named);
        let all = [PortSpec::all(Protocol::ANY)];
        let asked = if ports.is_empty() { &all[..] } else { ports };
        let mut parts: Vec<Part> = Vec::new();
        for spec in asked {
            let rest = (spec.protocol == Protocol::ANY).then(|| judged(UNNAMED, spec.low));
            for piece in pieces(spec, &ranges) {
                let part = judged(piece.protocol, piece.low);
                if rest.as_ref() != Some(&part) {
                    add(&mut parts, part, piece);
                }
            }
            // Without ports of its own it is about all that the others do not name.
            parts.extend(rest);
        }
        parts
    }

    /// The port ranges of the address and of the patterns.
    fn ranges_known(&self, address: &Prefix, named: &Named) -> Vec<RangeEntry> {
        let of_address = self.longest(address).map(|(_, value)| value);
        let patterns = named.patterns.iter().map(|learned| learned.pattern);
        let of_names = patterns.filter_map(|pattern| self.value_of(pattern));
        let values = of_address.into_iter().chain(of_names);
        let ranges = values.flat_map(|value| self.ranges(value));
        ranges.copied().collect()
    }
}

/// Ports of which one range says the same as of all others in it.
fn pieces(asked: &PortSpec, ranges: &[RangeEntry]) -> Vec<PortSpec> {
    let protocols: BTreeSet<_> = match asked.protocol {
        Protocol::ANY => ranges.iter().map(|range| range.protocol).collect(),
        protocol => [protocol].into(),
    };
    let mut out = Vec::new();
    for protocol in protocols {
        let own = ranges
            .iter()
            .filter(|range| range.protocol.covers(protocol));
        let bounds = own.flat_map(|range| [Some(range.low), range.high.checked_add(1)]);
        let bounds = bounds
            .flatten()
            .filter(|port| (asked.low..=asked.high).contains(port));
        let bounds: BTreeSet<_> = bounds.chain([asked.low]).collect();
        let mut next = bounds.iter().skip(1);
        for low in &bounds {
            let high = next.next().map_or(asked.high, |next| next - 1);
            out.push(PortSpec {
                protocol,
                low: *low,
                high,
            });
        }
    }
    out
}

/// A verdict of the kernel half, for no ports yet.
fn decided(verdict: &PolicyVerdict) -> Part {
    Part {
        ports: Vec::new(),
        verdict: verdict.verdict,
        by_sni: verdict.flags & prefix_flags::BY_SNI != 0,
        rule: (verdict.rule != DEFAULT_RULE).then_some(verdict.rule),
    }
}

/// Adds ports to the part that says the same of others, or a new part. What lies side by side becomes one.
fn add(parts: &mut Vec<Part>, part: Part, piece: PortSpec) {
    let same = |one: &&mut Part| {
        let is_same = (one.verdict, one.by_sni, one.rule) == (part.verdict, part.by_sni, part.rule);
        is_same && !one.ports.is_empty()
    };
    let Some(found) = parts.iter_mut().find(same) else {
        parts.push(Part {
            ports: vec![piece],
            ..part
        });
        return;
    };
    match found.ports.last_mut() {
        Some(last)
            if last.protocol == piece.protocol && last.high.checked_add(1) == Some(piece.low) =>
        {
            last.high = piece.high;
        }
        _ => found.ports.push(piece),
    }
}
