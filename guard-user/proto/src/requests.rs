//! Requests: what was stopped and waits for a person, with all that the person is shown of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::{
    destination::{Endpoint, Listener, NameTold},
    http::HttpRequest,
    moment,
};

/// Something a `confirm` or `read-only` rule stopped, that a person may answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// `r1`
    pub id: String,
    /// Whose attempt it was.
    pub session: String,
    /// The policy that stops it: of a session inside another the outermost one that does.
    pub policy: String,
    /// The user's name.
    pub user: String,
    /// The process, of HTTP the one that connected; null: unknown.
    pub pid: Option<u32>,
    /// Its executable's name, from /proc; the thread's own word where it was gone already.
    pub comm: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
    /// A process chooses its own; empty for HTTP: secrets.
    pub command: Vec<String>,
    /// Where to.
    pub destination: Endpoint,
    /// The rule that stopped it; null: the policy's default.
    pub rule: Option<String>,
    /// That rule's reason.
    pub reason: Option<String>,
    /// `confirm` or `read-only`; the strictest of the chain.
    pub verdict: String,
    /// What each policy says of it, the outermost first.
    #[serde(default)]
    pub chain: Vec<ChainLink>,
    /// Whether a connection waits for the answer.
    pub held: bool,
    /// When it was first tried.
    #[serde(serialize_with = "moment::write")]
    pub asked_at: Timestamp,
    /// When it was last tried.
    #[serde(serialize_with = "moment::write")]
    pub last_at: Timestamp,
    /// Until when a connection waits.
    #[serde(serialize_with = "moment::write_some", default)]
    pub waits_until: Option<Timestamp>,
    /// How often it was tried.
    pub count: u64,
    /// Executables that tried it; 8 at most.
    #[serde(default)]
    pub programs: Vec<String>,
    /// What looks like a warning sign about how it was tried.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// An HTTP request or SQL statement; null for a connection.
    pub http: Option<HttpRequest>,
    /// A DNS question, of which nothing has left the machine; null for a connection.
    #[serde(default)]
    pub question: Option<DnsQuestion>,
    /// How the session came to know the address; null: by no name server of the machine.
    #[serde(default)]
    pub named: Option<NameTold>,
    /// Whether a yes opens that name, whatever its addresses become: its rule has the name, or is about all of the internet. Else the
    /// address alone.
    #[serde(default)]
    pub opens_name: bool,
    /// The agent's own words.
    pub note: Option<String>,
    /// Null: one address.
    #[serde(default)]
    pub burst: Option<Burst>,
    /// Suggested answers; empty for HTTP.
    #[serde(default)]
    pub offers: Vec<Offer>,
    /// The program that listens at a loopback address, where it is not the session's own; null otherwise.
    #[serde(default)]
    pub listener: Option<Listener>,
    /// What a signed answer has to say; null: none.
    #[serde(default)]
    pub code: Option<String>,
    /// The session's, where one around it stops it.
    #[serde(default)]
    pub own_policy: Option<String>,
    /// What else of the outermost session's policies stops it: a yes opens that as well.
    #[serde(default)]
    pub beside: Vec<ChainLink>,
    /// Requests like it, each with an id of its own: a yes to one is for that one, a no is for all; null: none.
    #[serde(default)]
    pub alike: Option<Alike>,
}

/// Requests that differ in little, shown as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alike {
    /// How many, with the one that is shown.
    pub count: usize,
    /// Their ids, oldest first: of many the latest.
    pub ids: Vec<String>,
    /// What is different in each of the last few, oldest first. The audit log does not have that.
    pub differ: Vec<String>,
}

impl Request {
    /// What it asks, as text to compare: how often and when it was tried is not in it, nor by which process where another runs the
    /// same command, nor whether one waits.
    #[must_use]
    pub fn asks(&self) -> String {
        let asks = Self {
            pid: None,
            held: false,
            last_at: self.asked_at,
            waits_until: None,
            count: 0,
            ..self.clone()
        };
        serde_json::to_string(&asks).unwrap_or_default()
    }

    /// About how many addresses or like requests it is, by powers of two: 0 if it is about one. A follower gets it again when that has grown.
    #[must_use]
    pub fn size(&self) -> u32 {
        let count = self.burst.as_ref().map(|burst| burst.count);
        let count = count.or(self.alike.as_ref().map(|alike| alike.count));
        count.and_then(usize::checked_ilog2).unwrap_or(0)
    }
}

/// What one policy of a session's chain says of a request: its own, or one of those around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// The session that the policy is of.
    pub session: String,
    /// The policy. Of a session inside another its name, its rule and its reason are that one's own words.
    pub policy: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// `allow`, `confirm` or `read-only`.
    pub verdict: String,
    /// The rule's reason.
    pub reason: Option<String>,
}

/// Many destinations in one prefix, of one protocol and port, that are asked about together; or many names below one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// A prefix that one rule decides, or `*.zone.example`.
    pub prefix: String,
    /// Those tried, addresses or names, oldest first; 16 at most.
    pub addresses: Vec<String>,
    /// How many were tried; 256 at most.
    pub count: usize,
}

/// A name that a session asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsQuestion {
    /// `*.zone.example`: all below it.
    pub name: String,
    /// The record types, such as `TXT`; 8 at most.
    pub types: Vec<String>,
    /// Bytes of all names that were asked for.
    pub bytes: u64,
}

impl DnsQuestion {
    /// The protocol of its destination.
    pub const PROTOCOL: &str = "dns";

    /// The zone, where it is about all below that.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.name.strip_prefix("*.")
    }
}

/// A way to say yes to a request: never longer than the policy's `max_hole`, and nobody's answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// For so long, in seconds.
    #[serde(rename = "for")]
    pub seconds: f64,
    /// To so many connections; null: any number.
    #[serde(default)]
    pub connections: Option<u32>,
}

/// Answer to [`Call::Pending`] and [`Call::Held`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RequestsReply {
    /// Oldest first.
    pub requests: Vec<Request>,
    /// As of [`SessionsReply`](crate::SessionsReply).
    #[serde(default)]
    pub carried: bool,
}

/// Answer to [`Call::Deny`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Denied {
    /// The request.
    pub requests: Vec<Request>,
    /// Until when it is not asked again. A guardd of before does not say it.
    #[serde(serialize_with = "moment::write_some", default)]
    pub until: Option<Timestamp>,
    /// The zone all names below which are refused by now, after noes to some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
}

/// A user as the subject of a sentence: one is called `nobody`.
#[must_use]
pub fn who(user: &str) -> String {
    match user {
        "nobody" => format!("user {user}"),
        user => user.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_called_nobody_is_somebody() {
        assert_eq!(who("nobody"), "user nobody");
        assert_eq!(who("alice"), "alice");
    }
}
