//! Reads the audit log as it stands, for a courier that keeps it elsewhere: each record's bytes, of all files that are there.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use guard_trail::{chain::Line, files};

/// Records at once, and their bytes, at most.
const MOST: (usize, usize) = (256, 1024 * 1024);

/// A position among the records.
pub(crate) struct LineReader {
    /// Files that were put aside, the oldest first, opened when their turn comes: their names change meanwhile, they do not.
    aside: VecDeque<Box<dyn BufRead + Send>>,
    current: BufReader<File>,
    /// The offset of the next whole line there.
    offset: u64,
    /// The number of the next record that is wanted.
    next: u64,
    /// Whether it has come to that.
    is_there: bool,
}

/// Some records, and whether they are the last for now.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Without their newlines.
    pub(crate) lines: Vec<String>,
    /// Whether none follows yet.
    pub(crate) is_last: bool,
}

impl LineReader {
    /// From the record of that number on: in the files beside `path`, and then in the one in use.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn open(path: &Path, mut current: File, from: u64) -> io::Result<Self> {
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let own = current.metadata().map(id).ok();
        let is_current = |other: &PathBuf| {
            let other = std::fs::metadata(other).map(id).ok();
            other.is_some() && other == own
        };
        let mut begins = None;
        let mut line = Vec::new();
        if files::read_line(&mut BufReader::new(&current), &mut line)?
            && let Line::Chained(one) = Line::of(line.trim_ascii_end())
        {
            begins = Some(one.head.number);
        }
        current.seek(SeekFrom::Start(0))?;
        let mut aside = VecDeque::new();
        if begins.is_none_or(|begins| begins > from) {
            let mut paths = files::of(path)?.read;
            paths.retain(|other| other != path && !is_current(other));
            // One that cannot be read is as good as none: its numbers are missing.
            let known = paths.into_iter();
            let known = known.filter_map(|path| Some((files::first(&path).ok()?, path)));
            let mut known: Vec<_> = known.collect();
            known.sort();
            // From the end: what lies before the one that has it is not opened.
            while let Some(((first, _), path)) = known.pop() {
                aside.extend(files::open(&path));
                if first <= from && first != 0 {
                    break;
                }
            }
            aside.make_contiguous().reverse();
        }
        Ok(Self {
            aside,
            current: BufReader::new(current),
            offset: 0,
            next: from,
            is_there: false,
        })
    }

    /// The number of the next record that is wanted.
    #[must_use]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The next records. An incomplete line is left for later; what is no record of the chain is left out, as its missing number
    /// tells.
    ///
    /// # Errors
    ///
    /// If the audit log cannot be read.
    pub(crate) fn next_some(&mut self) -> io::Result<Lines> {
        let (mut some, mut bytes) = (Lines::default(), 0);
        let mut line = Vec::new();
        while some.lines.len() < MOST.0 && bytes < MOST.1 {
            match self.aside.front_mut() {
                Some(file) => {
                    let is_read = files::read_line(file.as_mut(), &mut line).unwrap_or(false);
                    if !is_read || line.last() != Some(&b'\n') {
                        self.aside.pop_front();
                        continue;
                    }
                }
                None => {
                    let is_read = files::read_line(&mut self.current, &mut line)?;
                    if !is_read || line.last() != Some(&b'\n') {
                        self.current.seek(SeekFrom::Start(self.offset))?;
                        some.is_last = true;
                        break;
                    }
                    self.offset += line.len() as u64;
                }
            }
            line.pop();
            let Line::Chained(one) = Line::of(&line) else {
                continue;
            };
            if !self.is_there && one.head.number < self.next {
                continue;
            }
            self.is_there = true;
            self.next = one.head.number + 1;
            bytes += line.len();
            some.lines
                .extend(String::from_utf8(std::mem::take(&mut line)));
        }
        Ok(some)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use guard_proto::record::Denied;

    use super::*;
    use crate::record::audit::{Audit, LogEntry};

    fn numbers(reader: &mut LineReader) -> Vec<u64> {
        let read = reader.next_some().unwrap();
        assert!(read.is_last);
        let number = |line: &String| match Line::of(line.as_bytes()) {
            Line::Chained(one) => one.head.number,
            other => panic!("{other:?}"),
        };
        read.lines.iter().map(number).collect()
    }

    fn write(audit: &mut Audit, count: usize) {
        for _ in 0..count {
            audit
                .write(LogEntry::of("s1", 1000, Denied::default()))
                .unwrap();
        }
    }

    #[test]
    fn records_come_from_a_number_on_out_of_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        write(&mut audit, 3);
        let oldest = dir.path().join("audit.jsonl.2");
        fs::rename(&path, &oldest).unwrap();
        audit.follow_path();
        write(&mut audit, 2);
        fs::rename(&path, dir.path().join("audit.jsonl.1")).unwrap();
        audit.follow_path();
        write(&mut audit, 2);
        let from = |number| {
            let current = audit.current().unwrap().0;
            numbers(&mut LineReader::open(&path, current, number).unwrap())
        };
        assert_eq!(from(0), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(from(3), [3, 4, 5, 6, 7]);
        assert_eq!(from(5), [5, 6, 7]);
        assert_eq!(from(7), [7]);
        assert_eq!(from(8), [0; 0]);
        fs::remove_file(&oldest).unwrap();
        assert_eq!(from(2), [4, 5, 6, 7], "what is gone is a gap");
    }

    #[test]
    fn what_is_no_record_is_left_out_and_the_bytes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        write(&mut audit, 3);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let changed = format!("{}\n{{\"at\":1}}\n{}\n", lines[0], lines[2]);
        fs::write(&path, changed).unwrap();
        let reader = LineReader::open(&path, File::open(&path).unwrap(), 0);
        let some = reader.unwrap().next_some().unwrap();
        assert_eq!(some.lines, [lines[0], lines[2]]);
    }
}
