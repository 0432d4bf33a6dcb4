//! Text from others on a screen of cells: made visible as everywhere, and of a width that every terminal agrees on.

use ratatui::style::Style;
use ratatui::text::Span;

use crate::render::escape::{self, is_right_to_left, is_unseen};

/// What a piece of text in a line of a list may hold.
const LIMIT: usize = 400;
/// Limit of the characters shown of a note or a body.
const PARAGRAPH: usize = 4000;

/// A piece of text for a line that goes on with something else: nothing in it makes a terminal turn the line around.
pub(crate) fn piece(text: &str) -> String {
    without(text, LIMIT, |c| is_odd(c) || is_right_to_left(c))
}

/// Several sentences that stand by themselves.
pub(crate) fn paragraph(text: &str) -> String {
    without(text, PARAGRAPH, is_odd)
}

fn without(text: &str, limit: usize, is_bad: impl Fn(char) -> bool) -> String {
    let text = escape::escaped(text, limit);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_bad(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// What terminals disagree about: characters that take no cell of their own, share one with a neighbour, or take more than two, as
/// U+17D8 does.
fn is_odd(c: char) -> bool {
    !c.is_ascii() && (is_unseen(c) || !(1..=2).contains(&width_of(c)) || joins(c))
}

/// Whether it is one character to the eye together with what is before or behind it (UAX #29).
fn joins(c: char) -> bool {
    let halves = matches!(c,
        '\u{1f1e6}'..='\u{1f1ff}' // of flags
        | '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}' // parts of Hangul syllables
    );
    let between = format!("a{c}a");
    halves || Span::raw(&between).styled_graphemes(Style::new()).count() < 3
}

fn width_of(c: char) -> usize {
    width(c.encode_utf8(&mut [0; 4]))
}

/// How many cells a text takes.
pub(crate) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text, cut to that many cells with `…`.
pub(crate) fn cut(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let (head, _) = split(text, cells.saturating_sub(1));
    if cells == 0 {
        return String::new();
    }
    format!("{head}…")
}

/// A text in lines of so many cells: broken between words, or where a word is longer than a line, in it.
pub(crate) fn wrap(text: &str, cells: usize) -> Vec<String> {
    // No cell is narrower than a wide character.
    let cells = cells.max(2);
    let mut lines = Vec::new();
    let mut rest = text;
    while width(rest) > cells {
        let (head, _) = split(rest, cells + 1);
        let (head, after) = match head.rfind(' ').filter(|at| *at > 0) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => split(rest, cells),
        };
        lines.push(head.to_owned());
        rest = after;
    }
    lines.push(rest.to_owned());
    lines
}

/// Splits a text where it has filled so many cells.
fn split(text: &str, cells: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += width_of(c);
        if used > cells {
            return text.split_at(at);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_character_has_a_cell(text in any::<String>()) {
            for shown in [piece(&text), paragraph(&text)] {
                prop_assert!(!shown.chars().any(is_unseen));
                prop_assert!(shown.chars().all(|c| (1..=2).contains(&width_of(c))));
                let sum: usize = shown.chars().map(width_of).sum();
                prop_assert_eq!(sum, width(&shown));
            }
        }

        #[test]
        fn nothing_is_lost_or_too_long(text in "[a-z 日本]{0,60}", cells in 2_usize..20) {
            let lines = wrap(&text, cells);
            prop_assert!(lines.iter().all(|line| width(line) <= cells));
            let without = |text: &str| text.replace(' ', "");
            prop_assert_eq!(without(&lines.concat()), without(&text));
            prop_assert!(width(&cut(&text, cells)) <= cells);
        }
    }

    #[test]
    fn what_joins_or_turns_is_written_out() {
        assert_eq!(piece("e\u{301}"), r"e\u{301}");
        assert_eq!(piece("\u{17d8}"), r"\u{17d8}");
        assert_eq!(piece("\u{202e}\u{5d0}\n"), r"\u{202e}\u{5d0}\n");
        assert_eq!(paragraph("\u{5d0} 日本"), "\u{5d0} 日本");
        // A mark with a width of its own, and one that joins what comes behind it.
        assert_eq!(piece("\u{1b13}\u{1b3e}"), "\u{1b13}\\u{1b3e}");
        assert_eq!(piece("\u{110bd}a"), "\\u{110bd}a");
        assert_eq!(
            piece("\u{1f44d}\u{1f3ff}\u{2764}\u{fe0f}"),
            "\u{1f44d}\\u{1f3ff}\u{2764}\\u{fe0f}"
        );
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("the list of albums", 9), ["the list", "of albums"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("x", 0), "");
    }
}
