//! A query's text without its constants and comments, to be shown and kept.
//!
//! It is put together from those tokens that are no constants. `pg_query::normalize` would keep the constants of each
//! kind of statement that it does not walk: of `CREATE SERVER`, `COMMENT`, `DO`, and more.

use super::{Unread, read::unread};
use pg_query::protobuf::{ScanToken, Token};
use std::fmt::Write as _;

/// It is cut off behind so many bytes.
const LONGEST: usize = 2048;

pub(super) fn normalise(text: &str) -> Result<String, Unread> {
    // Not `scan_tokens`, which makes a slice of a null pointer where there is no token (pg_query 18.1).
    let tokens = pg_query::scan(text).map_err(unread)?.tokens;
    let mut shown = String::with_capacity(text.len().min(LONGEST));
    let mut number = highest_parameter(text, &tokens);
    let mut end = 0;
    // What stands behind UESCAPE says which name, or which value, another one is.
    let mut is_escape = false;
    // A typed statement ends with a semicolon; one that a program sends does not.
    let last = tokens.iter().rposition(|token| !ends(token));
    for token in tokens.iter().take(last.map_or(0, |last| last + 1)) {
        let (Ok(from), Ok(to)) = (usize::try_from(token.start), usize::try_from(token.end)) else {
            continue;
        };
        if is_comment(token) {
            continue;
        }
        // Without a space, `like$1` would be a name.
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
        let is_value = is_constant(token) && !is_escape;
        is_escape = token.token() == Token::Uescape;
        let runs_on = is_value && shown.ends_with(is_name);
        if (from > end || runs_on) && !shown.is_empty() {
            shown.push(' ');
        }
        end = to;
        if is_value {
            number += 1;
            let _ = write!(shown, "${number}");
        } else {
            shown.push_str(text.get(from..to).unwrap_or("?"));
        }
        if shown.len() > LONGEST {
            return Ok(cut_off(shown));
        }
    }
    Ok(shown)
}

fn ends(token: &ScanToken) -> bool {
    is_comment(token) || token.token() == Token::Ascii59
}

fn is_comment(token: &ScanToken) -> bool {
    matches!(token.token(), Token::SqlComment | Token::CComment)
}

fn is_constant(token: &ScanToken) -> bool {
    matches!(
        token.token(),
        Token::Sconst
            | Token::Usconst
            | Token::Bconst
            | Token::Xconst
            | Token::Fconst
            | Token::Iconst
    )
}

/// The parameters that are there already keep their numbers.
fn highest_parameter(text: &str, tokens: &[ScanToken]) -> u32 {
    let number = |token: &ScanToken| -> Option<u32> {
        let from = usize::try_from(token.start).ok()?;
        let to = usize::try_from(token.end).ok()?;
        text.get(from..to)?.strip_prefix('$')?.parse().ok()
    };
    let parameters = tokens.iter().filter(|t| t.token() == Token::Param);
    let highest = parameters.filter_map(number).max().unwrap_or_default();
    highest.min(u32::from(u16::MAX))
}

fn cut_off(mut shown: String) -> String {
    let mut end = LONGEST - '…'.len_utf8();
    while !shown.is_char_boundary(end) {
        end -= 1;
    }
    shown.truncate(end);
    shown.push('…');
    shown
}
