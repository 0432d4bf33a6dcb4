//! `[[rule.http]]`: which HTTP requests a `read-only` rule treats differently.

use guard_common::Verdict;

use super::{
    invalid::{Invalid, printable, quoted},
    model::{Action, HttpAction, HttpRule},
    parse::action,
    source::{Source, Table},
};

pub(super) const HTTP_KEYS: &[&str] = &["method", "path", "query", "content_type", "action"];

/// The HTTP rules of a rule.
pub(super) fn rules<'s>(
    source: &mut Source<'s>,
    rule: &Table<'_, 's>,
    action: Action,
) -> Vec<HttpRule> {
    let tables = source.tables(rule.get("http"), "rule.http", HTTP_KEYS);
    if let (Some(first), true) = (tables.first(), action != Verdict::ReadOnly) {
        let misplaced = Invalid::new("HTTP rules mean something under `read-only` only")
            .help("write `action = \"read-only\"` in the rule, or remove this");
        source.error(first.span.clone(), misplaced);
    }
    tables.iter().map(|table| one(source, table)).collect()
}

fn one<'s>(source: &mut Source<'s>, table: &Table<'_, 's>) -> HttpRule {
    const ACTIONS: &[Action] = &[Verdict::Allow, Verdict::Confirm, Verdict::Deny];
    source.check_keys(table);
    let help = "write `action = \"deny\"`, or `allow` or `confirm`";
    let value = source.required(table, "action", help);
    let expected = "\"allow\", \"confirm\" or \"deny\"";
    let decided = value.and_then(|value| source.parsed(value, expected, |t| action(t, ACTIONS)));
    HttpRule {
        method: methods(source, table),
        path: source.optional(table, "path", "a path like \"/api/*\"", path),
        query: source.optional(table, "query", "a text like \"dry_run=*\"", query),
        content_type: source.optional(table, "content_type", "a media type", media_type),
        action: decided.map_or(HttpAction::Deny, http_action),
    }
}

const fn http_action(action: Action) -> HttpAction {
    match action {
        Verdict::Allow => HttpAction::Allow,
        Verdict::Confirm => HttpAction::Confirm,
        Verdict::ReadOnly | Verdict::Deny => HttpAction::Deny,
    }
}

fn methods<'s>(source: &mut Source<'s>, table: &Table<'_, 's>) -> Vec<String> {
    let Some(value) = table.get("method") else {
        return Vec::new();
    };
    source.not_empty(value, "method", "leave it out for every method");
    source
        .list(value, "a method like \"POST\"", method)
        .unwrap_or_default()
}

/// A method is a token (RFC 9110 9.1); all that are in use are upper case letters.
fn method(text: &str) -> Result<String, Invalid> {
    let token = |b: u8| b.is_ascii_uppercase() || b == b'-';
    if !text.is_empty() && text.bytes().all(token) {
        return Ok(text.to_owned());
    }
    let invalid = Invalid::new(format!("{} is not an HTTP method", quoted(text)));
    let upper = text.to_ascii_uppercase();
    Err(if !text.is_empty() && upper.bytes().all(token) {
        invalid.help(format!("write `{upper}`"))
    } else {
        invalid.help("write upper case letters, like `GET` or `POST`")
    })
}

pub(super) fn path(text: &str) -> Result<String, Invalid> {
    let text = printable(text)?;
    let invalid = |message: &str| Err(Invalid::new(format!("{} {message}", quoted(&text))));
    if !text.starts_with(['/', '*']) {
        return invalid("is not a path").map_err(|e| e.help(format!("write `/{text}`")));
    }
    if text.contains(['?', '#']) {
        invalid("is more than a path").map_err(|e| e.help("what follows `?` is `query`"))
    } else {
        Ok(text)
    }
}

/// An empty one is for requests without a query.
fn query(text: &str) -> Result<String, Invalid> {
    match text {
        "" => Ok(String::new()),
        text => printable(text),
    }
}

fn media_type(text: &str) -> Result<String, Invalid> {
    match printable(text)? {
        text if text == "*" || text.split('/').filter(|part| !part.is_empty()).count() == 2 => {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err(
            Invalid::new(format!("{} is not a media type", quoted(text)))
                .help("write `application/json` or `image/*`"),
        ),
    }
}
