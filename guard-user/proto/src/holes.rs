//! Holes: what a yes has opened.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::moment;

/// A temporary permission that a person opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hole {
    /// `h1`
    pub id: String,
    /// For which session.
    pub session: String,
    /// The prefix as text, or the name.
    pub destination: String,
    /// Port specification; null: all; `dns`: only questions.
    pub ports: Option<String>,
    /// The name of the user who opened it; null: unknown.
    pub opened_by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When; null: unknown.
    #[serde(serialize_with = "moment::write_some", default)]
    pub opened_at: Option<Timestamp>,
    /// When it ends.
    #[serde(serialize_with = "moment::write")]
    pub expires_at: Timestamp,
    /// Connections that it still lets through; null: any number.
    pub connections_left: Option<u64>,
    /// Bytes that may still be sent through it; null: any number.
    #[serde(default)]
    pub bytes_left: Option<u64>,
    /// Reads only.
    pub read_only: bool,
    /// Which HTTP requests; null: connections.
    #[serde(default)]
    pub http: Option<HttpHole>,
    /// The addresses that a name has had so far; empty: it is for none.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What denies all of it now; null: nothing.
    #[serde(default)]
    pub shut_by: Option<String>,
}

/// A program on the loopback that a user's sessions reach without a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// `a1`
    pub id: String,
    /// Whose sessions.
    pub user: String,
    /// Its executable.
    pub program: String,
    /// The user that runs it.
    pub owner: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its port.
    pub port: u16,
}

/// Answer to [`Call::Always`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AlwaysReply {
    /// By user.
    pub always: Vec<Remembered>,
}

impl Hole {
    /// Whether a budget of it is used up: it lets nothing new through. Connections that it let through go on until it ends.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        let requests = self.http.as_ref().and_then(|http| http.requests_left);
        [self.connections_left, self.bytes_left, requests].contains(&Some(0))
    }
}

/// Which HTTP requests a hole lets through to a `read-only` destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHole {
    /// To this host; null: any.
    #[serde(default)]
    pub host: Option<String>,
    /// With this method; null: any.
    pub method: Option<String>,
    /// A pattern, or one request's path; null: any.
    pub path: Option<String>,
    /// How many more; null: any number.
    pub requests_left: Option<u64>,
    /// Null: not for one alone.
    pub digest: Option<String>,
    /// For statements.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sql: bool,
}

/// Answer to calls that open, close or list holes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HolesReply {
    /// Oldest first.
    pub holes: Vec<Hole>,
    /// What the person should know, such as a shortened duration.
    #[serde(default)]
    pub warnings: Vec<String>,
}
