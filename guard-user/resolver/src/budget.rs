//! How much a session may say in names, to the owner of the zone that they are in.
//!
//! A name that nobody has asked for before reaches the zone's own server, and so is a message to its owner. What is needed to
//! work fits into these limits; what carries files does not. A wildcard that is allowed stays a channel to its owner all the
//! same: this is a budget, and no wall.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use guard_common::BootTime;

use super::{
    kinds::{self, Kind},
    name::WireName,
};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// New names in a minute, in one zone.
pub(super) const NAMES_A_MINUTE: u32 = 64;
/// Bytes of the labels of new names in an hour, in one zone.
pub(super) const BYTES_AN_HOUR: u32 = 4096;
/// A label with more characters counts as [`ODD`] says.
const LONG_LABEL: usize = 40;
/// So does one with more bits in a character.
const DENSE_LABEL: f64 = 4.0;
/// How many times what looks like data counts.
const ODD: u32 = 4;
/// How many times a question counts whose answers carry most.
const BULKY: u32 = 10;
/// New names of a session in an hour that are known again; further ones are over the budget.
const MAX_NAMES: usize = 16 * 1024;

/// What a session has asked for.
#[derive(Debug, Default)]
pub(super) struct Budget {
    hasher: RandomState,
    /// Names, as hashes, and when each was new.
    names: HashMap<u64, u64>,
    zones: HashMap<u64, Spent>,
}

/// In one zone.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    minute: u64,
    names: u32,
    hour: u64,
    bytes: u32,
}

impl Budget {
    /// Counts a name in a zone; `false` where that is more than a session may say there, and then it is not counted.
    /// `only_odd`: what looks like the name of a host is free.
    pub(super) fn take(
        &mut self,
        name: &WireName,
        zone: &WireName,
        kind: Kind,
        only_odd: bool,
        now: BootTime,
    ) -> bool {
        let now = now.0;
        let weight = weight(name, zone, kind);
        if only_odd && weight == 1 {
            return true;
        }
        let hash = self.hasher.hash_one((name, kind == kinds::TXT));
        if self
            .names
            .get(&hash)
            .is_some_and(|since| now < since + HOUR)
        {
            return true;
        }
        if self.names.len() >= MAX_NAMES {
            self.names.retain(|_, since| now < *since + HOUR);
            self.zones.retain(|_, spent| now < spent.hour + HOUR);
        }
        if self.names.len() >= MAX_NAMES {
            return false;
        }
        let own = name.bytes().len().saturating_sub(zone.bytes().len()).max(1);
        let zone = self.hasher.hash_one(zone);
        let spent = self.zones.entry(zone).or_insert(Spent {
            minute: now,
            hour: now,
            ..Spent::default()
        });
        let mut next = spent.at(now);
        next.names += weight;
        next.bytes += weight * own as u32;
        if next.names > NAMES_A_MINUTE || next.bytes > BYTES_AN_HOUR {
            return false;
        }
        *spent = next;
        self.names.insert(hash, now);
        true
    }

    /// A person has let more of a zone's names pass: as many again.
    pub(super) fn renew(&mut self, zone: &WireName) {
        let zone = self.hasher.hash_one(zone);
        self.zones.remove(&zone);
        // Where there is room for no further name, that would let none pass: the older half counts as new.
        if self.names.len() >= MAX_NAMES {
            let mut times: Vec<_> = self.names.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MAX_NAMES / 2);
            let middle = *middle;
            self.names.retain(|_, since| *since > middle);
        }
    }
}

impl Spent {
    /// The same, without what was too long ago to count.
    const fn at(mut self, now: u64) -> Self {
        if now >= self.minute + MINUTE {
            (self.minute, self.names) = (now, 0);
        }
        if now >= self.hour + HOUR {
            (self.hour, self.bytes) = (now, 0);
        }
        self
    }
}

/// How many times a name counts, by its labels below the zone.
fn weight(name: &WireName, zone: &WireName, kind: Kind) -> u32 {
    let own = name.labels().count().saturating_sub(zone.labels().count());
    let is_odd = name.labels().take(own).any(is_odd);
    let odd = if is_odd { ODD } else { 1 };
    let bulky = if kind == kinds::TXT { BULKY } else { 1 };
    odd * bulky
}

/// Whether a label looks like data rather than a word.
fn is_odd(label: &[u8]) -> bool {
    label.len() > LONG_LABEL || bits(label) > DENSE_LABEL
}

/// Bits in a character, by how often each is there (Shannon's entropy).
fn bits(label: &[u8]) -> f64 {
    let mut counts = [0_u8; 256];
    for byte in label {
        counts[usize::from(*byte)] += 1;
    }
    let all = label.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0);
    shares
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{super::name::name, *};

    const A: Kind = Kind(1);

    /// How many of these names fit, at one time.
    fn fitting(
        budget: &mut Budget,
        names: impl Iterator<Item = String>,
        kind: Kind,
        now: u64,
    ) -> usize {
        let zone = name("evil.example");
        names
            .take_while(|text| budget.take(&name(text), &zone, kind, false, BootTime(now)))
            .count()
    }

    fn hosts(from: usize) -> impl Iterator<Item = String> {
        (from..).map(|number| format!("h{number}.evil.example"))
    }

    #[test]
    fn so_many_new_names_fit_into_a_minute_and_old_ones_are_free() {
        let mut budget = Budget::default();
        assert_eq!(fitting(&mut budget, hosts(0).take(1000), A, 5), 64);
        assert_eq!(fitting(&mut budget, hosts(0).take(64), A, 6), 64);
        assert_eq!(fitting(&mut budget, hosts(64).take(1), A, MINUTE), 0);
        assert_eq!(
            fitting(&mut budget, hosts(64).take(1000), A, 5 + MINUTE),
            64
        );
        // Another zone has its own.
        assert!(budget.take(
            &name("a.example"),
            &name("a.example"),
            A,
            false,
            BootTime(6)
        ));
    }

    #[test]
    fn so_many_bytes_fit_into_an_hour() {
        let mut budget = Budget::default();
        let long = |number: usize| format!("{number:04}{}.evil.example", "a".repeat(35));
        let mut sum = 0;
        for minute in 0..59 {
            let some = (minute * 100..).map(long).take(64);
            sum += fitting(&mut budget, some, A, minute as u64 * MINUTE + 1);
        }
        assert_eq!(sum, BYTES_AN_HOUR as usize / 40);
        let later = fitting(&mut budget, (9000..).map(long).take(10), A, HOUR + 1);
        assert_eq!(later, 10);
    }

    #[test]
    fn what_looks_like_data_counts_more() {
        let some = |label: &str| {
            let label = label.to_owned();
            (10..99).map(move |number| format!("{label}{number}.evil.example"))
        };
        let fits = |label: &str, kind| fitting(&mut Budget::default(), some(label), kind, 1);
        assert_eq!(fits("a", A), 64);
        assert_eq!(fits("ab3d5fgh1jk7mnpqrs9u", A), 16);
        assert_eq!(fits(&"a".repeat(39), A), 16);
        assert_eq!(fits("a", kinds::TXT), 6);
        assert_eq!(fits("ab3d5fgh1jk7mnpqrs9u", kinds::TXT), 1);
    }

    #[test]
    fn names_of_hosts_are_free_where_any_may_be_asked_for() {
        let mut budget = Budget::default();
        let zone = name("evil.example");
        let mut takes = |text: &str| budget.take(&name(text), &zone, A, true, BootTime(1));
        assert!(hosts(0).take(1000).all(|host| takes(&host)));
        let data = (10..99).map(|number| format!("ab3d5fgh1jk7mnpqrs9u{number}.evil.example"));
        assert_eq!(data.take_while(|text| takes(text)).count(), 16);
    }

    #[test]
    fn a_person_lets_as_many_again_pass() {
        let mut budget = Budget::default();
        assert_eq!(fitting(&mut budget, hosts(0).take(1000), A, 1), 64);
        budget.renew(&name("evil.example"));
        assert_eq!(fitting(&mut budget, hosts(64).take(1000), A, 1), 64);
    }

    #[test]
    fn a_persons_yes_makes_room_for_names() {
        let mut budget = Budget::default();
        let zone_of = |number: usize| format!("z{}.example", number / 32);
        let take = |budget: &mut Budget, number: usize| {
            let zone = name(&zone_of(number));
            let host = name(&format!("h{number}.{}", zone_of(number)));
            budget.take(&host, &zone, A, false, BootTime(number as u64))
        };
        assert!((0..MAX_NAMES).all(|number| take(&mut budget, number)));
        assert!(!take(&mut budget, MAX_NAMES));
        budget.renew(&name(&zone_of(MAX_NAMES)));
        assert!((MAX_NAMES..MAX_NAMES + 32).all(|number| take(&mut budget, number)));
        assert!(budget.names.len() < MAX_NAMES);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut budget = Budget::default();
        let mut take = |number: usize, now| {
            let zone = name(&format!("z{}.example", number / 32));
            let host = name(&format!("h{number}.z{}.example", number / 32));
            budget.take(&host, &zone, A, false, BootTime(now))
        };
        assert_eq!(
            (0..20_000).filter(|number| take(*number, 1)).count(),
            MAX_NAMES
        );
        assert!(take(30_000, 1 + HOUR));
        assert_eq!((budget.names.len(), budget.zones.len()), (1, 1));
    }
}
