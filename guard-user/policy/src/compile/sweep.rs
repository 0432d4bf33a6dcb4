//! One pass over all prefixes, wider ones first, with a stack of the prefixes that contain the one at hand.

use super::{
    super::{group::PUBLIC, prefix::Prefix},
    answer::{AddressVerdictId, AddressVerdicts, SetId},
    entries::{Entry, Kind, Rank},
};

/// A prefix that contains the one at hand.
struct Around {
    prefix: Prefix,
    answer: AddressVerdictId,
    /// Its rules that have no exceptions.
    plain: SetId,
    /// All of its rules but the wide ones.
    all: SetId,
    /// Of what is around it, only rules that have no exceptions count inside it.
    is_exception: bool,
    /// The wide rules that hold inside it.
    wide: SetId,
}

impl Around {
    /// Everything, before any rule.
    const NO_RULES: Self = Self {
        prefix: Prefix::EVERYTHING,
        answer: AddressVerdicts::DEFAULT,
        plain: AddressVerdicts::NO_RULES,
        all: AddressVerdicts::NO_RULES,
        is_exception: false,
        wide: AddressVerdicts::NO_RULES,
    };
}

/// The whole answer for each prefix that rules name, and for `::/0`. `entries` are sorted.
pub(super) fn sweep(
    entries: &[Entry],
    answers: &mut AddressVerdicts<'_>,
) -> Vec<(Prefix, AddressVerdictId)> {
    let mut swept = vec![(Prefix::EVERYTHING, AddressVerdicts::DEFAULT)];
    let mut around = vec![Around::NO_RULES];
    let mut ranks = Vec::new();
    for here in entries.chunk_by(|a, b| a.prefix == b.prefix) {
        let prefix = here[0].prefix;
        // The first contains every prefix, so one is always left.
        while around
            .pop_if(|wider| !wider.prefix.contains(&prefix))
            .is_some()
        {}
        let is_exception = here.iter().any(|entry| entry.kind == Kind::Exception);
        let mut wide = rules(here, &[Kind::HoldsWide], &mut ranks, answers);
        let is_wide = wide != AddressVerdicts::NO_RULES;
        if !is_wide {
            wide = around.last().map_or(wide, |wider| wider.wide);
        }
        let base = if is_exception || is_wide {
            base(is_exception, wide, &prefix, &around, answers)
        } else {
            around
                .last()
                .map_or(AddressVerdicts::DEFAULT, |wider| wider.answer)
        };
        let plain = rules(here, &[Kind::Holds], &mut ranks, answers);
        let all = rules(here, &[Kind::Holds, Kind::HoldsBut], &mut ranks, answers);
        let answer = answers.layer(all, base, &prefix);
        let narrows = rules(here, &[Kind::Narrows], &mut ranks, answers);
        let answer = answers.narrow(narrows, answer, &prefix);
        if prefix == Prefix::EVERYTHING {
            swept[0].1 = answer
        } else {
            swept.push((prefix, answer))
        }
        around.push(Around {
            prefix,
            answer,
            plain,
            all,
            is_exception,
            wide,
        });
    }
    swept
}

/// What holds at a prefix before the rules for it, worked out from scratch: without the rules that have an exception there or
/// around it, and with the wide ones after those for all of the internet, before what is narrower.
fn base(
    is_exception: bool,
    wide: SetId,
    prefix: &Prefix,
    around: &[Around],
    answers: &mut AddressVerdicts<'_>,
) -> AddressVerdictId {
    let inner = around.iter().rposition(|wider| wider.is_exception);
    let excepted = if is_exception {
        around.len()
    } else {
        inner.unwrap_or(0)
    };
    let rules = around.iter().enumerate().map(|(at, wider)| {
        if at < excepted {
            (wider.plain, &wider.prefix)
        } else {
            (wider.all, &wider.prefix)
        }
    });
    let mut layers: Vec<_> = rules.collect();
    let public = PUBLIC.iter().find(|all| all.contains(prefix));
    let public = public.unwrap_or(&Prefix::EVERYTHING);
    let narrower = around.partition_point(|wider| wider.prefix.contains(public));
    layers.insert(narrower, (wide, prefix));
    layers
        .into_iter()
        .fold(AddressVerdicts::DEFAULT, |answer, (rules, at)| {
            answers.layer(rules, answer, at)
        })
}

/// The rules that speak in one of these ways. `ranks` is scratch space.
fn rules(
    here: &[Entry],
    kinds: &[Kind],
    ranks: &mut Vec<Rank>,
    answers: &mut AddressVerdicts<'_>,
) -> SetId {
    ranks.clear();
    let chosen = here.iter().filter(|entry| kinds.contains(&entry.kind));
    ranks.extend(chosen.map(|entry| entry.rank));
    ranks.sort_unstable();
    ranks.dedup();
    answers.set(ranks)
}
