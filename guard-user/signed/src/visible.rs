//! Makes text from others harmless: nothing in it steers the terminal or hides from the reader.
//!
//! Command lines, host names, reasons and notes may come from the guarded agent itself, and are read by the
//! person who decides about it.

use std::fmt::{self, Display, Write};

pub use guard_policy::unseen::is_unseen;

use crate::marks::is_mark;

/// Around letters that are written from right to left, so that they turn nothing else of the line (UAX #9: first strong isolate,
/// and the end of that).
const ISOLATE: char = '\u{2068}';
const END: char = '\u{2069}';
/// Marks that one letter may bear, as in pointed Hebrew and in Tibetan: more of them grow into the lines above and below.
const MARKS: usize = 3;

/// `text` as part of a line: what cannot be seen is written out as an escape, what is written from right to left turns nothing
/// but itself, and it is cut at `limit` characters. What is visible stays as it is, but for isolates: those are somebody else's.
pub fn visible(text: impl Display, limit: usize) -> String {
    isolated(&escaped(text, limit))
}

/// The same for a line that [`visible`] has made already: isolates such as it makes come out as they went in.
pub fn visible_again(line: impl Display, limit: usize) -> String {
    isolated(&bounded(line, limit, true))
}

/// The same for what is copied, or laid out in lines that are made visible each: nothing in it is isolated.
pub fn escaped(text: impl Display, limit: usize) -> String {
    bounded(text, limit, false)
}

fn bounded(text: impl Display, limit: usize, is_made: bool) -> String {
    let mut out = Bounded {
        text: String::new(),
        left: limit,
        full: false,
        marks: 0,
        is_made,
    };
    // Bounded fails only to stop early; a Display that fails by itself is cut short just the same.
    let _ = write!(out, "{text}");
    if out.full {
        out.text.push('…');
    }
    out.text
}

/// Each run of letters that are written from right to left, with single blanks between, in an isolate of its own.
fn isolated(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_right_to_left) {
        let length = length_of_run(&rest[start..]);
        let (before, run) = (&rest[..start], &rest[start..start + length]);
        out.push_str(before);
        out.push(ISOLATE);
        out.push_str(run);
        out.push(END);
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    out
}

/// The run of an isolate, which is behind its first character, as [`isolated`] makes them.
fn run_before_end(behind: &str) -> Option<&str> {
    let (run, rest) = behind.split_at(length_of_run(behind));
    let is_own = run.starts_with(is_right_to_left) && rest.starts_with(END);
    is_own.then_some(run)
}

/// Bytes of the run that a text begins with.
fn length_of_run(text: &str) -> usize {
    let mut length = 0;
    let mut is_blank = false;
    for (at, c) in text.char_indices() {
        match c {
            ' ' if !is_blank => is_blank = true,
            c if is_right_to_left(c) || (is_mark(c) && !is_blank) => {
                is_blank = false;
                length = at + c.len_utf8();
            }
            _ => break,
        }
    }
    length
}

/// Somebody's own words, in quotes that none of theirs ends.
#[must_use]
pub fn quoted(words: &str) -> String {
    let words = words.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{words}\"")
}

/// Characters that are shown of a program's name.
const PROGRAM: usize = 40;

/// The name of a program's file, which its author chose: in quotes, unless it is a plain word.
#[must_use]
pub fn program(name: &str) -> String {
    if is_word(name) {
        cut(name)
    } else {
        claimed(name)
    }
}

/// Whether nothing in a name can be taken for the words around it.
#[must_use]
pub fn is_word(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    !name.is_empty() && name.chars().all(is_plain)
}

/// What a program calls itself, of which no file is known.
#[must_use]
pub fn claimed(name: &str) -> String {
    quoted(&cut(name))
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(PROGRAM) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

/// What a host name reads as that has labels in ASCII for letters beyond it (`xn--`, RFC 5890). It is shown behind the name and not in
/// its place: letters of one script look like those of another. None where there is nothing to read.
#[must_use]
pub fn in_letters(name: &str) -> Option<String> {
    let has_prefix = |label: &str| label.to_ascii_lowercase().starts_with("xn--");
    if !name.split('.').any(has_prefix) {
        return None;
    }
    let (read, is_valid) = idna::domain_to_unicode(name);
    is_valid.ok().map(|()| read)
}

/// A command line as a shell would read it: blanks in a word differ from those between words.
#[must_use]
pub fn command_line(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| shell_word(word)).collect();
    words.join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether `c` is written from right to left, or stands in a block of scripts that are.
#[must_use]
pub const fn is_right_to_left(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}'
    )
}

/// A writer that escapes, and fails once it is full so that endless text is not walked to its end.
struct Bounded {
    text: String,
    left: usize,
    full: bool,
    /// Marks that the last character may bear.
    marks: usize,
    /// Whether isolates may be the guard's own.
    is_made: bool,
}

impl Bounded {
    fn push_all(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                self.full = true;
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.push(c);
        }
        Ok(())
    }

    fn push(&mut self, c: char) {
        let is_mark = is_mark(c);
        if is_unseen(c) || (is_mark && self.marks == 0) {
            self.text.extend(c.escape_default());
            self.marks = 0;
            return;
        }
        self.text.push(c);
        self.marks = match c {
            _ if is_mark => self.marks - 1,
            c if c.is_alphanumeric() => MARKS,
            _ => 0,
        };
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.is_made {
            return self.push_all(text);
        }
        let mut rest = text;
        while let Some(start) = rest.find(ISOLATE) {
            let (before, isolate) = rest.split_at(start);
            self.push_all(before)?;
            let behind = &isolate[ISOLATE.len_utf8()..];
            let run = run_before_end(behind);
            self.push_all(run.unwrap_or(&isolate[..ISOLATE.len_utf8()]))?;
            rest = match run {
                Some(run) => &behind[run.len() + END.len_utf8()..],
                None => behind,
            };
        }
        self.push_all(rest)
    }
}
