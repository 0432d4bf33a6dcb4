//! The errors that a client gets instead of the server's answer, with what to do next.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::super::wire::TargetTerms;

/// `read_only_sql_transaction` (PostgreSQL's documentation, appendix A).
const READ_ONLY: &str = "25006";
/// `protocol_violation`.
const VIOLATION: &str = "08P01";
/// `connection_failure`.
const UNREACHABLE: &str = "08006";
/// `query_canceled`.
const CANCELED: &str = "57014";
/// `invalid_authorization_specification`.
const BINDING: &str = "28000";
/// Sent in a refused statement's place: it fails at the server too, so that both sides agree on what failed.
pub(super) const MARK: &str = "refused by guard";

/// The name of the guard's own statements and portals, which clients may not use.
pub(super) const OWN: &str = "guard's own";

/// An error as the protocol has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: &'static str,
    message: String,
    detail: Option<String>,
    hint: String,
}

impl Refusal {
    /// The guard stops a statement.
    pub(super) fn stopped(terms: &TargetTerms, why: &str, fix: &str) -> Self {
        let rules = terms.rules().first();
        let named = rules.and_then(|rules| rules.name.as_ref());
        let reason = rules.and_then(|rules| rules.reason.as_ref());
        let detail = named.map(|name| match reason {
            Some(reason) => format!("The rule is {name:?}: {reason}"),
            None => format!("The rule is {name:?}."),
        });
        Self {
            code: READ_ONLY,
            message: format!("stopped by guard: {why}"),
            detail,
            hint: fix.to_owned(),
        }
    }

    /// A message that cannot be parsed.
    pub(super) fn violation(why: &str) -> Self {
        Self {
            code: VIOLATION,
            message: format!("not understood by guard: {why}"),
            detail: None,
            hint: "Send it in a form that has one reading only.".to_owned(),
        }
    }

    /// The connection ends.
    pub(super) fn ended(why: &str) -> Self {
        Self {
            code: READ_ONLY,
            message: format!("stopped by guard: {why}"),
            detail: None,
            hint: "Connect again.".to_owned(),
        }
    }

    /// A client logs in with channel binding, which excludes a proxy.
    pub(super) fn bound(why: &str) -> Self {
        Self {
            code: BINDING,
            message: format!("stopped by guard: {why}"),
            detail: None,
            hint: "Turn it off: PGCHANNELBINDING=disable or channel_binding=disable (libpq, pgx, tokio-postgres), \
                   channelBinding=disable (pgjdbc), Channel Binding=Disable (Npgsql)."
                .to_owned(),
        }
    }

    /// A setting in the start-up packet that is refused.
    pub(super) fn startup(why: &str) -> Self {
        Self {
            code: READ_ONLY,
            message: format!("stopped by guard: {why}"),
            detail: None,
            hint:
                "Connect without it: only reads pass here, and a person is asked about each change."
                    .to_owned(),
        }
    }

    /// The client has withdrawn what it was held for.
    pub(super) fn withdrawn() -> Self {
        Self {
            code: CANCELED,
            message: "canceling statement due to user request".to_owned(),
            detail: None,
            hint: "guard held it for a person's answer; nothing of it was sent.".to_owned(),
        }
    }

    /// Why, for the audit log.
    pub(super) fn why(&self) -> &str {
        &self.message
    }

    /// There is no server.
    pub(super) fn unreachable(why: &str) -> Self {
        Self {
            code: UNREACHABLE,
            message: format!("guard cannot reach the server: {why}"),
            detail: None,
            hint: "See whether it is up; nothing was sent.".to_owned(),
        }
    }

    /// As a message. `severity`: after `FATAL` the connection is closed.
    pub(super) fn message(&self, severity: &str) -> Bytes {
        let mut body = BytesMut::new();
        let mut field = |kind: u8, text: &str| {
            body.put_u8(kind);
            body.extend(text.bytes().filter(|byte| *byte != 0));
            body.put_u8(0);
        };
        field(b'S', severity);
        field(b'V', severity);
        field(b'C', self.code);
        field(b'M', &self.message);
        if let Some(detail) = &self.detail {
            field(b'D', detail);
        }
        field(b'H', &self.hint);
        body.put_u8(0);
        message(b'E', &body)
    }
}

/// A message with that body.
pub(super) fn message(tag: u8, body: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(body.len() + 5);
    message.put_u8(tag);
    // A body of ours is short.
    message.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    message.put_slice(body);
    message.freeze()
}

/// A query, in one message.
pub(super) fn query(text: &str) -> Bytes {
    message(b'Q', &[text.as_bytes(), &[0]].concat())
}

/// A query of the guard's own, with the types and values of its parameters as the client has sent them.
#[derive(Clone, Debug)]
pub(super) struct OwnQuery {
    pub(super) text: String,
    /// Empty: none.
    pub(super) types: Bytes,
    /// Formats and values; empty: none.
    pub(super) values: Bytes,
}

impl From<&str> for OwnQuery {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            types: Bytes::new(),
            values: Bytes::new(),
        }
    }
}

/// Several as a batch, which does not touch the unnamed statement and portal: a client may have prepared its own. It begins
/// with the release of what a failed one left.
pub(super) fn batch(questions: &[OwnQuery]) -> Bytes {
    const NAME: &[u8] = OWN.as_bytes();
    let close = |what: u8| message(b'C', &[&[what], NAME, &[0]].concat());
    let forget = [close(b'P'), close(b'S')].concat();
    let mut batch = forget.clone();
    let or = |bytes: &Bytes, none: &'static [u8]| {
        if bytes.is_empty() {
            Bytes::from_static(none)
        } else {
            bytes.clone()
        }
    };
    for OwnQuery {
        text,
        types,
        values,
    } in questions
    {
        let (types, values) = (or(types, &[0; 2]), or(values, &[0; 4]));
        let parse = [NAME, &[0], text.as_bytes(), &[0], &types].concat();
        batch.extend(message(b'P', &parse));
        let bind = [NAME, &[0], NAME, &[0], &values, &[0; 2]].concat();
        batch.extend(message(b'B', &bind));
        batch.extend(message(b'E', &[NAME, &[0; 5]].concat()));
        batch.extend(&forget);
    }
    batch.extend(message(b'S', &[]));
    batch.into()
}

/// In place of a query: a syntax error, in whatever state the server is.
pub(super) fn failing_query() -> Bytes {
    query(&format!("\"{MARK}\""))
}

/// In place of an Execute: a Parse with the same error, which no name that the client has given can make valid.
pub(super) fn failing_parse() -> Bytes {
    message(b'P', format!("\0\"{MARK}\"\0\0\0").as_bytes())
}
