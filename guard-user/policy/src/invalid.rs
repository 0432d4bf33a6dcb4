//! Why a piece of text was refused.

use std::fmt;

/// Why a piece of text was refused, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong with it.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl Invalid {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, ": {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Invalid {}

/// The word among `known` that `given` was probably meant to be.
#[must_use]
pub fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let given = given.to_ascii_lowercase();
    let close = |word: &&'k str| strsim::damerau_levenshtein(&given, word);
    let best = known.iter().copied().min_by_key(close)?;
    (given.len() <= 64 && close(&best) <= 1 + best.len() / 4).then_some(best)
}

/// Whether one slip of the fingers makes the one word of the other.
pub(super) fn is_nearly(given: &str, known: &str) -> bool {
    given.len() <= 64 && strsim::damerau_levenshtein(given, known) <= 1
}

/// `given` in back quotes, cut where it is too long to be read.
#[must_use]
pub fn quoted(given: &str) -> String {
    const LONGEST: usize = 60;
    match given.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", given[..end].escape_debug()),
        None => format!("`{}`", given.escape_debug()),
    }
}

/// Refuses blanks at the ends of what has none.
pub(super) fn blanks(given: &str) -> Option<Invalid> {
    let meant = given.trim();
    let has_any = meant.len() < given.len() && !meant.is_empty();
    has_any.then(|| {
        let (given, meant) = (quoted(given), quoted(meant));
        Invalid::new(format!("{given} begins or ends with a blank")).help(format!("write {meant}"))
    })
}

/// Refuses what could make a terminal or a log show something else than what is there: control
/// characters, and those that change the direction of text.
pub(super) fn printable(given: &str) -> Result<String, Invalid> {
    let bad =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match given.chars().find(|c| bad(*c)) {
        Some(c) => Err(Invalid::new(format!(
            "the character {} cannot be shown",
            c.escape_unicode()
        ))
        .help("write plain text on one line")),
        None if given.trim().is_empty() => Err(Invalid::new("it is empty")),
        None => Ok(given.to_owned()),
    }
}
