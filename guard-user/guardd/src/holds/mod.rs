//! Connections that wait for a person. The kernel holds them, and lets them pass when a hole does; guardd says whose may
//! wait, asks, and ends those that wait in vain.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use guard_common::{Address, BootTime, Connection, Event, Protocol, SessionId, Verdict};
use guard_datapath::{HeldSocket, LiveHole};
use guard_proto::{
    moment,
    record::{Denied, Destination, Held},
};
use guard_sys::clock::{self, Clocks};
use jiff::Timestamp;

use crate::{
    changes::Change,
    control::{failure::Refusal, ids},
    grants::opening::after,
    record::audit::LogEntry,
    relays::{self, Behind},
    requests::{Noted, Question, events},
    sessions::Session,
    state::State,
};

/// No connection waits for longer, whatever a policy says: the kernel stops trying.
pub const LONGEST: Duration = Duration::from_secs(300);
/// How long connections begin to wait without another word of guardd's. More than two of the times that it takes to say so.
const LEASE: Duration = Duration::from_secs(12);
/// How often those that wait are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long after the report of a refusal the kernel reports nothing of the same destination, not even that the next
/// connection waits.
const UNREPORTED: Duration = Duration::from_nanos(guard_common::HELD_PAUSE);
/// To look at many takes a while; it may take one part in so many of guardd's time.
const SHARE: u32 = 20;
/// Connections of one session that wait at once; where there are more, no other one begins to.
const MOST_OF_SESSION: usize = 16_384;
/// Why those end that waited for guardd to look, where a person would have to answer.
const NOBODY: &str = "a person has to be asked, and nobody follows";
/// Why those end that nobody was there for.
const TOO_LATE: &str = "nobody answered in time";

/// What is known of those that wait.
#[derive(Debug)]
pub struct Holds {
    /// When they are next looked at; none wait where there is none.
    next: Option<BootTime>,
    /// They are not looked at before, but when something was answered: it takes its time.
    not_before: BootTime,
    /// The sessions that have as many as may be.
    full: HashSet<SessionId>,
    /// Whose connections may wait, for how long, and until when guardd has said so.
    leases: HashMap<SessionId, (Duration, BootTime)>,
}

impl Default for Holds {
    /// Some may have waited when guardd was not there.
    fn default() -> Self {
        Self {
            next: Some(BootTime(0)),
            not_before: BootTime(0),
            full: HashSet::new(),
            leases: HashMap::new(),
        }
    }
}

impl Holds {
    /// When those that wait are to be looked at.
    #[must_use]
    pub fn next_look(&self) -> Option<BootTime> {
        self.next
    }

    /// Sees to it that they are looked at by then, or as soon as may be.
    fn look_by(&mut self, at: BootTime) {
        let at = at.max(self.not_before);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// Those that wait for one answer.
type Group = Vec<HeldSocket>;

/// What becomes of those that wait.
enum Fate {
    /// The next that the kernel tries passes, or is about to.
    Passes,
    /// guardd has not looked yet at who would get them.
    Unlooked,
    /// They wait on for this answer.
    Waits(String),
    /// Nobody will let them.
    Ends(&'static str),
}

impl State {
    /// Says anew whose connections may wait: of those whose people are there to answer, or that are asked to.
    pub fn renew_patience(&mut self) {
        let now = clock::now();
        let live = self.sessions.all_live();
        let wanted: HashMap<_, _> = live
            .filter_map(|session| Some((session.cgroup.id, self.patience_of(session)?)))
            .collect();
        let known: Vec<_> = self.holds.leases.keys().copied().collect();
        for session in known.into_iter().filter(|id| !wanted.contains_key(id)) {
            self.stop_patience(session);
        }
        for (session, time) in wanted {
            self.lease(session, time, now);
        }
    }

    /// The same of one session, which is new.
    pub fn begin_patience(&mut self, id: SessionId) {
        let session = self.sessions.live(id);
        if let Some(time) = session.and_then(|session| self.patience_of(session)) {
            self.lease(id, time, clock::now());
        }
    }

    /// From now on no connection begins to wait: there is no guardd to ask about it.
    pub fn stop_all_patience(&mut self) {
        let all: Vec<_> = self.holds.leases.keys().copied().collect();
        for session in all {
            self.stop_patience(session);
        }
    }

    fn lease(&mut self, session: SessionId, time: Duration, now: BootTime) {
        let until = after(now, LEASE);
        let known = self.holds.leases.get(&session);
        if known.is_some_and(|(had, _)| *had == time)
            && known.is_some_and(|(_, had)| had.0 > after(now, LEASE / 2).0)
        {
            return;
        }
        match self.datapath.set_patience(session, time, until) {
            Ok(()) => {
                let before = self.holds.leases.insert(session, (time, until));
                if before.is_none() {
                    // What waits now may have been refused just before.
                    self.holds.look_by(after(now, UNREPORTED));
                }
            }
            Err(error) => {
                tracing::warn!(%error, session = session.0, "its connections do not wait");
            }
        }
    }

    fn stop_patience(&mut self, session: SessionId) {
        self.holds.leases.remove(&session);
        if let Err(error) = self.datapath.clear_patience(session) {
            tracing::warn!(%error, session = session.0, "its connections wait for a while yet");
        }
    }

    /// How long a session's connections wait now.
    fn patience_of(&self, session: &Session) -> Option<Duration> {
        if self.holds.full.contains(&session.cgroup.id) {
            return None;
        }
        let about = &session.about;
        let policies = session.chain.iter();
        let policies = policies.map(|slot| Some(self.policies.get(*slot)?.policy.hold));
        let by_policy = policies.min().flatten();
        let time = match about.hold() {
            Some(time) => time,
            None => by_policy.filter(|_| self.followers.any_for(about.uid))?,
        };
        (!time.is_zero()).then_some(time.min(LONGEST))
    }

    /// A connection was refused: the next one may wait, and the kernel does not say so.
    pub(crate) fn expect_held(&mut self, event: &Event) {
        if self.holds.leases.contains_key(&event.session) {
            self.holds.look_by(after(event.at, UNREPORTED));
        }
    }

    /// Takes note of a connection that has begun to wait.
    ///
    /// # Errors
    ///
    /// Where nobody can be asked.
    pub(crate) fn note_held(&mut self, event: &Event) -> Result<(), Refusal> {
        let question = Question {
            session: event.session,
            destination: event.destination,
            protocol: event.protocol,
            port: event.port,
            http: None,
        };
        let lease = self.holds.leases.get(&event.session);
        let time = lease.map_or(LOOK, |(time, _)| *time);
        let until = after(event.at, time);
        self.holds.look_by(after(event.at, LOOK));
        let process = self.process_behind(event);
        let noted = self.ask(question.clone(), event.at, process, None)?;
        if noted == Noted::Muted {
            // The kernel does not know of every address in a prefix that was refused.
            self.holds.look_by(event.at);
        }
        // Where nobody is asked it ends when it is looked at.
        if let Noted::New(id) | Noted::Again(id) = noted {
            let shown = Clocks::read().calendar(until);
            self.requests.hold(&id, Some(shown));
            self.write_held(&question, event, &id, shown);
        }
        Ok(())
    }

    fn write_held(&mut self, question: &Question, event: &Event, id: &str, until: Timestamp) {
        let Some(admitted) = self.admit(event.session, event.at) else {
            return;
        };
        let Some(asked) = self.requests.get(id) else {
            return;
        };
        let destination = match asked.question == *question {
            true => asked.shown.destination.clone(),
            false => events::endpoint(question, None),
        };
        let record = Held {
            request: id.into(),
            destination: Destination::Endpoint(destination).into(),
            rule: asked.shown.rule.clone().into(),
            verdict: Verdict::Confirm.as_str().into(),
            count: event.count.into(),
            pid: (event.tgid != 0).then_some(event.tgid).into(),
            waits_until: moment::text(until).into(),
        };
        debug_assert!(question.http.is_none());
        let entry = LogEntry::of(&asked.shown.session, asked.owner, record);
        self.audit.note(entry.admitted(admitted));
    }

    /// Looks at those that wait, if it is time: ends those that wait in vain, and asks about those that nobody is asked
    /// about.
    pub fn look_at_held_when_due(&mut self, now: BootTime) {
        let is_due = match self.holds.next {
            Some(at) => at <= now,
            // Of a flood the kernel does not tell all.
            None => self.datapath.holds_any(),
        };
        if is_due {
            self.look_at_held();
        }
    }

    /// The same at once: something was answered.
    pub fn look_at_held(&mut self) {
        let began = clock::now();
        let appointed = self.holds.next.take().filter(|at| at.0 > began.0);
        let held = match self.datapath.held() {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which connections wait");
                self.holds.look_by(after(began, LOOK));
                return;
            }
        };
        self.note_full(&held);
        let (overdue, held): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(_, one)| one.until <= began);
        let overdue = grouped(&overdue).into_iter();
        let mut ending: Vec<_> = overdue.map(|(_, group)| (group, TOO_LATE)).collect();
        let holes = self.datapath.holes().unwrap_or_default();
        let mut asked: HashMap<String, BootTime> = HashMap::new();
        for (question, group) in grouped(&held) {
            match self.fate(&question, &group, &holes) {
                Fate::Passes | Fate::Unlooked => {}
                Fate::Waits(id) => {
                    let until = asked.entry(id).or_insert(BootTime(0));
                    *until = (*until).max(latest(&group));
                }
                Fate::Ends(why) => ending.push((group, why)),
            }
        }
        self.end_groups(&ending);
        self.show_held(&asked);
        self.apply(Change::Requests);
        let ended = clock::now();
        let spent = Duration::from_nanos(ended.0.saturating_sub(began.0));
        self.holds.not_before = after(ended, spent * SHARE);
        let next = (!held.is_empty()).then(|| after(ended, LOOK).min(first_end(&held)));
        for at in next.into_iter().chain(appointed) {
            self.holds.look_by(at);
        }
    }

    /// Of a session with too many, those inside it counted too, no other one begins to wait.
    fn note_full(&mut self, held: &[HeldSocket]) {
        let mut counts: HashMap<SessionId, usize> = HashMap::new();
        let outermost = |id| self.sessions.get(id).map_or(id, Session::outermost);
        for (_, one) in held {
            *counts.entry(outermost(one.session)).or_default() += 1;
        }
        counts.retain(|_, waiting| *waiting >= MOST_OF_SESSION);
        let live = self.sessions.all_live();
        let full = live.filter(|session| counts.contains_key(&session.outermost()));
        let full: HashSet<_> = full.map(|session| session.cgroup.id).collect();
        if full != self.holds.full {
            self.holds.full = full;
            self.apply(Change::Approvers);
        }
    }

    fn fate(&mut self, question: &Question, group: &Group, holes: &[LiveHole]) -> Fate {
        if self.sessions.live(question.session).is_none() {
            return Fate::Ends("the session has ended");
        }
        let asked = (question.destination, question.port);
        let (question, verdict) = match relays::is_near(question) {
            false => (question.clone(), None),
            true => match self.behind(question, first(group)) {
                Behind::Own => return Fate::Passes,
                Behind::Unknown => return Fate::Unlooked,
                Behind::Leads {
                    question, verdict, ..
                } => (question, Some(verdict)),
            },
        };
        let question = &question;
        let (to, port) = (question.destination, question.port);
        let Some(session) = self.sessions.live(question.session) else {
            return Fate::Ends("the session has ended");
        };
        let by_policy = || self.policies.judge(&session.chain, to, Protocol::TCP, port);
        let judged = verdict.or_else(|| by_policy().map(|judged| judged.verdict));
        match judged {
            Some(Verdict::Allow) => return Fate::Passes,
            Some(Verdict::Confirm) => {}
            Some(Verdict::ReadOnly) => return Fate::Ends("it may be read from: try again"),
            _ => return Fate::Ends("a policy denies it"),
        }
        let mut over = holes.iter().filter(|hole| {
            let is_own = hole.session == question.session;
            let covers = |(to, port)| hole.entry.covers(&to, Protocol::TCP, port);
            is_own && (covers((to, port)) || covers(asked))
        });
        if over
            .clone()
            .any(|hole| !hole.entry.kind.reads() && hole.connections_left != Some(0))
        {
            return Fate::Passes;
        }
        if over.any(|hole| hole.entry.kind.reads()) {
            return Fate::Ends("it may be read from: try again");
        }
        if self.requests.is_refused(question, clock::now()) {
            return Fate::Ends("a person said no");
        }
        let fate = self.asked_about(question, group);
        match (fate, self.holds.leases.contains_key(&question.session)) {
            // It waited for guardd, and there is nobody else for it to wait for.
            (Fate::Waits(_), false) if verdict.is_some() => Fate::Ends(NOBODY),
            (fate, _) => fate,
        }
    }

    /// The request that a person sees of those that wait; a new one where there is none, as after a hole for one of them.
    fn asked_about(&mut self, question: &Question, group: &Group) -> Fate {
        if let Some(id) = self.requests.join(question) {
            return Fate::Waits(id);
        }
        let tgid = group.first().map_or(0, |(_, one)| one.tgid);
        let process = self.process_of(question.session, tgid);
        match self.ask(question.clone(), clock::now(), process, None) {
            Ok(Noted::New(id) | Noted::Again(id)) => {
                // So that the next of them does not take its place.
                let until = Clocks::read().calendar(latest(group));
                self.requests.hold(&id, Some(until));
                Fate::Waits(id)
            }
            Ok(Noted::Muted) => Fate::Ends("a person said no"),
            Ok(Noted::Full) => Fate::Ends("too many requests wait already"),
            Err(error) => {
                tracing::warn!(%error, session = question.session.0, "cannot ask about a connection");
                Fate::Ends("nobody can be asked")
            }
        }
    }

    /// Ends connections, and writes that down. All of a session at once: to find them the kernel has to list all there are.
    fn end_groups(&mut self, ending: &[(Group, &'static str)]) {
        let mut cookies: HashMap<SessionId, HashSet<u64>> = HashMap::new();
        for (cookie, one) in ending.iter().flat_map(|(group, _)| group) {
            cookies.entry(one.session).or_default().insert(*cookie);
        }
        for (id, cookies) in &cookies {
            self.end_all(*id, cookies);
        }
        for (group, why) in ending {
            self.write_end(group, why);
        }
    }

    fn end_all(&mut self, id: SessionId, cookies: &HashSet<u64>) {
        let ended = match self.sessions.live(id) {
            Some(session) => self.datapath.end_held(&session.cgroup, cookies),
            None => self.datapath.forget_held(cookies).map(|()| 0),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, session = id.0, "connections wait in vain until the kernel ends them");
        }
    }

    fn write_end(&mut self, group: &Group, why: &'static str) {
        let Some((_, first)) = group.first() else {
            return;
        };
        let Some(session) = self.sessions.live(first.session) else {
            return;
        };
        let uid = session.about.uid;
        let now = clock::now();
        let Some(admitted) = self.meters.admit(first.session, session.outermost(), now) else {
            return;
        };
        let waited = Duration::from_nanos(now.0.saturating_sub(first.since.0));
        let question = question_of(first);
        let (to, port) = (question.destination, question.port);
        let judged = self.policies.judge(&session.chain, to, Protocol::TCP, port);
        let rule = judged.and_then(|judged| Some(judged.rule?.name.clone()));
        let host = judged.and_then(|judged| self.host_of(&question, &judged));
        let endpoint = events::endpoint(&question, host);
        let record = Denied {
            destination: Destination::Endpoint(endpoint).into(),
            rule: rule.into(),
            verdict: Verdict::Confirm.as_str().into(),
            why: why.into(),
            connections: group.len().into(),
            waited: waited.as_secs_f64().into(),
            ..Denied::default()
        };
        let entry = LogEntry::of(ids::session(first.session), uid, record);
        self.audit.note(entry.admitted(admitted));
    }

    /// Has people see until when connections wait for an answer, and for which none does any more.
    fn show_held(&mut self, asked: &HashMap<String, BootTime>) {
        let clocks = Clocks::read();
        let pending = self.requests.pending().iter();
        let connections = pending.filter(|one| one.question.http.is_none());
        let over = connections.filter(|one| one.shown.held && !asked.contains_key(&one.shown.id));
        let over: Vec<_> = over.map(|one| one.shown.id.clone()).collect();
        for id in over {
            self.requests.hold(&id, None);
        }
        for (id, until) in asked {
            self.requests.hold(id, Some(clocks.calendar(*until)));
        }
    }

    /// Has the kernel refuse at once what a person said no to.
    pub(crate) fn refuse_in_kernel(&mut self, question: &Question, until: BootTime) {
        if question.http.is_some() {
            return;
        }
        let to = connection(question);
        if let Err(error) = self.datapath.refuse(question.session, &to, until) {
            tracing::warn!(%error, "what was refused is ended by guardd each time");
        }
    }

    /// The opposite.
    pub(crate) fn unrefuse_in_kernel(&mut self, question: &Question) {
        if question.http.is_some() {
            return;
        }
        let to = connection(question);
        if let Err(error) = self.datapath.unrefuse(question.session, &to) {
            tracing::warn!(%error, "connections there do not wait");
        }
    }
}

fn connection(question: &Question) -> Connection {
    Connection::new(question.destination, question.protocol, question.port)
}

fn question_of(held: &guard_common::Held) -> Question {
    Question {
        session: held.session,
        destination: held.destination,
        protocol: Protocol::TCP,
        port: held.port,
        http: None,
    }
}

/// Those that wait for the same answer together.
fn grouped(held: &[HeldSocket]) -> Vec<(Question, Group)> {
    let mut groups: BTreeMap<(u32, [u32; 4], u16), Group> = BTreeMap::new();
    for one in held {
        let Address(words) = one.1.destination;
        let key = (one.1.session.0, words, one.1.port);
        groups.entry(key).or_default().push(*one);
    }
    let groups = groups.into_values();
    let asked = groups.filter_map(|mut group| {
        group.sort_by_key(|(_, one)| one.since);
        let question = question_of(&group.first()?.1);
        Some((question, group))
    });
    asked.collect()
}

/// When the first of them began.
fn first(group: &Group) -> BootTime {
    group
        .first()
        .map_or(BootTime(0), |(_, earliest)| earliest.since)
}

/// When the last of them gives up.
fn latest(group: &Group) -> BootTime {
    let ends = group.iter().map(|(_, one)| one.until);
    ends.max().unwrap_or(BootTime(0))
}

/// When the first of them gives up.
fn first_end(held: &[HeldSocket]) -> BootTime {
    let ends = held.iter().map(|(_, one)| one.until);
    ends.min().unwrap_or(BootTime(u64::MAX))
}
