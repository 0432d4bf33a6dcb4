//! The audit log.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::{fs, io};

use guard_proto::{Call, Failure, LogRecord, Status, status::AuditStatus};
use guard_signed::approvers::ApproverList;
use guard_trail::{
    ChainHead, files,
    trials::Trials,
    verify::{self, signatures::Signatures},
};

use super::args::LogArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::records::{Teller, beside};
use super::render::{self, Output};

/// `guard log`
pub(crate) fn log(
    connect: impl FnOnce() -> Result<Client, CliError>,
    socket: &Path,
    args: LogArgs,
    output: Output,
) -> Result<Exit, CliError> {
    only_to_verify(&args)?;
    match args.verify {
        true => verified(connect, socket, args, output),
        false if args.follow => followed(connect()?, args, output),
        false => match Teller::at(socket, output)? {
            Teller::Guardd(client) => followed(client, args, output),
            files => {
                let which = RecordsWanted::of(&args);
                let records = files.records(args.session, args.since)?;
                shown(records.into_iter().map(Ok), which, output)
            }
        },
    }
}

/// Beside an option that --verify does not go with, clap lets pass what needs it: it would count for nothing.
fn only_to_verify(args: &LogArgs) -> Result<(), Failure> {
    let file = args.files.first().map(|file| file.display().to_string());
    let head = (!args.head.is_empty()).then(|| "--head".to_owned());
    let signatures = args.signatures.then(|| "--signatures".to_owned());
    match file.or(head).or(signatures) {
        Some(what) if !args.verify => Err(Failure {
            what: format!("cannot take {what} without --verify"),
            why: "the audit log's files are checked; of one session records are shown by an option"
                .to_owned(),
            fix: "guard log --verify FILE…\nguard log --session s1".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn followed(client: Client, args: LogArgs, output: Output) -> Result<Exit, CliError> {
    let which = RecordsWanted::of(&args);
    let call = Call::Log {
        follow: args.follow,
        session: args.session,
        since: args.since.map(|duration| duration.as_secs_f64()),
    };
    shown(client.stream::<LogRecord>(&call)?, which, output)
}

/// Which of the records that come.
#[derive(Clone, Copy, Debug)]
struct RecordsWanted {
    /// A session was named.
    of_one: bool,
    /// So many, the last ones.
    last: Option<u32>,
}

impl RecordsWanted {
    fn of(args: &LogArgs) -> Self {
        Self {
            of_one: args.session.is_some(),
            last: args.last,
        }
    }
}

/// Each record is printed as it comes, so that a reader of a pipe has it at once; the last ones once all have come. People are not told
/// what `guard doctor` has had refused, unless they ask for that session.
fn shown(
    records: impl Iterator<Item = Result<LogRecord, CliError>>,
    which: RecordsWanted,
    output: Output,
) -> Result<Exit, CliError> {
    let mut any = false;
    let mut trials = Trials::default();
    let mut kept = VecDeque::new();
    for record in records {
        let record = record?;
        if trials.has(&record) && !which.of_one && !output.is_json() {
            continue;
        }
        any = true;
        match which.last {
            Some(most) => keep(&mut kept, record, most),
            None => output.print(&record, render::log::line)?,
        }
    }
    for record in &kept {
        output.print(record, render::log::line)?;
    }
    if !any && !output.is_json() {
        output.print("", |_, _| render::log::none())?;
    }
    Ok(Exit::DONE)
}

/// Keeps one more, and so many at most.
fn keep<T>(kept: &mut VecDeque<T>, one: T, most: u32) {
    kept.push_back(one);
    if kept.len() > most as usize {
        kept.pop_front();
    }
}

/// Reads the files itself: what guardd says of them is no proof. Only the path and the head are guardd's, where it runs.
fn verified(
    connect: impl FnOnce() -> Result<Client, CliError>,
    socket: &Path,
    args: LogArgs,
    output: Output,
) -> Result<Exit, CliError> {
    let mut noted = args.head;
    let paths = if args.files.is_empty() {
        // Before the files are read: what comes meanwhile is behind it.
        let audit = known(connect)?;
        noted.extend(audit.as_ref().and_then(head));
        let path = audit.map_or_else(|| beside(socket), |audit| audit.path);
        of(&path, output)?
    } else {
        args.files
    };
    let signatures = signatures(args.signatures, args.approvers.as_deref())?;
    let found =
        verify::open(paths).and_then(|sources| verify::verify_signed(sources, &noted, signatures));
    let found = found.map_err(|error| unreadable(&error))?;
    Exit::answer(found.whole).once_told(output.print(&found, render::verified::page))
}

/// By which keys signatures are checked, if they are.
fn signatures(wanted: bool, file: Option<&Path>) -> Result<Option<Signatures>, Failure> {
    let Some(file) = file else {
        return Ok(wanted.then(Signatures::by_log));
    };
    let text = fs::read_to_string(file).map_err(|error| error.to_string());
    let known = text.and_then(|text| ApproverList::parse(&text).map_err(|why| why.to_string()));
    let known = known.map_err(|why| Failure {
        what: format!("cannot read the approvers in {}", file.display()),
        why,
        fix: "give a copy of approvers.toml, or leave --approvers out: then the keys are those that the log says were added"
            .into(),
    })?;
    Ok(Some(Signatures::by(&known)))
}

/// What guardd says of its audit log, if one runs.
fn known(
    connect: impl FnOnce() -> Result<Client, CliError>,
) -> Result<Option<AuditStatus>, CliError> {
    match connect() {
        Ok(mut client) => Ok(client.call::<Status>(&Call::Status {})?.audit),
        Err(CliError::NoDaemon(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn head(audit: &AuditStatus) -> Option<ChainHead> {
    let hash = audit.hash.parse().ok()?;
    (audit.number > 0).then_some(ChainHead {
        number: audit.number,
        hash,
    })
}

fn of(path: &Path, output: Output) -> Result<Vec<PathBuf>, CliError> {
    let found = files::of(path).map_err(|error| {
        let why = format!("{}: {error}", path.display());
        unreadable(&io::Error::new(error.kind(), why))
    })?;
    let unread = found.unread.iter().map(|file| {
        let file = file.display();
        format!("{file} is not read: only gzip is unpacked here")
    });
    output.warnings(&unread.collect::<Vec<_>>());
    if found.read.is_empty() {
        Err(unreadable(&io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no {}", path.display()),
        )))
    } else {
        Ok(found.read)
    }
}

fn unreadable(error: &io::Error) -> CliError {
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "ask as root, or as a member of the group guard:\nsudo guard log --verify"
        }
        _ => "name its files:\nguard log --verify FILE…",
    };
    CliError::Local(Failure {
        what: "cannot read the audit log".into(),
        why: error.to_string(),
        fix: fix.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_in_order() {
        let mut kept = VecDeque::new();
        (1..=5).for_each(|one| keep(&mut kept, one, 2));
        assert_eq!(kept, [4, 5]);
    }
}
