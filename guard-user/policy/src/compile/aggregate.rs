//! Drops prefixes that change nothing, and joins halves with one answer.

use super::{super::prefix::Prefix, answer::AddressVerdictId};

/// What a policy answers for a prefix.
type PrefixAnswer = (Prefix, AddressVerdictId);

/// The fewest prefixes with the same answers that joining halves and dropping repetitions gives,
/// sorted. `swept` holds each prefix once, and everything.
pub(super) fn aggregate(swept: Vec<PrefixAnswer>) -> Vec<PrefixAnswer> {
    let mut joined = join_halves(swept);
    joined.sort_unstable_by_key(|(prefix, _)| *prefix);
    drop_repetitions(&mut joined);
    joined
}

/// Puts a prefix in place of its two halves where both have one answer: nobody asks what it said
/// itself, since all of it lies in its halves.
fn join_halves(swept: Vec<PrefixAnswer>) -> Vec<PrefixAnswer> {
    let mut by_length: Vec<Vec<PrefixAnswer>> = vec![Vec::new(); 129];
    let mut kept = Vec::with_capacity(swept.len());
    for answered in swept {
        by_length[usize::from(answered.0.length())].push(answered);
    }
    for length in (0..by_length.len()).rev() {
        let mut level = std::mem::take(&mut by_length[length]);
        // Stable, so that of two answers for one prefix the joined one, put in later, comes last.
        level.sort_by_key(|(prefix, _)| *prefix);
        level.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        let mut rest = &level[..];
        while let Some((first, others)) = rest.split_first() {
            let second = others.first().filter(|second| are_halves(first, second));
            match (second, first.0.parent()) {
                (Some(_), Some(parent)) => {
                    by_length[length - 1].push((parent, first.1));
                    rest = &others[1..];
                }
                _ => {
                    kept.push(*first);
                    rest = others;
                }
            }
        }
    }
    kept
}

/// Whether two prefixes of one length, the first before the second, are halves of one prefix and
/// have one answer.
fn are_halves(first: &PrefixAnswer, second: &PrefixAnswer) -> bool {
    first.1 == second.1 && first.0.parent() == second.0.parent()
}

/// Drops each prefix that has the answer of the next wider one.
fn drop_repetitions(sorted: &mut Vec<PrefixAnswer>) {
    let mut around: Vec<PrefixAnswer> = Vec::new();
    sorted.retain(|(prefix, answer)| {
        while around
            .pop_if(|(wider, _)| !wider.contains(prefix))
            .is_some()
        {}
        let new = around.last().is_none_or(|(_, wider)| wider != answer);
        if new {
            around.push((*prefix, *answer));
        }
        new
    });
}
