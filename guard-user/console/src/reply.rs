//! Answers to browsers, each with what keeps its page to itself.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use maud::Markup;

/// A body of either kind.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
/// An answer.
pub(crate) type Reply = Response<Body>;

/// What a page may do: show itself, run the console's own script and its worker, and talk to the console.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    worker-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
    require-trusted-types-for 'script'; trusted-types guard";

/// `Referrer-Policy` is `same-origin`: with `no-referrer` a browser says `Origin: null` of the console's own forms, and the gate
/// could not tell them from others'. Other sites learn nothing by either.
const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    (
        "permissions-policy",
        "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=()",
    ),
];

/// An answer with a body.
pub(crate) fn with(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    of(status, kind, Full::new(body.into()).boxed_unsync())
}

/// The same, of any body.
pub(crate) fn of(status: StatusCode, kind: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A page.
pub(crate) fn page(status: StatusCode, page: Markup) -> Reply {
    with(status, "text/html; charset=utf-8", page.into_string())
}

/// A word for a client that is no browser.
pub(crate) fn text(status: StatusCode, text: &str) -> Reply {
    with(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// For the script.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    with(status, "application/json", value.to_string())
}

/// To another page of the console.
pub(crate) fn to(place: &str) -> Reply {
    let mut reply = text(StatusCode::SEE_OTHER, "Go on.");
    // A path of the console's own making; what is none leads to the start.
    let place = HeaderValue::from_str(place).unwrap_or(HeaderValue::from_static("/"));
    reply.headers_mut().insert(header::LOCATION, place);
    reply
}

/// What never changes under its name, which has its hash.
pub(crate) fn asset(kind: &'static str, bytes: &'static [u8]) -> Reply {
    let mut reply = with(StatusCode::OK, kind, bytes);
    let forever = HeaderValue::from_static("private, max-age=31536000, immutable");
    reply.headers_mut().insert(header::CACHE_CONTROL, forever);
    reply
}

/// With a header more.
pub(crate) fn and(mut reply: Reply, name: header::HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}
