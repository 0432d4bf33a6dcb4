//! What sessions have reached, and their last day, for a console that asks: of those for whom one approver answers, who is listed here.
//!
//! It goes out when asked alone, and no more of it than pages show. guardd does little for it: it chooses what is shown, of the log is read
//! what has come since, what was read counts for a moment, and a pause that is as many times as long as a reading comes after it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::{FutureExt as _, StreamExt as _};
use guard_courier::{
    Guardd,
    day::{DayOfLog, Glance, HOURS, Hours, LastDay},
};
use guard_proto::{
    ApproverShown, Call, Failure, Flow, LogKind, LogRecord,
    approvers::Approvers,
    central::{Hour, ReachedThere},
    flows::{FirstReached, FlowsReply},
};
use guard_sys::accounts::UserAccount;
use jiff::Timestamp;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};

use super::Carrier;
use crate::{
    messages::{self, AskReached, SaidReached},
    subjects::SubjectKind,
};

/// How long what was read counts, for the same approver.
const FRESH: Duration = Duration::from_secs(3);
/// How long the log may take: a console waits for the rest meanwhile.
const GLANCE: Duration = Duration::from_secs(1);
/// How long all may take that is answered at once: a console waits no longer.
const DEADLINE: Duration = Duration::from_secs(4);
/// The shortest pause after an answer, and the longest: who asks without end has few, and a console that asks meanwhile has its own in
/// time.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));
/// How many times as long as it took the pause is.
const SHARE: u32 = 20;
/// Bytes of an answer, without what says what it answers; what is longer nobody reads.
const LONGEST: usize = 92 * 1024;
/// Flows, and warnings, that are sent.
const MOST: (usize, usize) = (500, 8);
/// The same flows, as guardd is asked for them; and the bytes of what it answers, which has warnings, too.
const LATEST: u32 = 500;
const LONGEST_READ: u64 = 2 * 1024 * 1024;
/// Characters of a warning.
const LINE: usize = 256;
/// Characters of a name.
const NAME: usize = 64;
/// Approvers for whom what was read is kept.
const KEPT: usize = 32;
/// How many are answered at once.
const BATCH: usize = 32;

/// Answers who asks.
pub(super) async fn carry(carrier: &Carrier) -> Result<()> {
    let subject = carrier.group.reached(&carrier.machine);
    let asked = carrier.link.client.subscribe(subject).await;
    let mut asked = asked.context("cannot hear consoles")?;
    let mut reader = DayReader::new();
    loop {
        let mut heard = Some(asked.next().await);
        // All that has come: it is answered together.
        let mut asks = Asks::new();
        while let Some(next) = heard {
            let next = next.context("the connection has ended")?;
            let ask = messages::read::<AskReached>(&next.payload);
            if let Some(ask) = ask.filter(|_| messages::is_published(&next)) {
                asks.insert(messages::name_of(&next.payload), ask);
            }
            heard = if asks.len() < BATCH {
                asked.next().now_or_never()
            } else {
                None
            };
        }
        if asks.is_empty() {
            continue;
        }
        let began = Instant::now();
        let answered = reader.answer(&carrier.guardd, asks).await;
        let took = began.elapsed();
        let is_listed = answered.iter().any(|said| said.reached.is_some());
        for said in answered {
            let subject = carrier.subject(SubjectKind::Approvers, None);
            carrier.link.publish(subject, messages::bytes(&said)).await;
        }
        sleep(pause(took, is_listed)).await;
    }
}

/// After what took so long.
fn pause(took: Duration, is_listed: bool) -> Duration {
    let least = if is_listed {
        PAUSES.0
    } else {
        // Who is not listed keeps nobody waiting.
        Duration::ZERO
    };
    (took * SHARE).clamp(least, PAUSES.1)
}

/// What consoles ask, by the names of their messages: each is asked again until there is an answer.
type Asks = BTreeMap<String, AskReached>;

fn said(asked: Vec<String>, reached: Result<ReachedThere, Failure>) -> SaidReached {
    let (reached, refused) = match reached {
        Ok(reached) => (Some(reached), None),
        Err(failure) => (None, Some(failure)),
    };
    SaidReached {
        asked,
        reached,
        refused,
    }
}

/// What each user's sessions were asked and refused in each hour.
#[derive(Clone, Debug, Default)]
struct HoursByUser(BTreeMap<u32, Hours>);

impl DayOfLog for HoursByUser {
    fn turn(&mut self, now: Timestamp) {
        self.0.values_mut().for_each(|hours| hours.turn(now));
    }

    fn add(&mut self, record: LogRecord, now: Timestamp) {
        if !matches!(record.kind, LogKind::Request | LogKind::Denied) {
            return;
        }
        // guardd sends a courier what concerns users for whom somebody answers: these are few.
        if let Some(uid) = record.common().uid.take() {
            self.0.entry(uid).or_default().count(&record, now);
        }
    }
}

impl HoursByUser {
    /// Those of these users, with what their sessions first reached.
    fn of(&self, uids: &BTreeSet<u32>, reached: &[FirstReached], now: Timestamp) -> [Hour; HOURS] {
        let mut sum = Hours::default();
        for hours in uids.iter().filter_map(|uid| self.0.get(uid)) {
            sum.add(hours, now);
        }
        sum.with_counts(reached, now)
    }
}

/// What was read for an approver, as they were then.
#[derive(Debug)]
struct ReadFor {
    person: ApproverShown,
    at: Instant,
    there: ReachedThere,
}

/// What there is of the last day.
struct GlancedDay {
    day: Option<Rc<HoursByUser>>,
    /// When it was as it is told, where that is not now.
    late: Option<Timestamp>,
    /// Whether it is still read.
    is_reading: bool,
}

impl GlancedDay {
    fn of(glance: Glance<HoursByUser>) -> Self {
        let (day, late, is_reading) = match glance {
            Glance::Day(day) => (Some(day), None, false),
            Glance::Late(Some((day, at))) => (Some(day), Some(at), true),
            Glance::Late(None) => (None, None, true),
            Glance::None => (None, None, false),
        };
        Self {
            day,
            late,
            is_reading,
        }
    }
}

/// Users by name, as far as they could be looked up.
type FoundUsers = Vec<(String, io::Result<Option<u32>>)>;

/// Reads what sessions have reached, and their last day.
#[derive(Debug)]
struct DayReader {
    /// The users for whom anybody answers, without root: its right would be one to all.
    users: BTreeMap<String, u32>,
    /// The same as they were when the day was begun: guardd tells of these alone.
    owners: BTreeSet<u32>,
    day: Rc<LastDay<HoursByUser>>,
    /// The latest first.
    kept: VecDeque<ReadFor>,
    /// What is looked up now, once at a time: whatever has the users may hang.
    looking: Option<JoinHandle<FoundUsers>>,
}

impl DayReader {
    fn new() -> Self {
        Self {
            users: BTreeMap::new(),
            owners: BTreeSet::new(),
            day: Rc::new(LastDay::new(HoursByUser::default())),
            kept: VecDeque::new(),
            looking: None,
        }
    }

    /// Answers all of these, those of one approver together.
    async fn answer(&mut self, guardd: &Guardd, asks: Asks) -> Vec<SaidReached> {
        let deadline = Instant::now() + DEADLINE;
        let call = Call::Approvers {};
        let known = timeout_at(deadline, guardd.call::<Approvers>(&call)).await;
        let known = match known {
            Ok(Ok(known)) => known.approvers,
            Ok(Err(refusal)) => return each(asks, |_| refusal.failure.clone()),
            Err(_) => return each(asks, |_| too_slow()),
        };
        // By their places in the list.
        let mut of: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut others = Asks::new();
        for (name, ask) in asks {
            match known.iter().position(|one| ask.means(one)) {
                Some(at) => of.entry(at).or_default().push(name),
                None => {
                    others.insert(name, ask);
                }
            }
        }
        let mut answered = each(others, |ask| not_listed(&ask.by));
        let mut glance = GLANCE;
        for (at, asked) in of {
            let Some(person) = known.get(at) else {
                continue;
            };
            let reached = self.reached(guardd, person, &known, glance);
            let reached = timeout_at(deadline, reached).await;
            let reached = reached.unwrap_or_else(|_| Err(too_slow()));
            if reached.as_ref().is_ok_and(|there| there.is_reading) {
                // It takes as long for the next one.
                glance = Duration::ZERO;
            }
            answered.push(said(asked, reached));
        }
        answered
    }

    /// What an approver may see who is listed here now, as all of these are; and how long the log may take.
    async fn reached(
        &mut self,
        guardd: &Guardd,
        person: &ApproverShown,
        known: &[ApproverShown],
        glance: Duration,
    ) -> Result<ReachedThere, Failure> {
        self.kept.retain(|one| one.at.elapsed() < FRESH);
        // An approver who answers for others by now sees others'.
        if let Some(kept) = self.kept.iter().find(|one| one.person == *person) {
            return Ok(kept.there.clone());
        }
        self.look_up(known).await;
        let owners: BTreeSet<u32> = self.users.values().copied().collect();
        if owners != self.owners {
            // Of whom nobody answered for before nothing was reported.
            self.day = Rc::new(LastDay::new(HoursByUser::default()));
            self.owners = owners;
        }
        let call = Call::Flows {
            session: None,
            by: Some(person.name.clone()),
            latest: Some(LATEST),
        };
        let listed = guardd.call_at_most::<FlowsReply>(&call, LONGEST_READ).await;
        let listed = listed.map_err(|refusal| refusal.failure)?;
        let glanced = GlancedDay::of(self.day.glance(guardd, glance).await);
        let own = person.answers_for.iter();
        let own = own.filter_map(|name| self.users.get(name)).copied();
        let own: BTreeSet<u32> = own.collect();
        let now = Timestamp::now();
        let day = glanced.day;
        let hours = day.map(|day| day.of(&own, &listed.first_reached, now).to_vec());
        let there = short(ReachedThere {
            at: now,
            flows: listed.flows,
            left_out: listed.left_out,
            warnings: listed.warnings,
            hours,
            is_reading: glanced.is_reading,
            late: glanced.late,
        });
        self.kept.truncate(KEPT - 1);
        self.kept.push_front(ReadFor {
            person: person.clone(),
            at: Instant::now(),
            there: there.clone(),
        });
        Ok(there)
    }

    /// Looks up the users for whom these answer. One that cannot be looked up now is who it was before.
    async fn look_up(&mut self, known: &[ApproverShown]) {
        let looking = self.looking.get_or_insert_with(|| {
            let names: BTreeSet<_> = known.iter().flat_map(|one| &one.answers_for).collect();
            let names: Vec<String> = names.into_iter().cloned().collect();
            // Nothing else waits for it.
            spawn_blocking(move || {
                let found = names.into_iter().map(|name| {
                    let uid = UserAccount::uid_of(&name);
                    (name, uid)
                });
                found.collect()
            })
        });
        let found = looking.await;
        self.looking = None;
        let Ok(found) = found else {
            return;
        };
        let users = found.into_iter().filter_map(|(name, uid)| {
            let uid = uid.unwrap_or_else(|_| self.users.get(&name).copied())?;
            (uid != 0).then_some((name, uid))
        });
        self.users = users.collect();
    }
}

/// Refuses each of these by itself.
fn each(asks: Asks, why: impl Fn(&AskReached) -> Failure) -> Vec<SaidReached> {
    let asks = asks.into_iter();
    asks.map(|(name, ask)| said(vec![name], Err(why(&ask))))
        .collect()
}

/// As much as fits into a message of what guardd has chosen, and how much that is not in it. What was reached last comes first then.
fn short(mut there: ReachedThere) -> ReachedThere {
    let flows = std::mem::take(&mut there.flows);
    there.warnings.truncate(MOST.1);
    for one in &mut there.warnings {
        *one = one.chars().take(LINE).collect();
    }
    let mut room = LONGEST.saturating_sub(messages::bytes(&there).len());
    let count = flows.len();
    let told = flows.into_iter().take(MOST.0).map(as_shown);
    let told = told.take_while(|flow| {
        let left = room.checked_sub(messages::bytes(flow).len() + 1);
        room = left.unwrap_or_default();
        left.is_some()
    });
    there.flows = told.collect();
    there.left_out += count - there.flows.len();
    there.flows.sort_by_key(|one| Reverse(one.last_at));
    there
}

/// Without what no page shows.
fn as_shown(flow: Flow) -> Flow {
    Flow {
        names: Vec::new(),
        ..flow
    }
}

fn not_listed(by: &str) -> Failure {
    let by: String = by.chars().take(NAME).collect();
    Failure {
        what: "what was reached is not told".to_owned(),
        why: format!("nobody called {by:?} who has that key answers on that machine"),
        fix: "guard approver list, there".to_owned(),
    }
}

fn too_slow() -> Failure {
    Failure {
        what: "what was reached is not told".to_owned(),
        why: "guardd there, or where it looks up users, takes too long to answer".to_owned(),
        fix: "look again; there: systemctl status guardd".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use guard_proto::{
        record::{Common, Denied, Record, Request},
        varlink,
    };
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
        task::LocalSet,
    };

    use super::*;
    use crate::messages::tests::approver;

    fn flow(address: &str, last: i64) -> Flow {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        Flow {
            session: "s1".to_owned(),
            host: Some("\u{1}".repeat(200)),
            names: vec!["other.example.com".to_owned(); 50],
            address: address.to_owned(),
            protocol: "tcp".to_owned(),
            port: Some(443),
            program: None,
            first_at: at(last),
            last_at: at(last),
            connections: 1,
            reads: None,
            bytes_sent: None,
            bytes_received: None,
            verdict: "allow".to_owned(),
            rule: None,
        }
    }

    fn there(flows: Vec<Flow>) -> ReachedThere {
        ReachedThere {
            at: Timestamp::UNIX_EPOCH,
            flows,
            left_out: 0,
            warnings: vec!["\u{1}".repeat(10_000); 1000],
            hours: Some(vec![Hour::default(); HOURS]),
            is_reading: false,
            late: None,
        }
    }

    #[test]
    fn what_is_told_is_no_longer_than_others_read_and_what_guardd_has_chosen_first() {
        for count in [1, 2, 5000] {
            // What guardd gives first is the oldest of all: of another session's.
            let others = (1..count).rev();
            let flows = [0].into_iter().chain(others);
            let flows = flows.map(|last| flow(&format!("a{last}"), last));
            let told = short(there(flows.collect()));
            let names = vec!["x".repeat(64); BATCH];
            let message = messages::bytes(&said(names, Ok(told.clone())));
            assert!(message.len() <= 96 * 1024, "{count}: {}", message.len());
            assert!(messages::read::<SaidReached>(&message).is_some());
            let all = usize::try_from(count).unwrap_or_default();
            assert_eq!(told.flows.len() + told.left_out, all);
            assert!(told.left_out == 0 || told.flows.len() > 40, "{count}");
            let address = |one: Option<&Flow>| one.map(|one| one.address.clone());
            assert_eq!(address(told.flows.first()), Some(format!("a{}", count - 1)));
            assert_eq!(address(told.flows.last()), Some("a0".to_owned()), "{count}");
            let names = told.flows.iter().map(|one| one.names.len());
            assert_eq!(names.sum::<usize>(), 0, "no page shows them");
        }
    }

    #[test]
    fn hours_are_of_the_users_of_one_approver_alone() {
        let now = Timestamp::now();
        let mut day = HoursByUser::default();
        let mut note = |uid: Option<u32>, record: &Record| {
            let mut record = LogRecord::new(now, None, &Common::default(), record);
            if let Some(uid) = uid {
                record.fields.insert("uid".to_owned(), uid.into());
            }
            day.add(record, now);
        };
        let (asked, stopped) = (
            Record::from(Request::default()),
            Record::from(Denied::default()),
        );
        note(Some(1000), &asked);
        note(Some(1000), &stopped);
        note(Some(1000), &stopped);
        note(Some(1001), &stopped);
        note(None, &stopped);
        let reached = [FirstReached {
            hour: now,
            flows: 9,
        }];
        let of = |uids: &[u32]| {
            let hours = day.of(&uids.iter().copied().collect(), &reached, now);
            let last = hours[HOURS - 1];
            // guardd has counted these for that approver alone.
            assert_eq!(last.reached, 9);
            (last.asked, last.stopped)
        };
        assert_eq!(of(&[1000]), (1, 2));
        assert_eq!(of(&[1001]), (0, 1));
        assert_eq!(of(&[1000, 1001]), (1, 3));
        assert_eq!(of(&[1002]), (0, 0));
        assert_eq!(of(&[]), (0, 0));
    }

    #[test]
    fn what_reading_took_is_paid_back() {
        let ms = Duration::from_millis;
        for (took, is_listed, paused) in [
            (0, true, 250),
            (100, true, 2000),
            (4000, true, 3000),
            (0, false, 0),
            (2, false, 40),
            (4000, false, 3000),
        ] {
            assert_eq!(pause(ms(took), is_listed), ms(paused), "{took}");
        }
    }

    /// What the fake guardd makes of the audit log.
    #[derive(Clone, Copy, Debug)]
    enum FakeLog {
        Empty,
        Broken,
        Endless,
    }

    /// What is answered together, and whether it is told what was reached.
    type ShortAnswers = Vec<(Vec<String>, bool)>;

    /// A guardd that answers for everybody the same, and notes who calls.
    struct FakeGuardd {
        _dir: tempfile::TempDir,
        listener: UnixListener,
        guardd: Guardd,
        known: RefCell<Vec<ApproverShown>>,
        log: FakeLog,
        warnings: Vec<String>,
        calls: RefCell<Vec<String>>,
    }

    impl FakeGuardd {
        fn new(known: &[ApproverShown]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("guardd.sock");
            Self {
                listener: UnixListener::bind(&socket).unwrap(),
                guardd: Guardd::at(socket),
                _dir: dir,
                known: RefCell::new(known.to_vec()),
                log: FakeLog::Empty,
                warnings: vec![],
                calls: RefCell::default(),
            }
        }

        async fn serve(&self) {
            // Connections that get no answer.
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                let mut frame = Vec::new();
                while frame.last() != Some(&0) {
                    assert!(stream.read_buf(&mut frame).await.unwrap() > 0);
                }
                frame.pop();
                let call: Value = serde_json::from_slice(&frame).unwrap();
                match self.reply(&call) {
                    Some(mut reply) => {
                        reply.push(0);
                        // One that is too long is not read to its end.
                        let _ = stream.write_all(&reply).await;
                    }
                    None => held.push(stream),
                }
            }
        }

        fn reply(&self, call: &Value) -> Option<Vec<u8>> {
            let (method, parameters) = (call["method"].as_str().unwrap(), &call["parameters"]);
            let method = method.rsplit('.').next().unwrap();
            let (noted, reply) = match (method, self.log) {
                ("Approvers", _) => {
                    let known = Approvers {
                        approvers: self.known.borrow().clone(),
                        ..Approvers::default()
                    };
                    (method.to_owned(), varlink::answer(&known, false).ok())
                }
                ("Flows", _) => {
                    assert_eq!(parameters["latest"], LATEST);
                    let by = parameters["by"].as_str().unwrap();
                    (
                        format!("Flows {by}"),
                        varlink::answer(&self.flows(), false).ok(),
                    )
                }
                (_, log) => {
                    let since = parameters["since"].as_f64().unwrap();
                    let reply = match log {
                        FakeLog::Empty => Some(b"{\"parameters\":{}}".to_vec()),
                        FakeLog::Broken => {
                            Some(b"{\"error\":\"org.guardd.Control.Failed\"}".to_vec())
                        }
                        FakeLog::Endless => None,
                    };
                    (format!("{method} {since:.0}"), reply)
                }
            };
            self.calls.borrow_mut().push(noted);
            reply
        }

        fn flows(&self) -> FlowsReply {
            FlowsReply {
                flows: vec![flow("192.0.2.1", 1)],
                warnings: self.warnings.clone(),
                left_out: 7,
                first_reached: vec![FirstReached {
                    hour: Timestamp::now(),
                    flows: 8,
                }],
                ..FlowsReply::default()
            }
        }

        /// What comes of these, by names and keys: the numbers of those that have the same answer, and whether that has flows.
        async fn answer(
            &self,
            reader: &mut DayReader,
            of: &[(&str, &str)],
        ) -> (ShortAnswers, Vec<SaidReached>) {
            let asks = of.iter().enumerate().map(|(number, (by, key))| {
                let keys = vec![(*key).to_owned()];
                let ask = AskReached::of((*by).to_owned(), keys).unwrap();
                (number.to_string(), ask)
            });
            let answered = tokio::select! {
                answered = reader.answer(&self.guardd, asks.collect()) => answered,
                () = self.serve() => Vec::new(),
            };
            let short = answered
                .iter()
                .map(|said| (said.asked.clone(), said.reached.is_some()));
            (short.collect(), answered)
        }

        /// Who has called since then. Of the log it counts that all of it was read.
        fn called(&self) -> Vec<String> {
            let mut calls = self.calls.take();
            calls.retain(|call| !call.starts_with("Log ") || call == "Log 86400");
            calls
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[tokio::test]
    async fn those_of_one_approver_are_answered_by_one_reading_and_nobody_who_is_not_listed_now() {
        LocalSet::new().run_until(one_reading()).await;
    }

    async fn one_reading() {
        let (a, b) = ("SHA256:a", "SHA256:b");
        let (alice, bob) = (
            approver("alice", a, &["61240"]),
            approver("bob", b, &["61240"]),
        );
        let fake = FakeGuardd::new(&[alice, bob.clone()]);
        let mut reader = DayReader::new();
        // The third is called alice, too, and is another person; the fourth is nobody.
        let all = [
            ("alice", a),
            ("bob", b),
            ("alice", b),
            ("mallory", a),
            ("alice", a),
        ];
        let (told, said) = fake.answer(&mut reader, &all).await;
        let expected = [
            (texts(&["2"]), false),
            (texts(&["3"]), false),
            (texts(&["0", "4"]), true),
            (texts(&["1"]), true),
        ];
        assert_eq!(told, expected);
        let there = said[2].reached.as_ref().unwrap();
        assert_eq!((there.flows.len(), there.left_out), (1, 7));
        let hours = there.hours.as_ref().unwrap();
        assert_eq!(hours.iter().map(|hour| hour.reached).sum::<u64>(), 8);
        let calls = ["Approvers", "Flows alice", "Log 86400", "Flows bob"];
        assert_eq!(fake.called(), calls);

        // What was read a moment ago is not read again,
        let (told, _) = fake.answer(&mut reader, &[("alice", a)]).await;
        assert_eq!(told, [(texts(&["0"]), true)]);
        assert_eq!(fake.called(), ["Approvers"]);
        // and is for nobody who was taken out since.
        *fake.known.borrow_mut() = vec![bob.clone()];
        let (told, _) = fake.answer(&mut reader, &[("alice", a)]).await;
        assert_eq!(told, [(texts(&["0"]), false)]);
        assert_eq!(fake.called(), ["Approvers"]);

        // An approver who answers for others by now is read for again, and so is the day, of which these were no part.
        *fake.known.borrow_mut() = vec![approver("alice", a, &["61240", "61241"]), bob];
        let (told, _) = fake.answer(&mut reader, &[("alice", a)]).await;
        assert_eq!(told, [(texts(&["0"]), true)]);
        assert_eq!(fake.called(), ["Approvers", "Flows alice", "Log 86400"]);
        // And so is what was read longer ago, but for the day.
        reader.kept.iter_mut().for_each(|one| one.at -= FRESH);
        fake.answer(&mut reader, &[("alice", a)]).await;
        assert_eq!(fake.called(), ["Approvers", "Flows alice"]);
    }

    #[tokio::test]
    async fn what_was_read_is_kept_for_so_many_and_for_no_more() {
        LocalSet::new().run_until(so_many()).await;
    }

    async fn so_many() {
        let names: Vec<_> = (0..KEPT + 2)
            .map(|number| format!("a{number:02}"))
            .collect();
        let known = names
            .iter()
            .map(|name| approver(name, "SHA256:a", &["61240"]));
        let fake = FakeGuardd::new(&known.collect::<Vec<_>>());
        let mut reader = DayReader::new();
        let all: Vec<_> = names.iter().map(|name| (&**name, "SHA256:a")).collect();
        let (told, _) = fake.answer(&mut reader, &all).await;
        assert_eq!(told.len(), KEPT + 2);
        assert_eq!(reader.kept.len(), KEPT);
        let kept = reader.kept.iter().map(|one| &one.person.name);
        assert!(kept.eq(names[2..].iter().rev()), "the latest are kept");
    }

    #[tokio::test]
    async fn whether_the_log_is_read_is_said_apart_from_what_is_in_it() {
        LocalSet::new().run_until(each_log()).await;
    }

    async fn each_log() {
        for (log, expected) in [
            (FakeLog::Empty, (true, false)),
            (FakeLog::Broken, (false, false)),
            (FakeLog::Endless, (false, true)),
        ] {
            // More people than could each wait for it.
            let names: Vec<_> = (0..8).map(|number| format!("a{number}")).collect();
            let known = names.iter();
            let known = known.map(|name| approver(name, "SHA256:a", &["61240"]));
            let mut fake = FakeGuardd::new(&known.collect::<Vec<_>>());
            fake.log = log;
            let mut reader = DayReader::new();
            let all: Vec<_> = names.iter().map(|name| (&**name, "SHA256:a")).collect();
            let (told, said) = fake.answer(&mut reader, &all).await;
            assert_eq!(told.len(), names.len());
            for said in said {
                let there = said.reached.unwrap();
                let is = (there.hours.is_some(), there.is_reading);
                assert_eq!(is, expected, "{log:?}");
                assert_eq!(there.flows.len(), 1, "{log:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_guardd_that_says_too_much_is_not_heard_out() {
        LocalSet::new().run_until(too_much()).await;
    }

    async fn too_much() {
        let most = usize::try_from(LONGEST_READ).unwrap();
        for (length, is_told) in [(most / 2, true), (most, false)] {
            let mut fake = FakeGuardd::new(&[approver("alice", "SHA256:a", &["61240"])]);
            fake.warnings = vec!["x".repeat(length)];
            let mut reader = DayReader::new();
            let (told, said) = fake.answer(&mut reader, &[("alice", "SHA256:a")]).await;
            assert_eq!(told[0].1, is_told, "{length}");
            let why = said[0].refused.as_ref().map_or("", |failure| &*failure.why);
            assert_eq!(why.contains("is longer than"), !is_told, "{length}: {why}");
        }
    }

    #[tokio::test]
    async fn a_guardd_that_hangs_is_waited_for_no_longer_than_a_console_waits() {
        // Nobody takes what calls.
        let fake = FakeGuardd::new(&[]);
        let mut reader = DayReader::new();
        let ask = AskReached::of("alice".to_owned(), vec![]).unwrap();
        let asks = Asks::from([("0".to_owned(), ask)]);
        let said = reader.answer(&fake.guardd, asks).await;
        let why = said[0].refused.as_ref().map(|failure| &*failure.what);
        assert_eq!(why, Some("what was reached is not told"), "{said:?}");
    }
}
