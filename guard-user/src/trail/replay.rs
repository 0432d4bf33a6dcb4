//! What another policy would have said to what the trail recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use guard_common::{PolicyId, Protocol, Verdict, policy_verdict};
use serde::Serialize;
use serde_json::Value;

use super::decisions::text;
use crate::{
    policy::{Compiled, Environment, Policy, PortSpec, Prefix, Rule, over},
    proto::{Endpoint, HttpRequest, LogKind, LogRecord},
    proxy::judge::{self, Judgement, Rules},
};

/// What would have been otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replay {
    /// The policy that judged.
    pub policy: String,
    /// What it says otherwise, more open ones first.
    pub changes: Vec<Judged>,
    /// How many destinations, requests and holes are as they were.
    pub unchanged: usize,
    /// What the trail does not tell.
    pub unknown: Vec<String>,
}

/// Something that was recorded, and what the policy says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// What it is.
    pub what: What,
    /// Where to: `192.0.2.10 tcp/443`, or a hole's prefix and ports.
    pub destination: String,
    /// The name that the policy of then had for it.
    pub host: Option<String>,
    /// Of an HTTP request: method and path.
    pub request: Option<String>,
    /// What was said then: a verdict; of a request `refused`, `passed`, `failed` or `asked`; of a hole `opened`.
    pub before: String,
    /// The rule of then; null: the default, or not known.
    pub before_rule: Option<String>,
    /// What is said now: a verdict; of a request `read`, `ask`, `deny` or `by its body`.
    pub after: String,
    /// The rule of now; null: the default.
    pub after_rule: Option<String>,
    /// How often, at least.
    pub times: u64,
    /// Whether more gets through; null where neither is the wider one for sure.
    pub opens: Option<bool>,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A connection that was refused or held.
    Connection,
    /// An HTTP request.
    Http,
    /// A hole that a person opened.
    Hole,
}

/// A policy that judges.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'p> {
    /// It.
    pub policy: &'p Policy,
    /// The same, compiled.
    pub compiled: &'p Compiled,
}

/// Has a policy judge what the records tell of.
#[must_use]
pub fn replay(records: &[LogRecord], judge: Judge<'_>) -> Replay {
    let seen = Seen::of(records);
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

/// What names stood for then: the trail says it of each destination that had one.
pub fn remember(environment: &mut Environment, records: &[LogRecord]) {
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

/// Where something wanted to go, and what was said.
type Key = (String, String, Option<u16>, String);
/// Where a request wanted to go, its method and path, and what became of it.
type HttpKey = (String, u16, String, String, String);

/// What the records tell of, each once.
#[derive(Debug, Default)]
struct Seen {
    connections: BTreeMap<Key, Tried>,
    http: BTreeMap<HttpKey, Tried>,
    holes: BTreeMap<(String, Option<String>), Hole>,
    /// Refusals that the kernel counted, and those that records tell of, by session and start.
    counted: u64,
    left_out: u64,
    /// Refusals of `socket` calls.
    sockets: u64,
    /// Those of a session whose records are being read.
    open: BTreeMap<Option<String>, BTreeMap<Key, u64>>,
}

#[derive(Debug, Default)]
struct Tried {
    times: u64,
    rule: Option<String>,
    host: Option<String>,
}

#[derive(Debug, Default)]
struct Hole {
    by: BTreeSet<String>,
    times: u64,
    ids: BTreeSet<(Option<String>, String)>,
}

impl Seen {
    fn of(records: &[LogRecord]) -> Self {
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

    fn unknown(&self) -> Vec<String> {
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

impl Judge<'_> {
    fn connection(&self, (address, protocol, port, before): &Key, tried: &Tried) -> Option<Judged> {
        let (verdict, rule) = self.verdict(address, protocol_of(protocol)?, port.unwrap_or(0))?;
        let port = port.map_or_else(String::new, |port| format!("/{port}"));
        Some(Judged {
            what: What::Connection,
            destination: format!("{address} {protocol}{port}"),
            host: tried.host.clone(),
            request: None,
            before: before.clone(),
            before_rule: tried.rule.clone(),
            after: verdict.as_str().to_owned(),
            after_rule: rule.map(|rule| rule.name.clone()),
            times: tried.times,
            opens: rank(before)
                .zip(rank(verdict.as_str()))
                .map(|(was, is)| is > was),
        })
    }

    fn verdict(
        &self,
        address: &str,
        protocol: Protocol,
        port: u16,
    ) -> Option<(Verdict, Option<&Rule>)> {
        let address: IpAddr = address.parse().ok()?;
        let to = guard_common::Connection::new(address.into(), protocol, port);
        let said = policy_verdict(&self.compiled.lookup(), PolicyId(1), &to);
        Some((said.verdict, self.policy.rule(said.rule)))
    }

    fn http(
        &self,
        (address, port, method, path, before): &HttpKey,
        tried: &Tried,
    ) -> Option<Judged> {
        let (verdict, rule) = self.verdict(address, Protocol::TCP, *port)?;
        let after = match verdict {
            Verdict::Allow => "read",
            Verdict::Deny => "deny",
            // The connection is asked about, before there is any request.
            Verdict::Confirm => "ask",
            Verdict::ReadOnly => self.request(rule, method, path),
        };
        // What it was is another word where it comes to the same.
        let (was_open, is_same) = match (before.as_str(), after) {
            ("passed" | "refused" | "asked", "ask") | ("failed", _) => (true, true),
            ("passed", _) => (true, after == "read"),
            _ => (false, false),
        };
        Some(Judged {
            what: What::Http,
            destination: format!("{address} tcp/{port}"),
            host: None,
            request: Some(format!("{method} {path}")),
            before: if is_same {
                after.to_owned()
            } else {
                before.clone()
            },
            before_rule: tried.rule.clone(),
            after: after.to_owned(),
            after_rule: rule.map(|rule| rule.name.clone()),
            times: tried.times,
            opens: match after {
                "by its body" => None,
                "deny" => Some(false),
                _ => Some(after == "read" && !was_open),
            },
        })
    }

    /// What a read-only rule says of a request of which nothing else is known.
    fn request(&self, rule: Option<&Rule>, method: &str, path: &str) -> &'static str {
        let rules = rule.map_or_else(|| Rules::plain(None), Rules::of);
        let (Ok(method), Ok(uri)) = (method.parse(), path.parse()) else {
            return "ask";
        };
        let headers = http::HeaderMap::new();
        let judged = |has_body| {
            let request = judge::Request {
                method: &method,
                uri: &uri,
                headers: &headers,
                has_body,
            };
            match judge::judge(&rules, &request, None) {
                Judgement::Read { .. } => "read",
                Judgement::Write(_) => "ask",
                Judgement::Denied { .. } => "deny",
                Judgement::NeedsBody { .. } => "by its body",
            }
        };
        match (judged(false), judged(true)) {
            (one, other) if one == other => one,
            _ => "by its body",
        }
    }

    fn hole(&self, (to, ports): &(String, Option<String>), hole: &Hole) -> Option<Judged> {
        let prefix: Prefix = to.parse().ok()?;
        let specs = ports
            .as_ref()
            .map(|ports| ports.parse::<PortSpec>())
            .transpose()
            .ok()?;
        let specs: Vec<_> = specs.into_iter().collect();
        let met = over(self.policy, self.compiled, &prefix, &specs).met;
        let verdicts: BTreeSet<_> = met.iter().map(|met| met.verdict.as_str()).collect();
        let only = |verdict: &str| verdicts.len() == 1 && verdicts.contains(verdict);
        let (after, opens) = match () {
            () if only("allow") => ("allow", true),
            () if verdicts.contains("deny") => ("deny", false),
            // Somebody would have been asked, as somebody was.
            () => ("opened", false),
        };
        let ports = ports
            .as_ref()
            .map_or_else(String::new, |ports| format!(" {ports}"));
        let by: Vec<_> = hole.by.iter().cloned().collect();
        Some(Judged {
            what: What::Hole,
            destination: format!("{to}{ports}"),
            host: None,
            request: (!by.is_empty()).then(|| format!("opened by {}", by.join(", "))),
            before: "opened".to_owned(),
            before_rule: None,
            after: after.to_owned(),
            after_rule: met
                .first()
                .and_then(|met| met.rule)
                .map(|rule| rule.name.clone()),
            times: hole.times,
            opens: Some(opens),
        })
    }
}

fn endpoint(record: &LogRecord) -> Option<Endpoint> {
    let to = record.fields.get("destination")?;
    serde_json::from_value(to.clone()).ok()
}

fn protocol_of(name: &str) -> Option<Protocol> {
    match name {
        "tcp" => Some(Protocol::TCP),
        "udp" => Some(Protocol::UDP),
        "icmp" => Some(Protocol::ICMP),
        number => number.parse().ok().map(Protocol),
    }
}

/// How open a verdict is.
fn rank(verdict: &str) -> Option<u8> {
    ["deny", "confirm", "read-only", "allow"]
        .iter()
        .position(|one| *one == verdict)
        .map(|at| at as u8)
}
