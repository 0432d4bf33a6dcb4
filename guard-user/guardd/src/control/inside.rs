//! The calls from inside a session: what was stopped, and a request to open something.

use guard_common::{AttemptCount, AttemptKey, Protocol, SessionId, Verdict};
use guard_datapath::LiveHole;
use guard_policy::{Destination, Environment, PortSpec};
use guard_proto::{
    self as proto, Endpoint, Stopped,
    destination::NameTold,
    inside::{Outcome, Requested, WhyReport},
    record,
};
use guard_sys::clock::{self, Clocks};

use crate::{
    control::{advice, auth::Agent, explain, failure::CallError, ids},
    policies::Policies,
    process::Process,
    proxy::closings::Closing,
    proxy::requests::in_words,
    record::audit::LogEntry,
    requests::{Noted, Pending, RequestKey, Requests},
    sessions::{Sessions, stops::Stop},
    state::State,
};

/// The latest refusals that are reported.
const MAX_STOPPED: usize = 20;
/// Why a hole is over that lasts for what goes on.
const USED_UP: &str = "its connections are used up";
/// Characters that are kept of an agent's note.
const MAX_NOTE: usize = 500;

/// What a piece of advice is about.
struct Matter {
    destination: Endpoint,
    verdict: Verdict,
    rule: Option<String>,
    reason: Option<String>,
    /// The policy, where it is one around the session's own.
    around: Option<String>,
    named: Option<NameTold>,
    /// Why a rule that has the name opens nothing there.
    barred: Option<String>,
}

impl Matter {
    fn denied(&self) -> String {
        let (rule, reason) = (self.rule.as_deref(), self.reason.as_deref());
        advice::denied(&self.destination, rule, reason)
    }

    fn name_server_denied(&self) -> String {
        let (rule, reason) = (self.rule.as_deref(), self.reason.as_deref());
        advice::name_server_denied(&self.destination, rule, reason)
    }

    fn asked(&self, request: &str) -> String {
        let (rule, reason) = (self.rule.as_deref(), self.reason.as_deref());
        advice::asked(&self.destination, rule, reason, request)
    }

    fn askable(&self) -> String {
        let (rule, reason) = (self.rule.as_deref(), self.reason.as_deref());
        advice::askable(&self.destination, rule, reason)
    }
}

/// A stopped HTTP request, if the request is about one.
fn of_http(
    asked: &proto::Request,
    advice: impl Fn(&str, &proto::Request) -> String,
) -> Option<Stopped> {
    let http = asked.http.as_ref()?;
    let what = advice::short(&in_words(http, &asked.destination.address));
    Some(Stopped {
        at: asked.last_at,
        destination: asked.destination.clone(),
        verdict: asked.verdict.clone(),
        rule: asked.rule.clone(),
        reason: asked.reason.clone(),
        // The person who is asked sees it.
        policy: None,
        count: asked.count,
        advice: advice(&what, asked),
        request: None,
        http: Some(http.clone()),
        named: asked.named.clone(),
        barred: None,
        outcome: None,
    })
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
        "as many requests wait as guardd keeps",
        "ask the person to answer some: guard pending",
    )
}

impl State {
    /// The caller's session, and what was stopped there lately.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn why(&mut self, agent: Agent) -> Result<WhyReport, CallError> {
        let id = agent.session();
        let session = self.shown(id);
        let session = session.ok_or_else(|| ids::no_session(&ids::session(id)))?;
        let mut attempts = self.datapath.attempts(id)?;
        attempts.sort_by_key(|(_, tried)| std::cmp::Reverse(tried.reported));
        let clocks = Clocks::read();
        let holes = self.datapath.holes()?;
        let stopped = attempts.iter().filter_map(|(key, tried)| {
            let one = self.stopped(key, tried, &holes, &clocks);
            one.filter(|one| one.verdict != Verdict::Allow.as_str())
        });
        let sockets = self.sockets.stopped(id, &clocks);
        let past = self.stopped_sockets(id, &clocks);
        let names = self.stopped_names(id, &clocks);
        let closed = self.proxy.closings(id);
        let closed = closed.filter_map(|one| self.closed(id, one, &clocks));
        let mut all = stopped_http(&self.requests, id, &clocks)
            .into_iter()
            .chain(closed)
            .chain(names)
            .chain(sockets)
            .chain(past)
            .chain(stopped);
        let stopped = all.by_ref().take(MAX_STOPPED).collect();
        let more = all.next().is_some();
        Ok(WhyReport {
            session,
            stopped,
            more,
        })
    }

    /// Connections that the proxy closed for what came first.
    fn closed(&self, session: SessionId, one: &Stop<Closing>, clocks: &Clocks) -> Option<Stopped> {
        let Closing { to, port, why } = &one.what;
        let key = RequestKey::new(session, *to, Protocol::TCP, *port);
        let about = matter(&self.sessions, &self.policies, &key)?;
        Some(Stopped {
            at: clocks.calendar(one.last),
            advice: advice::closed(&about.destination, why),
            destination: about.destination,
            verdict: about.verdict.as_str().to_owned(),
            rule: about.rule,
            reason: about.reason,
            policy: about.around,
            count: one.count,
            request: None,
            http: None,
            named: about.named,
            barred: None,
            outcome: None,
        })
    }

    fn stopped(
        &self,
        attempt: &AttemptKey,
        tried: &AttemptCount,
        holes: &[LiveHole],
        clocks: &Clocks,
    ) -> Option<Stopped> {
        let key = RequestKey::new(
            attempt.session,
            attempt.destination,
            attempt.protocol,
            attempt.port,
        );
        let about = matter(&self.sessions, &self.policies, &key)?;
        let request = self.requests.find(&key);
        let request = request.map(|asked| asked.shown.id.clone());
        let is_open = holes.iter().any(|hole| lets_through(hole, &key));
        let reads = holes.iter().any(|hole| lets_read(hole, &key));
        let outcome = self.outcome(&key, (attempt, tried), holes, clocks);
        let advice = match (about.verdict, &request) {
            (Verdict::Deny, _) if self.is_name_server(&key) => about.name_server_denied(),
            (Verdict::Deny, _) => about.denied(),
            (_, _) if is_open => advice::opened(&about.destination),
            (Verdict::Confirm, _) if reads => advice::opened_for_reads(&about.destination),
            (_, Some(id)) => about.asked(id),
            (_, None) if outcome.is_some() => advice::was_open(&about.destination),
            (_, None) if self.requests.is_refused(&key, clock::now()) => {
                advice::answered_no(&about.destination)
            }
            (_, None) => about.askable(),
        };
        Some(Stopped {
            at: clocks.calendar(tried.reported),
            destination: about.destination,
            verdict: about.verdict.as_str().to_owned(),
            rule: about.rule,
            reason: about.reason,
            policy: about.around,
            count: tried.count,
            advice,
            request,
            http: None,
            named: about.named,
            barred: about.barred,
            outcome,
        })
    }

    /// Whether it is one of this machine, asked for a name.
    fn is_name_server(&self, key: &RequestKey) -> bool {
        let servers = self.policies.name_servers();
        key.port == proto::Question::PORT
            && matches!(key.protocol, Protocol::UDP | Protocol::TCP)
            && servers.contains(&key.destination.to_ip())
    }

    /// What came of a person's yes: to the last attempt that was refused or held, or to one before, where what it opened is over.
    fn outcome(
        &self,
        key: &RequestKey,
        (attempt, tried): (&AttemptKey, &AttemptCount),
        holes: &[LiveHole],
        clocks: &Clocks,
    ) -> Option<Outcome> {
        let (yes, opened) = self.requests.given.to(key)?;
        let again = !yes.is_last(attempt, tried);
        let (ended, passed) = match &opened.ended {
            Some((why, passed)) => (Some(why.clone()), *passed),
            None => (None, self.datapath.let_through(opened.hole)),
        };
        let is_it = |hole: &&LiveHole| hole.entry.id == opened.hole;
        let mut used_up = holes.iter().filter(is_it);
        let used_up = again && used_up.any(LiveHole::is_used_up);
        let ended = ended.or_else(|| used_up.then(|| USED_UP.to_owned()));
        // What is refused while it is open, is so for another reason.
        (!again || ended.is_some()).then(|| Outcome {
            request: yes.request.as_ref().map(|request| request.id.clone()),
            by: yes.by.clone(),
            at: clocks.calendar(yes.at),
            hole: ids::hole(opened.hole),
            waited: yes.held,
            passed,
            ended,
            again,
        })
    }

    /// Makes a request for a destination, on behalf of a process inside.
    ///
    /// # Errors
    ///
    /// `Invalid` if it does not name one address and port; the kernel's.
    pub fn request(
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
        let to = advice::destination(&about.destination);
        match about.verdict {
            Verdict::Allow => return Ok(told(Verdict::Allow, advice::allowed(&to))),
            Verdict::Deny => return Ok(told(Verdict::Deny, about.denied())),
            Verdict::Confirm | Verdict::ReadOnly => {}
        }
        let holes = self.datapath.holes()?;
        if holes.iter().any(|hole| lets_through(hole, &key)) {
            return Ok(told(Verdict::Allow, advice::allowed(&to)));
        }
        let note = reason.map(|reason| shown_note(&reason));
        match self.put_request(key, pid, (note, typed.as_deref()))? {
            Noted::New(id) | Noted::Again(id) => Ok(Requested {
                request: self.requests.get(&id).map(|asked| asked.shown.clone()),
                ..told(about.verdict, about.asked(&id))
            }),
            Noted::Muted => {
                let advice = advice::answered_no(&about.destination);
                Ok(told(Verdict::Deny, advice))
            }
            Noted::Full => Err(nobody_to_ask()),
        }
    }

    /// Makes a request, or adds the agent's note to the one that waits.
    fn put_request(
        &mut self,
        key: RequestKey,
        pid: u32,
        (note, typed): (Option<String>, Option<&str>),
    ) -> Result<Noted, CallError> {
        let session = self.sessions.live(key.session);
        let cgroup = session.and_then(|session| self.machine.kernel_path(&session.cgroup.path));
        let process = cgroup.and_then(|cgroup| Process::look(pid, &cgroup));
        let process = (Some(pid), process.unwrap_or_default());
        let noted = self.ask(key.clone(), clock::now(), process, (note.clone(), typed))?;
        if let (Noted::Again(id), Some(note)) = (&noted, note)
            && self.requests.annotate(&key, note.clone())
        {
            self.write_note(id, &key, note);
        }
        Ok(noted)
    }

    /// The record of the request has none: the connection that was refused made it.
    fn write_note(&mut self, id: &str, key: &RequestKey, note: String) {
        let Some(owner) = self.requests.get(id).map(|asked| asked.owner) else {
            return;
        };
        let Some(admitted) = self.admit(key.session, clock::now()) else {
            return;
        };
        let record = record::Noted {
            request: id.into(),
            note: note.into(),
        };
        let entry = LogEntry::of(ids::session(key.session), owner, record);
        self.recorder.note(entry.admitted(admitted));
    }
}

/// The HTTP requests about which a person was asked: those that wait, latest first, and those answered with no.
fn stopped_http(requests: &Requests, session: SessionId, clocks: &Clocks) -> Vec<Stopped> {
    let mine = |one: &&Pending| one.key.session == session;
    let mut waiting: Vec<_> = requests.pending().iter().filter(mine).collect();
    waiting.sort_by_key(|one| std::cmp::Reverse(one.last));
    let waiting = waiting.into_iter().filter_map(|one| {
        let told = |what: &str, asked: &proto::Request| {
            let (rule, reason) = (asked.rule.as_deref(), asked.reason.as_deref());
            advice::http_asked(what, rule, reason, &asked.id)
        };
        Some(Stopped {
            at: clocks.calendar(one.last),
            count: one.tried,
            request: Some(one.shown.id.clone()),
            ..of_http(&one.shown, told)?
        })
    });
    let refused = requests.refused_http(session, clock::now());
    let refused =
        refused.filter_map(|asked| of_http(asked, |what, _| advice::http_answered_no(what)));
    waiting.chain(refused).collect()
}

/// The verdict of the session's policies on a request, in words.
fn matter(sessions: &Sessions, policies: &Policies, key: &RequestKey) -> Option<Matter> {
    let session = sessions.live(key.session)?;
    let (to, protocol, port) = (key.destination, key.protocol, key.port);
    let judged = policies.judge(session.subject(), to, protocol, port)?;
    Some(Matter {
        destination: key.endpoint(policies.host_of(key.session, to, &judged)),
        verdict: judged.verdict,
        rule: judged.rule.map(|rule| rule.name.clone()),
        reason: judged.rule.and_then(|rule| rule.reason.clone()),
        around: policies.around(&session.chain, &judged),
        named: policies.told_of(key.session, to, judged.rule, None),
        barred: policies.barred(session.subject(), to, protocol, port),
    })
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
    let ports = to.ports(ports);
    let Some(port) = ports.first() else {
        return Err(CallError::invalid(
            format!("cannot ask for every port of {to}"),
            "a request is for one port",
            format!(
                "guard request {} --reason TEXT, or {to} --ports udp/53",
                Destination {
                    port: Some(443),
                    ..to.clone()
                }
            ),
        ));
    };
    Ok(RequestKey::new(
        agent.session(),
        prefix.address(),
        port.protocol,
        port.low,
    ))
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

/// The agent's note in one line of bounded length: it is shown in a person's terminal.
fn shown_note(reason: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    reason.chars().map(clean).take(MAX_NOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_words_cannot_move_the_cursor() {
        assert_eq!(shown_note("a\n\x1b[2Jb"), "a  [2Jb");
        assert_eq!(shown_note(&"x".repeat(10_000)).len(), MAX_NOTE);
    }
}
