//! A session of doctor's own, under a policy that denies everything: what is tried in it must fail.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use guard_launch::CommandIdentity;
use guard_probe::attempts::{All, AttemptServers, CONTROL, Came, POLICY, Targets, hand_in};
use guard_probe::child::{Trying, asked};
use guard_proto::{Call, ErrorName, Failure, PolicyRef, Status};
use guard_sys::process::exit_at_once;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::user;
use crate::args::{Global, RunArgs};
use crate::client::Client;
use crate::error::{CliError, Exit};
use crate::render::Output;
use crate::run;

/// A session takes some tens of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(8);

type Tried = Result<All, String>;

/// What the attempts come to in a session of that guardd, and outside.
pub(super) fn compare(identity: &CommandIdentity, socket: Option<&Path>) -> (Tried, Tried) {
    let staged = user::victim(identity).and_then(AttemptServers::new);
    let stage = match staged {
        Ok(stage) => stage,
        Err(error) => return (Err(error.to_string()), Err(error.to_string())),
    };
    let Some(socket) = socket else {
        let none = "there is no guardd to make a session";
        return (Err(none.to_owned()), Err(none.to_owned()));
    };
    let targets = &stage.targets;
    let outside = outside(identity, targets, socket).map_err(|error| error.to_string());
    (inside(identity, targets, socket), outside)
}

fn outside(identity: &CommandIdentity, targets: &Targets, socket: &Path) -> io::Result<All> {
    let (_ours, theirs) = hand_in()?;
    asked(|| match identity.adopt() {
        Ok(()) => {
            let mut all = targets.attempt_all(&theirs);
            all.insert(CONTROL.to_owned(), control(socket));
            all
        }
        Err(_) => All::new(),
    })
}

fn inside(identity: &CommandIdentity, targets: &Targets, socket: &Path) -> Tried {
    let said = launched(identity, targets, socket).map_err(|error| error.to_string())?;
    serde_json::from_str(&said.output).map_err(|_| {
        if said.errors.is_empty() {
            "the command in the session said nothing".to_owned()
        } else {
            said.errors
        }
    })
}

/// What a command in a session has said.
struct CommandOutput {
    output: String,
    errors: String,
}

fn launched(
    identity: &CommandIdentity,
    targets: &Targets,
    socket: &Path,
) -> io::Result<CommandOutput> {
    let (_ours, theirs) = hand_in()?;
    let (output, to_output) = pipe_with(PipeFlags::CLOEXEC)?;
    let (errors, to_errors) = pipe_with(PipeFlags::CLOEXEC)?;
    let command = command(targets)?;
    let _running = Trying::start(|_| {
        let plugged = dup2_stdin(&theirs)
            .and_then(|()| dup2_stdout(&to_output))
            .and_then(|()| dup2_stderr(&to_errors));
        if plugged.is_ok() {
            exit_at_once(run_in_session(identity, command, socket).0);
        }
    })?;
    drop((to_output, to_errors, theirs));
    let deadline = Instant::now() + TIMEOUT;
    Ok(CommandOutput {
        output: read_until(output.into(), deadline)?,
        errors: read_until(errors.into(), deadline)?
            .replace('\n', " ")
            .trim()
            .to_owned(),
    })
}

fn run_in_session(identity: &CommandIdentity, command: Vec<OsString>, socket: &Path) -> Exit {
    let args = RunArgs {
        policy: None,
        name: Some("guard doctor".to_owned()),
        user: None,
        hold: None,
        observe: false,
        quiet: true,
        command,
    };
    let global = Global {
        json: false,
        socket: Some(socket.to_owned()),
    };
    let policy = PolicyRef {
        name: Some("doctor".to_owned()),
        file: None,
        text: Some(POLICY.to_owned()),
    };
    let output = Output::new(false);
    let run = run::in_session(&args, &global, output, identity.clone(), Some(policy), true);
    run.unwrap_or_else(|error| {
        output.error(&error);
        error.exit()
    })
}

/// This very program, with what it is to try.
fn command(targets: &Targets) -> io::Result<Vec<OsString>> {
    let targets = serde_json::to_string(targets)?;
    let own = std::env::current_exe()?;
    Ok(vec![
        own.into(),
        "doctor".into(),
        "--attempts".into(),
        targets.into(),
    ])
}

fn read_until(mut from: File, deadline: Instant) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        if poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&left))? == 0 {
            return Err(io::Error::other(format!(
                "the session did not end in {} s",
                TIMEOUT.as_secs()
            )));
        }
        let mut piece = [0; 4096];
        match from.read(&mut piece)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            length => text.extend_from_slice(&piece[..length]),
        }
    }
}

/// In the session: tries, and says what it came to.
pub(super) fn attempt(targets: &str, socket: &Path) -> Result<Exit, CliError> {
    let targets: Targets = serde_json::from_str(targets).map_err(|error| Failure {
        what: "cannot try what was asked".to_owned(),
        why: error.to_string(),
        fix: "guard doctor, without --attempts".to_owned(),
    })?;
    let mut all = targets.attempt_all(io::stdin());
    all.insert(CONTROL.to_owned(), control(socket));
    let text = serde_json::to_string(&all).map_err(|error| CliError::output(&error.into()))?;
    let mut out = io::stdout().lock();
    let said = writeln!(out, "{text}");
    said.map_err(|error| CliError::output(&error))?;
    Ok(Exit::DONE)
}

/// A verb that is for people outside.
fn control(socket: &Path) -> Came {
    let asked = Client::connect_inside(socket);
    match asked.and_then(|mut client| client.call::<Status>(&Call::Status {})) {
        Ok(_) => Came::Through,
        Err(CliError::Answer {
            name: ErrorName::Refused,
            ..
        }) => Came::Refused {
            why: "refused".to_owned(),
        },
        Err(error) => Came::Failed {
            why: error.to_string(),
        },
    }
}
