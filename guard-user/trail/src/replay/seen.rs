//! What the records tell of, each once, with how often.

use std::collections::{BTreeMap, BTreeSet};

use guard_proto::{
    LogRecord,
    record::{Field, HoleOpen, Record, RecordedDestination, Request},
};

/// Where something wanted to go, and what was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionKey {
    pub(super) address: String,
    pub(super) protocol: String,
    pub(super) port: Option<u16>,
    /// The verdict.
    pub(super) said: String,
}

/// Where a request wanted to go, its method and path, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HttpKey {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) outcome: String,
}

/// What a hole is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HoleKey {
    pub(super) to: String,
    pub(super) ports: Option<String>,
}

/// Where something was stopped.
struct StoppedBy {
    to: Field<RecordedDestination>,
    rule: Field<String>,
}

impl StoppedBy {
    fn of(to: Field<RecordedDestination>, rule: Field<String>) -> Self {
        Self { to, rule }
    }
}

/// What the records tell of, each once.
#[derive(Debug, Default)]
pub(super) struct SeenRecords {
    pub(super) connections: BTreeMap<ConnectionKey, Tried>,
    pub(super) http: BTreeMap<HttpKey, Tried>,
    pub(super) holes: BTreeMap<HoleKey, SeenHole>,
    /// Refusals that the kernel counted, and those that records tell of, by session and start.
    counted: u64,
    left_out: u64,
    /// Refusals of `socket` calls.
    sockets: u64,
    /// Refusals of sessions whose records are still being read, by start.
    open: BTreeMap<Option<String>, BTreeMap<ConnectionKey, u64>>,
}

#[derive(Debug, Default)]
pub(super) struct Tried {
    pub(super) times: u64,
    pub(super) rule: Option<String>,
    pub(super) host: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct SeenHole {
    pub(super) by: BTreeSet<String>,
    pub(super) times: u64,
    ids: BTreeSet<(Option<String>, String)>,
}

impl SeenRecords {
    pub(super) fn of(records: &[LogRecord]) -> Self {
        let mut seen = Self::default();
        for record in records {
            seen.add(record);
        }
        let sessions: Vec<_> = seen.open.keys().cloned().collect();
        for session in sessions {
            seen.close(&session);
        }
        seen
    }

    fn add(&mut self, record: &LogRecord) {
        let session = &record.session;
        self.left_out += record.common().left_out.take().unwrap_or(0);
        match record.record() {
            // A count of names alone: what was asked for is not known.
            Record::Denied(one) if !one.names.is_none() => {}
            Record::Denied(one) => {
                let verdict = one.verdict.take().unwrap_or_else(|| "deny".to_owned());
                // The kernel's, of all attempts of the session there.
                let count = one.count.take().unwrap_or(1);
                let by = StoppedBy::of(one.destination, one.rule);
                self.stopped(session, by, verdict, count);
            }
            Record::Held(one) => {
                let verdict = one.verdict.take().unwrap_or_else(|| "confirm".to_owned());
                let by = StoppedBy::of(one.destination, one.rule);
                self.stopped(session, by, verdict, 1);
            }
            Record::Request(one) => self.asked(session, *one),
            Record::Http(one) => {
                let request = one.method.take().zip(one.path.take());
                let outcome = one.outcome.take().unwrap_or_default();
                let by = StoppedBy::of(one.destination, one.rule);
                self.http_request(by, request, outcome);
            }
            Record::HoleOpen(one) => self.opened(session, *one),
            Record::HoleClose(one) => {
                let id = (session.clone(), one.hole.take().unwrap_or_default());
                let hole = self.holes.values_mut().find(|hole| hole.ids.contains(&id));
                if let Some(hole) = hole {
                    hole.times += one.connections.take().unwrap_or(0);
                }
            }
            Record::SessionStart(_) => self.close(session),
            Record::SessionEnd(one) => {
                let told = self.open.get(session).into_iter();
                let told: u64 = told.flat_map(BTreeMap::values).sum();
                let denied = one.denied.take().unwrap_or(0);
                self.counted += denied.saturating_sub(told);
                self.close(session);
            }
            _ => {}
        }
    }

    fn asked(&mut self, session: &Option<String>, one: Request) {
        let by = StoppedBy::of(one.destination, one.rule);
        match one.http.take() {
            Some(http) => {
                let request = Some((http.method, http.path));
                self.http_request(by, request, "asked".to_owned());
            }
            // A question of `guard request` comes without a refusal.
            None => {
                let verdict = one.verdict.take().unwrap_or_else(|| "deny".to_owned());
                self.stopped(session, by, verdict, 0);
            }
        }
    }

    /// The highest `count` is all of them.
    fn stopped(&mut self, session: &Option<String>, by: StoppedBy, verdict: String, count: u64) {
        let Some(to) = by.to.get().and_then(RecordedDestination::endpoint) else {
            self.sockets += 1;
            return;
        };
        let key = ConnectionKey {
            address: to.address.clone(),
            protocol: to.protocol.clone(),
            port: to.port,
            said: verdict,
        };
        let tried = self.connections.entry(key.clone()).or_default();
        tried.rule = by.rule.take().or(tried.rule.take());
        tried.host = to.host.clone().or(tried.host.take());
        let of_session = self.open.entry(session.clone()).or_default();
        let times = of_session.entry(key).or_default();
        *times = count.max(*times);
    }

    /// Adds a session's counts to those of all.
    fn close(&mut self, session: &Option<String>) {
        for (key, times) in self.open.remove(session).into_iter().flatten() {
            self.connections.entry(key).or_default().times += times;
        }
    }

    fn http_request(&mut self, by: StoppedBy, request: Option<(String, String)>, outcome: String) {
        let to = by.to.get().and_then(RecordedDestination::endpoint);
        let (Some(to), Some((method, path))) = (to, request) else {
            return;
        };
        let key = HttpKey {
            address: to.address.clone(),
            port: to.port.unwrap_or(0),
            method,
            path,
            outcome,
        };
        let tried = self.http.entry(key).or_default();
        tried.times += 1;
        tried.rule = by.rule.take().or(tried.rule.take());
    }

    fn opened(&mut self, session: &Option<String>, one: HoleOpen) {
        let is_for_connections = one.http.is_none();
        let (Some(to), true) = (one.destination.take(), is_for_connections) else {
            return;
        };
        let key = HoleKey {
            to,
            ports: one.ports.take(),
        };
        let hole = self.holes.entry(key).or_default();
        hole.by.extend(one.by.take());
        let id = one.hole.take().unwrap_or_default();
        hole.ids.insert((session.clone(), id));
    }

    pub(super) fn unknown(&self) -> Vec<String> {
        let mut unknown = vec![
            "what was allowed is not in the audit log, unless a hole let it through: `guard diff OLD NEW` compares all".to_owned(),
        ];
        if self.counted > 0 {
            unknown.push(format!(
                "{} refusals were counted, and the audit log does not say where to",
                self.counted
            ));
        }
        if self.left_out > 0 {
            unknown.push(format!(
                "{} records were left out of the audit log",
                self.left_out
            ));
        }
        if self.sockets > 0 {
            unknown.push(
                "refused socket calls have no destination: no policy changes them".to_owned(),
            );
        }
        if !self.http.is_empty() {
            unknown.push("headers and bodies of HTTP requests are not in the audit log: they are judged by method, path and query".to_owned());
        }
        unknown
    }
}
