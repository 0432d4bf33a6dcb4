//! What people have decided, out of the records of the audit log.

use std::{collections::HashMap, net::IpAddr};

use guard_common::Protocol;
use guard_policy::{PortSpec, Prefix};
use guard_proto::{
    Endpoint, HttpHole, HttpRequest, LogRecord,
    record::{Answered, HoleOpen, Record, RecordedDestination, Request},
    requests,
};
use jiff::Timestamp;

/// All of them, oldest first.
#[derive(Clone, Debug, Default)]
pub struct LoggedDecisions {
    /// About connections.
    pub answers: Vec<ConnectionDecision>,
    /// About HTTP requests.
    pub http: Vec<HttpDecision>,
    /// About connections to whatever addresses a name has.
    pub names: Vec<NameDecision>,
    /// What was decided, and no policy can say, with the reason.
    pub unsaid: Vec<String>,
}

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecisionKind {
    /// Yes, to everything.
    Yes,
    /// Yes, to reads.
    Reads,
    /// No.
    No,
}

/// A decision about connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionDecision {
    /// Where to.
    pub to: Prefix,
    /// Which ports; none: all, of every protocol.
    pub ports: Option<PortSpec>,
    /// What was said.
    pub said: DecisionKind,
    /// The approver, the time, and what the answer was about.
    pub why: String,
}

/// A yes to connections to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameDecision {
    /// The name.
    pub name: String,
    /// Which ports; none: all, of every protocol.
    pub ports: Option<PortSpec>,
    /// Whether it is for reads alone.
    pub reads: bool,
    /// The approver, the time, and what the answer was about.
    pub why: String,
}

/// A decision about HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDecision {
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
    /// Whether it was about requests to one host. A request that names none may be for any of those behind the address.
    pub has_host: bool,
    /// To whom, where it was about all writes: no rule for an address tells these by their host.
    pub all_writes: Option<WritesTo>,
    /// Yes or no.
    pub yes: bool,
    /// The approver, the time, and what the answer was about.
    pub why: String,
}

/// To whom all writes are that a yes lets through at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritesTo {
    /// To the host that it names.
    OneHost,
    /// It names none: the request that it answered had no Host, and may be for any of those behind the address. A guardd before 0.3.0 never
    /// wrote one.
    NoHost,
}

/// What a hole has in place of ports that is for questions alone.
const QUESTIONS: &str = "dns";

/// An answer about a statement.
const OF_STATEMENTS: &str =
    "it was about an SQL statement, and no rule names one: take a database role that cannot write";

/// A yes to another program's server on the loopback.
const OF_LISTENERS: &str = "it was about the program that listened there, and a rule would hold for any: guard approve --always remembers \
                            a program";

/// An answer about asking for a name, of which no rule says just that.
fn about_name(name: &str, yes: bool) -> String {
    let what = if yes {
        "any rule with that name has it asked for without a person"
    } else {
        "[dns] names = \"rules\" has no name asked for that no rule names"
    };
    format!("it was about asking for {name}, and nothing else: {what}")
}

/// Which request of which session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LoggedRequest {
    session: Option<String>,
    request: String,
}

/// What was asked.
type Asked = HashMap<LoggedRequest, Request>;

impl LoggedDecisions {
    /// The decisions in these records.
    #[must_use]
    pub fn of(records: &[LogRecord]) -> Self {
        let (mut all, mut asked) = (Self::default(), Asked::new());
        for (at, record) in records.iter().enumerate() {
            all.add(record, &records[at..], &mut asked);
        }
        all.leave_out_listeners();
        all
    }

    /// Leaves out what a yes opened at a listener on the loopback: a rule for its address or for this machine would hold for whatever
    /// listens there next.
    fn leave_out_listeners(&mut self) {
        let mut keeps = |to: &Prefix, is_yes: bool, why: &str| {
            let is_kept = !is_yes || !to.address().is_loopback();
            if !is_kept {
                self.unsaid.push(format!("{why}: {OF_LISTENERS}"));
            }
            is_kept
        };
        self.answers
            .retain(|one| keeps(&one.to, one.said != DecisionKind::No, &one.why));
        self.http.retain(|one| keeps(&one.to, one.yes, &one.why));
    }

    /// Adds a record; `from`: the records from this one on.
    fn add(&mut self, record: &LogRecord, from: &[LogRecord], asked: &mut Asked) {
        let key = |request: Option<&String>| {
            Some(LoggedRequest {
                session: record.session.clone(),
                request: request?.clone(),
            })
        };
        match record.record() {
            // After a reboot the same id is of another request.
            Record::Request(one) => {
                if let Some(key) = key(one.request.get()) {
                    asked.insert(key, *one);
                }
            }
            Record::Answered(one) => {
                let Some(key) = key(one.request.get()) else {
                    return;
                };
                if let Some(shown) = one.shown.get() {
                    asked.insert(key.clone(), Request::read(shown));
                }
                if !one.answer.is("yes") || !opens_name(from, &key) {
                    self.answered(record, &one, asked.get(&key));
                }
            }
            Record::HoleOpen(one) if record.common().noticed.is_none() => {
                let key = key(one.request.get());
                let shown = key.as_ref().and_then(|key| asked.get(key));
                self.opened(record, &one, shown);
            }
            _ => {}
        }
    }

    /// A yes about HTTP requests is read from the hole that it opened: it says for which.
    fn answered(&mut self, record: &LogRecord, one: &Answered, shown: Option<&Request>) {
        let yes = one.answer.is("yes");
        let request = one.request.get().map_or("-", String::as_str);
        let what = format!(
            "said {} to {request}",
            one.answer.get().map_or("something", String::as_str)
        );
        let why = why(record, one.by.get(), &what, shown, None);
        if let Some(question) = shown.and_then(|shown| shown.question.get()) {
            self.unsaid
                .push(format!("{why}: {}", about_name(&question.name, yes)));
            return;
        }
        let to = shown.and_then(|shown| shown.destination.get()?.endpoint());
        let Some((to, ports)) = to.and_then(place) else {
            self.unsaid.push(format!(
                "{why}: the audit log does not say what was asked, or no policy can"
            ));
            return;
        };
        match shown.and_then(|shown| shown.http.get()) {
            None => self.answered_connections(one, to, ports, &why),
            Some(http) if http.is_statement() => {
                self.unsaid.push(format!("{why}: {OF_STATEMENTS}"));
            }
            Some(http) if !yes => self.http.push(HttpDecision {
                to,
                ports,
                method: Some(http.method.clone()),
                path: Some(http.path.clone()),
                is_pattern: false,
                has_body: http.bytes != Some(0),
                has_host: http.host.is_some(),
                all_writes: None,
                yes,
                why,
            }),
            Some(_) => {}
        }
    }

    fn answered_connections(&mut self, one: &Answered, to: Prefix, ports: PortSpec, why: &str) {
        let said = match (one.answer.is("yes"), one.read_only.is(&true)) {
            (false, _) => DecisionKind::No,
            (true, true) => DecisionKind::Reads,
            (true, false) => DecisionKind::Yes,
        };
        let all = about(one).unwrap_or_else(|| vec![to]).into_iter();
        self.answers.extend(all.map(|to| ConnectionDecision {
            to,
            ports: Some(ports),
            said,
            why: why.to_owned(),
        }));
    }

    fn opened(&mut self, record: &LogRecord, one: &HoleOpen, shown: Option<&Request>) {
        let (http, request) = (one.http.get(), one.request.get());
        // Of a hole for questions the answer tells.
        if one.ports.is(QUESTIONS) {
            return;
        }
        if one.name.is_none() && one.http.is_none() && request.is_some() {
            return;
        }
        let hole = one.hole.get().map_or("a hole", String::as_str);
        let what = match request {
            Some(request) => format!("said yes to {request} ({hole})"),
            None => format!("opened {hole}"),
        };
        let why = why(record, one.by.get(), &what, shown, one.reason.get());
        if let Some(name) = one.name.get() {
            return self.opened_name(one, name, why);
        }
        let to = one.destination.get();
        let to = to.and_then(|to| to.parse::<Prefix>().ok());
        let ports = one.ports.get().map(|ports| ports.parse::<PortSpec>());
        let asked = shown.and_then(|shown| shown.http.get());
        match (to, ports.transpose(), http) {
            (Some(to), Ok(ports), None) if one.http.is_none() => {
                let reads = one.read_only.is(&true);
                let said = if reads {
                    DecisionKind::Reads
                } else {
                    DecisionKind::Yes
                };
                self.answers.push(ConnectionDecision {
                    to,
                    ports,
                    said,
                    why,
                });
            }
            (Some(_), _, Some(_)) if asked.is_some_and(HttpRequest::is_statement) => {}
            (Some(to), Ok(Some(ports)), Some(http)) => {
                self.http.push(opened_for(http, asked, to, ports, why));
            }
            _ => self.unsaid.push(format!("{why}: no policy can say it")),
        }
    }

    fn opened_name(&mut self, one: &HoleOpen, name: &str, why: String) {
        let ports = one.ports.get().map(|ports| ports.parse::<PortSpec>());
        match ports.transpose() {
            Ok(ports) => self.names.push(NameDecision {
                name: name.to_owned(),
                ports,
                reads: one.read_only.is(&true),
                why,
            }),
            Err(_) => self.unsaid.push(format!("{why}: no policy can say it")),
        }
    }
}

/// The yes to requests that a hole is for.
fn opened_for(
    http: &HttpHole,
    asked: Option<&HttpRequest>,
    to: Prefix,
    ports: PortSpec,
    why: String,
) -> HttpDecision {
    // A hole for one request names its digest, or its very path where it had none.
    let is_asked = asked.is_none_or(|asked| http.path.as_ref() == Some(&asked.path));
    let is_last = http.requests_left == Some(1);
    let one = http.digest.is_some() || (is_last && is_asked);
    HttpDecision {
        to,
        ports,
        method: http.method.clone(),
        path: http.path.clone(),
        is_pattern: !one,
        has_body: one && asked.and_then(|asked| asked.bytes) != Some(0),
        // A guardd before 0.3.0 wrote none of the hole.
        has_host: http.host.is_some() || asked.is_some_and(|asked| asked.host.is_some()),
        all_writes: all_writes(http),
        yes: true,
        why,
    }
}

/// To whom all writes are that a hole is for, if it is for all.
fn all_writes(http: &HttpHole) -> Option<WritesTo> {
    let is_for_all = http.method.is_none() && http.path.is_none();
    is_for_all.then_some(match http.host {
        Some(_) => WritesTo::OneHost,
        None => WritesTo::NoHost,
    })
}

/// Whether the yes to a request, the first of these records, opened a name and not the address that was asked for.
fn opens_name(from: &[LogRecord], key: &LoggedRequest) -> bool {
    let of_session = from.iter().filter(|record| record.session == key.session);
    let mut holes = of_session.filter_map(|record| match record.record() {
        Record::HoleOpen(one) if one.request.is(key.request.as_str()) => {
            Some(one.name.get().is_some())
        }
        _ => None,
    });
    holes.next() == Some(true)
}

/// What an answer to a burst of questions was for, where it was one: of a yes what it opened, of a no all of the prefix.
fn about(one: &Answered) -> Option<Vec<Prefix>> {
    let told = one.opens.get().or_else(|| one.refuses.get())?;
    told.iter().map(|to| to.parse().ok()).collect()
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

/// In one line: who, when, what about, at which rule; where nothing was asked, the `reason`.
fn why(
    record: &LogRecord,
    by: Option<&String>,
    what: &str,
    shown: Option<&Request>,
    reason: Option<&String>,
) -> String {
    let who = by.map_or_else(|| "somebody".to_owned(), |by| requests::who(by));
    let session = record.session.as_deref().unwrap_or("-");
    let at: Timestamp = record.at;
    let mut why = format!("{who} {what} of {session}, {at:.0}");
    let asked = shown.map(|shown| {
        let to = shown
            .destination
            .get()
            .and_then(RecordedDestination::endpoint);
        [
            shown.comm.get().map(|comm| format!("asked by {comm}")),
            shown
                .rule
                .get()
                .map(|rule| format!("stopped by rule {rule}")),
            to.and_then(|to| to.host.clone()),
            shown.note.get().map(|note| format!("\"{note}\"")),
        ]
    });
    let reason = reason.filter(|_| shown.is_none()).cloned();
    let more = asked.into_iter().flatten().flatten().chain(reason);
    for one in more {
        why.push_str(", ");
        why.push_str(&one);
    }
    why
}
