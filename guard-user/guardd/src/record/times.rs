//! When the audit log's records were: a reader of the last day begins where that does, and not a hundred megabytes before.
//!
//! Of each file it is known, every so many bytes, what the latest time before there is. That only grows, also where a clock was set
//! back, so that nothing is left out that somebody asks for. What is not known of a file yet is read once, without parsing it.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use guard_proto::moment;
use jiff::Timestamp;

/// Bytes between two marks, at least.
const STEP: u64 = 256 * 1024;
/// Files that are known: the one in use, and the one before.
const FILES: usize = 2;
/// Bytes of a first line that tell its file from others: a chain's number and hash are among them.
const FIRST: u64 = 8 * 1024;

/// A time as records have it: as text they compare as the times do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordTime([u8; LENGTH]);

const LENGTH: usize = "2026-11-28T08:04:55.962Z".len();
/// What a record begins with.
const BEGINS: &[u8] = b"{\"at\":\"";

impl RecordTime {
    const FIRST: Self = Self([0; LENGTH]);
    /// Of a line that says none: the caller is to see it.
    const LAST: Self = Self([u8::MAX; LENGTH]);

    /// The one in which a time is; none: years of more digits.
    pub(super) fn of(at: Timestamp) -> Option<Self> {
        Self::read(moment::text(at).as_bytes())
    }

    /// That of a line.
    pub(super) fn of_line(line: &[u8]) -> Self {
        let said = line
            .strip_prefix(BEGINS)
            .and_then(|rest| rest.get(..LENGTH));
        said.and_then(Self::read).unwrap_or(Self::LAST)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let bytes: [u8; LENGTH] = text.try_into().ok()?;
        let (year, rest) = bytes.split_at(4);
        let is_such =
            year.iter().all(u8::is_ascii_digit) && rest.starts_with(b"-") && rest.ends_with(b"Z");
        is_such.then_some(Self(bytes))
    }
}

/// What is known of the files.
#[derive(Debug, Default)]
pub(crate) struct Times {
    files: Mutex<VecDeque<FileTimes>>,
}

#[derive(Debug)]
struct FileTimes {
    /// Its first line, or what that begins with.
    first: Vec<u8>,
    /// Offsets of lines, with the latest time before each.
    marks: Vec<(u64, RecordTime)>,
    /// How far it was read: the offset of a line.
    read: u64,
    /// The latest time before that.
    latest: RecordTime,
}

impl Times {
    /// The offset of a line of that file before which no record is as late as that.
    ///
    /// # Errors
    ///
    /// That it cannot be read.
    pub(super) fn start(&self, file: &File, since: RecordTime) -> io::Result<u64> {
        let mut first = Vec::new();
        BufReader::new(At { file, offset: 0 })
            .take(FIRST)
            .read_until(b'\n', &mut first)?;
        if first.last() != Some(&b'\n') && (first.len() as u64) < FIRST {
            return Ok(0);
        }
        // A caller that asks meanwhile waits for what is read, and need not read it again.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let length = file.metadata()?.len();
        files.retain(|one| one.first != first || one.read <= length);
        if !files.iter().any(|one| one.first == first) {
            files.truncate(FILES - 1);
            files.push_front(FileTimes::new(first.clone()));
        }
        let Some(known) = files.iter_mut().find(|one| one.first == first) else {
            return Ok(0);
        };
        known.read_on(file)?;
        Ok(known.start(since))
    }
}

impl FileTimes {
    fn new(first: Vec<u8>) -> Self {
        Self {
            first,
            marks: vec![(0, RecordTime::FIRST)],
            read: 0,
            latest: RecordTime::FIRST,
        }
    }

    /// Up to the last whole line.
    fn read_on(&mut self, file: &File) -> io::Result<()> {
        let from = At {
            file,
            offset: self.read,
        };
        let mut lines = BufReader::with_capacity(64 * 1024, from);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line)? as u64;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            let before = self.marks.last().map_or(0, |(offset, _)| *offset);
            if self.read >= before + STEP {
                self.marks.push((self.read, self.latest));
            }
            self.latest = self.latest.max(RecordTime::of_line(&line));
            self.read += length;
        }
    }

    fn start(&self, since: RecordTime) -> u64 {
        let after = self.marks.partition_point(|(_, latest)| *latest < since);
        let mark = after.checked_sub(1).and_then(|at| self.marks.get(at));
        mark.map_or(0, |(offset, _)| *offset)
    }
}

/// Reads a file from an offset on, and leaves alone where others are in it.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs, path::Path};

    use super::*;

    /// Lines of a kilobyte, one for each minute since then.
    fn lines(from: &str, count: i64) -> String {
        let from: Timestamp = from.parse().unwrap();
        let mut text = String::new();
        for minute in 0..count {
            let at = from + jiff::SignedDuration::from_mins(minute);
            let filler = "x".repeat(1000);
            let at = moment::text(at);
            writeln!(
                text,
                "{{\"at\":\"{at}\",\"kind\":\"held\",\"why\":\"{filler}\"}}"
            )
            .unwrap();
        }
        text
    }

    fn moment_of(at: &str) -> RecordTime {
        RecordTime::of(at.parse().unwrap()).unwrap()
    }

    fn start(times: &Times, path: &Path, since: &str) -> u64 {
        let file = File::open(path).unwrap();
        times.start(&file, moment_of(since)).unwrap()
    }

    #[test]
    fn what_is_long_past_is_not_read_and_nothing_later_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let text = lines("2026-11-20T00:00:00Z", 3000);
        fs::write(&path, &text).unwrap();
        let times = Times::default();
        for minute in [0_i64, 1, 500, 1500, 2999, 4000] {
            let since: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
            let since = moment::text(since + jiff::SignedDuration::from_mins(minute));
            let start = start(&times, &path, &since) as usize;
            let wanted = text.find(&since).unwrap_or(text.len());
            assert!(start <= wanted, "{minute}");
            assert!(wanted - start < 2 * STEP as usize, "{minute}: {start}");
            assert!(start == 0 || text[..start].ends_with('\n'));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let day = lines("2026-11-20T00:00:00Z", 1500);
        let long_ago = lines("2001-01-01T00:00:00Z", 3000);
        fs::write(&path, format!("{day}{long_ago}")).unwrap();
        let start = start(&Times::default(), &path, "2026-11-20T12:00:00Z");
        assert!(start <= 720 * day.len() as u64 / 1500, "{start}");
    }

    #[test]
    fn what_has_grown_is_read_on_and_another_file_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let text = lines("2026-11-20T00:00:00Z", 1000);
        let half = text.len() / 2;
        fs::write(&path, &text[..half]).unwrap();
        let times = Times::default();
        let since = "2026-11-20T16:00:00Z";
        assert!(start(&times, &path, since) < half as u64);
        fs::write(&path, &text).unwrap();
        assert!(start(&times, &path, since) as usize > text.len() / 2);
        // What was rotated is another, however long, and so is what has become shorter.
        fs::write(&path, lines("2026-11-20T15:00:00Z", 2000)).unwrap();
        assert_eq!(start(&times, &path, "2026-11-20T15:30:00Z"), 0);
        fs::write(&path, &text[..half]).unwrap();
        assert!(start(&times, &path, since) < half as u64);
        fs::write(&path, "").unwrap();
        assert_eq!(start(&times, &path, since), 0);
        assert_eq!(times.files.lock().unwrap().len(), FILES);
    }

    #[test]
    fn a_line_without_a_time_is_for_everybody() {
        let line = b"{\"at\":\"2026-11-20T16:00:00.000Z\",\"kind\":\"held\"}\n";
        assert_eq!(RecordTime::of_line(line), moment_of("2026-11-20T16:00:00Z"));
        for line in [
            &b"{}"[..],
            b"",
            b"{\"at\":\"2026",
            b"{\"kind\":\"held\",\"at\":\"2001-11-20T16:00:00.000Z\"}",
            b"{\"at\":\"2026-11-20T16:00:00.000000Z\"}",
        ] {
            assert_eq!(RecordTime::of_line(line), RecordTime::LAST);
        }
    }
}
