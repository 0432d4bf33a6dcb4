//! URLs for what is kept: without what lets somebody in.

use super::{headers::plain, query::folded};

/// In the place of a value. No rule has it in a pattern by mistake: it says nothing that one star does not.
pub const LEFT_OUT: &str = "***";

/// Parameters, by the letters of their names.
const NAMES: &[&str] = &[
    "auth",
    "code",
    "jwt",
    "key",
    "otp",
    "pass",
    "passphrase",
    "pin",
    "pwd",
    "session",
    "sessionid",
    "sid",
    "sig",
    "ticket",
];

/// What is in the names of others: `X-Amz-Security-Token`, `AWSAccessKeyId`, `client_secret`.
const PARTS: &[&str] = &[
    "accesskey",
    "apikey",
    "applicationkey",
    "assertion",
    "authkey",
    "authorization",
    "credential",
    "mfa",
    "oidc",
    "passwd",
    "password",
    "samlresponse",
    "secret",
    "signature",
    "subscriptionkey",
    "token",
];

/// A text in which a URL may be, with [`LEFT_OUT`] for a user and password in it, and for the values of such parameters behind
/// its `?`.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let path = without_user(path);
    let Some(query) = query else {
        return path;
    };
    // Beside a user's name, `p` is the password: InfluxDB and Subsonic have it so. By itself it is a page.
    let mut names = query.split(['&', ';']).map(|pair| pair.split('=').next());
    let has_user = names.any(|name| name == Some("u"));
    let pairs = query.split_inclusive(['&', ';']).map(|pair| {
        let (pair, end) = match pair.char_indices().next_back() {
            Some((at, '&' | ';')) => pair.split_at(at),
            _ => (pair, ""),
        };
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) || (has_user && name == "p") => {
                format!("{name}={LEFT_OUT}{end}")
            }
            _ => format!("{pair}{end}"),
        }
    });
    format!("{path}?{}", pairs.collect::<String>())
}

/// `https://user:password@host/x` without them.
fn without_user(url: &str) -> String {
    let kept = url.split_once("://").and_then(|(scheme, rest)| {
        let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, _) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://{LEFT_OUT}{}", &rest[user.len()..]))
    });
    kept.unwrap_or_else(|| url.to_owned())
}

/// A warning that may say `NAME=VALUE: what that means`, where the value may be a part of a body.
#[must_use]
pub fn warning_without_values(warning: &str) -> String {
    match warning.split_once('=') {
        Some((name, value)) if !name.starts_with('`') => {
            let (value, means) = value.rsplit_once(": ").unwrap_or((value, ""));
            if super::warnings::is_said_by_many(value) && !is_secret(name) {
                warning.to_owned()
            } else {
                format!("{name}={LEFT_OUT}: {means}")
            }
        }
        _ => without_secrets(warning),
    }
}

/// Returns true if a value of that name lets somebody in.
pub(crate) fn is_secret(name: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let letters = plain(&folded(&decoded));
    NAMES.contains(&letters.as_str()) || has_part(&letters)
}

/// Returns true if a word for a secret is in a name, whatever stands between its letters.
pub(crate) fn says_secret(name: &str) -> bool {
    has_part(&plain(name))
}

/// Whether there is a word for a secret among the letters of a name.
pub(super) fn has_part(letters: &str) -> bool {
    PARTS.iter().any(|part| letters.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_let_somebody_in_are_left_out() {
        for (url, kept) in [
            ("/x", "/x"),
            ("/x?", "/x?"),
            ("/x?a=1&b", "/x?a=1&b"),
            ("/x?token=abc", "/x?token=***"),
            ("/x?a=1&access_token=abc&b=2", "/x?a=1&access_token=***&b=2"),
            ("/x?API-Key=abc;b=2", "/x?API-Key=***;b=2"),
            ("/x?%74oken=abc", "/x?%74oken=***"),
            (
                "/x?token[]=abc&key=k&sig=s&code=c",
                "/x?token[]=***&key=***&sig=***&code=***",
            ),
            ("/x?token=a=b?c", "/x?token=***"),
            (
                "/b/k?X-Amz-Signature=1&X-Amz-Security-Token=2&X-Amz-Credential=3&X-Amz-Date=4",
                "/b/k?X-Amz-Signature=***&X-Amz-Security-Token=***&X-Amz-Credential=***&X-Amz-Date=4",
            ),
            (
                "/x?password=é&client_secret=b&",
                "/x?password=***&client_secret=***&",
            ),
            (
                "/x?monkey=1&keyboard=2&zipcode=3",
                "/x?monkey=1&keyboard=2&zipcode=3",
            ),
            ("/x?token", "/x?token"),
            (
                "/acs?SAMLResponse=x&RelayState=y",
                "/acs?SAMLResponse=***&RelayState=y",
            ),
            ("/query?u=me&p=pw&q=x", "/query?u=me&p=***&q=x"),
            ("/blog?p=2&q=u", "/blog?p=2&q=u"),
            (
                "/x?subscription-key=1&application_key=2&authkey=3",
                "/x?subscription-key=***&application_key=***&authkey=***",
            ),
            (
                "destination: https://u:pw@h/x@y",
                "destination: https://***@h/x@y",
            ),
        ] {
            assert_eq!(without_secrets(url), kept);
        }
    }

    #[test]
    fn a_warning_says_what_is_done_without_the_secret() {
        for (warning, kept) in [
            (
                "reset_token=abc: d: what was there is lost",
                "reset_token=***: what was there is lost",
            ),
            (
                "force=true: it is done whatever stands in its way",
                "force=true: it is done whatever stands in its way",
            ),
            ("`jobs` in the path", "`jobs` in the path"),
            (
                "action=purge: cannot be undone",
                "action=purge: cannot be undone",
            ),
            (
                "reset=hunter2: what was there is lost",
                "reset=***: what was there is lost",
            ),
            (
                "sql=DROP TABLE users; alter role x password 'hunter2': cannot be undone",
                "sql=***: cannot be undone",
            ),
        ] {
            assert_eq!(warning_without_values(warning), kept);
        }
    }
}
