//! One pass over all prefixes, wider ones first, with what holds around.

use super::{
    super::prefix::Prefix,
    answer::{AnswerId, Answers, SetId},
    entries::{Entry, Kind, Rank},
};

/// A prefix that contains the one at hand.
struct Around {
    prefix: Prefix,
    answer: AnswerId,
    /// Its rules that have no exceptions.
    plain: SetId,
}

/// The whole answer for each prefix that rules name, and for `::/0`. `entries` are sorted.
pub(super) fn sweep(entries: &[Entry], answers: &mut Answers<'_>) -> Vec<(Prefix, AnswerId)> {
    let mut swept = vec![(Prefix::EVERYTHING, Answers::DEFAULT)];
    let mut around = vec![Around {
        prefix: Prefix::EVERYTHING,
        answer: Answers::DEFAULT,
        plain: Answers::NO_RULES,
    }];
    let mut ranks = Vec::new();
    for here in entries.chunk_by(|a, b| a.prefix == b.prefix) {
        let prefix = here[0].prefix;
        // The first contains every prefix, so one is always left.
        while around
            .pop_if(|wider| !wider.prefix.contains(&prefix))
            .is_some()
        {}
        let base = base(here, &around, answers);
        let plain = rules(here, &[Kind::Holds], &mut ranks, answers);
        let all = rules(here, &[Kind::Holds, Kind::HoldsBut], &mut ranks, answers);
        let answer = answers.layer(all, base, &prefix);
        match prefix == Prefix::EVERYTHING {
            true => swept[0].1 = answer,
            false => swept.push((prefix, answer)),
        }
        around.push(Around {
            prefix,
            answer,
            plain,
        });
    }
    swept
}

/// What holds here before the rules for this very prefix: the answer around it, worked out anew
/// without the rules that have an exception here.
fn base(here: &[Entry], around: &[Around], answers: &mut Answers<'_>) -> AnswerId {
    if !here.iter().any(|entry| entry.kind == Kind::Exception) {
        return around.last().map_or(Answers::DEFAULT, |wider| wider.answer);
    }
    around.iter().fold(Answers::DEFAULT, |answer, wider| {
        answers.layer(wider.plain, answer, &wider.prefix)
    })
}

/// The rules that speak in one of these ways. `ranks` is scratch space.
fn rules(
    here: &[Entry],
    kinds: &[Kind],
    ranks: &mut Vec<Rank>,
    answers: &mut Answers<'_>,
) -> SetId {
    ranks.clear();
    let chosen = here.iter().filter(|entry| kinds.contains(&entry.kind));
    ranks.extend(chosen.map(|entry| entry.rank));
    ranks.sort_unstable();
    ranks.dedup();
    answers.set(ranks)
}
