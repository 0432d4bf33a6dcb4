//! Reviews the held connections (`HELD`): makes the requests that are missing, and closes those that nobody will allow.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use guard_common::{Address, BootTime, Connection, Event, Protocol, SessionId, Verdict};
use guard_datapath::{Datapath, HeldSocket, LiveHole};
use guard_proto::{
    moment,
    record::{Denied, Field, Held, RecordedDestination},
};
use guard_sys::clock::{self, Clocks};
use jiff::Timestamp;

use super::REVIEWS;
use crate::{
    changes::Change,
    control::{failure::CallError, ids},
    machine::Machine,
    policies::Policies,
    process::{Process, SeenProcess},
    record::{Recorder, audit::LogEntry},
    requests::{Noted, RequestKey, Requests, drafts::AskersWords},
    sessions::Sessions,
    state::State,
    times::after,
};

/// Why connections end whose first packet had to be judged, if an approver would have to answer.
const NOBODY: &str = "a person has to be asked, and nobody follows";

/// Why held connections end that no approver answered.
const TOO_LATE: &str = "nobody answered in time";

/// Why held connections ended before an approver answered or their time was over.
const GAVE_UP: &str = "the program gave up before anybody answered";

/// Why held connections end where the next one is redirected to the proxy.
const READ_IT: &str = "it may be read from: try again";

/// Why connections end that were held until a hole let them through, and sent no packet since.
const OPEN_BY_NOW: &str = "it is open by now: try again";

/// Why held connections end that a hole lets through where TLS has to show a name: only a new one is looked at from its beginning.
const SHOW_IT: &str = "it is open, and TLS has to show a name there: try again";

/// The held connections that one answer is for.
type Group = Vec<HeldSocket>;

/// How a process is looked at: as for the log, or with its command line, for a person who is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Look {
    Logged,
    Asked,
}

/// The processes of held connections: each is looked at once in a review, as one may have thousands.
#[derive(Default)]
struct Looked(HashMap<(SessionId, u32, Look), SeenProcess>);

impl Looked {
    /// The process of the first of a group.
    fn process_of(
        &mut self,
        machine: &Machine,
        sessions: &Sessions,
        group: &Group,
        look: Look,
    ) -> SeenProcess {
        let Some((_, first)) = group.first() else {
            return SeenProcess::default();
        };
        let of = (first.session, first.tgid, look);
        let seen = self.0.entry(of).or_insert_with(|| {
            let session = sessions.live(first.session);
            match look {
                Look::Logged => machine.process_of(session, first.tgid),
                Look::Asked => machine.asker_of(session, first.tgid),
            }
        });
        seen.clone()
    }
}

/// What the open holes of a session let through at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    /// Nothing.
    Nothing,
    /// Reads, by way of the proxy.
    Reads,
    /// Everything.
    All,
}

impl Opened {
    /// What some holes open to a session. Those that are used up open nothing new.
    fn by(holes: &[LiveHole], session: SessionId, to: &Connection) -> Self {
        let over = holes.iter().filter(|hole| {
            let is_its = hole.session == session && !hole.is_used_up();
            is_its && hole.entry.covers(&to.to, to.protocol, to.port)
        });
        over.fold(Self::Nothing, |opened, hole| {
            match (opened, hole.entry.kind.reads()) {
                (Self::All, _) | (_, false) => Self::All,
                (Self::Nothing | Self::Reads, true) => Self::Reads,
            }
        })
    }

    /// A verdict of policies, with it.
    const fn over(self, verdict: Verdict) -> Verdict {
        match (verdict, self) {
            (Verdict::Confirm | Verdict::ReadOnly, Self::All) => Verdict::Allow,
            (Verdict::Confirm, Self::Reads) => Verdict::ReadOnly,
            (verdict, _) => verdict,
        }
    }
}

/// What becomes of held connections.
enum Fate {
    /// The next packet passes, or is about to.
    Passes,
    /// They are held for an answer to this request.
    Held(String),
    /// Nobody will allow them.
    Ends(&'static str),
}

/// What an approver is asked about a held connection.
struct HeldFor {
    /// What it is about.
    key: RequestKey,
    /// With the holes that were asked for. None: no session has it.
    verdict: Option<Verdict>,
    /// A hole made it milder.
    is_opened: bool,
}

impl State {
    /// Makes a request for a connection that is held from now on.
    ///
    /// # Errors
    ///
    /// If no approver can be asked.
    pub(crate) fn note_held(&mut self, event: &Event) -> Result<(), CallError> {
        let key = RequestKey::new(event.session, event.destination, event.protocol, event.port);
        let until = after(event.at, self.holds.time_for(event.session));
        self.holds.review_by(after(event.at, REVIEWS));
        let live = self.sessions.live(event.session);
        let asker = self.machine.asker_behind(live, event);
        let words = AskersWords::default();
        let noted = self.ask(key.clone(), event.at, asker.clone(), words)?;
        if noted == Noted::SaidNo {
            // The kernel does not know of every address in a prefix that was refused.
            self.holds.review_by(event.at);
        }
        // Without a request, the next review closes it.
        if let Noted::New(id) | Noted::Again(id) = noted {
            let shown = Clocks::read().calendar(until);
            self.requests.show_held_until(&id, Some(shown));
            let mut log = HeldLog {
                sessions: &self.sessions,
                policies: &self.policies,
                machine: &self.machine,
                recorder: &mut self.recorder,
            };
            log.write_held(&self.requests, &key, event, &id, asker.process, shown);
        }
        Ok(())
    }

    /// Reviews the held connections now.
    pub(crate) fn review_held(&mut self) {
        let began = clock::now();
        let appointed = self.holds.begin_review(began);
        let held = match self.datapath.held() {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which connections are held");
                self.holds.review_by(after(began, REVIEWS));
                return;
            }
        };
        if let Some(change) = self.holds.note_full(&self.sessions, &held) {
            self.apply(change);
        }
        let holes = self.datapath.holes().unwrap_or_default();
        let gone = self.holds.take_gone(&held);
        let judge = HeldJudge {
            sessions: &self.sessions,
            policies: &self.policies,
        };
        let mut log = HeldLog {
            sessions: &self.sessions,
            policies: &self.policies,
            machine: &self.machine,
            recorder: &mut self.recorder,
        };
        let went_through = |cookie| self.datapath.went_through(cookie);
        log.write_given_up(&judge, went_through, &gone, began, &holes);
        let (overdue, held): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(_, one)| one.until <= began);
        let mut ending = Vec::new();
        for (key, group) in grouped(&overdue) {
            let why = judge.why_in_vain(&key, &holes);
            ending.push((group, why.unwrap_or(TOO_LATE)));
        }
        let mut asked: HashMap<String, BootTime> = HashMap::new();
        let mut looked = Looked::default();
        for (key, group) in grouped(&held) {
            match self.fate(&key, &group, &mut looked, &holes) {
                Fate::Passes => {}
                Fate::Held(id) => {
                    let until = asked.entry(id).or_insert(BootTime(0));
                    *until = (*until).max(latest(&group));
                    self.holds.note_waiting(&group);
                }
                Fate::Ends(why) => ending.push((group, why)),
            }
        }
        let mut log = HeldLog {
            sessions: &self.sessions,
            policies: &self.policies,
            machine: &self.machine,
            recorder: &mut self.recorder,
        };
        log.end_and_write(&mut self.datapath, &ending, &mut looked);
        self.requests.show_held(&asked);
        self.apply(Change::Requests);
        self.holds
            .end_review(began, clock::now(), first_end(&held), appointed);
    }

    fn fate(
        &mut self,
        key: &RequestKey,
        group: &Group,
        looked: &mut Looked,
        holes: &[LiveHole],
    ) -> Fate {
        let judge = HeldJudge {
            sessions: &self.sessions,
            policies: &self.policies,
        };
        let held = match judge.fate_unasked(&self.requests, key, holes) {
            Ok(held) => held,
            Err(fate) => return fate,
        };
        let key = &held.key;
        let mut is_unknown = |(_, one): &HeldSocket| self.listeners.held_waits(one);
        if group.first().is_some_and(&mut is_unknown) {
            return Fate::Passes;
        }
        let fate = self.request_for(key, group, looked);
        match (fate, self.holds.may_hold(key.session)) {
            // Its first packet had to be judged, and no approver will follow.
            (Fate::Held(_), false) if key.destination.is_listener() => Fate::Ends(NOBODY),
            (fate, _) => fate,
        }
    }

    /// The request of held connections; a new one if there is none, as after a hole for one of them.
    fn request_for(&mut self, key: &RequestKey, group: &Group, looked: &mut Looked) -> Fate {
        if let Some(id) = self.requests.join(key) {
            return Fate::Held(id);
        }
        let asker = looked.process_of(&self.machine, &self.sessions, group, Look::Asked);
        match self.ask(key.clone(), clock::now(), asker, AskersWords::default()) {
            Ok(Noted::New(id) | Noted::Again(id)) => {
                // So that the next of them does not replace it.
                let until = Clocks::read().calendar(latest(group));
                self.requests.show_held_until(&id, Some(until));
                Fate::Held(id)
            }
            Ok(Noted::SaidNo) => Fate::Ends("a person said no"),
            Ok(Noted::Full) => Fate::Ends("too many requests wait, or were refused"),
            Err(error) => {
                tracing::warn!(%error, session = key.session.0, "cannot ask about a connection");
                Fate::Ends("nobody can be asked")
            }
        }
    }
}

/// Judges held connections by the policies of their sessions.
struct HeldJudge<'s> {
    sessions: &'s Sessions,
    policies: &'s Policies,
}

impl HeldJudge<'_> {
    /// What a held connection is about, and the verdict on it with these holes. Else what becomes of it, whatever an approver says.
    fn judge_held(&self, key: &RequestKey, holes: &[LiveHole]) -> Result<HeldFor, Fate> {
        let Some(session) = self.sessions.live(key.session) else {
            return Err(Fate::Ends("the session has ended"));
        };
        let (to, port) = (key.destination, key.port);
        let judged = (self.policies).judge(session.subject(), to, Protocol::TCP, port);
        let by_policy = judged.map(|judged| judged.verdict);
        let to = Connection::new(to, Protocol::TCP, port);
        let opened = Opened::by(holes, key.session, &to);
        let verdict = by_policy.map(|verdict| opened.over(verdict));
        Ok(HeldFor {
            key: key.clone(),
            verdict,
            is_opened: verdict != by_policy,
        })
    }

    /// Why held connections end that a hole would let through by now; none: nobody has answered.
    fn why_in_vain(&self, key: &RequestKey, holes: &[LiveHole]) -> Option<&'static str> {
        let held = self.judge_held(key, holes).ok()?;
        match held.verdict.filter(|_| held.is_opened)? {
            Verdict::Allow => Some(OPEN_BY_NOW),
            Verdict::ReadOnly => Some(READ_IT),
            Verdict::Confirm | Verdict::Deny => None,
        }
    }

    /// Whether TLS has to show a name there.
    fn has_to_show_name(&self, key: &RequestKey) -> bool {
        let live = self.sessions.live(key.session);
        let rule = live.and_then(|live| {
            let (to, port) = (key.destination, key.port);
            self.policies.sni_rule(live.subject(), to, port)
        });
        rule.is_some()
    }

    /// What becomes of held connections, unless an approver is to be asked about them.
    fn fate_unasked(
        &self,
        requests: &Requests,
        key: &RequestKey,
        holes: &[LiveHole],
    ) -> Result<HeldFor, Fate> {
        let held = self.judge_held(key, holes)?;
        let key = &held.key;
        match held.verdict {
            Some(Verdict::Allow) if held.is_opened && self.has_to_show_name(key) => {
                return Err(Fate::Ends(SHOW_IT));
            }
            Some(Verdict::Allow) => return Err(Fate::Passes),
            Some(Verdict::Confirm) => {}
            Some(Verdict::ReadOnly) => return Err(Fate::Ends(READ_IT)),
            _ => return Err(Fate::Ends("a policy denies it")),
        }
        if requests.is_refused(key, clock::now()) {
            return Err(Fate::Ends("a person said no"));
        }
        Ok(held)
    }
}

/// Writes to the audit log what becomes of held connections.
struct HeldLog<'s> {
    sessions: &'s Sessions,
    policies: &'s Policies,
    machine: &'s Machine,
    recorder: &'s mut Recorder,
}

impl HeldLog<'_> {
    /// Writes to the audit log that a connection is held for the answer to a request.
    fn write_held(
        &mut self,
        requests: &Requests,
        key: &RequestKey,
        event: &Event,
        id: &str,
        process: Process,
        until: Timestamp,
    ) {
        let admitted = (self.sessions).admit(self.recorder, event.session, event.at);
        let Some(admitted) = admitted else {
            return;
        };
        let Some(asked) = requests.get(id) else {
            return;
        };
        let destination = if asked.key == *key {
            asked.shown.destination.clone()
        } else {
            key.endpoint(None)
        };
        let live = self.sessions.live(event.session);
        let own = live.map(|session| self.policies.name_of(&session.chain));
        let around = Some(&asked.shown.policy).filter(|policy| own.as_ref() != Some(*policy));
        let record = Held {
            request: id.into(),
            destination: RecordedDestination::Endpoint(destination).into(),
            rule: asked.shown.rule.clone().into(),
            policy: around.map_or(Field::Absent, |policy| policy.clone().into()),
            verdict: Verdict::Confirm.as_str().into(),
            count: event.count.into(),
            pid: (event.tgid != 0).then_some(event.tgid).into(),
            comm: process.comm.into(),
            exe: process.exe.into(),
            waits_until: moment::text(until).into(),
        };
        debug_assert!(key.http.is_none());
        let entry = LogEntry::of(&asked.shown.session, asked.owner, record);
        self.recorder.note(entry.admitted(admitted));
    }

    /// Closes connections, and writes that and why to the audit log.
    fn end_and_write(
        &mut self,
        kernel: &mut Datapath,
        ending: &[(Group, &'static str)],
        looked: &mut Looked,
    ) {
        // Before they hear of it, and end.
        let behind: Vec<_> = ending
            .iter()
            .map(|(group, _)| self.process_of(looked, group))
            .collect();
        end_groups(kernel, self.sessions, ending);
        for ((group, why), seen) in ending.iter().zip(behind) {
            self.write_end(group, seen, why);
        }
    }

    /// Writes the end of connections that waited at the last review and are gone. Nobody ended them, and none went on: by a hole, as the
    /// kernel notes, or since a policy lets it.
    fn write_given_up(
        &mut self,
        judge: &HeldJudge<'_>,
        went_through: impl Fn(u64) -> bool,
        gone: &[HeldSocket],
        now: BootTime,
        holes: &[LiveHole],
    ) {
        let mut looked = Looked::default();
        for (key, mut group) in grouped(gone) {
            group.retain(|(cookie, _)| !went_through(*cookie));
            if group.is_empty() {
                continue;
            }
            let by_policies = judge.judge_held(&key, &[]);
            if !by_policies.is_ok_and(|held| held.verdict == Some(Verdict::Confirm)) {
                continue;
            }
            let seen = self.process_of(&mut looked, &group);
            let unanswered = if latest(&group) <= now {
                TOO_LATE
            } else {
                GAVE_UP
            };
            let answered = judge.why_in_vain(&key, holes);
            self.write_end(&group, seen, answered.unwrap_or(unanswered));
        }
    }

    /// The process of the first of a group, as the log has it.
    fn process_of(&self, looked: &mut Looked, group: &Group) -> SeenProcess {
        looked.process_of(self.machine, self.sessions, group, Look::Logged)
    }

    /// Writes the end of connections to the audit log.
    fn write_end(&mut self, group: &Group, seen: SeenProcess, why: &'static str) {
        let Some((_, first)) = group.first() else {
            return;
        };
        let Some(session) = self.sessions.live(first.session) else {
            return;
        };
        let uid = session.about.uid;
        let now = clock::now();
        let Some(admitted) = self.recorder.admit(first.session, session.account(), now) else {
            return;
        };
        let waited = Duration::from_nanos(now.0.saturating_sub(first.since.0));
        let key = key_of(first);
        let (to, port) = (key.destination, key.port);
        let judged = self
            .policies
            .judge(session.subject(), to, Protocol::TCP, port);
        let rule = judged.and_then(|judged| Some(judged.rule?.name.clone()));
        let host = judged.and_then(|judged| self.policies.host_of(first.session, to, &judged));
        let endpoint = key.endpoint(host);
        let record = Denied {
            destination: RecordedDestination::Endpoint(endpoint).into(),
            rule: rule.into(),
            verdict: Verdict::Confirm.as_str().into(),
            why: why.into(),
            connections: group.len().into(),
            waited: waited.as_secs_f64().into(),
            pid: seen.pid.into(),
            comm: seen.process.comm.into(),
            exe: seen.process.exe.into(),
            ..Denied::default()
        };
        let entry = LogEntry::of(ids::session(first.session), uid, record);
        self.recorder.note(entry.admitted(admitted));
    }
}

/// Closes connections, all of a session at once: to find them the kernel has to list every socket.
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
        tracing::warn!(%error, session = id.0, "connections are held in vain until the kernel ends them");
    }
}

/// Held connections, grouped by the answer for which they are held.
fn grouped(held: &[HeldSocket]) -> Vec<(RequestKey, Group)> {
    let mut groups: BTreeMap<(u32, [u32; 4], u16), Group> = BTreeMap::new();
    for one in held {
        let Address(words) = one.1.destination;
        let key = (one.1.session.0, words, one.1.port);
        groups.entry(key).or_default().push(*one);
    }
    let groups = groups.into_values();
    let asked = groups.filter_map(|mut group| {
        group.sort_by_key(|(_, one)| one.since);
        let key = key_of(&group.first()?.1);
        Some((key, group))
    });
    asked.collect()
}

/// The last deadline of them.
fn latest(group: &Group) -> BootTime {
    let ends = group.iter().map(|(_, one)| one.until);
    ends.max().unwrap_or(BootTime(0))
}

/// The first deadline; none if no connection is held.
fn first_end(held: &[HeldSocket]) -> Option<BootTime> {
    held.iter().map(|(_, one)| one.until).min()
}

fn key_of(held: &guard_common::Held) -> RequestKey {
    RequestKey::new(held.session, held.destination, Protocol::TCP, held.port)
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fs, net::IpAddr, path::Path};

    use guard_common::{HoleEntry, HoleId};
    use guard_policy::Prefix;

    use super::*;
    use crate::{
        machine::machine, policies::of_texts, record::recorder, requests::tests::shown,
        sessions::none_but,
    };

    const TEXT: &str = "version = 1\ndefault = \"deny\"\n\
        [[rule]]\nname = \"asks\"\nto = [\"192.0.2.1\"]\naction = \"confirm\"\n\
        [[rule]]\nname = \"open\"\nto = [\"192.0.2.3\"]\naction = \"allow\"\n";

    fn key(session: u32, last: u8) -> RequestKey {
        let to = IpAddr::from([192, 0, 2, last]).into();
        RequestKey::new(SessionId(session), to, Protocol::TCP, 443)
    }

    /// One connection there, held from 1 to 10.
    fn group(key: &RequestKey) -> Group {
        let to = Connection::new(key.destination, key.protocol, key.port);
        let times = [BootTime(1), BootTime(10)];
        vec![(7, guard_common::Held::new(times, key.session, 0, &to))]
    }

    fn said(fate: &Result<HeldFor, Fate>) -> &'static str {
        match fate {
            Ok(_) => "an approver is asked",
            Err(Fate::Passes) => "it passes",
            Err(Fate::Ends(why)) => why,
            Err(Fate::Held(_)) => "it is held",
        }
    }

    #[test]
    fn what_becomes_of_a_held_connection_is_what_holds_now() {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let mut requests = Requests::without_files(10);
        let judge = HeldJudge {
            sessions: &sessions,
            policies: &policies,
        };
        let to = Prefix::host(key(1, 1).destination);
        let hole = LiveHole {
            session: SessionId(1),
            entry: HoleEntry {
                prefix: to.address(),
                mask: to.mask(),
                id: HoleId(3),
                low: 443,
                high: 443,
                protocol: Protocol::TCP,
                ..HoleEntry::default()
            },
            connections_left: None,
            bytes_left: None,
        };
        for (session, last, holes, expected) in [
            (1, 1, &[][..], "an approver is asked"),
            (1, 1, &[hole][..], "it passes"),
            (1, 2, &[][..], "a policy denies it"),
            (1, 3, &[][..], "it passes"),
            (9, 1, &[][..], "the session has ended"),
        ] {
            let key = key(session, last);
            let fate = judge.fate_unasked(&requests, &key, holes);
            assert_eq!(said(&fate), expected, "{key:?} {holes:?}");
        }
        let own = key(1, 1);
        assert_eq!(judge.why_in_vain(&own, &[]), None);
        let answered = judge.why_in_vain(&own, &[hole]);
        assert_eq!(answered, Some(OPEN_BY_NOW));
        requests.refuse(own.clone(), None, shown(1), BootTime(u64::MAX));
        let fate = judge.fate_unasked(&requests, &own, &[]);
        assert_eq!(said(&fate), "a person said no");
    }

    #[tokio::test]
    async fn whoever_gave_up_is_in_the_log_unless_a_hole_let_it_through()
    -> Result<(), Box<dyn Error>> {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let (mut recorder, _dir) = recorder();
        let path = recorder.audit().path().to_owned();
        let judge = HeldJudge {
            sessions: &sessions,
            policies: &policies,
        };
        let mut log = HeldLog {
            sessions: &sessions,
            policies: &policies,
            machine: &machine(Path::new("/nonexistent")),
            recorder: &mut recorder,
        };
        let gone = group(&key(1, 1));
        for went_through in [true, false] {
            log.write_given_up(&judge, |_| went_through, &gone, BootTime(5), &[]);
            let text = fs::read_to_string(&path)?;
            assert_eq!(text.contains(GAVE_UP), !went_through, "{text}");
        }
        log.write_given_up(&judge, |_| false, &gone, BootTime(10), &[]);
        assert!(fs::read_to_string(&path)?.contains(TOO_LATE));
        Ok(())
    }
}
