//! Who said yes to what: each signature in the audit log, checked again with the keys that the log itself says were added, or
//! with others that somebody kept elsewhere.

use std::collections::{HashMap, hash_map::Entry};

use guard_proto::{
    LogRecord, moment,
    record::{Record, Signature},
};
use guard_signed::{
    Answer, Document as _, Kind, Question, Signed, SignedVerdict,
    approvers::{ApproverList, Key},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    row::{AskedRequests, RowPart, SentStatement, StatementRow},
    terms::{PartialYeses, RecordedTerms},
};

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
    /// Whether the signature is valid for the record.
    pub ok: bool,
    /// If not, why.
    pub why: Option<String>,
    /// The first record of the same answer, where this is for another of the statements in a row that it was for.
    pub part_of: Option<u64>,
}

/// A record of an answer.
struct SignedRecord<'l> {
    number: u64,
    line: &'l LogRecord,
    request: Option<String>,
    /// `yes`, `no`, or `part`.
    said: String,
    /// What it is about, if that is a statement for a database.
    statement: Option<SentStatement>,
    /// What was opened, and who else said so.
    terms: RecordedTerms,
    /// How many have to say so, where it is one of several.
    wanted: Option<u32>,
}

impl SignedRecord<'_> {
    /// The request that it is about; where it does not say so, the one that was signed.
    fn request_or<'r>(&'r self, question: &'r Question) -> &'r str {
        self.request.as_ref().unwrap_or(&question.request)
    }
}

/// What a signature is of, once it is known to be one.
struct VerifiedSignature {
    answer: Answer,
    question: Question,
}

/// What somebody says once: guardd takes no key's yes to a question twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Once {
    /// Its hash.
    question: String,
    key: String,
    is_yes: bool,
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
    /// Yeses of which several are wanted.
    partial: PartialYeses,
    /// What was asked.
    asked: AskedRequests,
    /// The statements that the last record was one of.
    row: Option<StatementRow>,
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
    pub fn by(approvers: &ApproverList) -> Self {
        let of = |one: &guard_signed::approvers::SigningApprover| {
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

    /// The signatures that were checked.
    #[must_use]
    pub fn found(mut self) -> Vec<CheckedSignature> {
        self.end_row();
        self.found
    }

    /// Looks at the next record of the chain.
    pub(super) fn see(&mut self, number: u64, line: &LogRecord) {
        let record = line.record();
        let is_next = |row: &StatementRow| row.has(line, &record, &self.asked);
        if !self.row.as_ref().is_none_or(is_next) {
            self.end_row();
        }
        self.asked.see(line, &record);
        self.partial.see(number, line, &record);
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
                let record = SignedRecord {
                    number,
                    line,
                    statement: SentStatement::answered(&one),
                    terms: RecordedTerms::of(&one),
                    wanted: None,
                    request: one.request.take(),
                    said: one.answer.take().unwrap_or_default(),
                };
                self.check(record, one.signed.take());
            }
            Record::AnsweredInPart(one) => {
                let record = SignedRecord {
                    number,
                    line,
                    statement: None,
                    terms: RecordedTerms::default(),
                    wanted: one.wanted.get().copied(),
                    request: one.request.take(),
                    said: "part".to_owned(),
                };
                self.check(record, one.signed.take());
            }
            _ => {}
        }
    }

    fn check(&mut self, record: SignedRecord<'_>, signature: Option<Signature>) {
        let Some(signature) = signature else { return };
        let checked = self.is_signed(&signature, &record);
        let part = checked.as_ref().ok().filter(|_| record.said == "part");
        let part = part.map(|verified| verified.answer.clone());
        let checked =
            checked.and_then(|verified| self.is_of_this_log(&record, &signature, verified));
        if let (Ok(_), Some(answer)) = (&checked, part) {
            self.partial
                .keep(record.number, &signature.by, answer, record.wanted);
        }
        let question = Question::from_bytes(signature.question.as_bytes());
        self.found.push(CheckedSignature {
            part_of: checked.as_ref().ok().copied().flatten(),
            number: record.number,
            at: Some(record.line.at),
            request: record.request,
            answer: record.said,
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
        record: &SignedRecord<'_>,
    ) -> Result<VerifiedSignature, String> {
        let found = self.keys.get(&signature.key);
        let (name, key) = found.ok_or("nobody is known to have that key at that time")?;
        let signed = signed_by(signature, key);
        let origins: Vec<_> = signed.origin().into_iter().collect();
        let answer = signed
            .verify(key, &origins)
            .map_err(|why| why.to_string())?;
        let bytes = signature.question.as_bytes();
        let question = Question::from_bytes(bytes).map_err(|why| why.to_string())?;
        is_about(&answer, &question, bytes)?;
        if !answer.is_by(name) || signature.by != *name {
            return Err(format!("the key is {name}'s"));
        }
        if record.line.session.as_ref() != Some(&question.session) {
            return Err("the record is about another session".to_owned());
        }
        // Of statements in a row, each has a record of its own.
        let is_own = record.request_or(&question) == question.request;
        if !is_own && !self.is_part(record, &answer, &question) {
            return Err("the record is about another request".to_owned());
        }
        let is_kind = signature.kind
            == match key.kind() {
                Kind::Ssh => "ssh",
                Kind::Passkey => "passkey",
            };
        match (is_kind, answer.verdict, &*record.said) {
            (true, SignedVerdict::Yes, "yes") => {
                let terms = &record.terms;
                terms.are_within(&answer)?;
                self.partial.have_said(terms, name, &answer, &question)?;
                Ok(VerifiedSignature { answer, question })
            }
            (true, SignedVerdict::Yes, "part") | (true, SignedVerdict::No, "no") => {
                Ok(VerifiedSignature { answer, question })
            }
            _ => Err("the record says something else than what was signed".to_owned()),
        }
    }

    /// Whether it may be one of the statements in a row that the answer is for.
    fn is_part(&self, record: &SignedRecord<'_>, answer: &Answer, question: &Question) -> bool {
        let request = record.request_or(question);
        let fits = |one| self.asked.fits(request, &question.session, one);
        is_row(question, record)
            && answer.scope == "one"
            && record.statement.as_ref().is_some_and(fits)
    }

    /// Whether it was given on this machine, and in no record before; if it is for another statement in a row as well, the first
    /// record of the row.
    fn is_of_this_log(
        &mut self,
        record: &SignedRecord<'_>,
        signature: &Signature,
        verified: VerifiedSignature,
    ) -> Result<Option<u64>, String> {
        let VerifiedSignature { answer, question } = verified;
        let machine = self.machine.get_or_insert_with(|| question.machine.clone());
        if *machine != question.machine {
            return Err(format!(
                "it was signed for another machine, {}",
                question.machine
            ));
        }
        let part = RowPart {
            request: record.request_or(&question).to_owned(),
            statement: record.statement.clone(),
        };
        if let Some(row) = &mut self.row {
            row.push(part);
            return Ok(Some(row.number));
        }
        let given = Once {
            question: answer.question,
            key: signature.key.clone(),
            is_yes: answer.verdict == SignedVerdict::Yes,
        };
        match self.given.entry(given) {
            Entry::Vacant(entry) => entry.insert(record.number),
            Entry::Occupied(entry) => {
                let first = entry.get();
                return Err(format!("it is that of record {first}, and counts once"));
            }
        };
        if is_row(&question, record) {
            let (number, at) = (record.number, self.found.len());
            self.row = Some(StatementRow::new(signature, question, part, number, at));
        }
        Ok(None)
    }

    /// The row is over: what is wrong with it is wrong with each of its records.
    fn end_row(&mut self) {
        let Some(row) = self.row.take() else { return };
        let (at, count) = (row.at, row.len());
        let Some(wrong) = row.wrong() else { return };
        for one in self.found.iter_mut().skip(at).take(count) {
            one.ok = false;
            one.part_of = None;
            one.why = Some(wrong.clone());
        }
    }
}

/// As approvers hand it in.
fn signed_by(signature: &Signature, key: &Key) -> Signed {
    Signed {
        answer: signature.answer.clone(),
        key: signature.key.clone(),
        kind: key.kind(),
        signature: signature.signature.clone(),
        authenticator_data: signature.authenticator_data.clone(),
        client_data: signature.client_data.clone(),
    }
}

/// Whether the answer to that question may have several records.
fn is_row(question: &Question, record: &SignedRecord<'_>) -> bool {
    question.kind == "sql" && record.said == "yes"
}

fn is_about(answer: &Answer, question: &Question, bytes: &[u8]) -> Result<(), String> {
    if answer.question == Question::hash(bytes) && answer.machine == question.machine {
        Ok(())
    } else {
        Err("what was signed is about another question".to_owned())
    }
}
