//! The audit log's last day, with its latest records, of each set of users for whom somebody answers. How it is read,
//! `guard_courier::day` says.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use guard_courier::{
    Guardd, Refusal,
    day::{DayOfLog, FRESH, Glance, HOURS, Hours, LastDay},
};
use guard_proto::LogRecord;
use jiff::{SignedDuration, Timestamp};

use crate::scope::Scope;

/// Records that are kept, the latest.
const MOST: usize = 2000;
/// Sets of users for whom it is kept.
const SCOPES: usize = 4;
/// How long what comes at a glance may take: the page's questions wait for it.
pub(crate) const GLANCE: Duration = Duration::from_millis(300);

/// The last day.
#[derive(Clone, Debug, Default)]
pub(crate) struct Day {
    /// Of whose sessions.
    pub(crate) uids: Vec<u32>,
    pub(crate) hours: Hours,
    /// The latest first.
    pub(crate) records: VecDeque<Rc<LogRecord>>,
    /// How many more there were.
    pub(crate) left_out: usize,
}

impl Day {
    fn note(&mut self, record: LogRecord, now: Timestamp) {
        self.hours.count(&record, now);
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

impl DayOfLog for Day {
    fn turn(&mut self, now: Timestamp) {
        self.hours.turn(now);
        let is_over = |record: &Rc<LogRecord>| now.duration_since(record.at) > SIGNED_DAY;
        while self.records.back().is_some_and(is_over) {
            self.records.pop_back();
        }
    }

    fn add(&mut self, record: LogRecord, now: Timestamp) {
        if is_of(&record, &self.uids) {
            self.note(record, now);
        }
    }
}

const SIGNED_DAY: SignedDuration = SignedDuration::from_hours(HOURS as i64);

/// What is kept for those who answer for the same users.
#[derive(Debug)]
struct Kept {
    uids: Vec<u32>,
    day: Rc<LastDay<Day>>,
}

/// Reads the audit log.
#[derive(Debug)]
pub(crate) struct AuditLog {
    guardd: Guardd,
    /// The set that was asked for last comes first.
    kept: RefCell<VecDeque<Kept>>,
}

impl AuditLog {
    pub(crate) fn new(guardd: Guardd) -> Self {
        Self {
            guardd,
            kept: RefCell::default(),
        }
    }

    fn kept(&self, scope: &Scope) -> Rc<LastDay<Day>> {
        let mut all = self.kept.borrow_mut();
        let at = all.iter().position(|one| one.uids == scope.uids);
        let one = at.and_then(|at| all.remove(at)).unwrap_or_else(|| {
            let uids = scope.uids.clone();
            let empty = Day {
                uids: uids.clone(),
                ..Day::default()
            };
            let day = Rc::new(LastDay::new(empty));
            Kept { uids, day }
        });
        let day = Rc::clone(&one.day);
        all.push_front(one);
        all.truncate(SCOPES);
        day
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
    pub(crate) async fn glance(&self, scope: &Scope) -> Glance<Day> {
        self.kept(scope).glance(&self.guardd, GLANCE).await
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
    use serde_json::Value;
    use tokio::time::timeout;

    fn record(at: &str, id: &str) -> LogRecord {
        let request = Record::from(Request {
            request: id.into(),
            ..Request::default()
        });
        LogRecord::new(at.parse().unwrap(), None, &Common::default(), &request)
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
        audit_log: AuditLog,
    }

    impl Guardds {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("guardd.sock");
            Self {
                listener: tokio::net::UnixListener::bind(&socket).unwrap(),
                audit_log: AuditLog::new(Guardd::at(socket)),
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
        let (log, scope) = (&guardds.audit_log, scope(1000));
        let (seen, (mut stream, since)) = tokio::join!(log.glance(&scope), guardds.called());
        assert!(matches!(seen, Glance::Late(None)), "{seen:?}");
        assert!((since - 86_400.0).abs() < 1.0);
        let again = log.glance(&scope).await;
        assert!(matches!(again, Glance::Late(None)), "{again:?}");
        let other = timeout(Duration::ZERO, guardds.listener.accept()).await;
        assert!(other.is_err(), "nobody reads it beside: {other:?}");
        let one = [numbered(1)];
        let ((), seen) = tokio::join!(say(&mut stream, &one), log.glance(&scope));
        let Glance::Day(day) = seen else {
            panic!("{seen:?}")
        };
        assert_eq!(day.records.len(), 1);
        tokio::time::sleep(FRESH).await;
        let (seen, _) = tokio::join!(log.glance(&scope), guardds.called());
        let Glance::Late(Some((day, _))) = seen else {
            panic!("what is known is shown: {seen:?}")
        };
        assert_eq!(day.records.len(), 1);
    }

    #[tokio::test]
    async fn what_was_read_is_not_read_again() {
        let guardds = Guardds::new();
        let (log, scope) = (&guardds.audit_log, scope(1000));
        let read = async |records: &[LogRecord]| {
            let called = async {
                let (mut stream, since) = guardds.called().await;
                say(&mut stream, records).await;
                since
            };
            let (day, since) = tokio::join!(log.day_by_now(&scope), called);
            let day = day.unwrap();
            let ids = day.records.iter().map(|one| one.fields["request"].clone());
            let hours = day.hours.until(Timestamp::now());
            let asked: u64 = hours.iter().map(|hour| hour.asked).sum();
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
        // Another log has numbers of its own.
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
        let (day, since) = tokio::join!(log.day(&others), called);
        assert!(since > 86_000.0 && day.unwrap().records.is_empty());
    }

    #[test]
    fn records_are_kept_for_a_day() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut day = Day::default();
        day.turn(at("2026-11-25T12:30:00Z"));
        day.note(
            record("2026-11-25T12:00:00Z", "r1"),
            at("2026-11-25T12:30:00Z"),
        );
        assert!(day.about("r1").count() == 1 && day.about("r2").next().is_none());
        day.turn(at("2026-11-26T11:59:00Z"));
        assert_eq!(day.records.len(), 1);
        day.turn(at("2026-11-26T12:30:00Z"));
        assert!(day.records.is_empty());
    }

    #[test]
    fn only_the_latest_are_kept() {
        let now = "2026-11-25T12:30:00Z".parse().unwrap();
        let mut day = Day::default();
        for number in 0..MOST + 3 {
            day.note(record("2026-11-25T12:00:00Z", &number.to_string()), now);
        }
        assert_eq!((day.records.len(), day.left_out), (MOST, 3));
        assert_eq!(day.hours.until(now)[23].asked, (MOST + 3) as u64);
        assert!(day.about("0").next().is_none() && day.about("3").next().is_some());
    }
}
