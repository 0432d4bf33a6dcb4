//! What is written for people, where that is wanted: the commands in its code, and connection strings wherever they stand.

use crate::tokens::StageWords;

use super::Sink;
use super::commands::{Script, address, joined, line};

/// What a block of code stands between.
const FENCES: [&str; 2] = ["```", "~~~"];
/// What a shell says before a command.
const PROMPTS: [&str; 2] = ["$ ", "% "];

const SCRIPT: Script<'_> = Script {
    name: "-",
    data: StageWords {
        production: None,
        staging: None,
        development: None,
    },
    own: &[],
    is_here: false,
};

pub(super) fn document(sink: &mut Sink, text: &str) {
    let mut fence: Option<&str> = None;
    for (number, text) in &joined(sink, text) {
        if sink.is_full() {
            return;
        }
        // A quotation is read as what it quotes.
        let bare = text.trim_start_matches(|c: char| c.is_whitespace() || c == '>');
        let bare = bare.trim_end();
        match (fence, begins_with_fence(bare)) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark && is_all(bare, mark) => fence = None,
            (Some(_), _) => code(sink, *number, bare),
            (None, None) if text.starts_with("    ") || text.starts_with('\t') => {
                code(sink, *number, bare);
            }
            (None, None) => prose(sink, *number, bare),
        }
    }
}

/// The fence that a line begins with. One whose backticks are closed in the same line is none.
fn begins_with_fence(line: &str) -> Option<&'static str> {
    let mark = FENCES.into_iter().find(|mark| line.starts_with(mark))?;
    let is_closed = mark == FENCES[0] && line.trim_start_matches('`').contains('`');
    (!is_closed).then_some(mark)
}

fn is_all(line: &str, mark: &str) -> bool {
    line.chars().all(|c| mark.starts_with(c))
}

fn code(sink: &mut Sink, number: usize, text: &str) {
    let mut prompts = PROMPTS.iter();
    let command = prompts.find_map(|prompt| text.strip_prefix(prompt));
    let command = command.unwrap_or(text);
    if !command.starts_with('#') {
        line(sink, number, command, SCRIPT);
    }
}

/// Words, among which are commands between backticks.
fn prose(sink: &mut Sink, number: usize, text: &str) {
    let (commands, words) = spans(text);
    for command in commands {
        // A password may have a backtick: half of what stands in quotes is no command.
        let is_whole = ['"', '\'']
            .iter()
            .all(|quote| command.matches(*quote).count().is_multiple_of(2));
        if is_whole {
            code(sink, number, command);
        }
    }
    for word in words.split_whitespace() {
        if sink.is_full() {
            return;
        }
        address(sink, number, plain(word), SCRIPT);
    }
}

/// A word without what Markdown puts around it, and of a link what it leads to. What ends within a word ends no address.
fn plain(word: &str) -> &str {
    let word = word.rsplit_once("](").map_or(word, |(_, to)| to);
    word.trim_matches(|c| "<>[]()*_|,.:\"'`".contains(c))
}

/// What stands between backticks, as many before as behind; and all else, with a backtick in its place, so that what was apart comes
/// not together.
fn spans(text: &str) -> (Vec<&str>, String) {
    let (mut code, mut words) = (Vec::new(), String::new());
    let mut text = text;
    while let Some(at) = text.find('`') {
        let (before, marked) = text.split_at(at);
        let inner = marked.trim_start_matches('`');
        words.push_str(before);
        words.push('`');
        text = match until_mark(inner, marked.len() - inner.len()) {
            Some((span, behind)) => {
                code.push(span.trim());
                behind
            }
            None => inner,
        };
    }
    words.push_str(text);
    (code, words)
}

/// What stands before so many backticks, no more and no less, and what stands behind them.
fn until_mark(text: &str, length: usize) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find('`') {
        let (before, marked) = text.split_at(from + at);
        let behind = marked.trim_start_matches('`');
        let found = marked.len() - behind.len();
        if found == length {
            return Some((before, behind));
        }
        from += at + found;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_stands_between_as_many_backticks() {
        for (text, code, words) in [
            ("a `b c` d", &["b c"][..], "a ` d"),
            ("``a`b`` and `c`", &["a`b", "c"], "` and `"),
            ("a ` b ``c", &[], "a ` b `c"),
            ("postgres://a`b`c", &["b"], "postgres://a`c"),
        ] {
            assert_eq!(spans(text), (code.to_vec(), words.to_owned()), "{text}");
        }
    }
}
