//! From a model to the tables in which the kernel half looks up verdicts.
//!
//! Rules become entries at prefixes (`entries.rs`). One sweep in the order of the prefixes (`sweep.rs`) gives each prefix its
//! whole answer (`answer.rs`), what it inherits from wider prefixes included, so that the kernel half looks up once. Other programs'
//! listeners on the loopback have addresses of their own there (`listeners.rs`). Then prefixes that change nothing are dropped (`aggregate.rs`). Names and wildcards have answers of their own (`patterns.rs`). The result
//! depends on what the rules say, never on their order in the file, but for the indices by which it names them.

mod aggregate;
mod answer;
mod entries;
mod listeners;
mod patterns;
mod sweep;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
};

use guard_common::{
    DEFAULT_RULE, MAX_RANGES, NameId, PrefixValue, Protocol, RangeEntry, Verdict, prefix_flags,
};

use self::{
    answer::{AddressVerdict, AddressVerdictId, AddressVerdicts},
    entries::Ranking,
    patterns::{Closed, PatternAnswer},
};
use super::{
    diagnostic::{Diagnostic, Severity},
    invalid::Invalid,
    model::{Environment, Policy, Rule},
    name::{DomainName, NamePattern},
    prefix::Prefix,
};

/// Which of [`Compiled::lists`] holds a prefix's port ranges. It means nothing to the kernel, which
/// knows lists by ids of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListIndex(NonZeroU32);

impl ListIndex {
    /// The index into [`Compiled::lists`].
    #[must_use]
    pub const fn get(self) -> usize {
        self.0.get() as usize - 1
    }

    fn new(index: usize) -> Self {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        Self(NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX))
    }
}

/// What holds for a prefix: the first range of `list` that covers the connection, else `verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// What holds where no range does.
    pub verdict: Verdict,
    /// Index of the rule that gave it, or [`DEFAULT_RULE`].
    pub rule: u16,
    /// Its port ranges, if any.
    pub list: Option<ListIndex>,
    /// The [`prefix_flags`] that are its own.
    pub flags: u8,
}

/// Port ranges, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortRanges {
    /// Never empty, and [`MAX_RANGES`] at most.
    pub entries: Vec<RangeEntry>,
    /// So many of them, the first, are of rules for the very address that they hold for.
    pub own: u16,
}

/// A policy as tables: what the kernel enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// All prefixes that have an answer of their own, sorted. The first is `::/0`.
    pub prefixes: Vec<(Prefix, Value)>,
    /// The patterns of names that rules name, by the addresses that stand for them ([`guard_common::NameId::key`]), sorted.
    pub patterns: Vec<(Prefix, Value)>,
    /// The same as text, in the same order: who may choose a name may choose one that has a pattern's number.
    pub named: Vec<NamePattern>,
    /// The lists of port ranges, each once, in the order in which prefixes and patterns use them first.
    pub lists: Vec<PortRanges>,
    /// The [`prefix_flags`] of all values.
    pub flags: u8,
}

/// Compiles a policy for what its names and groups stand for now. A name without an address is left
/// out: [`Policy::unresolved`] lists those.
///
/// # Errors
/// Where a prefix needs more than [`MAX_RANGES`] port ranges, or there are more rules than indices.
pub fn compile(policy: &Policy, environment: &Environment) -> Result<Compiled, Vec<Diagnostic>> {
    too_many_rules(policy)?;
    let ranking = Ranking::new(&policy.rules);
    let judges_names = environment.judges_names && policy.has_patterns();
    let closed = judges_names.then(|| Closed::new(&ranking, environment));
    let entries = entries::collect(&ranking, environment, closed.as_ref());
    let mut answers = AddressVerdicts::new(&ranking, policy.default, judges_names);
    let mut swept = sweep::sweep(&entries, &mut answers);
    drop(entries);
    listeners::add(&mut swept, policy, &ranking, &mut answers);
    let patterns = match &closed {
        Some(closed) => patterns::answered(policy, &ranking, closed, &mut answers)?,
        None => Vec::new(),
    };
    match answers.overlong() {
        [] => {}
        overlong => return Err(too_many_ranges(policy, overlong)),
    }
    let prefixes = aggregate::aggregate(swept);
    let mut compiled = finish(policy, &prefixes, &patterns, &answers);
    if let Some(closed) = &closed {
        compiled.flags |= prefix_flags::NAMES;
        closed.mark(&mut compiled.prefixes);
    }
    Ok(compiled)
}

/// Rules are numbered with 16 bits, and one number stands for the default.
pub(super) const MOST_RULES: usize = DEFAULT_RULE as usize - 1;

fn too_many_rules(policy: &Policy) -> Result<(), Vec<Diagnostic>> {
    match policy.rules.get(MOST_RULES) {
        None => Ok(()),
        Some(extra) => {
            let many = Invalid::new(format!("a policy has {MOST_RULES} rules at most"))
                .help("join rules that differ in `to` only");
            Err(vec![at_rule(policy, extra, many)])
        }
    }
}

fn at_rule(policy: &Policy, rule: &Rule, what: Invalid) -> Diagnostic {
    Diagnostic::new(Severity::Error, &policy.file, rule.place.clone(), what)
}

/// One error for each set of rules that gives some prefix too many ranges.
fn too_many_ranges(policy: &Policy, overlong: &[(Prefix, AddressVerdict)]) -> Vec<Diagnostic> {
    let mut said = HashSet::new();
    let mut errors = Vec::new();
    for (prefix, answer) in overlong {
        let indices: BTreeSet<_> = answer.ranges.iter().map(|range| range.rule).collect();
        let rules = indices.iter().filter_map(|index| policy.rule(*index));
        let rules: Vec<_> = rules.collect();
        // There are ranges, so there is a first.
        if let (Some(first), true) = (rules.first(), said.insert(indices)) {
            let count = answer.ranges.len();
            let what = needs_too_many(prefix, count, &rules);
            errors.push(at_rule(policy, first, what));
        }
    }
    errors
}

fn needs_too_many(prefix: &Prefix, count: usize, rules: &[&Rule]) -> Invalid {
    const MOST_NAMED: usize = 8;
    let named = rules.iter().take(MOST_NAMED);
    let mut names: Vec<_> = named.map(|rule| format!("`{}`", rule.name)).collect();
    if rules.len() > MOST_NAMED {
        names.push("…".to_owned());
    }
    let prefix = prefix.to_short();
    Invalid::new(format!(
        "{prefix} needs {count} port ranges, and {MAX_RANGES} is the most"
    ))
    .help(format!(
        "they come from {}: join ports that lie side by side into ranges",
        names.join(", ")
    ))
}

/// Numbers the lists that are in use.
fn finish(
    policy: &Policy,
    prefixes: &[(Prefix, AddressVerdictId)],
    patterns: &[PatternAnswer],
    answers: &AddressVerdicts<'_>,
) -> Compiled {
    let mut lists = Lists::default();
    let mut values: HashMap<AddressVerdictId, Value> = HashMap::new();
    let mut ping = false;
    let prefixes = prefixes.iter().map(|(prefix, id)| {
        let value = *values.entry(*id).or_insert_with(|| {
            let answer = answers.get(*id);
            ping |= answer.verdict_for(Protocol::ICMP, 0) != Verdict::Deny;
            lists.value(answer)
        });
        (*prefix, value)
    });
    let prefixes = prefixes.collect();
    let named = patterns.iter().map(|one| one.pattern.clone());
    let named = named.collect();
    let patterns = patterns.iter().map(|one| {
        let answer = answers.get(one.answer);
        ping |= answer.verdict_for(Protocol::ICMP, 0) != Verdict::Deny;
        let value = lists.value(answer);
        let flags = value.flags | one.flags;
        (one.key, Value { flags, ..value })
    });
    let patterns = patterns.collect();
    Compiled {
        prefixes,
        patterns,
        named,
        lists: lists.all,
        flags: flags(policy, ping),
    }
}

/// Port ranges, each once.
#[derive(Default)]
struct Lists {
    all: Vec<PortRanges>,
    known: HashMap<PortRanges, ListIndex>,
}

impl Lists {
    fn value(&mut self, answer: &AddressVerdict) -> Value {
        let has_ranges = !answer.ranges.is_empty();
        Value {
            verdict: answer.verdict,
            rule: answer.rule,
            list: has_ranges.then(|| self.index(answer)),
            flags: if answer.own.verdict {
                prefix_flags::HOST
            } else {
                0
            },
        }
    }

    fn index(&mut self, answer: &AddressVerdict) -> ListIndex {
        let ranges = PortRanges {
            entries: answer.ranges.clone(),
            own: answer.own.ranges,
        };
        if let Some(index) = self.known.get(&ranges) {
            return *index;
        }
        let index = ListIndex::new(self.all.len());
        self.all.push(ranges.clone());
        self.known.insert(ranges, index);
        index
    }
}

fn flags(policy: &Policy, ping: bool) -> u8 {
    let set = |is_set, flag| if is_set { flag } else { 0 };
    set(policy.inbound, prefix_flags::INBOUND) | set(ping, prefix_flags::PING)
}

impl Compiled {
    /// Whether names count for what sessions are told of them.
    #[must_use]
    pub const fn judges_names(&self) -> bool {
        self.flags & prefix_flags::NAMES != 0
    }

    fn place_of(&self, id: NameId) -> Option<usize> {
        let key = Prefix::host(id.key());
        let found = self.patterns.binary_search_by_key(&key, |(key, _)| *key);
        found.ok()
    }

    /// What holds for a pattern of that number, if rules name it: one that the kernel has, or that was found by its text.
    #[must_use]
    pub fn value_of(&self, id: NameId) -> Option<&Value> {
        self.place_of(id).map(|at| &self.patterns[at].1)
    }

    /// Whether rules name a pattern of that number.
    #[must_use]
    pub fn has_number(&self, id: NameId) -> bool {
        self.place_of(id).is_some()
    }

    /// Whether rules name a pattern: this very one, and not another of its number.
    #[must_use]
    pub fn has_pattern(&self, pattern: &NamePattern) -> bool {
        let place = self.place_of(pattern.id());
        place.is_some_and(|at| self.named.get(at) == Some(pattern))
    }

    /// Whether a rule denies a pattern on all ports, so that nobody needs its addresses.
    #[must_use]
    pub fn denies(&self, pattern: &NamePattern) -> bool {
        let value = self.value_of(pattern.id());
        value.is_some_and(|value| {
            value.verdict == Verdict::Deny && value.rule != DEFAULT_RULE && value.list.is_none()
        })
    }

    /// The narrowest pattern that covers a name, of those that rules name.
    #[must_use]
    pub fn pattern_of(&self, name: &DomainName) -> Option<NamePattern> {
        let own = NamePattern::Name(name.clone());
        if self.has_pattern(&own) {
            return Some(own);
        }
        own.around().find(|pattern| self.has_pattern(pattern))
    }

    /// The port ranges of a value, in the order in which they are tried.
    #[must_use]
    pub fn ranges(&self, value: &Value) -> &[RangeEntry] {
        let list = value.list.and_then(|list| self.lists.get(list.get()));
        list.map_or(&[], |list| &list.entries)
    }

    /// A value as the kernel holds it, but for its list, whose id the kernel's owner gives.
    #[must_use]
    pub fn prefix_value(&self, value: &Value) -> PrefixValue {
        PrefixValue {
            verdict: value.verdict as u8,
            flags: self.flags | value.flags,
            rule: value.rule,
            ..PrefixValue::default()
        }
    }
}
