//! Lines of guard's own for the person, while a command has the terminal.
//!
//! A thread hands them to the relay, which shows a line where it disturbs nothing: not while the command reads single keys, reads
//! without echo, or draws on the alternate screen.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{LocalModes, tcgetattr};

/// A pipe takes so much at once, or nothing: PIPE_BUF, pipe(7).
const LONGEST: usize = 4096;
/// DEC private modes of the alternate screen, as xterm has them.
const ALTERNATE: [&[u8]; 3] = [b"47", b"1047", b"1049"];
/// A control sequence that is longer is none of ours.
const LONGEST_SEQUENCE: usize = 32;
const ESCAPE: u8 = 0x1b;

/// Says lines on the terminal of a command, from any thread.
#[derive(Debug)]
pub struct TerminalNotes(OwnedFd);

impl TerminalNotes {
    /// Has a line shown to the person: text without control characters. It is left out where it would disturb.
    pub fn say(&self, line: &str) {
        let line = format!("{line}\n");
        if line.len() <= LONGEST {
            // Nobody reads it once the command has ended, and a relay that does not keep up shows less.
            let _ = write(&self.0, line.as_bytes());
        }
    }
}

/// The relay's end.
#[derive(Debug)]
pub(super) struct Notes(OwnedFd);

impl Notes {
    /// Both ends; none where there are no descriptors left.
    pub(super) fn pair() -> Option<(Self, TerminalNotes)> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        Some((Self(ours), TerminalNotes(theirs)))
    }

    /// The lines that have come, as a terminal takes them that changes nothing; none: there will be no more.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let mut bytes = [0_u8; LONGEST];
        let count = match read(&self.0, &mut bytes[..]) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return None,
        };
        let lines = bytes[..count].iter();
        let lines = lines.flat_map(|byte| match byte {
            b'\n' => &b"\r\n"[..],
            other => std::slice::from_ref(other),
        });
        Some(lines.copied().collect())
    }
}

impl AsFd for Notes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a terminal takes whole lines and shows what is typed: what reads single keys, or a password, has changed that.
pub(super) fn takes_lines(terminal: impl AsFd) -> bool {
    let settings = tcgetattr(terminal);
    settings.is_ok_and(|settings| {
        let lines = LocalModes::ICANON | LocalModes::ECHO;
        settings.local_modes.contains(lines)
    })
}

/// What a command's output has made of the screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    is_alternate: bool,
    /// The cursor may be behind text.
    in_line: bool,
    /// A control sequence that has begun, without its escape.
    sequence: Option<Vec<u8>>,
}

impl Screen {
    /// Whether it is the alternate one, which a program draws on that takes all of the screen.
    pub(super) fn is_alternate(&self) -> bool {
        self.is_alternate
    }

    /// Whether a new line begins elsewhere.
    pub(super) fn in_line(&self) -> bool {
        self.in_line
    }

    /// Notes output.
    pub(super) fn show(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else {
            return;
        };
        self.in_line = *last != b'\n';
        if self.sequence.is_some() || bytes.contains(&ESCAPE) {
            bytes.iter().for_each(|byte| self.step(*byte));
        }
    }

    fn step(&mut self, byte: u8) {
        if byte == ESCAPE {
            self.sequence = Some(Vec::new());
            return;
        }
        let Some(sequence) = &mut self.sequence else {
            return;
        };
        match (&sequence[..], byte) {
            ([], b'[') => sequence.push(byte),
            // RIS: all is as at the beginning.
            ([], b'c') => *self = Self::default(),
            ([], _) => self.sequence = None,
            (_, 0x40..=0x7e) => {
                let is_alternate = switches(sequence, byte);
                self.is_alternate = is_alternate.unwrap_or(self.is_alternate);
                self.sequence = None;
            }
            (begun, _) if begun.len() < LONGEST_SEQUENCE => sequence.push(byte),
            _ => self.sequence = None,
        }
    }
}

/// Whether a control sequence shows the alternate screen; none: it does not say.
fn switches(sequence: &[u8], last: u8) -> Option<bool> {
    let modes = sequence.strip_prefix(b"[?")?;
    let mut modes = modes.split(|byte| *byte == b';');
    let is_of_screen = modes.any(|mode| ALTERNATE.contains(&mode));
    match last {
        b'h' if is_of_screen => Some(true),
        b'l' if is_of_screen => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_as_a_raw_terminal_takes_them() {
        let (ours, theirs) = Notes::pair().unwrap();
        assert_eq!(ours.take(), Some(Vec::new()));
        theirs.say("one");
        theirs.say(&"x".repeat(LONGEST));
        theirs.say("two");
        assert_eq!(ours.take(), Some(b"one\r\ntwo\r\n".to_vec()));
        drop(theirs);
        assert_eq!(ours.take(), None);
    }

    #[test]
    fn the_alternate_screen_is_known_however_it_comes() {
        let is_alternate = |chunks: &[&[u8]]| {
            let mut screen = Screen::default();
            chunks.iter().for_each(|chunk| screen.show(chunk));
            screen.is_alternate()
        };
        assert!(!is_alternate(&[b"plain\n"]));
        assert!(is_alternate(&[b"\x1b[?1049h"]));
        assert!(is_alternate(&[b"\x1b[?25;1047h text"]));
        assert!(is_alternate(&[b"text \x1b", b"[?10", b"49h", b"more"]));
        assert!(!is_alternate(&[b"\x1b[?1049h", b"\x1b[?1049l$ "]));
        assert!(!is_alternate(&[b"\x1b[?47h\x1bc"]));
        assert!(!is_alternate(&[b"\x1b[?25h\x1b[1049h\x1b]0;?1049h\x07"]));
    }

    #[test]
    fn it_is_known_whether_a_line_has_begun() {
        let mut screen = Screen::default();
        assert!(!screen.in_line());
        for (text, in_line) in [(&b"$ "[..], true), (b"a\r\n", false), (b"", false)] {
            screen.show(text);
            assert_eq!(screen.in_line(), in_line, "{text:?}");
        }
    }
}
