//! The terminal: taken over, and given back as it was whatever happens.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, Weak};
use std::thread;
use std::time::Duration;

use guard_sys::process::{group_in_front, group_of};
use guard_sys::signal;
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use rustix::process::{Signal, getpid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The other screen, no cursor, lines that end at the edge (so that a character that a terminal takes for wider than
/// we do does not go on in the next line), and what is pasted marked as such, for it is no keys.
const TAKE: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[2J";
/// All of that taken back.
const GIVE_BACK: &[u8] = b"\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";
/// How long to wait before looking again whether the terminal is ours.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A terminal that is taken over while this lives.
pub(crate) struct Screen {
    held: Arc<Held>,
    /// Never dropped: it would complain, on standard error, of a terminal that is gone.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<File>>>>,
}

/// The terminal, and how it was.
struct Held {
    tty: File,
    before: Termios,
    is_taken: AtomicBool,
}

impl Screen {
    /// Takes the terminal `tty` over.
    ///
    /// # Errors
    ///
    /// The system's, where it is none.
    pub(crate) fn take(tty: BorrowedFd<'_>) -> io::Result<Self> {
        let tty = File::from(tty.try_clone_to_owned()?);
        let held = Arc::new(Held {
            before: tcgetattr(&tty)?,
            tty: tty.try_clone()?,
            is_taken: AtomicBool::new(false),
        });
        give_back_in_a_panic(&held);
        held.take()?;
        let backend = CrosstermBackend::new(BufWriter::new(tty));
        let terminal = Terminal::new(backend).inspect_err(|_| held.give_back())?;
        let terminal = ManuallyDrop::new(terminal);
        Ok(Self { held, terminal })
    }

    /// Draws what has changed, at the size that the terminal has now.
    ///
    /// # Errors
    ///
    /// The system's, where the terminal is gone.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Has the next [`Screen::draw`] draw everything.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn invalidate(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal for its cursor, by keys that another thread reads.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Rings. A terminal that cannot has nobody who hears.
    pub(crate) fn ring(&self) {
        let _ = (&self.held.tty).write_all(b"\x07");
    }

    /// Gives the terminal back and stops, as ^Z does; takes it again once somebody has the process go on in front.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        self.held.give_back();
        signal::stop_by(Signal::TSTP.as_raw())?;
        // In the background it would take keys and lines from whatever is in front.
        while !self.held.is_in_front()? {
            signal::stop_by(Signal::TTOU.as_raw())?;
            thread::sleep(LOOK_AGAIN);
        }
        self.held.take()?;
        self.invalidate()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.held.give_back();
    }
}

impl Held {
    fn take(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(&self.tty, OptionalActions::Flush, &raw)?;
        self.is_taken.store(true, Ordering::SeqCst);
        (&self.tty).write_all(TAKE)
    }

    /// Restores what it can where the terminal is still there, and drops what was typed and not read: it is meant for nobody else.
    fn give_back(&self) {
        if self.is_taken.swap(false, Ordering::SeqCst) {
            let _ = (&self.tty).write_all(GIVE_BACK);
            let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
        }
    }

    fn is_in_front(&self) -> io::Result<bool> {
        Ok(group_in_front(&self.tty)? == group_of(getpid())?)
    }
}

/// What a panic says is to be read: so the terminal is given back before that.
fn give_back_in_a_panic(held: &Arc<Held>) {
    static HOOKED: Once = Once::new();
    static LATEST: std::sync::Mutex<Weak<Held>> = std::sync::Mutex::new(Weak::new());
    if let Ok(mut latest) = LATEST.lock() {
        *latest = Arc::downgrade(held);
    }
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let latest = LATEST.try_lock().ok().and_then(|latest| latest.upgrade());
            if let Some(held) = latest {
                held.give_back();
            }
            before(info);
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd as _;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcsetwinsize};

    use super::*;

    /// A terminal's two ends: ours, and the program's.
    fn terminal() -> (File, File) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = File::options().read(true).write(true).open(path).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&theirs, size).unwrap();
        (ours.into(), theirs)
    }

    fn shown(ours: &mut File) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let length = ours.read(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn is_raw(tty: &File) -> bool {
        !tcgetattr(tty)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let (mut ours, theirs) = terminal();
        let caught = panic::catch_unwind(|| {
            let _screen = Screen::take(theirs.as_fd()).unwrap();
            assert!(is_raw(&theirs));
            panic!("as any code may");
        });
        assert!(caught.is_err());
        assert!(!is_raw(&theirs));
        let shown = shown(&mut ours);
        let at = |part: &[u8]| shown.windows(part.len()).position(|one| one == part);
        assert_eq!(at(TAKE), Some(0));
        assert!(at(GIVE_BACK) > at(TAKE));
    }

    #[test]
    fn a_terminal_that_is_gone_is_no_reason_to_panic() {
        let (ours, theirs) = terminal();
        let mut screen = Screen::take(theirs.as_fd()).unwrap();
        drop(ours);
        assert!(
            screen
                .draw(|frame| frame.render_widget("text", frame.area()))
                .is_err()
        );
        screen.ring();
        drop(screen);
    }
}
