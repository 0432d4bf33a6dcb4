//! What about a write looks like a change of many things, or one that cannot be undone.
//!
//! Words only: they tell a person where to look, and nothing is let through for want of one.

mod body;
mod words;

use super::{body::Body, facts::Facts, headers, headers::shown, secrets};
pub(super) use words::WordPosition;
use words::{act, means};

/// How much of a body is looked at, in bytes.
pub const HEAD: usize = 4_096;

/// Past these a person sees the first few, and how many more there are.
const MOST: usize = 64;

/// A longer value is a text, and what it says is no command.
const LONGEST_VALUE: usize = 64;

/// The warnings about a request.
pub(super) fn of(facts: &Facts<'_>) -> Vec<String> {
    let mut found = Vec::new();
    deleted(facts, &mut found);
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

fn deleted(facts: &Facts<'_>, found: &mut Vec<String>) {
    let deletes = facts.methods.iter().any(|method| method.name == "DELETE");
    let path = facts.paths.raw().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    if deletes && is_plural(last) {
        found.push(format!("DELETE of a collection: {}", shown(path)));
    } else if deletes {
        found.push("DELETE: may be gone for good".to_owned());
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

/// Returns what in the path or the query of a request names an act, and what that does: a last segment, also before an id
/// (`/admin/delete/7`), a parameter (`method=reboot`, `turn=toggle`), or a statement of SQL that writes.
pub(super) fn act_named(facts: &Facts<'_>) -> Option<(String, &'static str)> {
    let in_path = facts.paths.readings().find_map(|path| {
        let mut words = path.split('/').rev().filter(|word| !word.is_empty());
        let (last, before) = (words.next()?, words.next());
        let is_id = last.bytes().any(|byte| byte.is_ascii_digit());
        // Vault makes a login by `GET /v1/database/creds/NAME`.
        let makes = |word: &&str| is_id || *word == "creds";
        let named = [Some(last), before.filter(makes)];
        let mut named = named.into_iter().flatten();
        named.find_map(|word| {
            let mut parts = word.split(['?', ';']);
            let act = parts.find_map(|part| act(part, WordPosition::Path))?;
            Some((format!("`{}` in the path", shown(word)), act))
        })
    });
    let in_query = || {
        facts.query.pairs().find_map(|(name, value)| {
            let by_value = || {
                let mut words = value.split_whitespace();
                let act = words.find_map(|word| act(word, WordPosition::Value));
                // `action[]` is `action` to PHP.
                let name = name.trim_end_matches([']', '_']);
                act.filter(|_| ACTIONS.contains(&name))
            };
            let by_name = act(name, WordPosition::Name).filter(|_| !is_off(value));
            let act = by_name.or_else(by_value).or_else(|| statement(value))?;
            Some((format!("`{}` in the query", pair(name, value)), act))
        })
    };
    in_path.or_else(in_query)
}

/// Names of parameters whose value a server does.
const ACTIONS: &[&str] = &[
    "act", "action", "api", "cmd", "cmnd", "command", "do", "exec", "func", "function", "method",
    "mode", "op", "refresh", "task", "turn",
];

/// Returns true if a value switches something off.
fn is_off(value: &str) -> bool {
    let off = ["false", "0", "no", "off", "null", "none"];
    off.iter()
        .any(|word| value.trim().eq_ignore_ascii_case(word))
}

/// Names whose value says what is to be done.
const COMMANDS: &[&str] = &[
    "action",
    "api",
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

/// Returns a parameter for a person, without the value of a secret.
fn pair(name: &str, value: &str) -> String {
    let value = if secrets::is_secret(name, value) {
        secrets::LEFT_OUT.to_owned()
    } else {
        shown(value)
    };
    format!("{}={value}", shown(name))
}

fn parameter(name: &str, value: &str, found: &mut Vec<String>) {
    let shown_pair = || pair(name, value);
    if let Some(means) = means(name, WordPosition::Name).filter(|_| !is_off(value)) {
        found.push(format!("{}: {means}", shown_pair()));
    }
    if matches!(value, "*" | "~" | "_all" | "all" | "ALL") {
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

/// Returns what a statement of SQL, or of what is made like it, does that begins like this.
fn statement(value: &str) -> Option<&'static str> {
    let mut words = value.split_whitespace().map(str::to_ascii_uppercase);
    let (first, second) = (words.next()?, words.next()?);
    match (first.as_str(), second.as_str()) {
        (
            "DROP",
            "TABLE" | "DATABASE" | "SCHEMA" | "INDEX" | "VIEW" | "USER" | "ROLE" | "MEASUREMENT"
            | "SERIES" | "SHARD" | "RETENTION",
        ) => Some("drops it"),
        ("TRUNCATE", _) => Some("empties it"),
        ("DELETE", "FROM") => Some("deletes rows"),
        _ => None,
    }
}
