//! What sessions have reached.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::{destination::Endpoint, moment};

/// What a session has reached: connections of one program to one port of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The session.
    pub session: String,
    /// The name that the session asked for, the latest of several; null: it asked for none.
    pub host: Option<String>,
    /// The names by which its connections are likely to have been made, the latest first.
    pub names: Vec<String>,
    /// Where to.
    pub address: String,
    /// As in `destination`.
    pub protocol: String,
    /// Null if the protocol has none.
    pub port: Option<u16>,
    /// What the thread called itself that made the socket; null: unknown.
    pub program: Option<String>,
    /// When the first connection was established.
    #[serde(serialize_with = "moment::write")]
    pub first_at: Timestamp,
    /// When the last one was, or one was closed.
    #[serde(serialize_with = "moment::write")]
    pub last_at: Timestamp,
    /// Of TCP; else how often a socket turned there.
    pub connections: u64,
    /// Of closed connections; null: not TCP.
    pub bytes_sent: Option<u64>,
    /// Of closed connections; null: not TCP.
    pub bytes_received: Option<u64>,
    /// What the policies say of it: `confirm` or `read-only` if a hole let it through.
    pub verdict: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// Where a listener on this machine leads.
    #[serde(default)]
    pub leads_to: Vec<Endpoint>,
}

/// Answer to [`Call::FlowsReply`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlowsReply {
    /// By session, in the order of their first connections.
    pub flows: Vec<Flow>,
    /// The name servers of this machine, as policies have them: `@dns`.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
    /// What is missing.
    #[serde(default)]
    pub warnings: Vec<String>,
}
