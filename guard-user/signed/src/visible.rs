//! Makes text from others harmless: nothing in it steers the terminal or hides from the reader.
//!
//! Command lines, host names, reasons and notes may come from the guarded agent itself, and are read by the
//! person who decides about it.

use std::fmt::{self, Display, Write};

/// `text` with what cannot be seen written out as an escape, and cut at `limit` characters.
pub fn visible(text: impl Display, limit: usize) -> String {
    let mut out = Bounded {
        text: String::new(),
        left: limit,
        full: false,
    };
    // Bounded fails only to stop early; a Display that fails by itself is cut short just the same.
    let _ = write!(out, "{text}");
    if out.full {
        out.text.push('…');
    }
    out.text
}

/// Somebody's own words, in quotes that none of theirs ends.
#[must_use]
pub fn quoted(words: &str) -> String {
    let words = words.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{words}\"")
}

/// Characters that are shown of a program's name.
const PROGRAM: usize = 40;

/// The name of a program's file, which whoever made that chose: in quotes, unless nothing in it can be taken for the words
/// around it.
#[must_use]
pub fn program(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    match !name.is_empty() && name.chars().all(is_plain) {
        true => cut(name),
        false => claimed(name),
    }
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

/// Whether `c` moves the cursor, reorders the line, or shows nothing where something is.
#[must_use]
pub const fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'            // C0, DEL, C1
        | '\u{ad}' | '\u{34f}' | '\u{61c}'                  // soft hyphen, joiner, Arabic mark
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' // Khmer vowels, Mongolian selectors and separator
        | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}'  // spaces that are letters where a server reads them
        | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{2800}'
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' // zero width, marks, line ends, embeddings
        | '\u{2060}'..='\u{206f}' | '\u{feff}'              // invisible operators, isolates, byte order mark
        | '\u{fe00}'..='\u{fe0f}'                           // variation selectors
        | '\u{fff0}'..='\u{fffb}'                           // not assigned, interlinear annotation
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' // shorthand, musical formats
        | '\u{e0000}'..='\u{e0fff}'                         // tags and variation selectors
    )
}

/// A writer that escapes, and fails once it is full so that endless text is not walked to its end.
struct Bounded {
    text: String,
    left: usize,
    full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                self.full = true;
                return Err(fmt::Error);
            }
            self.left -= 1;
            if is_unseen(c) {
                self.text.extend(c.escape_default());
            } else {
                self.text.push(c);
            }
        }
        Ok(())
    }
}
