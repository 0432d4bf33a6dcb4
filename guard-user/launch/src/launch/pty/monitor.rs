//! The process between relay and command: it leads the session of the pseudo-terminal, and is the command's parent.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use guard_proto::Failure;
use guard_sys::process::{Fork, exit_at_once, fork};
use guard_sys::signal::{self, CHILD_CHANGED, Signals};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, WaitId, WaitIdOptions, getpgrp, getpid, ioctl_tiocsctty, setpgid, setsid, waitid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{Termios, tcgetpgrp, tcsetpgrp};

use super::channel::{Channel, Message};
use super::terminal::Terminal;
use crate::LaunchError;
use crate::launch::child::become_command;
use crate::launch::handing::ToHand;
use crate::launch::parent::ended;
use crate::launch::{Command, Entered, attended, not_started};

/// What the monitor begins with.
pub(super) struct Start {
    /// The pseudo-terminal, as the command sees it.
    pub(super) pty: OwnedFd,
    /// Which of the command's standard streams it becomes.
    pub(super) streams: [bool; 3],
    /// Whether the command gets what is typed from the beginning, so that the person's terminal is raw.
    pub(super) in_foreground: bool,
    pub(super) signals: Signals,
    /// The person's terminal.
    pub(super) terminal: Terminal,
    pub(super) relay: Channel,
    pub(super) to_hand: Option<ToHand>,
}

/// Starts the command, and stays until it has ended and the relay has all of its output.
pub(super) fn run(
    start: Start,
    command: &Command,
    enter: &mut dyn FnMut() -> Result<Entered, Failure>,
    to_parent: File,
) -> ! {
    // What is on the stack belongs to the relay, so nothing may return or unwind there.
    let run = || begin(start, command, enter, to_parent);
    let monitor = catch_unwind(AssertUnwindSafe(run)).ok().flatten();
    let status = monitor.is_some_and(|mut monitor| {
        let watch = || monitor.watch();
        matches!(catch_unwind(AssertUnwindSafe(watch)), Ok(Ok(())))
    });
    exit_at_once(if status { 0 } else { crate::NOT_STARTED })
}

/// Leads a session, and starts the command in it. `None` if that failed, which is then reported.
fn begin(
    mut start: Start,
    command: &Command,
    enter: &mut dyn FnMut() -> Result<Entered, Failure>,
    mut to_parent: File,
) -> Option<Monitor> {
    let forked = setsid()
        .and_then(|_| ioctl_tiocsctty(&start.pty))
        .map_err(io::Error::from)
        .and_then(|()| {
            let monitor = getpid();
            fork().map(|side| (monitor, side))
        });
    match forked {
        Ok((monitor, Fork::Child)) => {
            if let Err(why) = take_its_place(&start) {
                refuse(&not_started(why), &mut to_parent);
            }
            drop(start.signals);
            let mut enter = || attended(monitor, enter);
            become_command(command, &mut enter, start.to_hand.take(), to_parent)
        }
        Ok((_, Fork::Parent(child))) => {
            // The child does the same: the order does not matter, and the second call may fail.
            let _ = setpgid(Some(child), Some(child));
            drop(start.to_hand.take());
            Some(Monitor::new(child, start))
        }
        Err(why) => refuse(&not_started(why), &mut to_parent),
    }
}

fn refuse(error: &LaunchError, to_parent: &mut File) -> ! {
    if let Ok(text) = serde_json::to_vec(error) {
        // A relay that is gone needs no report.
        let _ = to_parent.write_all(&text);
    }
    exit_at_once(error.code)
}

/// In the child: a job of its own, at its terminal. Signals are still blocked, so that no SIGTTOU stops it.
fn take_its_place(start: &Start) -> io::Result<()> {
    setpgid(None, None)?;
    if start.in_foreground {
        tcsetpgrp(&start.pty, getpid())?;
    }
    let [input, output, error] = start.streams;
    if input {
        dup2_stdin(&start.pty)?;
    }
    if output {
        dup2_stdout(&start.pty)?;
    }
    if error {
        dup2_stderr(&start.pty)?;
    }
    Ok(())
}

struct Monitor {
    child: Pid,
    /// The process group that was last in the foreground: the command's own, or one that it has put there.
    group: Pid,
    pty: OwnedFd,
    signals: Signals,
    relay: Channel,
    terminal: Terminal,
    /// The person's terminal's settings before the relay made it raw, if it was raw from the beginning.
    before: Option<Termios>,
    is_raw: bool,
}

impl Monitor {
    fn new(child: Pid, start: Start) -> Self {
        let before = start.terminal.before().cloned();
        Self {
            child,
            group: child,
            pty: start.pty,
            signals: start.signals,
            relay: start.relay,
            before: before.or_else(|| start.terminal.settings().ok()),
            terminal: start.terminal,
            is_raw: start.in_foreground,
        }
    }

    /// Watches the command until it ends, or the relay does.
    fn watch(&mut self) -> io::Result<()> {
        loop {
            let mut ready = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.relay, PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_told = !ready[1].revents().is_empty();
            if is_told && !self.obey()? {
                return Ok(());
            }
            while let Some(arrival) = self.signals.receive()? {
                match arrival.signal {
                    CHILD_CHANGED if self.look_after_child()? => return Ok(()),
                    signal => self.pass_on(signal, arrival.sender),
                }
            }
        }
    }

    /// Does what the relay's message says. Returns whether the relay is still there.
    fn obey(&mut self) -> io::Result<bool> {
        match self.relay.hear()? {
            Some(Message::Signal(signal)) => self.send(signal),
            Some(Message::Resume { foreground }) => self.resume(foreground),
            Some(_) => {}
            None => {
                self.stand_in();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Signals that stand for the end of a job, or its stop, are for all of it, as a terminal and a shell send them.
    /// It fails only for what has ended, whose end is about to be seen.
    fn send(&self, signal: i32) {
        let _ = if signal::is_for_jobs(signal) {
            signal::send_to_group(self.child, signal)
        } else {
            signal::send(self.child, signal)
        };
    }

    fn resume(&mut self, foreground: bool) {
        self.is_raw = foreground;
        let group = if foreground { self.group } else { getpgrp() };
        // It fails for a group that has ended, and then nobody reads.
        let _ = tcsetpgrp(&self.pty, group);
        let _ = signal::send_to_group(self.child, signal::CONTINUE);
    }

    /// The relay was killed: restores the terminal. The end of this process hangs the pseudo-terminal up, and guardd ends the
    /// session.
    fn stand_in(&self) {
        if let Some(before) = self.before.as_ref().filter(|_| self.is_raw) {
            self.terminal.restore_to(before);
        }
    }

    /// Whether the command has ended, and the relay knows.
    fn look_after_child(&mut self) -> io::Result<bool> {
        let changes = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        while let Some(status) = waitid(WaitId::Pid(self.child), changes)? {
            if let Some(outcome) = ended(&status) {
                self.relay.say(Message::Ended(outcome));
                self.let_go()?;
                return Ok(true);
            }
            if let Some(signal) = status.stopping_signal() {
                self.stopped(signal);
            }
        }
        Ok(false)
    }

    fn stopped(&mut self, signal: i32) {
        if let Ok(group) = tcgetpgrp(&self.pty)
            && group != getpgrp()
        {
            self.group = group;
        }
        self.is_raw = false;
        self.relay.say(Message::Stopped(signal));
    }

    /// Waits until the relay has all of the output, which would be lost with this session, and ends without a hang-up for
    /// processes that the command has left running.
    fn let_go(&self) -> io::Result<()> {
        let _ = tcsetpgrp(&self.pty, getpgrp());
        while self.relay.hear()?.is_some() {}
        Ok(())
    }

    /// Signals to the monitor are for the command: above all a hang-up, which the kernel sends to the session's leader alone.
    fn pass_on(&self, signal: i32, sender: Option<u32>) {
        let child = self.child.as_raw_nonzero().get().unsigned_abs();
        let is_own = matches!(signal, CHILD_CHANGED | signal::CONTINUE | signal::RESIZED);
        if !is_own && sender != Some(child) {
            self.send(signal);
        }
    }
}
