//! AddressVerdicts: the verdict for each port of an address, and the rule that gives it. Equal ones are made once.

use std::collections::HashMap;

use guard_common::{DEFAULT_RULE, MAX_RANGES, Protocol, RangeEntry, Verdict};

use super::{
    super::{ports::PortSpec, prefix::Prefix, spans::Covered},
    entries::{Rank, Ranked, Ranking},
};

/// What holds for an address: the first range that covers, else the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressVerdict {
    pub(super) ranges: Vec<RangeEntry>,
    pub(super) verdict: Verdict,
    pub(super) rule: u16,
    /// Of a single address, where names are rules for it as well: what its own rules say.
    pub(super) own: Own,
}

/// The part of an [`AddressVerdict`] that is not inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Own {
    /// So many of the ranges, the first.
    pub(super) ranges: u16,
    /// The verdict.
    pub(super) verdict: bool,
}

impl AddressVerdict {
    pub(super) fn verdict_for(&self, protocol: Protocol, port: u16) -> Verdict {
        let range = self.ranges.iter().find(|r| r.covers(protocol, port));
        range.map_or(self.verdict, |range| range.verdict())
    }
}

/// Enough to complain about; the rest of the policy is not looked at then.
const MOST_OVERLONG: usize = 20;

/// One of the different answers of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressVerdictId(u32);

/// A set of rules that hold for the same prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SetId(u32);

/// The different answers of a policy. There are few, however many prefixes there are: each is
/// worked out once.
pub(super) struct AddressVerdicts<'p> {
    ranking: &'p Ranking<'p>,
    /// Whether rules for names are laid over rules for addresses.
    has_names: bool,
    answers: Vec<AddressVerdict>,
    ids: HashMap<AddressVerdict, AddressVerdictId>,
    sets: Vec<Box<[Rank]>>,
    set_ids: HashMap<Box<[Rank]>, SetId>,
    layered: HashMap<(SetId, AddressVerdictId, bool), AddressVerdictId>,
    overlong: Vec<(Prefix, AddressVerdict)>,
}

impl<'p> AddressVerdicts<'p> {
    pub(super) const DEFAULT: AddressVerdictId = AddressVerdictId(0);
    pub(super) const NO_RULES: SetId = SetId(0);

    pub(super) fn new(ranking: &'p Ranking<'p>, default: Verdict, has_names: bool) -> Self {
        let mut answers = Self {
            ranking,
            has_names,
            answers: Vec::new(),
            ids: HashMap::new(),
            sets: Vec::new(),
            set_ids: HashMap::new(),
            layered: HashMap::new(),
            overlong: Vec::new(),
        };
        answers.without_rules(default);
        answers.set(&[]);
        answers
    }

    /// The answer where no rule holds.
    pub(super) fn without_rules(&mut self, verdict: Verdict) -> AddressVerdictId {
        self.intern(AddressVerdict {
            ranges: Vec::new(),
            verdict,
            rule: DEFAULT_RULE,
            own: Own::default(),
        })
    }

    pub(super) fn get(&self, id: AddressVerdictId) -> &AddressVerdict {
        &self.answers[id.0 as usize]
    }

    /// The answers that no list of the kernel can hold, and a prefix that has each.
    pub(super) fn overlong(&self) -> &[(Prefix, AddressVerdict)] {
        &self.overlong
    }

    /// The id of a set of rules, sorted.
    pub(super) fn set(&mut self, rules: &[Rank]) -> SetId {
        if let Some(id) = self.set_ids.get(rules) {
            return *id;
        }
        let id = SetId(self.sets.len() as u32);
        self.sets.push(rules.into());
        self.set_ids.insert(rules.into(), id);
        id
    }

    /// The answer where rules hold on top of what holds around. `prefix` is where, for complaints.
    pub(super) fn layer(
        &mut self,
        rules: SetId,
        around: AddressVerdictId,
        prefix: &Prefix,
    ) -> AddressVerdictId {
        if rules == Self::NO_RULES || self.overlong.len() >= MOST_OVERLONG {
            return around;
        }
        let tells_own = self.has_names && prefix.is_host();
        if let Some(id) = self.layered.get(&(rules, around, tells_own)) {
            return *id;
        }
        let mut answer = self.work_out(&self.sets[rules.0 as usize], self.get(around));
        if !tells_own {
            answer.own = Own::default();
        }
        let id = if answer.ranges.len() > MAX_RANGES {
            self.overlong.push((*prefix, answer));
            // Said once here, and not again for all that lies inside.
            around
        } else {
            self.intern(answer)
        };
        self.layered.insert((rules, around, tells_own), id);
        id
    }

    /// The answer where rules hold on top of `around` only as far as they are stricter.
    pub(super) fn narrow(
        &mut self,
        rules: SetId,
        around: AddressVerdictId,
        prefix: &Prefix,
    ) -> AddressVerdictId {
        if rules == Self::NO_RULES {
            return around;
        }
        let ranks = &self.sets[rules.0 as usize];
        let answer = self.work_out_stricter(ranks, self.get(around));
        if answer.ranges.len() > MAX_RANGES {
            self.overlong.push((*prefix, answer));
            return around;
        }
        self.intern(answer)
    }

    /// The stricter of two answers for each port, of equals the first. `prefix` is where, for complaints.
    pub(super) fn stricter_of(
        &mut self,
        one: AddressVerdictId,
        other: AddressVerdictId,
        prefix: &Prefix,
    ) -> AddressVerdictId {
        let (one, other) = (self.get(one), self.get(other));
        let mut ranges = Vec::new();
        for range in &one.ranges {
            let met = other.ranges.iter();
            let met = met.filter_map(|both| Some((both, within(*range, &spec_of(both))?)));
            ranges.extend(met.map(|(other, both)| stricter(both, other.verdict, other.rule)));
            ranges.push(stricter(*range, other.verdict as u8, other.rule));
        }
        let rest = other.ranges.iter();
        ranges.extend(rest.map(|range| {
            let whole = RangeEntry {
                verdict: one.verdict as u8,
                rule: one.rule,
                ..*range
            };
            stricter(whole, range.verdict, range.rule)
        }));
        let mut covered = Covered::default();
        ranges.retain(|range| covered.add(range.protocol, range.low, range.high));
        let is_stricter = other.verdict.strictness() > one.verdict.strictness();
        let strictest = if is_stricter { other } else { one };
        let answer = AddressVerdict {
            ranges,
            verdict: strictest.verdict,
            rule: strictest.rule,
            own: Own::default(),
        };
        if answer.ranges.len() > MAX_RANGES {
            self.overlong.push((*prefix, answer));
            return Self::DEFAULT;
        }
        self.intern(answer)
    }

    /// The same with each range marked that may be said of private addresses, by its rule.
    pub(super) fn mark_private(
        &mut self,
        id: AddressVerdictId,
        is_private: impl Fn(u16) -> bool,
    ) -> AddressVerdictId {
        let mut answer = self.get(id).clone();
        for range in &mut answer.ranges {
            let opens = range.verdict() != Verdict::Deny;
            if opens && is_private(range.rule) {
                range.verdict ^= RangeEntry::PRIVATE;
            }
        }
        self.intern(answer)
    }

    fn intern(&mut self, answer: AddressVerdict) -> AddressVerdictId {
        if let Some(id) = self.ids.get(&answer) {
            return *id;
        }
        let id = AddressVerdictId(self.answers.len() as u32);
        self.answers.push(answer.clone());
        self.ids.insert(answer, id);
        id
    }

    fn work_out(&self, rules: &[Rank], around: &AddressVerdict) -> AddressVerdict {
        let mut ranked = rules.iter().map(|rank| self.ranking.get(*rank));
        // Sorted by rank, so the first is the strictest.
        let whole = ranked.find(|ranked| ranked.ports.is_empty());
        let (verdict, rule, inherited) = match whole {
            Some(ranked) => (ranked.rule.action, ranked.index, &[][..]),
            None => (around.verdict, around.rule, &around.ranges[..]),
        };
        let mut covered = Covered::default();
        let mut needed = |range: &RangeEntry| covered.add(range.protocol, range.low, range.high);
        let mut ranges = self.own_ranges(rules);
        ranges.extend(whole.into_iter().flat_map(shown_ranges));
        ranges.retain(&mut needed);
        let own = Own {
            ranges: u16::try_from(ranges.len()).unwrap_or(u16::MAX),
            verdict: whole.is_some(),
        };
        ranges.extend(inherited.iter().copied().filter(needed));
        AddressVerdict {
            ranges,
            verdict,
            rule,
            own,
        }
    }

    /// Range by range the stricter of what the rules say and what holds around.
    fn work_out_stricter(&self, rules: &[Rank], around: &AddressVerdict) -> AddressVerdict {
        let mut ranked = rules.iter().map(|rank| self.ranking.get(*rank));
        let whole = ranked.find(|ranked| ranked.ports.is_empty());
        let mut named = self.own_ranges(rules);
        named.extend(whole.into_iter().flat_map(shown_ranges));
        let mut ranges = Vec::new();
        for range in named {
            let met = around
                .ranges
                .iter()
                .filter_map(|other| within(*other, &spec_of(&range)));
            ranges.extend(met.map(|both| stricter(both, range.verdict, range.rule)));
            ranges.push(stricter(range, around.verdict as u8, around.rule));
        }
        let mut covered = Covered::default();
        let mut needed = |range: &RangeEntry| covered.add(range.protocol, range.low, range.high);
        ranges.retain(&mut needed);
        // Its own rules are still the first, with these.
        let mut own = around.own;
        if own != Own::default() {
            own.ranges = u16::try_from(ranges.len()).unwrap_or(u16::MAX);
        }
        let says = whole.map(|ranked| (ranked.rule.action, ranked.index));
        for (at, range) in around.ranges.iter().enumerate() {
            if needed(range) {
                own.ranges += u16::from(at < usize::from(around.own.ranges));
                ranges.push(match says {
                    Some((verdict, rule)) => stricter(*range, verdict as u8, rule),
                    None => *range,
                });
            }
        }
        let is_stricter = |says: &(Verdict, u16)| says.0.strictness() > around.verdict.strictness();
        let (verdict, rule) = says
            .filter(is_stricter)
            .unwrap_or((around.verdict, around.rule));
        AddressVerdict {
            ranges,
            verdict,
            rule,
            own,
        }
    }

    /// The ranges of rules for one prefix, in the order in which they are tried: the narrower first,
    /// then the stricter.
    fn own_ranges(&self, rules: &[Rank]) -> Vec<RangeEntry> {
        let mut ranges = Vec::new();
        for rank in rules {
            let ranked = self.ranking.get(*rank);
            for spec in &ranked.ports {
                let shown = shown_ranges(ranked);
                let shown = shown.filter_map(|range| within(range, spec));
                ranges.extend(shown.map(|range| (spec.width(), *rank, false, range)));
                let range = range_of(spec, ranked.rule.action as u8, ranked.index);
                ranges.push((spec.width(), *rank, true, range));
            }
        }
        ranges.sort_unstable_by_key(|(width, rank, is_rest, range)| {
            (*width, *rank, *is_rest, range.protocol, range.low)
        });
        ranges.into_iter().map(|(_, _, _, range)| range).collect()
    }
}

/// What a rule says of ports where TLS has to show a name: they are as narrow as what it says of all of its ports. QUIC has a
/// ClientHello that nothing here looks at.
fn shown_ranges(ranked: &Ranked<'_>) -> impl Iterator<Item = RangeEntry> {
    let index = ranked.index;
    ranked.rule.sni_ports().into_iter().flat_map(move |tcp| {
        let udp = PortSpec {
            protocol: Protocol::UDP,
            ..tcp
        };
        [
            range_of(&tcp, Verdict::BY_SNI, index),
            range_of(&udp, Verdict::Deny as u8, index),
        ]
    })
}

fn range_of(spec: &PortSpec, verdict: u8, rule: u16) -> RangeEntry {
    RangeEntry {
        protocol: spec.protocol,
        verdict,
        rule,
        low: spec.low,
        high: spec.high,
    }
}

/// The ports of a range.
fn spec_of(range: &RangeEntry) -> PortSpec {
    PortSpec {
        protocol: range.protocol,
        low: range.low,
        high: range.high,
    }
}

/// A range with what another rule says, where that is stricter.
fn stricter(range: RangeEntry, verdict: u8, rule: u16) -> RangeEntry {
    let strict = |verdict: u8| match verdict {
        Verdict::BY_SNI => 1,
        plain => 2 * Verdict::from_u8(plain).strictness(),
    };
    if strict(verdict) > strict(range.verdict) {
        RangeEntry {
            verdict,
            rule,
            ..range
        }
    } else {
        range
    }
}

/// The part of a range that a rule's ports have.
fn within(range: RangeEntry, spec: &PortSpec) -> Option<RangeEntry> {
    let both = spec_of(&range).intersection(spec)?;
    Some(range_of(&both, range.verdict, range.rule))
}
