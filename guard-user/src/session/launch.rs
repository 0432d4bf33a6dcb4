//! Starting the command, and standing in for it towards shell and terminal.
//!
//! `guard run` stays as the parent, in the process group that the shell gave it, and the command is
//! in the same one. So what the terminal sends to that group (^C, ^Z, a hang-up, a new size)
//! reaches the command by itself, an interactive program owns the terminal as it would without the
//! guard, and what is left for the parent is:
//!
//! - to pass on what other processes send to it alone,
//! - to stop when the command stops, so that the shell sees a stopped job, and
//! - to end with the command's status.
//!
//! Where the parent is killed by SIGKILL the command goes on, in its session and as guarded as
//! before: the guard is in the kernel, not in the parent. `guard stop` ends it.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, WaitId, WaitIdOptions, WaitIdStatus, getpgrp, getsid,
    set_dumpable_behavior, waitid,
};

use super::contain::contain;
use super::identity::Identity;
use super::{LaunchError, NOT_EXECUTABLE, NOT_FOUND, failure};
use crate::proto::Failure;
use crate::sys::process::{Fork, exit_at_once, fork};
use crate::sys::signal::{self, CHILD_CHANGED, Signals};

/// What to run, and as whom.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program, which is looked for in PATH as a shell does, and its arguments.
    pub argv: Vec<OsString>,
    /// As whom.
    pub identity: Identity,
    /// What is added to the environment, `GUARD_SESSION` above all.
    pub environment: Vec<(OsString, OsString)>,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl Outcome {
    /// The exit status that says so, as shells do: 128+n for signal n.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            // Signals are 1 to 64.
            Self::Killed(signal) => 128_u8.saturating_add(signal as u8),
        }
    }
}

/// What the child writes before it executes the command, to tell an end before from one after. White
/// space, so that what follows is still JSON.
const ABOUT_TO_EXECUTE: &[u8] = b"\n";

const WHAT: &str = "cannot start the command";

/// Runs a command in a session, and returns when it has ended.
///
/// `enter` is called in the new process, which still has the caller's privileges: it moves that process
/// into the session's cgroup and returns that cgroup, as a directory or as in `/proc/self/cgroup`.
/// Only when it is seen to be there, and contained, is the command executed.
///
/// The caller must have one thread only: no runtime that starts others, no resolver in the
/// background.
///
/// # Errors
///
/// A [`LaunchError`], and then the command has never run.
pub fn launch(
    command: &Command,
    enter: &mut dyn FnMut() -> Result<PathBuf, Failure>,
) -> Result<Outcome, LaunchError> {
    let (report, to_parent) = pipe_with(PipeFlags::CLOEXEC).map_err(not_started)?;
    let signals = Signals::hold().map_err(not_started)?;
    match fork().map_err(not_started)? {
        Fork::Child => {
            drop((report, signals));
            become_command(command, enter, to_parent.into())
        }
        Fork::Parent(child) => {
            drop(to_parent);
            // A guarded process of the same user must not be able to take over this one.
            let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
            let mut parent = Parent {
                child,
                signals,
                report: report.into(),
            };
            let outcome = parent.wait().map_err(not_started)?;
            parent.verdict(outcome)
        }
    }
}

fn not_started(why: impl Into<io::Error>) -> LaunchError {
    failure(WHAT, why.into(), "try again").into()
}

/// The child's part. Returns to nobody: what is on the stack belongs to the parent.
fn become_command(
    command: &Command,
    enter: &mut dyn FnMut() -> Result<PathBuf, Failure>,
    mut to_parent: File,
) -> ! {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        execute(command, enter, &mut to_parent).map(|never| match never {})
    }));
    let error = match tried {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => failure(WHAT, "guard has a fault", "please report it").into(),
    };
    if let Ok(text) = serde_json::to_vec(&error) {
        // A parent that is gone needs no report.
        let _ = to_parent.write_all(&text);
    }
    exit_at_once(error.code)
}

fn execute(
    command: &Command,
    enter: &mut dyn FnMut() -> Result<PathBuf, Failure>,
    to_parent: &mut File,
) -> Result<Infallible, LaunchError> {
    let (program, arguments) = match command.argv.split_first() {
        Some(parts) => parts,
        None => return Err(failure(WHAT, "there is none", "guard run -- COMMAND").into()),
    };
    let cgroup = enter()?;
    contain(&command.identity, &cgroup)?;
    let mut prepared = std::process::Command::new(program);
    prepared.args(arguments);
    for (variable, value) in command.identity.environment() {
        match value {
            Some(value) => prepared.env(variable, value),
            None => prepared.env_remove(variable),
        };
    }
    prepared.envs(
        command
            .environment
            .iter()
            .map(|(name, value)| (name, value)),
    );
    to_parent.write_all(ABOUT_TO_EXECUTE).map_err(not_started)?;
    // Gives SIGPIPE, which Rust programs ignore, its default action back.
    let why = prepared.exec();
    Err(not_executed(Path::new(program), &why))
}

/// What execvp(3) says of a name is the last error in PATH, be it of a directory that this user may not
/// even enter; so it is looked for again, as a shell does.
fn not_executed(program: &Path, why: &io::Error) -> LaunchError {
    let name = program.display();
    let missing = why.kind() == io::ErrorKind::NotFound;
    let by_path = program.components().count() > 1;
    let found = if by_path {
        !missing || program.exists()
    } else {
        is_in_path(program)
    };
    let (code, why, fix) = match (found, missing) {
        (false, _) if by_path => (
            NOT_FOUND,
            "there is no such file".to_owned(),
            format!("see what there is: ls -l {name}"),
        ),
        (false, _) => (
            NOT_FOUND,
            "no directory in PATH has it".to_owned(),
            "check the name, or give its path".to_owned(),
        ),
        (true, true) => (
            NOT_EXECUTABLE,
            "the interpreter that it names does not exist".to_owned(),
            format!("see which one it names: head -n 1 {name}"),
        ),
        (true, false) => (
            NOT_EXECUTABLE,
            why.to_string(),
            format!("see whether you may execute it: ls -l {name}"),
        ),
    };
    LaunchError {
        code,
        failure: failure(&format!("cannot execute {name}"), why, &fix),
    }
}

fn is_in_path(name: &Path) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// The parent's part.
struct Parent {
    child: Pid,
    signals: Signals,
    /// What the child says before it becomes the command, and its end when it has.
    report: File,
}

impl Parent {
    /// Stands in for the command until it ends.
    fn wait(&mut self) -> io::Result<Outcome> {
        loop {
            let mut ready = [PollFd::new(&self.signals, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(arrival) = self.signals.receive()? {
                match (arrival.signal, arrival.sender) {
                    (CHILD_CHANGED, _) => {
                        if let Some(outcome) = self.look_after_child()? {
                            return Ok(outcome);
                        }
                    }
                    (signal, Some(sender)) => self.pass_on(signal, sender)?,
                    // From the terminal: the command has got it too.
                    (_, None) => {}
                }
            }
        }
    }

    /// Passes a signal on, unless it comes from the command, as where it signals its own group.
    fn pass_on(&self, signal: i32, sender: u32) -> io::Result<()> {
        if sender == self.child.as_raw_nonzero().get().unsigned_abs() {
            return Ok(());
        }
        signal::send(self.child, signal)
    }

    fn look_after_child(&self) -> io::Result<Option<Outcome>> {
        let changes = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        while let Some(status) = waitid(WaitId::Pid(self.child), changes)? {
            if let Some(outcome) = ended(&status) {
                return Ok(Some(outcome));
            }
            if let Some(signal) = status.stopping_signal().filter(|_| has_job_control()) {
                signal::stop_by(signal)?;
            }
        }
        Ok(None)
    }

    /// Whether the command ran at all, now that the child has ended.
    fn verdict(&mut self, outcome: Outcome) -> Result<Outcome, LaunchError> {
        let mut said = Vec::new();
        self.report.read_to_end(&mut said).map_err(not_started)?;
        if said == ABOUT_TO_EXECUTE {
            return Ok(outcome);
        }
        let before = || {
            let why = match outcome {
                Outcome::Exited(status) => format!("it ended with status {status} before"),
                Outcome::Killed(signal) => format!("signal {signal} ended it before"),
            };
            failure(WHAT, why, "try again").into()
        };
        Err(serde_json::from_slice(&said).unwrap_or_else(|_| before()))
    }
}

fn ended(status: &WaitIdStatus) -> Option<Outcome> {
    let exited = status.exit_status().map(|code| Outcome::Exited(code as u8));
    exited.or_else(|| status.terminating_signal().map(Outcome::Killed))
}

/// Whether somebody would make this process go on if it stopped: a shell that gives each job a
/// process group of its own, on a terminal. Without one, stopping would be for ever.
fn has_job_control() -> bool {
    let leads_own_group = getsid(None).is_ok_and(|session| session != getpgrp());
    leads_own_group && File::open("/dev/tty").is_ok()
}
