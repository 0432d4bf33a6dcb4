//! Connections that wait for a person. The kernel holds them, and lets them pass when a hole does; guardd says whose may
//! wait, asks, and ends those that wait in vain.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use guard_common::{Address, BootTime, Connection, Event, Protocol, SessionId, Verdict};
use guard_datapath::{Datapath, HeldSocket, LiveHole};
use guard_proto::{LogKind, moment};
use guard_sys::clock::{self, Clocks};
use jiff::Timestamp;

use crate::{
    changes::Change,
    control::{failure::Refusal, ids},
    grants::opening::after,
    policies::Policies,
    record::audit::Record,
    relays::{self, Behind},
    requests::{Noted, Question, Requests, events},
    sessions::{Session, Sessions},
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

    /// How long what a session begins to hold now waits.
    fn time_for(&self, session: SessionId) -> Duration {
        self.leases.get(&session).map_or(LOOK, |(time, _)| *time)
    }

    /// Whether a session's connections may wait.
    fn may_wait(&self, session: SessionId) -> bool {
        self.leases.contains_key(&session)
    }

    /// They are looked at now: when they were to be looked at later.
    fn begin_look(&mut self, now: BootTime) -> Option<BootTime> {
        self.next.take().filter(|at| at.0 > now.0)
    }

    /// They were looked at, from then to then: they are again in a while if some wait, of which the first gives up at
    /// `first_end`, and when they were to be.
    fn end_look(
        &mut self,
        (began, ended): (BootTime, BootTime),
        first_end: Option<BootTime>,
        appointed: Option<BootTime>,
    ) {
        let spent = Duration::from_nanos(ended.0.saturating_sub(began.0));
        self.not_before = after(ended, spent * SHARE);
        let next = first_end.map(|end| after(ended, LOOK).min(end));
        for at in next.into_iter().chain(appointed) {
            self.look_by(at);
        }
    }

    /// Sees to it that they are looked at by then, or as soon as may be.
    fn look_by(&mut self, at: BootTime) {
        let at = at.max(self.not_before);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Holds {
    /// Says anew whose connections may wait: of those whose people are there to answer, or that are asked to.
    pub fn renew(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        policies: &Policies,
        requests: &Requests,
    ) {
        let now = clock::now();
        let live = sessions.all_live();
        let wanted: HashMap<_, _> = live
            .filter_map(|session| {
                Some((
                    session.cgroup.id,
                    self.time_of(session, policies, requests)?,
                ))
            })
            .collect();
        let known: Vec<_> = self.leases.keys().copied().collect();
        for session in known.into_iter().filter(|id| !wanted.contains_key(id)) {
            self.stop(kernel, session);
        }
        for (session, time) in wanted {
            self.lease(kernel, session, time, now);
        }
    }

    /// The same of one session, which is new.
    pub fn begin(
        &mut self,
        kernel: &mut Datapath,
        session: &Session,
        policies: &Policies,
        requests: &Requests,
    ) {
        if let Some(time) = self.time_of(session, policies, requests) {
            self.lease(kernel, session.cgroup.id, time, clock::now());
        }
    }

    /// From now on no connection begins to wait: there is no guardd to ask about it.
    pub fn stop_all(&mut self, kernel: &mut Datapath) {
        let all: Vec<_> = self.leases.keys().copied().collect();
        for session in all {
            self.stop(kernel, session);
        }
    }

    fn lease(&mut self, kernel: &mut Datapath, session: SessionId, time: Duration, now: BootTime) {
        let until = after(now, LEASE);
        let known = self.leases.get(&session);
        if known.is_some_and(|(had, _)| *had == time)
            && known.is_some_and(|(_, had)| had.0 > after(now, LEASE / 2).0)
        {
            return;
        }
        match kernel.set_patience(session, time, until) {
            Ok(()) => {
                let before = self.leases.insert(session, (time, until));
                if before.is_none() {
                    // What waits now may have been refused just before.
                    self.look_by(after(now, UNREPORTED));
                }
            }
            Err(error) => {
                tracing::warn!(%error, session = session.0, "its connections do not wait");
            }
        }
    }

    fn stop(&mut self, kernel: &mut Datapath, session: SessionId) {
        self.leases.remove(&session);
        if let Err(error) = kernel.clear_patience(session) {
            tracing::warn!(%error, session = session.0, "its connections wait for a while yet");
        }
    }

    /// How long a session's connections wait now.
    fn time_of(
        &self,
        session: &Session,
        policies: &Policies,
        requests: &Requests,
    ) -> Option<Duration> {
        if self.full.contains(&session.cgroup.id) {
            return None;
        }
        let about = &session.about;
        let slots = session.chain.iter();
        let times = slots.map(|slot| Some(policies.get(*slot)?.policy.hold));
        let by_policy = times.min().flatten();
        let time = match about.hold() {
            Some(time) => time,
            None => by_policy.filter(|_| requests.is_followed(about.uid))?,
        };
        (!time.is_zero()).then_some(time.min(LONGEST))
    }

    /// A connection was refused: the next one may wait, and the kernel does not say so.
    pub(crate) fn expect(&mut self, event: &Event) {
        if self.leases.contains_key(&event.session) {
            self.look_by(after(event.at, UNREPORTED));
        }
    }

    /// Whether it is time to look at those that wait.
    #[must_use]
    pub fn is_due(&self, kernel: &Datapath, now: BootTime) -> bool {
        match self.next {
            Some(at) => at <= now,
            // Of a flood the kernel does not tell all.
            None => kernel.holds_any(),
        }
    }

    /// Of a session with too many, those inside it counted too, no other one begins to wait.
    fn note_full(&mut self, sessions: &Sessions, held: &[HeldSocket]) -> Option<Change> {
        let mut counts: HashMap<SessionId, usize> = HashMap::new();
        let outermost = |id| sessions.get(id).map_or(id, Session::outermost);
        for (_, one) in held {
            *counts.entry(outermost(one.session)).or_default() += 1;
        }
        counts.retain(|_, waiting| *waiting >= MOST_OF_SESSION);
        let live = sessions.all_live();
        let full = live.filter(|session| counts.contains_key(&session.outermost()));
        let full: HashSet<_> = full.map(|session| session.cgroup.id).collect();
        let is_news = full != self.full;
        self.full = full;
        is_news.then_some(Change::Approvers)
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
    /// Says anew whose connections may wait.
    pub fn renew_patience(&mut self) {
        let (policies, requests) = (&self.policies, &self.requests);
        self.holds
            .renew(&mut self.datapath, &self.sessions, policies, requests);
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
        let until = after(event.at, self.holds.time_for(event.session));
        self.holds.look_by(after(event.at, LOOK));
        let process = self
            .machine
            .process_behind(self.sessions.live(event.session), event);
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
        let record = Record::of(&asked.shown.session, asked.owner)
            .with("request", id)
            .with("destination", serde_json::json!(destination))
            .with("rule", asked.shown.rule.clone())
            .with("verdict", Verdict::Confirm.as_str())
            .with("count", event.count)
            .with("pid", (event.tgid != 0).then_some(event.tgid))
            .with("waits_until", moment::text(until))
            .with("left_out", admitted.left_out)
            .with("last", admitted.is_last.then_some(true));
        debug_assert!(question.http.is_none());
        self.audit.note(LogKind::Held, record);
    }

    /// The same at once: something was answered.
    pub fn look_at_held(&mut self) {
        let began = clock::now();
        let appointed = self.holds.begin_look(began);
        let held = match self.datapath.held() {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which connections wait");
                self.holds.look_by(after(began, LOOK));
                return;
            }
        };
        if let Some(change) = self.holds.note_full(&self.sessions, &held) {
            self.apply(change);
        }
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
        end_groups(&mut self.datapath, &self.sessions, &ending);
        for (group, why) in &ending {
            self.write_end(group, why);
        }
        self.requests.show_held(&asked);
        self.apply(Change::Requests);
        self.holds
            .end_look((began, clock::now()), first_end(&held), appointed);
    }

    fn fate(&mut self, question: &Question, group: &Group, holes: &[LiveHole]) -> Fate {
        if self.sessions.live(question.session).is_none() {
            return Fate::Ends("the session has ended");
        }
        let asked = (question.destination, question.port);
        let (question, verdict) = match relays::is_near(question) {
            false => (question.clone(), None),
            true => match self
                .relays
                .behind(&self.sessions, &self.policies, question, first(group))
            {
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
        match (fate, self.holds.may_wait(question.session)) {
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
        let process = self
            .machine
            .process_of(self.sessions.live(question.session), tgid);
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

    fn write_end(&mut self, group: &Group, why: &'static str) {
        let Some((_, first)) = group.first() else {
            return;
        };
        let Some(session) = self.sessions.live(first.session) else {
            return;
        };
        let uid = session.about.uid;
        let now = clock::now();
        let Some(admitted) = self.audit.admit(first.session, session.outermost(), now) else {
            return;
        };
        let waited = Duration::from_nanos(now.0.saturating_sub(first.since.0));
        let question = question_of(first);
        let (to, port) = (question.destination, question.port);
        let judged = self.policies.judge(&session.chain, to, Protocol::TCP, port);
        let rule = judged.and_then(|judged| Some(judged.rule?.name.clone()));
        let host = judged.and_then(|judged| self.policies.host_of(to, &judged));
        let endpoint = events::endpoint(&question, host);
        let record = Record::of(ids::session(first.session), uid)
            .with("destination", serde_json::json!(endpoint))
            .with("rule", rule)
            .with("verdict", Verdict::Confirm.as_str())
            .with("why", why)
            .with("connections", group.len())
            .with("waited", waited.as_secs_f64())
            .with("left_out", admitted.left_out)
            .with("last", admitted.is_last.then_some(true));
        self.audit.note(LogKind::Denied, record);
    }
}

/// Ends connections. All of a session at once: to find them the kernel has to list all there are.
fn end_groups(kernel: &mut Datapath, sessions: &Sessions, ending: &[(Group, &'static str)]) {
    let mut cookies: HashMap<SessionId, HashSet<u64>> = HashMap::new();
    for (cookie, one) in ending.iter().flat_map(|(group, _)| group) {
        cookies.entry(one.session).or_default().insert(*cookie);
    }
    for (id, cookies) in &cookies {
        end_all(kernel, sessions, *id, cookies);
    }
}

fn end_all(kernel: &mut Datapath, sessions: &Sessions, id: SessionId, cookies: &HashSet<u64>) {
    let ended = match sessions.live(id) {
        Some(session) => kernel.end_held(&session.cgroup, cookies),
        None => kernel.forget_held(cookies).map(|()| 0),
    };
    if let Err(error) = ended {
        tracing::warn!(%error, session = id.0, "connections wait in vain until the kernel ends them");
    }
}

/// Has the kernel refuse at once what a person said no to.
pub(crate) fn refuse_in_kernel(kernel: &mut Datapath, question: &Question, until: BootTime) {
    if question.http.is_some() {
        return;
    }
    let to = connection(question);
    if let Err(error) = kernel.refuse(question.session, &to, until) {
        tracing::warn!(%error, "what was refused is ended by guardd each time");
    }
}

/// The opposite.
pub(crate) fn unrefuse_in_kernel(kernel: &mut Datapath, question: &Question) {
    if question.http.is_some() {
        return;
    }
    let to = connection(question);
    if let Err(error) = kernel.unrefuse(question.session, &to) {
        tracing::warn!(%error, "connections there do not wait");
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

/// When the first of them gives up; none where none wait.
fn first_end(held: &[HeldSocket]) -> Option<BootTime> {
    held.iter().map(|(_, one)| one.until).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_look_takes_its_share_of_the_time_and_no_more() {
        let mut holds = Holds::default();
        let at = |seconds: u64| BootTime(seconds * SECOND);
        assert_eq!(holds.begin_look(at(100)), None);
        // It took a second, so there is none in the twenty that follow, whatever gives up.
        holds.end_look((at(100), at(101)), Some(at(102)), None);
        assert_eq!(holds.next_look(), Some(at(121)));
        // What was to be looked at later still is.
        holds.look_by(at(400));
        holds.end_look((at(200), at(200)), None, Some(at(300)));
        assert_eq!(holds.next_look(), Some(at(121)));
        assert_eq!(holds.begin_look(at(122)), None);
        holds.end_look((at(122), at(122)), None, Some(at(300)));
        assert_eq!(holds.begin_look(at(123)), Some(at(300)));
    }

    #[test]
    fn nothing_is_looked_at_where_nothing_waits() {
        let mut holds = Holds::default();
        assert_eq!(holds.next_look(), Some(BootTime(0)));
        holds.begin_look(BootTime(1));
        holds.end_look((BootTime(1), BootTime(1)), None, None);
        assert_eq!(holds.next_look(), None);
        assert!(!holds.may_wait(SessionId(1)));
    }

    #[test]
    fn of_a_session_with_too_many_none_waits_that_is_inside_the_same_one() {
        let mut holds = Holds::default();
        let sessions = crate::sessions::none_but(&[(1, None), (2, Some(1)), (3, None)]);
        let one = |session: u32| {
            let to = Connection::new(Address([0; 4]), Protocol::TCP, 443);
            let whose = (SessionId(session), 0);
            (0, guard_common::Held::new([BootTime(0); 2], whose, &to))
        };
        let few = vec![one(1); MOST_OF_SESSION / 2];
        assert_eq!(holds.note_full(&sessions, &few), None);
        let many = [few, vec![one(2); MOST_OF_SESSION / 2]].concat();
        let full = holds.note_full(&sessions, &many);
        assert_eq!(full, Some(Change::Approvers));
        assert_eq!(holds.full, HashSet::from([SessionId(1), SessionId(2)]));
        assert_eq!(holds.note_full(&sessions, &many), None, "it is no news");
    }
}
