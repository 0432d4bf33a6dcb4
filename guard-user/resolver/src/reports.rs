//! What of a session guardd is told, so that no program keeps it busy by asking the same again and again.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use guard_common::BootTime;

use super::{answer::DnsAnswer, kinds::Kind};

const SECOND: u64 = 1_000_000_000;
/// Refusals that are told of a session in a second, as the kernel half reports as many; and questions that it is asked about.
/// More are refused all the same.
const A_SECOND: u32 = 64;
/// An answer that came a moment ago is not told again. What is told counts for 90 seconds at least.
const NEWS: u64 = 10 * SECOND;
/// Answers that are known again.
const MAX_TOLD: usize = 4096;

/// Of one session.
#[derive(Debug, Default)]
pub(super) struct Reports {
    hasher: RandomState,
    /// Answers, as hashes, and when each was told.
    learned: HashMap<u64, u64>,
    refused: Pace,
    asked: Pace,
}

/// How many there were in this second.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    second: u64,
    count: u32,
}

impl Pace {
    /// Whether there is room for one more.
    const fn admits(&mut self, now: BootTime) -> bool {
        let second = now.0 / SECOND;
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        self.count += 1;
        self.count <= A_SECOND
    }
}

impl Reports {
    /// Whether one more refusal is to be told.
    pub(super) fn is_refusal_told(&mut self, now: BootTime) -> bool {
        self.refused.admits(now)
    }

    /// Whether guardd is asked about one more question.
    pub(super) fn is_question_told(&mut self, now: BootTime) -> bool {
        self.asked.admits(now)
    }

    /// Whether an answer is to be told. That it lasts shorter each time is no news.
    pub(super) fn is_answer_told(&mut self, answer: &DnsAnswer, kind: Kind, now: BootTime) -> bool {
        let what = (&answer.names, &answer.addresses, kind);
        let hash = self.hasher.hash_one(what);
        if self
            .learned
            .get(&hash)
            .is_some_and(|told| now.0 < told + NEWS)
        {
            return false;
        }
        if self.learned.len() >= MAX_TOLD {
            self.learned.clear();
        }
        self.learned.insert(hash, now.0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{super::name::name, *};

    #[test]
    fn what_is_refused_again_and_again_is_told_sixty_four_times_a_second() {
        let mut reports = Reports::default();
        let mut told = |now| {
            let all = (0..1000).filter(|_| reports.is_refusal_told(BootTime(now)));
            all.count()
        };
        assert_eq!([told(5), told(SECOND), told(2 * SECOND - 1)], [64, 64, 0]);
        let asked = (0..1000).filter(|_| reports.is_question_told(BootTime(5)));
        assert_eq!(asked.count(), 64);
    }

    #[test]
    fn the_same_answer_is_told_again_after_a_while_and_another_at_once() {
        let mut reports = Reports::default();
        let answer = |last, ttl| DnsAnswer {
            names: vec![name("a.example")],
            targets: Vec::new(),
            addresses: vec![[192, 0, 2, last].into()],
            ttl,
        };
        let mut told =
            |last, ttl, now| reports.is_answer_told(&answer(last, ttl), Kind(1), BootTime(now));
        assert!(told(1, 60, 1) && !told(1, 59, SECOND) && told(2, 60, SECOND));
        assert!(told(1, 49, 1 + NEWS) && !told(1, 48, 2 + NEWS));
    }
}
