//! What about a write looks like a change of many things, or one that cannot be undone.
//!
//! Words only: they tell a person where to look, and nothing is let through for want of one.

mod body;
mod words;

use super::{body::Body, facts::Facts, headers, headers::shown};
use words::{WordPosition, means};

/// How much of a body is looked at, in bytes.
pub const HEAD: usize = 4_096;

/// Past these a person sees the first few, and how many more there are.
const MOST: usize = 64;

/// A longer value is a text, and what it says is no command.
const LONGEST_VALUE: usize = 64;

/// The warnings about a request.
pub(super) fn of(facts: &Facts<'_>) -> Vec<String> {
    let mut found = Vec::new();
    collection(facts, &mut found);
    path(facts, &mut found);
    for (name, value) in facts.query.pairs() {
        parameter(name, value, &mut found);
    }
    if let Body::Whole(body) = facts.body {
        let head = &body[..body.len().min(HEAD)];
        for (name, value) in body::fields(head, headers::media_type(facts.headers).as_deref()) {
            parameter(&name, &value, &mut found);
        }
    }
    let mut once = std::collections::HashSet::new();
    found.retain(|warning| once.insert(warning.clone()));
    found.truncate(MOST);
    found
}

fn collection(facts: &Facts<'_>, found: &mut Vec<String>) {
    let deletes = facts.methods.iter().any(|method| method.name == "DELETE");
    let path = facts.paths.raw().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    if deletes && is_plural(last) {
        found.push(format!("DELETE of a collection: {}", shown(path)));
    }
}

/// Whether a segment looks like a noun in the plural: letters, `-` and `_`, and an `s` at its end that
/// belongs to no other ending.
fn is_plural(segment: &str) -> bool {
    let segment = segment.to_ascii_lowercase();
    let letters = segment
        .bytes()
        .all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_');
    let other = ["ss", "us", "is"].iter().any(|end| segment.ends_with(end));
    letters && segment.len() > 3 && segment.ends_with('s') && !other
}

fn path(facts: &Facts<'_>, found: &mut Vec<String>) {
    let mut segments: Vec<&str> = facts.paths.readings().flat_map(|p| p.split('/')).collect();
    segments.sort_unstable();
    segments.dedup();
    for segment in segments {
        if let Some(means) = means(segment, WordPosition::Path) {
            found.push(format!("`{}` in the path: {means}", shown(segment)));
        }
        if segment == "_all" || segment.contains('*') {
            found.push(format!("`{}` in the path: stands for many", shown(segment)));
        }
    }
}

/// What stands for yes, or for many.
const PLAIN: &[&str] = &["true", "1", "yes", "on", "…", "*", "_all", "all"];

/// Whether a value is a word that says nothing of who has written it.
pub(super) fn is_said_by_many(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let is_word = value.len() <= 24
        && value
            .chars()
            .all(|c| c.is_ascii_alphabetic() || "-_".contains(c));
    PLAIN.contains(&value.as_str()) || (is_word && means(&value, WordPosition::Value).is_some())
}

/// Names whose value says what is to be done.
const COMMANDS: &[&str] = &[
    "action",
    "command",
    "cmd",
    "method",
    "mode",
    "op",
    "operation",
    "type",
    "verb",
    "query",
    "sql",
    "statement",
];

fn parameter(name: &str, value: &str, found: &mut Vec<String>) {
    let off = ["false", "0", "no", "off", "null", "none"];
    let is_off = off
        .iter()
        .any(|word| value.trim().eq_ignore_ascii_case(word));
    let shown_pair = || format!("{}={}", shown(name), shown(value));
    if let Some(means) = means(name, WordPosition::Name).filter(|_| !is_off) {
        found.push(format!("{}: {means}", shown_pair()));
    }
    if matches!(value, "*" | "_all" | "all" | "ALL") {
        found.push(format!("{}: stands for many", shown_pair()));
    }
    let command = COMMANDS.contains(&name.to_ascii_lowercase().as_str());
    let short = value.len() <= LONGEST_VALUE;
    if let Some(means) = means(value, WordPosition::Value).filter(|_| command && short) {
        found.push(format!("{}: {means}", shown_pair()));
    }
    if let Some(statement) = statement(value) {
        found.push(format!("{}: {statement}", shown_pair()));
    }
}

/// What an SQL statement does that begins like this.
fn statement(value: &str) -> Option<&'static str> {
    let mut words = value.split_whitespace().map(str::to_ascii_uppercase);
    let (first, second) = (words.next()?, words.next()?);
    match (first.as_str(), second.as_str()) {
        ("DROP", "TABLE" | "DATABASE" | "SCHEMA" | "INDEX" | "VIEW" | "USER" | "ROLE") => {
            Some("drops it")
        }
        ("TRUNCATE", _) => Some("empties it"),
        ("DELETE", "FROM") => Some("deletes rows"),
        _ => None,
    }
}
