//! The audit log's last day, as guardd has it of those for whom somebody answers.
//!
//! It is read once, and then what has come since: a log may have a hundred megabytes, and pages are many.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use guard_courier::{Guardd, Refusal};
use guard_proto::{Call, LogKind, LogRecord};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::{sync::Mutex, task::spawn_local, time::timeout};

use crate::scope::Scope;

/// Hours that are shown.
pub(crate) const HOURS: usize = 24;
/// Records that are kept, the latest.
const MOST: usize = 2000;
/// Sets of users for whom it is kept.
const SCOPES: usize = 4;
/// How long it is believed, for many pages at once.
const FRESH: Duration = Duration::from_secs(2);
/// How long what comes at a glance may take: the page's questions wait for it.
pub(crate) const GLANCE: Duration = Duration::from_millis(300);
/// How much is read.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// When it is read from its beginning again: what a clock that was set has hidden is seen then.
const WHOLE: Duration = Duration::from_secs(3600);
/// What is read twice, so that nothing is left out between two readings; and by how much clocks may differ.
const OVERLAP: Duration = Duration::from_secs(2);
const DRIFT: SignedDuration = SignedDuration::from_secs(1);

/// What happened in an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hour {
    /// Destinations first reached.
    pub(crate) reached: u64,
    /// Requests.
    pub(crate) asked: u64,
    /// Refusals that were recorded.
    pub(crate) stopped: u64,
}

/// The last day.
#[derive(Clone, Debug, Default)]
pub(crate) struct Day {
    /// The oldest first; the last is this one.
    pub(crate) hours: [Hour; HOURS],
    /// The number of that; none: nothing is in them yet.
    pub(crate) until: Option<i64>,
    /// The latest first.
    pub(crate) records: VecDeque<Rc<LogRecord>>,
    /// How many more there were.
    pub(crate) left_out: usize,
}

fn number_of_hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600)
}

impl Day {
    /// The hour in which something was.
    pub(crate) fn hour(&mut self, at: Timestamp, now: Timestamp) -> Option<&mut Hour> {
        let ago = usize::try_from(number_of_hour(now) - number_of_hour(at)).ok()?;
        let index = (HOURS - 1).checked_sub(ago)?;
        self.hours.get_mut(index)
    }

    /// The same hours, with this one as the last.
    pub(crate) fn hours_until(&self, now: Timestamp) -> [Hour; HOURS] {
        let mut hours = self.hours;
        let now = number_of_hour(now);
        let over = now.saturating_sub(self.until.unwrap_or(now));
        let over = usize::try_from(over).unwrap_or(0).min(HOURS);
        hours.rotate_left(over);
        hours[HOURS - over..].fill(Hour::default());
        hours
    }

    /// Time goes on.
    fn turn(&mut self, now: Timestamp) {
        self.hours = self.hours_until(now);
        self.until = Some(number_of_hour(now));
        let is_over = |record: &Rc<LogRecord>| now.duration_since(record.at) > SIGNED_DAY;
        while self.records.back().is_some_and(is_over) {
            self.records.pop_back();
        }
    }

    fn add(&mut self, record: LogRecord, now: Timestamp) {
        if let Some(hour) = self.hour(record.at, now) {
            match record.kind {
                LogKind::Request => hour.asked += 1,
                LogKind::Denied => hour.stopped += 1,
                _ => {}
            }
        }
        self.records.push_front(Rc::new(record));
        if self.records.len() > MOST {
            self.records.pop_back();
            self.left_out += 1;
        }
    }

    /// The records about a request, the latest first.
    pub(crate) fn about<'a>(&'a self, request: &'a str) -> impl Iterator<Item = &'a LogRecord> {
        let is_it =
            move |record: &&LogRecord| record.fields.get("request").is_some_and(|id| id == request);
        self.records.iter().map(Rc::as_ref).filter(is_it)
    }
}

const SIGNED_DAY: SignedDuration = SignedDuration::from_hours(HOURS as i64);

/// What was read by a time.
#[derive(Clone, Debug)]
struct Read {
    /// That time, by both clocks.
    at: Instant,
    wall: Timestamp,
    /// When it was read from its beginning.
    whole: Instant,
    /// The number of the last record, and the latest time of one.
    last: Option<(u64, Timestamp)>,
    day: Rc<Day>,
}

impl Read {
    /// From now on what has come since then, or all of it; and how much of the log that is.
    fn begin(before: Option<Self>) -> (Self, Duration) {
        let (at, wall) = (Instant::now(), Timestamp::now());
        let (mut read, some) = match before.filter(|one| one.goes_on(at, wall)) {
            Some(before) => {
                let since = at.duration_since(before.at) + OVERLAP;
                (Self { at, wall, ..before }, since)
            }
            None => {
                let read = Self {
                    at,
                    wall,
                    whole: at,
                    last: None,
                    day: Rc::default(),
                };
                (read, DAY)
            }
        };
        Rc::make_mut(&mut read.day).turn(wall);
        (read, some)
    }

    /// Whether no clock was set meanwhile.
    fn goes_on(&self, at: Instant, wall: Timestamp) -> bool {
        let passed = SignedDuration::try_from(at.duration_since(self.at));
        let differ = passed.map(|passed| wall.duration_since(self.wall) - passed);
        at.duration_since(self.whole) < WHOLE && differ.is_ok_and(|one| one.abs() < DRIFT)
    }

    /// One that comes, unless it had come by `before`.
    fn add(&mut self, record: LogRecord, before: Option<(u64, Timestamp)>, uids: &[u32]) {
        let number = record.fields.get("number").and_then(Value::as_u64);
        let number = number.unwrap_or_default();
        // In another log than before the numbers begin anew, and the times do not.
        if before.is_some_and(|(last, latest)| number <= last && record.at <= latest) {
            return;
        }
        let latest = self.last.map_or(record.at, |(_, at)| at.max(record.at));
        self.last = Some((number, latest));
        if is_of(&record, uids) {
            Rc::make_mut(&mut self.day).add(record, self.wall);
        }
    }
}

/// What is kept for those who answer for the same users.
#[derive(Debug)]
struct Kept {
    uids: Vec<u32>,
    /// One reads at a time.
    turn: Mutex<()>,
    read: RefCell<Option<Read>>,
}

impl Kept {
    /// The day as it was so long ago at most. Those who ask meanwhile wait for the same.
    async fn day(&self, guardd: &Guardd, age: Duration) -> Result<Rc<Day>, Refusal> {
        let _turn = self.turn.lock().await;
        let before = self.read.borrow().clone();
        if let Some(read) = before.as_ref().filter(|read| read.at.elapsed() < age) {
            return Ok(Rc::clone(&read.day));
        }
        let (mut read, some) = Read::begin(before);
        let last = read.last;
        let call = Call::Log {
            follow: false,
            session: None,
            since: Some(some.as_secs_f64()),
        };
        let mut answers = guardd.stream::<LogRecord>(&call).await?;
        while let Some(record) = answers.next().await? {
            read.add(record, last, &self.uids);
        }
        let day = Rc::clone(&read.day);
        *self.read.borrow_mut() = Some(read);
        Ok(day)
    }
}

/// What there is of the last day at once.
#[derive(Debug)]
pub(crate) enum Glance {
    /// All of it.
    Day(Rc<Day>),
    /// It is long, and still read; as it was at a time before, if that is known.
    Late(Option<(Rc<Day>, Timestamp)>),
    /// guardd tells nothing.
    None,
}

/// Reads it.
#[derive(Debug)]
pub(crate) struct Trail {
    guardd: Guardd,
    /// Whoever was asked for last comes first.
    kept: RefCell<VecDeque<Rc<Kept>>>,
}

impl Trail {
    pub(crate) fn new(guardd: Guardd) -> Self {
        Self {
            guardd,
            kept: RefCell::default(),
        }
    }

    fn kept(&self, scope: &Scope) -> Rc<Kept> {
        let mut all = self.kept.borrow_mut();
        let at = all.iter().position(|one| one.uids == scope.uids);
        let one = at.and_then(|at| all.remove(at)).unwrap_or_else(|| {
            Rc::new(Kept {
                uids: scope.uids.clone(),
                turn: Mutex::default(),
                read: RefCell::default(),
            })
        });
        all.push_front(Rc::clone(&one));
        all.truncate(SCOPES);
        one
    }

    /// The last day of what somebody may see.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(crate) async fn day(&self, scope: &Scope) -> Result<Rc<Day>, Refusal> {
        self.kept(scope).day(&self.guardd, FRESH).await
    }

    /// The same, as far as it is there soon. What takes longer is read on, for the next page.
    pub(crate) async fn glance(&self, scope: &Scope) -> Glance {
        let (kept, guardd) = (self.kept(scope), self.guardd.clone());
        let reading = Rc::clone(&kept);
        let read = spawn_local(async move { reading.day(&guardd, FRESH).await });
        match timeout(GLANCE, read).await {
            Ok(Ok(Ok(day))) => Glance::Day(day),
            Ok(_) => Glance::None,
            Err(_) => {
                let read = kept.read.borrow();
                let read = read.as_ref();
                Glance::Late(read.map(|read| (Rc::clone(&read.day), read.wall)))
            }
        }
    }

    /// The last day with what has happened by now: of somebody who has just answered.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(crate) async fn day_by_now(&self, scope: &Scope) -> Result<Rc<Day>, Refusal> {
        self.kept(scope).day(&self.guardd, Duration::ZERO).await
    }
}

/// Whether a record is about a session of one of those users.
fn is_of(record: &LogRecord, uids: &[u32]) -> bool {
    let uid = record.common().uid.take();
    uid.is_some_and(|uid| uids.contains(&uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard_proto::record::{Common, Record, Request};

    fn record(at: &str, id: &str) -> LogRecord {
        let request = Record::from(Request {
            request: id.into(),
            ..Request::default()
        });
        LogRecord::new(at.parse().unwrap(), None, &Common::default(), &request)
    }

    #[test]
    fn each_hour_has_what_happened_in_it() {
        let now = "2026-11-25T12:30:00Z".parse().unwrap();
        let mut day = Day::default();
        for at in [
            "2026-11-25T12:00:00Z",
            "2026-11-25T11:59:59Z",
            "2026-11-24T13:00:00Z",
            "2026-11-24T12:59:59Z",
            "2026-11-25T13:00:00Z",
        ] {
            day.add(record(at, "r1"), now);
        }
        let asked: Vec<_> = day.hours.iter().map(|hour| hour.asked).collect();
        assert_eq!((asked[23], asked[22], asked[0]), (1, 1, 1));
        assert_eq!(
            asked.iter().sum::<u64>(),
            3,
            "what is older, or from the future, is in no hour"
        );
        assert_eq!(day.about("r1").count(), 5);
        assert_eq!(day.about("r2").count(), 0);
    }

    #[test]
    fn another_users_records_are_none_of_it() {
        let of = |uid: Option<u32>| {
            let mut record = record("2026-11-25T12:00:00Z", "r1");
            if let Some(uid) = uid {
                record.fields.insert("uid".to_owned(), uid.into());
            }
            is_of(&record, &[1000, 1001])
        };
        assert!(of(Some(1001)));
        assert!(!of(Some(1002)) && !of(Some(0)) && !of(None));
    }

    /// A guardd that answers each call in turn with these records, once it is let.
    struct Guardds {
        _dir: tempfile::TempDir,
        listener: tokio::net::UnixListener,
        trail: Trail,
    }

    impl Guardds {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("guardd.sock");
            Self {
                listener: tokio::net::UnixListener::bind(&socket).unwrap(),
                trail: Trail::new(Guardd::at(socket)),
                _dir: dir,
            }
        }

        /// The next call, and since when it asks.
        async fn called(&self) -> (tokio::net::UnixStream, f64) {
            use tokio::io::AsyncReadExt as _;
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let mut frame = Vec::new();
            while frame.last() != Some(&0) {
                assert!(stream.read_buf(&mut frame).await.unwrap() > 0);
            }
            frame.pop();
            let call: Value = serde_json::from_slice(&frame).unwrap();
            let since = call["parameters"]["since"].as_f64().unwrap();
            (stream, since)
        }
    }

    async fn say(stream: &mut tokio::net::UnixStream, records: &[LogRecord]) {
        use tokio::io::AsyncWriteExt as _;
        for record in records {
            let frame = guard_proto::varlink::answer(record, true).unwrap();
            stream.write_all(&frame).await.unwrap();
            stream.write_all(&[0]).await.unwrap();
        }
        let last = guard_proto::varlink::answer(&serde_json::json!({}), false).unwrap();
        stream.write_all(&last).await.unwrap();
        stream.write_all(&[0]).await.unwrap();
    }

    fn numbered(number: u64) -> LogRecord {
        let mut record = record(&Timestamp::now().to_string(), &number.to_string());
        record.fields.insert("uid".to_owned(), 1000.into());
        record.fields.insert("number".to_owned(), number.into());
        record
    }

    fn scope(uid: u32) -> Scope {
        let mut scope = Scope::default();
        scope.uids.push(uid);
        scope
    }

    #[tokio::test]
    async fn a_day_that_takes_long_is_read_on_and_is_there_for_the_next_page() {
        let local = tokio::task::LocalSet::new();
        local.run_until(a_long_day()).await;
    }

    async fn a_long_day() {
        let guardds = Guardds::new();
        let (trail, scope) = (&guardds.trail, scope(1000));
        let (seen, (mut stream, since)) = tokio::join!(trail.glance(&scope), guardds.called());
        assert!(matches!(seen, Glance::Late(None)), "{seen:?}");
        assert!((since - DAY.as_secs_f64()).abs() < 1.0);
        let again = trail.glance(&scope).await;
        assert!(matches!(again, Glance::Late(None)), "{again:?}");
        let other = timeout(Duration::ZERO, guardds.listener.accept()).await;
        assert!(other.is_err(), "nobody reads it beside: {other:?}");
        let one = [numbered(1)];
        let ((), seen) = tokio::join!(say(&mut stream, &one), trail.glance(&scope));
        let Glance::Day(day) = seen else {
            panic!("{seen:?}")
        };
        assert_eq!(day.records.len(), 1);
        tokio::time::sleep(FRESH).await;
        let (seen, _) = tokio::join!(trail.glance(&scope), guardds.called());
        let Glance::Late(Some((day, _))) = seen else {
            panic!("what is known is shown: {seen:?}")
        };
        assert_eq!(day.records.len(), 1);
    }

    #[tokio::test]
    async fn what_was_read_is_not_read_again() {
        let guardds = Guardds::new();
        let (trail, scope) = (&guardds.trail, scope(1000));
        let read = async |records: &[LogRecord]| {
            let called = async {
                let (mut stream, since) = guardds.called().await;
                say(&mut stream, records).await;
                since
            };
            let (day, since) = tokio::join!(trail.day_by_now(&scope), called);
            let day = day.unwrap();
            let ids = day.records.iter().map(|one| one.fields["request"].clone());
            let asked: u64 = day.hours.iter().map(|hour| hour.asked).sum();
            (since, ids.collect::<Vec<_>>(), asked)
        };
        let [one, two, three] = [1, 2, 3].map(numbered);
        let (since, ids, asked) = read(&[one, two.clone()]).await;
        assert!(since > 86_000.0);
        assert_eq!((&ids[..], asked), (&["2".into(), "1".into()][..], 2));
        // What lies in both comes once.
        let (since, ids, asked) = read(&[two, three]).await;
        assert!(since < 60.0, "{since}");
        assert_eq!((ids.len(), asked), (3, 3));
        // Another log begins anew with its numbers.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (_, ids, asked) = read(&[numbered(1)]).await;
        assert_eq!((&ids[0], asked), (&"1".into(), 4));
        // Of somebody else's users it is another.
        let others = super::tests::scope(1001);
        let called = async {
            let (mut stream, since) = guardds.called().await;
            say(&mut stream, &[numbered(1)]).await;
            since
        };
        let (day, since) = tokio::join!(trail.day(&others), called);
        assert!(since > 86_000.0 && day.unwrap().records.is_empty());
    }

    #[test]
    fn a_clock_that_was_set_has_all_of_it_read_again() {
        let (read, _) = Read::begin(None);
        let at = |seconds: u64| read.at + Duration::from_secs(seconds);
        let wall = |seconds: i64| read.wall + SignedDuration::from_secs(seconds);
        assert!(read.goes_on(at(5), wall(5)));
        assert!(!read.goes_on(at(5), wall(60)) && !read.goes_on(at(5), wall(-60)));
        assert!(!read.goes_on(at(3600), wall(3600)));
    }

    #[test]
    fn hours_pass() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut day = Day::default();
        day.turn(at("2026-11-25T12:30:00Z"));
        day.add(
            record("2026-11-25T12:00:00Z", "r1"),
            at("2026-11-25T12:30:00Z"),
        );
        for (now, index) in [
            ("2026-11-25T12:59:00Z", 23),
            ("2026-11-25T13:00:00Z", 22),
            ("2026-11-26T11:00:00Z", 0),
        ] {
            let hours = day.hours_until(at(now));
            assert_eq!(hours[index].asked, 1, "{now}");
            assert_eq!(hours.iter().map(|hour| hour.asked).sum::<u64>(), 1);
        }
        day.turn(at("2026-11-26T11:59:00Z"));
        assert_eq!((day.hours[0].asked, day.records.len()), (1, 1));
        day.turn(at("2026-11-26T12:30:00Z"));
        assert!(day.hours.iter().all(|hour| hour.asked == 0) && day.records.is_empty());
        day.turn(at("2027-11-26T12:30:00Z"));
    }

    #[test]
    fn only_the_latest_are_kept() {
        let now = "2026-11-25T12:30:00Z".parse().unwrap();
        let mut day = Day::default();
        for number in 0..MOST + 3 {
            day.add(record("2026-11-25T12:00:00Z", &number.to_string()), now);
        }
        assert_eq!((day.records.len(), day.left_out), (MOST, 3));
        assert_eq!(day.hours[23].asked, (MOST + 3) as u64);
        assert!(day.about("0").next().is_none() && day.about("3").next().is_some());
    }
}
