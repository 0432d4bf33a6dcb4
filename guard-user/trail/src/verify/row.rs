//! Statements in a row, as of a migration: one signed answer is for all of them, and each has a record.

use std::{collections::HashMap, net::IpAddr};

use guard_policy::Prefix;
use guard_proto::{
    Endpoint, HttpRequest, LogRecord,
    record::{Answered, HoleOpen, Record, Request, Signature},
};
use guard_signed::{
    Question,
    visible::{visible, visible_again},
};

/// Statements that guardd puts in a row at most.
const LONGEST: usize = 32;

/// A statement for a database, and where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentStatement {
    /// Without the name that it was connected by, which may be another the next time.
    to: Endpoint,
    /// Its text, and its database.
    text: HttpRequest,
}

impl SentStatement {
    /// What a request is about, if that is one.
    fn of(asked: &Request) -> Option<Self> {
        let to = asked.destination.get()?.endpoint()?;
        let http = asked.http.get().filter(|http| http.is_statement())?;
        let text = HttpRequest {
            scheme: http.scheme.clone(),
            path: http.path.clone(),
            host: http.host.clone(),
            ..HttpRequest::default()
        };
        let to = Endpoint {
            host: None,
            ..to.clone()
        };
        Some(Self { to, text })
    }

    /// What an answer was given to, as its record says, if that is one.
    pub(super) fn answered(one: &Answered) -> Option<Self> {
        Self::of(&Request::read(one.shown.get()?))
    }

    fn is_at(&self, other: &Self) -> bool {
        let (one, next) = (&self.text, &other.text);
        self.to == other.to && (&one.scheme, &one.host) == (&next.scheme, &next.host)
    }

    /// Two in a row as one.
    fn and(mut self, next: &Self) -> Self {
        let (one, next) = (&self.text.path, &next.text.path);
        self.text.path = HttpRequest::in_a_row(one, HttpRequest::BETWEEN, next);
        self
    }

    /// Whether that is what a person was shown, whatever the name of its destination.
    fn is_shown(&self, question: &Question) -> bool {
        let text = format!(" wants {}", self.text.statement_at(&self.to));
        let text = visible(text, usize::MAX);
        // An earlier version has signed what it showed.
        let line = question.shows.first();
        let line = line.map(|line| visible_again(line, usize::MAX));
        let behind = line
            .as_deref()
            .and_then(|line| Some(line.split_once(&text)?.1));
        behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(" ("))
    }

    fn is_opened(&self, by: &HoleOpen) -> bool {
        let to = by.destination.get();
        let to = to.and_then(|to| to.parse::<Prefix>().ok());
        let address = self.to.address.parse::<IpAddr>().ok().map(Prefix::from);
        let is_there = to.is_some() && to == address && by.ports.is(&self.to.service());
        is_there && by.http.get().is_some()
    }
}

/// What was asked in sessions that have not ended, by the requests' ids. The oldest records may be gone, and guardd leaves
/// some out where there are many.
#[derive(Debug, Default)]
pub(super) struct AskedRequests(HashMap<String, (Option<String>, Option<SentStatement>)>);

impl AskedRequests {
    /// Takes the next record into account.
    pub(super) fn see(&mut self, line: &LogRecord, record: &Record) {
        match record {
            Record::Request(asked) => {
                if let Some(id) = asked.request.get() {
                    let asked = (line.session.clone(), SentStatement::of(asked));
                    self.0.insert(id.clone(), asked);
                }
            }
            Record::SessionEnd(_) => self.0.retain(|_, (session, _)| *session != line.session),
            // Then the same ids are of other requests.
            Record::DaemonStart(one) if one.start.is("fresh") => self.0.clear(),
            _ => {}
        }
    }

    /// Whether no record says that the request is about something else, or of another session.
    pub(super) fn fits(&self, id: &str, session: &str, statement: &SentStatement) -> bool {
        self.0.get(id).is_none_or(|(of, asked)| {
            of.as_deref() == Some(session) && asked.as_ref() == Some(statement)
        })
    }
}

/// Statements in a row: each has a record with the one signature and its own request, behind which come the records of what was
/// opened for it; the last has the request that was signed. Together they are what the person was shown.
#[derive(Debug)]
pub(super) struct StatementRow {
    signature: Signature,
    /// What was asked.
    question: Question,
    /// The requests that have a record so far.
    parts: Vec<RowPart>,
    /// The first record, and where the row begins in what was found.
    pub(super) number: u64,
    pub(super) at: usize,
}

/// One of the requests of a row.
#[derive(Debug)]
pub(super) struct RowPart {
    pub(super) request: String,
    /// What it is about.
    pub(super) statement: Option<SentStatement>,
}

impl StatementRow {
    /// Of which nothing has come but the first record.
    pub(super) fn new(
        signature: &Signature,
        question: Question,
        part: RowPart,
        number: u64,
        at: usize,
    ) -> Self {
        Self {
            signature: signature.clone(),
            question,
            parts: vec![part],
            number,
            at,
        }
    }

    /// How many records it has.
    pub(super) const fn len(&self) -> usize {
        self.parts.len()
    }

    /// The next record of it.
    pub(super) fn push(&mut self, part: RowPart) {
        self.parts.push(part);
    }

    /// Whether a record stands where the next of the row stands.
    pub(super) fn has(&self, line: &LogRecord, record: &Record, asked: &AskedRequests) -> bool {
        let Some(RowPart {
            request: last,
            statement: Some(statement),
        }) = self.parts.last()
        else {
            return false;
        };
        let session = &self.question.session;
        let is_next = |one: &Answered| {
            let (id, next) = one.request.get().zip(SentStatement::answered(one))?;
            let is_new = self.parts.iter().all(|known| known.request != *id);
            Some(is_new && next.is_at(statement) && asked.fits(id, session, &next))
        };
        let has = match record {
            Record::HoleOpen(opened) => opened.request.is(last) && statement.is_opened(opened),
            Record::Answered(one) => {
                one.signed.get() == Some(&self.signature)
                    && one.answer.is("yes")
                    && *last != self.question.request
                    && self.len() < LONGEST
                    && is_next(one).unwrap_or(false)
            }
            _ => false,
        };
        has && line.session.as_ref() == Some(session)
    }

    /// What is wrong with it, now that it is over.
    pub(super) fn wrong(self) -> Option<String> {
        let own = &self.question.request;
        let is_alone = self.len() == 1;
        if self.parts.last().is_none_or(|last| last.request != *own) {
            return Some(format!(
                "the record of {own}, which was signed, is missing behind it"
            ));
        }
        let statements = self.parts.into_iter().map(|part| part.statement);
        let all: Option<Vec<_>> = statements.collect();
        let all = all.and_then(|all| all.into_iter().reduce(|one, next| one.and(&next)));
        let is_shown = is_alone || all.is_some_and(|all| all.is_shown(&self.question));
        (!is_shown).then(|| "it is about other statements than those that were shown".to_owned())
    }
}
