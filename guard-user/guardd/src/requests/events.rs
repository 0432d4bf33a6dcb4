//! From the kernel half's events to requests for an approver, and to the audit log.
//!
//! `State::hear` takes each event out of the ring buffer. A listener or a dial goes to `relays`. A refusal is judged again, by
//! the policies of now (`verdict_on`), and becomes a `denied` record, a request as well where a hole could allow it (`ask`),
//! or nothing. A connection that is held goes to `holds/scan.rs`, which asks too.

use guard_common::{BootTime, Event, Hook, Protocol, SessionId, Verdict};
use guard_datapath::KernelEvent;
use guard_judge::http as http_judge;
use guard_policy::{PortSpec, Rule};
use guard_proto::{
    self as proto, Endpoint,
    record::{self, Denied, Destination, Field, Gathered},
};
use guard_sys::clock::Clocks;
use serde_json::{Map, Value};

use crate::{
    changes::Change,
    control::{failure::CallError, ids},
    policies::{Judged, Policies},
    process::Process,
    record::{audit::LogEntry, meters::Admitted},
    requests::{Noted, Pending, RequestKey, tries},
    sessions::{Session, Sessions},
    state::State,
};

/// Why a connection is refused that a rule allows.
const NOT_SHOWN: &str = "TLS has to show a server's name there (SNI) that the policy allows, in a ClientHello of one record";

impl State {
    /// Whether a session may cause a record now, and what that says of others.
    pub(crate) fn admit(&mut self, session: SessionId, now: BootTime) -> Option<Admitted> {
        let outermost = self.sessions.outermost_of(session);
        self.recorder.admit(session, outermost, now)
    }

    /// Handles all events that are unread in the ring buffer.
    pub fn hear(&mut self) {
        let before = self.requests.version();
        while let Some(told) = self.machine.next_event() {
            match told {
                KernelEvent::Connection(event) => {
                    if let Err(error) = self.note_event(&event) {
                        tracing::warn!(%error, session = event.session.0, "a refusal cannot be noted");
                    }
                }
                KernelEvent::Other(event) => self.note_stop(&event),
            }
        }
        if self.requests.version() != before {
            self.apply(Change::Requests);
        }
    }

    fn note_event(&mut self, event: &Event) -> Result<(), CallError> {
        if event.hook == Hook::Listener as u8 {
            self.relays
                .note_listener(&mut self.datapath, &self.sessions, event);
            return Ok(());
        }
        if event.hook == Hook::Dial as u8 || event.hook == Hook::ManyDials as u8 {
            let (kernel, sessions) = (&mut self.datapath, &self.sessions);
            let found = (self.relays).note_dial(kernel, sessions, &self.policies, event);
            if let Some(change) = found {
                self.apply(change);
            }
            return Ok(());
        }
        self.relays.note_tried(event);
        if event.hook == Hook::Egress as u8 {
            self.end_spent_holes(Some(event.session));
        }
        let Some(session) = self.sessions.live(event.session) else {
            self.note_denial(event, None);
            return Ok(());
        };
        let (kernel, subject) = (&self.datapath, session.subject());
        self.policies
            .recall_names(kernel, subject, event.destination)?;
        match self.verdict_on(event) {
            Some(Verdict::Confirm | Verdict::ReadOnly) if self.holes.is_aftermath(event) => {}
            Some(Verdict::Confirm) if event.held != 0 => self.note_held(event)?,
            Some(Verdict::Allow) if self.is_by_sni(event) => {
                if event.hook != Hook::Hello as u8 {
                    self.notice_network(event.session, event.tgid);
                }
                self.note_denial(event, Some(event.session));
            }
            // It was refused under a policy that has been replaced since.
            Some(Verdict::Allow) => {}
            // With a running proxy such connections are redirected, unless the proxy does not serve that network yet. From now
            // on it does, if it can.
            Some(Verdict::ReadOnly)
                if event.protocol == Protocol::TCP
                    && (self.notice_network(event.session, event.tgid) || !self.proxy.is_up()) =>
            {
                self.note_denial(event, Some(event.session));
            }
            Some(Verdict::Confirm | Verdict::ReadOnly) if !is_socket(event) => {
                self.holds.expect(event);
                self.note_denial(event, Some(event.session));
                self.note_request(event)?;
            }
            _ => self.note_denial(event, Some(event.session)),
        }
        Ok(())
    }

    /// Whether TLS has to show a name there.
    fn is_by_sni(&self, event: &Event) -> bool {
        self.sni_rule(event).is_some()
    }

    /// The rule that wants TLS to show a name there.
    fn sni_rule(&self, event: &Event) -> Option<&Rule> {
        let session = self.sessions.live(event.session)?;
        let (to, port) = (event.destination, event.port);
        let is_tcp = event.protocol == Protocol::TCP;
        let rule = self.policies.sni_rule(session.subject(), to, port);
        rule.filter(|_| is_tcp)
    }

    /// The verdict of the session's policies on the event now. If a hole for reads had it redirected, that is `read-only`.
    fn verdict_on(&self, event: &Event) -> Option<Verdict> {
        let verdict = self
            .relays
            .verdict_behind(&key(event), &judge(&self.sessions, &self.policies, event)?);
        match (verdict, Verdict::from_u8(event.verdict)) {
            (Verdict::Confirm, by_hole @ Verdict::ReadOnly) => Some(by_hole),
            _ => Some(verdict),
        }
    }

    /// Makes a request for a refusal, unless there is one.
    fn note_request(&mut self, event: &Event) -> Result<(), CallError> {
        let process = self
            .machine
            .process_behind(self.sessions.live(event.session), event);
        let noted = self.ask(key(event), event.at, process, (None, None))?;
        if noted == Noted::Full {
            tracing::warn!(session = event.session.0, "too many requests wait already");
        }
        Ok(())
    }

    /// Makes a request, or counts one more attempt for the one that is pending, and writes a new one to the audit log.
    ///
    /// # Errors
    ///
    /// If the kernel's counter of ids cannot be read.
    pub fn ask(
        &mut self,
        key: RequestKey,
        at: BootTime,
        (pid, process): (Option<u32>, Process),
        (note, typed): (Option<String>, Option<&str>),
    ) -> Result<Noted, CallError> {
        let Some(session) = self.sessions.live(key.session) else {
            return Err(ids::no_session(&ids::session(key.session)));
        };
        let (to, protocol, port) = (key.destination, key.protocol, key.port);
        let each = self
            .policies
            .judge_each(session.subject(), to, protocol, port);
        let each = each.filter(|each| !each.is_empty());
        let Some(each) = each else {
            return Err(ids::no_session(&ids::session(key.session)));
        };
        // A no to the outermost session is a no to all inside it.
        let outermost = RequestKey {
            session: session.outermost(),
            ..key.clone()
        };
        if outermost != key && self.requests.is_refused(&outermost, at) {
            return Ok(Noted::Muted);
        }
        let (owner, share) = (session.about.uid, session.outermost());
        let judged = asked_about(&each);
        let named = self.policies.told_of(key.session, to, judged.rule, typed);
        let host = match &named {
            Some(named) => Some(named.name.clone()),
            None => self.policies.host_of(key.session, to, judged),
        };
        let strictest = each.iter().max_by_key(|one| one.verdict.strictness());
        let verdict = self
            .relays
            .verdict_behind(&key, strictest.unwrap_or(judged));
        let draft = proto::Request {
            verdict: verdict.as_str().to_owned(),
            chain: chain(session, &each),
            named,
            through: self.relays.way(&key).cloned(),
            user: self.machine.user(owner),
            pid,
            comm: process.comm,
            exe: process.exe,
            command: process.command,
            note,
            ..draft(&key, at, host, judged)
        };
        self.put(key, (owner, share), at, (draft, process.warning))
    }

    /// Makes a request of a draft, or counts one more attempt for the one that is pending.
    pub(crate) fn put(
        &mut self,
        key: RequestKey,
        (owner, share): (u32, SessionId),
        at: BootTime,
        (draft, warning): (proto::Request, Option<String>),
    ) -> Result<Noted, CallError> {
        let program = draft.comm.clone();
        let ways = match key.question {
            Some(_) => 0,
            None => self.requests.note_way(&key, program.as_deref(), at),
        };
        let datapath = &mut self.datapath;
        let asked = key.clone();
        let noted = self.requests.note(key, (owner, share), at, || {
            let id = format!("r{}", datapath.next_request()?);
            Ok::<_, CallError>(proto::Request { id, ..draft })
        })?;
        if let Noted::New(id) | Noted::Again(id) = &noted {
            let warnings = [tries::warning(ways), warning];
            self.requests.note_try(id, program, warnings);
        }
        match &noted {
            Noted::New(id) => Ok(self.note_new(id, &asked, at).unwrap_or(noted)),
            _ => Ok(noted),
        }
    }

    /// Counts a new request and writes it to the audit log. If it became part of a burst, returns the burst's id.
    fn note_new(&mut self, id: &str, asked: &RequestKey, at: BootTime) -> Option<Noted> {
        if asked.http.is_some() {
            self.recorder.counters().http("asked");
        }
        self.recorder.counters().asked();
        let new = self.requests.get(id).map(|one| one.clone().alone(id));
        let session = self.sessions.live(asked.session);
        let (requests, policies) = (&mut self.requests, &self.policies);
        let burst = session.and_then(|session| {
            let names = requests.gather_names(asked, at);
            names.or_else(|| requests.gather_around(session, policies, asked, at))
        });
        if let Some(new) = new {
            self.write_request(&new, at, burst.as_ref());
        }
        burst.map(|burst| Noted::Again(burst.request))
    }

    /// Writes a new request to the audit log. `burst`: the burst that it has become part of.
    fn write_request(&mut self, asked: &Pending, at: BootTime, burst: Option<&Gathered>) {
        let Some(admitted) = self.admit(asked.key.session, at) else {
            return;
        };
        let shown = &asked.shown;
        let warnings = Some(&shown.warnings).filter(|some| !some.is_empty());
        let record = record::Request {
            request: shown.id.clone().into(),
            destination: Destination::Endpoint(shown.destination.clone()).into(),
            rule: shown.rule.clone().into(),
            verdict: shown.verdict.clone().into(),
            pid: shown.pid.into(),
            comm: shown.comm.clone().into(),
            exe: shown.exe.clone().into(),
            warnings: warnings.cloned().into(),
            note: shown.note.clone().into(),
            through: shown.through.clone().into(),
            http: shown.http.as_ref().map(for_trail).into(),
            question: shown.question.clone().map_or(Field::Absent, Field::Is),
            burst: burst.cloned().into(),
        };
        let entry = LogEntry::of(&shown.session, asked.owner, record);
        self.recorder.note(entry.admitted(admitted));
    }

    /// Writes a refusal to the audit log, as a `denied` record.
    fn note_denial(&mut self, event: &Event, session: Option<SessionId>) {
        let Some(admitted) = self.admit(event.session, event.at) else {
            return;
        };
        let judged = judge(&self.sessions, &self.policies, event);
        let rule = judged.and_then(|judged| judged.rule.map(|rule| rule.name.clone()));
        let (rule, why) = match self.sni_rule(event) {
            Some(by_sni) => (Some(by_sni.name.clone()), Some(NOT_SHOWN.to_owned())),
            None => (rule, None),
        };
        let host = judged.and_then(|judged| {
            let policies = &self.policies;
            policies.host_of(event.session, event.destination, &judged)
        });
        let live = session.and_then(|id| self.sessions.live(id));
        let (pid, process) = self
            .machine
            .process_behind(self.sessions.live(event.session), event);
        let hook = Hook::from_u8(event.hook).map_or("unknown", Hook::as_str);
        let record = Denied {
            cgroup: live.map_or(event.cgroup.into(), |_| Field::Absent),
            destination: destination(event, host).into(),
            rule: rule.into(),
            verdict: Verdict::from_u8(event.verdict).as_str().into(),
            through: self.relays.way(&key(event)).cloned().into(),
            hook: hook.into(),
            why: why.map_or(Field::Absent, Into::into),
            count: event.count.into(),
            pid: pid.into(),
            comm: process.comm.into(),
            exe: process.exe.into(),
            ..Denied::default()
        };
        let entry = match live {
            Some(live) => LogEntry::of(ids::session(live.cgroup.id), live.about.uid, record),
            None => record.into(),
        };
        self.recorder.note(entry.admitted(admitted));
    }
}

/// The verdict of the session's policies on an event now, holes left aside.
fn judge<'p>(sessions: &Sessions, policies: &'p Policies, event: &Event) -> Option<Judged<'p>> {
    let session = sessions.live(event.session)?;
    let (to, protocol, port) = (event.destination, event.protocol, event.port);
    policies.judge(session.subject(), to, protocol, port)
}

/// The verdict that an approver is shown, of those of a chain: the outermost policy's that does not allow it, since an inner
/// policy may be the words of the agent that it stops. Where all allow it, the outermost.
fn asked_about<'j, 'p>(each: &'j [Judged<'p>]) -> &'j Judged<'p> {
    let stops = |one: &&Judged<'_>| one.verdict != Verdict::Allow;
    let outermost = each.iter().rev().find(stops);
    outermost.unwrap_or(&each[each.len() - 1])
}

/// The verdict of each policy in the chain, the outermost first.
fn chain(session: &Session, each: &[Judged<'_>]) -> Vec<proto::ChainLink> {
    let sessions = session.with_those_around();
    // The outermost session may be judged by its policy twice: as it is, and as it is narrowed.
    let own = 1 + each.len().saturating_sub(sessions.len());
    let (inside, outermost) = each.split_at(each.len().saturating_sub(own));
    let outermost = (!outermost.is_empty()).then(|| asked_about(outermost));
    let links = sessions
        .into_iter()
        .zip(outermost.into_iter().chain(inside.iter().rev()));
    let link = |(session, judged): (u32, &Judged<'_>)| proto::ChainLink {
        session: ids::session(SessionId(session)),
        policy: judged.policy.policy.name.clone(),
        rule: judged.rule.map(|rule| rule.name.clone()),
        verdict: judged.verdict.as_str().to_owned(),
        reason: judged.rule.and_then(|rule| rule.reason.clone()),
    };
    links.map(link).collect()
}

/// A request without its id and its process.
fn draft(
    key: &RequestKey,
    at: BootTime,
    host: Option<String>,
    judged: &Judged<'_>,
) -> proto::Request {
    let to = endpoint(key, host);
    let policy = judged.policy.policy.name.clone();
    proto::Request {
        rule: judged.rule.map(|rule| rule.name.clone()),
        reason: judged.rule.and_then(|rule| rule.reason.clone()),
        verdict: judged.verdict.as_str().to_owned(),
        ..blank(key, at, to, policy)
    }
}

/// A request under a policy's default, without its id and its process.
pub(crate) fn blank(
    key: &RequestKey,
    at: BootTime,
    destination: Endpoint,
    policy: String,
) -> proto::Request {
    let at = Clocks::read().calendar(at);
    proto::Request {
        id: String::new(),
        session: ids::session(key.session),
        policy,
        user: String::new(),
        pid: None,
        comm: None,
        exe: None,
        command: Vec::new(),
        destination,
        rule: None,
        reason: None,
        verdict: Verdict::Confirm.as_str().to_owned(),
        chain: Vec::new(),
        held: false,
        asked_at: at,
        last_at: at,
        waits_until: None,
        count: 1,
        programs: Vec::new(),
        warnings: Vec::new(),
        http: key.http.as_ref().map(|http| http.request.clone()),
        question: None,
        named: None,
        note: None,
        burst: None,
        offers: Vec::new(),
        through: None,
        code: None,
    }
}

/// A request as it was shown to the approver, for the audit log: without the body of an HTTP request, which may hold anything.
#[must_use]
pub fn as_shown(request: &proto::Request) -> Map<String, Value> {
    let shown = proto::Request {
        http: request.http.as_ref().map(for_trail),
        ..request.clone()
    };
    match serde_json::to_value(shown) {
        Ok(Value::Object(shown)) => shown,
        _ => Map::new(),
    }
}

/// An HTTP request for the audit log: without its body, which may hold anything, headers that are not known to say what is
/// done, and values in its query that may be credentials.
fn for_trail(http: &proto::HttpRequest) -> proto::HttpRequest {
    let steers =
        |header: &&String| http_judge::steers(header.split(':').next().unwrap_or_default());
    let headers = http.headers.iter().filter(steers);
    let warnings = http.warnings.iter();
    proto::HttpRequest {
        path: path_for_trail(http),
        body_preview: None,
        headers: headers
            .map(|one| http_judge::without_secrets(one))
            .collect(),
        warnings: warnings
            .map(|one| http_judge::warning_without_values(one))
            .collect(),
        ..http.clone()
    }
}

/// Its path and query as the audit log may have them. A statement has no query: its `?` is an operator.
#[must_use]
pub fn path_for_trail(http: &proto::HttpRequest) -> String {
    match http.is_statement() {
        true => http.path.clone(),
        false => http_judge::without_secrets(&http.path),
    }
}

/// Whether it is a `socket` call, which has no destination that a hole could allow.
fn is_socket(event: &Event) -> bool {
    event.hook == Hook::SockCreate as u8
}

fn key(event: &Event) -> RequestKey {
    RequestKey {
        session: event.session,
        destination: event.destination,
        protocol: event.protocol,
        port: event.port,
        http: None,
        question: None,
    }
}

fn destination(event: &Event, host: Option<String>) -> Destination {
    match is_socket(event) {
        true => Destination::Socket {
            protocol: protocol_name(event.protocol),
            socket_type: event.socket_type.into(),
        },
        false => Destination::Endpoint(endpoint(&key(event), host)),
    }
}

/// The destination of a request as people see it.
#[must_use]
pub fn endpoint(key: &RequestKey, host: Option<String>) -> Endpoint {
    let has_ports = matches!(key.protocol, Protocol::TCP | Protocol::UDP);
    Endpoint {
        address: key.destination.to_ip().to_string(),
        port: has_ports.then_some(key.port),
        protocol: protocol_name(key.protocol),
        host,
    }
}

/// `tcp`, `udp`, `icmp`, or the number.
#[must_use]
pub fn protocol_name(protocol: Protocol) -> String {
    match protocol {
        Protocol::TCP => "tcp".to_owned(),
        Protocol::UDP => "udp".to_owned(),
        Protocol::ICMP => "icmp".to_owned(),
        Protocol(number) => number.to_string(),
    }
}

/// The ports of a hole that answers a request.
#[must_use]
pub fn ports_of(key: &RequestKey) -> PortSpec {
    match key.protocol {
        Protocol::TCP | Protocol::UDP => PortSpec::one(key.protocol, key.port),
        other => PortSpec::all(other),
    }
}
