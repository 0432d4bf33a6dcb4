//! What people have decided, out of the records of the trail.

use std::{collections::HashMap, net::IpAddr};

use guard_common::Protocol;
use guard_policy::{PortSpec, Prefix};
use guard_proto::{Endpoint, HttpRequest, LogKind, LogRecord};
use jiff::Timestamp;
use serde_json::Value;

/// All of them, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// About connections.
    pub answers: Vec<Answer>,
    /// About HTTP requests.
    pub http: Vec<HttpAnswer>,
    /// What was decided, and no policy can say, with the reason.
    pub unsaid: Vec<String>,
}

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    /// Yes, to everything.
    Yes,
    /// Yes, to reads.
    Reads,
    /// No.
    No,
}

/// A decision about connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where to.
    pub to: Prefix,
    /// Which ports; none: all, of every protocol.
    pub ports: Option<PortSpec>,
    /// What was said.
    pub said: Said,
    /// Who said so, when, about what.
    pub why: String,
}

/// A decision about HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Where to.
    pub to: Prefix,
    /// Which TCP port.
    pub ports: PortSpec,
    /// The method; none: any.
    pub method: Option<String>,
    /// The path, with its query behind a `?`; none: any. A pattern where `is_pattern`.
    pub path: Option<String>,
    /// A `*` in the path stands for any text, and no `?` for any query.
    pub is_pattern: bool,
    /// Whether it was about a request with a body, which no rule tells from others.
    pub has_body: bool,
    /// Yes or no.
    pub yes: bool,
    /// Who said so, when, about what.
    pub why: String,
}

/// What was asked, by session and request.
type Asked = HashMap<(Option<String>, String), Shown>;

/// As much of a question as matters here.
#[derive(Clone, Debug, Default)]
struct Shown {
    destination: Option<Endpoint>,
    http: Option<HttpRequest>,
    rule: Option<String>,
    comm: Option<String>,
    note: Option<String>,
}

impl Decisions {
    /// What the records tell of.
    #[must_use]
    pub fn of(records: &[LogRecord]) -> Self {
        let (mut all, mut asked) = (Self::default(), Asked::new());
        for record in records {
            all.add(record, &mut asked);
        }
        all
    }

    fn add(&mut self, record: &LogRecord, asked: &mut Asked) {
        let id = text(&record.fields, "request");
        let key = id.clone().map(|id| (record.session.clone(), id));
        match (record.kind, key) {
            // After a reboot the same id is of another request.
            (LogKind::Request, Some(key)) => {
                asked.insert(key, Shown::of(&record.fields));
            }
            (LogKind::Answered, Some(key)) => {
                if let Some(Value::Object(shown)) = record.fields.get("shown") {
                    asked.insert(key.clone(), Shown::of(shown));
                }
                self.answered(record, asked.get(&key));
            }
            (LogKind::HoleOpen, key) if !record.fields.contains_key("noticed") => {
                let shown = key.as_ref().and_then(|key| asked.get(key));
                self.opened(record, key.is_some(), shown);
            }
            _ => {}
        }
    }

    /// A yes about HTTP requests is told by the hole that it opened: it says for which.
    fn answered(&mut self, record: &LogRecord, shown: Option<&Shown>) {
        let yes = text(&record.fields, "answer").as_deref() == Some("yes");
        let why = why(record, shown);
        let Some((to, ports)) = shown.and_then(Shown::place) else {
            self.unsaid.push(format!(
                "{why}: the trail does not say what was asked, or no policy can"
            ));
            return;
        };
        match shown.and_then(|shown| shown.http.as_ref()) {
            None => {
                let reads = record.fields.get("read_only") == Some(&Value::Bool(true));
                let said = match (yes, reads) {
                    (false, _) => Said::No,
                    (true, true) => Said::Reads,
                    (true, false) => Said::Yes,
                };
                let ports = Some(ports);
                let all = about(record).unwrap_or_else(|| vec![to]);
                self.answers.extend(all.into_iter().map(|to| Answer {
                    to,
                    ports,
                    said,
                    why: why.clone(),
                }));
            }
            Some(http) if !yes => self.http.push(HttpAnswer {
                to,
                ports,
                method: Some(http.method.clone()),
                path: Some(http.path.clone()),
                is_pattern: false,
                has_body: http.bytes != Some(0),
                yes,
                why,
            }),
            Some(_) => {}
        }
    }

    fn opened(&mut self, record: &LogRecord, was_asked: bool, shown: Option<&Shown>) {
        let http = record.fields.get("http").and_then(Value::as_object);
        if http.is_none() && was_asked {
            return;
        }
        let why = why(record, shown);
        let to = text(&record.fields, "destination").and_then(|to| to.parse::<Prefix>().ok());
        let ports = text(&record.fields, "ports").map(|ports| ports.parse::<PortSpec>());
        match (to, ports.transpose(), http) {
            (Some(to), Ok(ports), None) => {
                let reads = record.fields.get("read_only") == Some(&Value::Bool(true));
                let said = if reads { Said::Reads } else { Said::Yes };
                self.answers.push(Answer {
                    to,
                    ports,
                    said,
                    why,
                });
            }
            (Some(to), Ok(Some(ports)), Some(http)) => {
                let bytes = shown.and_then(|shown| shown.http.as_ref()?.bytes);
                // A hole for one request names its digest, or its very path where it had none.
                let asked = shown.and_then(|shown| shown.http.as_ref());
                let path = text(http, "path");
                let is_asked = asked.is_none_or(|asked| path.as_ref() == Some(&asked.path));
                let is_last = http.get("requests_left").is_some_and(|left| *left == 1);
                let one = text(http, "digest").is_some() || (is_last && is_asked);
                self.http.push(HttpAnswer {
                    to,
                    ports,
                    method: text(http, "method"),
                    path,
                    is_pattern: !one,
                    has_body: one && bytes != Some(0),
                    yes: true,
                    why,
                });
            }
            _ => self.unsaid.push(format!("{why}: no policy can say it")),
        }
    }
}

impl Shown {
    fn of(fields: &serde_json::Map<String, Value>) -> Self {
        let read = |name: &str| fields.get(name).cloned().unwrap_or_default();
        Self {
            destination: serde_json::from_value(read("destination")).ok(),
            http: serde_json::from_value(read("http")).ok(),
            rule: text(fields, "rule"),
            comm: text(fields, "comm"),
            note: text(fields, "note"),
        }
    }

    /// Where to, as a policy says it.
    fn place(&self) -> Option<(Prefix, PortSpec)> {
        place(self.destination.as_ref()?)
    }
}

/// What an answer to a burst of questions was for, where it was one: of a yes what it opened, of a no all of the prefix.
fn about(record: &LogRecord) -> Option<Vec<Prefix>> {
    let told = ["opens", "refuses"].map(|name| record.fields.get(name));
    let told = told.into_iter().flatten().find(|value| !value.is_null())?;
    serde_json::from_value(told.clone()).ok()
}

/// A destination as a policy says it; none where none can, as for protocols that have no name there.
#[must_use]
pub fn place(to: &Endpoint) -> Option<(Prefix, PortSpec)> {
    let address: IpAddr = to.address.parse().ok()?;
    let ports = match (to.protocol.as_str(), to.port) {
        ("tcp", Some(port)) => PortSpec::one(Protocol::TCP, port),
        ("udp", Some(port)) => PortSpec::one(Protocol::UDP, port),
        ("icmp", None) => PortSpec::all(Protocol::ICMP),
        _ => return None,
    };
    // Port 0 is one that no policy can name.
    (ports.high != 0).then(|| (Prefix::from(address), ports))
}

/// In one line: who, when, what about, at which rule.
fn why(record: &LogRecord, shown: Option<&Shown>) -> String {
    let field = |name: &str| text(&record.fields, name);
    let who = field("by").unwrap_or_else(|| "somebody".to_owned());
    let what = match (field("answer").as_deref(), field("request"), field("hole")) {
        (Some(answer), Some(request), _) => format!("said {answer} to {request}"),
        (None, Some(request), Some(hole)) => format!("said yes to {request} ({hole})"),
        (_, _, hole) => format!("opened {}", hole.unwrap_or_else(|| "a hole".to_owned())),
    };
    let session = record.session.as_deref().unwrap_or("-");
    let at: Timestamp = record.at;
    let mut why = format!("{who} {what} of {session}, {at:.0}");
    let asked = shown.map(|shown| {
        [
            shown.comm.as_ref().map(|comm| format!("asked by {comm}")),
            shown
                .rule
                .as_ref()
                .map(|rule| format!("stopped by rule {rule}")),
            shown.destination.as_ref().and_then(|to| to.host.clone()),
            shown.note.as_ref().map(|note| format!("\"{note}\"")),
        ]
    });
    let reason = shown.is_none().then(|| field("reason")).flatten();
    let more = asked.into_iter().flatten().flatten().chain(reason);
    for one in more {
        why.push_str(", ");
        why.push_str(&one);
    }
    why
}

/// A field's text, where it has any.
pub(super) fn text(fields: &serde_json::Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name)?.as_str().map(str::to_owned)
}
