//! What another policy opens and closes, exactly: over all addresses, protocols and ports, without a sample.

mod by_name;
mod names;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use guard_common::{DEFAULT_RULE, Protocol, RangeEntry, Verdict, prefix_flags};
use serde::Serialize;

pub use self::{
    by_name::diff_by_name,
    names::{PatternChange, diff_names},
};
use super::{
    compile::{Compiled, Value},
    model::{Policy, Rule},
    ports::PortSpec,
    prefix::{LISTENERS, Prefix},
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
pub struct AddressChange {
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

/// Which way a change goes. Of several, the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Opens {
    /// More gets through.
    More,
    /// Both are `read-only`, by other HTTP rules or profiles: neither is the wider one for sure.
    Otherwise,
    /// Less does.
    Less,
}

/// Addresses from one to another where holes may last otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoleChange {
    /// A prefix, or `first - last`.
    pub destination: String,
    /// Empty: all; `other` is all but TCP, UDP and ICMP.
    pub ports: Vec<String>,
    /// How long at most before.
    pub before: Duration,
    /// How long at most after.
    pub after: Duration,
}

/// Addresses from one to another where an approver would read something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordChange {
    /// A prefix, or `first - last`.
    pub destination: String,
    /// The rule before; none: the default.
    pub before: Option<String>,
    /// The rule after; none: the default.
    pub after: Option<String>,
}

/// What holds at a port of an address.
#[derive(Clone, Copy, Debug)]
struct Holds {
    verdict: Verdict,
    /// The rule that gives it.
    rule: u16,
    /// Which names can make it less strict.
    lifted: Lifted,
}

/// Which names can make what holds at an address less strict, as [`guard_common::NamesSaid::over`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifted {
    Never,
    /// Names that may have private addresses.
    ByPrivate,
    ByAny,
}

/// A port of some addresses under both policies.
#[derive(Clone, Copy, Debug)]
struct At {
    protocol: Protocol,
    port: u16,
    was: Holds,
    is: Holds,
}

/// What held, and what holds: verdicts, rules, or how long a hole lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shift<T> {
    was: T,
    is: T,
}

/// Addresses from one to another where the same changes.
struct AddressRun<T> {
    first: u128,
    last: u128,
    shifts: Shifts<T>,
}

/// What changes for some addresses.
#[derive(Clone, Debug)]
struct Shifts<T> {
    /// By ports.
    ports: Vec<(PortSpec, Shift<T>)>,
    /// By which rules, before and after.
    rules: BTreeMap<Shift<T>, [BTreeSet<u16>; 2]>,
}

impl<T: Copy + Ord> Shifts<T> {
    const fn none() -> Self {
        Self {
            ports: Vec::new(),
            rules: BTreeMap::new(),
        }
    }

    fn add(&mut self, spec: PortSpec, shift: Shift<T>, rules: Shift<u16>) {
        let [before, after] = self.rules.entry(shift).or_default();
        before.insert(rules.was);
        after.insert(rules.is);
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

fn touches(last: &PortSpec, next: &PortSpec) -> bool {
    last.protocol == next.protocol && last.high.checked_add(1) == Some(next.low)
}

/// All that changes between two policies. Adjacent addresses where the same changes are one [`AddressChange`] for each way
/// in which it does; sorted by address.
#[must_use]
pub fn diff(old: Side<'_>, new: Side<'_>) -> Vec<AddressChange> {
    let shift = |At { was, is, .. }: At| {
        let changes = changes_at(old, new, was, is);
        changes.then_some(Shift {
            was: OrderedVerdict(was.verdict),
            is: OrderedVerdict(is.verdict),
        })
    };
    by_verdict(old, new, &[], shift)
}

/// Where replies to connections from outside are `allow` and become `deny`, or the other way round, and a session itself may
/// connect to nothing before and after: under `inbound`, a `deny` of a rule stops them, and that of the default does not.
#[must_use]
pub fn diff_replies(old: Side<'_>, new: Side<'_>) -> Vec<AddressChange> {
    if !old.policy.inbound || !new.policy.inbound {
        // None pass on either side, or the setting's own change is listed.
        return Vec::new();
    }
    let replies = |holds: Holds| match holds.rule {
        DEFAULT_RULE => Verdict::Allow,
        _ => Verdict::Deny,
    };
    let shift = |At { was, is, .. }: At| {
        let denied = [was, is].iter().all(|one| one.verdict == Verdict::Deny);
        let (was, is) = (OrderedVerdict(replies(was)), OrderedVerdict(replies(is)));
        (denied && was != is).then_some(Shift { was, is })
    };
    by_verdict(old, new, &[], shift)
}

/// The changes of what a verdict stands for.
fn by_verdict(
    old: Side<'_>,
    new: Side<'_>,
    borders: &[RangeEntry],
    shift: impl Fn(At) -> Option<Shift<OrderedVerdict>>,
) -> Vec<AddressChange> {
    let runs = runs(old, new, borders, shift).into_iter();
    runs.flat_map(|run| changes(old, new, &run)).collect()
}

/// Where a hole may last otherwise than before: at all that a connection is stopped by on both sides. What is let through, or
/// denied, on one of them [`diff`] tells.
#[must_use]
pub fn diff_holes(old: Side<'_>, new: Side<'_>) -> Vec<HoleChange> {
    let longest = |side: Side<'_>, holds: Holds| {
        let stops = matches!(holds.verdict, Verdict::Confirm | Verdict::ReadOnly);
        stops.then(|| side.policy.longest_hole(side.policy.rule(holds.rule)))
    };
    let shift = |At { was, is, .. }: At| {
        let (was, is) = (longest(old, was)?, longest(new, is)?);
        (was != is).then_some(Shift { was, is })
    };
    let runs = runs(old, new, &[], shift).into_iter();
    let changes = runs.flat_map(|run| {
        let ways = by_way(&run.shifts).into_iter();
        ways.map(move |(shift, specs)| HoleChange {
            destination: range(run.first, run.last),
            ports: ports(&specs),
            before: shift.was,
            after: shift.is,
        })
    });
    changes.collect()
}

/// Where an approver is asked before and after, and would read something else: by another rule name, or with another reason.
#[must_use]
pub fn diff_words(old: Side<'_>, new: Side<'_>) -> Vec<WordChange> {
    let shift = |At { was, is, .. }: At| {
        let is_asked = [was.verdict, is.verdict]
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Confirm | Verdict::ReadOnly));
        let [before, after] = [(old, was.rule), (new, is.rule)]
            .map(|(side, rule)| side.policy.rule(rule).map(Rule::words));
        (is_asked && before != after).then_some(Shift {
            was: was.rule,
            is: is.rule,
        })
    };
    let runs = runs(old, new, &[], shift).into_iter();
    let changes = runs.flat_map(|run| {
        let ways = by_way(&run.shifts).into_iter();
        ways.map(move |(rules, _)| WordChange {
            destination: range(run.first, run.last),
            before: old.policy.rule(rules.was).map(|rule| rule.name.clone()),
            after: new.policy.rule(rules.is).map(|rule| rule.name.clone()),
        })
    });
    changes.collect()
}

/// A verdict, ordered for maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OrderedVerdict(Verdict);

impl Ord for OrderedVerdict {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0 as u8).cmp(&(other.0 as u8))
    }
}

impl PartialOrd for OrderedVerdict {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where there is a shift: adjacent addresses with the same ones together, sorted by address. There may be one where the ranges
/// of both begin and end, and those of `borders`.
fn runs<T: Copy + Ord>(
    old: Side<'_>,
    new: Side<'_>,
    borders: &[RangeEntry],
    shift: impl Fn(At) -> Option<Shift<T>>,
) -> Vec<AddressRun<T>> {
    let mut runs: Vec<AddressRun<T>> = Vec::new();
    for (first, last) in intervals(old.compiled, new.compiled) {
        let at = Prefix::new(first, 128);
        let values = [old, new].map(|side| side.compiled.longest(&at).map(|(_, value)| *value));
        let [Some(before), Some(after)] = values else {
            continue;
        };
        let was = SideValue {
            side: old,
            value: &before,
        };
        let is = SideValue {
            side: new,
            value: &after,
        };
        let shifts = shifts(was, is, borders, &shift);
        let same_before = |run: &&mut AddressRun<T>| {
            let is_next = run.last.checked_add(1) == Some(first) && !is_border(first);
            is_next && run.shifts.ports == shifts.ports
        };
        match runs.last_mut().filter(same_before) {
            Some(run) => {
                run.last = last;
                run.shifts.and(&shifts);
            }
            None if shifts.ports.is_empty() => {}
            None => runs.push(AddressRun {
                first,
                last,
                shifts,
            }),
        }
    }
    runs
}

/// IPv4 is shown by itself: no range goes from one family into the other.
fn is_border(first: u128) -> bool {
    first == Prefix::IPV4.bits() || first == Prefix::IPV4.last_bits() + 1
}

/// The address space in pieces in each of which either policy has one answer.
fn intervals(old: &Compiled, new: &Compiled) -> Vec<(u128, u128)> {
    let prefixes = [old, new].into_iter().flat_map(|side| &side.prefixes);
    // What holds at listeners on the loopback follows from what holds at the loopback and at this machine.
    let prefixes = prefixes
        .filter(|(prefix, _)| !LISTENERS.contains(prefix))
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

/// What a side says of an address.
#[derive(Clone, Copy)]
struct SideValue<'v> {
    side: Side<'v>,
    value: &'v Value,
}

impl SideValue<'_> {
    fn holds(self, protocol: Protocol, port: u16) -> Holds {
        holds(self.side.compiled, self.value, protocol, port)
    }
}

/// What changes for an address that one value held for and another one holds for.
fn shifts<T: Copy + Ord>(
    old: SideValue<'_>,
    new: SideValue<'_>,
    borders: &[RangeEntry],
    shift: impl Fn(At) -> Option<Shift<T>>,
) -> Shifts<T> {
    let mut shifts = Shifts::none();
    for protocol in PROTOCOLS {
        let ranges = old.side.compiled.ranges(old.value).iter();
        let ranges = ranges.chain(new.side.compiled.ranges(new.value));
        let ranges = ranges.chain(borders);
        for (low, high) in pieces(protocol, starts(ranges, protocol)) {
            let at = At {
                protocol,
                port: low,
                was: old.holds(protocol, low),
                is: new.holds(protocol, low),
            };
            if let Some(shift) = shift(at) {
                let spec = PortSpec {
                    protocol,
                    low,
                    high,
                };
                let rules = Shift {
                    was: at.was.rule,
                    is: at.is.rule,
                };
                shifts.add(spec, shift, rules);
            }
        }
    }
    shifts
}

/// The ports of a protocol in pieces that begin at port 0 and at `starts`. Only TCP and UDP have ports.
fn pieces(protocol: Protocol, starts: impl Iterator<Item = u16>) -> Vec<(u16, u16)> {
    if !matches!(protocol, Protocol::TCP | Protocol::UDP) {
        return vec![(0, u16::MAX)];
    }
    let mut starts: Vec<_> = starts.chain([0]).collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts[1..].iter().map(|next| next - 1).chain([u16::MAX]);
    starts.iter().copied().zip(ends).collect()
}

/// Where ranges begin, and where what is behind them does.
fn starts<'r>(
    ranges: impl Iterator<Item = &'r RangeEntry>,
    protocol: Protocol,
) -> impl Iterator<Item = u16> {
    let ranges = ranges.filter(move |range| range.protocol.covers(protocol));
    let starts = ranges.flat_map(|range| [Some(range.low), range.high.checked_add(1)]);
    starts.flatten()
}

/// What a value says of a port, as the kernel reads it: the first range that covers it, else the verdict.
fn holds(compiled: &Compiled, value: &Value, protocol: Protocol, port: u16) -> Holds {
    let (verdict, rule, is_own) = match range_at(compiled, value, protocol, port) {
        Some(CoveringRange { range, is_own }) => (range.verdict(), range.rule, is_own),
        None => {
            let is_own = value.flags & prefix_flags::HOST != 0;
            (value.verdict, value.rule, is_own)
        }
    };
    let is_denied = verdict == Verdict::Deny && rule != DEFAULT_RULE;
    let is_local = value.flags & prefix_flags::LOCAL != 0;
    let lifted = match value.flags & prefix_flags::PRIVATE {
        _ if is_denied || is_own || is_local => Lifted::Never,
        0 => Lifted::ByAny,
        _ => Lifted::ByPrivate,
    };
    Holds {
        verdict,
        rule,
        lifted,
    }
}

/// The range that covers a port.
struct CoveringRange<'c> {
    range: &'c RangeEntry,
    /// Whether it is of a rule for that very address.
    is_own: bool,
}

/// The range that covers a port, if one does.
fn range_at<'c>(
    compiled: &'c Compiled,
    value: &Value,
    protocol: Protocol,
    port: u16,
) -> Option<CoveringRange<'c>> {
    let own = value.list.and_then(|list| compiled.lists.get(list.get()));
    let own = own.map_or(0, |list| usize::from(list.own));
    let covers = |range: &RangeEntry| match protocol {
        // A protocol that no rule can name.
        Protocol::ANY => range.protocol == Protocol::ANY && range.low <= port && port <= range.high,
        protocol => range.covers(protocol, port),
    };
    let mut ranges = compiled.ranges(value).iter().enumerate();
    let found = ranges.find(|(_, range)| covers(range));
    found.map(|(at, range)| CoveringRange {
        range,
        is_own: at < own,
    })
}

fn changes_at(old: Side<'_>, new: Side<'_>, was: Holds, is: Holds) -> bool {
    was.verdict != is.verdict
        || (was.verdict == Verdict::ReadOnly && !judge_alike(old, new, was.rule, is.rule))
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
fn changes(old: Side<'_>, new: Side<'_>, run: &AddressRun<OrderedVerdict>) -> Vec<AddressChange> {
    let change = |(shift, specs): (Shift<OrderedVerdict>, Vec<PortSpec>)| {
        let [before, after] = run.shifts.rules.get(&shift).cloned().unwrap_or_default();
        let (was, is) = (shift.was.0, shift.is.0);
        AddressChange {
            destination: range(run.first, run.last),
            prefixes: prefixes(run.first, run.last),
            ports: ports(&specs),
            opens: opens(was, is),
            before: was.as_str(),
            before_rules: names(old, &before),
            after: is.as_str(),
            after_rules: names(new, &after),
        }
    };
    by_way(&run.shifts).into_iter().map(change).collect()
}

/// The ports of each shift.
fn by_way<T: Copy + Ord>(shifts: &Shifts<T>) -> Vec<(Shift<T>, Vec<PortSpec>)> {
    let mut ways: Vec<(Shift<T>, Vec<PortSpec>)> = Vec::new();
    for (spec, shift) in &shifts.ports {
        match ways.iter_mut().find(|(known, _)| known == shift) {
            Some((_, specs)) => specs.push(*spec),
            None => ways.push((*shift, vec![*spec])),
        }
    }
    ways
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
    if Prefix::IPV4.contains(&Prefix::new(bits, 128)) {
        Ipv4Addr::from_bits(bits as u32).to_string()
    } else {
        Ipv6Addr::from_bits(bits).to_string()
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
