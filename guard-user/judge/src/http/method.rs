//! Methods: which of them read, and what turns one into another.

use http::HeaderMap;

use super::{
    headers,
    query::{Query, folded},
};

/// Methods that read by default: the safe ones of RFC 9110 9.2.1 without TRACE, which sends the credentials of the request back,
/// and those of WebDAV (PROPFIND: RFC 4918 9.1; REPORT: RFC 3253 3.6; SEARCH: RFC 5323 2). QUERY (RFC 10008) is too new: a
/// server that does not know it may do anything.
const SAFE: &[&str] = &["GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"];

/// Safe methods that say in their body what is asked for.
const WITH_BODY: &[&str] = &["PROPFIND", "REPORT", "SEARCH"];

/// What servers take the method from instead of the request line.
pub(super) const OVERRIDES: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-method",
    "x-forwarded-method",
    "x-original-method",
    "http-method-override",
    "method-override",
    "x-http-verb-override",
    "x-http-verb",
    "x-rest-method",
    "request-method",
];

/// Query parameters that do the same, whatever stands between their words; and `_method`.
const ALWAYS: &[&str] = &[
    "x-http-method-override",
    "http-method-override",
    "method-override",
    "x-http-method",
    "http-method",
];

/// Query parameters that do the same on some servers, and mean something else on others.
const SOMETIMES: &[&str] = &["method"];

const UNSAFE: &[&str] = &[
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "CONNECT",
    "TRACE",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "PROPPATCH",
    "LINK",
    "UNLINK",
    "PURGE",
];

/// Limit of the other methods that are considered: fewer than this only read.
const MOST: usize = 8;

/// Whether there may be others than these.
pub(super) fn has_more(methods: &[Effective]) -> bool {
    methods.len() > MOST
}

/// A method that a server may take a request to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effective {
    /// In upper case, but for the one that was sent.
    pub(super) name: String,
    /// What says so, where it is not the request line.
    pub(super) by: Option<String>,
}

pub(super) fn is_safe(method: &str) -> bool {
    SAFE.contains(&method)
}

/// Returns true if a body means something with this safe method.
pub(super) fn has_use_for_body(method: &str) -> bool {
    WITH_BODY.contains(&method)
}

/// Returns the methods that a request may have, the sent one first. `form`: the fields of a form in its body.
pub(super) fn effective(
    sent: &str,
    headers: &HeaderMap,
    query: &Query,
    form: &[(String, String)],
) -> Vec<Effective> {
    let mut methods = vec![Effective {
        name: sent.to_owned(),
        by: None,
    }];
    for (name, value) in headers::matching(headers, OVERRIDES) {
        let value = String::from_utf8_lossy(value);
        for method in value.split(',') {
            add(&mut methods, method, &format!("the header `{name}`"));
        }
    }
    for (name, value) in query.pairs() {
        let known = UNSAFE.iter().any(|m| value.trim().eq_ignore_ascii_case(m));
        if always(name) || (known && SOMETIMES.contains(&name.as_str())) {
            add(&mut methods, value, &format!("`{name}` in the query"));
        }
    }
    for (name, value) in form {
        let name = folded(name);
        if always(&name) {
            add(&mut methods, value, &format!("`{name}` in its form"));
        }
    }
    methods
}

/// Whether a parameter, its name folded, names the method wherever it stands.
fn always(name: &str) -> bool {
    name == "_method" || headers::is_one_of(name, ALWAYS)
}

/// Among more than `MOST` at least one does not only read.
fn add(methods: &mut Vec<Effective>, value: &str, by: &str) {
    if methods.len() > MOST {
        return;
    }
    let name = value.trim().to_ascii_uppercase();
    if !name.is_empty() && methods.iter().all(|method| method.name != name) {
        let by = Some(by.to_owned());
        methods.push(Effective { name, by });
    }
}

/// What a method does, for a person.
pub(super) fn kind(method: &str) -> String {
    let does = match method {
        "GET" | "HEAD" | "OPTIONS" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY" => {
            "reads something"
        }
        "POST" => "creates or runs something",
        "PUT" => "replaces or starts something",
        "PATCH" | "PROPPATCH" => "changes something",
        "DELETE" => "deletes something",
        "MKCOL" => "makes a collection",
        "MOVE" => "moves something",
        "COPY" => "copies something",
        "LOCK" | "UNLOCK" => "locks or unlocks something",
        "TRACE" => "has the request sent back",
        "PURGE" => "empties a cache",
        _ => "does nobody knows what",
    };
    format!("{does} ({})", super::headers::shown(method))
}
