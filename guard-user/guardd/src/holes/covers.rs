//! Which HTTP requests and SQL statements a yes covers.

use guard_judge::http as judge;
use guard_proto::{HttpHole, HttpRequest};

use crate::{config::stands_for, requests::HttpRequestKey};

/// The requests that a hole is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Exactly this one, by its digest.
    Digest(HttpRequest),
    /// This one, whose client is held, and which nothing else tells from others.
    Waiting(HttpRequest, u64),
    /// All with this method and a path like this, if nothing else in them names another method or path: many servers obey
    /// `X-HTTP-Method-Override: DELETE`.
    Path {
        /// `http` or `https`.
        scheme: String,
        /// The host: behind one address there may be several.
        host: Option<String>,
        /// The method.
        method: String,
        /// A `*` stands for any text, `\*` for itself. A pattern without a `?` is about the path alone.
        pattern: String,
        /// The headers of the request that a person saw, as by [`said`].
        headers: Vec<String>,
    },
    /// All writes.
    Writes {
        /// To this host, where no header names another: behind one address there may be several. None for requests that name none, and for statements, wherever they go.
        host: Option<String>,
        /// Statements, but none that [is grave](HttpRequest::is_grave).
        sql: bool,
    },
}

impl Covers {
    /// All that change something at the host of a request.
    #[must_use]
    pub(crate) fn writes_to_host_of(request: &HttpRequest) -> Self {
        Self::Writes {
            host: host_of(request).map(str::to_owned),
            sql: request.is_statement(),
        }
    }

    /// Whether that request is covered.
    #[must_use]
    pub(crate) fn covers(&self, http: &HttpRequestKey) -> bool {
        let request = &http.request;
        match self {
            Self::Digest(one) => one.digest.is_some() && one.digest == request.digest,
            Self::Waiting(_, number) => http.alone == Some(*number),
            Self::Path {
                scheme,
                host,
                method,
                pattern,
                headers,
            } => {
                let is_there = *scheme == request.scheme && *host == request.host;
                let says_so = says(request, headers);
                let is_method = *method == request.method;
                let is_like = if request.is_statement() {
                    is_like_statement
                } else {
                    is_like
                };
                let is_one = is_there && is_method && says_so;
                http.plain && is_one && is_like(pattern, &request.path)
            }
            Self::Writes { host, sql } => {
                let is_there = host.as_deref() == host_of(request);
                let is_one = *sql == request.is_statement() && !request.is_grave();
                is_there && is_one && !may_be_for_another_host(request)
            }
        }
    }

    /// Whether it can cover one request only.
    pub(super) fn is_one(&self) -> bool {
        matches!(self, Self::Digest(_) | Self::Waiting(..))
    }

    /// Returns true if it is for statements.
    fn is_sql(&self) -> bool {
        match self {
            Self::Digest(one) | Self::Waiting(one, _) => one.is_statement(),
            Self::Path { scheme, .. } => scheme == HttpRequest::POSTGRES,
            Self::Writes { sql, .. } => *sql,
        }
    }

    /// Returns true if a transaction that begins now may write: its statements are covered, whatever they are, or one of them.
    pub(super) fn begins(&self) -> bool {
        !matches!(self, Self::Path { .. } | Self::Waiting(..)) && self.is_sql()
    }

    pub(super) fn shown(&self, requests_left: Option<u64>) -> HttpHole {
        let none = HttpHole {
            host: None,
            method: None,
            path: None,
            requests_left,
            digest: None,
            sql: self.is_sql(),
        };
        match self {
            Self::Digest(one) | Self::Waiting(one, _) => HttpHole {
                host: one.host.clone(),
                method: Some(one.method.clone()),
                path: Some(one.path.clone()),
                digest: one.digest.clone(),
                ..none
            },
            Self::Path {
                host,
                method,
                pattern,
                ..
            } => HttpHole {
                host: host.clone(),
                method: Some(method.clone()),
                path: Some(pattern.clone()),
                ..none
            },
            Self::Writes { host, .. } => HttpHole {
                host: host.clone(),
                ..none
            },
        }
    }
}

/// The host of a request. What stands in its place in a statement is a login.
fn host_of(request: &HttpRequest) -> Option<&str> {
    request.host.as_deref().filter(|_| !request.is_statement())
}

/// Whether a server may take a request for one to another host. A header that is not shown may say so, too.
pub(crate) fn may_be_for_another_host(request: &HttpRequest) -> bool {
    let host = host_of(request).unwrap_or_default();
    let says_so = || request.is_cut() || judge::names_another_host(&request.headers, host);
    !request.is_statement() && says_so()
}

/// The headers of a request that say what it does, without what its client says each time. A condition's header counts by its
/// name alone, since its value differs each time; but a `*` stays.
pub(crate) fn said(request: &HttpRequest) -> Vec<String> {
    let is_usual = |header: &&String| {
        let name = header.split(": ").next();
        name.is_some_and(judge::is_of_a_client)
    };
    let headers = request.headers.iter().filter(|header| !is_usual(header));
    let said = headers.map(|header| match header.split_once(": ") {
        Some((name, value)) if name.starts_with(CONDITION) && value != "*" => name,
        _ => header,
    });
    said.map(str::to_owned).collect()
}

const CONDITION: &str = "if-";

/// Whether a request has the same headers and conditions. More conditions let it do less.
fn says(request: &HttpRequest, seen: &[String]) -> bool {
    let is_condition = |header: &String| header.starts_with(CONDITION);
    let (conditions, rest): (Vec<_>, Vec<_>) = said(request).into_iter().partition(is_condition);
    let (wanted, same): (Vec<_>, Vec<_>) = seen.iter().partition(|header| is_condition(header));
    rest.iter().eq(same) && wanted.into_iter().all(|one| conditions.contains(one))
}

/// Whether a path with its query is like a pattern.
pub(super) fn is_like(pattern: &str, target: &str) -> bool {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    match pattern.contains('?') {
        _ if !is_plain(path) => false,
        true => is_meant(pattern, target),
        false => is_meant(pattern, path),
    }
}

/// The same for a statement, in which a `?` is an operator, and all of which must match. A pattern with several `*` matches
/// nothing, since each could stand for anything.
pub(super) fn is_like_statement(pattern: &str, text: &str) -> bool {
    !text.contains(';') && is_meant(pattern, text)
}

/// Whether a text is what a pattern stands for, in which a literal `*` is `\*`.
fn is_meant(pattern: &str, text: &str) -> bool {
    // Stands for the literal ones on both sides. A text that has it in a name matches no pattern.
    const MEANT: &str = "\u{1}";
    let meant = |pattern: &str| stands_for(pattern, &text.replace('*', MEANT));
    !text.contains(MEANT) && meant(&pattern.replace(r"\*", MEANT))
}

/// Whether a path means to every server what it looks like: a server may take `/api/%2e%2e/admin` for `/admin`, which a pattern
/// that begins with `/api/` was not meant for. One may drop blanks and dots at a segment's end, and take wide dots for dots.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let hidden = [
        "%2e",
        "%2f",
        "%5c",
        "%25",
        "%00",
        "%3b",
        "%e3%80%82",
        "%ef%bc%8e",
        "%ef%bd%a1",
        "\\",
        "//",
        ";",
        "\u{3002}",
        "\u{ff0e}",
        "\u{ff61}",
    ];
    let is_dots = |segment: &str| segment.starts_with("..") || segment == ".";
    !hidden.iter().any(|one| lower.contains(one)) && !path.split('/').any(is_dots)
}
