//! Who said yes to what: each signature in the audit log, checked again with the keys that the log itself says were added, or
//! with others that somebody kept elsewhere.

use std::collections::{HashMap, hash_map::Entry};

use guard_proto::{
    LogRecord, moment,
    record::{Record, Signature},
};
use guard_signed::{
    Answer, Document as _, Kind, Question, Signed, Verdict,
    approvers::{Approvers, Key},
};
use jiff::Timestamp;
use serde::Serialize;

/// Statements that guardd puts in a row at most.
const LONGEST_ROW: usize = 32;

/// A signature that was checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckedSignature {
    /// The number of its record.
    pub number: u64,
    /// When it was taken, as the record says.
    #[serde(serialize_with = "moment::write_some")]
    pub at: Option<Timestamp>,
    /// The request.
    pub request: Option<String>,
    /// `yes`, `no`, or `part`.
    pub answer: String,
    /// The approver.
    pub by: String,
    /// The key's id.
    pub key: String,
    /// What the person was shown.
    pub shown: Vec<String>,
    /// Whether it is what it says.
    pub ok: bool,
    /// If not, why.
    pub why: Option<String>,
    /// The first record of the same answer, where this is for another of the statements in a row that it was for.
    pub part_of: Option<u64>,
}

/// What somebody says once: guardd takes no key's yes to a question twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Once {
    /// Its hash.
    question: String,
    key: String,
    is_yes: bool,
}

/// Statements in a row, for which one answer is: each has a record with its one signature and its own request, behind which come the
/// records of what was opened for it; the last has the request that was signed.
#[derive(Debug)]
struct Row {
    signature: Signature,
    /// The request that was signed.
    own: String,
    /// The requests that have a record so far.
    requests: Vec<String>,
    /// The first record, and where the row begins in what was found.
    number: u64,
    at: usize,
}

impl Row {
    /// Whether a record stands where the next of the row stands.
    fn has(&self, record: &Record) -> bool {
        let last = self.requests.last();
        match record {
            Record::HoleOpen(opened) => opened.request.get() == last,
            Record::Answered(one) => {
                let is_new = |id: &String| !self.requests.contains(id);
                one.signed.get() == Some(&self.signature)
                    && one.answer.is("yes")
                    && one.request.get().is_some_and(is_new)
                    && last != Some(&self.own)
                    && self.requests.len() < LONGEST_ROW
            }
            _ => false,
        }
    }
}

/// Checks signatures along a chain.
#[derive(Debug, Default)]
pub struct Signatures {
    /// The keys that may sign, by their ids, with whose they are; those that the log adds come to these.
    keys: HashMap<String, (String, Key)>,
    /// Whether the log's own word counts about keys.
    by_log: bool,
    /// Whose log it is; none: not known, and then the first signature says it.
    machine: Option<String>,
    /// The records of those that were given: each counts once.
    given: HashMap<Once, u64>,
    /// The statements that the last record was one of.
    row: Option<Row>,
    found: Vec<CheckedSignature>,
}

impl Signatures {
    /// With the keys that the log says were added.
    #[must_use]
    pub fn by_log() -> Self {
        Self {
            by_log: true,
            ..Self::default()
        }
    }

    /// With these keys alone, whatever the log says.
    #[must_use]
    pub fn by(approvers: &Approvers) -> Self {
        let of = |one: &guard_signed::approvers::Approver| {
            let keys = one.keys.iter();
            let keys = keys.map(|key| (key.id.clone(), (one.name.clone(), key.clone())));
            keys.collect::<Vec<_>>()
        };
        Self {
            keys: approvers.all.iter().flat_map(of).collect(),
            ..Self::default()
        }
    }

    /// In the log of that machine: what was signed for another one is none here.
    #[must_use]
    pub fn of(mut self, machine: &str) -> Self {
        self.machine = Some(machine.to_owned());
        self
    }

    /// Those that were checked.
    #[must_use]
    pub fn found(mut self) -> Vec<CheckedSignature> {
        self.end_row();
        self.found
    }

    /// Looks at the next record of the chain.
    pub(super) fn see(&mut self, number: u64, line: &LogRecord) {
        let record = line.record();
        if self.row.as_ref().is_some_and(|row| !row.has(&record)) {
            self.end_row();
        }
        match record {
            Record::ApproverAdded(added) if self.by_log => {
                let of = added.key_kind.take().zip(added.public_key.take());
                let key = of.and_then(|(kind, public)| match kind.as_str() {
                    "ssh" => Key::ssh(&public).ok(),
                    _ => Key::passkey(added.key.get()?, &public).ok(),
                });
                if let (Some(name), Some(key)) = (added.approver.take(), key) {
                    self.keys.insert(key.id.clone(), (name, key));
                }
            }
            Record::ApproverRemoved(gone) if self.by_log => {
                gone.key.get().map(|id| self.keys.remove(id));
            }
            Record::Answered(one) => {
                let said = one.answer.take().unwrap_or_default();
                self.check(number, line, (one.request.take(), said), one.signed.take());
            }
            Record::AnsweredInPart(one) => {
                self.check(
                    number,
                    line,
                    (one.request.take(), "part".to_owned()),
                    one.signed.take(),
                );
            }
            _ => {}
        }
    }

    fn check(
        &mut self,
        number: u64,
        line: &LogRecord,
        (request, said): (Option<String>, String),
        signature: Option<Signature>,
    ) {
        let Some(signature) = signature else { return };
        let checked = self.is_signed(&signature, (request.as_deref(), &said));
        let checked = checked.and_then(|answer| {
            let one = (number, request.as_deref(), &*said);
            self.is_of_this_log(one, &signature, answer)
        });
        let question = Question::from_bytes(signature.question.as_bytes());
        self.found.push(CheckedSignature {
            part_of: checked.as_ref().ok().copied().flatten(),
            number,
            at: Some(line.at),
            request,
            answer: said,
            by: signature.by,
            key: signature.key,
            shown: question.map(|question| question.shows).unwrap_or_default(),
            ok: checked.is_ok(),
            why: checked.err(),
        });
    }

    fn is_signed(
        &self,
        signature: &Signature,
        (request, said): (Option<&str>, &str),
    ) -> Result<(Answer, Question), String> {
        let found = self.keys.get(&signature.key);
        let (name, key) = found.ok_or("nobody is known to have that key at that time")?;
        let signed = Signed {
            answer: signature.answer.clone(),
            key: signature.key.clone(),
            kind: key.kind(),
            signature: signature.signature.clone(),
            authenticator_data: signature.authenticator_data.clone(),
            client_data: signature.client_data.clone(),
        };
        let origins: Vec<_> = signed.origin().into_iter().collect();
        let answer = signed
            .verify(key, &origins)
            .map_err(|why| why.to_string())?;
        let bytes = signature.question.as_bytes();
        let question = Question::from_bytes(bytes).map_err(|why| why.to_string())?;
        is_about(&answer, &question, bytes)?;
        if answer.by != *name || signature.by != *name {
            return Err(format!("the key is {name}'s"));
        }
        // Of statements in a row, each has a record of its own.
        let is_own = request.is_none_or(|request| request == question.request);
        if !is_own && !is_row(&question, said) {
            return Err("the record is about another request".to_owned());
        }
        let is_kind = signature.kind
            == match key.kind() {
                Kind::Ssh => "ssh",
                Kind::Passkey => "passkey",
            };
        match (is_kind, answer.verdict, said) {
            (true, Verdict::Yes, "yes" | "part") | (true, Verdict::No, "no") => {
                Ok((answer, question))
            }
            _ => Err("the record says something else than what was signed".to_owned()),
        }
    }

    /// Whether it was given on this machine, and in no record before; if it is for another statement in a row as well, the first
    /// record of the row.
    fn is_of_this_log(
        &mut self,
        (number, request, said): (u64, Option<&str>, &str),
        signature: &Signature,
        (answer, question): (Answer, Question),
    ) -> Result<Option<u64>, String> {
        let machine = self.machine.get_or_insert_with(|| question.machine.clone());
        if *machine != question.machine {
            return Err(format!(
                "it was signed for another machine, {}",
                question.machine
            ));
        }
        let request = request.unwrap_or(&question.request).to_owned();
        if let Some(row) = &mut self.row {
            row.requests.push(request);
            return Ok(Some(row.number));
        }
        let given = Once {
            question: answer.question,
            key: signature.key.clone(),
            is_yes: answer.verdict == Verdict::Yes,
        };
        match self.given.entry(given) {
            Entry::Vacant(entry) => entry.insert(number),
            Entry::Occupied(entry) => {
                let first = entry.get();
                return Err(format!("it is that of record {first}, and counts once"));
            }
        };
        if is_row(&question, said) {
            self.row = Some(Row {
                signature: signature.clone(),
                own: question.request,
                requests: vec![request],
                number,
                at: self.found.len(),
            });
        }
        Ok(None)
    }

    /// The row is over: without the request that was signed it is none.
    fn end_row(&mut self) {
        let Some(row) = self.row.take() else { return };
        if row.requests.last() == Some(&row.own) {
            return;
        }
        let its = self.found.iter_mut().skip(row.at).take(row.requests.len());
        for one in its {
            one.ok = false;
            one.why = Some(format!(
                "the record of {}, which was signed, is missing behind it",
                row.own
            ));
        }
    }
}

/// Whether the answer to that question may have several records.
fn is_row(question: &Question, said: &str) -> bool {
    question.kind == "sql" && said == "yes"
}

fn is_about(answer: &Answer, question: &Question, bytes: &[u8]) -> Result<(), String> {
    match answer.question == Question::hash(bytes) && answer.machine == question.machine {
        true => Ok(()),
        false => Err("what was signed is about another question".to_owned()),
    }
}
