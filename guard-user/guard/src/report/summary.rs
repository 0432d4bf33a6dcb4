//! The summary of a report, made from the records of the audit log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use guard_common::Verdict;
use guard_proto::{
    DnsQuestion, Endpoint, Flow, Hole, LogRecord, Session, moment,
    names::FAILED,
    record::{
        Answered, Denied, Field, Held, HoleClose, HoleOpen, Http, Noted, Record,
        RecordedDestination, Request, Settled,
    },
};
use jiff::Timestamp;
use serde::Serialize;

use super::super::flows;
use super::super::render::{endpoint, escape, holes::HoleScope, requests};
use super::markdown::count;

/// Characters that are shown of an HTTP request or a statement.
const SENDS: usize = 100;

/// A report. Times are the audit log's.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The sessions that have records, oldest first.
    pub(crate) sessions: Vec<SessionLine>,
    /// What was refused, most often tried first.
    pub(crate) stopped: Vec<StoppedLine>,
    /// What was refused and counts as nothing: UDP sockets that sent nothing, where TCP passes, and what a search list makes of a name
    /// that may be asked for.
    pub(crate) not_counted: Vec<StoppedLine>,
    /// What a person was asked, oldest first.
    pub(crate) requests: Vec<RequestLine>,
    /// What was opened, oldest first.
    pub(crate) holes: Vec<HoleLine>,
    /// What was reached; a list of flows.
    pub(crate) reached: Vec<Flow>,
    /// How many attempts were refused.
    pub(crate) refused: u64,
    /// How many HTTP requests and SQL statements were refused.
    pub(crate) writes: u64,
    /// How many connections were closed for what came first on them, as what is no HTTP.
    pub(crate) closed: u64,
    /// Records that the audit log left out, since their session had too many.
    pub(crate) left_out: u64,
    /// Starts and ends that the audit log left out, of sessions of which it has nothing else.
    pub(crate) starts_left_out: u64,
    /// Whether a session had so many records that others may have been left out, uncounted ones among them.
    pub(crate) may_lack: bool,
    /// Connections that were held, each with its request.
    #[serde(skip)]
    held: Vec<(StoppedLine, Option<String>)>,
}

/// A session.
#[derive(Debug, Serialize)]
pub(crate) struct SessionLine {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) user: Option<String>,
    /// The session that it was started in.
    pub(crate) parent: Option<String>,
    #[serde(serialize_with = "moment::write_some")]
    pub(crate) started_at: Option<Timestamp>,
    #[serde(serialize_with = "moment::write_some")]
    pub(crate) ended_at: Option<Timestamp>,
    /// The kernel's count; null while the session lives.
    pub(crate) refused: Option<u64>,
    /// Its own number here: after a reboot another session has the same id.
    #[serde(skip)]
    at: usize,
    /// Before the first record that was asked for, or is left.
    #[serde(skip)]
    began_before: bool,
    /// `guard doctor`'s own, in which everything has to be refused.
    #[serde(skip)]
    is_trial: bool,
    #[serde(skip)]
    left_out: u64,
    #[serde(skip)]
    may_lack: bool,
    /// Names that were refused, and have no record of their own.
    #[serde(skip)]
    more_names: u64,
}

/// A destination that was refused.
#[derive(Debug, Serialize)]
pub(crate) struct StoppedLine {
    /// Null: no session owns its cgroup.
    pub(crate) session: Option<String>,
    pub(crate) name: Option<String>,
    /// In words.
    pub(crate) destination: String,
    pub(crate) host: Option<String>,
    /// The HTTP request or SQL statement that was refused, or why a connection was closed; null: connections.
    pub(crate) sends: Option<String>,
    /// The rule; null: the policy's default.
    pub(crate) rule: Option<String>,
    pub(crate) verdict: String,
    /// Why a name was not told, or what no policy denies was refused all the same.
    pub(crate) why: Option<String>,
    /// At least so often.
    pub(crate) count: u64,
    /// The programs by executable, or by name where that was not known.
    pub(crate) programs: BTreeSet<String>,
    /// Why it counts as nothing.
    #[serde(skip)]
    is_nothing: Option<CountsAsNothing>,
    /// Of these, connections that were held, by the records of their ends.
    #[serde(skip)]
    ended: u64,
    /// It is about connections that were closed.
    #[serde(skip)]
    is_closed: bool,
    #[serde(skip)]
    of: Option<usize>,
}

/// Why a refusal counts as nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountsAsNothing {
    /// By UDP, where TCP passes.
    Unsent,
    /// By UDP, where TCP waits for a person.
    Asked,
    /// A listed name with a search domain.
    Searched,
}

impl CountsAsNothing {
    const ALL: [Self; 3] = [Self::Unsent, Self::Asked, Self::Searched];

    fn of(one: &Denied) -> Option<Self> {
        match (one.tcp.get(), one.searched.is(&true)) {
            (Some(tcp), _) if tcp == Verdict::Confirm.as_str() => Some(Self::Asked),
            (Some(_), _) => Some(Self::Unsent),
            (None, true) => Some(Self::Searched),
            (None, false) => None,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Unsent => {
                "a UDP connect, which sends nothing, where TCP passes (so a C library sorts a name's addresses)"
            }
            Self::Asked => "a UDP connect, which sends nothing, where a person is asked about TCP",
            Self::Searched => {
                "a name that may be asked for, with a domain of this machine's search list behind it"
            }
        }
    }
}

/// A request.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RequestLine {
    pub(crate) id: String,
    pub(crate) session: Option<String>,
    pub(crate) destination: Option<String>,
    /// The name that it asked for, or of what it asked.
    pub(crate) host: Option<String>,
    /// An HTTP request's method, or a statement's command.
    pub(crate) method: Option<String>,
    /// An HTTP request's path, or a statement without constants.
    pub(crate) path: Option<String>,
    pub(crate) rule: Option<String>,
    /// The agent's words.
    pub(crate) note: Option<String>,
    /// `yes`, `no`, or null: none.
    pub(crate) answer: Option<String>,
    pub(crate) by: Option<String>,
    /// What ended it where nobody has answered it, and its session goes on.
    #[serde(skip)]
    pub(crate) settled: Option<SettledByPolicy>,
    /// The destination as `guard open` takes it, where that opens no more than was asked for.
    #[serde(skip)]
    pub(crate) argument: Option<String>,
    /// The HTTP request or statement in words.
    #[serde(skip)]
    pub(crate) sends: Option<String>,
    /// The program that asked first, by executable, or by name where that was not known.
    #[serde(skip)]
    program: Option<String>,
    #[serde(skip)]
    of: Option<usize>,
}

/// What a policy says since it was changed of what a request asked for.
#[derive(Clone, Debug)]
pub(crate) struct SettledByPolicy {
    pub(crate) at: Timestamp,
    pub(crate) policy: Option<String>,
    /// None: the record does not say it.
    pub(crate) verdict: Option<String>,
}

/// A hole.
#[derive(Debug, Default, Serialize)]
pub(crate) struct HoleLine {
    pub(crate) id: String,
    pub(crate) session: Option<String>,
    pub(crate) destination: Option<String>,
    /// Null: for the destination, and for no name.
    pub(crate) name: Option<String>,
    pub(crate) ports: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) request: Option<String>,
    /// Null: still open.
    pub(crate) ended: Option<String>,
    /// Connections that were cut then.
    pub(crate) cut: u64,
    /// What of it passes, in words; empty: all.
    pub(crate) scope: String,
    #[serde(skip)]
    of: Option<usize>,
}

/// Why a name was not resolved, as it is written: "nobody answered in time (AAAA)", without the type.
fn without_type(why: String) -> String {
    match why.rsplit_once(" (") {
        Some((why, _)) => why.to_owned(),
        None => why,
    }
}

impl StoppedLine {
    /// Whether both are connections there.
    fn is_attempt_of(&self, other: &Self) -> bool {
        (self.of, &self.destination) == (other.of, &other.destination) && self.sends.is_none()
    }

    /// Whether the kernel half has counted it for that session, too.
    fn is_sent_by(&self, session: &SessionLine) -> bool {
        let by_kernel = [CountsAsNothing::Unsent, CountsAsNothing::Asked].map(Some);
        self.of == Some(session.at) && by_kernel.contains(&self.is_nothing)
    }

    /// The rule; else why it is refused where no policy says so, `default`, or `none` where nothing of the policy refuses it.
    pub(crate) fn rule_or(&self, none: &str, default: &str) -> String {
        match (&self.rule, &self.why) {
            _ if self.verdict == FAILED => none.to_owned(),
            (Some(rule), _) => escape::rule(rule),
            (None, Some(why)) => why.clone(),
            (None, None) => default.to_owned(),
        }
    }

    /// The name that was asked for, where it is about names.
    pub(super) fn question(&self) -> Option<&str> {
        let protocol = self.destination.split(' ').next();
        let is_question = protocol == Some(DnsQuestion::PROTOCOL);
        self.host.as_deref().filter(|_| is_question)
    }

    /// The name, without the port where the destination has it: an HTTP request's is as the program wrote it.
    fn other_host(&self) -> Option<&str> {
        let host = self.host.as_deref()?;
        let (_, port) = self.destination.rsplit_once(':').unwrap_or_default();
        let without = host
            .strip_suffix(port)
            .and_then(|host| host.strip_suffix(':'));
        let is_same = self.destination.ends_with(&format!(" {host}"));
        Some(without.unwrap_or(host)).filter(|_| !is_same)
    }

    /// Where to, by which name, and what was to be sent there.
    pub(crate) fn words(&self) -> String {
        let host = self.other_host();
        let host = host.iter().map(|host| format!(" ({host})"));
        let sends = self.sends.iter().map(|sends| format!(", {sends}"));
        let more: String = host.chain(sends).collect();
        format!("{}{more}", self.destination)
    }
}

impl RequestLine {
    fn new(id: String, session: Option<&String>, of: Option<usize>) -> Self {
        Self {
            id,
            session: session.cloned(),
            of,
            ..Self::default()
        }
    }

    /// Whether it waits for as long as its session lasts: neither a person nor a policy has settled it.
    pub(crate) fn is_open(&self) -> bool {
        self.answer.is_none() && self.settled.is_none()
    }

    /// Where to, by which name, and what it would send there.
    pub(crate) fn words(&self) -> Option<String> {
        let to = self.destination.as_ref()?;
        let sends = self.sends.as_ref();
        let sends = sends.map_or_else(String::new, |sends| format!(", {sends}"));
        let host = self.host.as_ref().filter(|host| {
            let is_said = |text: &String| text.contains(host.as_str());
            !is_said(to) && !is_said(&sends)
        });
        let host = host.map_or_else(String::new, |host| format!(" ({host})"));
        Some(format!("{to}{host}{sends}"))
    }
}

impl Report {
    /// All that the records tell.
    pub(crate) fn of(records: &[LogRecord]) -> Self {
        let mut report = Self::default();
        // Which of the sessions an id stands for by now.
        let mut current = HashMap::new();
        for record in records {
            report.add(record, &mut current);
        }
        report.list_given_up();
        report.count();
        report
    }

    /// The requests of a session that nobody had answered when it ended, oldest first.
    pub(crate) fn unanswered(&self, session: &SessionLine) -> Vec<&RequestLine> {
        let has_ended = session.ended_at.is_some();
        let its = self.requests.iter().filter(|one| {
            let is_its = one.of == Some(session.at);
            has_ended && is_its && one.is_open()
        });
        its.collect()
    }

    /// The last request of that id, and its session: after a reboot others have the same ids.
    pub(crate) fn request_called(&self, id: &str) -> Option<(&RequestLine, &SessionLine)> {
        self.sessions.iter().rev().find_map(|session| {
            let is_it = |one: &&RequestLine| one.id == id && one.of == Some(session.at);
            Some((self.requests.iter().find(is_it)?, session))
        })
    }

    /// Completes sessions that live, and began before the records.
    pub(crate) fn know(&mut self, live: &[Session]) {
        for known in live {
            let is_it = |line: &&mut SessionLine| line.id == known.id;
            let line = self.sessions.iter_mut().rev().find(is_it);
            let Some(line) = line.filter(|line| line.began_before && line.ended_at.is_none())
            else {
                continue;
            };
            line.began_before = false;
            line.name = Some(known.name.clone());
            line.policy = Some(known.policy.clone());
            line.user = Some(known.user.clone());
            line.parent.clone_from(&known.parent);
            line.started_at = Some(known.started_at);
            let at = Some(line.at);
            let lines = self.stopped.iter_mut().chain(&mut self.not_counted);
            for stopped in lines.filter(|one| one.of == at) {
                stopped.name = Some(known.name.clone());
            }
        }
        // A session is later in the list than the one around it, whichever has the first record.
        self.sessions.sort_by_key(|one| one.started_at);
    }

    /// Lists connections that were held and whose end the audit log does not tell, as of those that gave up at once: the kernel has
    /// counted them.
    fn list_given_up(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut left: HashMap<usize, u64> = HashMap::new();
        for session in &self.sessions {
            let own = self.stopped.iter().filter(|one| one.of == Some(session.at));
            let listed: u64 = own
                .filter(|one| {
                    one.sends.is_none() && one.is_nothing != Some(CountsAsNothing::Searched)
                })
                .map(|one| one.count)
                .sum();
            let counted = session.refused.unwrap_or(0);
            left.insert(session.at, counted.saturating_sub(listed));
        }
        let mut lines: Vec<StoppedLine> = Vec::new();
        for (line, request) in held {
            let mut asked = self.requests.iter();
            let said_yes = asked.any(|one| {
                let is_its = one.of == line.of && Some(&one.id) == request.as_ref();
                is_its && one.answer.as_deref() == Some("yes")
            });
            match lines.iter_mut().find(|one| one.is_attempt_of(&line)) {
                _ if said_yes => {}
                Some(known) => known.count += line.count,
                None => lines.push(line),
            }
        }
        for line in lines {
            let Some(left) = line.of.and_then(|at| left.get_mut(&at)) else {
                continue;
            };
            let mut known = self.stopped.iter_mut();
            let known = known.find(|one| one.is_attempt_of(&line));
            let ended = known.as_ref().map_or(0, |known| known.ended);
            let count = line.count.saturating_sub(ended).min(*left);
            *left -= count;
            match known {
                Some(known) => known.count += count,
                None if count == 0 => {}
                None => self.stopped.push(StoppedLine { count, ..line }),
            }
        }
    }

    /// How many destinations were not let connect to.
    pub(crate) fn destinations(&self) -> u64 {
        let connections = self.stopped.iter().filter(|one| one.sends.is_none());
        let places: BTreeSet<_> = connections
            .map(|one| (one.of, &one.destination, one.question()))
            .collect();
        places.len() as u64
    }

    /// Whether anything was stopped, or waited for a person.
    pub(crate) fn has_stopped(&self) -> bool {
        let mut nothing = self.not_counted.iter();
        let asked = Some(CountsAsNothing::Asked);
        !self.stopped.is_empty() || nothing.any(|one| one.is_nothing == asked)
    }

    /// What is listed and counts as nothing, in words.
    pub(crate) fn not_counted(&self) -> Vec<String> {
        let all = CountsAsNothing::ALL.into_iter().filter_map(|why| {
            let its = self
                .not_counted
                .iter()
                .filter(|one| one.is_nothing == Some(why));
            let times: u64 = its.map(|one| one.count).sum();
            let said = match times {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            };
            let counts = match why {
                CountsAsNothing::Asked => "Counts for --fail-on stopped alone",
                CountsAsNothing::Unsent | CountsAsNothing::Searched => "Not counted",
            };
            (times > 0).then(|| format!("{counts}, {said}: {}.", why.words()))
        });
        all.collect()
    }

    /// Completes holes that have not ended, and let nothing more through.
    pub(crate) fn know_holes(&mut self, open: &[Hole]) {
        for known in open.iter().filter(|hole| hole.is_used_up()) {
            let is_it = |line: &&mut HoleLine| {
                line.id == known.id && line.session.as_ref() == Some(&known.session)
            };
            let line = self.holes.iter_mut().rev().find(is_it);
            if let Some(line) = line.filter(|line| line.ended.is_none()) {
                line.ended = Some("used up".to_owned());
            }
        }
    }

    /// What was refused of what was sent, in words: "1 write", "3 HTTP requests" if some only read.
    pub(crate) fn sent(&self) -> String {
        let sent = self.stopped.iter().filter(|one| !one.is_closed);
        let mut sent = sent.filter_map(|one| one.sends.as_deref());
        if sent.any(reads) {
            count(self.writes, "HTTP request")
        } else {
            count(self.writes, "write")
        }
    }

    /// Adds what sessions have reached, and reached lately.
    pub(crate) fn reach(&mut self, flows: Vec<Flow>, since: Option<Duration>) {
        self.reached = flows::lately(flows, since, Timestamp::now());
    }

    /// Which session is meant, by id or by name: where none has the id, its name may have been given, as `guard stop` takes it.
    pub(crate) fn meant<'a>(
        &self,
        id: Option<&'a str>,
        name: Option<&'a str>,
    ) -> (Option<&'a str>, Option<&'a str>) {
        let is_id = self.sessions.iter().any(|one| id == Some(one.id.as_str()));
        let is_name = |one: &SessionLine| id.is_some() && one.name.as_deref() == id;
        if name.is_none() && !is_id && self.sessions.iter().any(is_name) {
            (None, id)
        } else {
            (id, name)
        }
    }

    /// Keeps one session, or those of a name, with all that were started inside; else all but those of `guard doctor`.
    pub(crate) fn keep(&mut self, id: Option<&str>, name: Option<&str>) {
        if id.is_none() && name.is_none() {
            return self.leave_out_trials();
        }
        let mut kept = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for session in &self.sessions {
            let is_meant = id.is_none_or(|id| session.id == id)
                && name.is_none_or(|name| session.name.as_deref() == Some(name));
            // A session is later in the list than the one around it.
            let parent = session.parent.as_ref();
            if is_meant || parent.is_some_and(|parent| ids.contains(parent)) {
                kept.insert(session.at);
                ids.insert(session.id.clone());
            }
        }
        // Where a session began before the first record, its name and the session around it are not known.
        let strangers = self.sessions.iter().filter(|one| !kept.contains(&one.at));
        let strangers: BTreeSet<_> = strangers
            .filter(|one| one.began_before)
            .map(|one| one.at)
            .collect();
        let is_strange = |of: Option<usize>| of.is_some_and(|at| strangers.contains(&at));
        let may_be_its = self.stopped.iter().any(|one| is_strange(one.of));
        let is_kept = |of: Option<usize>| of.is_some_and(|at| kept.contains(&at));
        self.sessions.retain(|one| is_kept(Some(one.at)));
        self.stopped.retain(|one| is_kept(one.of));
        self.not_counted.retain(|one| is_kept(one.of));
        self.requests.retain(|one| is_kept(one.of));
        self.holes.retain(|one| is_kept(one.of));
        // After a reboot another session has the same id.
        let is_its = |flow: &Flow| {
            self.sessions.iter().any(|one| {
                let is_later = one.ended_at.is_some_and(|end| end < flow.first_at);
                one.id == flow.session && !is_later
            })
        };
        self.reached.retain(is_its);
        // These may be anybody's.
        self.starts_left_out = 0;
        self.count();
        self.may_lack |= may_be_its;
    }

    fn leave_out_trials(&mut self) {
        let trials = self.sessions.iter().filter(|one| one.is_trial);
        let trials: BTreeSet<_> = trials.map(|one| Some(one.at)).collect();
        self.sessions.retain(|one| !one.is_trial);
        self.stopped.retain(|one| !trials.contains(&one.of));
        self.not_counted.retain(|one| !trials.contains(&one.of));
        self.count();
    }

    fn add(&mut self, record: &LogRecord, current: &mut HashMap<String, usize>) {
        let of = self.session(record, current);
        let common = record.common();
        // Of other sessions.
        self.starts_left_out += common.starts_left_out.take().unwrap_or(0);
        if let Some(session) = of.and_then(|at| self.sessions.get_mut(at)) {
            session.left_out += common.left_out.take().unwrap_or(0);
            session.may_lack |= common.last.is(&true);
        }
        let id = record.session.as_ref();
        match record.record() {
            Record::SessionEnd(one) => {
                if let Some(session) = of.and_then(|at| self.sessions.get_mut(at)) {
                    session.ended_at = Some(record.at);
                    session.refused = one.denied.take();
                }
            }
            Record::Denied(one) => self.denied(*one, id, of),
            Record::Http(one) if one.outcome.is("refused") => self.http_refused(*one, id, of),
            Record::Held(one) => self.held(*one, id, of),
            Record::Request(one) => self.request(*one, id, of),
            Record::Noted(one) => self.noted(&one, of),
            Record::Settled(one) => self.settled(&one, record.at, of),
            Record::Answered(one) => self.answered(&one, id, of),
            Record::HoleOpen(one) => self.opened(*one, id, of),
            Record::HoleClose(one) => self.closed(*one, id, of),
            _ => {}
        }
    }

    fn denied(&mut self, one: Denied, session: Option<&String>, of: Option<usize>) {
        if let Some(names) = one.names.get() {
            let is_refused = one.verdict.is(Verdict::Deny.as_str());
            let session = of.filter(|_| is_refused);
            if let Some(session) = session.and_then(|at| self.sessions.get_mut(at)) {
                session.more_names = session.more_names.saturating_add(*names);
            }
            return;
        }
        let (destination, host) = destination(&one.destination);
        let is_nothing = CountsAsNothing::of(&one);
        let count = one.count.take().unwrap_or(0).max(1);
        let ended = one.connections.take().unwrap_or(0) as u64;
        let program = one.exe.take().or_else(|| one.comm.take());
        // Not of one that was held and is gone.
        let program = program.or_else(|| self.program_of(of, destination.as_deref()));
        let mut line = StoppedLine {
            rule: one.rule.take(),
            verdict: one.verdict.take().unwrap_or_else(|| "deny".to_owned()),
            programs: program.into_iter().collect(),
            is_nothing,
            ..self.stop(destination, host, session, of)
        };
        let is_policys = line.rule.is_some() || line.verdict != Verdict::Deny.as_str();
        line.why = match line.question() {
            Some(_) => one.why.take().map(without_type),
            None => one.why.take().filter(|_| !is_policys),
        };
        let known = self.stopped(line);
        known.ended += ended;
        known.count = known.count.max(count).max(known.ended);
    }

    fn http_refused(&mut self, one: Http, session: Option<&String>, of: Option<usize>) {
        let (destination, _) = destination(&one.destination);
        // Nothing was read that could be a request.
        let is_closed = one.method.is_none();
        let sends = if is_closed {
            shortened(format!("closed: {}", one.why.take().unwrap_or_default()))
        } else {
            sends(one.method.take(), one.path.take())
        };
        // A rule denies that request, or that name.
        let verdict = one.verdict.take();
        let line = StoppedLine {
            rule: one.rule.take(),
            verdict: verdict.unwrap_or_else(|| Verdict::ReadOnly.as_str().to_owned()),
            sends: Some(sends),
            is_closed,
            ..self.stop(destination, one.host.take(), session, of)
        };
        self.stopped(line).count += 1;
    }

    fn held(&mut self, one: Held, session: Option<&String>, of: Option<usize>) {
        let (destination, host) = destination(&one.destination);
        let program = one.exe.take().or_else(|| one.comm.take());
        // guardd 0.3.0 recorded it with the request alone.
        let program = program.or_else(|| self.program_of(of, destination.as_deref()));
        let line = StoppedLine {
            rule: one.rule.take(),
            verdict: one.verdict.take().unwrap_or_else(|| "confirm".to_owned()),
            count: one.count.take().unwrap_or(0).max(1),
            programs: program.into_iter().collect(),
            ..self.stop(destination, host, session, of)
        };
        self.held.push((line, one.request.take()));
    }

    /// The program that first asked for a destination.
    fn program_of(&self, of: Option<usize>, destination: Option<&str>) -> Option<String> {
        let mut asked = self.requests.iter();
        let asked = asked.find(|one| one.of == of && one.destination.as_deref() == destination);
        asked?.program.clone()
    }

    /// The session that a record is about: a new one where it starts, or where nothing older is known.
    fn session(
        &mut self,
        record: &LogRecord,
        current: &mut HashMap<String, usize>,
    ) -> Option<usize> {
        let id = record.session.as_ref()?;
        let start = match record.record() {
            Record::SessionStart(one) => Some(one),
            _ => None,
        };
        // One that was noticed later says what began before, where nothing else does.
        let starts = start.is_some() && record.common().noticed.is_none();
        if let Some(at) = current.get(id).filter(|_| !starts) {
            return Some(*at);
        }
        let at = self.sessions.len();
        let said = start.unwrap_or_default();
        // Beside the time of the record where that was written later.
        let started = said
            .started
            .get()
            .and_then(|at| at.parse::<Timestamp>().ok());
        current.insert(id.clone(), at);
        self.sessions.push(SessionLine {
            id: id.clone(),
            name: said.name.take(),
            policy: said.policy.take(),
            user: said.user.take(),
            parent: said.parent.take(),
            started_at: started.or(starts.then_some(record.at)),
            ended_at: None,
            refused: None,
            at,
            began_before: !starts,
            is_trial: said.trial.is(&true),
            left_out: 0,
            may_lack: false,
            more_names: 0,
        });
        Some(at)
    }

    /// A line of that place, of nothing yet.
    fn stop(
        &self,
        destination: Option<String>,
        host: Option<String>,
        id: Option<&String>,
        of: Option<usize>,
    ) -> StoppedLine {
        StoppedLine {
            session: id.cloned(),
            name: of.and_then(|at| self.sessions[at].name.clone()),
            destination: destination.unwrap_or_else(|| "an unknown destination".to_owned()),
            host,
            sends: None,
            rule: None,
            verdict: String::new(),
            why: None,
            count: 0,
            programs: BTreeSet::new(),
            is_nothing: None,
            ended: 0,
            is_closed: false,
            of,
        }
    }

    /// The line of the same, with what this one knows of it.
    fn stopped(&mut self, line: StoppedLine) -> &mut StoppedLine {
        let found = self.stopped.iter().position(|one| {
            one.of == line.of
                && one.destination == line.destination
                && one.question() == line.question()
                && one.sends == line.sends
                && one.rule == line.rule
                && one.verdict == line.verdict
                && one.why == line.why
                && one.is_nothing == line.is_nothing
        });
        let at = match found {
            Some(at) => {
                let known = &mut self.stopped[at];
                known.host = known.host.take().or(line.host);
                known.programs.extend(line.programs);
                at
            }
            None => {
                self.stopped.push(line);
                self.stopped.len() - 1
            }
        };
        &mut self.stopped[at]
    }

    fn request(&mut self, one: Request, session: Option<&String>, of: Option<usize>) {
        let Some(id) = one.request.take() else {
            return;
        };
        let is_known = |line: &RequestLine| line.id == id && line.of == of;
        if self.requests.iter().any(is_known) {
            return;
        }
        let (to, host) = destination(&one.destination);
        let question = one.question.take().map(|question| question.name);
        let to = match (one.destination.get(), &question) {
            (Some(RecordedDestination::Endpoint(to)), Some(name)) => {
                Some(endpoint::words(&Endpoint {
                    host: Some(name.clone()),
                    ..to.clone()
                }))
            }
            _ => to,
        };
        let http = one.http.get().cloned();
        self.requests.push(RequestLine {
            destination: to,
            sends: http.as_ref().map(requests::line),
            host: question
                .or(host)
                .or(http.as_ref().and_then(|http| http.host.clone())),
            method: http.as_ref().map(|http| http.method.clone()),
            path: http.map(|http| http.path),
            rule: one.rule.take(),
            program: one.exe.take().or_else(|| one.comm.take()),
            note: one.note.take(),
            // A write that was stopped needs no hole for all that is sent there.
            argument: if one.verdict.is("read-only") || one.http.get().is_some() {
                None
            } else {
                one.destination.get().and_then(argument)
            },
            ..RequestLine::new(id, session, of)
        });
    }

    fn noted(&mut self, one: &Noted, of: Option<usize>) {
        let id = one.request.get();
        let its = |line: &&mut RequestLine| line.of == of && Some(&line.id) == id;
        if let Some(line) = self.requests.iter_mut().find(its) {
            line.note = one.note.get().cloned();
        }
    }

    fn settled(&mut self, one: &Settled, at: Timestamp, of: Option<usize>) {
        let parts = one.parts.get().map_or(&[][..], Vec::as_slice);
        let id = one.request.get();
        let its = |line: &&mut RequestLine| {
            line.of == of && (Some(&line.id) == id || parts.contains(&line.id))
        };
        for line in self.requests.iter_mut().filter(its) {
            line.settled = Some(SettledByPolicy {
                at,
                policy: one.policy.get().cloned(),
                verdict: one.verdict.get().cloned(),
            });
        }
    }

    fn answered(&mut self, one: &Answered, session: Option<&String>, of: Option<usize>) {
        let Some(id) = one.request.get() else {
            return;
        };
        let is_it = |line: &RequestLine| line.id == *id && line.of == of;
        if !self.requests.iter().any(is_it) {
            self.requests
                .push(RequestLine::new(id.clone(), session, of));
        }
        let parts = one.parts.get().map_or(&[][..], Vec::as_slice);
        let is_part =
            |line: &&mut RequestLine| line.of == of && (line.id == *id || parts.contains(&line.id));
        for line in self.requests.iter_mut().filter(is_part) {
            line.answer = one.answer.get().cloned();
            line.by = one.by.get().cloned();
        }
    }

    /// The line of a hole, and whether it is new.
    fn hole(
        &mut self,
        id: String,
        session: Option<&String>,
        of: Option<usize>,
    ) -> (&mut HoleLine, bool) {
        let is_it = |line: &HoleLine| line.id == id && line.of == of;
        let found = self.holes.iter().position(is_it);
        let at = found.unwrap_or_else(|| {
            self.holes.push(HoleLine {
                id,
                session: session.cloned(),
                of,
                ..HoleLine::default()
            });
            self.holes.len() - 1
        });
        (&mut self.holes[at], found.is_none())
    }

    fn opened(&mut self, one: HoleOpen, session: Option<&String>, of: Option<usize>) {
        let scope = HoleScope::of(&one).words();
        let Some(id) = one.hole.take() else {
            return;
        };
        if let (line, true) = self.hole(id, session, of) {
            line.scope = scope;
            line.destination = one.destination.take();
            line.name = one.name.take();
            line.ports = one.ports.take();
            line.by = one.by.take();
            line.reason = one.reason.take();
            line.request = one.request.take();
        }
    }

    fn closed(&mut self, one: HoleClose, session: Option<&String>, of: Option<usize>) {
        let Some(id) = one.hole.take() else {
            return;
        };
        let (line, is_new) = self.hole(id, session, of);
        if is_new {
            line.by = one.by.take();
        }
        line.ended = one.why.take();
        line.cut = one.cut.take().unwrap_or(0) as u64;
    }

    /// Sorts what was stopped, and adds it up: by the kernel's own count, where a session has ended.
    fn count(&mut self) {
        let nothing = self.stopped.extract_if(.., |one| one.is_nothing.is_some());
        self.not_counted.extend(nothing);
        self.stopped.sort_by_key(|one| std::cmp::Reverse(one.count));
        let mut of: BTreeMap<Option<usize>, u64> = BTreeMap::new();
        let (sent, attempts): (Vec<_>, Vec<_>) =
            self.stopped.iter().partition(|one| one.sends.is_some());
        let sum = |is_closed| {
            let its = sent.iter().filter(|one| one.is_closed == is_closed);
            its.map(|one| one.count).sum()
        };
        (self.writes, self.closed) = (sum(false), sum(true));
        for one in attempts {
            *of.entry(one.of).or_default() += one.count;
        }
        for session in &self.sessions {
            let counted = of.entry(Some(session.at)).or_default();
            *counted = counted.saturating_add(session.more_names);
            // The first attempt at each destination is in the log: without one, all that the kernel has refused counts as nothing.
            let has_refused = *counted > 0 || session.left_out > 0 || session.may_lack;
            let refused = session.refused.filter(|_| has_refused);
            let nothing = self
                .not_counted
                .iter()
                .filter(|one| one.is_sent_by(session));
            let nothing: u64 = nothing.map(|one| one.count).sum();
            let refused = refused.unwrap_or(0).saturating_sub(nothing);
            *counted = refused.max(*counted);
        }
        self.refused = of.values().sum();
        self.left_out = self.sessions.iter().map(|one| one.left_out).sum();
        self.may_lack = self.left_out > 0 || self.sessions.iter().any(|one| one.may_lack);
    }
}

/// Whether that is an HTTP request that changes nothing, and was refused for another reason.
fn reads(sends: &str) -> bool {
    let method = sends.split(' ').next();
    method.is_some_and(|method| ["GET", "HEAD", "OPTIONS"].contains(&method))
}

/// An HTTP request, or a statement, of which the path is the text: "PUT /api/jobs", "update users set name = $1".
fn sends(method: Option<String>, path: Option<String>) -> String {
    let (method, path) = (method.unwrap_or_default(), path.unwrap_or_default());
    shortened(if path.starts_with('/') || path.is_empty() {
        format!("{method} {path}").trim_end().to_owned()
    } else {
        path
    })
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SENDS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The destination as `guard open` takes it, where it has a port: one for all is nothing to advise. A question for a name is none.
fn argument(to: &RecordedDestination) -> Option<String> {
    let to = to.endpoint()?;
    let is_connection = to.protocol != DnsQuestion::PROTOCOL;
    to.port
        .filter(|_| is_connection)
        .map(|_| endpoint::argument(to))
}

/// Where to, in words, and the host.
pub(super) fn destination(to: &Field<RecordedDestination>) -> (Option<String>, Option<String>) {
    match to {
        Field::Absent | Field::Null => (None, None),
        Field::Is(RecordedDestination::Endpoint(to)) => {
            let mut to = to.clone();
            let host = to.host.take();
            (Some(endpoint::words(&to)), host)
        }
        Field::Is(RecordedDestination::Socket {
            protocol,
            socket_type,
        }) => {
            let words = format!("socket {protocol} of type {socket_type}");
            (Some(words), None)
        }
        Field::Other(value) => (Some(value.to_string()), None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn records(all: Value) -> Vec<LogRecord> {
        let all = all.as_array().unwrap().iter().enumerate();
        let timed = all.map(|(second, one)| {
            let mut one = one.clone();
            one["at"] = json!(format!("2026-11-20T12:00:{second:02}Z"));
            serde_json::from_value(one).unwrap()
        });
        timed.collect()
    }

    pub(crate) fn story() -> Report {
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
        let named = json!({"address": "192.0.2.11", "port": 5432, "protocol": "tcp", "host": "db.example.com"});
        Report::of(&records(json!([
            {"kind": "daemon-start", "session": null},
            {"kind": "session-start", "session": "s1", "name": "make", "policy": "ci", "user": "runner"},
            {"kind": "denied", "session": "s1", "destination": to, "rule": "metadata", "verdict": "deny", "count": 1, "exe": "/usr/bin/curl", "left_out": 0},
            {"kind": "denied", "session": "s1", "destination": to, "rule": "metadata", "verdict": "deny", "count": 5, "exe": null, "comm": "wget", "left_out": 2},
            {"kind": "denied", "session": "s1", "destination": named, "rule": null, "verdict": "confirm", "count": 1, "exe": "/usr/bin/psql"},
            {"kind": "request", "session": "s1", "destination": named, "rule": null, "request": "r1", "note": "migrate"},
            {"kind": "answered", "session": "s1", "request": "r1", "answer": "yes", "by": "alice"},
            {"kind": "hole-open", "session": "s1", "hole": "h1", "destination": "192.0.2.11/32", "ports": "tcp/5432", "by": "alice", "request": "r1", "connections": 2},
            {"kind": "hole-close", "session": "s1", "hole": "h1", "why": "expired", "cut": 2},
            {"kind": "session-start", "session": "s2", "name": "inner", "policy": "narrow", "user": "runner", "parent": "s1"},
            {"kind": "denied", "session": "s2", "destination": {"protocol": "17", "socket_type": 3}, "verdict": "deny", "count": 1},
            {"kind": "session-end", "session": "s1", "denied": 9},
            {"kind": "session-start", "session": "s3", "name": "other"},
            {"kind": "denied", "session": "s3", "destination": to, "verdict": "deny", "count": 1},
        ])))
    }

    #[test]
    fn no_port_is_advised_for_a_question_for_a_name() {
        let to = |protocol: &str| {
            RecordedDestination::Endpoint(guard_proto::Endpoint {
                address: "192.0.2.53".to_owned(),
                port: Some(53),
                protocol: protocol.to_owned(),
                host: None,
            })
        };
        assert_eq!(argument(&to("dns")), None);
        assert!(argument(&to("udp")).is_some());
    }

    #[test]
    fn each_name_that_was_denied_is_a_line_of_its_own() {
        let denied = |name: &str, count| {
            let server =
                json!({"address": "192.0.2.53", "port": 53, "protocol": "dns", "host": name});
            json!({"kind": "denied", "session": "s1", "destination": server, "verdict": "deny", "count": count})
        };
        let report = Report::of(&records(json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            denied("a.example", 1), denied("b.example", 1), denied("a.example", 2),
            {"kind": "session-end", "session": "s1", "denied": 3},
        ])));
        let listed = report.stopped.iter();
        let listed: Vec<_> = listed.map(|one| (one.question(), one.count)).collect();
        assert_eq!(listed, [(Some("a.example"), 2), (Some("b.example"), 1)]);
        assert_eq!((report.refused, report.destinations()), (3, 2));
    }

    #[test]
    fn what_was_held_and_gave_up_is_listed_with_its_program() {
        let to = |last: u8| json!({"address": format!("192.0.2.{last}"), "port": 443, "protocol": "tcp", "host": null});
        let asked = |id: &str, last| json!({"kind": "request", "session": "s1", "request": id, "destination": to(last), "exe": "/usr/bin/curl"});
        let held = |id: &str, last| json!({"kind": "held", "session": "s1", "request": id, "destination": to(last), "rule": "ask", "verdict": "confirm", "count": 1});
        let denied = |last| json!({"kind": "denied", "session": "s1", "destination": to(last), "rule": "ask", "verdict": "confirm", "why": "nobody answered in time", "connections": 1});
        let yes = json!({"kind": "answered", "session": "s1", "request": "r3", "answer": "yes"});
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            asked("r1", 1), held("r1", 1), denied(1),
            asked("r2", 2), held("r2", 2),
            asked("r3", 3), held("r3", 3), yes,
            {"kind": "session-end", "session": "s1", "denied": 2},
        ]);
        let report = Report::of(&records(all.clone()));
        let listed = report.stopped.iter();
        let listed: Vec<_> = listed
            .map(|one| {
                let programs: Vec<_> = one.programs.iter().map(String::as_str).collect();
                (one.destination.as_str(), one.count, programs.join(","))
            })
            .collect();
        let curl = || "/usr/bin/curl".to_owned();
        assert_eq!(
            listed,
            [
                ("tcp 192.0.2.1:443", 1, curl()),
                ("tcp 192.0.2.2:443", 1, curl())
            ]
        );
        assert_eq!(report.refused, 2);
        // One whose end is recorded counts while the session lives, and those whose end is not by the kernel's count.
        let mut lives = all.clone();
        lives.as_array_mut().unwrap().pop();
        assert_eq!(Report::of(&records(lives)).refused, 1);
        let mut again = all.clone();
        again[9]["denied"] = json!(4);
        again.as_array_mut().unwrap().insert(4, held("r1", 1));
        let report = Report::of(&records(again));
        let counts: Vec<_> = report.stopped.iter().map(|one| one.count).collect();
        assert_eq!((counts, report.refused), (vec![2, 1], 4));
        // What the kernel has not counted was let through, or waits yet.
        let mut passed = all;
        passed[9]["denied"] = json!(1);
        let report = Report::of(&records(passed));
        assert_eq!((report.stopped.len(), report.refused), (1, 1));
    }

    #[test]
    fn what_may_be_the_sessions_is_not_taken_for_nothing() {
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
        let denied = |session| json!({"kind": "denied", "session": session, "destination": to, "verdict": "deny"});
        let start = |session, parent: Option<&str>| json!({"kind": "session-start", "session": session, "name": session, "parent": parent});
        let kept = |all: Value, id: Option<&str>, name: Option<&str>| {
            let mut report = Report::of(&records(all));
            report.keep(id, name);
            (report.stopped.len(), report.may_lack)
        };
        // Its own start, or that of the one inside, is older than the first record.
        let late = json!([denied("s1")]);
        assert_eq!(kept(late.clone(), None, Some("s1")), (0, true));
        assert_eq!(kept(late, Some("s1"), None), (1, false));
        let inside = json!([start("s1", None), denied("s2")]);
        assert_eq!(kept(inside, None, Some("s1")), (0, true));
        let known = json!([
            start("s1", None),
            start("s2", Some("s1")),
            start("s3", None),
            denied("s2"),
            denied("s3")
        ]);
        assert_eq!(kept(known, None, Some("s1")), (1, false));
        let harmless = json!([start("s1", None), {"kind": "session-end", "session": "s2"}]);
        assert_eq!(kept(harmless, None, Some("s1")), (0, false));
    }

    #[test]
    fn a_start_that_was_noticed_later_says_what_began_before() {
        let start = |name: &str| json!({"kind": "session-start", "session": "s1", "name": name, "noticed": "after a restart of guardd"});
        let report = Report::of(&records(json!([start("make"), start("again")])));
        let sessions = report.sessions.iter();
        let told: Vec<_> = sessions
            .map(|one| (one.name.as_deref(), one.started_at))
            .collect();
        assert_eq!(told, [(Some("make"), None)]);
    }

    #[test]
    fn a_session_began_when_its_start_says_whenever_that_was_written() -> Result<(), jiff::Error> {
        let began = "2026-11-20T11:00:00.000Z";
        let report = Report::of(&records(json!([
            {"kind": "session-start", "session": "s1"},
            {"kind": "session-start", "session": "s2", "started": began},
            {"kind": "session-start", "session": "s3", "started": began, "noticed": "after a restart of guardd"},
        ])));
        let sessions = report.sessions.iter();
        let told: Vec<_> = sessions
            .map(|one| (one.id.as_str(), one.started_at))
            .collect();
        let written: Timestamp = "2026-11-20T12:00:00Z".parse()?;
        let began: Timestamp = began.parse()?;
        let expected = [
            ("s1", Some(written)),
            ("s2", Some(began)),
            ("s3", Some(began)),
        ];
        assert_eq!(told, expected);
        Ok(())
    }

    #[test]
    fn what_lives_and_began_before_the_records_is_known() {
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
        let denied =
            json!({"kind": "denied", "session": "s1", "destination": to, "verdict": "deny"});
        let mut report = Report::of(&records(json!([denied])));
        let live = crate::render::examples::session();
        assert_eq!(live.id, "s1");
        report.know(std::slice::from_ref(&live));
        report.keep(None, Some(&live.name));
        assert_eq!((report.sessions.len(), report.may_lack), (1, false));
        let name = Some(live.name.clone());
        assert_eq!(
            (&report.sessions[0].name, &report.stopped[0].name),
            (&name, &name)
        );
        // What was stopped in one that was started inside counts, also where its record is the first.
        let inner = guard_proto::Session {
            id: "s2".to_owned(),
            name: "inner".to_owned(),
            parent: Some("s1".to_owned()),
            started_at: live.started_at + jiff::SignedDuration::from_secs(1),
            ..live.clone()
        };
        let of = |session: &str| json!({"kind": "denied", "session": session, "destination": to, "verdict": "deny"});
        let mut report = Report::of(&records(json!([of("s2"), of("s1")])));
        report.know(&[live.clone(), inner]);
        report.keep(Some("s1"), None);
        assert_eq!((report.stopped.len(), report.may_lack), (2, false));
        // Another one of before a reboot had the same id.
        let ended = json!([{"kind": "session-end", "session": "s1"}]);
        let mut report = Report::of(&records(ended));
        report.know(&[crate::render::examples::session()]);
        assert_eq!(report.sessions[0].name, None);
    }

    #[test]
    fn what_sent_nothing_and_passes_by_tcp_is_not_counted() {
        let udp = json!({"address": "192.0.2.10", "port": 443, "protocol": "udp", "host": null});
        let other = json!({"address": "192.0.2.11", "port": 443, "protocol": "udp", "host": null});
        let asked = json!({"address": "192.0.2.12", "port": 443, "protocol": "udp", "host": null});
        let searched = json!({"address": "192.0.2.53", "port": 53, "protocol": "dns", "host": "api.example.com.corp.example"});
        let mut report = Report::of(&records(json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            {"kind": "denied", "session": "s1", "destination": udp, "verdict": "deny", "tcp": "allow", "count": 1},
            {"kind": "denied", "session": "s1", "destination": other, "verdict": "deny", "count": 1},
            {"kind": "denied", "session": "s1", "destination": udp, "verdict": "deny", "tcp": "allow", "count": 3},
            {"kind": "denied", "session": "s1", "destination": searched, "verdict": "deny", "why": "no rule names it (A)", "searched": true, "count": 2},
            // The same, by a datagram that was sent.
            {"kind": "denied", "session": "s1", "destination": udp, "verdict": "deny", "count": 1},
            {"kind": "denied", "session": "s1", "destination": asked, "verdict": "deny", "tcp": "confirm", "count": 1},
            {"kind": "session-end", "session": "s1", "denied": 6},
        ])));
        report.keep(Some("s1"), None);
        assert_eq!((report.refused, report.stopped.len()), (2, 2));
        let counts: Vec<_> = report.not_counted.iter().map(|one| one.count).collect();
        assert_eq!(counts, [3, 2, 1]);
        insta::assert_snapshot!(report.not_counted().join("\n"), @r"
        Not counted, 3 times: a UDP connect, which sends nothing, where TCP passes (so a C library sorts a name's addresses).
        Counts for --fail-on stopped alone, once: a UDP connect, which sends nothing, where a person is asked about TCP.
        Not counted, 2 times: a name that may be asked for, with a domain of this machine's search list behind it.
        ");
        report.keep(Some("s9"), None);
        assert!(report.not_counted().is_empty());
    }

    #[test]
    fn where_nothing_counts_the_kernels_count_is_none() {
        // To port 0, which is not in the log.
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            {"kind": "session-end", "session": "s1", "denied": 4},
        ]);
        assert_eq!(Report::of(&records(all)).refused, 0);
        // What was left out may have been any.
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            {"kind": "session-end", "session": "s1", "denied": 4, "left_out": 1},
        ]);
        assert_eq!(Report::of(&records(all)).refused, 4);
    }

    /// They have no refusal, so what a job is to fail for is all there.
    #[test]
    fn starts_and_ends_that_are_left_out_hide_nothing_of_a_session() {
        let mut report = Report::of(&records(json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            {"kind": "session-start", "session": "s9", "name": "make", "starts_left_out": 14},
            {"kind": "session-end", "session": "s1", "denied": 0, "left_out": 0, "starts_left_out": 2},
            {"kind": "daemon-stop", "session": null, "starts_left_out": 4},
        ])));
        let told = |report: &Report| (report.left_out, report.starts_left_out, report.may_lack);
        assert_eq!(told(&report), (0, 20, false));
        report.keep(Some("s9"), None);
        assert_eq!(told(&report), (0, 0, false));
    }

    #[test]
    fn names_without_a_record_of_their_own_count() {
        let refused = |names: u64, verdict: &str| json!({"kind": "denied", "session": "s1", "verdict": verdict, "names": names});
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "make"},
            refused(1200, "deny"), refused(4, "deny"), refused(7, "failed"),
        ]);
        let report = Report::of(&records(all));
        assert_eq!((report.refused, report.stopped.len()), (1204, 0));
    }

    #[test]
    fn records_add_up() {
        let report = story();
        assert_eq!(report.sessions.len(), 3);
        assert_eq!(report.stopped.len(), 4);
        let first = &report.stopped[0];
        assert_eq!(
            (first.count, first.destination.as_str()),
            (5, "tcp 192.0.2.10:443")
        );
        assert_eq!(
            first.programs,
            ["/usr/bin/curl", "wget"].map(str::to_owned).into()
        );
        assert_eq!(report.refused, 9 + 1 + 1);
        assert_eq!(report.left_out, 2);
        let request = &report.requests[0];
        assert_eq!(request.answer.as_deref(), Some("yes"));
        assert_eq!(request.note.as_deref(), Some("migrate"));
        let hole = &report.holes[0];
        assert_eq!((hole.ended.as_deref(), hole.cut), (Some("expired"), 2));
    }

    #[test]
    fn a_session_is_meant_by_its_name_where_none_has_that_id() {
        let report = Report::of(&records(json!([
            {"kind": "session-start", "session": "s1", "name": "s2"},
            {"kind": "session-start", "session": "s2", "name": "web"},
        ])));
        assert_eq!(report.meant(Some("web"), None), (None, Some("web")));
        assert_eq!(report.meant(Some("s2"), None), (Some("s2"), None));
        assert_eq!(report.meant(Some("s3"), None), (Some("s3"), None));
        assert_eq!(
            report.meant(Some("web"), Some("x")),
            (Some("web"), Some("x"))
        );
        assert_eq!(report.meant(None, None), (None, None));
    }

    #[test]
    fn what_doctor_tries_is_left_out_unless_it_is_asked_for() {
        let to = json!({"address": "127.0.0.1", "port": 4711, "protocol": "tcp", "host": null});
        let all = json!([
            {"kind": "session-start", "session": "s1", "name": "guard doctor", "trial": true},
            {"kind": "denied", "session": "s1", "destination": to, "verdict": "deny", "count": 4},
            {"kind": "session-end", "session": "s1", "denied": 4},
            {"kind": "session-start", "session": "s2", "name": "guard doctor"},
            {"kind": "denied", "session": "s2", "destination": to, "verdict": "deny", "count": 1},
        ]);
        let kept = |id, name| {
            let mut report = Report::of(&records(all.clone()));
            report.keep(id, name);
            (report.sessions.len(), report.stopped.len(), report.refused)
        };
        // Not by its name, which anybody may give.
        assert_eq!(kept(None, None), (1, 1, 1));
        assert_eq!(kept(Some("s1"), None), (1, 1, 4));
        assert_eq!(kept(None, Some("guard doctor")), (2, 2, 5));
    }

    #[test]
    fn what_a_session_started_inside_belongs_to_it() {
        for (id, name) in [(Some("s1"), None), (None, Some("make"))] {
            let mut report = story();
            report.keep(id, name);
            assert_eq!(report.sessions.len(), 2);
            assert_eq!(report.stopped.len(), 3);
            assert_eq!(report.refused, 10);
        }
        let mut none = story();
        none.keep(Some("s1"), Some("other"));
        assert!(none.sessions.is_empty() && none.stopped.is_empty());
        assert_eq!(none.refused, 0);
    }

    #[test]
    fn the_same_id_after_a_reboot_is_another_session() {
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
        let report = Report::of(&records(json!([
            {"kind": "session-start", "session": "s1", "name": "old"},
            {"kind": "denied", "session": "s1", "destination": to, "verdict": "deny", "count": 7},
            {"kind": "session-start", "session": "s1", "name": "new"},
            {"kind": "denied", "session": "s1", "destination": to, "verdict": "deny", "count": 1},
        ])));
        assert_eq!(report.sessions.len(), 2);
        assert_eq!(report.stopped.len(), 2);
        assert_eq!(report.refused, 8);
    }
}
