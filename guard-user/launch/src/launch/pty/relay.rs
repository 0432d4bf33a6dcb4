//! `guard run` itself, between the person's terminal and the command's.

use std::io;
use std::os::fd::OwnedFd;

use guard_sys::signal::{self, Arrival, CHILD_CHANGED, Signals};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::termios::tcsetwinsize;

use super::channel::{Channel, Message};
use super::flow::{Filled, Flow};
use super::notes::{Notes, Screen, takes_lines};
use super::terminal::Terminal;
use crate::CommandStatus;
use crate::launch::{parent::ended, parent::has_job_control};

/// A pseudo-terminal holds less than this: what is read beyond this after the command has ended was written by processes that
/// it has left running, which may never end.
const LAST_WORDS: usize = 64 * 1024;

pub(super) struct Relay {
    monitor: Pid,
    terminal: Terminal,
    /// The outer end of the pseudo-terminal; `None` if there is nothing more to relay.
    pty: Option<OwnedFd>,
    signals: Signals,
    channel: Channel,
    keys: Flow,
    output: Flow,
    /// What the output has made of the screen.
    screen: Screen,
    /// Lines of guard's own; `None` if there will be none.
    notes: Option<Notes>,
    /// Whether the person's terminal is there.
    is_connected: bool,
    /// Whether more may be typed there.
    is_typed_at: bool,
}

/// The descriptors that are ready.
struct Ready {
    signals: bool,
    channel: bool,
    notes: bool,
    terminal: PollFlags,
    pty: PollFlags,
}

impl Relay {
    pub(super) fn new(
        monitor: Pid,
        terminal: Terminal,
        pty: OwnedFd,
        signals: Signals,
        channel: Channel,
    ) -> Self {
        Self {
            monitor,
            terminal,
            pty: Some(pty),
            signals,
            channel,
            keys: Flow::default(),
            output: Flow::default(),
            screen: Screen::default(),
            notes: None,
            is_connected: true,
            is_typed_at: true,
        }
    }

    /// The same, which shows lines of guard's own between the command's output.
    pub(super) fn with_notes(self, notes: Option<Notes>) -> Self {
        Self { notes, ..self }
    }

    /// Relays until the command has ended, and restores the terminal.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn run(mut self) -> io::Result<CommandStatus> {
        let outcome = self.carry_until_end()?;
        self.finish()?;
        self.terminal.restore();
        // It waits for this, and then ends.
        drop(self.channel);
        let status = loop {
            match waitid(WaitId::Pid(self.monitor), WaitIdOptions::EXITED) {
                Err(Errno::INTR) => {}
                status => break status?,
            }
        };
        let own_end = || status.as_ref().and_then(ended);
        let end = outcome.or_else(own_end);
        end.ok_or_else(|| io::Error::other("it is not known how the command ended"))
    }

    /// `None` if the monitor has ended before the command.
    fn carry_until_end(&mut self) -> io::Result<Option<CommandStatus>> {
        loop {
            let ready = self.wait()?;
            if ready.signals {
                self.look_at_signals()?;
            }
            if ready.channel {
                match self.channel.hear()? {
                    Some(Message::Stopped(signal)) => self.stopped(signal)?,
                    Some(Message::Ended(outcome)) => return Ok(Some(outcome)),
                    Some(_) => {}
                    None => return Ok(None),
                }
            }
            if ready.notes {
                self.show_notes();
            }
            self.carry_output(&ready);
            self.carry_keys(&ready);
        }
    }

    /// Waits until a descriptor is ready.
    fn wait(&self) -> io::Result<Ready> {
        let wanted = |wants, flags| if wants { flags } else { PollFlags::empty() };
        let reads = self.terminal.is_raw() && self.keys.is_empty();
        let terminal =
            wanted(reads, PollFlags::IN) | wanted(!self.output.is_empty(), PollFlags::OUT);
        let pty = wanted(self.output.is_empty(), PollFlags::IN)
            | wanted(!self.keys.is_empty(), PollFlags::OUT);
        let mut polled = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.channel, PollFlags::IN),
        ];
        if self.is_connected {
            polled.push(PollFd::new(&self.terminal, terminal));
        }
        if let Some(fd) = &self.pty {
            polled.push(PollFd::new(fd, pty));
        }
        // Between two pieces of the command's output, of which the first may end within a control sequence.
        let is_between = self.output.is_empty() && !self.screen.is_within();
        let notes = self.notes.as_ref().filter(|_| is_between);
        if let Some(notes) = notes {
            polled.push(PollFd::new(notes, PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut found = polled.iter().map(PollFd::revents);
        let mut next = |is_there| {
            let flags = if is_there { found.next() } else { None };
            flags.unwrap_or(PollFlags::empty())
        };
        Ok(Ready {
            signals: !next(true).is_empty(),
            channel: !next(true).is_empty(),
            terminal: next(self.is_connected),
            pty: next(self.pty.is_some()),
            notes: !next(notes.is_some()).is_empty(),
        })
    }

    /// From guard to the person, where it disturbs nothing; else it is left out.
    fn show_notes(&mut self) {
        let Some(lines) = self.notes.as_ref().and_then(Notes::take) else {
            self.notes = None;
            return;
        };
        if lines.is_empty() || !self.may_say() {
            return;
        }
        if self.screen.in_line() {
            self.output.put_all(b"\r\n");
        }
        self.output.put_all(&lines);
        self.screen.show(&lines);
    }

    /// Whether the command leaves lines to the terminal, and nobody else has changed that, such as a pager behind it or the shell that
    /// it is in the background of.
    fn may_say(&self) -> bool {
        let is_plain = self.terminal.is_raw() || takes_lines(&self.terminal);
        let is_there = self.is_connected && self.terminal.is_foreground();
        let pty = self.pty.as_ref();
        is_there && is_plain && !self.screen.is_alternate() && pty.is_some_and(takes_lines)
    }

    /// From the command to the person.
    fn carry_output(&mut self, ready: &Ready) {
        let is_new = self.output.is_empty();
        if let Some(pty) = &self.pty
            && ready
                .pty
                .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && !matches!(self.output.fill(pty), Ok(Filled::Some | Filled::Nothing))
        {
            self.pty = None;
        }
        if is_new {
            self.screen.show(self.output.unwritten());
        }
        let gone = ready.terminal.intersects(PollFlags::HUP | PollFlags::ERR);
        if gone || self.output.drain(&self.terminal).is_err() {
            self.hang_up();
        }
    }

    /// From the person to the command.
    fn carry_keys(&mut self, ready: &Ready) {
        if ready.terminal.contains(PollFlags::IN) && self.terminal.is_raw() && self.is_connected {
            if !self.terminal.is_foreground() {
                return self.retire();
            }
            match self.keys.fill(&self.terminal) {
                Ok(Filled::Some | Filled::Nothing) => {}
                Err(_) if !self.terminal.is_foreground() => return self.retire(),
                // If the terminal is gone the kernel reports a hang-up.
                Ok(Filled::End) | Err(_) if !self.terminal.is_controlling() => self.end_keys(),
                Ok(Filled::End) | Err(_) => self.hang_up(),
            }
        }
        if let Some(pty) = &self.pty
            && self.keys.drain(pty).is_err()
        {
            self.pty = None;
        }
    }

    /// Another process group is in the foreground now.
    fn retire(&mut self) {
        self.terminal.leave();
        self.channel.say(Message::Resume { foreground: false });
    }

    /// The end of input at a terminal that is not the controlling one, and may still be there: the command reads an end, as it
    /// would have from that terminal itself, and goes on.
    fn end_keys(&mut self) {
        self.is_typed_at = false;
        let end = self.terminal.end_of_input();
        self.terminal.restore();
        self.keys.put(end);
    }

    /// The terminal is gone: hangs up the pseudo-terminal, which the kernel reports to the command.
    fn hang_up(&mut self) {
        self.is_connected = false;
        // If it is there after all, as after a passing error, it is not left raw.
        self.terminal.restore();
        self.pty = None;
        self.output = Flow::default();
    }

    /// Whether this process was continued.
    fn look_at_signals(&mut self) -> io::Result<bool> {
        let mut continued = false;
        while let Some(arrival) = self.signals.receive()? {
            continued |= arrival.signal == signal::CONTINUE;
            self.arrived(arrival);
        }
        Ok(continued)
    }

    fn arrived(&mut self, Arrival { signal, sender }: Arrival) {
        match signal {
            // The monitor reports that itself.
            CHILD_CHANGED => {}
            signal::RESIZED => self.resize(),
            signal::CONTINUE => {
                if self.terminal.is_raw() && self.terminal.is_foreground() {
                    // The process that stopped this one may have changed the terminal.
                    let _ = self.terminal.make_raw();
                }
                self.channel.say(Message::Signal(signal));
            }
            // From the terminal, which is not raw: the command is not in its process groups.
            signal if sender.is_none() && !signal::is_for_jobs(signal) => {}
            signal => self.channel.say(Message::Signal(signal)),
        }
    }

    fn resize(&self) {
        if let (Some(pty), Ok(size)) = (&self.pty, self.terminal.size()) {
            // It fails if the command is gone.
            let _ = tcsetwinsize(pty, size);
        }
    }

    /// The command was stopped, perhaps by ^Z, or because it reads in the background.
    fn stopped(&mut self, signal: i32) -> io::Result<()> {
        let wants_terminal = signal::is_for_terminal(signal);
        let was_raw = self.terminal.is_raw();
        if wants_terminal && self.take_terminal() {
            self.channel.say(Message::Resume { foreground: true });
            return Ok(());
        }
        if signal::is_stop(signal) && !has_job_control() {
            // The process that stopped the command may continue it.
            return Ok(());
        }
        self.finish()?;
        self.terminal.restore();
        let stopped = has_job_control() && {
            signal::stop_job_by(signal)?;
            // This process was continued, unless no shell could have done so.
            self.look_at_signals()?
        };
        let takes = (was_raw || wants_terminal) && self.take_terminal();
        // Without a shell that stops this job, the command would try again for ever.
        let foreground = takes || !stopped;
        self.channel.say(Message::Resume { foreground });
        Ok(())
    }

    /// Makes the terminal raw, if this job may read it.
    fn take_terminal(&mut self) -> bool {
        let takes = self.is_connected && self.is_typed_at && self.terminal.is_foreground();
        let taken = takes && self.terminal.make_raw().is_ok();
        if taken {
            self.resize();
        }
        taken
    }

    /// Shows the rest of the command's output. A signal ends the wait.
    fn finish(&mut self) -> io::Result<()> {
        let mut shown = 0;
        while shown < LAST_WORDS {
            if self.output.is_empty() {
                let Some(pty) = &self.pty else { return Ok(()) };
                if !matches!(self.output.fill(pty), Ok(Filled::Some)) {
                    return Ok(());
                }
                shown += self.output.len();
                self.screen.show(self.output.unwritten());
            }
            let mut ready = [
                PollFd::new(&self.terminal, PollFlags::OUT),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_interrupted = !ready[1].revents().is_empty() && self.is_interrupted()?;
            if is_interrupted || self.output.drain(&self.terminal).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a signal has come that ends processes.
    fn is_interrupted(&mut self) -> io::Result<bool> {
        let mut interrupted = false;
        while let Some(arrival) = self.signals.receive()? {
            interrupted |= signal::is_for_jobs(arrival.signal);
            self.arrived(arrival);
        }
        Ok(interrupted)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::io::read;
    use rustix::process::getpid;
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    use super::*;

    #[test]
    fn where_nothing_is_typed_any_more_the_command_reads_an_end() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = openpt(flags).unwrap();
        unlockpt(&outer).unwrap();
        let inner = ioctl_tiocgptpeer(&outer, flags).unwrap();
        // What gives no keys, and is not hung up.
        let silent = open("/dev/null", OFlags::RDWR, Mode::empty()).unwrap();
        let terminal = Terminal::raw(silent, tcgetattr(&inner).unwrap());
        let (ours, _theirs) = Channel::pair().unwrap();
        let signals = Signals::hold().unwrap();
        let mut relay = Relay::new(getpid(), terminal, outer, signals, ours);
        relay.carry_keys(&Ready {
            signals: false,
            channel: false,
            notes: false,
            terminal: PollFlags::IN,
            pty: PollFlags::empty(),
        });
        assert!(relay.is_connected && relay.pty.is_some());
        assert!(!relay.terminal.is_raw());
        assert_eq!(read(&inner, &mut [0; 8]), Ok(0));
    }

    #[test]
    fn a_line_of_guards_is_shown_where_the_command_leaves_lines_to_the_terminal() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = openpt(flags).unwrap();
        unlockpt(&outer).unwrap();
        let inner = ioctl_tiocgptpeer(&outer, flags).unwrap();
        let before = tcgetattr(&inner).unwrap();
        let silent = open("/dev/null", OFlags::RDWR, Mode::empty()).unwrap();
        let terminal = Terminal::raw(silent, before.clone());
        let (ours, _theirs) = Channel::pair().unwrap();
        let (notes, saying) = Notes::pair().unwrap();
        let signals = Signals::hold().unwrap();
        let relay = Relay::new(getpid(), terminal, outer, signals, ours);
        let mut relay = relay.with_notes(Some(notes));
        let shown = |relay: &mut Relay| {
            saying.say("it waits");
            relay.show_notes();
            let shown = relay.output.unwritten().to_vec();
            relay.output = Flow::default();
            String::from_utf8(shown).unwrap()
        };
        assert_eq!(shown(&mut relay), "it waits\r\n");
        relay.screen.show(b"  0  100");
        assert_eq!(shown(&mut relay), "\r\nit waits\r\n");
        // An editor, and then a program that draws below its prompt.
        relay.screen.show(b"\x1b[?1049h");
        assert_eq!(shown(&mut relay), "");
        relay.screen.show(b"\x1b[?1049l\n");
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&inner, OptionalActions::Now, &raw).unwrap();
        assert_eq!(shown(&mut relay), "");
        // A password is typed.
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&inner, OptionalActions::Now, &silent).unwrap();
        assert_eq!(shown(&mut relay), "");
        tcsetattr(&inner, OptionalActions::Now, &before).unwrap();
        assert_eq!(shown(&mut relay), "it waits\r\n");
        // What reads behind the command, such as a pager, has the terminal.
        relay.terminal.leave();
        assert_eq!(shown(&mut relay), "");
    }
}
