//! Launches commands as `guard run` does, without a daemon, and tries what they may do.
//!
//! ```text
//! launch-probe run [--user NAME] [--enter CGROUP|fail|panic|wait] -- COMMAND…
//! launch-probe try CALL…
//! ```
//!
//! `run` tells a refusal as JSON on standard error and ends with its status. `try` makes a call that
//! `raw.rs` knows, and prints `ok` or the number of the error.

mod raw;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use guard_user::proto::Failure;
use guard_user::session::{Command, Entered, Identity, LaunchError, launch};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("run") => run(arguments),
        Some("try") => {
            let words: Vec<_> = arguments.collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            match raw::attempt(&words)? {
                Ok(()) => println!("ok"),
                Err(error) => println!("{}", error.raw_os_error().context("no number")?),
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("run or try?"),
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let mut user = None;
    let mut enter_how = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--user" => user = arguments.next(),
            "--enter" => enter_how = arguments.next(),
            "--" => break,
            other => bail!("what is {other}?"),
        }
    }
    let argv = arguments.map(Into::into).collect();
    let outcome = Identity::choose(user.as_deref())
        .map_err(LaunchError::from)
        .and_then(|identity| {
            let environment = vec![("GUARD_SESSION".into(), "s1".into())];
            let command = Command {
                argv,
                identity,
                environment,
            };
            launch(&command, &mut || {
                let cgroup = enter(enter_how.as_deref())?;
                Ok(Entered {
                    cgroup,
                    environment: Vec::new(),
                })
            })
        });
    let status = outcome.map_or_else(
        |error| {
            eprintln!("{}", serde_json::json!({ "error": error.failure }));
            error.code
        },
        |outcome| outcome.status(),
    );
    Ok(status.into())
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
        None => guard_user::sys::cgroup2::own_path().map_err(|why| Failure {
            what: "no cgroup".into(),
            why: why.to_string(),
            fix: "none".into(),
        }),
    }
}
