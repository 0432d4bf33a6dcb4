//! What another policy opens and closes by name. Addresses do not tell: many names share one, and a name may have others tomorrow.

use std::collections::{BTreeSet, HashSet};

use guard_common::{DEFAULT_RULE, Protocol, Verdict, prefix_flags};

use super::{
    super::{
        compile::{Compiled, Value},
        duration::format_duration,
        group::Group,
        model::{DnsNames, Environment, Rule},
        name::NamePattern,
        prefix::{LISTENERS, Prefix},
    },
    CoveringRange, Opens, PROTOCOLS, Side, judge_alike, pieces, range_at, starts,
};

/// A name, or all names below one, of which two policies say something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternChange {
    /// The name, or the wildcard.
    pub pattern: NamePattern,
    /// `more` where any port lets more through, or the name may be asked for and could not.
    pub opens: Opens,
    /// Where `opens` is `more`: whether it lets less through at other ports, or at other addresses that the name may have.
    pub is_mixed: bool,
    /// What the rules say that decide, in words; empty: none does.
    pub before: Vec<String>,
    /// The same after.
    pub after: Vec<String>,
}

/// All names and wildcards of two policies that change, sorted by their text. Both sides are compiled for a machine that judges names
/// ([`Environment::judges_names`]).
#[must_use]
pub fn diff_names(old: Side<'_>, new: Side<'_>, environment: &Environment) -> Vec<PatternChange> {
    let sides = [old, new].map(|side| ByName::new(side, environment));
    let rules = [old, new].into_iter().flat_map(|side| &side.policy.rules);
    let targets = rules.flat_map(|rule| &rule.to);
    let patterns: BTreeSet<_> = targets.filter_map(NamePattern::of).collect();
    let changes = patterns.into_iter();
    let mut changes: Vec<_> = changes.filter_map(|one| change(&sides, one)).collect();
    changes.sort_by_cached_key(|change| change.pattern.to_string());
    changes
}

/// How strict a verdict is: one that looks at TLS is between two others.
pub(super) type Strictness = u8;

const fn rank(verdict: Verdict, by_sni: bool) -> Strictness {
    2 * verdict.strictness() + if by_sni { 1 } else { 0 }
}

/// What a name may get at a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The least strict verdict.
    pub(super) low: Strictness,
    /// The strictest of those that a rule for the name could lift.
    high: Strictness,
}

impl Bounds {
    /// The least strict one, whatever TLS shows.
    pub(super) fn verdict(&self) -> Verdict {
        let all = [Verdict::Allow, Verdict::ReadOnly, Verdict::Confirm];
        let found = all.into_iter().find(|one| self.low <= rank(*one, true));
        found.unwrap_or(Verdict::Deny)
    }

    const fn only(rank: Strictness) -> Self {
        Self {
            low: rank,
            high: rank,
        }
    }
}

/// From a port on.
pub(super) type FromPort = Vec<(u16, Bounds)>;

/// A policy, and what addresses get under it, whatever their names.
struct ByName<'p> {
    side: Side<'p>,
    /// For a name that may have no private addresses, and for one that may: by protocol, from a port on.
    addresses: [Vec<(Protocol, FromPort)>; 2],
    /// The same for what rules say of the names that may be asked for.
    named: Vec<(Protocol, FromPort)>,
}

/// What a policy says of a pattern.
#[derive(Clone, Copy)]
struct SaidOfName<'p> {
    /// That of the narrowest of the policy's patterns that covers it.
    value: Option<&'p Value>,
    /// Whether it may be asked for.
    asked: DnsNames,
}

/// What a value says of a port.
#[derive(Clone, Copy)]
pub(super) struct PortValue {
    verdict: Verdict,
    /// TLS is looked at.
    by_sni: bool,
    rule: u16,
    /// Of a pattern: it opens private addresses, too.
    pub(super) is_private: bool,
}

/// What decides about a name at a port.
enum Decides {
    /// A rule for names.
    Rule(PortValue),
    /// What is said of whichever address the name has.
    Address(Bounds),
}

impl PortValue {
    const fn rank(&self) -> Strictness {
        rank(self.verdict, self.by_sni)
    }
}

impl Decides {
    /// Whether a rule lets private addresses have it, too; none where no rule decides, or one denies.
    fn is_private(&self) -> Option<bool> {
        match self {
            Self::Rule(held) if held.verdict != Verdict::Deny => Some(held.is_private),
            _ => None,
        }
    }

    const fn bounds(&self) -> Bounds {
        match self {
            Self::Rule(held) => Bounds::only(held.rank()),
            Self::Address(bounds) => *bounds,
        }
    }

    const fn rule(&self) -> u16 {
        match self {
            Self::Rule(held) => held.rule,
            Self::Address(_) => DEFAULT_RULE,
        }
    }
}

impl<'p> ByName<'p> {
    fn new(side: Side<'p>, environment: &Environment) -> Self {
        let areas = |groups: &[Group]| -> Vec<Prefix> {
            let areas = groups.iter().flat_map(|group| group.areas(environment));
            areas.collect()
        };
        let (local, private) = (
            areas(&Group::LOCAL),
            areas(&[Group::Private, Group::OnLink]),
        );
        let is_in =
            |areas: &[Prefix], prefix: &Prefix| areas.iter().any(|all| all.contains(prefix));
        let of = |may_be_private: bool| {
            let can_lift = |prefix: &Prefix| {
                !prefix.is_host()
                    && !is_in(&local, prefix)
                    && (may_be_private || !is_in(&private, prefix))
            };
            // No name leads to a listener on the loopback: what holds there is by its address alone.
            let values = side.compiled.prefixes.iter();
            let values: HashSet<_> = values
                .filter(|(prefix, _)| !LISTENERS.contains(prefix))
                .map(|(prefix, value)| (*value, can_lift(prefix)))
                .collect();
            let protocols = PROTOCOLS.into_iter();
            let all = protocols
                .map(|protocol| (protocol, bounds(side.compiled, &values, protocol, |_| true)));
            all.collect()
        };
        let patterns = side.compiled.patterns.iter();
        let is_denied = |value: &Value| value.list.is_none() && value.verdict == Verdict::Deny;
        let named = patterns.filter(|(_, value)| !is_denied(value));
        let named: HashSet<_> = named.map(|(_, value)| (*value, true)).collect();
        let protocols = PROTOCOLS.into_iter().filter(|_| !named.is_empty());
        let named =
            protocols.map(|protocol| (protocol, bounds(side.compiled, &named, protocol, |_| true)));
        Self {
            side,
            addresses: [of(false), of(true)],
            named: named.collect(),
        }
    }

    fn said(&self, pattern: &NamePattern) -> SaidOfName<'p> {
        let Side { policy, compiled } = self.side;
        let mut all = std::iter::once(pattern.clone()).chain(pattern.around());
        let named = all.find(|one| compiled.has_pattern(one));
        let asked = match &named {
            Some(one) if compiled.denies(one) => DnsNames::Rules,
            Some(_) => DnsNames::Any,
            None => policy.names_asked(),
        };
        SaidOfName {
            value: named.and_then(|one| compiled.value_of(one.id())),
            asked,
        }
    }

    /// The least strict that a name gets at a port which may be asked for, or its addresses: what leads by `CNAME` to a name that a rule
    /// speaks of is judged by that rule, too. None: no rule's name may be asked for.
    fn least(&self, protocol: Protocol, port: u16) -> Option<Strictness> {
        let at = |all: &[(Protocol, FromPort)]| {
            let from = all.iter().find(|(of, _)| *of == protocol);
            let bounds = from.and_then(|(_, from)| from.iter().rfind(|(low, _)| *low <= port));
            bounds.map(|(_, bounds)| bounds.low)
        };
        let named = at(&self.named)?;
        Some(at(&self.addresses[1]).map_or(named, |address| named.min(address)))
    }

    /// The ports from which on something else may hold.
    fn starts(&self, said: SaidOfName<'_>, protocol: Protocol) -> impl Iterator<Item = u16> {
        let ranges = said.value.map(|value| self.side.compiled.ranges(value));
        let own = starts(ranges.into_iter().flatten(), protocol);
        let all = self.addresses.iter().chain([&self.named]).flatten();
        let all = all.filter(move |(of, _)| *of == protocol);
        own.chain(all.flat_map(|(_, from)| from.iter().map(|(low, _)| *low)))
    }

    /// The rule for names that decides, if any does.
    fn rule_for(&self, said: SaidOfName<'_>, protocol: Protocol, port: u16) -> Option<PortValue> {
        let held = said
            .value
            .map(|value| holds(self.side.compiled, value, protocol, port));
        held.filter(|held| held.rule != DEFAULT_RULE)
    }

    fn decides(
        &self,
        said: SaidOfName<'_>,
        protocol: Protocol,
        port: u16,
        may_be_private: bool,
    ) -> Decides {
        let by_rule = self.rule_for(said, protocol, port).map(Decides::Rule);
        by_rule.unwrap_or_else(|| {
            let mut all = self.addresses[usize::from(may_be_private)].iter();
            let from = all.find(|(of, _)| *of == protocol);
            let from = from.and_then(|(_, from)| from.iter().rfind(|(low, _)| *low <= port));
            let bounds = from.filter(|_| said.asked != DnsNames::Rules);
            Decides::Address(bounds.map_or(DENIED, |(_, bounds)| *bounds))
        })
    }

    /// The rules that decide for some port, in words; `private`: those that are listed as holding for private addresses.
    fn words(&self, said: SaidOfName<'_>, private: &BTreeSet<u16>) -> Vec<String> {
        let Some(value) = said.value else {
            return Vec::new();
        };
        let ranges = self.side.compiled.ranges(value);
        let rules = ranges.iter().map(|range| range.rule).chain([value.rule]);
        let rules: BTreeSet<_> = rules
            .filter_map(|at| Some((self.side.policy.rule(at)?, private.contains(&at))))
            .map(|(rule, is_told_private)| words(rule, is_told_private))
            .collect();
        rules.into_iter().collect()
    }
}

/// Of a name that nobody can ask for.
const DENIED: Bounds = Bounds::only(rank(Verdict::Deny, false));

/// What values say of a protocol's ports, from each port on where that may change, of what is meant. Each comes with whether a rule for
/// a name can lift it.
pub(super) fn bounds(
    compiled: &Compiled,
    values: &HashSet<(Value, bool)>,
    protocol: Protocol,
    is_meant: impl Fn(&PortValue) -> bool,
) -> FromPort {
    let ranges = values.iter().flat_map(|(value, _)| compiled.ranges(value));
    let pieces = pieces(protocol, starts(ranges, protocol)).into_iter();
    let at = |port| {
        let said = values.iter().filter_map(|(value, can_lift)| {
            let held = Some(holds(compiled, value, protocol, port)).filter(&is_meant)?;
            // No name lifts what a rule denies.
            let is_denied = held.verdict == Verdict::Deny && held.rule != DEFAULT_RULE;
            Some((held.rank(), *can_lift && !is_denied))
        });
        let said: Vec<_> = said.collect();
        let lifted = said.iter().filter(|(_, can_lift)| *can_lift);
        Bounds {
            low: said
                .iter()
                .map(|(rank, _)| *rank)
                .min()
                .unwrap_or(DENIED.low),
            high: lifted.map(|(rank, _)| *rank).max().unwrap_or_default(),
        }
    };
    pieces.map(|(low, _)| (low, at(low))).collect()
}

/// As [`super::holds`], and whether TLS is looked at.
fn holds(compiled: &Compiled, value: &Value, protocol: Protocol, port: u16) -> PortValue {
    match range_at(compiled, value, protocol, port) {
        Some(CoveringRange { range, .. }) => PortValue {
            verdict: range.verdict(),
            by_sni: range.is_by_sni(),
            rule: range.rule,
            is_private: range.is_private(),
        },
        None => PortValue {
            verdict: value.verdict,
            by_sni: false,
            rule: value.rule,
            is_private: value.flags & prefix_flags::PRIVATE != 0 && value.verdict != Verdict::Deny,
        },
    }
}

fn change(sides: &[ByName<'_>; 2], pattern: NamePattern) -> Option<PatternChange> {
    let [old, new] = sides;
    let (was, is) = (old.said(&pattern), new.said(&pattern));
    let is_refused = [was.asked, is.asked] == [DnsNames::Rules; 2];
    if is_refused && was.value.is_some() == is.value.is_some() {
        return None;
    }
    let (mut ways, mut led) = (BTreeSet::new(), None);
    ways.extend((openness(is.asked) > openness(was.asked)).then_some(Opens::More));
    ways.extend((openness(is.asked) < openness(was.asked)).then_some(Opens::Less));
    // The rules of each side that hold for private addresses where the other side's do not.
    let mut private = [BTreeSet::new(), BTreeSet::new()];
    for protocol in PROTOCOLS {
        let all = old.starts(was, protocol).chain(new.starts(is, protocol));
        for (port, _) in pieces(protocol, all) {
            let by_rule = [(old, was), (new, is)].map(|(side, said)| {
                side.rule_for(said, protocol, port)
                    .is_some_and(|held| held.is_private)
            });
            let may_be_private = by_rule[0] || by_rule[1];
            let was = old.decides(was, protocol, port, may_be_private);
            let is = new.decides(is, protocol, port, may_be_private);
            match (was.is_private(), is.is_private()) {
                (Some(false), Some(true)) => {
                    ways.insert(Opens::More);
                    private[1].insert(is.rule());
                }
                (Some(true), Some(false)) => {
                    ways.insert(Opens::Less);
                    private[0].insert(was.rule());
                }
                _ => {}
            }
            ways.extend(way([old.side, new.side], &was, &is));
            led = led.or_else(|| led_to([old, new], protocol, port, &was, &is));
        }
    }
    let opens = ways.first().copied().or(led)?;
    let is_mixed = opens == Opens::More && ways.contains(&Opens::Less);
    Some(PatternChange {
        pattern,
        opens,
        is_mixed,
        before: old.words(was, &private[0]),
        after: new.words(is, &private[1]),
    })
}

const fn openness(asked: DnsNames) -> u8 {
    match asked {
        DnsNames::Rules => 0,
        DnsNames::Ask => 1,
        DnsNames::Any => 2,
    }
}

/// Which ways a port changes: none, one, or both where it depends on the address.
fn way([old, new]: [Side<'_>; 2], was: &Decides, is: &Decides) -> Vec<Opens> {
    if let (Decides::Address(_), Decides::Address(_)) = (was, is) {
        return Vec::new();
    }
    let (before, after) = (was.bounds(), is.bounds());
    let mut ways = Vec::new();
    ways.extend((after.low < before.high).then_some(Opens::More));
    ways.extend((after.high > before.low).then_some(Opens::Less));
    if !ways.is_empty() {
        return ways;
    }
    // The verdict is the same, whatever the address.
    let is_otherwise = before.low == rank(Verdict::ReadOnly, false)
        && !judge_alike(old, new, was.rule(), is.rule());
    let longest = |side: Side<'_>, rule| side.policy.longest_hole(side.policy.rule(rule));
    let (before, after) = (longest(old, was.rule()), longest(new, is.rule()));
    // Where the policy itself says otherwise, its setting is listed.
    let by_rule = (before, after) != (longest(old, DEFAULT_RULE), longest(new, DEFAULT_RULE));
    let stops = [Verdict::Confirm, Verdict::ReadOnly].map(|verdict| rank(verdict, false));
    let lasts = by_rule && before != after && stops.contains(&was.bounds().low);
    ways.extend((is_otherwise || lasts).then_some(Opens::Otherwise));
    ways
}

/// Which way a port changes for another name that leads to this one, of which a rule speaks on one side alone.
fn led_to(
    [old, new]: [&ByName<'_>; 2],
    protocol: Protocol,
    port: u16,
    was: &Decides,
    is: &Decides,
) -> Option<Opens> {
    let (side, rule, opens) = match (was, is) {
        (Decides::Address(_), Decides::Rule(held)) => (new, held.rank(), Opens::Less),
        (Decides::Rule(held), Decides::Address(_)) => (old, held.rank(), Opens::More),
        _ => return None,
    };
    let least = side.least(protocol, port)?;
    (least < rule).then_some(opens)
}

/// What a rule does, at which ports, and how long holes last by it.
fn words(rule: &Rule, is_told_private: bool) -> String {
    let ports: Vec<_> = rule.ports.iter().map(ToString::to_string).collect();
    let ports = if ports.is_empty() {
        "all".to_owned()
    } else {
        ports.join(",")
    };
    let private = if rule.private || is_told_private {
        " private"
    } else {
        ""
    };
    let tls = if rule.by_sni { " tls=name" } else { "" };
    let longest = rule.max_hole.map(format_duration);
    let longest = longest.map_or_else(String::new, |most| format!(" max_hole={most}"));
    format!("{} {ports}{private}{tls}{longest}", rule.action.as_str())
}
