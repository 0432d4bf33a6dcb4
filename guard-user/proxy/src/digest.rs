//! The digest of a request, by which a person's answer is for exactly that request.

use http::{HeaderMap, request::Parts};
use sha2::{Digest as _, Sha256};

use super::{body::BegunBody, judge};

/// A request's URL.
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    /// The name in the TLS handshake; empty without TLS. The server may go by that name, or by the host's.
    pub(super) server: &'a str,
    pub(super) host: &'a str,
    /// With the query.
    pub(super) path: &'a str,
}

/// What identifies a request whose body was read whole: two hashes, in hex.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of method, URL, the headers that count and the body.
    pub(super) digest: String,
    /// The same without the headers that say nothing of what is done to what.
    pub(super) matter: String,
}

/// The identity of a request.
pub(super) fn of(parts: &Parts, url: &Url<'_>, body: &BegunBody) -> Identity {
    let none = HeaderMap::new();
    let trailers = body.trailers().unwrap_or(&none);
    identity(parts, url, &body.sum(), trailers)
}

/// `sum`: the body's.
fn identity(parts: &Parts, url: &Url<'_>, sum: &[u8], trailers: &HeaderMap) -> Identity {
    let (mut digest, mut matter) = (Sum(Sha256::new()), Sum(Sha256::new()));
    let mut both = |part: &[u8]| {
        digest.add(part);
        matter.add(part);
    };
    let method = parts.method.as_str();
    for part in [method, url.scheme, url.server, url.host, url.path] {
        both(part.as_bytes());
    }
    both(sum);
    for headers in [&parts.headers, trailers] {
        for (name, value) in judge::counting(headers) {
            digest.add(name.as_bytes());
            digest.add(&value);
            if judge::is_matter(name) {
                matter.add(name.as_bytes());
                matter.add(&value);
            }
        }
        digest.add(b"");
        matter.add(b"");
    }
    Identity {
        digest: digest.hex(),
        matter: matter.hex(),
    }
}

/// A hash of parts, each with its length before it, so that no two requests have the same bytes.
struct Sum(Sha256);

impl Sum {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn hex(self) -> String {
        let sum = self.0.finalize();
        sum.iter().map(|byte| format!("{byte:02x}")).collect()
    }
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

    fn of(headers: &[(&str, &str)], body: &str) -> Identity {
        let mut request = Request::builder().method("POST").uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        identity(&parts, &URL, &Sha256::digest(body), &HeaderMap::new())
    }

    fn digest(headers: &[(&str, &str)], body: &str) -> String {
        of(headers, body).digest
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
        assert_eq!(of(&first, "a"), of(&second, "a"));
    }

    #[test]
    fn what_no_person_is_shown_makes_no_other_request() {
        let plain = of(&[], "a");
        for header in [
            ("accept", "a/b"),
            ("accept-encoding", "gzip"),
            ("accept-language", "de"),
            ("origin", "http://photos"),
            ("referer", "http://photos/"),
            ("sec-fetch-mode", "cors"),
            ("upgrade", "h2c"),
            ("x-requested-with", "XMLHttpRequest"),
        ] {
            assert_eq!(of(&[header], "a"), plain, "{header:?}");
        }
    }

    #[test]
    fn whatever_may_make_another_of_it_counts() {
        let plain = of(&[("x", "1")], "a");
        for (headers, body, is_matter) in [
            (&[("x", "1")][..], "b", true),
            (&[("x", "1a")], "", true),
            (
                &[("x", "1"), ("x-http-method-override", "DELETE")],
                "a",
                true,
            ),
            (&[("x", "1"), ("destination", "/y")], "a", true),
            (&[("x", "1"), ("x-forwarded-host", "other")], "a", true),
            (&[("x", "1"), ("content-encoding", "gzip")], "a", false),
            (&[("x", "1"), ("content-type", "text/plain")], "a", false),
            (&[("x", "1"), ("upgrade", "websocket")], "a", true),
            (&[("x", "2")], "a", false),
            (&[("x", "1"), ("x", "1")], "a", false),
            (&[("x", "1"), ("accept_language", "de")], "a", false),
            (&[("x", "1"), ("authorization", "Bearer admin")], "a", false),
            (&[("x", "1"), ("cookie", "a=1")], "a", false),
            (&[("x", "1"), ("if-match", "1")], "a", false),
            (&[("x", "1"), ("x-ms-version", "2")], "a", false),
        ] {
            let other = of(headers, body);
            assert_ne!(other.digest, plain.digest, "{headers:?} {body}");
            assert_eq!(
                other.matter != plain.matter,
                is_matter,
                "{headers:?} {body}"
            );
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
