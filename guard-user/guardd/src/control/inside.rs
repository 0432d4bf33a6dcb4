//! The calls from inside a session: what was stopped, and a request to open something.

use std::collections::HashSet;

use guard_common::{AttemptCount, AttemptKey, DNS_PORT, HoleId, Protocol, SessionId, Verdict};
use guard_datapath::LiveHole;
use guard_policy::{Barred, Destination, Environment, PortSpec};
use guard_proto::{
    Endpoint, Stopped,
    inside::{DecidesNow, Outcome, PersonsNo, Requested, WhyReport},
    record,
};
use guard_sys::clock::{self, Clocks};

use crate::{
    changes::Change,
    control::{advice, auth::Agent, explain, explain_session::HTTPS, failure::CallError, ids},
    holes::known::Holes,
    policies::{InForce, Policies},
    process::{Process, SeenProcess},
    proxy::closings::Closing,
    record::{Recorder, audit::LogEntry},
    requests::{
        Noted, RequestKey, Requests,
        attempts::AttemptJudge,
        decided::Matter,
        drafts::AskersWords,
        given::{OpenedByYes, PersonsAnswer, YesOrNo},
        reason,
    },
    sessions::{Sessions, stops::Stop},
    state::State,
};

/// The latest refusals that are reported.
const MAX_STOPPED: usize = 20;
/// Why a hole is over that lasts for what goes on.
const USED_UP: &str = "its connections are used up";
/// Requests that are proposed in place of one for several ports.
const MAX_PROPOSED: usize = 4;
/// Protocols whose ports are proposed where none were named.
const USUAL: [PortSpec; 2] = [PortSpec::all(Protocol::TCP), PortSpec::all(Protocol::UDP)];

/// The words about what decides, for the one who was stopped at a destination.
#[derive(Clone, Copy)]
struct Advised<'m>(&'m Endpoint, &'m Matter);

impl Advised<'_> {
    fn denied(&self) -> String {
        advice::denied(self.0, self.1.by())
    }

    fn name_server_denied(&self) -> String {
        advice::name_server_denied(self.0, self.1.by())
    }

    fn asked(&self, request: &str) -> String {
        advice::asked(self.0, self.1.by(), request)
    }

    fn asked_first(&self, request: &str) -> String {
        advice::asked_first(self.0, self.1.by(), request)
    }

    fn askable(&self) -> String {
        advice::askable(self.0, self.1.by())
    }
}

/// What an approver was asked about a destination before.
#[derive(Clone, Copy)]
enum AskedBefore<'r> {
    /// The request with this id is pending.
    Pending(&'r str),
    /// An approver opened it, and that is over.
    WasOpen,
    No,
}

impl<'r> AskedBefore<'r> {
    const fn of(pending: Option<&'r str>, was_open: bool) -> Self {
        match pending {
            Some(request) => Self::Pending(request),
            None if was_open => Self::WasOpen,
            None => Self::No,
        }
    }
}

/// An answer without a request.
fn told(verdict: Verdict, advice: String) -> Requested {
    Requested {
        verdict: verdict.as_str().to_owned(),
        request: None,
        advice,
    }
}

fn nobody_to_ask() -> CallError {
    CallError::failed(
        "nobody can be asked now",
        "as many requests wait, or were refused, as guardd keeps",
        "ask the person to answer some: guard pending",
    )
}

impl State {
    /// The caller's session, and what was stopped there lately.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn why(&mut self, agent: Agent) -> Result<WhyReport, CallError> {
        let id = agent.session();
        let session = self.shown(id);
        let session = session.ok_or_else(|| ids::no_session(&ids::session(id)))?;
        let attempts = self.datapath.attempts(id)?;
        let clocks = Clocks::read();
        let holes = self.datapath.holes()?;
        let is_sent = |key: &AttemptKey| key.verdict != AttemptKey::NOTHING_SENT;
        let sent = attempts.iter().filter(|(key, _)| is_sent(key));
        let sent: HashSet<_> = sent.map(|(key, _)| key.there()).collect();
        let judge = self.attempts();
        let let_through = |hole| self.datapath.let_through(hole);
        let stops = StopExplainer {
            sessions: &self.sessions,
            policies: &self.policies,
            requests: &self.requests,
            holes: &self.holes,
        };
        let stopped = attempts
            .iter()
            .filter(|(key, _)| is_sent(key) || !sent.contains(&key.there()))
            .filter_map(|(key, tried)| {
                stops.stopped_there(judge, key, tried, &holes, let_through, &clocks)
            });
        let closed = self.proxy.closings(id);
        let closed = closed.filter_map(|one| stops.closed(id, one, &clocks));
        let mut stopped: Vec<_> = stops
            .stopped_http(id, &clocks)
            .into_iter()
            .chain(closed)
            .chain(self.resolver.stopped_names(&stops, id, &clocks))
            .chain(self.sockets.stopped(id, &clocks))
            .chain(self.requests.stopped_sockets(id, &clocks))
            .chain(stopped)
            .chain(stops.asked_first(id, &attempts, &holes, let_through, &clocks))
            .collect();
        stopped.sort_by_key(|one| std::cmp::Reverse(one.at));
        let more = stopped.len() > MAX_STOPPED;
        stopped.truncate(MAX_STOPPED);
        Ok(WhyReport {
            session,
            stopped,
            more,
        })
    }

    /// Makes a request for a destination, on behalf of a process inside.
    ///
    /// # Errors
    ///
    /// `Invalid` if it does not name one address and port; the kernel's.
    pub(crate) fn request(
        &mut self,
        agent: Agent,
        pid: u32,
        to: &Destination,
        ports: &[PortSpec],
        reason: Option<String>,
    ) -> Result<Requested, CallError> {
        let mut now = self.environment();
        let typed = explain::name_in(to);
        if let Some(name) = &typed {
            let mut latest = self.policies.latest(name);
            let told = self.policies.known_names();
            let told = told.addresses_of(agent.session(), name, clock::now());
            latest.extend(told.map(|(address, _)| address.to_ip()));
            now.names.insert(name.clone(), latest);
        }
        let key = key(agent, to, ports, &now)?;
        let Some(about) = matter(&self.sessions, &self.policies, &key) else {
            return Err(ids::no_session(&ids::session(agent.session())));
        };
        let destination = key.endpoint(about.host.clone());
        let to = advice::destination(&destination);
        let advised = Advised(&destination, &about);
        match about.verdict {
            Verdict::Allow => return Ok(told(Verdict::Allow, advice::allowed(&to))),
            Verdict::Deny => return Ok(told(Verdict::Deny, advised.denied())),
            Verdict::Confirm | Verdict::ReadOnly => {}
        }
        let holes = self.datapath.holes()?;
        if holes.iter().any(|hole| lets_through(hole, &key)) {
            return Ok(told(Verdict::Allow, advice::allowed(&to)));
        }
        let words = AskersWords {
            note: reason.map(|reason| reason::on_one_line(&reason)),
            typed: typed.as_deref(),
        };
        let attempts = self.datapath.attempts(agent.session())?;
        let was_tried = attempts.iter().any(|(attempt, _)| key.is_tried_by(attempt));
        match self.put_request(key, pid, words)? {
            Noted::New(id) | Noted::Again(id) => Ok(Requested {
                request: self.requests.get(&id).map(|asked| asked.shown.clone()),
                ..told(
                    about.verdict,
                    if was_tried {
                        advised.asked(&id)
                    } else {
                        advised.asked_first(&id)
                    },
                )
            }),
            Noted::SaidNo => Ok(told(Verdict::Deny, advice::answered_no(&destination))),
            Noted::Full => Err(nobody_to_ask()),
        }
    }

    /// Makes a request, or adds the agent's note to the one that waits.
    fn put_request(
        &mut self,
        key: RequestKey,
        pid: u32,
        words: AskersWords<'_>,
    ) -> Result<Noted, CallError> {
        let session = self.sessions.live(key.session);
        let cgroup = session.and_then(|session| self.machine.kernel_path(&session.cgroup.path));
        let process = cgroup.and_then(|cgroup| Process::look(pid, &cgroup));
        // Who was stopped is shown, and not the call that asks for it.
        let pending = self.requests.find(&key);
        let asker = if pending.is_some_and(|one| one.shown.comm.is_some()) {
            SeenProcess::default()
        } else {
            SeenProcess {
                pid: Some(pid),
                process: process.unwrap_or_default(),
            }
        };
        let note = words.note.clone();
        let noted = self.ask(key.clone(), clock::now(), asker, words)?;
        if let (Noted::Again(id), Some(note)) = (&noted, note)
            && self.requests.annotate(&key, note.clone())
        {
            let (requests, sessions) = (&self.requests, &self.sessions);
            write_note(requests, sessions, &mut self.recorder, id, &key, note);
        }
        self.apply(Change::Requests);
        Ok(noted)
    }
}

/// What it takes to say why a session was stopped: at a destination, for a name (`resolver/refused.rs`), or with an HTTP request or a
/// statement (`proxy/stopped.rs`), and what came of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopExplainer<'s> {
    /// The sessions.
    pub(crate) sessions: &'s Sessions,
    /// Their policies.
    pub(crate) policies: &'s Policies,
    /// The requests, and people's answers.
    pub(crate) requests: &'s Requests,
    /// The holes.
    pub(crate) holes: &'s Holes,
}

impl StopExplainer<'_> {
    /// Connections that the proxy closed for what came first on them.
    fn closed(&self, session: SessionId, one: &Stop<Closing>, clocks: &Clocks) -> Option<Stopped> {
        let Closing { to, port, why } = &one.what;
        let key = RequestKey::new(session, *to, Protocol::TCP, *port);
        let about = matter(self.sessions, self.policies, &key)?;
        let destination = key.endpoint(about.host.clone());
        let advice = advice::closed(&destination, why);
        let at = clocks.calendar(one.last);
        Some(Stopped {
            count: one.count,
            barred: None,
            ..decided(Stopped::new(at, destination, "", advice), about)
        })
    }

    /// What became of attempts at one destination. `let_through` counts a hole's connections.
    fn stopped_there(
        &self,
        judge: AttemptJudge<'_>,
        attempt: &AttemptKey,
        tried: &AttemptCount,
        holes: &[LiveHole],
        let_through: impl Fn(HoleId) -> u64,
        clocks: &Clocks,
    ) -> Option<Stopped> {
        let key = tried_key(attempt);
        // The socket's own entry says why.
        if attempt.verdict == Verdict::Allow as u8 && self.requests.has_refused_socket(&key) {
            return None;
        }
        let now = matter(self.sessions, self.policies, &key)?;
        let then = self.requests.decided_about(attempt);
        let before_restart = then.is_none() && tried.reported < self.requests.began();
        let then = then.unwrap_or(&now).clone();
        let request = self.requests.find(&key);
        let request = request.map(|asked| asked.shown.id.clone());
        let answer = self.requests.last_answer(self.sessions, &key);
        let outcome = answer.and_then(|answer| {
            let opened = answer.hole(&key)?;
            let again = !answer.is_last(attempt, tried);
            let yes = came_of(answer, opened, clocks);
            outcome(&let_through, opened, again, holes, yes)
        });
        let refused = answer.and_then(|answer| refused(answer, clocks));
        let destination = key.endpoint(then.host.clone());
        let asked = AskedBefore::of(request.as_deref(), outcome.is_some());
        let advised = Advised(&destination, &then);
        let advice = match judge.passes_by_tcp(attempt) {
            Some(_) => advice::unsent(&destination),
            None => self.advice(&key, &now, advised, asked, holes),
        };
        let other = decides_now(&now, &then);
        let at = clocks.calendar(tried.reported);
        Some(Stopped {
            count: tried.count,
            request,
            outcome,
            refused,
            now: other,
            before_restart,
            ..decided(Stopped::new(at, destination, "", advice), then)
        })
    }

    /// What was asked for with `guard request` before anything was tried: requests that wait, and those that were answered.
    fn asked_first(
        &self,
        session: SessionId,
        attempts: &[(AttemptKey, AttemptCount)],
        holes: &[LiveHole],
        let_through: impl Fn(HoleId) -> u64,
        clocks: &Clocks,
    ) -> Vec<Stopped> {
        let waiting = self.requests.pending().iter();
        let waiting = waiting.map(|one| (&one.key, one.asked, Some(one.shown.id.as_str())));
        let answered = self.requests.given().to_connections(session);
        let is_first = |key: &RequestKey| {
            let is_tried = attempts.iter().any(|(attempt, _)| key.is_tried_by(attempt));
            key.session == session && key.is_connection() && !is_tried
        };
        let mut seen = HashSet::new();
        let all = waiting.chain(answered.map(|(key, at)| (key, at, None)));
        let first = all.filter(|(key, ..)| is_first(key) && seen.insert(*key));
        let said = first.filter_map(|(key, at, request)| {
            let now = matter(self.sessions, self.policies, key)?;
            let answer = self.requests.last_answer(self.sessions, key);
            let outcome = answer.and_then(|answer| {
                let opened = answer.hole(key)?;
                let yes = came_of(answer, opened, clocks);
                outcome(&let_through, opened, false, holes, yes)
            });
            let destination = key.endpoint(now.host.clone());
            let advised = Advised(&destination, &now);
            let advice = match request {
                Some(id) => advised.asked_first(id),
                None => {
                    let before = AskedBefore::of(None, outcome.is_some());
                    self.advice(key, &now, advised, before, holes)
                }
            };
            Some(Stopped {
                count: 0,
                request: request.map(str::to_owned),
                outcome,
                refused: answer.and_then(|answer| refused(answer, clocks)),
                ..decided(
                    Stopped::new(clocks.calendar(at), destination, "", advice),
                    now,
                )
            })
        });
        said.collect()
    }

    /// What to do about a destination by what decides now, and by what decided then.
    fn advice(
        &self,
        key: &RequestKey,
        now: &Matter,
        advised: Advised<'_>,
        asked: AskedBefore<'_>,
        holes: &[LiveHole],
    ) -> String {
        let Advised(destination, _) = advised;
        if now.verdict == Verdict::Allow {
            return advice::allowed_by_now(destination);
        }
        if matches!(now.barred, Some(Barred::IsOver { .. })) {
            return advice::look_up_again(destination);
        }
        if now.verdict == Verdict::Deny {
            let advised = Advised(destination, now);
            return if self.policies.is_name_server(key) {
                advised.name_server_denied()
            } else {
                advised.denied()
            };
        }
        let is_open = holes.iter().any(|hole| lets_through(hole, key));
        let reads = holes.iter().any(|hole| lets_read(hole, key));
        match asked {
            _ if is_open => advice::opened(destination),
            _ if reads && now.verdict == Verdict::Confirm => advice::opened_for_reads(destination),
            AskedBefore::Pending(id) => advised.asked(id),
            _ if self.requests.is_refused_to(self.sessions, key) => {
                advice::answered_no(destination)
            }
            AskedBefore::WasOpen => advice::was_open(destination),
            AskedBefore::No => advised.askable(),
        }
    }
}

/// Writes an agent's note to the audit log. The record of the request has none: the connection that was refused made it.
fn write_note(
    requests: &Requests,
    sessions: &Sessions,
    recorder: &mut Recorder,
    id: &str,
    key: &RequestKey,
    note: String,
) {
    let Some(owner) = requests.get(id).map(|asked| asked.owner) else {
        return;
    };
    let Some(admitted) = sessions.admit(recorder, key.session, clock::now()) else {
        return;
    };
    let record = record::Noted {
        request: id.into(),
        note: note.into(),
    };
    let entry = LogEntry::of(ids::session(key.session), owner, record);
    recorder.note(entry.admitted(admitted));
}

/// What came of a person's yes: to the last attempt that was refused or held, or to one before (`again`), where what it opened is over.
fn outcome(
    let_through: impl Fn(HoleId) -> u64,
    opened: &OpenedByYes,
    again: bool,
    holes: &[LiveHole],
    yes: Outcome,
) -> Option<Outcome> {
    let (ended, passed) = match &opened.ended {
        Some((why, passed)) => (Some(why.clone()), *passed),
        None => (None, let_through(opened.hole)),
    };
    let is_it = |hole: &&LiveHole| hole.entry.id == opened.hole;
    let mut used_up = holes.iter().filter(is_it);
    let used_up = again && used_up.any(LiveHole::is_used_up);
    let ended = ended.or_else(|| used_up.then(|| USED_UP.to_owned()));
    // What is refused while it is open, is so for another reason.
    let is_told = !again || ended.is_some();
    is_told.then_some(Outcome {
        passed,
        ended,
        again,
        ..yes
    })
}

impl Policies {
    /// Whether it is one of this machine, asked for a name.
    fn is_name_server(&self, key: &RequestKey) -> bool {
        let servers = self.name_servers();
        key.port == DNS_PORT
            && matches!(key.protocol, Protocol::UDP | Protocol::TCP)
            && servers.contains(&key.destination.to_ip())
    }
}

/// With what decided.
fn decided(stopped: Stopped, matter: Matter) -> Stopped {
    Stopped {
        verdict: matter.verdict.as_str().to_owned(),
        rule: matter.rule,
        reason: matter.reason,
        policy: matter.around,
        named: matter.named,
        barred: matter.barred.map(|one| one.to_string()),
        ..stopped
    }
}

/// What the attempts were about.
fn tried_key(attempt: &AttemptKey) -> RequestKey {
    RequestKey::new(
        attempt.session,
        attempt.destination,
        attempt.protocol,
        attempt.port,
    )
}

/// What decides now, where something else decided then.
fn decides_now(now: &Matter, then: &Matter) -> Option<DecidesNow> {
    (!now.is_by_the_same(then)).then(|| DecidesNow {
        verdict: now.verdict.as_str().to_owned(),
        rule: now.rule.clone(),
        policy: now.around.clone(),
    })
}

/// A yes as the one inside sees it; what passed is for the caller to tell.
pub(crate) fn came_of(answer: &PersonsAnswer, opened: &OpenedByYes, clocks: &Clocks) -> Outcome {
    Outcome {
        request: answer.request.as_ref().map(|request| request.id.clone()),
        by: answer.by.clone(),
        at: clocks.calendar(answer.at),
        hole: ids::hole(opened.hole),
        waited: answer.held,
        passed: 0,
        ended: None,
        again: false,
    }
}

/// A no as the one inside sees it; none of a yes.
pub(crate) fn refused(answer: &PersonsAnswer, clocks: &Clocks) -> Option<PersonsNo> {
    let YesOrNo::No { until, .. } = &answer.said else {
        return None;
    };
    Some(PersonsNo {
        request: answer.request.as_ref()?.id.clone(),
        by: answer.by.clone(),
        at: clocks.calendar(answer.at),
        until: clocks.calendar(*until),
    })
}

/// What the session's policies say of a request.
pub(crate) fn matter(sessions: &Sessions, policies: &Policies, key: &RequestKey) -> Option<Matter> {
    let session = sessions.live(key.session)?;
    let (to, protocol, port) = (key.destination, key.protocol, key.port);
    let judged = policies.judge(session.subject(), to, protocol, port)?;
    let apart = apart(sessions, policies, key.session);
    Some(Matter {
        is_own: apart.is_some_and(|apart| std::ptr::eq(apart, judged.policy)),
        host: policies.host_of(key.session, to, &judged),
        verdict: judged.verdict,
        rule: judged.rule.map(|rule| rule.name.clone()),
        reason: judged.reason(),
        around: policies.around(&session.chain, &judged),
        named: policies.told_of(key.session, to, judged.rule, None),
        barred: policies.barred(session.subject(), to, protocol, port),
    })
}

/// The policy that guardd adds rules to for what comes into reach of a session, or of the outermost around it.
pub(crate) fn apart<'p>(
    sessions: &Sessions,
    policies: &'p Policies,
    session: SessionId,
) -> Option<&'p InForce> {
    let slot = sessions.slot_apart(sessions.outermost_of(session))?;
    policies.get(slot)
}

/// The key of the request that an agent makes: the first address of a name, and one port.
fn key(
    agent: Agent,
    to: &Destination,
    ports: &[PortSpec],
    now: &Environment,
) -> Result<RequestKey, CallError> {
    let prefixes = to.target.prefixes(now);
    let Some(prefix) = prefixes.first().filter(|prefix| prefix.is_host()) else {
        return Err(CallError::invalid(
            format!("cannot ask for {to}"),
            "a request is for one address, or for a name that has one",
            "guard request 192.0.2.10:443 --reason TEXT",
        ));
    };
    let port = one_port(to, ports)?;
    Ok(RequestKey::new(
        agent.session(),
        prefix.address(),
        port.protocol,
        port.low,
    ))
}

/// The one port that a request is for. A yes to a part of what was asked would look like one to all of it.
fn one_port(to: &Destination, ports: &[PortSpec]) -> Result<PortSpec, CallError> {
    let ports = to.ports(ports);
    match ports[..] {
        [one] if one.low == one.high || one.protocol == Protocol::ICMP => Ok(one),
        _ => Err(not_one_port(to, &ports)),
    }
}

fn not_one_port(to: &Destination, ports: &[PortSpec]) -> CallError {
    let what = if ports.iter().all(is_every_port) {
        format!("cannot ask for every port of {to}")
    } else {
        format!("cannot ask for several ports of {to} at once")
    };
    let meant: &[PortSpec] = if ports.is_empty() { &USUAL } else { ports };
    let mut commands = meant.iter().flat_map(|spec| each_port(to, *spec));
    let mut fix: Vec<_> = commands.by_ref().take(MAX_PROPOSED).collect();
    if commands.next().is_some() {
        fix.insert(0, "ask for each by itself, such as:".to_owned());
    }
    CallError::invalid(what, "a request is for one port", fix.join("\n"))
}

fn is_every_port(spec: &PortSpec) -> bool {
    spec.low == 0 && spec.protocol != Protocol::ICMP
}

/// What asks for each port, as people type it; of all ports of a protocol for the one that is most often meant.
fn each_port(to: &Destination, spec: PortSpec) -> impl Iterator<Item = String> + '_ {
    let ports = match (is_every_port(&spec), spec.protocol) {
        (true, Protocol::UDP) => DNS_PORT..=DNS_PORT,
        (true, _) => HTTPS..=HTTPS,
        (false, Protocol::ICMP) => 0..=0,
        (false, _) => spec.low..=spec.high,
    };
    ports.map(move |port| {
        let (port, ports) = match spec.protocol {
            Protocol::TCP => (Some(port), String::new()),
            Protocol::ICMP => (None, " --ports icmp".to_owned()),
            other => (None, format!(" --ports {}", PortSpec::one(other, port))),
        };
        let target = to.target.clone();
        let to = Destination { target, port };
        format!("guard request {to}{ports} --reason TEXT")
    })
}

/// Whether a hole lets the request's connections through.
fn lets_through(hole: &LiveHole, key: &RequestKey) -> bool {
    !hole.entry.kind.reads() && covers(hole, key)
}

/// Whether a hole lets reads through to the request's destination.
fn lets_read(hole: &LiveHole, key: &RequestKey) -> bool {
    hole.entry.kind.reads() && covers(hole, key)
}

/// Whether a hole covers the request's connections.
fn covers(hole: &LiveHole, key: &RequestKey) -> bool {
    let (to, protocol, port) = (&key.destination, key.protocol, key.port);
    let is_own = hole.session == key.session && hole.connections_left != Some(0);
    is_own && hole.entry.covers(to, protocol, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(to: &str, ports: &str) -> Result<String, CallError> {
        let specs = ports.split_terminator(',').map(|one| one.parse().unwrap());
        let specs: Vec<PortSpec> = specs.collect();
        one_port(&to.parse().unwrap(), &specs).map(|port| port.to_string())
    }

    #[test]
    fn a_request_is_for_one_port() {
        for (to, ports, port) in [
            ("192.0.2.10:443", "", "tcp/443"),
            ("db.example.com", "tcp/5432", "tcp/5432"),
            ("192.0.2.10:53", "udp/53", "udp/53"),
            ("192.0.2.10", "icmp", "icmp"),
        ] {
            assert_eq!(asked(to, ports).unwrap(), port);
        }
    }

    #[test]
    fn no_port_is_dropped_from_a_request_without_a_word() {
        for (to, ports, what, fix) in [
            (
                "db.example.com",
                "tcp/5432,tcp/5433",
                "several ports of db.example.com at once",
                "guard request db.example.com:5432 --reason TEXT\n\
                 guard request db.example.com:5433 --reason TEXT",
            ),
            (
                "2001:db8::1",
                "tcp/8000-8100",
                "several ports of 2001:db8::1 at once",
                "ask for each by itself, such as:\n\
                 guard request [2001:db8::1]:8000 --reason TEXT\n\
                 guard request [2001:db8::1]:8001 --reason TEXT\n\
                 guard request [2001:db8::1]:8002 --reason TEXT\n\
                 guard request [2001:db8::1]:8003 --reason TEXT",
            ),
            (
                "192.0.2.10:53",
                "tcp/53,udp/53",
                "several ports of 192.0.2.10:53 at once",
                "guard request 192.0.2.10:53 --reason TEXT\n\
                 guard request 192.0.2.10 --ports udp/53 --reason TEXT",
            ),
            (
                "192.0.2.10",
                "icmp,udp",
                "several ports of 192.0.2.10 at once",
                "guard request 192.0.2.10 --ports icmp --reason TEXT\n\
                 guard request 192.0.2.10 --ports udp/53 --reason TEXT",
            ),
            (
                "192.0.2.10",
                "tcp",
                "every port of 192.0.2.10",
                "guard request 192.0.2.10:443 --reason TEXT",
            ),
            (
                "192.0.2.10",
                "",
                "every port of 192.0.2.10",
                "guard request 192.0.2.10:443 --reason TEXT\n\
                 guard request 192.0.2.10 --ports udp/53 --reason TEXT",
            ),
        ] {
            let failure = asked(to, ports).unwrap_err().failure;
            assert_eq!(failure.what, format!("cannot ask for {what}"));
            assert_eq!(failure.fix, fix);
            let typed = fix
                .lines()
                .filter_map(|line| line.strip_prefix("guard request "));
            for line in typed {
                let (to, _) = line.split_once(" --reason").unwrap();
                let (to, ports) = to.split_once(" --ports ").unwrap_or((to, ""));
                assert!(asked(to, ports).is_ok(), "{line}");
            }
        }
    }
}
