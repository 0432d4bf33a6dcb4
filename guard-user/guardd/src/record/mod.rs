//! guardd's records: the audit log, the journal, metrics, and the files beside the kernel's state.

pub mod audit;
pub mod given;
pub mod journal;
pub mod kept;
pub mod kernel_log;
pub mod lines;
pub mod meters;
pub mod metrics;
pub mod reader;
pub mod recent;
pub mod shelf;
pub mod times;

use guard_common::{BootTime, SessionId};
use jiff::Timestamp;

use self::{
    audit::{Audit, AuditError, LogEntry},
    meters::{AdmittedRecord, Meters},
    metrics::Counters,
};

/// Owns guardd's records: the audit log, each session's share of it, and the counters of the metrics.
#[derive(Debug)]
pub struct Recorder {
    audit: Audit,
    /// How much each session has written to the audit log lately.
    meters: Meters,
    /// The counters of events.
    counters: Counters,
    /// Why metrics are not served, if they should be.
    metrics_problem: Option<String>,
    /// When guardd began to record.
    began: Timestamp,
}

impl Recorder {
    /// A recorder that writes to that audit log, and has counted nothing.
    #[must_use]
    pub fn new(audit: Audit) -> Self {
        Self {
            audit,
            meters: Meters::default(),
            counters: Counters::default(),
            metrics_problem: None,
            began: Timestamp::now(),
        }
    }

    /// When guardd started.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// The audit log, to be read.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The counters of events.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if it does not fit; the log is then as it was.
    pub fn write(&mut self, entry: impl Into<LogEntry>) -> Result<(), AuditError> {
        self.audit.write(entry)
    }

    /// Adds a record about something that has happened and cannot be refused any more.
    pub fn note(&mut self, entry: impl Into<LogEntry>) {
        self.audit.note(entry);
    }

    /// Checks that there is room for all records of one decision, before any of it takes effect.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if there is none.
    pub fn reserve(&self) -> Result<(), AuditError> {
        self.audit.reserve()
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if the disk did not take them.
    pub fn sync(&self) -> Result<(), AuditError> {
        self.audit.sync()
    }

    /// Goes on in a new file, if the one in use is no longer at its path.
    pub fn follow_path(&mut self) {
        self.audit.follow_path();
    }

    /// Whether a session may cause a record now, and what the record says of missing ones. `outermost`: the session whose share
    /// that is.
    pub fn admit(
        &mut self,
        session: SessionId,
        outermost: SessionId,
        now: BootTime,
    ) -> Option<AdmittedRecord> {
        self.meters.admit(session, outermost, now)
    }

    /// Whether a record of an outermost session, or of one inside it, would be written now.
    #[must_use]
    pub fn has_room(&self, outermost: SessionId, now: BootTime) -> bool {
        self.meters.has_room(outermost, now)
    }

    /// So many more records of a session are left out.
    pub fn note_left_out(&mut self, session: SessionId, left_out: u64) {
        self.meters.note_left_out(session, left_out);
    }

    /// How many records of a session were left out since the last one.
    #[must_use]
    pub fn left_out(&self, session: SessionId) -> u64 {
        self.meters.left_out(session)
    }

    /// Removes a session, and its share if no other session has a part in it.
    pub fn forget(&mut self, session: SessionId, outermost: SessionId, is_shared: bool) {
        self.meters.forget(session, outermost, is_shared);
    }

    /// Why metrics are not served, if they should be.
    #[must_use]
    pub fn metrics_problem(&self) -> Option<&str> {
        self.metrics_problem.as_deref()
    }

    /// Notes why metrics are not served, or that they are. True if that is a new problem.
    pub fn note_metrics(&mut self, problem: Option<String>) -> bool {
        let is_new = problem.is_some() && self.metrics_problem != problem;
        self.metrics_problem = problem;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use guard_proto::record::SessionEnd;

    use super::*;

    fn recorder() -> (Recorder, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(&dir.path().join("audit.jsonl")).unwrap();
        (Recorder::new(audit), dir)
    }

    #[test]
    fn why_metrics_are_not_served_is_news_once() {
        let (mut recorder, _dir) = recorder();
        let problem = || Some("in use".to_owned());
        assert!(recorder.note_metrics(problem()));
        assert!(!recorder.note_metrics(problem()));
        assert_eq!(recorder.metrics_problem(), Some("in use"));
        assert!(!recorder.note_metrics(None));
        assert!(recorder.note_metrics(problem()));
    }

    #[test]
    fn whoever_has_used_its_share_up_writes_nothing_and_all_else_is_written() {
        let (mut recorder, _dir) = recorder();
        let (one, now) = (SessionId(1), BootTime(1_000_000_000_000));
        let admitted = (0..100).filter(|_| recorder.admit(one, one, now).is_some());
        assert!(admitted.count() < 100);
        assert_ne!(recorder.left_out(one), 0);
        recorder.note(LogEntry::of("s1", 1000, SessionEnd::default()));
        assert_eq!(recorder.audit().head().number, 1);
        recorder.forget(one, one, false);
        assert_eq!(recorder.left_out(one), 0);
    }
}
