//! Launches commands as `guard run` does, without a daemon, and tries what they may do.
//!
//! ```text
//! launch-probe run [--user NAME] [--enter CGROUP|fail|panic|wait] [--trust CERTIFICATE --state DIR] -- COMMAND…
//! launch-probe try CALL…
//! launch-probe do-to CALL…
//! launch-probe victim
//! ```
//!
//! `run` tells a refusal as JSON on standard error and ends with its status. `try` makes a call that
//! `raw.rs` knows, and prints `ok` or the number of the error; `do-to` does the same to another process, as
//! `victim` is one, by `others.rs`.

mod others;
mod raw;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use guard_launch::{
    Ask, Command, CommandIdentity, CommandStatus, Entered, LaunchError, Trust, launch,
};
use guard_proto::Failure;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("run") => run(arguments),
        Some("try") => tell(raw::attempt, arguments),
        Some("do-to") => tell(others::attempt, arguments),
        Some("victim") => others::be_a_victim().map(|()| ExitCode::SUCCESS),
        _ => bail!("run, try, do-to or victim?"),
    }
}

/// Makes an attempt, and prints what came of it.
fn tell(
    attempt: fn(&[&str]) -> Result<io::Result<()>>,
    arguments: impl Iterator<Item = String>,
) -> Result<ExitCode> {
    let words: Vec<_> = arguments.collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match attempt(&words)? {
        Ok(()) => println!("ok"),
        Err(error) => println!("{}", error.raw_os_error().context("no number")?),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Options {
    user: Option<String>,
    enter: Option<String>,
    trust: Option<PathBuf>,
    state: PathBuf,
}

fn options(arguments: &mut impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--user" => options.user = arguments.next(),
            "--enter" => options.enter = arguments.next(),
            "--trust" => options.trust = arguments.next().map(Into::into),
            "--state" => options.state = arguments.next().context("where?")?.into(),
            "--" => break,
            other => bail!("what is {other}?"),
        }
    }
    Ok(options)
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let options = options(&mut arguments)?;
    let argv = arguments.collect();
    let status = launched(argv, &options).map_or_else(
        |error| {
            eprintln!("{}", serde_json::json!({ "error": error.failure }));
            error.code
        },
        |outcome| outcome.status(),
    );
    Ok(status.into())
}

fn launched(argv: Vec<String>, options: &Options) -> Result<CommandStatus, LaunchError> {
    let identity = CommandIdentity::choose(options.user.as_deref())?;
    let trust = trust(&identity, options)?;
    let command = Command {
        argv: argv.into_iter().map(Into::into).collect(),
        identity,
        environment: vec![("GUARD_SESSION".into(), "s1".into())],
        sockets: None,
        // Nobody connects for it, so nobody asks.
        ask: Ask {
            address: |_, _, _| None,
            has_open: |_, _, _, _| None,
            has_bound: |_, _, _, _| false,
        },
        names: guard_launch::landlock::AbstractNames::Scoped,
    };
    let mut enter = || {
        let cgroup = enter(options.enter.as_deref())?;
        let effect = trust.as_ref().map(Trust::take_effect).unwrap_or_default();
        warn(&effect.warnings);
        Ok(Entered {
            cgroup,
            environment: effect.environment,
            told_root: Box::new(|| Ok(())),
        })
    };
    let outcome = launch(&command, &mut enter, |_| {}, |_| {});
    if let Some(trust) = trust {
        // There is no session's cgroup, so nothing is left in it.
        trust.finish(&std::env::temp_dir());
    }
    outcome
}

fn trust(identity: &CommandIdentity, options: &Options) -> Result<Option<Trust>, Failure> {
    let Some(path) = &options.trust else {
        return Ok(None);
    };
    let authority = std::fs::read_to_string(path).map_err(|why| Failure {
        what: "no authority".into(),
        why: why.to_string(),
        fix: "none".into(),
    })?;
    let cgroup = std::env::temp_dir();
    let (trust, warnings) = Trust::prepare(&authority, identity, &options.state, &cgroup);
    warn(&warnings);
    Ok(trust)
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Stands for the daemon: there is no session, so the process stays where it is.
fn enter(how: Option<&str>) -> Result<PathBuf, Failure> {
    match how {
        Some("fail") => Err(Failure {
            what: "cannot enter".into(),
            why: "the test says so".into(),
            fix: "none".into(),
        }),
        Some("panic") => panic!("the test says so"),
        Some("wait") => loop {
            std::thread::park();
        },
        Some(path) => Ok(path.into()),
        None => guard_sys::cgroup2::own_path().map_err(|why| Failure {
            what: "no cgroup".into(),
            why: why.to_string(),
            fix: "none".into(),
        }),
    }
}
