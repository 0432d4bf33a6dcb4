//! What sessions have reached.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::moment;

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
    /// Requests and statements that read, of all programs of the session; null: none was counted.
    #[serde(default)]
    pub reads: Option<u64>,
    /// Of closed connections; null: not TCP.
    pub bytes_sent: Option<u64>,
    /// Of closed connections; null: not TCP.
    pub bytes_received: Option<u64>,
    /// What the policies say of it: `confirm` or `read-only` if a hole let it through.
    pub verdict: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
}

/// Answer to [`Call::FlowsReply`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlowsReply {
    /// By session, in the order of their first connections; with `latest` as it says.
    pub flows: Vec<Flow>,
    /// The name servers of this machine, as policies have them: `@dns`.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
    /// What is missing.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// With `latest`: how many more there are.
    #[serde(default, skip_serializing_if = "is_none_left_out")]
    pub left_out: usize,
    /// With `latest`: how many of all of these were first reached in each hour of the last day in which any were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_reached: Vec<FirstReached>,
}

/// How many flows began in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstReached {
    /// When it began.
    #[serde(serialize_with = "moment::write")]
    pub hour: Timestamp,
    /// How many.
    pub flows: u64,
}

fn is_none_left_out(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Call;

    #[test]
    fn what_is_not_cut_is_as_it_always_was() {
        let call = |latest: Option<u32>| Call::Flows {
            session: None,
            by: Some("alice".to_owned()),
            latest,
        };
        let text = |latest| serde_json::to_string(&call(latest)).unwrap();
        // guardds that know no `latest` refuse it.
        assert!(!text(None).contains("latest") && text(Some(5)).contains("\"latest\":5"));
        let whole = serde_json::to_value(FlowsReply::default()).unwrap();
        let fields: Vec<_> = whole.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["flows", "name_servers", "warnings"]);
        let cut = FlowsReply {
            left_out: 7,
            first_reached: vec![FirstReached {
                hour: Timestamp::UNIX_EPOCH,
                flows: 3,
            }],
            ..FlowsReply::default()
        };
        let read: FlowsReply = serde_json::from_value(serde_json::to_value(&cut).unwrap()).unwrap();
        assert_eq!((read.left_out, read.first_reached), (7, cut.first_reached));
    }
}
