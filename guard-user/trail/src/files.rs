//! The files of an audit log: the one in use, and those that logrotate has put aside.

use std::{
    cmp::Reverse,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;

use super::chain::Line;

/// A line that is longer, in bytes, is no record of ours.
const LONGEST: u64 = 8 * 1024 * 1024;

/// What is beside an audit log under its name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Its files, those put aside first that are the oldest by name, the one in use last.
    pub read: Vec<PathBuf>,
    /// Such as are compressed in a way that is not read here.
    pub unread: Vec<PathBuf>,
}

/// The audit log at `path`, with what was put aside: `path.1`, `path.2.gz`, `path-20261120`.
///
/// # Errors
///
/// The system's, where its directory cannot be read.
pub fn of(path: &Path) -> io::Result<LogFiles> {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut aside = Vec::new();
    let mut unread = Vec::new();
    for entry in fs::read_dir(dir.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let other = entry.file_name();
        let other = other.to_string_lossy();
        let rest = name.as_deref().and_then(|name| other.strip_prefix(name));
        match rest.and_then(Aside::of) {
            Some(Aside::Read(age)) => aside.push((age, entry.path())),
            Some(Aside::Unread) => unread.push(entry.path()),
            None => {}
        }
    }
    aside.sort();
    let aside = aside.into_iter().map(|(_, path)| path);
    let current = path.exists().then(|| path.to_owned());
    unread.sort();
    Ok(LogFiles {
        read: aside.chain(current).collect(),
        unread,
    })
}

/// A file that was put aside, by what its name has more.
enum Aside {
    /// How old it is: the higher number is older, the later date is newer.
    Read((Reverse<u64>, String)),
    Unread,
}

impl Aside {
    fn of(rest: &str) -> Option<Self> {
        let kind = rest
            .chars()
            .next()
            .filter(|mark| matches!(mark, '.' | '-'))?;
        let (age, compressed) = match rest[1..].split_once('.') {
            Some((age, compressed)) => (age, Some(compressed)),
            None => (&rest[1..], None),
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(&age.replace('-', "0")) {
            return None;
        }
        Some(match (compressed, kind) {
            (Some("gz") | None, '.') => Self::Read((Reverse(age.parse().ok()?), String::new())),
            (Some("gz") | None, _) => Self::Read((Reverse(0), age.to_owned())),
            _ => Self::Unread,
        })
    }
}

/// A file's lines, unpacked if need be.
///
/// # Errors
///
/// The system's.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let file = File::open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(if path.extension().is_some_and(|kind| kind == "gz") {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    })
}

/// The next line with its newline, if it has one; false at the end.
///
/// # Errors
///
/// The system's; `InvalidData` for a line that is longer than any record.
pub fn read_line(from: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = from.take(LONGEST).read_until(b'\n', line)?;
    if read as u64 == LONGEST && line.last() != Some(&b'\n') {
        let why = format!("it has a line of more than {LONGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(read > 0)
}

/// Puts files in the order of their first records, whatever they are called.
///
/// # Errors
///
/// The system's.
pub fn sort(files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut keyed = Vec::with_capacity(files.len());
    for file in files.drain(..) {
        keyed.push((first(&file)?, file));
    }
    keyed.sort_by_key(|(key, _)| *key);
    files.extend(keyed.into_iter().map(|(_, file)| file));
    Ok(())
}

/// The number of a file's first record, 0 where it has none, and its time.
///
/// # Errors
///
/// The system's.
pub fn first(path: &Path) -> io::Result<(u64, Timestamp)> {
    let mut line = Vec::new();
    read_line(open(path)?.as_mut(), &mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(match Line::of(line) {
        Line::Chained(one) => (one.head.number, one.record.at),
        Line::Plain(record) => (0, record.at),
        Line::Nothing => (0, Timestamp::MIN),
    })
}
