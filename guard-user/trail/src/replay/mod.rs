//! Judges what the audit log recorded by another policy, and lists what would have been otherwise.

mod judging;
mod seen;

use std::net::IpAddr;

use guard_policy::{Compiled, Environment, Policy};
use guard_proto::{Endpoint, LogRecord, record::Record};
use serde::Serialize;

use self::seen::SeenRecords;

/// What would have been otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replay {
    /// The policy that judged.
    pub policy: String,
    /// What it says otherwise, more open ones first.
    pub changes: Vec<JudgedRecord>,
    /// How many destinations, requests and holes are as they were.
    pub unchanged: usize,
    /// What the audit log does not tell.
    pub unknown: Vec<String>,
}

/// Something that was recorded, and what the policy says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JudgedRecord {
    /// `connection`, `http` or `hole`.
    pub what: RecordedKind,
    /// `192.0.2.10 tcp/443`, or prefix and ports.
    pub destination: String,
    /// The name that the policy of then had for it.
    pub host: Option<String>,
    /// An HTTP request's method and path.
    pub request: Option<String>,
    /// A verdict; for a request `refused`, `passed`, `failed` or `asked`; for a hole `opened`.
    pub before: String,
    /// The rule of then; null: the policy's default, or unknown.
    pub before_rule: Option<String>,
    /// A verdict; of a request `read`, `ask`, `deny` or `by its body`; of a hole `opened`, or `in part`: some is denied.
    pub after: String,
    /// The rule of now; null: the policy's default.
    pub after_rule: Option<String>,
    /// How often, at least.
    pub times: u64,
    /// More passes; null: it cannot be said.
    pub opens: Option<bool>,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedKind {
    /// A connection that was refused or held.
    Connection,
    /// An HTTP request.
    Http,
    /// A hole that a person opened.
    Hole,
}

/// A policy that judges.
#[derive(Clone, Copy, Debug)]
pub struct ReplayPolicy<'p> {
    /// It.
    pub policy: &'p Policy,
    /// The same, compiled.
    pub compiled: &'p Compiled,
}

/// Has a policy judge what the records tell of.
#[must_use]
pub fn replay(records: &[LogRecord], judge: ReplayPolicy<'_>) -> Replay {
    let seen = SeenRecords::of(records);
    let connections = seen
        .connections
        .iter()
        .filter_map(|(key, tried)| judge.connection(key, tried));
    let http = seen
        .http
        .iter()
        .filter_map(|(key, tried)| judge.http(key, tried));
    let holes = seen
        .holes
        .iter()
        .filter_map(|(key, hole)| judge.hole(key, hole));
    let all: Vec<_> = connections.chain(http).chain(holes).collect();
    let (mut changes, same): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one.before != one.after);
    changes.sort_by_key(|one| (one.opens != Some(true), one.opens.is_none(), one.what));
    Replay {
        policy: judge.policy.name.clone(),
        unchanged: same.len(),
        changes,
        unknown: seen.unknown(),
    }
}

/// What names stood for then: the audit log says it of each destination that had one.
pub fn add_recorded_names(environment: &mut Environment, records: &[LogRecord]) {
    for record in records {
        let Some(Endpoint {
            address,
            host: Some(host),
            ..
        }) = endpoint(record)
        else {
            continue;
        };
        let known = environment.names.get_mut(&host);
        if let (Some(known), Ok(address)) = (known, address.parse::<IpAddr>())
            && !known.contains(&address)
        {
            known.push(address);
        }
    }
}

fn endpoint(record: &LogRecord) -> Option<Endpoint> {
    let to = match record.record() {
        Record::Denied(one) => one.destination,
        Record::Held(one) => one.destination,
        Record::Request(one) => one.destination,
        Record::Http(one) => one.destination,
        _ => return None,
    };
    to.get()?.endpoint().cloned()
}
