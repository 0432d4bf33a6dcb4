//! Relays signals and status between the command and the shell.
//!
//! This is for a launch without a terminal; for one with, see `pty.rs`. `guard run` stays as the parent, in the process group
//! that its caller gave it, and the command is in the same group. So signals to that group reach the command directly, and the
//! parent has to:
//!
//! - to pass on what other processes send to it alone,
//! - to stop when the command stops, so that a shell sees a stopped job, and
//! - to end with the command's status.
//!
//! If the parent is killed by SIGKILL, guardd ends the session, since nothing could stop it any more. While no guardd runs the
//! command goes on, as guarded as before, since the kernel enforces and not the parent; the next guardd ends it.

use std::fs::File;
use std::io::{self, Read};

use guard_sys::process::{group_of, session_of};
use guard_sys::signal::{self, CHILD_CHANGED, Signals};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, getpid, waitid};

use super::{ABOUT_TO_EXECUTE, CommandStatus, WHAT, not_started};
use crate::{LaunchError, failure};

/// Relays until the command ends, and returns how it ended.
pub(super) fn stand_in(
    child: Pid,
    signals: Signals,
    report: File,
) -> Result<CommandStatus, LaunchError> {
    let mut parent = Parent { child, signals };
    let outcome = parent.wait().or_else(|_| parent.wait_only());
    verdict(report, outcome.map_err(not_started)?)
}

/// Whether the command ran at all, now that the child has ended. `report` has what the child wrote before it became the
/// command, and ends then.
pub(super) fn verdict(
    mut report: File,
    outcome: CommandStatus,
) -> Result<CommandStatus, LaunchError> {
    let mut said = Vec::new();
    report.read_to_end(&mut said).map_err(not_started)?;
    if said == ABOUT_TO_EXECUTE {
        return Ok(outcome);
    }
    let before = || {
        let why = match outcome {
            CommandStatus::Exited(status) => format!("it ended with status {status} before"),
            CommandStatus::Killed(signal) => format!("signal {signal} ended it before"),
        };
        failure(WHAT, why, "try again").into()
    };
    Err(serde_json::from_slice(&said).unwrap_or_else(|_| before()))
}

struct Parent {
    child: Pid,
    signals: Signals,
}

impl Parent {
    /// Relays until the command ends.
    fn wait(&mut self) -> io::Result<CommandStatus> {
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
                    (signal, Some(sender)) => self.pass_on(signal, sender),
                    // From the terminal: the command has got it too.
                    (_, None) => {}
                }
            }
        }
    }

    /// Without signals, there is still a status to wait for.
    fn wait_only(&self) -> io::Result<CommandStatus> {
        loop {
            match waitid(WaitId::Pid(self.child), WaitIdOptions::EXITED) {
                Ok(status) => {
                    if let Some(outcome) = status.as_ref().and_then(ended) {
                        return Ok(outcome);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Passes a signal on, unless the command sent it, as when it signals its own group.
    fn pass_on(&self, signal: i32, sender: u32) {
        if sender != self.child.as_raw_nonzero().get().unsigned_abs() {
            // It can only fail for a child that has ended, whose end is about to be seen.
            let _ = signal::send(self.child, signal);
        }
    }

    fn look_after_child(&self) -> io::Result<Option<CommandStatus>> {
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
}

pub(super) fn ended(status: &WaitIdStatus) -> Option<CommandStatus> {
    let exited = status
        .exit_status()
        .map(|code| CommandStatus::Exited(code as u8));
    exited.or_else(|| status.terminating_signal().map(CommandStatus::Killed))
}

/// Whether a shell could continue this process if it stopped: one that gives each job a process group of its own, on a
/// terminal. Without one, a stop would be for ever.
pub(super) fn has_job_control() -> bool {
    let in_own_group = session_of(getpid()).ok() != group_of(getpid()).ok();
    in_own_group && File::open("/dev/tty").is_ok()
}
