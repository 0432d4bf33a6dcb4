//! What of a session is reported to guardd, so that no program keeps it busy by asking the same again and again.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use guard_common::BootTime;

use super::{answer::DnsAnswer, kinds::Kind};

const SECOND: u64 = 1_000_000_000;
/// Refusals that are reported of a session in a second, as the kernel half reports as many; and questions that it is asked about.
/// More are refused all the same, and counted.
const A_SECOND: u32 = 64;
/// The same of an outermost session and those inside it.
const A_SECOND_IN_ALL: u32 = 256;
/// Addresses that are reported of an outermost session and those inside it in a second, once for each name. Of more it is reported that there
/// were. As many are reported that an open hole is to cover.
const ADDRESSES_A_SECOND: u32 = 4096;
/// An answer that came a moment ago is not reported again. A report counts for 90 seconds at least.
const NEWS: u64 = 10 * SECOND;
/// Answers that are known again.
const MAX_TOLD: usize = 4096;

/// Of one session.
#[derive(Debug, Default)]
pub(super) struct Reports {
    hasher: RandomState,
    /// Answers, as hashes, and when each was reported.
    learned: HashMap<u64, u64>,
    refused: Pace,
    asked: Pace,
    untold: Pace,
    /// The longest that was reported in this second.
    untold_for: u32,
    /// Names that guardd is to hear the number of.
    more: MoreNames,
}

/// Names that are not reported one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MoreNames {
    /// Those that were not asked for.
    pub(super) refused: u64,
    /// Those that were, in vain.
    pub(super) failed: u64,
}

/// How quickly an outermost session and those inside it are reported to guardd.
#[derive(Debug, Default)]
pub(super) struct SharedPaces {
    addresses: Pace,
    refused: Pace,
    asked: Pace,
    opened: Pace,
}

/// How many there were in this second.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    second: u64,
    count: u32,
}

impl Pace {
    /// Whether there is room for so many more where that is the most; what there is none for is not counted.
    fn admits(&mut self, more: usize, most: u32, now: BootTime) -> bool {
        let second = now.0 / SECOND;
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        let count = u32::try_from(more).ok();
        let count = count.and_then(|more| self.count.checked_add(more));
        match count.filter(|count| *count <= most) {
            Some(count) => {
                self.count = count;
                true
            }
            None => false,
        }
    }
}

impl Pace {
    /// Whether there is room for one more of a session's, which has to share with others: but for its first.
    fn admits_among(&mut self, shared: &mut Self, now: BootTime) -> bool {
        self.admits(1, A_SECOND, now) && (self.count == 1 || shared.admits(1, A_SECOND_IN_ALL, now))
    }
}

impl SharedPaces {
    /// Whether so many addresses more are reported that holes for their name are to cover.
    pub(super) fn admits_opened(&mut self, addresses: usize, now: BootTime) -> bool {
        self.opened.admits(addresses, ADDRESSES_A_SECOND, now)
    }
}

/// What is reported of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToTell {
    /// It knows.
    Nothing,
    /// All of it.
    Answer,
    /// That there was an answer, with its time to live in seconds, or less.
    Untold(u32),
}

impl Reports {
    /// Whether one more refusal is to be reported.
    pub(super) fn is_refusal_told(&mut self, shared: &mut SharedPaces, now: BootTime) -> bool {
        self.refused.admits_among(&mut shared.refused, now)
    }

    /// Whether guardd is asked about one more question.
    pub(super) fn is_question_told(&mut self, shared: &mut SharedPaces, now: BootTime) -> bool {
        self.asked.admits_among(&mut shared.asked, now)
    }

    /// Counts a name that is not reported. True where it is the first since their number was.
    pub(super) fn counts_more(&mut self, failed: bool) -> bool {
        let is_first = self.more == MoreNames::default();
        if failed {
            self.more.failed += 1
        } else {
            self.more.refused += 1
        }
        is_first
    }

    /// Their number, which is about to be reported.
    pub(super) fn take_more(&mut self) -> MoreNames {
        std::mem::take(&mut self.more)
    }

    /// What is to be reported of an answer. That it lasts shorter each time is no news.
    pub(super) fn telling(
        &mut self,
        answer: &DnsAnswer,
        kind: Kind,
        shared: &mut SharedPaces,
        now: BootTime,
    ) -> ToTell {
        let what = (&answer.names, &answer.addresses, kind);
        let hash = self.hasher.hash_one(what);
        if self
            .learned
            .get(&hash)
            .is_some_and(|told| now.0 < told + NEWS)
        {
            return ToTell::Nothing;
        }
        let count = answer.names.len() * answer.addresses.len();
        // The longest has a second for itself.
        let count = count.min(ADDRESSES_A_SECOND as usize);
        if !shared.addresses.admits(count, ADDRESSES_A_SECOND, now) {
            return self.untold(answer.ttl, now);
        }
        if self.learned.len() >= MAX_TOLD {
            self.learned.clear();
        }
        self.learned.insert(hash, now.0);
        ToTell::Answer
    }

    /// Once a second; or where it lasts twice as long as what was reported in this one.
    fn untold(&mut self, ttl: u32, now: BootTime) -> ToTell {
        let lasts = ttl.checked_next_power_of_two().unwrap_or(u32::MAX);
        let is_first = self.untold.admits(1, 1, now);
        if !is_first && lasts <= self.untold_for {
            return ToTell::Nothing;
        }
        self.untold_for = lasts;
        ToTell::Untold(lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::name::name, *};

    #[test]
    fn what_is_refused_again_and_again_is_told_sixty_four_times_a_second() {
        let (mut reports, mut shared) = (Reports::default(), SharedPaces::default());
        let mut told = |now| {
            let all = (0..1000).filter(|_| reports.is_refusal_told(&mut shared, BootTime(now)));
            all.count()
        };
        assert_eq!([told(5), told(SECOND), told(2 * SECOND - 1)], [64, 64, 0]);
        let asked = (0..1000).filter(|_| reports.is_question_told(&mut shared, BootTime(5)));
        assert_eq!(asked.count(), 64);
    }

    #[test]
    fn what_is_not_told_is_counted_until_its_number_is() {
        let mut reports = Reports::default();
        let are_first = [false, true, false].map(|failed| reports.counts_more(failed));
        assert_eq!(are_first, [true, false, false]);
        let (refused, failed) = (2, 1);
        assert_eq!(reports.take_more(), MoreNames { refused, failed });
        assert_eq!(reports.take_more(), MoreNames::default());
        assert!(reports.counts_more(true));
    }

    #[test]
    fn many_sessions_inside_one_another_are_share_what_guardd_is_told() {
        let mut shared = SharedPaces::default();
        let mut all: Vec<_> = (0..64).map(|_| Reports::default()).collect();
        let now = BootTime(5);
        let mut told = |is_told: fn(&mut Reports, &mut SharedPaces, BootTime) -> bool| {
            let each = all.iter_mut().map(|one| {
                let told = (0..100).filter(|_| is_told(one, &mut shared, now));
                told.count()
            });
            each.sum::<usize>()
        };
        assert_eq!(told(Reports::is_refusal_told), 64 + 256);
        assert_eq!(told(Reports::is_question_told), 64 + 256);
    }

    #[test]
    fn what_holes_are_to_cover_has_a_pace_of_its_own() {
        let mut shared = SharedPaces::default();
        let mut told = |now| {
            let all = (0..1000).filter(|_| shared.admits_opened(64, BootTime(now)));
            all.count()
        };
        assert_eq!([told(5), told(SECOND), told(2 * SECOND - 1)], [64, 64, 0]);
        // What has used it up leaves what is told of answers as it was.
        let answer = DnsAnswer {
            names: vec![name("a.example")],
            targets: Vec::new(),
            addresses: vec![[192, 0, 2, 1].into()],
            ttl: 60,
        };
        let now = BootTime(2 * SECOND - 1);
        let told = Reports::default().telling(&answer, Kind(1), &mut shared, now);
        assert_eq!(told, ToTell::Answer);
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
        let mut shared = SharedPaces::default();
        let mut told = |last, ttl, now| {
            let now = BootTime(now);
            reports.telling(&answer(last, ttl), Kind(1), &mut shared, now) == ToTell::Answer
        };
        assert!(told(1, 60, 1) && !told(1, 59, SECOND) && told(2, 60, SECOND));
        assert!(told(1, 49, 1 + NEWS) && !told(1, 48, 2 + NEWS));
    }

    #[test]
    fn of_more_addresses_than_guardd_can_note_it_hears_that_there_were() {
        let (mut reports, mut other) = (Reports::default(), Reports::default());
        let mut shared = SharedPaces::default();
        let answer = |number: u32, ttl| DnsAnswer {
            names: vec![name("a.example")],
            targets: Vec::new(),
            addresses: (0..100_u32)
                .map(|last| std::net::Ipv4Addr::from_bits(number * 100 + last).into())
                .collect(),
            ttl,
        };
        let (mut whole, mut untold) = (0, Vec::new());
        for number in 0..1000 {
            match reports.telling(&answer(number, 60), Kind(1), &mut shared, BootTime(5)) {
                ToTell::Nothing => {}
                ToTell::Answer => whole += 1,
                ToTell::Untold(lasts) => untold.push(lasts),
            }
        }
        assert_eq!((whole, untold), (ADDRESSES_A_SECOND / 100, vec![64]));
        // A session inside it has no share of its own, and one that lasts longer is told of.
        let now = BootTime(6);
        let told = other.telling(&answer(2000, 60), Kind(1), &mut shared, now);
        assert_eq!(told, ToTell::Untold(64));
        let told = reports.telling(&answer(2000, 600), Kind(1), &mut shared, now);
        assert_eq!(told, ToTell::Untold(1024));
        // What there was no room for is told when there is.
        let now = BootTime(SECOND);
        let told = reports.telling(&answer(2000, 60), Kind(1), &mut shared, now);
        assert_eq!(told, ToTell::Answer);
    }
}
