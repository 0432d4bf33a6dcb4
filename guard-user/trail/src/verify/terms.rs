//! What a record says was opened, and by how many: no more than what was signed. The chain shows that nobody has changed a record
//! later; root can write what it likes by then, but for what somebody signs.

use std::collections::{HashMap, HashSet};

use guard_proto::{
    LogRecord,
    record::{Answered, Record},
};
use guard_signed::{Answer, Question};
use jiff::Timestamp;

/// What a record of an answer says of its hole, and who else said so.
#[derive(Debug, Default)]
pub(super) struct RecordedTerms {
    seconds: Option<f64>,
    connections: Option<u64>,
    bytes: Option<u64>,
    read_only: bool,
    with: Vec<String>,
}

impl RecordedTerms {
    pub(super) fn of(one: &Answered) -> Self {
        Self {
            seconds: one.seconds.get().copied(),
            connections: one.connections.get().copied(),
            bytes: one.bytes.get().copied(),
            read_only: one.read_only.get().copied().unwrap_or(false),
            with: one.with.get().cloned().unwrap_or_default(),
        }
    }

    /// Whether that is no more than what was signed.
    ///
    /// # Errors
    ///
    /// What is more.
    pub(super) fn are_within(&self, answer: &Answer) -> Result<(), String> {
        let longest = answer.seconds.map(|seconds| seconds as f64);
        if let (Some(said), Some(longest)) = (self.seconds, longest)
            && said > longest
        {
            return Err(format!(
                "the record says {said} s, and {longest} s were signed"
            ));
        }
        let count = answer.connections.or(answer.requests);
        let counts = [
            ("connections or requests", self.connections, count),
            ("bytes", self.bytes, answer.bytes),
        ];
        for (what, said, most) in counts {
            let is_more = |most: u64| said.is_none_or(|said| said > most);
            if let Some(most) = most.filter(|most| is_more(*most)) {
                let said = said.map_or_else(|| "any number of".to_owned(), |said| said.to_string());
                return Err(format!(
                    "the record says {said} {what}, and {most} were signed"
                ));
            }
        }
        if answer.read_only && !self.read_only {
            Err("the record is about more than the reads that were signed".to_owned())
        } else {
            Ok(())
        }
    }
}

/// The yeses that alone were not enough, by the hashes of their questions.
#[derive(Debug, Default)]
pub(super) struct PartialYeses {
    of: HashMap<String, Vec<PartialYes>>,
    /// The first record behind those that are not here: its number, and when it was written.
    first: Option<(u64, Timestamp)>,
    /// The number of the last.
    last: Option<u64>,
}

/// A yes of somebody, whose signature is one.
#[derive(Debug)]
struct PartialYes {
    by: String,
    answer: Answer,
    number: u64,
    /// How many have to say so; none: that may be another number by now.
    wanted: Option<u32>,
}

impl PartialYeses {
    /// Takes the next record into account.
    pub(super) fn see(&mut self, number: u64, line: &LogRecord, record: &Record) {
        // A collected log may lack some between others.
        let is_behind = self
            .last
            .is_some_and(|last| number <= last.saturating_add(1));
        if !is_behind {
            self.first = Some((number, line.at));
        }
        self.last = Some(number);
        // By other settings, or other rules, fewer may be enough.
        let is_other = matches!(
            record,
            Record::DaemonStart(_) | Record::PolicyLoad(_) | Record::PolicyApplied(_)
        );
        if is_other || !is_behind {
            let all = self.of.values_mut().flatten();
            all.for_each(|one| one.wanted = None);
        }
    }

    /// Keeps one.
    pub(super) fn keep(&mut self, number: u64, by: &str, answer: Answer, wanted: Option<u32>) {
        let of = self.of.entry(answer.question.clone()).or_default();
        of.push(PartialYes {
            by: by.to_owned(),
            answer,
            number,
            wanted,
        });
    }

    /// Whether all have said the same of whom the record of a yes of `by` says so, and no more had to.
    ///
    /// # Errors
    ///
    /// Who has not, or how many had to.
    pub(super) fn have_said(
        &self,
        terms: &RecordedTerms,
        by: &str,
        answer: &Answer,
        question: &Question,
    ) -> Result<(), String> {
        let given = self.of.get(&answer.question).map_or(&[][..], Vec::as_slice);
        let says = |one: &PartialYes| without_signer(&one.answer) == without_signer(answer);
        for name in &terms.with {
            let is_given = given.iter().any(|one| one.by == *name && says(one));
            if name == by || !(is_given || self.may_lack(question.asked_at)) {
                return Err(format!(
                    "the record says that {name} said so, too, and has no signature of theirs before it"
                ));
            }
        }
        let people: HashSet<_> = terms.with.iter().map(String::as_str).chain([by]).collect();
        let mut wanted = given
            .iter()
            .filter_map(|one| Some((one.number, one.wanted?)));
        match wanted.next_back() {
            Some((number, wanted)) if people.len() < wanted as usize => Err(format!(
                "record {number} says that {wanted} people had to say so, and it is by {}",
                people.len()
            )),
            _ => Ok(()),
        }
    }

    /// Whether a yes to a question of that time may be in a record that is not here.
    fn may_lack(&self, asked_at: u64) -> bool {
        let asked = i64::try_from(asked_at).unwrap_or(i64::MAX);
        self.first
            .is_some_and(|(number, at)| number > 1 && at.as_second() >= asked)
    }
}

/// The answer without its signer, so that answers of several people can be compared.
fn without_signer(answer: &Answer) -> Answer {
    Answer {
        by: String::new(),
        code: String::new(),
        ..answer.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whether a yes to a question of that second may be lacking, where these records are here: their numbers and seconds.
    fn may_lack(asked_at: u64, records: &[(u64, i64)]) -> bool {
        let mut partial = PartialYeses::default();
        for (number, second) in records {
            let at = Timestamp::from_second(*second).unwrap();
            let line = json!({ "at": at.to_string(), "kind": "session-end", "session": "s1" });
            let line: LogRecord = serde_json::from_value(line).unwrap();
            partial.see(*number, &line, &line.record());
        }
        partial.may_lack(asked_at)
    }

    #[test]
    fn a_yes_may_be_lacking_where_records_behind_its_question_are_not_here() {
        assert!(!may_lack(100, &[(1, 100), (2, 150)]), "all are here");
        assert!(may_lack(100, &[(7, 120), (8, 150)]), "the first are gone");
        assert!(!may_lack(100, &[(7, 90), (8, 150)]), "it was asked later");
        assert!(may_lack(100, &[(1, 90), (5, 150)]), "some did not come");
        assert!(!may_lack(100, &[(1, 50), (5, 90), (6, 150)]));
    }
}
