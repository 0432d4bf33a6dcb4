//! Whether an audit log is whole: each line as it was written, none missing, none between.

pub mod collected;
mod row;
pub mod signatures;
mod terms;
mod walk;

use std::{
    fmt,
    io::{self, BufRead},
    path::PathBuf,
};

use guard_proto::moment;
use jiff::Timestamp;
use serde::Serialize;

use self::{
    signatures::{CheckedSignature, Signatures},
    walk::Walk,
};
use super::{chain::ChainHead, files};

/// One file of an audit log.
pub struct Source {
    /// What it is called.
    pub name: String,
    /// Its lines.
    pub lines: Box<dyn BufRead>,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// Whether there is a chain, and all of it and all heads noted before are as they should be.
    pub whole: bool,
    /// How many records of the chain were read, up to the first break.
    pub records: u64,
    /// In how many files.
    pub files: usize,
    /// Records of a version that knew no chain, before it.
    pub unchained: u64,
    /// Records that could not be written, as the next ones say.
    pub lost: u64,
    /// When the first record of the chain was written, as it says.
    #[serde(serialize_with = "moment::write_some")]
    pub from: Option<Timestamp>,
    /// When the last one was.
    #[serde(serialize_with = "moment::write_some")]
    pub to: Option<Timestamp>,
    /// The number of the first one; above 1, those before are not here.
    pub first: Option<u64>,
    /// The last record's `number` and `hash`.
    pub head: Option<ChainHead>,
    /// The first break; null: none.
    pub broken: Option<Break>,
    /// Incomplete last lines; `file`, `line`.
    pub torn: Vec<LineRef>,
    /// Heads given; `number`, `hash`, `found`, `why`.
    pub noted: Vec<NotedHead>,
    /// Signatures that were checked; null: not asked for.
    pub signatures: Option<Vec<CheckedSignature>>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineRef {
    /// The file.
    pub file: String,
    /// The line; counted from 1.
    pub line: u64,
}

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The file.
    pub file: String,
    /// The line; counted from 1.
    pub line: u64,
    /// What kind of break it is.
    pub kind: BreakKind,
    /// In words.
    pub why: String,
}

/// What kind of break it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakKind {
    /// The line is not as it was written.
    Edited,
    /// Records before it are not there.
    Missing,
    /// It stands before records that it was written after, or behind those that it was written before.
    Reordered,
    /// It is there a second time.
    Repeated,
    /// It has no chain, and comes after some that have.
    Unchained,
    /// It is no record.
    NoRecord,
    /// Another chain begins, while one is there.
    Restarted,
    /// The file does not begin where guardd began it.
    CutFront,
}

/// What became of a head that somebody noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotedHead {
    /// It.
    #[serde(flatten)]
    pub head: ChainHead,
    /// Whether it is in the chain.
    pub found: bool,
    /// If not, why.
    pub why: Option<&'static str>,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.why)
    }
}

/// Reads files, the oldest first, and says whether they are one whole chain that has all of the `noted` heads.
///
/// # Errors
///
/// Where one cannot be read.
pub fn verify(sources: Vec<Source>, noted: &[ChainHead]) -> io::Result<Verified> {
    verify_signed(sources, noted, None)
}

/// The same, and checks each signature up to the first break: then whole means that each is one, too.
///
/// # Errors
///
/// Where a file cannot be read.
pub fn verify_signed(
    sources: Vec<Source>,
    noted: &[ChainHead],
    signatures: Option<Signatures>,
) -> io::Result<Verified> {
    let mut walk = Walk::new(sources.len(), noted, signatures);
    let mut sources = sources.into_iter();
    while let Some(source) = sources.next() {
        walk.begin(source.name);
        let mut rest = Lines::new(source.lines);
        while let Some(line) = rest.next()? {
            walk.line += 1;
            let step = walk.step(&line);
            if let Err(kind) = step {
                let kind = walk.told_apart(kind, &line, rest, sources)?;
                walk.stop(kind);
                return Ok(walk.finish());
            }
        }
    }
    Ok(walk.finish())
}

/// Opens files for [`verify`], in the order of their first records.
///
/// # Errors
///
/// The system's.
pub fn open(mut paths: Vec<PathBuf>) -> io::Result<Vec<Source>> {
    files::sort(&mut paths)?;
    let open = |path: &PathBuf| {
        Ok(Source {
            name: path.display().to_string(),
            lines: files::open(path)?,
        })
    };
    paths.iter().map(open).collect()
}

struct Lines {
    from: Box<dyn BufRead>,
    line: Vec<u8>,
}

impl Lines {
    fn new(from: Box<dyn BufRead>) -> Self {
        Self {
            from,
            line: Vec::new(),
        }
    }

    /// The next line, with its newline if it has one.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let any = files::read_line(self.from.as_mut(), &mut self.line)?;
        Ok(any.then(|| std::mem::take(&mut self.line)))
    }
}

impl BreakKind {
    /// In words, where record `next` should stand.
    fn why(self, next: u64) -> String {
        match self {
            Self::Edited => format!("record {next} is not as it was written"),
            Self::Missing => format!("records from number {next} on are missing before it"),
            Self::Reordered => format!("it is out of order: record {next} should stand here"),
            Self::Repeated => format!("record {} is there a second time", next - 1),
            Self::Unchained => "a record without a chain stands between those that have one: somebody put it there, or \
                                an older guardd wrote it"
                .to_owned(),
            Self::NoRecord => "this is no record of guardd's: it was edited, or put there".to_owned(),
            Self::Restarted => format!("another chain begins, where record {next} should stand"),
            Self::CutFront => "lines before this one were cut off the file".to_owned(),
        }
    }
}
