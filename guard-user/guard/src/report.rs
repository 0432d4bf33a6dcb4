//! What was stopped, asked and opened: the audit log in short, for a person or a CI job.

use std::fs::OpenOptions;
use std::io::Write;
use std::{env, io};

use super::args::{FailOn, ReportArgs, ReportFormat};
use super::error::{CliError, Exit};
use super::flows;
use super::records::Teller;
use super::render::{self, Output};
use guard_proto::{Call, Failure, HolesReply, Session, SessionsReply};
use summary::Report;

mod github;
mod gitlab;
pub(crate) mod markdown;
pub(crate) mod run;
pub(crate) mod summary;

/// `guard report`: a no only where `--fail-on` says what a no is.
pub(crate) fn report(
    mut teller: Teller,
    args: &ReportArgs,
    output: Output,
) -> Result<Exit, CliError> {
    // Of a guardd that has ended, no session lives, and what was reached went with it.
    let (mut reached, mut live, mut open) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(client) = teller.client() {
        reached = flows::reached(client, None)?.flows;
        live = client.call::<SessionsReply>(&Call::Sessions {})?.sessions;
        open = client.call::<HolesReply>(&Call::Holes {})?.holes;
    }
    // All sessions: what runs in sessions inside one is found by who started which.
    let records = teller.records(None, args.since)?;
    let mut report = Report::of(&records);
    report.know(&live);
    report.know_holes(&open);
    report.reach(reached, args.since);
    let (id, name) = report.meant(args.session.as_deref(), args.name.as_deref());
    report.keep(id, name);
    if report.sessions.is_empty() && !report.may_lack {
        is_known(args, &live)?;
    }
    if args.fail_on.is_some() && report.may_lack {
        let why = "what was stopped may not all be told, so this is a no: the audit log left some out, or a session \
                   that may be meant began before --since";
        output.warnings(&[why.to_owned()]);
    }
    let told = match args.format {
        ReportFormat::Text => output.print(&report, render::report::page),
        ReportFormat::Markdown => print(&markdown::page(&report)),
        ReportFormat::Github => {
            let told = print(&github::commands(&report));
            step_summary(&report)?;
            told
        }
        ReportFormat::Gitlab => print(&gitlab::section(&report)),
    };
    Exit::answer(!is_to_fail(args.fail_on, &report)).once_told(told)
}

/// What the audit log may lack may be what it is to fail on: a flood of refusals hides none.
fn is_to_fail(on: Option<FailOn>, report: &Report) -> bool {
    match on {
        None => false,
        Some(FailOn::Denied) => {
            report.may_lack || report.stopped.iter().any(|one| one.verdict == "deny")
        }
        Some(FailOn::Stopped) => report.may_lack || report.has_stopped(),
    }
}

/// A session without records is one that lives, or none: a job that is to fail does not pass by a misspelt name.
fn is_known(args: &ReportArgs, live: &[Session]) -> Result<(), Failure> {
    let (id, name) = (args.session.as_deref(), args.name.as_deref());
    let is_meant = |one: &Session| {
        id.is_none_or(|id| one.id == id) && name.is_none_or(|name| one.name == name)
    };
    if (id.is_none() && name.is_none()) || live.iter().any(is_meant) {
        return Ok(());
    }
    Err(unknown(id, name, args.since.is_some()))
}

/// The error for sessions of which nothing is known.
pub(super) fn unknown(id: Option<&str>, name: Option<&str>, is_lately: bool) -> Failure {
    let meant = match (id, name) {
        (Some(id), Some(name)) => format!("{id} with the name {name}"),
        (Some(id), None) => id.to_owned(),
        (None, name) => format!("with the name {}", name.unwrap_or_default()),
    };
    let when = if is_lately { " in that time" } else { "" };
    Failure {
        what: "there is nothing to tell of".into(),
        why: format!("you have no session {meant}, and the audit log has none{when}"),
        fix: "see which there are, by name and id:\nguard report".into(),
    }
}

fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CliError::output(&error))
}

/// Adds the report to the page that GitHub shows of the job, where there is one.
fn step_summary(report: &Report) -> Result<(), CliError> {
    let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let file = OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(markdown::page(report).as_bytes()));
    written.map_err(|error| {
        CliError::Local(Failure {
            what: "cannot write the job's summary".into(),
            why: format!("{}: {error}", path.display()),
            fix: "check GITHUB_STEP_SUMMARY, or take --format markdown".into(),
        })
    })
}
