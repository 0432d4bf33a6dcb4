//! The person's terminal, as `guard run` sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guard_sys::process::{group_in_front, group_of, session_at};
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::process::getpid;
use rustix::termios::{
    OptionalActions, SpecialCodeIndex, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

/// ^D, if the terminal's settings are not known.
const END_OF_INPUT: u8 = 4;

/// A terminal. If it was made raw, it is restored when this is dropped.
#[derive(Debug)]
pub(in crate::launch) struct Terminal {
    /// A descriptor of its own, so that other users of the terminal are not affected by its non-blocking mode.
    fd: OwnedFd,
    /// Whether it is the controlling terminal: one that is not has no background.
    controls: bool,
    /// The settings to restore, while it is raw.
    before: Option<Termios>,
}

impl Terminal {
    /// The terminal of this process: its controlling one, or else one that is a standard stream.
    pub(in crate::launch) fn find() -> Option<Self> {
        let opened = |path: &str| {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            open(path, flags, Mode::empty())
        };
        let at = |fd, controls| Self {
            fd,
            controls,
            before: None,
        };
        if let Ok(fd) = opened("/dev/tty") {
            return Some(at(fd, true));
        }
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
        let number = streams.iter().position(isatty)?;
        let again = opened(&format!("/proc/self/fd/{number}"));
        // After su(1) the terminal may be another user's.
        let fd = again.or_else(|_| rustix::io::fcntl_dupfd_cloexec(streams[number], 3));
        fd.ok().map(|fd| at(fd, false))
    }

    /// One that is not the controlling terminal, and is raw already.
    #[cfg(test)]
    pub(super) fn raw(fd: OwnedFd, before: Termios) -> Self {
        Self {
            fd,
            controls: false,
            before: Some(before),
        }
    }

    /// Which of the standard streams are this terminal. Another one was chosen by the person, and stays.
    pub(super) fn streams(&self) -> [bool; 3] {
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        [input.as_fd(), output.as_fd(), error.as_fd()].map(|stream| self.is(stream))
    }

    fn is(&self, stream: BorrowedFd<'_>) -> bool {
        if self.controls {
            // The kernel answers for the controlling terminal only, by whatever name it was opened.
            return isatty(stream) && session_at(stream).is_ok();
        }
        let device = |fd| fstat(fd).map(|stat| stat.st_rdev).ok();
        isatty(stream) && device(stream) == device(self.fd.as_fd())
    }

    /// Whether this process's job may read what is typed.
    pub(super) fn is_foreground(&self) -> bool {
        let group = group_of(getpid()).ok();
        !self.controls || group_in_front(&self.fd).ok() == group
    }

    /// Whether it is the controlling terminal.
    pub(super) fn is_controlling(&self) -> bool {
        self.controls
    }

    /// The key that ends input, as it was set before the terminal was made raw: the pseudo-terminal began with the same.
    pub(super) fn end_of_input(&self) -> u8 {
        let settings = self.before.as_ref();
        settings.map_or(END_OF_INPUT, |settings| {
            settings.special_codes[SpecialCodeIndex::VEOF]
        })
    }

    /// # Errors
    ///
    /// The system's.
    pub(super) fn settings(&self) -> io::Result<Termios> {
        Ok(tcgetattr(&self.fd)?)
    }

    /// # Errors
    ///
    /// The system's.
    pub(super) fn size(&self) -> io::Result<Winsize> {
        Ok(tcgetwinsize(&self.fd)?)
    }

    /// Has each key passed on unchanged: the pseudo-terminal interprets it. Only for the foreground.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn make_raw(&mut self) -> io::Result<()> {
        let mut settings = self.settings()?;
        let before = settings.clone();
        settings.make_raw();
        tcsetattr(&self.fd, OptionalActions::Now, &settings)?;
        self.before.get_or_insert(before);
        Ok(())
    }

    /// Whether it was made raw, and not restored since.
    pub(super) fn is_raw(&self) -> bool {
        self.before.is_some()
    }

    /// Restores it. In the background, another process group has set it.
    pub(super) fn restore(&mut self) {
        if let Some(before) = self.before.take()
            && self.is_foreground()
        {
            // It fails where the terminal is gone.
            let _ = tcsetattr(&self.fd, OptionalActions::Now, &before);
        }
    }

    /// Leaves its settings as they are.
    pub(super) fn leave(&mut self) {
        self.before = None;
    }

    /// Restores it, for a relay that was killed.
    pub(super) fn restore_to(&self, settings: &Termios) {
        let _ = tcsetattr(&self.fd, OptionalActions::Now, settings);
    }

    /// The settings that [`Self::restore`] would restore.
    pub(super) fn before(&self) -> Option<&Termios> {
        self.before.as_ref()
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn a_fault_of_guards_leaves_no_raw_terminal() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = openpt(flags).unwrap();
        unlockpt(&outer).unwrap();
        let fd = ioctl_tiocgptpeer(&outer, flags).unwrap();
        let is_raw = || {
            let modes = tcgetattr(&outer).unwrap().local_modes;
            !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
        };
        assert!(!is_raw());
        let mut terminal = Terminal {
            fd,
            controls: false,
            before: None,
        };
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            terminal.make_raw().unwrap();
            terminal.make_raw().unwrap();
            assert!(is_raw() && terminal.is_raw());
            panic!("the test says so");
        }));
        assert!(panicked.is_err());
        let modes = tcgetattr(&outer).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    }
}
