//! What the headers of a request say of what it does, for a person: all but those that are known to say nothing of it, and
//! the values of credentials. What is shown is what tells one request from another ([`super::identity`]).
//!
//! What a program sends is not known in advance, so nothing is left out for want of a place in a list.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::LazyLock,
};

use http::{HeaderMap, HeaderValue, header};

use super::{
    headers::{self, plain},
    identity::lasting,
    secrets,
};

/// How many are shown.
const MOST: usize = 16;
/// Bytes of a value.
const LONGEST: usize = 1024;
/// Bytes of all of them.
const ALL: usize = 4096;

/// In the place of a value that nobody is shown: one that is the same is known by its mark, by which nobody finds the value.
fn left_out(value: &[u8]) -> String {
    static MARKS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mark = MARKS.hash_one(value) >> 32;
    format!("(left out, as {mark:08x})")
}

/// What cannot change what a request does: nobody is shown it, and a yes or a no does not look at it. It is about the
/// connection, the client, the length and the sums of the body, the caches on the way, or one try of several. The `Accept`s say
/// which form of the answer the client would like (RFC 9110 12.5): a server may choose another. `Origin`, `Referer`,
/// `X-Requested-With` and `Sec-Fetch-*` say where a request comes from: a server may refuse it for that, and does not do another
/// thing. The host is in the URL.
const HARMLESS: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-digest",
    "content-length",
    "content-md5",
    "date",
    "digest",
    "dnt",
    "expect",
    "git-protocol",
    "grpc-accept-encoding",
    "grpc-timeout",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "proxy-connection",
    "referer",
    "repr-digest",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade-insecure-requests",
    "user-agent",
    "want-content-digest",
    "want-repr-digest",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amzn-query-mode",
    "x-amzn-trace-id",
    "x-client-data",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-elastic-client-meta",
    "x-goog-api-client",
    "x-ms-client-request-id",
    "x-ms-date",
    "x-opaque-id",
    "x-request-id",
    "x-requested-with",
];

/// The same, by what they begin with.
const HARMLESS_FAMILIES: &[&str] = &[
    "amz-sdk-",
    "kubectl-",
    "sec-ch-",
    "sec-fetch-",
    "x-amz-checksum-",
    "x-b3-",
    "x-datadog-",
    "x-stainless-",
];

/// What a client says in all that it sends, and may change what that does: for whom (credentials), of which form body and
/// protocol are, which version of an API is meant, whose bucket it must be. None of it names another thing than the path, so a
/// yes for a path is not for one value of it alone.
const OF_A_CLIENT: &[&str] = &[
    "authorization",
    "content-encoding",
    "content-type",
    "cookie",
    "grpc-encoding",
    SUBPROTOCOL,
    "proxy-authorization",
    "upgrade",
    "x-amz-api-version",
    "x-amz-expected-bucket-owner",
    "x-amz-security-token",
    "x-api-key",
    "x-goog-request-params",
    "x-ms-version",
];

/// Clients of Kubernetes have their token in it.
const SUBPROTOCOL: &str = "sec-websocket-protocol";

/// What names another thing than the path does, or says what is done to it, by the letters of its name. `WebDAV` (RFC 4918
/// 10, RFC 3253, RFC 3648, RFC 5842): where a copy goes, whether it replaces what is there, how deep it reaches, whose lock it
/// breaks. SOAP and AWS: the action. Stores of objects: where a copy comes from. Range of a body: which part is replaced.
const STEER: &[&str] = &[
    "Apply-To-Redirect-Ref",
    "Content-Location",
    "Content-Range",
    "Depth",
    "Destination",
    "If",
    "Label",
    "Location",
    "Lock-Token",
    "Ordering-Type",
    "Overwrite",
    "Position",
    "SOAPAction",
    "Surrogate-Key",
    "Timeout",
    "X-Cascade",
    "X-Copy-From",
    "X-Copy-From-Account",
    "X-Update-Range",
];

/// The same, by the letters that their names begin with.
const STEER_FAMILIES: &[&str] = &[
    "xamz",
    "xcopy",
    "xdestination",
    "xgoog",
    "xms",
    "xoss",
    "xcos",
    "xobs",
];

/// Words in the names of credentials.
const SECRET: &[&str] = &[
    "apikey",
    "assertion",
    "authentication",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "crumb",
    "csrf",
    "csrftoken",
    "dpop",
    "jwt",
    "otp",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "pin",
    "secret",
    "session",
    "sid",
    "sig",
    "signature",
    "token",
    "xsrf",
];

/// What stands before `key` in the name of one. Any other key may name a thing.
const KEYS: &[&str] = &[
    "access",
    "account",
    "admin",
    "api",
    "client",
    "customer",
    "encryption",
    "functions",
    "master",
    "private",
    "secret",
    "shared",
    "subscription",
];

/// What a person is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownHeaders {
    /// Headers as `destination: /dav/other.txt`; those known to steer a request come first.
    pub headers: Vec<String>,
    /// It is not all of it.
    pub is_cut: bool,
    /// One of them names another thing than the path, or what is done to it; or cannot be told from others.
    steers: bool,
}

impl ShownHeaders {
    /// Whether method and path say all that is done to what, and every header of it that may say more is shown.
    pub(super) const fn is_plain(&self) -> bool {
        !self.steers && !self.is_cut
    }

    fn add(&mut self, name: &str, value: &HeaderValue) {
        let room = ALL.saturating_sub(self.headers.iter().map(String::len).sum());
        if self.headers.len() == MOST || room <= name.len() {
            self.is_cut = true;
            return;
        }
        let is_left_out = is_secret(name) || (says_nothing_known(name) && looks_random(value));
        let (text, is_text) = match (is_left_out, std::str::from_utf8(value.as_bytes())) {
            (true, _) => (left_out(&lasting(name, value)), true),
            (false, Ok(text)) => (text.to_owned(), true),
            (false, Err(_)) => (
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
                false,
            ),
        };
        let end = text.floor_char_boundary(LONGEST.min(room - name.len()));
        let more = if end < text.len() { "…" } else { "" };
        self.is_cut |= end < text.len();
        self.steers |= steers(name) || !is_text;
        self.headers.push(format!("{name}: {}{more}", &text[..end]));
    }
}

/// What the headers say, and the trailers, which a server may take for some.
pub(super) fn of(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> ShownHeaders {
    let both = headers.iter().chain(trailers.into_iter().flatten());
    let mut told: Vec<_> = both
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, value)| !is_harmless(name, value))
        .collect();
    told.sort_by_key(|(name, _)| (!steers(name), is_of_a_client(name), *name));
    let mut said = ShownHeaders::default();
    for (name, value) in told {
        said.add(name, value);
    }
    said
}

/// Whether a header is harmless, by its exact name: a server may take another spelling for something else. The proxy strips
/// an offer of HTTP/2.
pub(super) fn is_harmless(name: &str, value: &HeaderValue) -> bool {
    let begins = |family: &&str| name.starts_with(*family);
    let is_stripped = name == header::UPGRADE && value.as_bytes().eq_ignore_ascii_case(b"h2c");
    HARMLESS.contains(&name) || HARMLESS_FAMILIES.iter().any(begins) || is_stripped
}

/// Whether a client says it in all that it sends: a yes for a path is not for one value of it alone.
#[must_use]
pub fn is_of_a_client(name: &str) -> bool {
    OF_A_CLIENT.contains(&name)
}

/// Whether a header of that name is known to say what is done, or to what, beside method and path.
#[must_use]
pub fn steers(name: &str) -> bool {
    let letters = plain(name);
    let is_named = STEER.iter().any(|one| plain(one) == letters);
    let is_kin = STEER_FAMILIES.iter().any(|one| letters.starts_with(one));
    let is_usual = is_of_a_client(name) || is_harmless(name, &HeaderValue::from_static(""));
    (is_named || is_kin) && !is_usual && !is_secret(name)
}

/// Returns true for a name that is on no list.
fn says_nothing_known(name: &str) -> bool {
    !steers(name) && !is_of_a_client(name) && !headers::is_elsewhere(name)
}

fn looks_random(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(secrets::looks_random)
}

/// Whether its value may let somebody in.
fn is_secret(name: &str) -> bool {
    // It is no secret, and breaks a lock (RFC 4918 10.5).
    if plain(name) == "locktoken" {
        return false;
    }
    let words: Vec<_> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let is_key = |pair: &[&str]| pair[1] == "key" && KEYS.contains(&pair[0]);
    // `x-auth`, and not `x-auth-project-id`, which names a thing.
    words.last() == Some(&"auth")
        || name == SUBPROTOCOL
        || words.iter().any(|word| SECRET.contains(word))
        || words.windows(2).any(is_key)
        || secrets::has_part(&plain(name))
}
