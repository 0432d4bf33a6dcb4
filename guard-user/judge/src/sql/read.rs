//! Bytes -> the server's own parse tree.

use super::{LIMIT, Unread};
use pg_query::NodeEnum;

/// The longest run of characters of operators. PostgreSQL's scanner reads a run again from each place in it where a
/// comment or an operator may begin: 64 KiB of `/*/*/*…` take it seconds.
const LONGEST_RUN: usize = 512;

/// The text of a query string.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Unread> {
    if bytes.len() > LIMIT {
        return Err(Unread::TooLong);
    }
    if has_long_run(bytes) {
        let why = "it has a long row of characters such as * and =";
        return Err(Unread::Unparsed(why.to_owned()));
    }
    std::str::from_utf8(bytes).map_err(|_| Unread::NotText)
}

fn has_long_run(bytes: &[u8]) -> bool {
    let mut run = 0;
    bytes.iter().any(|byte| {
        run = if b"~!@#^&|`?+-*/%<>=".contains(byte) {
            run + 1
        } else {
            0
        };
        run > LONGEST_RUN
    })
}

/// The statements of a text. Empty ones, between semicolons, are none.
pub(super) fn parse(text: &str) -> Result<Vec<NodeEnum>, Unread> {
    let parsed = pg_query::parse(text, 0).map_err(unread)?;
    let statements = parsed.protobuf.stmts.into_iter();
    let nodes = statements.map(|raw| raw.stmt.and_then(|node| node.node));
    let nodes: Option<Vec<_>> = nodes.collect();
    nodes.ok_or_else(|| Unread::Unparsed("a statement of an unknown kind".to_owned()))
}

/// What kept the parser from reading.
pub(super) fn unread(error: pg_query::Error) -> Unread {
    // The parser's own limits: of the stack, of its table of rules, of the tree that it hands over.
    const DEEP: &[&str] = &["stack depth", "memory exhausted", "nested too deeply"];
    match error {
        pg_query::Error::Decode(_) => Unread::TooDeep,
        pg_query::Error::Parse(why) | pg_query::Error::Scan(why) => {
            if DEEP.iter().any(|deep| why.contains(deep)) {
                Unread::TooDeep
            } else {
                Unread::Unparsed(shortened(&why))
            }
        }
        pg_query::Error::Conversion(_) => Unread::Unparsed("it holds a zero byte".to_owned()),
        other => Unread::Unparsed(shortened(&other.to_string())),
    }
}

/// The parser quotes the text from where it stopped: only a plain word of it is kept, for anything else may be secret.
fn shortened(why: &str) -> String {
    const LONGEST: usize = 40;
    let Some((what, near)) = why.split_once(" at or near ") else {
        return why.chars().take(2 * LONGEST).collect();
    };
    let is_word = |c: char| c.is_ascii_alphabetic() || c == '_';
    let word = near
        .strip_prefix('"')
        .and_then(|near| near.strip_suffix('"'));
    match word {
        Some(word) if word.len() <= LONGEST && word.chars().all(is_word) => why.to_owned(),
        _ => what.to_owned(),
    }
}
