//! Whether what was kept elsewhere of an audit log is whole: record by record, in whatever order and however often they came.
//!
//! Where an audit log's own files are read, the first break ends it. What was sent away is checked further: a record that is there
//! twice was sent twice, one that is missing was lost on the way, or is older than what is kept.

use std::collections::BTreeMap;

use guard_proto::moment;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    super::chain::{ChainHead, Chained, Digest, Line},
    signatures::{CheckedSignature, Signatures},
};

/// Lines that came before those that they follow are held back for so many.
const AHEAD: usize = 512;
/// Findings that are listed one by one.
const TOLD: usize = 1000;
/// The first number that no record has: larger ones are not exact in JSON. The sender chooses the numbers.
const NUMBERS: u64 = 1 << 53;

/// Records that the sender of an audit log no longer has: they are not in its files any more, or too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The number of the first.
    pub from: u64,
    /// And of the last.
    pub to: u64,
    /// In words.
    pub why: String,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LogFinding {
    /// None of these is there.
    Gap {
        /// The number of the first.
        from: u64,
        /// And of the last.
        to: u64,
        /// What the sender said; null: nothing.
        why: Option<String>,
    },
    /// It is not as it was written, or does not follow the one before.
    Altered {
        /// Its number.
        number: u64,
    },
    /// The log goes on from an earlier number: it was removed, or brought back from an earlier time.
    WentBack {
        /// To that number.
        number: u64,
        /// After that one.
        after: u64,
    },
    /// It is no record.
    NoRecord,
}

/// What was found of an audit log that was kept elsewhere.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Collected {
    /// Whether there are records, and nothing was found.
    pub whole: bool,
    /// How many are there.
    pub records: u64,
    /// How many are there once more, as they were.
    pub doubles: u64,
    /// Records that could not be written, as the next ones say.
    pub lost: u64,
    /// The number of the first; above 1, those before are not kept.
    pub first: Option<u64>,
    /// The last.
    pub head: Option<ChainHead>,
    /// When the first was written, as it says.
    #[serde(serialize_with = "moment::write_some")]
    pub from: Option<Timestamp>,
    /// When the last one was.
    #[serde(serialize_with = "moment::write_some")]
    pub to: Option<Timestamp>,
    /// What is wrong.
    pub findings: Vec<LogFinding>,
    /// How many more of that are not listed.
    pub more: u64,
    /// Signatures that were checked; null: not asked for.
    pub signatures: Option<Vec<CheckedSignature>>,
}

/// Takes the records of one audit log.
#[derive(Debug, Default)]
pub struct Collector {
    found: Collected,
    /// The hashes of those that are there, of the chain as it is now.
    seen: BTreeMap<u64, Digest>,
    head: Option<ChainHead>,
    /// Lines whose predecessors have not come.
    ahead: BTreeMap<u64, Vec<u8>>,
    /// By the number of the first.
    missing: BTreeMap<u64, Missing>,
    signatures: Option<Signatures>,
}

impl Collector {
    /// Of which nothing has come; checks signatures, if it is to.
    #[must_use]
    pub fn new(signatures: Option<Signatures>) -> Self {
        Self {
            signatures,
            ..Self::default()
        }
    }

    /// Takes the next line, without a newline.
    pub fn take(&mut self, line: &[u8]) {
        match Line::of(line) {
            Line::Chained(one) if one.head.number < NUMBERS => self.chained(&one, line),
            Line::Chained(_) => self.find(LogFinding::NoRecord),
            Line::Plain(_) | Line::Nothing => match serde_json::from_slice(line) {
                Ok(missing) => self.miss(missing),
                Err(_) => self.find(LogFinding::NoRecord),
            },
        }
    }

    fn miss(&mut self, missing: Missing) {
        if missing.from > missing.to || missing.to >= NUMBERS {
            return self.find(LogFinding::NoRecord);
        }
        let known = self.missing.entry(missing.from);
        let known = known.or_insert_with(|| missing.clone());
        known.to = known.to.max(missing.to);
    }

    fn chained(&mut self, one: &Chained<'_>, line: &[u8]) {
        let number = one.head.number;
        let next = self.head.map_or(number, |head| head.number + 1);
        if number > next {
            match self.ahead.insert(number, line.to_owned()) {
                Some(other) if other == line => self.found.doubles += 1,
                Some(_) => self.find(LogFinding::Altered { number }),
                None => {}
            }
            if self.ahead.len() > AHEAD {
                self.skip();
            }
            return;
        }
        self.judge(one);
        self.catch_up();
    }

    /// Takes what was held back and follows now.
    fn catch_up(&mut self) {
        while let Some(head) = self.head
            && let Some(line) = self.ahead.remove(&(head.number + 1))
        {
            self.judge_line(&line);
        }
    }

    /// Goes on behind records that have not come.
    fn skip(&mut self) {
        if let Some((_, line)) = self.ahead.pop_first() {
            self.judge_line(&line);
            self.catch_up();
        }
    }

    fn judge_line(&mut self, line: &[u8]) {
        if let Line::Chained(one) = Line::of(line) {
            self.judge(&one);
        }
    }

    fn judge(&mut self, one: &Chained<'_>) {
        let ChainHead { number, hash } = one.head;
        let before = number.checked_sub(1).and_then(|n| self.seen.get(&n));
        let is_there = self.seen.get(&number);
        let is_same = is_there == Some(&hash);
        let begins = one.previous.filter(|said| one.follows(said));
        // A first line says itself what it follows: in a chain that is there, the same as is there.
        let is_right = match (before, one.previous) {
            (Some(before), said) => one.follows(before) && said.is_none_or(|said| said == *before),
            (None, Some(_)) => begins.is_some(),
            // It cannot be known; the one behind it follows it, or does not. The very first says it always.
            (None, None) => number != 1,
        };
        match (is_there.is_some(), is_same) {
            (true, true) if is_right => {
                self.found.doubles += 1;
                return;
            }
            // Another chain, or another end of it.
            (true, false) if is_right || (number == 1 && begins.is_some()) => {
                let after = self.head.map_or(0, |head| head.number);
                self.find(LogFinding::WentBack { number, after });
                let (seen, missing) = (
                    self.seen.split_off(&number),
                    self.missing.split_off(&number),
                );
                self.close(&seen, missing);
                self.head = None;
            }
            (true, _) => return self.find(LogFinding::Altered { number }),
            (false, _) if !is_right => self.find(LogFinding::Altered { number }),
            (false, _) => {}
        }
        self.keep(one);
    }

    fn keep(&mut self, one: &Chained<'_>) {
        let head = one.head;
        self.seen.insert(head.number, head.hash);
        if self.head.is_none_or(|known| known.number < head.number) {
            self.head = Some(head);
        }
        self.found.records += 1;
        let (from, to) = (&mut self.found.from, &mut self.found.to);
        *from = Some(from.map_or(one.record.at, |at| at.min(one.record.at)));
        *to = Some(to.map_or(one.record.at, |at| at.max(one.record.at)));
        let lost = one.record.common().lost.take().unwrap_or(0);
        self.found.lost = self.found.lost.saturating_add(lost);
        if let Some(signatures) = &mut self.signatures {
            signatures.see(head.number, &one.record);
        }
    }

    fn find(&mut self, finding: LogFinding) {
        if self.found.findings.len() < TOLD {
            self.found.findings.push(finding)
        } else {
            self.found.more += 1
        }
    }

    /// Finds what is missing of a chain, or of its end: between what is there, and what its sender said to be missing.
    fn close(&mut self, seen: &BTreeMap<u64, Digest>, missing: BTreeMap<u64, Missing>) {
        let ends = seen.first_key_value().zip(seen.last_key_value());
        let ends = ends.map(|((first, _), (last, _))| (*first, *last));
        // What is said twice of the same numbers is said once; what lies beside all that is there is a gap of its own.
        let mut said: Vec<Missing> = Vec::new();
        for one in missing.into_values() {
            match said.last_mut() {
                Some(last) if one.from <= last.to => last.to = last.to.max(one.to),
                _ => said.push(one),
            }
        }
        let beside = |one: &Missing| match ends {
            None => [Some((one.from, one.to)), None],
            Some((first, last)) => [
                Some((one.from, one.to.min(first.saturating_sub(1)))),
                Some((one.from.max(last + 1), one.to)),
            ],
        };
        let outside = said.iter().flat_map(beside).flatten();
        let mut gaps: Vec<_> = outside.filter(|(from, to)| from <= to).collect();
        let numbers = || seen.keys().copied();
        let between = numbers().zip(numbers().skip(1));
        let between = between.filter(|(one, next)| one + 1 < *next);
        gaps.extend(between.map(|(one, next)| (one + 1, next - 1)));
        gaps.sort_unstable();
        for (from, to) in gaps {
            let at = said.partition_point(|one| one.to < from);
            let why = said.get(at).filter(|one| one.from <= to);
            let why = why.map(|one| one.why.clone());
            self.find(LogFinding::Gap { from, to, why });
        }
    }

    /// What was found of all that has come.
    #[must_use]
    pub fn finish(mut self) -> Collected {
        while !self.ahead.is_empty() {
            self.skip();
        }
        let (seen, missing) = (
            std::mem::take(&mut self.seen),
            std::mem::take(&mut self.missing),
        );
        self.close(&seen, missing);
        self.found.first = seen.keys().next().copied();
        self.found.head = self.head;
        self.found.signatures = self.signatures.map(Signatures::found);
        let mut signed = self.found.signatures.iter().flatten();
        let all_signed = signed.all(|one| one.ok);
        self.found.whole = self.head.is_some()
            && self.found.findings.is_empty()
            && self.found.more == 0
            && all_signed;
        self.found
    }
}
