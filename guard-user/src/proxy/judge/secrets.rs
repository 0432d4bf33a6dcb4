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
    "assertion",
    "authorization",
    "credential",
    "passwd",
    "password",
    "secret",
    "signature",
    "token",
];

/// A text in which a URL may be, with [`LEFT_OUT`] for the values of such parameters behind its `?`.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let Some((path, query)) = text.split_once('?') else {
        return text.to_owned();
    };
    let pairs = query.split_inclusive(['&', ';']).map(|pair| {
        let (pair, end) = match pair.char_indices().next_back() {
            Some((at, '&' | ';')) => pair.split_at(at),
            _ => (pair, ""),
        };
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={LEFT_OUT}{end}"),
            _ => format!("{pair}{end}"),
        }
    });
    format!("{path}?{}", pairs.collect::<String>())
}

fn is_secret(name: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let letters = plain(&folded(&decoded));
    NAMES.contains(&letters.as_str()) || PARTS.iter().any(|part| letters.contains(part))
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
        ] {
            assert_eq!(without_secrets(url), kept);
        }
    }
}
