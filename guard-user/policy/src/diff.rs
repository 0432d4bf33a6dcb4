//! What another policy opens and closes, exactly: over all addresses, protocols and ports, without a sample.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use guard_common::{Protocol, Verdict};
use serde::Serialize;

use super::{
    compile::{Compiled, Value},
    model::{Policy, Rule},
    ports::PortSpec,
    prefix::Prefix,
};

/// A side of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Side<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// The same, for what its names and groups stand for now.
    pub compiled: &'p Compiled,
}

/// Addresses from one to another, and what changes there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A prefix, or `first - last`.
    pub destination: String,
    /// The same as prefixes, as few as there can be.
    pub prefixes: Vec<Prefix>,
    /// Empty: all; `other` is all but TCP, UDP and ICMP.
    pub ports: Vec<String>,
    /// `more`, `less`, or `otherwise` (HTTP rules differ).
    pub opens: Opens,
    /// The verdict before.
    pub before: &'static str,
    /// The rules that give it; null: the policy's default.
    pub before_rules: Vec<Option<String>>,
    /// The verdict after.
    pub after: &'static str,
    /// The rules that give it; null: the policy's default.
    pub after_rules: Vec<Option<String>>,
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Opens {
    /// More gets through.
    More,
    /// Less does.
    Less,
    /// Both are `read-only`, by other HTTP rules or profiles: neither is the wider one for sure.
    Otherwise,
}

/// What holds there, by verdict and rule.
type Holds = (Verdict, u16);
/// What held, and what holds.
type Shift = (Verdict, Verdict);

/// What changes for some addresses.
#[derive(Clone, Debug, Default)]
struct Shifts {
    /// By ports.
    ports: Vec<(PortSpec, Shift)>,
    /// By which rules, before and after.
    rules: BTreeMap<(u8, u8), [BTreeSet<u16>; 2]>,
}

impl Shifts {
    fn add(&mut self, spec: PortSpec, (was, is): (Holds, Holds)) {
        let shift = (was.0, is.0);
        let [before, after] = self.rules.entry(key(shift)).or_default();
        before.insert(was.1);
        after.insert(is.1);
        match self.ports.last_mut() {
            Some((last, same)) if *same == shift && touches(last, &spec) => last.high = spec.high,
            _ => self.ports.push((spec, shift)),
        }
    }

    /// With the rules of another place where the same changes.
    fn and(&mut self, other: &Self) {
        for (key, [before, after]) in &other.rules {
            let known = self.rules.entry(*key).or_default();
            known[0].extend(before);
            known[1].extend(after);
        }
    }
}

fn key((was, is): Shift) -> (u8, u8) {
    (was as u8, is as u8)
}

fn touches(last: &PortSpec, next: &PortSpec) -> bool {
    last.protocol == next.protocol && last.high.checked_add(1) == Some(next.low)
}

/// All that changes between two policies. Adjacent addresses where the same changes are one [`Change`] for each way
/// in which it does; sorted by address.
#[must_use]
pub fn diff(old: Side<'_>, new: Side<'_>) -> Vec<Change> {
    let mut runs: Vec<(u128, u128, Shifts)> = Vec::new();
    for (first, last) in intervals(old.compiled, new.compiled) {
        let at = Prefix::new(first, 128);
        let values = [old, new].map(|side| side.compiled.longest(&at).map(|(_, value)| *value));
        let [Some(before), Some(after)] = values else {
            continue;
        };
        let shifts = shifts(old, &before, new, &after);
        let same_before = |run: &&mut (u128, u128, Shifts)| {
            run.1.checked_add(1) == Some(first) && run.2.ports == shifts.ports && !is_border(first)
        };
        match runs.last_mut().filter(same_before) {
            Some(run) => {
                run.1 = last;
                run.2.and(&shifts);
            }
            None if shifts.ports.is_empty() => {}
            None => runs.push((first, last, shifts)),
        }
    }
    let changes = runs
        .into_iter()
        .flat_map(|(first, last, shifts)| changes(old, new, (first, last), &shifts));
    changes.collect()
}

/// IPv4 is shown by itself: no range goes from one family into the other.
fn is_border(first: u128) -> bool {
    first == Prefix::IPV4.bits() || first == Prefix::IPV4.last_bits() + 1
}

/// The address space in pieces in each of which either policy has one answer.
fn intervals(old: &Compiled, new: &Compiled) -> Vec<(u128, u128)> {
    let prefixes = [old, new].into_iter().flat_map(|side| &side.prefixes);
    let prefixes = prefixes
        .map(|(prefix, _)| *prefix)
        .chain([Prefix::EVERYTHING, Prefix::IPV4]);
    let mut starts: Vec<u128> = prefixes
        .flat_map(|prefix| [Some(prefix.bits()), prefix.last_bits().checked_add(1)])
        .flatten()
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts[1..].iter().map(|next| next - 1).chain([u128::MAX]);
    starts.iter().copied().zip(ends).collect()
}

/// The protocols that policies tell apart, and one that stands for all others.
const PROTOCOLS: [Protocol; 4] = [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ANY];

/// What changes for an address that one value held for and another one holds for.
fn shifts(old: Side<'_>, before: &Value, new: Side<'_>, after: &Value) -> Shifts {
    let mut shifts = Shifts::default();
    for protocol in PROTOCOLS {
        for (low, high) in pieces(old.compiled, before, new.compiled, after, protocol) {
            let was = holds(old.compiled, before, protocol, low);
            let is = holds(new.compiled, after, protocol, low);
            if changes_at(old, new, was, is) {
                shifts.add(
                    PortSpec {
                        protocol,
                        low,
                        high,
                    },
                    (was, is),
                );
            }
        }
    }
    shifts
}

/// The ports of a protocol in pieces in each of which either value has one answer. Only TCP and UDP have ports.
fn pieces(
    old: &Compiled,
    before: &Value,
    new: &Compiled,
    after: &Value,
    protocol: Protocol,
) -> Vec<(u16, u16)> {
    if !matches!(protocol, Protocol::TCP | Protocol::UDP) {
        return vec![(0, u16::MAX)];
    }
    let ranges = old.ranges(before).iter().chain(new.ranges(after));
    let ranges = ranges.filter(|range| range.protocol.covers(protocol));
    let mut starts: Vec<u16> = ranges
        .flat_map(|range| [Some(range.low), range.high.checked_add(1)])
        .flatten()
        .chain([0])
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts[1..].iter().map(|next| next - 1).chain([u16::MAX]);
    starts.iter().copied().zip(ends).collect()
}

/// What a value says of a port, as the kernel reads it: the first range that covers it, else the verdict.
fn holds(compiled: &Compiled, value: &Value, protocol: Protocol, port: u16) -> Holds {
    let covers = |range: &&guard_common::RangeEntry| match protocol {
        // A protocol that no rule can name.
        Protocol::ANY => range.protocol == Protocol::ANY && range.low <= port && port <= range.high,
        protocol => range.covers(protocol, port),
    };
    match compiled.ranges(value).iter().find(covers) {
        Some(range) => (range.verdict(), range.rule),
        None => (value.verdict, value.rule),
    }
}

fn changes_at(old: Side<'_>, new: Side<'_>, was: Holds, is: Holds) -> bool {
    was.0 != is.0 || (was.0 == Verdict::ReadOnly && !judge_alike(old, new, was.1, is.1))
}

/// Whether two `read-only` rules let the same requests through.
fn judge_alike(old: Side<'_>, new: Side<'_>, was: u16, is: u16) -> bool {
    fn said(
        rule: Option<&Rule>,
    ) -> Option<(&[super::HttpRule], &[super::Profile], &super::ProfileLists)> {
        rule.map(|rule| (&rule.http[..], &rule.profiles[..], &rule.lists))
    }
    said(old.policy.rule(was)) == said(new.policy.rule(is))
}

/// What changes from one address to another: one for each way in which it does.
fn changes(
    old: Side<'_>,
    new: Side<'_>,
    (first, last): (u128, u128),
    shifts: &Shifts,
) -> Vec<Change> {
    let mut ways: Vec<(Shift, Vec<PortSpec>)> = Vec::new();
    for (spec, shift) in &shifts.ports {
        match ways.iter_mut().find(|(known, _)| known == shift) {
            Some((_, specs)) => specs.push(*spec),
            None => ways.push((*shift, vec![*spec])),
        }
    }
    let change = |((was, is), specs): (Shift, Vec<PortSpec>)| {
        let [before, after] = shifts
            .rules
            .get(&key((was, is)))
            .cloned()
            .unwrap_or_default();
        Change {
            destination: range(first, last),
            prefixes: prefixes(first, last),
            ports: ports(&specs),
            opens: opens(was, is),
            before: was.as_str(),
            before_rules: names(old, &before),
            after: is.as_str(),
            after_rules: names(new, &after),
        }
    };
    ways.into_iter().map(change).collect()
}

/// The names of rules; none for the default.
fn names(side: Side<'_>, rules: &BTreeSet<u16>) -> Vec<Option<String>> {
    let name = |rule: &u16| side.policy.rule(*rule).map(|rule| rule.name.clone());
    rules.iter().map(name).collect()
}

fn opens(was: Verdict, is: Verdict) -> Opens {
    match is.strictness().cmp(&was.strictness()) {
        Ordering::Less => Opens::More,
        Ordering::Greater => Opens::Less,
        Ordering::Equal => Opens::Otherwise,
    }
}

/// Empty where it is all of them.
fn ports(specs: &[PortSpec]) -> Vec<String> {
    let is_all = |protocol| specs.contains(&PortSpec::all(protocol));
    if PROTOCOLS.into_iter().all(is_all) {
        return Vec::new();
    }
    let named = specs.iter().map(|spec| match spec.protocol {
        Protocol::ANY => "other".to_owned(),
        _ => spec.to_string(),
    });
    named.collect()
}

/// As people write it.
fn range(first: u128, last: u128) -> String {
    match prefixes(first, last).as_slice() {
        [only] => only.to_short(),
        _ => format!("{} - {}", address(first), address(last)),
    }
}

fn address(bits: u128) -> String {
    match Prefix::IPV4.contains(&Prefix::new(bits, 128)) {
        true => Ipv4Addr::from_bits(bits as u32).to_string(),
        false => Ipv6Addr::from_bits(bits).to_string(),
    }
}

/// The fewest prefixes that are all of it and nothing else.
fn prefixes(mut first: u128, last: u128) -> Vec<Prefix> {
    let mut all = Vec::new();
    loop {
        // The widest that begins here and does not reach beyond the end.
        let aligned = first.trailing_zeros().min(128) as u8;
        let fits = |bits: &u8| match bits {
            128 => first == 0 && last == u128::MAX,
            bits => last - first >= (1_u128 << bits) - 1,
        };
        let bits = (0..=aligned).rev().find(fits).unwrap_or(0);
        let prefix = Prefix::new(first, 128 - bits);
        all.push(prefix);
        match prefix.last_bits() {
            end if end >= last => return all,
            end => first = end + 1,
        }
    }
}
