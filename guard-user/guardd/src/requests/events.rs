//! From the kernel's events to questions for a person, and to the audit trail.

use std::collections::HashMap;

use guard_common::{BootTime, Event, Hook, Protocol, SessionId, Verdict};
use guard_datapath::Told;
use guard_judge::http as judge;
use guard_policy::{PortSpec, Prefix};
use guard_proto::{
    self as proto, Endpoint,
    record::{self, Denied, Destination, Field, Gathered},
};
use guard_sys::clock::Clocks;
use serde_json::{Map, Value};

use crate::{
    changes::Change,
    control::{failure::Refusal, ids},
    policies::Judged,
    record::audit::LogEntry,
    requests::{Noted, Pending, Question, process::Process, tries},
    sessions::{Session, end::AFTERMATH, is_past},
    state::State,
};

/// Records about refusals that a session and all that are inside it may cause at once.
const BURST: u64 = 60;
/// Nanoseconds after which they may cause one more.
const REFILL: u64 = 200_000_000;

/// How much of the audit trail a session that a person started, and what is inside it, has used up lately.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    used: u64,
    at: BootTime,
}

/// Which of a session's records are not there.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    left_out: u64,
    /// Its last record says that there may be some.
    is_told: bool,
}

/// What a record says of those that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// How many were left out since the last one.
    pub left_out: u64,
    /// What follows may be left out.
    pub is_last: bool,
}

/// All sessions' shares of the audit trail: a loop in one of them does not fill the disk, nor do many of them that were
/// started inside one.
#[derive(Debug, Default)]
pub struct Meters {
    shares: HashMap<SessionId, Share>,
    gaps: HashMap<SessionId, Gap>,
}

impl Meters {
    /// Whether the session may cause a record now, and what that says of others. `outermost`: the one around it whose share
    /// that is, or itself.
    pub fn admit(
        &mut self,
        session: SessionId,
        outermost: SessionId,
        now: BootTime,
    ) -> Option<Admitted> {
        let share = self.shares.entry(outermost).or_default();
        let gap = self.gaps.entry(session).or_default();
        let refilled = now.0.saturating_sub(share.at.0) / REFILL;
        if refilled > 0 {
            share.used = share.used.saturating_sub(refilled);
            share.at = now;
        }
        // Where others have used the share up, one record of the session says that it lacks some, and is paid for later.
        if share.used >= BURST && gap.is_told {
            gap.left_out += 1;
            return None;
        }
        share.used += 1;
        // The kernel reports 64 in a second, in which less than five are refilled: whatever it leaves out comes
        // after the last but one. Where it leaves out more, since others have used up what it tells of all of them, it reports
        // one of each session behind those.
        gap.is_told = share.used + 1 >= BURST;
        Some(Admitted {
            left_out: std::mem::take(&mut gap.left_out),
            is_last: gap.is_told,
        })
    }

    /// How many records a session was denied since the last one.
    pub fn left_out(&self, session: SessionId) -> u64 {
        self.gaps.get(&session).map_or(0, |gap| gap.left_out)
    }

    /// Forgets a session, and the share that it had a part in where nobody else has.
    pub fn forget(&mut self, session: SessionId, outermost: SessionId, is_shared: bool) {
        self.gaps.remove(&session);
        if !is_shared {
            self.shares.remove(&outermost);
        }
    }
}

impl State {
    /// Whether a session may cause a record now, and what that says of others.
    pub(crate) fn admit(&mut self, session: SessionId, now: BootTime) -> Option<Admitted> {
        let outermost = self.outermost_of(session);
        self.meters.admit(session, outermost, now)
    }

    /// Takes note of the refusals that the kernel has told of and that nobody has read yet.
    pub fn hear(&mut self) {
        let before = self.requests.version();
        while let Some(told) = self.events.next() {
            match told {
                Told::Connection(event) => {
                    if let Err(error) = self.note_event(&event) {
                        tracing::warn!(%error, session = event.session.0, "a refusal cannot be noted");
                    }
                }
                Told::Other(event) => self.note_stop(&event),
            }
        }
        if self.requests.version() != before {
            self.apply(Change::Requests);
        }
    }

    fn note_event(&mut self, event: &Event) -> Result<(), Refusal> {
        if event.hook == Hook::Listener as u8 {
            self.note_listener(event);
            return Ok(());
        }
        if event.hook == Hook::Dial as u8 || event.hook == Hook::ManyDials as u8 {
            self.note_dial(event);
            return Ok(());
        }
        self.note_way(event);
        if event.hook == Hook::Egress as u8 {
            self.end_spent_holes(Some(event.session));
        }
        if self.sessions.live(event.session).is_none() {
            self.note_denial(event, None);
            return Ok(());
        }
        match self.verdict_on(event) {
            Some(Verdict::Confirm | Verdict::ReadOnly) if self.is_aftermath(event) => {}
            Some(Verdict::Confirm) if event.held != 0 => self.note_held(event)?,
            // It was refused under a policy that has been replaced meanwhile.
            Some(Verdict::Allow) => {}
            // Where a proxy is, it is turned there: its network may be one that is not served yet.
            Some(Verdict::ReadOnly)
                if event.protocol == Protocol::TCP && self.is_unserved(event) =>
            {
                self.note_denial(event, Some(event.session));
            }
            Some(Verdict::Confirm | Verdict::ReadOnly) if !is_socket(event) => {
                self.expect_held(event);
                self.note_denial(event, Some(event.session));
                self.note_question(event)?;
            }
            _ => self.note_denial(event, Some(event.session)),
        }
        Ok(())
    }

    /// Whether that is what a connection still sends whose hole has just ended: nobody asks for it.
    fn is_aftermath(&self, event: &Event) -> bool {
        let ended = self.hole_ends.get(&event.session);
        let is_soon = ended.is_some_and(|at| !is_past(*at, AFTERMATH, event.at));
        is_soon && event.hook == Hook::Egress as u8
    }

    /// Whether that is because its network was not served; from now on it is, if that can be.
    fn is_unserved(&mut self, event: &Event) -> bool {
        self.notice_network(event.session, event.tgid) || !self.proxy.is_up()
    }

    /// What the session's policies say of the event now. Where a hole for reads had it turned, it is as if they said
    /// `read-only`.
    fn verdict_on(&self, event: &Event) -> Option<Verdict> {
        let verdict = self.verdict_behind(&question(event), &self.judge_event(event)?);
        match (verdict, Verdict::from_u8(event.verdict)) {
            (Verdict::Confirm, by_hole @ Verdict::ReadOnly) => Some(by_hole),
            _ => Some(verdict),
        }
    }

    /// What the session's policies say of the event now.
    fn judge_event(&self, event: &Event) -> Option<Judged<'_>> {
        let session = self.sessions.live(event.session)?;
        let (to, protocol, port) = (event.destination, event.protocol, event.port);
        self.policies.judge(&session.chain, to, protocol, port)
    }

    /// Asks a person, unless that is being done.
    fn note_question(&mut self, event: &Event) -> Result<(), Refusal> {
        let process = self.process_behind(event);
        let noted = self.ask(question(event), event.at, process, None)?;
        if noted == Noted::Full {
            tracing::warn!(session = event.session.0, "too many requests wait already");
        }
        Ok(())
    }

    /// The process of that number, if it is (still) one of the session's; 0 where none is known.
    pub fn process_of(&self, session: SessionId, tgid: u32) -> (Option<u32>, Process) {
        let session = self.sessions.live(session);
        let cgroup = session.and_then(|session| self.kernel_path(&session.cgroup.path));
        let known = cgroup
            .filter(|_| tgid != 0)
            .and_then(|cgroup| Process::look(tgid, &cgroup));
        ((tgid != 0).then_some(tgid), known.unwrap_or_default())
    }

    /// The process of an event. Where it has gone already, or runs another program by now, its thread's own name is all
    /// there is.
    pub(crate) fn process_behind(&self, event: &Event) -> (Option<u32>, Process) {
        let (pid, process) = self.process_of(event.session, event.tgid);
        let name = event.comm.split(|byte| *byte == 0).next().unwrap_or(&[]);
        let thread = (event.tgid, event.pid);
        let process = process.called(thread, &String::from_utf8_lossy(name));
        (pid, process)
    }

    /// Puts a question on the list, if it is new, and writes that down.
    ///
    /// # Errors
    ///
    /// Where the kernel gives out no number for it.
    pub fn ask(
        &mut self,
        question: Question,
        at: BootTime,
        (pid, process): (Option<u32>, Process),
        note: Option<String>,
    ) -> Result<Noted, Refusal> {
        let Some(session) = self.sessions.live(question.session) else {
            return Err(ids::no_session(&ids::session(question.session)));
        };
        let (to, protocol, port) = (question.destination, question.protocol, question.port);
        let each = self.policies.judge_each(&session.chain, to, protocol, port);
        let each = each.filter(|each| !each.is_empty());
        let Some(each) = each else {
            return Err(ids::no_session(&ids::session(question.session)));
        };
        // A no holds for the sessions that begin inside, too.
        let outermost = Question {
            session: session.outermost(),
            ..question.clone()
        };
        if outermost != question && self.requests.is_refused(&outermost, at) {
            return Ok(Noted::Muted);
        }
        let (owner, share) = (session.about.uid, session.outermost());
        let judged = asked_about(&each);
        let host = self.host_of(&question, judged);
        let strictest = each.iter().max_by_key(|one| one.verdict.strictness());
        let verdict = self.verdict_behind(&question, strictest.unwrap_or(judged));
        let draft = proto::Request {
            verdict: verdict.as_str().to_owned(),
            chain: chain(session, &each),
            through: self.way_of(&question),
            user: self.users.name(owner),
            pid,
            comm: process.comm,
            exe: process.exe,
            command: process.command,
            note,
            ..draft(&question, at, host, judged)
        };
        let program = draft.comm.clone();
        let ways = self.tries.note(&question, program.as_deref(), at);
        let datapath = &mut self.datapath;
        let asked = question.clone();
        let noted = self.requests.note(question, (owner, share), at, || {
            let id = format!("r{}", datapath.next_request()?);
            Ok::<_, Refusal>(proto::Request { id, ..draft })
        })?;
        if let Noted::New(id) | Noted::Again(id) = &noted {
            let warnings = [tries::warning(ways), process.warning];
            self.requests.note_try(id, program, warnings);
        }
        match &noted {
            Noted::New(id) => Ok(self.note_new(id, &asked, at).unwrap_or(noted)),
            _ => Ok(noted),
        }
    }

    /// Counts a new question and writes it down; where it became a part of another one, that it is one.
    fn note_new(&mut self, id: &str, asked: &Question, at: BootTime) -> Option<Noted> {
        if asked.http.is_some() {
            self.counters.http("asked");
        }
        self.counters.asked();
        let new = self.requests.get(id).map(|one| one.clone().alone(id));
        let burst = self.burst_around(asked, at);
        let burst = burst.and_then(|prefix| self.requests.gather(asked, prefix));
        if let Some(new) = new {
            self.write_question(&new, at, burst.as_ref());
        }
        burst.map(|burst| Noted::Again(burst.request))
    }

    /// The prefix in which that question, which is on the list, and others are better asked as one.
    fn burst_around(&self, question: &Question, at: BootTime) -> Option<Prefix> {
        let session = self.sessions.live(question.session)?;
        let ports = ports_of(question);
        let is_one = |prefix: &Prefix| self.policies.confirm_all(&session.chain, prefix, ports);
        match question.http {
            Some(_) => None,
            None => self.requests.burst_around(question, at, is_one),
        }
    }

    /// `burst`: it has become a part of that one.
    fn write_question(&mut self, asked: &Pending, at: BootTime, burst: Option<&Gathered>) {
        let Some(admitted) = self.admit(asked.question.session, at) else {
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
            burst: burst.cloned().into(),
        };
        let entry = LogEntry::of(&shown.session, asked.owner, record);
        self.audit.note(entry.admitted(admitted));
    }

    /// Writes down that something was denied.
    fn note_denial(&mut self, event: &Event, session: Option<SessionId>) {
        let Some(admitted) = self.admit(event.session, event.at) else {
            return;
        };
        let judged = self.judge_event(event);
        let rule = judged.and_then(|judged| judged.rule.map(|rule| rule.name.clone()));
        let host = judged.and_then(|judged| self.host_of(&question(event), &judged));
        let live = session.and_then(|id| self.sessions.live(id));
        let (pid, process) = self.process_behind(event);
        let hook = Hook::from_u8(event.hook).map_or("unknown", Hook::as_str);
        let record = Denied {
            cgroup: live.map_or(event.cgroup.into(), |_| Field::Absent),
            destination: destination(event, host).into(),
            rule: rule.into(),
            verdict: Verdict::from_u8(event.verdict).as_str().into(),
            through: self.way_of(&question(event)).into(),
            hook: hook.into(),
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
        self.audit.note(entry.admitted(admitted));
    }

    /// The name in the deciding rule that stands for the question's address.
    #[must_use]
    pub fn host_of(&self, question: &Question, judged: &Judged<'_>) -> Option<String> {
        let names = judged.rule?.names().map(|name| name.as_str());
        let name = self.names.name_of(question.destination.to_ip(), names)?;
        Some(name.to_owned())
    }
}

/// Of what each policy of a chain says, what a person is shown: the outermost that does not allow it, for what comes from
/// inside are the words of whom it stops. Where all allow it, the outermost.
fn asked_about<'j, 'p>(each: &'j [Judged<'p>]) -> &'j Judged<'p> {
    let stops = |one: &&Judged<'_>| one.verdict != Verdict::Allow;
    let outermost = each.iter().rev().find(stops);
    outermost.unwrap_or(&each[each.len() - 1])
}

/// All of it, the outermost first.
fn chain(session: &Session, each: &[Judged<'_>]) -> Vec<proto::ChainLink> {
    let sessions = session.with_those_around();
    let links = sessions.into_iter().zip(each.iter().rev());
    let link = |(session, judged): (u32, &Judged<'_>)| proto::ChainLink {
        session: ids::session(SessionId(session)),
        policy: judged.policy.policy.name.clone(),
        rule: judged.rule.map(|rule| rule.name.clone()),
        verdict: judged.verdict.as_str().to_owned(),
        reason: judged.rule.and_then(|rule| rule.reason.clone()),
    };
    links.map(link).collect()
}

/// A request as far as the policies know it: not who asks, and under which id.
fn draft(
    question: &Question,
    at: BootTime,
    host: Option<String>,
    judged: &Judged<'_>,
) -> proto::Request {
    let at = Clocks::read().calendar(at);
    proto::Request {
        id: String::new(),
        session: ids::session(question.session),
        policy: judged.policy.policy.name.clone(),
        user: String::new(),
        pid: None,
        comm: None,
        exe: None,
        command: Vec::new(),
        destination: endpoint(question, host),
        rule: judged.rule.map(|rule| rule.name.clone()),
        reason: judged.rule.and_then(|rule| rule.reason.clone()),
        verdict: judged.verdict.as_str().to_owned(),
        chain: Vec::new(),
        held: false,
        asked_at: at,
        last_at: at,
        waits_until: None,
        count: 1,
        programs: Vec::new(),
        warnings: Vec::new(),
        http: question.http.as_ref().map(|http| http.request.clone()),
        note: None,
        burst: None,
        offers: Vec::new(),
        through: None,
    }
}

/// A question as a person saw it who answered, for the audit trail: of an HTTP request without what may hold anything.
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

/// What the audit trail is told of an HTTP request: all but its body, which may hold anything, and headers that are not known
/// to say what is done, and values in its query that let somebody in.
fn for_trail(http: &proto::HttpRequest) -> proto::HttpRequest {
    let steers = |header: &&String| judge::steers(header.split(':').next().unwrap_or_default());
    let headers = http.headers.iter().filter(steers);
    let warnings = http.warnings.iter();
    proto::HttpRequest {
        path: path_for_trail(http),
        body_preview: None,
        headers: headers.map(|one| judge::without_secrets(one)).collect(),
        warnings: warnings
            .map(|one| judge::warning_without_values(one))
            .collect(),
        ..http.clone()
    }
}

/// Its path and query as they may be kept. A statement has none, and its `?` is an operator.
#[must_use]
pub fn path_for_trail(http: &proto::HttpRequest) -> String {
    match http.is_statement() {
        true => http.path.clone(),
        false => judge::without_secrets(&http.path),
    }
}

/// A `socket` call has no destination: no hole could help.
fn is_socket(event: &Event) -> bool {
    event.hook == Hook::SockCreate as u8
}

fn question(event: &Event) -> Question {
    Question {
        session: event.session,
        destination: event.destination,
        protocol: event.protocol,
        port: event.port,
        http: None,
    }
}

fn destination(event: &Event, host: Option<String>) -> Destination {
    match is_socket(event) {
        true => Destination::Socket {
            protocol: protocol_name(event.protocol),
            socket_type: event.socket_type.into(),
        },
        false => Destination::Endpoint(endpoint(&question(event), host)),
    }
}

/// A question's destination as people see it.
#[must_use]
pub fn endpoint(question: &Question, host: Option<String>) -> Endpoint {
    let has_ports = matches!(question.protocol, Protocol::TCP | Protocol::UDP);
    Endpoint {
        address: question.destination.to_ip().to_string(),
        port: has_ports.then_some(question.port),
        protocol: protocol_name(question.protocol),
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

/// The ports of a hole that answers a question.
#[must_use]
pub fn ports_of(question: &Question) -> PortSpec {
    match question.protocol {
        Protocol::TCP | Protocol::UDP => PortSpec::one(question.protocol, question.port),
        other => PortSpec::all(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_has_its_share_of_the_trail_and_no_more() {
        let mut all = Meters::default();
        let mut meters = Alone(&mut all);
        let at = |tenths: u64| BootTime(1_000_000_000_000 + tenths * 100_000_000);
        let admitted = (0..1000).filter(|_| meters.admit(SessionId(1), at(0)).is_some());
        assert_eq!(admitted.count() as u64, BURST);
        let all = Admitted::default();
        assert_eq!(meters.admit(SessionId(2), at(0)), Some(all));
        assert_eq!(meters.0.left_out(SessionId(1)), 1000 - BURST);
        let some = Admitted {
            left_out: 1000 - BURST,
            is_last: true,
        };
        assert_eq!(meters.admit(SessionId(1), at(2)), Some(some));
        assert_eq!(meters.0.left_out(SessionId(1)), 0);
        assert_eq!(meters.admit(SessionId(1), at(2)), None);
    }

    /// Sessions with nothing around them.
    struct Alone<'m>(&'m mut Meters);

    impl Alone<'_> {
        fn admit(&mut self, session: SessionId, now: BootTime) -> Option<Admitted> {
            self.0.admit(session, session, now)
        }
    }

    #[test]
    fn sessions_inside_one_have_its_share_together_and_each_says_what_it_lacks() {
        let mut meters = Meters::default();
        let outermost = SessionId(1);
        let at = |second: u64| BootTime((1000 + second) * 1_000_000_000);
        let inside = || (0..64).map(|number| SessionId(1 + number));
        let mut flood = |now| {
            let all = inside().flat_map(|id| std::iter::repeat_n(id, 100));
            let admitted = all.filter_map(|id| Some((id, meters.admit(id, outermost, now)?)));
            admitted.collect::<Vec<_>>()
        };
        let first = flood(at(0));
        // One more of each that has none yet: the first of those that came too late.
        assert_eq!(first.len() as u64, BURST + 63);
        for id in inside() {
            let mut own = first.iter().filter(|(of, _)| *of == id);
            assert!(own.any(|(_, admitted)| admitted.is_last), "{id:?}");
        }
        // Those are paid for before there are new ones.
        assert_eq!(flood(at(12)), []);
        // What each lacks it has said already.
        assert_eq!(flood(at(1000)).len() as u64, BURST);
        assert_eq!(meters.left_out(SessionId(64)), 299);
    }

    #[test]
    fn a_share_stays_for_as_long_as_some_session_has_it() {
        let mut meters = Meters::default();
        let (outer, inner, now) = (SessionId(1), SessionId(2), BootTime(1_000_000_000_000));
        for _ in 0..100 {
            meters.admit(outer, outer, now);
        }
        meters.forget(outer, outer, true);
        meters.admit(inner, outer, now);
        assert_eq!(meters.admit(inner, outer, now), None);
        meters.forget(inner, outer, false);
        assert!(meters.shares.is_empty() && meters.gaps.is_empty());
    }
}
