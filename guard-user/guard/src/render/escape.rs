//! Makes text from others harmless: nothing in it steers the terminal or hides from the reader.
//!
//! Command lines, host names, reasons and notes may come from the guarded agent itself, and are read by the
//! person who decides about it.

use std::fmt::Write;

pub(crate) use guard_signed::visible::{
    claimed, escaped, is_right_to_left, is_unseen, is_word, program, quoted, visible, visible_again,
};

/// At most this many characters of one piece of foreign text are shown.
pub(crate) const LIMIT: usize = 400;

/// What stands in the place of a rule where there is none.
pub(crate) const DEFAULT: &str = "the policy's default";
const NO_RULE: [&str; 8] = [
    DEFAULT,
    "the default",
    "default",
    "(default)",
    "no rule",
    "no rule refuses it",
    "none",
    "-",
];

/// A rule's name; in quotes where it would be taken for the words of one that is none, or for a name in quotes.
pub(crate) fn rule(name: &str) -> String {
    if NO_RULE.contains(&name) || name.starts_with('"') {
        quoted(name)
    } else {
        name.to_owned()
    }
}

/// JSON text without raw unseen characters. Inside strings is the only place where valid JSON has those
/// beyond `\t`, `\n` and `\r`, so that an escape there stands for the same value.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_unseen_comes_out(text in any::<String>(), limit in 0_usize..500) {
            let shown = visible(&text, limit);
            prop_assert_eq!(visible_again(&shown, usize::MAX), shown.clone());
            let bare = escaped(&text, limit);
            prop_assert!(!bare.chars().any(is_unseen));
            prop_assert!(!shown.chars().any(char::is_control));
            let longest = "\\u{10ffff}".len();
            prop_assert!(shown.chars().count() <= limit * longest + 1);
        }

        #[test]
        fn json_keeps_its_value(text in any::<String>()) {
            let plain = serde_json::to_string(&text).unwrap();
            let safe = json(&plain);
            prop_assert!(!safe.chars().any(is_unseen));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }

    #[test]
    fn escapes_are_written_out() {
        let hostile = "\u{1b}]0;owned\u{7}ls\r\n\u{9b}2J \u{202e}txt.exe";
        insta::assert_snapshot!(visible(hostile, LIMIT), @r"\u{1b}]0;owned\u{7}ls\r\n\u{9b}2J \u{202e}txt.exe");
    }

    #[test]
    fn no_rule_is_called_as_if_it_were_none() {
        assert_eq!(rule("photos"), "photos");
        assert_eq!(rule("in reach: x (default)"), "in reach: x (default)");
        assert_eq!(rule("(default)"), "\"(default)\"");
        assert_eq!(rule("\"(default)\""), r#""\"(default)\"""#);
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(visible("abcdef", 3), "abc…");
        assert_eq!(visible("abc", 3), "abc");
    }

    #[test]
    fn ordinary_text_stays() {
        let text = "grep -r 'größe' ./src — 日本語 🦀";
        assert_eq!(visible(text, LIMIT), text);
    }
}
