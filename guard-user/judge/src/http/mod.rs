//! The judge: whether an HTTP request is a read. Pure, without I/O.
//!
//! Doubt makes a write: what cannot be parsed, or is ambiguous, a person is asked about. A
//! server may read a path, a query or a method in another way than this code does. So each has several
//! readings: whatever lets a request through must hold for all of them, and whatever stops it for any.

mod body;
mod decide;
mod facts;
mod form;
mod glob;
mod headers;
mod hosts;
mod http_rule;
mod identity;
mod json;
mod method;
mod obstacle;
mod path;
mod profiles;
mod query;
mod rules;
mod said;
mod secrets;
mod spelling;
#[cfg(test)]
mod tests;
mod warnings;

use facts::Facts;
pub use identity::{counting, is_matter};
pub use rules::Rules;
pub use said::{ShownHeaders, is_of_a_client, steers};
pub use secrets::{LEFT_OUT, text_without_secrets, warning_without_values, without_secrets};
pub(crate) use secrets::{is_secret, says_secret};
pub use warnings::HEAD;

/// A longer body is not judged, in bytes: whoever sends one is asked about.
pub const BODY_LIMIT: usize = 1 << 20;
/// Limit of the headers naming another method or path that a person is shown.
const MAX_SHOWN: usize = 4;

/// What is judged: the head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The target. Of an absolute one only path and query count.
    pub uri: &'a http::Uri,
    /// The headers, as the server will get them.
    pub headers: &'a http::HeaderMap,
    /// Whether a body follows, whatever its length: in HTTP/1.1 `Transfer-Encoding`, or a
    /// `Content-Length` that is not 0; in HTTP/2 a stream that is not ended by its headers.
    pub has_body: bool,
    /// Whether it came by TLS, whose certificate is for its host, or goes to this machine itself.
    pub is_secure: bool,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// It only reads, or an HTTP rule allows it.
    Read {
        /// Why, in one sentence.
        because: String,
    },
    /// A person must be asked.
    Write(HttpWrite),
    /// Refused, and no approver can allow it.
    Denied {
        /// Why, in one sentence.
        because: String,
    },
    /// Only its body tells. Judge again with the whole of it; where it is longer, [`judge_too_long`].
    NeedsBody {
        /// The most that is to be read, in bytes.
        limit: usize,
    },
}

/// A request that changes something, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpWrite {
    /// What it does, for a person: `deletes something (DELETE)`.
    pub kind: String,
    /// What about it looks like a change of many things or one that cannot be undone.
    pub warnings: Vec<String>,
    /// Why it counts as a write, in one sentence.
    pub because: String,
}

/// What several policies' rules together make of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RuledJudgement<'r> {
    /// What happens to it.
    pub judgement: Judgement,
    /// The rules that say so; none where nothing is in force.
    pub by: Option<&'r Rules>,
}

impl Judgement {
    /// Why, in one sentence.
    #[must_use]
    pub fn because(&self) -> &str {
        match self {
            Self::Read { because } | Self::Denied { because } => because,
            Self::Write(write) => &write.because,
            Self::NeedsBody { .. } => "only the body tells whether it reads",
        }
    }

    const fn strictness(&self) -> u8 {
        match self {
            Self::Read { .. } => 0,
            Self::NeedsBody { .. } => 1,
            Self::Write(_) => 2,
            Self::Denied { .. } => 3,
        }
    }
}

/// Judges a request. `body` is the whole body where it has been read, never a part of it.
pub fn judge(rules: &Rules, request: &RequestHead<'_>, body: Option<&[u8]>) -> Judgement {
    judge_all(std::slice::from_ref(rules), request, body).judgement
}

/// Judges a request by the rules of several policies, the outermost first. The strictest judgement
/// counts, and of equally strict ones the outermost. No rules at all stop everything.
pub fn judge_all<'r>(
    rules: &'r [Rules],
    request: &RequestHead<'_>,
    body: Option<&[u8]>,
) -> RuledJudgement<'r> {
    strictest(rules, &Facts::of(request, body::Body::of(request, body)))
}

/// [`judge_all`] for a request with a body that is longer than [`BODY_LIMIT`]. Never `NeedsBody`.
pub fn judge_too_long<'r>(rules: &'r [Rules], request: &RequestHead<'_>) -> RuledJudgement<'r> {
    strictest(rules, &Facts::of(request, body::Body::TooLong))
}

/// The warnings about a request whose body has not been read whole. `head` is where the body begins;
/// [`HEAD`] bytes of it are looked at.
#[must_use]
pub fn warnings(request: &RequestHead<'_>, head: &[u8]) -> Vec<String> {
    warnings::of(&Facts::of(request, body::Body::Whole(head)))
}

/// What headers and trailers say of what a request does, for a person.
#[must_use]
pub fn said(request: &RequestHead<'_>, trailers: Option<&http::HeaderMap>) -> ShownHeaders {
    said::of(request.headers, trailers)
}

/// Returns true if method, path and host are those of the request line, and say what is done to what: no header, nothing in the
/// query and no form names others, or more; no server reads the path in another way; and the connection stays what it is.
/// `body`: the whole of it; none where it is longer than what was read.
#[must_use]
pub fn is_plain(request: &RequestHead<'_>, body: Option<&[u8]>, said: &ShownHeaders) -> bool {
    let body = body.map_or(body::Body::TooLong, body::Body::Whole);
    let facts = Facts::of(request, body);
    let as_sent = |method: &method::Effective| method.by.is_none();
    facts.paths.ambiguous().is_none()
        && said.is_plain()
        && facts.methods.iter().all(as_sent)
        && facts.form.is_read()
        && obstacle::elsewhere(&facts).is_none()
        && headers::upgrade(request.headers).is_none()
        && hosts::others(request).next().is_none()
}

/// The headers that name another method, path or host than the request does, for a person: `x-original-url: /admin`.
#[must_use]
pub fn elsewhere(request: &RequestHead<'_>) -> Vec<String> {
    let named = request.headers.iter();
    let named = named.filter(|(name, _)| headers::is_elsewhere(name.as_str()));
    let named = named.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let shown = named.chain(hosts::others(request)).map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        format!("the header {name} says {}", headers::shown(&value))
    });
    let mut shown: Vec<_> = shown.collect();
    let more = shown.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        shown.truncate(MAX_SHOWN - 1);
        shown.push(format!(
            "{} headers more name another method, path or host",
            more + 1
        ));
    }
    shown
}

/// Whether one of these headers, as a person is shown them, names another host than that.
#[must_use]
pub fn names_another_host(said: &[String], host: &str) -> bool {
    hosts::are_for_another(said, host)
}

fn strictest<'r>(rules: &'r [Rules], facts: &Facts<'_>) -> RuledJudgement<'r> {
    let mut strictest: Option<RuledJudgement<'r>> = None;
    for rules in rules {
        let judgement = decide::decide(rules, facts);
        match &strictest {
            Some(so_far) if so_far.judgement.strictness() >= judgement.strictness() => {}
            _ => {
                strictest = Some(RuledJudgement {
                    judgement,
                    by: Some(rules),
                });
            }
        }
    }
    strictest.unwrap_or_else(|| RuledJudgement {
        judgement: Judgement::Denied {
            because: "no read-only rule is in force".to_owned(),
        },
        by: None,
    })
}
