//! The audit log: JSON lines, append-only.
//!
//! A record is one `write(2)`. If it cannot be written whole, nothing of it stays, and the next one says so. If the file is
//! renamed, as by logrotate, the audit log goes on in a new one, and so do its readers. Each line is chained to the one before
//! it ([`guard_trail::chain`]), also across files and restarts of guardd.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use guard_proto::{
    Failure, LogRecord,
    record::{Common, Field, Record},
};
use guard_trail::{
    ChainHead,
    chain::{self, Line},
    files,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    quota::Account,
    record::{journal::Journal, shares::AdmittedRecord, times::Times},
};

/// Why a record is not in the audit log.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {path} takes no record: {why}")]
pub(crate) struct AuditError {
    path: PathBuf,
    why: io::Error,
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self {
            what: "cannot write down what you decided, so it is not done".to_owned(),
            why: error.to_string(),
            fix: format!("make room on the disk of {}", error.path.display()),
        }
    }
}

/// A record, with its session.
#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    session: Option<String>,
    common: Common,
    record: Record,
    /// The account that its bytes count for.
    account: Option<Account>,
}

impl LogEntry {
    /// A record about a session of a user.
    #[must_use]
    pub(crate) fn of(session: impl ToString, uid: u32, record: impl Into<Record>) -> Self {
        Self {
            session: Some(session.to_string()),
            ..Self::of_user(uid, record)
        }
    }

    /// A record about what holds for a user, in all sessions.
    #[must_use]
    pub(crate) fn of_user(uid: u32, record: impl Into<Record>) -> Self {
        let mut entry = Self::from(record);
        entry.common.uid = uid.into();
        entry
    }

    /// The session that it is about.
    #[must_use]
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The account that its bytes count for, if there is one.
    #[must_use]
    pub(crate) fn account(&self) -> Option<Account> {
        self.account
    }

    /// Of a start: the session in which that one was started, if it was in one.
    #[must_use]
    pub(crate) fn parent(&self) -> Option<&str> {
        match &self.record {
            Record::SessionStart(start) => start.parent.get().map(String::as_str),
            _ => None,
        }
    }

    /// Of a start that is written as it happens: the record's own time says when. One that is written later keeps `started`.
    #[must_use]
    pub(crate) fn in_time(mut self) -> Self {
        if let Record::SessionStart(start) = &mut self.record {
            start.started = Field::Absent;
        }
        self
    }

    /// With the number of records left out before it, and whether those that follow may be left out.
    #[must_use]
    pub(crate) fn admitted(mut self, admitted: AdmittedRecord) -> Self {
        self.common.left_out = admitted.left_out.into();
        self.common.last = admitted.is_last.then_some(true).into();
        self.account = Some(admitted.account);
        self
    }

    /// With the number of records left out in all.
    #[must_use]
    pub(crate) fn left_out(mut self, count: u64) -> Self {
        self.common.left_out = count.into();
        self
    }

    /// With the number of starts and ends left out before it, of sessions that have no other record; 0 is not said.
    #[must_use]
    pub(crate) fn starts_left_out(mut self, count: u64) -> Self {
        self.common.starts_left_out = match count {
            0 => Field::Absent,
            count => count.into(),
        };
        self
    }

    /// With the reason, if it happened at another time than now.
    #[must_use]
    pub(crate) fn noticed(mut self, when: &str) -> Self {
        self.common.noticed = when.into();
        self
    }
}

impl<R: Into<Record>> From<R> for LogEntry {
    fn from(record: R) -> Self {
        Self {
            session: None,
            common: Common::default(),
            record: record.into(),
            account: None,
        }
    }
}

/// More bytes than the records of one decision have.
const ONE_DECISION: u64 = 64 * 1024;

/// A position in the audit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// The number of the file, since guardd's start.
    pub(crate) part: u64,
    /// The length of that file.
    pub(crate) length: u64,
}

/// The audit log, open for writing.
#[derive(Debug)]
pub(crate) struct Audit {
    path: PathBuf,
    file: File,
    /// Why the last record is not in it.
    problem: Option<String>,
    /// How many records are not in it.
    failures: u64,
    /// Why it does not go on in a new file, if it should.
    stuck: Option<String>,
    /// Wakes the clients that follow the log.
    reached: watch::Sender<LogPosition>,
    /// The last record in it.
    head: ChainHead,
    /// What the next record must say of records before it.
    gaps: Gaps,
    /// The journal, which gets the records too.
    journal: Journal,
    /// When the records of its files were, for clients that read them.
    times: Arc<Times>,
}

/// What the audit log lacks since its last record.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    /// Records that it did not take.
    lost: u64,
    /// Bytes of an incomplete line, which was cut off.
    torn: u64,
}

impl Audit {
    /// Opens the audit log at `path`, or makes it, and cuts off an incomplete last line.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if that fails.
    pub(crate) fn open(path: &Path) -> Result<Self, AuditError> {
        let RepairedFile { file, length, torn } = open(path)?;
        let head = head_of(path, &file, length).map_err(|why| AuditError {
            path: path.to_owned(),
            why,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            problem: None,
            failures: 0,
            stuck: None,
            reached: watch::Sender::new(LogPosition { part: 0, length }),
            head,
            gaps: Gaps { lost: 0, torn },
            journal: Journal::of_stderr(),
            times: Arc::default(),
        })
    }

    /// When the records of its files were.
    #[must_use]
    pub(crate) fn times(&self) -> Arc<Times> {
        Arc::clone(&self.times)
    }

    /// The last record of the chain.
    #[must_use]
    pub(crate) fn head(&self) -> ChainHead {
        self.head
    }

    /// Goes on in a new file, if the one in use is no longer at its path.
    pub(crate) fn follow_path(&mut self) {
        if self.is_at_its_path() {
            self.stuck = None;
            return;
        }
        match open(&self.path) {
            Ok(RepairedFile { file, length, torn }) => {
                self.file = file;
                self.gaps.torn += torn;
                self.stuck = None;
                let part = self.reached.borrow().part + 1;
                self.reached.send_replace(LogPosition { part, length });
                tracing::info!(path = %self.path.display(), head = %self.head, "the audit log goes on in a new file");
            }
            Err(error) => {
                let problem = format!("{error}; records go on into the file that was there");
                if self.stuck.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                }
                self.stuck = Some(problem);
            }
        }
    }

    fn is_at_its_path(&self) -> bool {
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let there = std::fs::metadata(&self.path).map(id);
        // If the file system does not say, this file is as good as any.
        match (there, self.file.metadata().map(id)) {
            (Ok(there), Ok(own)) => there == own,
            (Err(error), Ok(_)) => error.kind() != io::ErrorKind::NotFound,
            (_, Err(_)) => true,
        }
    }

    /// The file in use, to be read from its beginning, and its number.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn current(&self) -> io::Result<(File, u64)> {
        // By its descriptor: another file may be at its path by now.
        let file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        Ok((file, self.reached.borrow().part))
    }

    /// The file before the one in use, if there is one that is not compressed.
    #[must_use]
    pub(crate) fn previous(&self) -> Option<File> {
        let mut path = self.path.clone().into_os_string();
        path.push(".1");
        let file = File::open(path).ok()?;
        let id = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        (id(&file) != id(&self.file)).then_some(file)
    }

    /// The path of the audit log.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The position in the audit log, as it grows.
    #[must_use]
    pub(crate) fn reached(&self) -> watch::Receiver<LogPosition> {
        self.reached.subscribe()
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if it does not fit; the audit log is then as it was.
    pub(crate) fn write(&mut self, entry: impl Into<LogEntry>) -> Result<(), AuditError> {
        let LogEntry {
            session,
            mut common,
            record,
            account: _,
        } = entry.into();
        self.gaps.tell(&mut common);
        let mut line = LogRecord::new(Timestamp::now(), session, &common, &record);
        let written = self.append(&line).map_err(|why| self.fail(why));
        self.problem = written.as_ref().err().map(ToString::to_string);
        match &written {
            Ok(()) => self.gaps = Gaps::default(),
            Err(_) => {
                self.failures += 1;
                self.gaps.lost += 1;
            }
        }
        self.tell(&mut line, written.is_ok());
        written
    }

    /// Sends the record to the journal, with its hash, or with the fact that the audit log did not take it.
    fn tell(&self, line: &mut LogRecord, is_written: bool) {
        let chained = if is_written {
            vec![
                ("number", self.head.number.into()),
                ("hash", self.head.hash.to_string().into()),
            ]
        } else {
            vec![("unwritten", true.into())]
        };
        let chained = chained
            .into_iter()
            .map(|(name, value): (_, Value)| (name.to_owned(), value));
        line.fields.extend(chained);
        self.journal.tell(line);
    }

    /// Checks that the disk has room for all records of one decision, before any of it takes effect. A file system that cannot
    /// say is assumed to have it.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if it has none.
    pub(crate) fn reserve(&self) -> Result<(), AuditError> {
        use rustix::{fs::FallocateFlags, io::Errno};
        let end = self.file.metadata().map_err(|why| self.fail(why))?;
        let end = end.len();
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, end, ONE_DECISION) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// Why the last record is not in the audit log, if it is not; or why the log is not where it should be.
    #[must_use]
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref().or(self.stuck.as_deref())
    }

    /// How many records the audit log did not take.
    #[must_use]
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// Adds a record about something that has happened and cannot be refused any more. Returns its length in bytes; none: the audit log did
    /// not take it.
    pub(crate) fn note(&mut self, entry: impl Into<LogEntry>) -> Option<u64> {
        let entry = entry.into();
        let kind = entry.record.kind();
        let before = self.reached.borrow().length;
        let written = self.write(entry);
        if let Err(error) = &written {
            tracing::error!(%error, ?kind, "not in the audit log");
        }
        let length = self.reached.borrow().length;
        written.ok().map(|()| length.saturating_sub(before))
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    ///
    /// [`AuditError`] if the disk did not take them.
    pub(crate) fn sync(&self) -> Result<(), AuditError> {
        self.file.sync_data().map_err(|why| self.fail(why))
    }

    fn fail(&self, why: io::Error) -> AuditError {
        AuditError {
            path: self.path.clone(),
            why,
        }
    }

    fn append(&mut self, record: &LogRecord) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let (line, head) = chain::seal(&self.head, before == 0, record)?;
        let written = self.file.write(&line);
        match written {
            Ok(all) if all == line.len() => {}
            other => {
                self.file.set_len(before)?;
                return Err(other.err().unwrap_or(io::ErrorKind::StorageFull.into()));
            }
        }
        self.head = head;
        let length = before + line.len() as u64;
        self.reached.send_modify(|reached| reached.length = length);
        Ok(())
    }
}

impl Gaps {
    fn tell(self, common: &mut Common) {
        let known = |count: u64| match count {
            0 => Field::Absent,
            count => Field::Is(count),
        };
        common.lost = known(self.lost);
        common.torn = known(self.torn);
    }
}

/// A file of the audit log, repaired.
struct RepairedFile {
    file: File,
    length: u64,
    /// How many bytes were cut off.
    torn: u64,
}

/// Opens the file at `path`, or makes it, and repairs it.
fn open(path: &Path) -> Result<RepairedFile, AuditError> {
    let opened = || {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        let before = file.metadata()?.len();
        let length = repair(&mut file)?;
        Ok(RepairedFile {
            file,
            length,
            torn: before - length,
        })
    };
    opened().map_err(|why| AuditError {
        path: path.to_owned(),
        why,
    })
}

/// Cuts off what follows the last newline; returns the length that is left.
fn repair(file: &mut File) -> io::Result<u64> {
    const CHUNK: u64 = 4096;
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let mut chunk = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

/// More bytes than any record has.
const LONGEST_RECORD: u64 = 1024 * 1024;

/// The record to which the next one is chained: the last one of this file, or if it is empty, of the latest rotated file. After
/// records of a version without a chain, a chain begins.
fn head_of(path: &Path, file: &File, length: u64) -> io::Result<ChainHead> {
    use std::os::unix::fs::FileExt;
    if length == 0 {
        let aside = files::of(path)?.read;
        let last = aside.iter().rev().find(|other| *other != path);
        let head = last.map(|last| last_in(last)).transpose()?.flatten();
        return head.map_or_else(|| ChainHead::behind(io::empty()), Ok);
    }
    let mut end = vec![0; length.min(LONGEST_RECORD) as usize];
    let start = length - end.len() as u64;
    file.read_exact_at(&mut end, start)?;
    let lines = end.strip_suffix(b"\n").unwrap_or(&end);
    let last = lines.rsplit(|byte| *byte == b'\n').next();
    match last.map(Line::of) {
        Some(Line::Chained(last)) => Ok(last.head),
        _ => {
            let mut all = file;
            all.seek(SeekFrom::Start(0))?;
            ChainHead::behind(all.take(length))
        }
    }
}

/// The last record of a chain in a rotated file.
fn last_in(path: &Path) -> io::Result<Option<ChainHead>> {
    let (mut from, mut line, mut head) = (files::open(path)?, Vec::new(), None);
    while files::read_line(from.as_mut(), &mut line)? {
        if let Some(Line::Chained(one)) = line.strip_suffix(b"\n").map(Line::of) {
            head = Some(one.head);
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process::Command};

    use super::*;
    use guard_proto::record::{DaemonStart, DaemonStop, Denied};
    use guard_trail::verify;

    fn denied(session: &str, uid: u32) -> LogEntry {
        LogEntry::of(session, uid, Denied::default())
    }

    fn lines(path: &Path) -> Vec<LogRecord> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn records_are_lines_that_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        let record = Denied {
            rule: "photos\n".into(),
            ..Denied::default()
        };
        audit.write(LogEntry::of("s1", 1000, record)).unwrap();
        audit.write(DaemonStop::default()).unwrap();
        audit.sync().unwrap();
        let read = lines(&path);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].session.as_deref(), Some("s1"));
        assert_eq!(read[0].fields["rule"], "photos\n");
        let length = fs::metadata(&path).unwrap().len();
        assert_eq!(*audit.reached().borrow(), LogPosition { part: 0, length });
    }

    #[test]
    fn it_goes_on_in_a_new_file_when_the_old_one_is_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let old = dir.path().join("audit.jsonl.1");
        let mut audit = Audit::open(&path).unwrap();
        audit.write(denied("s1", 1)).unwrap();
        audit.follow_path();
        assert_eq!(audit.reached().borrow().part, 0);
        assert!(audit.previous().is_none());
        fs::rename(&path, &old).unwrap();
        audit.write(denied("s2", 1)).unwrap();
        assert!(audit.previous().is_none());
        audit.follow_path();
        audit.write(denied("s3", 1)).unwrap();
        assert_eq!((lines(&old).len(), lines(&path).len()), (2, 1));
        assert_eq!(audit.reached().borrow().part, 1);
        assert!(audit.previous().is_some());
        // Where none can be made, nothing is lost either.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        audit.follow_path();
        assert!(audit.problem().is_some());
        audit.write(denied("s4", 1)).unwrap();
        fs::remove_dir(&path).unwrap();
        audit.follow_path();
        assert_eq!(audit.problem(), None);
    }

    #[test]
    fn a_torn_last_line_is_taken_off_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        Audit::open(&path)
            .unwrap()
            .write(DaemonStart::default())
            .unwrap();
        let whole = fs::read(&path).unwrap();
        for torn in [1, 4095, 4096, 10_000] {
            fs::write(&path, [&whole[..], &vec![b'x'; torn]].concat()).unwrap();
            Audit::open(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        fs::write(&path, "{").unwrap();
        Audit::open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    fn verified(path: &Path) -> verify::Verified {
        let files = files::of(path).unwrap().read;
        verify::verify(verify::open(files).unwrap(), &[]).unwrap()
    }

    #[test]
    fn the_chain_goes_on_over_restarts_and_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let aside = |number| dir.path().join(format!("audit.jsonl.{number}"));
        // What an earlier version wrote.
        let old = r#"{"at":"2026-11-20T12:00:00.000Z","kind":"daemon-start","session":null}"#;
        fs::write(&path, format!("{old}\n")).unwrap();
        for round in 0..4 {
            let mut audit = Audit::open(&path).unwrap();
            audit.write(denied("s1", 1)).unwrap();
            drop(audit);
            if round == 1 {
                // Torn, put aside, and no guardd there to see it.
                let torn = [&fs::read(&path).unwrap()[..], b"{\"at"].concat();
                fs::write(&path, torn).unwrap();
            }
            if round > 0 {
                for number in (1..3).filter(|number| aside(*number).exists()).rev() {
                    fs::rename(aside(number), aside(number + 1)).unwrap();
                }
                fs::rename(&path, aside(1)).unwrap();
            }
        }
        let mut audit = Audit::open(&path).unwrap();
        audit.follow_path();
        audit.write(DaemonStop::default()).unwrap();
        let found = verified(&path);
        assert!(found.whole, "{found:?}");
        assert_eq!((found.head, found.records), (Some(audit.head()), 5));
        assert_eq!((found.unchained, found.torn.len(), found.files), (1, 1, 4));
        // Without the oldest it begins later; without one in between it is broken.
        fs::remove_file(aside(3)).unwrap();
        assert_eq!(verified(&path).first, Some(3));
        fs::remove_file(aside(1)).unwrap();
        let broken = verified(&path).broken.unwrap();
        assert_eq!(broken.kind, verify::BreakKind::Missing);
    }

    #[test]
    fn a_torn_line_is_said_to_have_been_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        audit.write(denied("s1", 1)).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"at\":"].concat()).unwrap();
        assert_eq!(verified(&path).torn.len(), 1);
        let mut next = Audit::open(&path).unwrap();
        next.write(denied("s2", 1)).unwrap();
        next.write(denied("s3", 1)).unwrap();
        let read = lines(&path);
        assert_eq!(read[1].fields["torn"], 6);
        assert!(!read[2].fields.contains_key("torn"));
        assert!(verified(&path).whole);
    }

    /// Run by the next test under a limit on the size of files.
    #[test]
    fn fills_the_disk() {
        let Some(path) = env::var_os("GUARD_TEST_FULL") else {
            return;
        };
        let path = PathBuf::from(path);
        let mut audit = Audit::open(&path).unwrap();
        let long = "x".repeat(300);
        let refused = (0..100).find_map(|_| {
            let before = fs::read(&path).unwrap();
            let error = audit.write(denied(&long, 1)).err()?;
            Some((before, error))
        });
        let (before, error) = refused.unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(lines(&path).len() > 5);
        let failure = Failure::from(error);
        assert!(failure.fix.contains("audit.jsonl"), "{failure}");
        // With room again, the next record says how many are not there, and the chain is whole.
        audit.note(denied(&long, 1));
        let old = path.with_extension("jsonl.1");
        fs::rename(&path, &old).unwrap();
        audit.follow_path();
        audit.write(denied("s1", 1)).unwrap();
        assert_eq!(lines(&path)[0].fields["lost"], 2);
        let found = verified(&path);
        assert!(found.whole, "{found:?}");
        assert_eq!((found.lost, found.files), (2, 2));
    }

    #[test]
    fn on_a_full_disk_nothing_is_left_of_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .args(["-c", r#"trap "" XFSZ; ulimit -f 8; exec "$0" --exact "$1""#])
            .arg(env::current_exe().unwrap())
            .arg("record::audit::tests::fills_the_disk")
            .env("GUARD_TEST_FULL", dir.path().join("audit.jsonl"))
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
        assert!(dir.path().join("audit.jsonl").exists());
    }
}
