//! Launching from a terminal: the command gets a pseudo-terminal of its own, and inherits nothing of the person's.
//!
//! A process with a terminal open can write to it, and read what is typed there, also at the shell's next prompt. So three
//! processes take part, as in `sudo` with `use_pty`:
//!
//! - `guard run` stays in the shell's job, and carries bytes between the person's terminal and the pseudo-terminal:
//!   `relay.rs`.
//! - The monitor leads the session (setsid(2)) whose terminal the pseudo-terminal is. Without such a parent the kernel would
//!   take the command for orphaned, and ^Z would not stop it: `monitor.rs`.
//! - The command is the monitor's child. Keys that signal (^C, ^Z, ^\) do so by the pseudo-terminal.
//!
//! Those of the command's standard streams that are the person's terminal become the pseudo-terminal; others, such as a pipe or
//! a file, stay. While the relay may not read the person's terminal, as in a pipeline or in the background, the command is in
//! the background of the pseudo-terminal: when it reads, the kernel stops it, and the relay gets to know.

mod channel;
mod flow;
mod monitor;
mod notes;
mod relay;
mod terminal;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fchown, fcntl_setfl};
use rustix::process::Uid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcsetattr, tcsetwinsize};

pub use notes::TerminalNotes;
pub(super) use terminal::Terminal;

use super::handing::{Serving, ToHand};
use super::parent::verdict;
use super::{Command, CommandStatus, Entered, failure, not_started};
use crate::LaunchError;
use channel::Channel;
use guard_proto::Failure;
use guard_sys::process::{Fork, fork};
use guard_sys::signal::Signals;
use monitor::Start;
use notes::Notes;
use relay::Relay;

/// Runs a command on a pseudo-terminal that stands for `terminal`. The ends of `report` are as in [`super::launch`]; `serve`
/// starts the supervisor.
pub(super) fn launch(
    command: &Command,
    enter: &mut dyn FnMut() -> Result<Entered, Failure>,
    mut terminal: Terminal,
    signals: Signals,
    [report, to_parent]: [OwnedFd; 2],
    to_hand: Option<ToHand>,
    serve: impl FnOnce(Option<TerminalNotes>) -> Serving,
) -> Result<CommandStatus, LaunchError> {
    let pty = Pty::open(&terminal, command.identity.seen()).map_err(no_pty)?;
    let streams = terminal.streams();
    // In a pipeline another process may be reading what is typed, as `less` does.
    let in_foreground = streams[0] && streams[1] && terminal.is_foreground();
    if in_foreground {
        terminal.make_raw().map_err(not_started)?;
    }
    let (ours, theirs) = Channel::pair().map_err(not_started)?;
    match fork().map_err(not_started)? {
        Fork::Child => {
            drop((pty.outer, ours, report, serve));
            let start = Start {
                pty: pty.inner,
                streams,
                in_foreground,
                signals,
                terminal,
                relay: theirs,
                to_hand,
            };
            monitor::run(start, command, enter, to_parent.into())
        }
        Fork::Parent(monitor) => {
            drop((pty.inner, theirs, to_parent, to_hand));
            // Where errors go elsewhere, a person does not read them here.
            let (notes, theirs) = streams[2].then(Notes::pair).flatten().unzip();
            let serving = serve(theirs);
            let relay = Relay::new(monitor, terminal, pty.outer, signals, ours);
            let outcome = relay.with_notes(notes).run();
            serving.finish();
            let outcome = outcome.map_err(not_started)?;
            verdict(File::from(report), outcome)
        }
    }
}

/// Both ends of a pseudo-terminal.
struct Pty {
    /// What the relay reads and writes, without waiting.
    outer: OwnedFd,
    /// The terminal that the command sees.
    inner: OwnedFd,
}

impl Pty {
    /// One with the settings and the size of `terminal`, that `owner` may open.
    fn open(terminal: &Terminal, owner: u32) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = openpt(flags)?;
        unlockpt(&outer)?;
        // Not by its name, which may be another terminal's in another mount namespace.
        let inner = ioctl_tiocgptpeer(&outer, flags)?;
        if owner != rustix::process::geteuid().as_raw() {
            fchown(&inner, Some(Uid::from_raw(owner)), None)?;
        }
        tcsetattr(&inner, OptionalActions::Now, &terminal.settings()?)?;
        // A terminal may not know its size.
        if let Ok(size) = terminal.size() {
            tcsetwinsize(&outer, size)?;
        }
        fcntl_setfl(&outer, OFlags::RDWR | OFlags::NONBLOCK)?;
        Ok(Self { outer, inner })
    }
}

fn no_pty(why: io::Error) -> LaunchError {
    let what = "cannot give the command a terminal of its own";
    let fix = "see whether /dev/pts is mounted and kernel.pty.max leaves room; or run it without a terminal: setsid -w guard run -- … < /dev/null > log 2>&1";
    failure(what, why, fix).into()
}
