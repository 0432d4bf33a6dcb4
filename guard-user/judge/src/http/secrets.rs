//! What is shown and kept of a request: without what lets somebody in.

use std::ops::Range;

use super::{headers::plain, query::folded};

/// In the place of a value. No rule has it in a pattern by mistake: it says nothing that one star does not.
pub const LEFT_OUT: &str = "***";

/// Parameters and fields, by the letters of their names.
const NAMES: &[&str] = &["auth", "pass", "sid", "sig", "ticket"];

/// Ends of the names of such.
const ENDS: &[&str] = &[
    "connectionstring",
    "jwt",
    "otp",
    "otpcode",
    "passcode",
    "passphrase",
    "pwd",
    "session",
    "sessionid",
    "userpin",
];

/// The same, where the value does not look like the name of a thing: `?key=photos/1.jpg` says what is deleted.
const SOMETIMES: &[&str] = &["code", "key", "pin"];

/// Ends of names that say something about a secret, and not what it is: `secretId`, `token_type`, `max_tokens`.
const ABOUT: &[&str] = &[
    "arn", "count", "expires", "id", "ids", "kind", "length", "name", "names", "path", "policy",
    "ref", "tokens", "ttl", "type", "version",
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
            Some((name, value)) if is_secret(name, value) || (has_user && name == "p") => {
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
            if super::warnings::is_said_by_many(value) && !is_secret(name, value) {
                warning.to_owned()
            } else {
                format!("{name}={LEFT_OUT}: {means}")
            }
        }
        _ => without_secrets(warning),
    }
}

/// Returns true if a value lets somebody in, by its name.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let letters = plain(&folded(&decoded));
    let is_about = ABOUT.iter().any(|end| letters.ends_with(end));
    NAMES.contains(&letters.as_str())
        || ENDS.iter().any(|end| letters.ends_with(end))
        || (has_part(&letters) && !is_about)
        || (SOMETIMES.contains(&letters.as_str()) && looks_secret(value))
}

/// Returns true for a number that a person types to get in, and for what looks random.
fn looks_secret(value: &str) -> bool {
    const PIN: std::ops::RangeInclusive<usize> = 4..=8;
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && PIN.contains(&value.len())) || looks_random(value)
}

/// Returns true for a long word of letters and digits.
pub(super) fn looks_random(value: &str) -> bool {
    const LONG: usize = 12;
    let has = |is: fn(&u8) -> bool| value.bytes().any(|byte| is(&byte));
    let (digit, letter) = (has(u8::is_ascii_digit), has(u8::is_ascii_alphabetic));
    let is_one_word = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-+=%".contains(&byte));
    is_one_word && digit && letter && value.len() >= LONG
}

/// Returns a text that may be JSON, a form, YAML, XML or a statement, cut off anywhere, with [`LEFT_OUT`] for values of fields with a
/// secret's name, and for a user and password in a URL.
///
/// Nothing else may be left out, whichever of these the server takes the text for: what is left out ends where a value does.
#[must_use]
pub fn text_without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_of_a_name) {
        let (before, named) = rest.split_at(at);
        shown.push_str(before);
        let end = named.find(|c| !is_of_a_name(c)).unwrap_or(named.len());
        let (name, behind) = named.split_at(end);
        let line = shown
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let begins = line.starts_with("content-disposition:") || line == "name=\"";
        let is_part = begins && line.ends_with("name=\"");
        shown.push_str(name);
        rest = behind;
        let value = match behind.strip_prefix("://") {
            Some(_) => userinfo(behind),
            None if is_part => part(behind),
            None => field(behind),
        };
        let Some(value) = value else { continue };
        let is_left_out = behind.starts_with("://") || is_secret(name, &behind[value.clone()]);
        if is_left_out {
            shown.push_str(&behind[..value.start]);
            shown.push_str(LEFT_OUT);
            rest = &behind[value.end..];
        }
    }
    shown + rest
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || "_-.$%".contains(c)
}

/// Returns where user and password stand behind a scheme.
fn userinfo(behind: &str) -> Option<Range<usize>> {
    const BEGIN: usize = "://".len();
    let authority = &behind[BEGIN..];
    let end = authority.find(|c: char| c.is_whitespace() || "/?#\"'<>\\&;,".contains(c));
    let user = authority[..end.unwrap_or(authority.len())].rfind('@')?;
    authority[..user]
        .contains(':')
        .then_some(BEGIN..BEGIN + user)
}

/// Returns where the value stands of a part of a form (RFC 7578), or of how its preview says it: behind the part's head, or on its line.
fn part(behind: &str) -> Option<Range<usize>> {
    let head = ["\r\n\r\n", "\n\n"]
        .iter()
        .filter_map(|end| Some(behind.find(end)? + end.len()));
    let begin = match behind.strip_prefix("\": ") {
        Some(value) => behind.len() - value.len(),
        None => head.min()?,
    };
    let length = behind[begin..].find(['\r', '\n']);
    let end = length.map_or(behind.len(), |length| begin + length);
    (end > begin).then_some(begin..end)
}

/// Returns where the value stands of a field behind whose name this is.
fn field(behind: &str) -> Option<Range<usize>> {
    // The end of a name in quotes, or of `user[password]`.
    let text = behind
        .trim_start_matches(['"', '\'', '\\', ']'])
        .trim_start();
    let by = text.chars().next().filter(|c| ":=>".contains(*c))?;
    let text = text[1..].trim_start_matches([' ', '\t']);
    let text = match text.trim_start() {
        quoted if quoted.starts_with('"') => quoted,
        _ => text,
    };
    let begin = behind.len() - text.len();
    let quote = ["\\\"", "\"", "'"]
        .into_iter()
        .find(|quote| text.starts_with(quote));
    let (skipped, length) = match quote {
        Some(quote) => (quote.len(), quoted(&text[quote.len()..], quote)),
        None => (0, bare(text, by)),
    };
    (length > 0).then_some(begin + skipped..begin + skipped + length)
}

/// Returns the length of a text up to its quote. A form may say more behind a `&` in it: then no further than that.
fn quoted(text: &str, quote: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().find(|(at, c)| {
        let is_end = !escaped && text[*at..].starts_with(quote);
        escaped = !escaped && *c == '\\';
        is_end
    });
    let value = &text[..end.map_or(text.len(), |(at, _)| at)];
    let parted = value.find(['&', ';', '\n']);
    parted
        .filter(|at| value[*at..].contains('='))
        .unwrap_or(value.len())
}

/// Returns the length of a value without quotes.
fn bare(text: &str, by: char) -> usize {
    let ends = match by {
        '>' => "<&;",
        ':' => ",}]&;\"'\\",
        _ => "&;\"'\\<",
    };
    let end = text.find(|c: char| c.is_whitespace() || ends.contains(c));
    let value = &text[..end.unwrap_or(text.len())];
    let value = value.trim_end_matches(':');
    match value {
        "true" | "false" | "null" | LEFT_OUT => 0,
        _ if value.starts_with(['{', '[']) => 0,
        value => value.len(),
    }
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
                "/x?token[]=abc&key=AIzaSyA1234567890&sig=s&code=123456",
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
            (
                "/x?totp=123456&otp_code=a&login_session=b&connection_string=c&desktop=d",
                "/x?totp=***&otp_code=***&login_session=***&connection_string=***&desktop=d",
            ),
            ("/x?token", "/x?token"),
            (
                "/x?key=photos/1.jpg&code=c&secretId=db&token_type=t",
                "/x?key=photos/1.jpg&code=c&secretId=db&token_type=t",
            ),
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
    fn passwords_in_a_text_are_left_out_and_nothing_else() {
        for (text, shown) in [
            (
                r#"{"username":"admin","password":"Zq-body"}"#,
                r#"{"username":"admin","password":"***"}"#,
            ),
            (
                r#"{"newPassword" : "a\"b", "x":1}"#,
                r#"{"newPassword" : "***", "x":1}"#,
            ),
            (r#"{"password":"cut o"#, r#"{"password":"***"#),
            (
                r#"{"otp":123456,"secretId":"db"}"#,
                r#"{"otp":***,"secretId":"db"}"#,
            ),
            (
                r#"{"max_tokens":100,"token":null,"key":"a/b.jpg"}"#,
                r#"{"max_tokens":100,"token":null,"key":"a/b.jpg"}"#,
            ),
            (
                r#"{"query":"mutation{login(password:\"a b\",x:1)}"}"#,
                r#"{"query":"mutation{login(password:\"***\",x:1)}"}"#,
            ),
            (
                r#"{"secret":{"token":"a"}}"#,
                r#"{"secret":{"token":"***"}}"#,
            ),
            ("user=a&passwd=b&force=1", "user=a&passwd=***&force=1"),
            ("u%5Bpassword%5D=b", "u%5Bpassword%5D=***"),
            ("user[password]=b&x", "user[password]=***&x"),
            ("a: 1\npassword: b\nc: 2", "a: 1\npassword: ***\nc: 2"),
            ("<password>b</password><x>", "<password>***</password><x>"),
            ("db=postgres://u:b@h/x", "db=postgres://***@h/x"),
            ("git=ssh://git@h/x", "git=ssh://git@h/x"),
            (
                "name=\"password\": b c\nname=\"x\": y",
                "name=\"password\": ***\nname=\"x\": y",
            ),
            (
                "Content-Disposition: form-data; name=\"password\"\r\n\r\nb c\r\n--X",
                "Content-Disposition: form-data; name=\"password\"\r\n\r\n***\r\n--X",
            ),
            // To a form's server more is said.
            (
                r#"{"password":"&action=delete-all"}"#,
                r#"{"password":"&action=delete-all"}"#,
            ),
            (
                r#"{"password":"x&action=wipe"#,
                r#"{"password":"***&action=wipe"#,
            ),
            ("the password of all users", "the password of all users"),
        ] {
            assert_eq!(text_without_secrets(text), shown);
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
