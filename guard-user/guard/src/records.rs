//! The records of the audit log: by guardd's word, and where none runs, as a user who may read them finds them in its files. A guardd that
//! `guard run` has started for one command ends with it, and what it says at the end names commands that still have to work.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard_proto::{Call, Failure, LogRecord, varlink::DEFAULT_SOCKET};
use guard_trail::{chain::Line, files};
use jiff::{SignedDuration, Timestamp};

use super::client::Client;
use super::error::CliError;
use super::render::Output;

/// Where the audit log of an installed guardd is.
const INSTALLED: &str = "/var/log/guard/audit.jsonl";

/// Who tells.
pub(crate) enum Teller {
    /// guardd.
    Guardd(Client),
    /// The files of the audit log, the oldest first.
    Files(Vec<PathBuf>),
}

impl Teller {
    /// guardd; where none runs, the files of the one that would listen there.
    ///
    /// # Errors
    ///
    /// That of connecting, where there are no files either, or this user may not read them.
    pub(crate) fn at(socket: &Path, output: Output) -> Result<Self, CliError> {
        let nobody = match Client::connect(socket) {
            Ok(client) => return Ok(Self::Guardd(client)),
            Err(nobody @ CliError::NoDaemon(_)) => nobody,
            Err(error) => return Err(error),
        };
        let path = beside(socket);
        let files = files::of(&path).map(|found| found.read).unwrap_or_default();
        if files.is_empty() || files.iter().any(|file| files::open(file).is_err()) {
            return Err(nobody);
        }
        let said = format!(
            "no guardd runs: this is from the audit log, {}",
            path.display()
        );
        output.warnings(&[said]);
        Ok(Self::Files(files))
    }

    /// The connection to guardd; none where none runs.
    pub(crate) fn client(&mut self) -> Option<&mut Client> {
        match self {
            Self::Guardd(client) => Some(client),
            Self::Files(_) => None,
        }
    }

    /// The records, of one session or of all.
    ///
    /// # Errors
    ///
    /// guardd's, or that a file cannot be read.
    pub(crate) fn records(
        self,
        session: Option<String>,
        since: Option<Duration>,
    ) -> Result<Vec<LogRecord>, CliError> {
        let files = match self {
            Self::Files(files) => files,
            Self::Guardd(client) => {
                let call = Call::Log {
                    follow: false,
                    session,
                    since: since.map(|since| since.as_secs_f64()),
                };
                return client.stream::<LogRecord>(&call)?.collect();
            }
        };
        let since = since.and_then(|since| SignedDuration::try_from(since).ok());
        let since = since.and_then(|since| Timestamp::now().checked_sub(since).ok());
        let is_meant = |record: &LogRecord| {
            let its = session.is_none() || record.session == session;
            its && since.is_none_or(|since| record.at >= since)
        };
        let mut all = Vec::new();
        for file in &files {
            let records = read(file).map_err(|error| Failure {
                what: format!("cannot read the audit log, {}", file.display()),
                why: error.to_string(),
                fix: "see whether it is whole:\nguard log --verify".into(),
            })?;
            all.extend(records.into_iter().filter(is_meant));
        }
        Ok(all)
    }
}

/// What is in a file. What is no record, such as a line that was not written to its end, is left out.
fn read(file: &Path) -> io::Result<Vec<LogRecord>> {
    let mut from = files::open(file)?;
    let mut line = Vec::new();
    let mut records = Vec::new();
    while files::read_line(from.as_mut(), &mut line)? {
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        match Line::of(line) {
            Line::Chained(one) => records.push(one.record),
            Line::Plain(record) => records.push(record),
            Line::Nothing => {}
        }
    }
    Ok(records)
}

/// The audit log of the guardd that would listen there: with a state directory of its own it is in that.
pub(crate) fn beside(socket: &Path) -> PathBuf {
    if socket == Path::new(DEFAULT_SOCKET) {
        INSTALLED.into()
    } else {
        socket.with_file_name("audit.jsonl")
    }
}
