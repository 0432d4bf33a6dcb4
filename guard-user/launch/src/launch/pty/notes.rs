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
/// What begins a string behind an escape: OSC, DCS, SOS, PM and APC.
const STRINGS: &[u8] = b"]PX^_";
/// What ends one beside an escape: BEL, CAN and SUB.
const ENDS: [u8; 3] = [0x07, 0x18, 0x1a];

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

    /// The lines that have come, as a terminal takes them that changes nothing; none: there will be no more. All are read, so that none
    /// is shown in part: each was written at once.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let (mut bytes, mut come) = ([0_u8; LONGEST], Vec::new());
        let has_ended = loop {
            match read(&self.0, &mut bytes[..]) {
                Ok(0) => break true,
                Ok(count) => come.extend_from_slice(&bytes[..count]),
                Err(Errno::INTR) => {}
                Err(error) => break error != Errno::AGAIN,
            }
        };
        if has_ended && come.is_empty() {
            return None;
        }
        let lines = come.iter().flat_map(|byte| match byte {
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
    /// A string has begun that a terminal does not show, such as a title.
    is_in_string: bool,
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

    /// Whether the terminal takes what comes for the rest of what was begun, and does not show it.
    pub(super) fn is_within(&self) -> bool {
        self.sequence.is_some() || self.is_in_string
    }

    /// Notes output.
    pub(super) fn show(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else {
            return;
        };
        self.in_line = *last != b'\n';
        if self.is_within() || bytes.contains(&ESCAPE) {
            bytes.iter().for_each(|byte| self.step(*byte));
        }
    }

    fn step(&mut self, byte: u8) {
        if byte == ESCAPE {
            // It ends a string, too.
            (self.sequence, self.is_in_string) = (Some(Vec::new()), false);
            return;
        }
        if self.is_in_string {
            self.is_in_string = !ENDS.contains(&byte);
            return;
        }
        let Some(sequence) = &mut self.sequence else {
            return;
        };
        match (&sequence[..], byte) {
            ([], b'[') => sequence.push(byte),
            ([], other) => {
                // RIS: the screen is as at the beginning.
                self.is_alternate &= other != b'c';
                self.is_in_string = STRINGS.contains(&other);
                self.sequence = None;
            }
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
    fn no_line_comes_in_part() {
        let (ours, theirs) = Notes::pair().unwrap();
        let line = "x".repeat(LONGEST / 3);
        (0..4).for_each(|_| theirs.say(&line));
        drop(theirs);
        let all = format!("{line}\r\n").repeat(4);
        assert_eq!(ours.take(), Some(all.into_bytes()));
        assert_eq!(ours.take(), None);
    }

    #[test]
    fn it_is_known_whether_a_sequence_or_a_string_has_begun() {
        let is_within = |text: &[u8]| {
            let mut screen = Screen::default();
            screen.show(text);
            screen.is_within()
        };
        for begun in [
            &b"\x1b"[..],
            b"red \x1b[31",
            b"\x1b]0;a title",
            b"\x1bPq#0;2;0;0;0",
            b"\x1b[31mred\x1b]8;;https://example.com",
        ] {
            assert!(is_within(begun), "{begun:?}");
        }
        for whole in [
            &b"plain"[..],
            b"\x1b[31m",
            b"\x1b(B",
            b"\x1bc",
            b"\x1b]0;a title\x07",
            b"\x1b]0;a title\x1b\\",
            b"\x1b]0;a title\x18",
        ] {
            assert!(!is_within(whole), "{whole:?}");
        }
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
