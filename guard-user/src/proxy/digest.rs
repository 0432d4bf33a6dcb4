//! What a request is known by again: a person's yes is for that one.

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use sha2::{Digest as _, Sha256};

use super::body::Begun;

/// What differs from one try of the same request to the next, and says nothing about what it does. Length and coding are
/// those of the body, which counts itself.
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

/// Schemes whose credentials have a time, a counter or a signature in them.
const SIGNED: [&str; 6] = ["aws4-", "digest ", "dpop ", "hawk ", "oauth ", "signature "];

/// Where a request goes.
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    /// Whom TLS was begun with; empty without it. What answers there may go by that name, or by the host's.
    pub(super) server: &'a str,
    pub(super) host: &'a str,
    /// With the query.
    pub(super) path: &'a str,
}

/// SHA-256 of what a request asks for, in hex: method, URL, headers and the body, which has been read whole.
pub(super) fn of(parts: &Parts, url: &Url<'_>, body: &Begun) -> String {
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
            sum.add(credentials(&name, value).unwrap_or(value.as_bytes()));
        }
        sum.add(b"");
    }
    sum.add(body);
    let sum = sum.0.finalize();
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each part with its length before it, so that no two requests look the same.
struct Sum(Sha256);

impl Sum {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }
}

/// The headers that count, by their names; those of one name in their order.
fn sorted(headers: &HeaderMap) -> Vec<(HeaderName, &HeaderValue)> {
    let counts = |(name, _): &(&HeaderName, &HeaderValue)| !OF_A_TRY.contains(&name.as_str());
    let counting = headers.iter().filter(counts);
    let mut counting: Vec<_> = counting
        .map(|(name, value)| (name.clone(), value))
        .collect();
    counting.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    counting
}

/// Of credentials that are signed anew each time, the scheme.
fn credentials<'v>(name: &HeaderName, value: &'v HeaderValue) -> Option<&'v [u8]> {
    let bytes = value.as_bytes();
    let scheme = SIGNED.iter().find(|scheme| {
        let begins = bytes.get(..scheme.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    (*name == header::AUTHORIZATION).then(|| &bytes[..scheme.len()])
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
            ("authorization", "AWS4-HMAC-SHA256 a"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let second = [
            ("authorization", "AWS4-HMAC-SHA256 b"),
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
}
