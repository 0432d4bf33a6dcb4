//! The headers that change what a request means.

use std::collections::HashSet;

use http::{HeaderMap, header};

use super::{method::OVERRIDES, query::Query};

/// What servers take the path from instead of the request line: IIS, Symfony and Next.js, and what stands behind
/// proxies.
const OTHER_PATHS: &[&str] = &[
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-override-url",
    "x-forwarded-uri",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-script-name",
    "x-matched-path",
    "x-invoke-path",
    "x-middleware-rewrite",
];

/// The letters and digits of a name, in lower case. To CGI and its kin all else in it is `_`.
pub(super) fn plain(name: &str) -> String {
    let plain = name.chars().filter(char::is_ascii_alphanumeric);
    plain.map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a name is one of these, whatever stands between its words.
pub(super) fn is_one_of(name: &str, names: &[&str]) -> bool {
    let name = plain(name);
    names.iter().any(|one| plain(one) == name)
}

/// The headers that have one of these names, whatever stands between their words.
pub(super) fn matching<'h>(
    headers: &'h HeaderMap,
    names: &[&'static str],
) -> impl Iterator<Item = (&'h str, &'h [u8])> + use<'h> {
    let names: HashSet<String> = names.iter().map(|name| plain(name)).collect();
    headers
        .iter()
        .filter(move |(name, _)| names.contains(&plain(name.as_str())))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// A header that may send the request to another path.
pub(super) fn rewriting(headers: &HeaderMap) -> Option<&str> {
    matching(headers, OTHER_PATHS).next().map(|(name, _)| name)
}

/// Query parameters that stand for headers, one of which may name another method: `$httpHeaders` of Google's APIs
/// (`goog.net.rpc.HttpCors`).
const IN_QUERY: &[&str] = &["http-headers"];

/// The parameter of the query that may stand for headers.
pub(super) fn in_query(query: &Query) -> Option<&str> {
    let mut names = query.pairs().map(|(name, _)| name.as_str());
    names.find(|name| is_one_of(name, IN_QUERY))
}

/// Whether a header of that name says another method or path than the request line.
pub(super) fn is_elsewhere(name: &str) -> bool {
    is_one_of(name, OTHER_PATHS) || is_one_of(name, OVERRIDES)
}

/// The paths that headers may send the request to.
pub(super) fn other_paths(headers: &HeaderMap) -> Vec<String> {
    let text = |(_, value)| String::from_utf8_lossy(value).into_owned();
    let path = |text: String| {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let path = path.split_once("://").map_or(path, |(_, rest)| {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        });
        path.to_owned()
    };
    matching(headers, OTHER_PATHS).map(text).map(path).collect()
}

/// Whether the headers say that a body follows (RFC 9112 6).
pub(super) fn announce_body(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    let none = |value: &http::HeaderValue| value.as_bytes() == b"0";
    headers.contains_key(header::TRANSFER_ENCODING) || !lengths.iter().all(none)
}

/// The protocol that the connection is to be turned into. `h2c` is none: the proxy strips that.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::UPGRADE).iter();
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut all = texts.flat_map(|text| {
        let tokens = text
            .split(',')
            .map(|token| token.trim().to_ascii_lowercase());
        tokens.collect::<Vec<_>>()
    });
    all.find(|token| !token.is_empty() && token != "h2c")
}

/// Every text that may be the media type of the body, in lower case and without parameters. Usually one.
pub(super) fn media_types(headers: &HeaderMap) -> Vec<String> {
    let (mut types, mut seen) = (Vec::new(), HashSet::new());
    for (_, value) in matching(headers, &["content-type"]) {
        let text = String::from_utf8_lossy(value).to_ascii_lowercase();
        let parts = text.split(',').chain([text.as_str()]);
        for part in parts {
            let essence = part.split(';').next().unwrap_or_default().trim().to_owned();
            if seen.insert(essence.clone()) {
                types.push(essence);
            }
        }
    }
    types
}

/// The media type, where there is no doubt about it.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut types = media_types(headers);
    let one = matching(headers, &["content-type"]).count() == 1;
    types.pop().filter(|_| one && types.is_empty())
}

/// Why the bytes of the body are not its text in UTF-8, if they are not.
pub(super) fn encoded(headers: &HeaderMap) -> Option<&'static str> {
    let plain = |(_, value): (&str, &[u8])| {
        let coding = value.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    if !matching(headers, &["content-encoding"]).all(plain) {
        return Some("the body is compressed");
    }
    let types = matching(headers, &["content-type"]);
    let mut texts = types.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let utf8 = texts.all(|text| text.split(';').skip(1).all(is_utf8));
    (!utf8).then_some("the body is not in UTF-8")
}

/// Whether a parameter of a media type is no charset, or one that UTF-8 reads.
fn is_utf8(parameter: &str) -> bool {
    let parameter = parameter.trim().to_ascii_lowercase();
    match parameter.split_once('=') {
        Some((name, value)) if name.trim() == "charset" => {
            let value = value.trim().trim_matches('"');
            matches!(value, "utf-8" | "utf8" | "us-ascii")
        }
        // `charset*=` and the like (RFC 8187) are not for media types.
        _ => !parameter.contains("charset"),
    }
}

/// A text of the request, cut and escaped so that a person can be shown it.
pub(super) fn shown(text: &str) -> String {
    let quoted = guard_policy::quoted(text);
    quoted.trim_matches('`').to_owned()
}
