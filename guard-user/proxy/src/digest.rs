//! The digest of a request, by which a person's yes is for exactly that request.

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use sha2::{Digest as _, Sha256};

use super::body::BegunBody;

/// Headers that differ from one try of the same request to the next, and do not change what it does. Length and coding are the
/// body's, which counts itself.
const OF_A_TRY: [&str; 17] = [
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "connection",
    "content-length",
    "date",
    "expect",
    "idempotency-key",
    "sec-websocket-key",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
    "x-amz-date",
    "x-b3-spanid",
    "x-correlation-id",
    "x-request-id",
];

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

/// A request's URL.
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    /// The name in the TLS handshake; empty without TLS. The server may go by that name, or by the host's.
    pub(super) server: &'a str,
    pub(super) host: &'a str,
    /// With the query.
    pub(super) path: &'a str,
}

/// SHA-256 of a request, in hex: of method, URL, headers and the body, which was read whole.
pub(super) fn of(parts: &Parts, url: &Url<'_>, body: &BegunBody) -> String {
    let none = HeaderMap::new();
    let trailers = body.trailers().unwrap_or(&none);
    sum(parts, url, body.so_far(), trailers)
}

fn sum(parts: &Parts, url: &Url<'_>, body: &[u8], trailers: &HeaderMap) -> String {
    let mut sum = Sum(Sha256::new());
    let method = parts.method.as_str();
    for part in [method, url.scheme, url.server, url.host, url.path] {
        sum.add(part.as_bytes());
    }
    for headers in [&parts.headers, trailers] {
        for (name, value) in sorted(headers) {
            sum.add(name.as_str().as_bytes());
            match credentials(&name, value) {
                Some(lasting) => sum.add(lasting.as_bytes()),
                None => sum.add(value.as_bytes()),
            }
        }
        sum.add(b"");
    }
    sum.add(body);
    let sum = sum.0.finalize();
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash of parts, each with its length before it, so that no two requests have the same bytes.
struct Sum(Sha256);

impl Sum {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }
}

/// The headers that count, sorted by name; those of one name in their order.
fn sorted(headers: &HeaderMap) -> Vec<(HeaderName, &HeaderValue)> {
    let counts = |(name, _): &(&HeaderName, &HeaderValue)| !OF_A_TRY.contains(&name.as_str());
    let counting = headers.iter().filter(counts);
    let mut counting: Vec<_> = counting
        .map(|(name, value)| (name.clone(), value))
        .collect();
    counting.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    counting
}

/// The identity in credentials that are signed for each try. None for a form that signers do not use: then all of the value
/// counts.
fn credentials(name: &HeaderName, value: &HeaderValue) -> Option<String> {
    let text = (*name == header::AUTHORIZATION).then(|| value.to_str().ok())??;
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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const URL: Url<'_> = Url {
        scheme: "http",
        server: "",
        host: "photos",
        path: "/x",
    };

    fn digest(headers: &[(&str, &str)], body: &str) -> String {
        let mut request = Request::builder().method("POST").uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        sum(&parts, &URL, body.as_bytes(), &HeaderMap::new())
    }

    #[test]
    fn another_try_is_the_same_request() {
        let first = [
            ("date", "now"),
            ("x", "1"),
            ("authorization", "AWS4-HMAC-SHA256 Signature=a"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let second = [
            ("authorization", "AWS4-HMAC-SHA256 Signature=b"),
            ("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw=="),
            ("x", "1"),
            ("date", "then"),
        ];
        assert_eq!(digest(&first, "a"), digest(&second, "a"));
    }

    #[test]
    fn whatever_may_make_another_of_it_counts() {
        let plain = digest(&[("x", "1")], "a");
        for (headers, body) in [
            (&[("x", "1")][..], "b"),
            (&[("x", "2")], "a"),
            (&[("x", "1"), ("x-http-method-override", "DELETE")], "a"),
            (&[("x", "1"), ("content-encoding", "gzip")], "a"),
            (&[("x", "1"), ("authorization", "Bearer admin")], "a"),
            (&[("x", "1"), ("x", "1")], "a"),
            (&[("x", "1a")], ""),
        ] {
            assert_ne!(digest(headers, body), plain, "{headers:?} {body}");
        }
    }

    /// Credentials as signers write them: those of one line are of one identity, those of two never.
    const IDENTITIES: [&[&str]; 12] = [
        &[
            "AWS4-HMAC-SHA256 Credential=AKIADEV/20261120/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab",
            "AWS4-HMAC-SHA256 Credential=AKIADEV/20261121/us-east-1/dynamodb/aws4_request,SignedHeaders=host;x-amz-date,Signature=cd",
        ],
        &[
            "AWS4-HMAC-SHA256 Credential=AKIAPROD/20261120/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab",
        ],
        &[
            "AWS4-HMAC-SHA256 Credential=AKIADEV/20261120/eu-west-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab",
        ],
        &[
            "AWS4-HMAC-SHA256 Credential=AKIADEV/20261120/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=\"ab, Credential=AKIAPROD/20261120/us-east-1/dynamodb/aws4_request\"",
        ],
        &[
            r#"Digest username="dev", realm="r", nonce="n1", uri="/x", nc=00000001, cnonce="c1", qop=auth, response="ab""#,
            r#"Digest username="dev", realm="r", nonce="n2", uri="/x", nc=00000002, cnonce="c2", qop=auth, response="cd""#,
        ],
        &[
            r#"Digest username="admin", realm="r", nonce="n1", uri="/x", nc=00000001, cnonce="c1", qop=auth, response="ab""#,
        ],
        &[r#"Digest username="dev, nonce=n1, x", realm="r", nonce="n1", uri="/x", response="ab""#],
        &[r#"Digest username="dev, nonce=n2, x", realm="r", nonce="n1", uri="/x", response="ab""#],
        &[
            r#"Hawk id="dev", ts="1353832234", nonce="j4h3g2", ext="x", mac="6R4r=""#,
            r#"Hawk id="dev", ts="1353832235", nonce="k4h3g2", ext="x", mac="7R4r=""#,
        ],
        &[r#"Hawk id="admin", ts="1353832234", nonce="j4h3g2", ext="x", mac="6R4r=""#],
        &[
            r#"OAuth oauth_consumer_key="k", oauth_token="t", oauth_nonce="1", oauth_timestamp="1", oauth_signature="a%3D""#,
            r#"OAuth oauth_consumer_key="k", oauth_token="t", oauth_nonce="2", oauth_timestamp="2", oauth_signature="b%3D""#,
        ],
        &[
            r#"OAuth oauth_consumer_key="k", oauth_token="u", oauth_nonce="1", oauth_timestamp="1", oauth_signature="a%3D""#,
        ],
    ];

    #[test]
    fn a_yes_is_for_whoever_signs() {
        let of = |value: &str| digest(&[("authorization", value)], "a");
        for (at, own) in IDENTITIES.iter().enumerate() {
            for again in &own[1..] {
                assert_eq!(of(own[0]), of(again), "{again}");
            }
            for other in IDENTITIES.iter().skip(at + 1).flat_map(|all| all.iter()) {
                assert_ne!(of(own[0]), of(other), "{other}");
            }
        }
        for (one, other) in [
            (
                "Signature keyId=\"a\",signature=\"x\"",
                "Signature keyId=\"b\",signature=\"x\"",
            ),
            ("DPoP a", "DPoP b"),
            ("AWS4-HMAC-SHA256 a", "AWS4-HMAC-SHA256 b"),
        ] {
            assert_ne!(of(one), of(other));
        }
    }
}
