//! What the records tell of, each once, with how often.

use std::collections::{BTreeMap, BTreeSet};

use guard_proto::{HttpRequest, LogKind, LogRecord};
use serde_json::Value;

use super::{super::decisions::text, endpoint};

/// Where something wanted to go, and what was said.
pub(super) type Key = (String, String, Option<u16>, String);
/// Where a request wanted to go, its method and path, and what became of it.
pub(super) type HttpKey = (String, u16, String, String, String);

/// What the records tell of, each once.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) connections: BTreeMap<Key, Tried>,
    pub(super) http: BTreeMap<HttpKey, Tried>,
    pub(super) holes: BTreeMap<(String, Option<String>), Hole>,
    /// Refusals that the kernel counted, and those that records tell of, by session and start.
    counted: u64,
    left_out: u64,
    /// Refusals of `socket` calls.
    sockets: u64,
    /// Those of a session whose records are being read.
    open: BTreeMap<Option<String>, BTreeMap<Key, u64>>,
}

#[derive(Debug, Default)]
pub(super) struct Tried {
    pub(super) times: u64,
    pub(super) rule: Option<String>,
    pub(super) host: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Hole {
    pub(super) by: BTreeSet<String>,
    pub(super) times: u64,
    ids: BTreeSet<(Option<String>, String)>,
}

impl Seen {
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
        let number = |name: &str| record.fields.get(name).and_then(Value::as_u64);
        self.left_out += number("left_out").unwrap_or(0);
        match record.kind {
            LogKind::Denied => self.stopped(record, number("count").unwrap_or(1)),
            LogKind::Held => self.stopped(record, 1),
            LogKind::Request => self.asked(record),
            LogKind::Http => {
                let outcome = text(&record.fields, "outcome").unwrap_or_default();
                let method = text(&record.fields, "method");
                let path = text(&record.fields, "path");
                self.http_request(record, method.zip(path), outcome);
            }
            LogKind::HoleOpen => self.opened(record),
            LogKind::HoleClose => self.ended(record, number("connections").unwrap_or(0)),
            LogKind::SessionStart => self.close(&record.session),
            LogKind::SessionEnd => {
                let told: u64 = self
                    .open
                    .get(&record.session)
                    .into_iter()
                    .flat_map(BTreeMap::values)
                    .sum();
                self.counted += number("denied").unwrap_or(0).saturating_sub(told);
                self.close(&record.session);
            }
            _ => {}
        }
    }

    /// `count` is the kernel's, of all attempts of the session there: the highest is all of them.
    fn stopped(&mut self, record: &LogRecord, count: u64) {
        let Some(to) = endpoint(record) else {
            self.sockets += 1;
            return;
        };
        let verdict = text(&record.fields, "verdict");
        let verdict = verdict.unwrap_or_else(|| match record.kind {
            LogKind::Held => "confirm".to_owned(),
            _ => "deny".to_owned(),
        });
        let key = (to.address, to.protocol, to.port, verdict);
        let tried = self.connections.entry(key.clone()).or_default();
        tried.rule = text(&record.fields, "rule").or(tried.rule.take());
        tried.host = to.host.or(tried.host.take());
        let of_session = self.open.entry(record.session.clone()).or_default();
        let times = of_session.entry(key).or_default();
        *times = count.max(*times);
    }

    /// Adds a session's counts to those of all.
    fn close(&mut self, session: &Option<String>) {
        for (key, times) in self.open.remove(session).into_iter().flatten() {
            self.connections.entry(key).or_default().times += times;
        }
    }

    /// A question of `guard request` comes without a refusal.
    fn asked(&mut self, record: &LogRecord) {
        let http = record.fields.get("http").cloned().unwrap_or_default();
        match serde_json::from_value::<HttpRequest>(http) {
            Ok(http) => {
                let request = Some((http.method, http.path));
                self.http_request(record, request, "asked".to_owned());
            }
            Err(_) => self.stopped(record, 0),
        }
    }

    fn http_request(
        &mut self,
        record: &LogRecord,
        request: Option<(String, String)>,
        outcome: String,
    ) {
        let (Some(to), Some((method, path))) = (endpoint(record), request) else {
            return;
        };
        let key = (to.address, to.port.unwrap_or(0), method, path, outcome);
        let tried = self.http.entry(key).or_default();
        tried.times += 1;
        tried.rule = text(&record.fields, "rule").or(tried.rule.take());
    }

    fn opened(&mut self, record: &LogRecord) {
        let is_for_connections = record.fields.get("http").is_none_or(Value::is_null);
        let (Some(to), true) = (text(&record.fields, "destination"), is_for_connections) else {
            return;
        };
        let hole = self
            .holes
            .entry((to, text(&record.fields, "ports")))
            .or_default();
        hole.by.extend(text(&record.fields, "by"));
        let id = text(&record.fields, "hole").unwrap_or_default();
        hole.ids.insert((record.session.clone(), id));
    }

    fn ended(&mut self, record: &LogRecord, connections: u64) {
        let id = (
            record.session.clone(),
            text(&record.fields, "hole").unwrap_or_default(),
        );
        let hole = self.holes.values_mut().find(|hole| hole.ids.contains(&id));
        if let Some(hole) = hole {
            hole.times += connections;
        }
    }

    pub(super) fn unknown(&self) -> Vec<String> {
        let mut unknown = vec![
            "what was allowed is not in the trail, unless a hole let it through: `guard diff OLD NEW` compares all".to_owned(),
        ];
        if self.counted > 0 {
            unknown.push(format!(
                "{} refusals were counted, and the trail does not say where to",
                self.counted
            ));
        }
        if self.left_out > 0 {
            unknown.push(format!(
                "{} records were left out of the trail",
                self.left_out
            ));
        }
        if self.sockets > 0 {
            unknown.push(
                "refused socket calls have no destination: no policy changes them".to_owned(),
            );
        }
        if !self.http.is_empty() {
            unknown.push("headers and bodies of HTTP requests are not in the trail: they are judged by method, path and query".to_owned());
        }
        unknown
    }
}
