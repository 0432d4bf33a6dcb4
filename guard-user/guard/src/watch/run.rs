//! The loop: waits for guardd, keys and signals, lets the model take them in, and draws.

use std::env;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use guard_proto::Failure;
use guard_sys::signal::Signals;
use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::feed::{self, FeedReceiver, FeedSender};
use super::job;
use super::model::{Effect, Event, Model, Pane};
use super::screen::Screen;
use super::view::{Palette, View};
use crate::args::WatchArgs;
use crate::error::{CliError, Exit};
use crate::render::time::{Clock, zone};

/// Times that are shown change this often.
const TICK: Duration = Duration::from_secs(1);
/// Shortest interval between two frames: nobody reads faster.
const FRAME: Duration = Duration::from_millis(20);

/// Shows the screen until a person or a signal ends it.
///
/// # Errors
///
/// That the terminal cannot be taken over, or that a part of this program has failed.
pub(crate) fn run(socket: &Path, args: &WatchArgs) -> Result<Exit, CliError> {
    // In the background this stops, as it should: so signals are held back only after it.
    let screen = Screen::take(io::stdout().as_fd()).map_err(|error| failed(&error))?;
    // The threads are to inherit that they wait.
    let signals = Signals::hold().map_err(|error| failed(&error))?;
    let (tell, told) = feed::channel().map_err(|error| failed(&error))?;
    let start = Instant::now();
    feed::keys(tell.clone(), start);
    feed::requests(tell.clone(), socket);
    feed::records(tell.clone(), socket);
    let nudge = feed::lists(tell.clone(), socket);
    let watch = Watch {
        model: Model::new(!args.no_bell),
        screen,
        signals,
        told,
        tell,
        nudge,
        socket,
        start,
        zone: zone(),
        look: Palette {
            // https://no-color.org: set, and not empty.
            colour: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        },
        due: Some(Instant::now()),
        drawn_at: None,
    };
    watch.run()
}

struct Watch<'a> {
    model: Model,
    screen: Screen,
    signals: Signals,
    told: FeedReceiver,
    tell: FeedSender,
    nudge: SyncSender<bool>,
    socket: &'a Path,
    start: Instant,
    zone: TimeZone,
    look: Palette,
    /// When to draw; none: nothing has changed.
    due: Option<Instant>,
    drawn_at: Option<Instant>,
}

impl Watch<'_> {
    fn run(mut self) -> Result<Exit, CliError> {
        loop {
            let now = Instant::now();
            if self.due.is_some_and(|due| due <= now) && self.draw().is_err() {
                return Ok(ended_by(Signal::HUP));
            }
            let wait = self
                .due
                .map_or(TICK, |due| due.saturating_duration_since(now));
            let is_gone = self.wait(wait).map_err(|error| failed(&error))?;
            if is_gone {
                return Ok(ended_by(Signal::HUP));
            }
            if self.told.is_broken() {
                return Err(broken());
            }
            if let Some(exit) = self.heed_signals().map_err(|error| failed(&error))? {
                return Ok(exit);
            }
            if let Some(exit) = self.take_in().map_err(|error| failed(&error))? {
                return Ok(exit);
            }
        }
    }

    /// Waits until something happens, at most so long. Whether the terminal is gone.
    fn wait(&mut self, time: Duration) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut fds = [
            // Keys have a thread of their own; that there will be none any more is always sent.
            PollFd::new(&stdin, PollFlags::empty()),
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.told, PollFlags::IN),
        ];
        let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
        let count = match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(false),
            count => count?,
        };
        let is_gone = fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR);
        if fds[2].revents().contains(PollFlags::IN) {
            self.told.hear();
        }
        if count == 0 {
            self.draw_soon();
        }
        Ok(is_gone)
    }

    fn heed_signals(&mut self) -> io::Result<Option<Exit>> {
        while let Some(arrival) = self.signals.receive()? {
            let is = |signal: Signal| arrival.signal == signal.as_raw();
            let ends = [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT];
            if let Some(signal) = ends.into_iter().find(|one| is(*one)) {
                return Ok(Some(ended_by(signal)));
            }
            if is(Signal::TSTP) {
                self.suspend()?;
            } else if is(Signal::CONT) {
                self.screen.invalidate()?;
            }
            self.draw_soon();
        }
        Ok(None)
    }

    /// Stops until somebody has this go on in front, where anybody could.
    fn suspend(&mut self) -> io::Result<()> {
        let event = if job::can_be_resumed() {
            self.screen.suspend()?;
            Event::Resumed
        } else {
            Event::NotSuspended
        };
        // Neither asks for anything to be done.
        drop(self.model.update(event, self.start.elapsed()));
        Ok(())
    }

    /// Lets the model take in what has happened.
    fn take_in(&mut self) -> io::Result<Option<Exit>> {
        while let Ok(event) = self.told.events.try_recv() {
            let effects = self.model.update(event, self.start.elapsed());
            self.draw_soon();
            let mut answers = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Answer(answer) => answers.push(answer),
                    // Full: it will look soon anyway.
                    Effect::Refresh => {
                        let is_seen = self.model.pane == Pane::Reached;
                        let _ = self.nudge.try_send(is_seen);
                    }
                    Effect::Bell => self.screen.ring(),
                    Effect::Repaint => self.screen.invalidate()?,
                    Effect::Suspend => self.suspend()?,
                    Effect::Quit => return Ok(Some(Exit::DONE)),
                }
            }
            if !answers.is_empty() {
                feed::answer(self.tell.clone(), self.socket.to_owned(), answers);
            }
        }
        Ok(None)
    }

    fn draw_soon(&mut self) {
        let now = Instant::now();
        let next = self.drawn_at.map_or(now, |at| now.max(at + FRAME));
        self.due.get_or_insert(next);
    }

    fn draw(&mut self) -> io::Result<()> {
        let clock = Clock {
            now: jiff::Timestamp::now(),
            zone: self.zone.clone(),
        };
        let socket = self.socket.display().to_string();
        let view = View {
            model: &self.model,
            clock: &clock,
            look: self.look,
            socket: &socket,
        };
        let mut shown = None;
        self.screen.draw(|frame| shown = view.draw(frame))?;
        // Only now has anybody seen it.
        self.model.drawn(shown, self.start.elapsed());
        self.due = None;
        self.drawn_at = Some(Instant::now());
        Ok(())
    }
}

/// The exit status that shells give a command ended by a signal.
fn ended_by(signal: Signal) -> Exit {
    Exit(u8::try_from(128 + signal.as_raw()).unwrap_or(Exit::FAILED.0))
}

fn failed(error: &io::Error) -> CliError {
    CliError::Local(Failure {
        what: "cannot use this terminal".into(),
        why: error.to_string(),
        fix: "see requests in lines:\nguard pending --follow".into(),
    })
}

fn broken() -> CliError {
    CliError::Local(Failure {
        what: "cannot go on watching".into(),
        why: "a part of this program has failed, as it says above".into(),
        fix: "start it again:\nguard watch".into(),
    })
}
