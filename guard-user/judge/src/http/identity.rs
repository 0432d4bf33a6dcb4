//! The identity of a write: the headers that may change its effect are part of it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

use super::{
    headers::{is_elsewhere, is_one_of},
    hosts,
    said::{is_harmless, steers},
};

/// Schemes that sign each try, and the parameters that are new in each: signatures, times, counters. The other parameters
/// identify the signer, and count. AWS Signature Version 4; RFC 7616; Hawk; RFC 5849; draft-cavage-http-signatures.
const SIGNED: [(&str, &[&str]); 5] = [
    ("aws4-", &["signature"]),
    ("digest ", &["nonce", "nc", "cnonce", "response"]),
    ("hawk ", &["ts", "nonce", "mac"]),
    (
        "oauth ",
        &["oauth_signature", "oauth_nonce", "oauth_timestamp"],
    ),
    ("signature ", &["signature", "created", "expires"]),
];

/// The headers that may change what a request does, which are those that a person is shown: by name and value, sorted by name;
/// those of one name in their order. A value that is signed again for each try is its identity.
#[must_use]
pub fn counting(headers: &HeaderMap) -> Vec<(&str, Cow<'_, [u8]>)> {
    let counting = headers
        .iter()
        .filter(|(name, value)| !is_harmless(name.as_str(), value));
    let mut counting: Vec<_> = counting
        .map(|(name, value)| (name.as_str(), lasting(name.as_str(), value)))
        .collect();
    counting.sort_by_key(|(name, _)| *name);
    counting
}

/// Whether a header says what is done to what, as method, URL and body do: it names another method, path, host or object. The others
/// that count say how the body is read, for whom it is done, or what nobody here knows.
#[must_use]
pub fn is_matter(name: &str) -> bool {
    let is_other = is_elsewhere(name) || is_one_of(name, hosts::NAMES);
    steers(name) || is_other || name == header::UPGRADE.as_str()
}

/// What of a header's value is the same in each try.
pub(super) fn lasting<'v>(name: &str, value: &'v HeaderValue) -> Cow<'v, [u8]> {
    let is_signed = name == header::AUTHORIZATION.as_str();
    match is_signed.then(|| signer(value)).flatten() {
        Some(signer) => Cow::Owned(signer.into_bytes()),
        None => Cow::Borrowed(value.as_bytes()),
    }
}

/// The identity in credentials that are signed for each try. None for a form that signers do not use: then all of the value
/// counts.
fn signer(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let begins = |with: &str| {
        let begins = text.get(..with.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(with))
    };
    let (_, of_a_try) = SIGNED.iter().find(|(scheme, _)| begins(scheme))?;
    let (scheme, parameters) = text.split_once(' ')?;
    let mut lasting = vec![scheme.to_owned()];
    for parameter in parameters.split(',').map(str::trim) {
        // A comma in quotes: what follows is no parameter.
        let whole = parameter.matches('"').count().is_multiple_of(2);
        let (name, value) = parameter.split_once('=').filter(|_| whole)?;
        match of_a_try.iter().any(|one| name.eq_ignore_ascii_case(one)) {
            true if is_plain(value) => {}
            true => return None,
            false if name.eq_ignore_ascii_case("credential") => lasting.push(undated(parameter)),
            false => lasting.push(parameter.to_owned()),
        }
    }
    Some(lasting.join(","))
}

/// Whether a value cannot be read as containing another parameter.
fn is_plain(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    let mut bytes = inner.unwrap_or(value).bytes();
    bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+/=-._~%:".contains(&byte))
}

/// Without the day behind the access key: `AKID/20261120/eu-west-1/s3/aws4_request`.
fn undated(credential: &str) -> String {
    let is_day = |part: &str| part.len() == 8 && part.bytes().all(|b| b.is_ascii_digit());
    let parts = credential.split('/').enumerate();
    let lasting = parts.filter(|(at, part)| *at != 1 || !is_day(part));
    lasting.map(|(_, part)| part).collect::<Vec<_>>().join("/")
}
