//! Starting the command: one process becomes two.
//!
//! The child moves into its session, is contained and becomes the command: `child.rs`. The parent relays signals and status
//! between it and the caller of `guard run`: `parent.rs`. At a terminal the command gets a pseudo-terminal: `pty.rs`.

mod child;
mod handing;
mod parent;
mod pty;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, getpid, getppid, set_dumpable_behavior};

use super::identity::CommandIdentity;
use super::landlock::AbstractNames;
use super::sockets::{Ask, RefusedSocket, SessionSockets};
use super::{KILLED, LaunchError, failure};
use guard_proto::Failure;
use guard_sys::process::{Fork, fork};
use guard_sys::signal::Signals;
use handing::Serving;

pub use pty::TerminalNotes;

/// A command, and the user that it runs as.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program, which is looked for in PATH as a shell does, and its arguments.
    pub argv: Vec<OsString>,
    /// The user.
    pub identity: CommandIdentity,
    /// What is added to the environment, `GUARD_SESSION` above all.
    pub environment: Vec<(OsString, OsString)>,
    /// Its supervisor's terms; none if its Unix sockets are not judged, or the kernel half judges them.
    pub sockets: Option<SessionSockets>,
    /// Asks guardd about processes that this one may not read.
    pub ask: Ask,
    /// What judges its connections to abstract names.
    pub names: AbstractNames,
}

/// The session of the new process.
pub struct Entered {
    /// The session's cgroup, as a directory or as in `/proc/self/cgroup`.
    pub cgroup: PathBuf,
    /// What is added to the environment beside [`Command::environment`].
    pub environment: Vec<(OsString, OsString)>,
    /// Tells guardd that the process is in its user namespace, if it became root of one.
    pub told_root: ToldRoot,
}

/// See [`Entered::told_root`].
pub type ToldRoot = Box<dyn FnOnce() -> Result<(), Failure>>;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandStatus {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl CommandStatus {
    /// The exit status for it, as shells have it: 128+n for signal n.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            // Signals are 1 to 64.
            Self::Killed(signal) => KILLED.saturating_add(signal as u8),
        }
    }
}

/// What the child writes before it executes the command, to tell an end before from one after. White
/// space, so that what follows is still JSON.
const ABOUT_TO_EXECUTE: &[u8] = b"\n";

const WHAT: &str = "cannot start the command";
const FIX: &str = "guard doctor says what this machine lacks; where it is about the terminal, run it without one: \
                   guard run -- … < /dev/null 2>&1 | cat";

/// Runs a command in a session, and returns when it has ended.
///
/// `enter` is called in the new process, which still has the caller's privileges: it moves that process into the session's
/// cgroup and returns that cgroup. The command is executed only when the process is seen to be there, and contained. `told` is
/// called, on another thread, for connections to Unix sockets that were refused. `beside` is called in this process once there are
/// two, and may start threads; where standard error is the terminal that the command has, it gets what says lines there.
///
/// The caller must have one thread only: no runtime that starts others, and no resolver in the background.
///
/// # Errors
///
/// A [`LaunchError`], and then the command has never run.
pub fn launch(
    command: &Command,
    enter: &mut dyn FnMut() -> Result<Entered, Failure>,
    told: impl FnMut(&RefusedSocket) + Send + 'static,
    beside: impl FnOnce(Option<TerminalNotes>),
) -> Result<CommandStatus, LaunchError> {
    // A guarded process of the same user must not be able to take over the parent or the supervisor, from its first instruction
    // on. The child's own execve(2) undoes this for the command.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(not_started)?;
    let (server, to_hand) = handing::start(command).map_err(not_started)?;
    let serve = |notes| {
        beside(notes);
        Serving::begin(server, told)
    };
    let (report, to_parent) = pipe_with(PipeFlags::CLOEXEC).map_err(not_started)?;
    let signals = Signals::hold().map_err(not_started)?;
    if let Some(terminal) = pty::Terminal::find() {
        return pty::launch(
            command,
            enter,
            terminal,
            signals,
            [report, to_parent],
            to_hand,
            serve,
        );
    }
    let parent = getpid();
    match fork().map_err(not_started)? {
        Fork::Child => {
            drop((report, signals, serve));
            let mut enter = || attended(parent, enter);
            child::become_command(command, &mut enter, to_hand, to_parent.into())
        }
        Fork::Parent(child) => {
            drop((to_parent, to_hand));
            let serving = serve(None);
            let outcome = parent::stand_in(child, signals, report.into());
            serving.finish();
            outcome
        }
    }
}

/// Enters the session, unless the parent was killed meanwhile: guardd watches the parent only from then on.
fn attended(
    parent: Pid,
    enter: &mut dyn FnMut() -> Result<Entered, Failure>,
) -> Result<Entered, Failure> {
    let entered = enter()?;
    match getppid() {
        Some(now) if now == parent => Ok(entered),
        _ => Err(failure(WHAT, "guard run was killed before it", "try again")),
    }
}

fn not_started(why: impl Into<io::Error>) -> LaunchError {
    failure(WHAT, why.into(), FIX).into()
}
