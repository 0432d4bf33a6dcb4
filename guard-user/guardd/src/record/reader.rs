//! Reads the audit log, for `guard log`.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    sync::Arc,
};

use guard_proto::LogRecord;
use jiff::Timestamp;

use super::times::{RecordTime, Times};

/// Records in a batch at most.
const BATCH: usize = 256;

/// The records that are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only those of this session.
    pub(crate) session: Option<String>,
    /// None older than this.
    pub(crate) since: Option<Timestamp>,
    /// Only those of these users' sessions.
    pub(crate) uids: Option<Vec<u32>>,
}

impl Filter {
    /// The time before which no record is of use; none: those that are too old say whether there was such a session.
    fn begins(&self) -> Option<RecordTime> {
        let since = self.since.filter(|_| self.session.is_none())?;
        RecordTime::of(since)
    }

    /// Whether a line may match: a search of its bytes is a hundred times faster than parsing its JSON.
    fn may_want(&self, line: &[u8]) -> bool {
        if self
            .begins()
            .is_some_and(|since| RecordTime::of_line(line) < since)
        {
            return false;
        }
        self.session
            .as_deref()
            .and_then(|id| serde_json::to_string(id).ok())
            .is_none_or(|id| {
                let written = format!("\"session\":{id}");
                memchr::memmem::find(line, written.as_bytes()).is_some()
            })
    }

    fn wants(&self, record: &LogRecord) -> bool {
        self.since.is_none_or(|since| record.at >= since)
    }

    /// Whether it is of what is asked for, whenever it was.
    fn is_about(&self, record: &LogRecord) -> bool {
        let is_session = match &self.session {
            Some(wanted) => record.session.as_ref() == Some(wanted),
            None => true,
        };
        let is_owner = match &self.uids {
            Some(wanted) => record
                .common()
                .uid
                .get()
                .is_some_and(|uid| wanted.contains(uid)),
            None => true,
        };
        is_session && is_owner
    }
}

/// A reader's position in the audit log.
#[derive(Debug)]
pub(crate) struct AuditReader {
    file: BufReader<File>,
    /// The offset of the next whole line.
    offset: u64,
    /// The files that follow it.
    rest: VecDeque<File>,
    filter: Filter,
    /// When records of the files were.
    times: Option<Arc<Times>>,
    /// Whether it is where the file's records begin that may be wanted.
    has_begun: bool,
    /// Whether one of the records, perhaps an older one, is of the session that is asked for.
    knows_session: bool,
}

/// Some records, and whether they are the last for now.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The records, in order.
    pub(crate) records: Vec<LogRecord>,
    /// Whether no record follows yet.
    pub(crate) is_last: bool,
}

impl AuditReader {
    /// At the beginning of a file.
    #[must_use]
    pub(crate) fn new(file: File, filter: Filter) -> Self {
        Self {
            file: BufReader::new(file),
            offset: 0,
            rest: VecDeque::new(),
            filter,
            times: None,
            has_begun: false,
            knows_session: false,
        }
    }

    /// Leaves out what is older than what is asked for, by what is known of the files.
    #[must_use]
    pub(crate) fn by(mut self, times: Arc<Times>) -> Self {
        self.times = Some(times);
        self
    }

    /// Whether a record until here, perhaps one that is older than what is asked for, is of the session that is asked for.
    #[must_use]
    pub(crate) fn knows_session(&self) -> bool {
        self.knows_session
    }

    /// Goes on with another file after this one.
    pub(crate) fn then(&mut self, next: File) {
        self.rest.push_back(next);
    }

    /// The next records that match. An incomplete line is left for later.
    ///
    /// # Errors
    ///
    /// If the audit log cannot be read.
    pub(crate) fn next_batch(&mut self) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let mut line = Vec::new();
        while batch.records.len() < BATCH {
            if !std::mem::replace(&mut self.has_begun, true) {
                self.begin()?;
            }
            line.clear();
            let read = self.file.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                if let Some(next) = self.rest.pop_front() {
                    self.file = BufReader::new(next);
                    self.offset = 0;
                    self.has_begun = false;
                    continue;
                }
                self.file.seek(SeekFrom::Start(self.offset))?;
                batch.is_last = true;
                break;
            }
            self.offset += read as u64;
            if !self.filter.may_want(&line) {
                continue;
            }
            // A line that is no record was not written by guardd, and is not shown.
            if let Ok(record) = serde_json::from_slice::<LogRecord>(&line)
                && self.filter.is_about(&record)
            {
                self.knows_session = true;
                if self.filter.wants(&record) {
                    batch.records.push(record);
                }
            }
        }
        Ok(batch)
    }

    /// Goes to the first line of a file that may be wanted.
    fn begin(&mut self) -> io::Result<()> {
        let since = self.filter.begins();
        if let (Some(times), Some(since)) = (&self.times, since) {
            self.offset = times.start(self.file.get_ref(), since)?;
            self.file.seek(SeekFrom::Start(self.offset))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::record::audit::{Audit, LogEntry};
    use guard_proto::{
        LogKind,
        record::{DaemonStart, Denied, Held},
    };

    fn denied(session: &str, uid: u32) -> LogEntry {
        LogEntry::of(session, uid, Denied::default())
    }

    fn open(path: &Path, filter: Filter) -> AuditReader {
        AuditReader::new(File::open(path).unwrap(), filter)
    }

    fn sessions(path: &Path, filter: Filter) -> Vec<String> {
        let mut reader = open(path, filter);
        let batch = reader.next_batch().unwrap();
        assert!(batch.is_last);
        let records = batch.records.into_iter();
        records.map(|r| r.session.unwrap_or_default()).collect()
    }

    #[test]
    fn users_see_what_is_theirs_and_follow_what_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        audit.write(DaemonStart::default()).unwrap();
        audit.write(denied("s1", 1000)).unwrap();
        audit.write(denied("s2", 1001)).unwrap();
        assert_eq!(sessions(&path, Filter::default()), ["", "s1", "s2"]);
        let mine = Filter {
            uids: Some(vec![1001]),
            ..Filter::default()
        };
        assert_eq!(sessions(&path, mine), ["s2"]);
        let one = Filter {
            session: Some("s1".to_owned()),
            ..Filter::default()
        };
        assert_eq!(sessions(&path, one.clone()), ["s1"]);
        let later = Filter {
            since: Some(Timestamp::MAX),
            ..Filter::default()
        };
        assert!(sessions(&path, later).is_empty());
        let mut reader = open(&path, one);
        reader.next_batch().unwrap();
        audit
            .write(LogEntry::of("s1", 1000, Held::default()))
            .unwrap();
        assert_eq!(reader.next_batch().unwrap().records[0].kind, LogKind::Held);
    }

    #[test]
    fn what_is_long_past_is_passed_over_in_each_file() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        let line = |at: &str, session: &str| {
            let why = "x".repeat(600);
            format!(
                "{{\"at\":\"{at}\",\"kind\":\"held\",\"session\":\"{session}\",\"why\":\"{why}\"}}\n"
            )
        };
        let long_past = line("2026-11-20T00:00:00.000Z", "s1").repeat(1000);
        for (path, session) in [(&old, "s2"), (&new, "s3")] {
            // Of a file the first line is its own.
            let head = line("2026-11-20T00:00:00.000Z", session);
            let last = line("2026-11-22T00:00:00.000Z", session);
            fs::write(path, format!("{head}{long_past}{last}")).unwrap();
        }
        let times = Arc::new(Times::default());
        let filter = Filter {
            since: "2026-11-21T00:00:00Z".parse().ok(),
            ..Filter::default()
        };
        for _ in 0..2 {
            let mut reader = open(&old, filter.clone()).by(Arc::clone(&times));
            reader.then(File::open(&new).unwrap());
            let read = reader.next_batch().unwrap();
            let sessions = read.records.iter().map(|one| one.session.as_deref());
            assert_eq!(sessions.collect::<Vec<_>>(), [Some("s2"), Some("s3")]);
        }
        let mut reader = open(&new, filter).by(times);
        reader.begin().unwrap();
        assert!(reader.offset > 300_000, "{}", reader.offset);
    }

    #[test]
    fn a_session_is_known_by_records_that_are_too_old_to_be_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        audit.write(denied("s1", 1000)).unwrap();
        let knows = |session: &str, uid| {
            let mut reader = open(
                &path,
                Filter {
                    session: Some(session.to_owned()),
                    since: Some(Timestamp::MAX),
                    uids: Some(vec![uid]),
                },
            );
            assert!(reader.next_batch().unwrap().records.is_empty());
            reader.knows_session()
        };
        assert!(knows("s1", 1000));
        // Whose it is not, to them it never was.
        assert!(!knows("s1", 1001));
        assert!(!knows("s2", 1000));
    }

    #[test]
    fn half_a_line_is_read_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        audit.write(denied("s1", 1)).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..9]).unwrap();
        let mut reader = open(&path, Filter::default());
        assert!(reader.next_batch().unwrap().records.is_empty());
        fs::write(&path, &whole).unwrap();
        assert_eq!(reader.next_batch().unwrap().records.len(), 1);
    }

    #[test]
    fn one_file_is_read_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        for (path, session) in [(&old, "s1"), (&new, "s2")] {
            let mut audit = Audit::open(path).unwrap();
            audit.write(denied(session, 1)).unwrap();
        }
        let mut reader = open(&old, Filter::default());
        reader.then(File::open(&new).unwrap());
        let read = reader.next_batch().unwrap();
        assert!(read.is_last);
        let sessions = read.records.iter().map(|one| one.session.as_deref());
        assert_eq!(sessions.collect::<Vec<_>>(), [Some("s1"), Some("s2")]);
    }
}
