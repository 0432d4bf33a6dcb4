//! guardd's records: the audit log, the journal, counts of events, and the files beside the kernel's state.

pub(crate) mod audit;
pub(crate) mod given;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod kernel_log;
pub(crate) mod lines;
pub(crate) mod reader;
pub(crate) mod recent;
pub(crate) mod shares;
pub(crate) mod shelf;
pub(crate) mod starts;
pub(crate) mod times;

use std::collections::BTreeMap;

use guard_common::{BootTime, SessionId};
use guard_sys::clock;
use jiff::Timestamp;

use self::{
    audit::{Audit, AuditError, LogEntry},
    shares::{AdmittedRecord, Shares},
    starts::Starts,
};
use crate::quota::Account;

/// Owns guardd's records: the audit log, each session's share of it, and the counts of events.
#[derive(Debug)]
pub(crate) struct Recorder {
    audit: Audit,
    /// How much each account has written to the audit log lately.
    shares: Shares,
    /// The starts of sessions that are written, and those that are not yet.
    starts: Starts,
    /// Events since guardd started, by name.
    events: BTreeMap<String, u64>,
    /// When guardd began to record.
    began: Timestamp,
}

impl Recorder {
    /// A recorder that writes to that audit log, and has counted nothing.
    #[must_use]
    pub(crate) fn new(audit: Audit) -> Self {
        Self {
            audit,
            shares: Shares::default(),
            starts: Starts::default(),
            events: BTreeMap::new(),
            began: Timestamp::now(),
        }
    }

    /// When guardd started.
    #[must_use]
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    /// The audit log, to be read.
    #[must_use]
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Returns the events since guardd started, by name.
    #[must_use]
    pub(crate) fn events(&self) -> &BTreeMap<String, u64> {
        &self.events
    }

    /// Counts an event. `name` has its kind behind a dot.
    pub(crate) fn count(&mut self, name: &str) {
        self.count_by(name, 1);
    }

    /// Counts `times` events.
    pub(crate) fn count_by(&mut self, name: &str, times: u64) {
        match self.events.get_mut(name) {
            Some(count) => *count += times,
            None => drop(self.events.insert(name.to_owned(), times)),
        }
    }

    /// Counts the outcome of a request to a read-only destination, as the audit log names it.
    pub(crate) fn count_http(&mut self, outcome: &str) {
        match outcome {
            "passed" => self.count("http_requests.passed"),
            "failed" => self.count("http_requests.failed"),
            // Not about one request.
            "warned" => {}
            _ => self.count("http_requests.refused"),
        }
    }

    /// Counts a person's answer, and how long the request had waited.
    pub(crate) fn count_answer(&mut self, name: &str, asked_at: Timestamp) {
        self.count(name);
        let waited = asked_at.duration_until(Timestamp::now()).as_millis();
        self.count_by("answer_delay_ms", waited.try_into().unwrap_or_default());
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if it does not fit; the log is then as it was.
    pub(crate) fn write(&mut self, entry: impl Into<LogEntry>) -> Result<(), AuditError> {
        let entry = entry.into();
        self.note_starts_before(&entry);
        self.audit.write(entry)
    }

    /// Adds a record about something that has happened and cannot be refused any more.
    pub(crate) fn note(&mut self, entry: impl Into<LogEntry>) {
        let entry = entry.into();
        self.note_starts_before(&entry);
        let account = entry.account();
        let written = self.audit.note(entry);
        if let (Some(account), Some(bytes)) = (account, written) {
            self.shares.wrote(account, bytes, clock::now());
        }
    }

    /// Adds a session's start, or that there was none. Where its starter has had too many lately, or the start of its parent session is not
    /// written, it is added before the first other record of the session; false then. Its `at` is the time of its writing: a client
    /// that reads what came since a time would miss a start from before it, with the session's name, policy and parent. `started` says when
    /// it began.
    pub(crate) fn note_start(&mut self, by: Account, entry: LogEntry, now: BootTime) -> bool {
        let parent = entry.parent();
        if let Some(by) = parent.and_then(|parent| self.starts.deferred_by(parent)) {
            self.starts.defer(by, entry);
            return false;
        }
        let Some(count) = self.starts.admit(by, now) else {
            self.starts.defer(by, entry);
            return false;
        };
        self.audit.note(entry.in_time().starts_left_out(count));
        true
    }

    /// Adds a session's end; but not if it `is_quiet` and there is no record of the session.
    pub(crate) fn note_end(&mut self, entry: LogEntry, is_quiet: bool) {
        let session = entry.session().filter(|_| is_quiet);
        let is_left_out = session.is_some_and(|session| self.starts.leave_out(session));
        if !is_left_out {
            self.note(entry);
        }
    }

    /// A session's start stands before all else of it, and behind those of its parent sessions.
    fn note_starts_before(&mut self, entry: &LogEntry) {
        let mut starts = Vec::new();
        let mut session = entry.session().map(str::to_owned);
        while let Some(start) = session.and_then(|id| self.starts.take_deferred(&id)) {
            session = start.parent().map(str::to_owned);
            starts.push(start);
        }
        for start in starts.into_iter().rev() {
            self.audit.note(start);
        }
    }

    /// How many starts and ends of a starter's sessions were left out since the last record that said so, which the caller says.
    pub(crate) fn take_starts_left_out(&mut self, by: Account) -> u64 {
        self.starts.take_left_out(by)
    }

    /// The same of all starters.
    pub(crate) fn take_all_starts_left_out(&mut self) -> u64 {
        self.starts.take_all_left_out()
    }

    /// Checks that there is room for all records of one decision, before any of it takes effect.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if there is none.
    pub(crate) fn reserve(&self) -> Result<(), AuditError> {
        self.audit.reserve()
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if the disk did not take them.
    pub(crate) fn sync(&self) -> Result<(), AuditError> {
        self.audit.sync()
    }

    /// Goes on in a new file, if the one in use is no longer at its path.
    pub(crate) fn follow_path(&mut self) {
        self.audit.follow_path();
    }

    /// Whether a session may cause a record now, and what the record says of missing ones.
    pub(crate) fn admit(
        &mut self,
        session: SessionId,
        account: Account,
        now: BootTime,
    ) -> Option<AdmittedRecord> {
        self.shares.admit(session, account, now)
    }

    /// Whether a record of an account would be written now.
    #[must_use]
    pub(crate) fn has_room(&self, account: Account, now: BootTime) -> bool {
        self.shares.has_room(account, now)
    }

    /// So many more records of a session are left out.
    pub(crate) fn note_left_out(&mut self, session: SessionId, left_out: u64) {
        self.shares.note_left_out(session, left_out);
    }

    /// How many records of a session were left out since the last one.
    #[must_use]
    pub(crate) fn left_out(&self, session: SessionId) -> u64 {
        self.shares.left_out(session)
    }

    /// Removes a session.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.shares.forget(session);
    }
}

/// One whose audit log is in that directory.
#[cfg(test)]
pub(crate) fn recorder() -> (Recorder, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(&dir.path().join("audit.jsonl")).unwrap();
    (Recorder::new(audit), dir)
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fs};

    use guard_proto::{
        LogKind, LogRecord,
        record::{Denied, Record, SessionEnd, SessionStart},
    };

    use super::*;

    #[test]
    fn whoever_has_used_its_share_up_writes_nothing_and_all_else_is_written() {
        let (mut recorder, _dir) = recorder();
        let (one, now) = (SessionId(1), BootTime(1_000_000_000_000));
        let account = Account::inside(1000, one);
        let admitted = (0..100).filter(|_| recorder.admit(one, account, now).is_some());
        assert!(admitted.count() < 100);
        assert_ne!(recorder.left_out(one), 0);
        recorder.note(LogEntry::of("s1", 1000, SessionEnd::default()));
        assert_eq!(recorder.audit().head().number, 1);
        recorder.forget(one);
        assert_eq!(recorder.left_out(one), 0);
    }

    fn start(session: &str) -> LogEntry {
        LogEntry::of(session, 1000, SessionStart::default())
    }

    fn end(session: &str) -> LogEntry {
        LogEntry::of(session, 1000, SessionEnd::default())
    }

    /// Each record's kind, session, and how many it says were left out.
    fn written(recorder: &Recorder) -> Vec<(LogKind, Option<String>, Option<u64>)> {
        let text = fs::read_to_string(recorder.audit().path()).unwrap();
        let records = text.lines().map(|line| {
            let record: LogRecord = serde_json::from_str(line).unwrap();
            let left_out = record.common().starts_left_out.take();
            (record.kind, record.session, left_out)
        });
        records.collect()
    }

    #[test]
    fn of_a_loop_of_starts_those_are_written_of_which_anything_else_is() {
        let (mut recorder, _dir) = recorder();
        let (by, now) = (Account::outside(1000), BootTime(1_000_000_000_000));
        let loops = (0..).map(|number| format!("s{number}"));
        let first = loops.take_while(|id| {
            let is_written = recorder.note_start(by, start(id), now);
            recorder.note_end(end(id), true);
            is_written
        });
        let count = first.count();
        let both = written(&recorder);
        assert_eq!(both.len(), 2 * count, "of each start there is the end");
        assert!(both.iter().all(|(.., left_out)| left_out.is_none()));
        // Beyond the allowance: one that is refused something, one that has only an end to tell of, and two of which there is nothing.
        for id in ["a", "b", "c", "d"] {
            assert!(!recorder.note_start(by, start(id), now), "{id}");
        }
        recorder.note(LogEntry::of("a", 1000, Denied::default()));
        recorder
            .write(LogEntry::of("a", 1000, Denied::default()))
            .unwrap();
        recorder.note_end(end("a"), true);
        recorder.note_end(end("b"), false);
        recorder.note_end(end("c"), true);
        recorder.note_end(end("d"), true);
        let later = BootTime(now.0 + 1_000_000_000);
        assert!(recorder.note_start(by, start("e"), later));
        let of = |kind, session: &str, left_out| (kind, Some(session.to_owned()), left_out);
        let expected = [
            of(LogKind::SessionStart, "a", None),
            of(LogKind::Denied, "a", None),
            of(LogKind::Denied, "a", None),
            of(LogKind::SessionEnd, "a", None),
            of(LogKind::SessionStart, "b", None),
            of(LogKind::SessionEnd, "b", None),
            // Of the last of the loop, and of the two.
            of(LogKind::SessionStart, "e", Some(6)),
        ];
        assert_eq!(written(&recorder)[2 * count..], expected);
        assert_eq!(recorder.take_all_starts_left_out(), 0);
    }

    #[test]
    fn a_start_that_is_written_later_says_when_it_was() -> Result<(), Box<dyn Error>> {
        let (mut recorder, _dir) = recorder();
        let (by, now) = (Account::outside(1000), BootTime(1_000_000_000_000));
        let began = "2026-11-20T12:00:00.000Z";
        let start = |session: &str| {
            let record = SessionStart {
                started: began.into(),
                ..SessionStart::default()
            };
            LogEntry::of(session, 1000, record)
        };
        let loops = (0..).map(|number| format!("s{number}"));
        let first = loops.take_while(|id| recorder.note_start(by, start(id), now));
        let later = format!("s{}", first.count());
        recorder.write(LogEntry::of(&later, 1000, Denied::default()))?;
        let text = fs::read_to_string(recorder.audit().path())?;
        let mut said = Vec::new();
        for line in text.lines() {
            let record: LogRecord = serde_json::from_str(line)?;
            if let Record::SessionStart(one) = record.record() {
                said.extend(one.started.take().zip(record.session));
            }
        }
        assert_eq!(said, [(began.to_owned(), later)]);
        Ok(())
    }

    #[test]
    fn no_session_is_in_the_log_without_those_around_it() {
        let (mut recorder, _dir) = recorder();
        let (by, now) = (Account::outside(1000), BootTime(1_000_000_000_000));
        let first = (0..).map(|number| start(&format!("s{number}")));
        let first = first.take_while(|entry| recorder.note_start(by, entry.clone(), now));
        let count = first.count();
        let inside = Account::inside(1000, SessionId(1));
        let start_in = |session: &str, parent: &str| {
            let record = SessionStart {
                parent: parent.into(),
                ..SessionStart::default()
            };
            LogEntry::of(session, 1000, record)
        };
        assert!(!recorder.note_start(by, start("outer"), now));
        // Of the allowance inside nothing is used up.
        for (session, parent) in [
            ("middle", "outer"),
            ("inner", "middle"),
            ("quiet", "middle"),
        ] {
            let is_written = recorder.note_start(inside, start_in(session, parent), now);
            assert!(!is_written, "{session}");
        }
        recorder.note(LogEntry::of("inner", 1000, Denied::default()));
        recorder.note_end(end("quiet"), true);
        assert!(recorder.note_start(inside, start_in("later", "outer"), now));
        let of = |kind, session: &str| (kind, Some(session.to_owned()), None::<u64>);
        let expected = [
            of(LogKind::SessionStart, "outer"),
            of(LogKind::SessionStart, "middle"),
            of(LogKind::SessionStart, "inner"),
            of(LogKind::Denied, "inner"),
            of(LogKind::SessionStart, "later"),
        ];
        assert_eq!(written(&recorder)[count..], expected);
        assert_eq!(recorder.take_starts_left_out(by), 2);
    }
}
