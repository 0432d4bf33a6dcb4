//! The audit log's last day, as guardd has it of those for whom somebody answers.

use std::{
    cell::Cell,
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use guard_courier::{Guardd, Refusal};
use guard_proto::{Call, LogKind, LogRecord};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::scope::Scope;

/// Hours that are shown.
pub(crate) const HOURS: usize = 24;
/// Records that are kept, the latest.
const MOST: usize = 2000;
/// How long it is believed, for many pages at once.
const FRESH: Duration = Duration::from_secs(2);
/// How long what comes at a glance may take: the page's questions wait for it.
const GLANCE: Duration = Duration::from_millis(300);
/// How long a day that took longer is not looked at again: guardd would begin to read it with each page.
const LONG: Duration = Duration::from_secs(300);

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
#[derive(Debug, Default)]
pub(crate) struct Day {
    /// The oldest first; the last is this one.
    pub(crate) hours: [Hour; HOURS],
    /// The latest first.
    pub(crate) records: VecDeque<LogRecord>,
    /// How many more there were.
    pub(crate) left_out: usize,
}

impl Day {
    /// The hour in which something was.
    pub(crate) fn hour(&mut self, at: Timestamp, now: Timestamp) -> Option<&mut Hour> {
        let number = |at: Timestamp| at.as_second().div_euclid(3600);
        let ago = usize::try_from(number(now) - number(at)).ok()?;
        let index = (HOURS - 1).checked_sub(ago)?;
        self.hours.get_mut(index)
    }

    fn add(&mut self, record: LogRecord, now: Timestamp) {
        if let Some(hour) = self.hour(record.at, now) {
            match record.kind {
                LogKind::Request => hour.asked += 1,
                LogKind::Denied => hour.stopped += 1,
                _ => {}
            }
        }
        self.records.push_front(record);
        if self.records.len() > MOST {
            self.records.pop_back();
            self.left_out += 1;
        }
    }

    /// The records about a request, the latest first.
    pub(crate) fn about<'a>(&'a self, request: &'a str) -> impl Iterator<Item = &'a LogRecord> {
        let is_it =
            move |record: &&LogRecord| record.fields.get("request").is_some_and(|id| id == request);
        self.records.iter().filter(is_it)
    }
}

/// What was read.
#[derive(Debug)]
struct Read {
    at: Instant,
    /// Of these users' sessions.
    uids: Vec<u32>,
    day: Rc<Day>,
}

/// Reads it.
#[derive(Debug)]
pub(crate) struct Trail {
    guardd: Guardd,
    read: Mutex<Option<Read>>,
    /// When a glance last took too long.
    long: Cell<Option<Instant>>,
}

impl Trail {
    pub(crate) fn new(guardd: Guardd) -> Self {
        Self {
            guardd,
            read: Mutex::new(None),
            long: Cell::new(None),
        }
    }

    /// The last day of what somebody may see. Those who ask meanwhile get the same.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(crate) async fn day(&self, scope: &Scope) -> Result<Rc<Day>, Refusal> {
        let mut read = self.read.lock().await;
        let is_fresh = |read: &&Read| read.at.elapsed() < FRESH && read.uids == scope.uids;
        if let Some(read) = read.as_ref().filter(is_fresh) {
            return Ok(Rc::clone(&read.day));
        }
        let day = Rc::new(self.read(&scope.uids).await?);
        *read = Some(Read {
            at: Instant::now(),
            uids: scope.uids.clone(),
            day: Rc::clone(&day),
        });
        Ok(day)
    }

    /// The same, and what else is asked for beside it, unless the day is a long one.
    pub(crate) async fn glance<T>(
        &self,
        scope: &Scope,
        beside: impl Future<Output = T>,
    ) -> Option<(Rc<Day>, T)> {
        if self.long.get().is_some_and(|at| at.elapsed() < LONG) {
            return None;
        }
        let all = async { tokio::join!(self.day(scope), beside) };
        let Ok((day, beside)) = tokio::time::timeout(GLANCE, all).await else {
            self.long.set(Some(Instant::now()));
            return None;
        };
        Some((day.ok()?, beside))
    }

    /// The last day with what has happened by now: of somebody who has just answered.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(crate) async fn day_by_now(&self, scope: &Scope) -> Result<Rc<Day>, Refusal> {
        *self.read.lock().await = None;
        self.day(scope).await
    }

    async fn read(&self, uids: &[u32]) -> Result<Day, Refusal> {
        let call = Call::Log {
            follow: false,
            session: None,
            since: Some(Duration::from_secs(24 * 3600).as_secs_f64()),
        };
        let mut answers = self.guardd.stream::<LogRecord>(&call).await?;
        let (mut day, now) = (Day::default(), Timestamp::now());
        while let Some(record) = answers.next().await? {
            if is_of(&record, uids) {
                day.add(record, now);
            }
        }
        Ok(day)
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

    #[tokio::test]
    async fn a_day_that_takes_long_is_not_read_for_each_page() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("guardd.sock");
        let guardd = tokio::net::UnixListener::bind(&socket).unwrap();
        let trail = Trail::new(Guardd::at(socket));
        let scope = Scope::default();
        let glance = || trail.glance(&scope, async {});
        let (seen, called) = tokio::join!(glance(), guardd.accept());
        assert!(
            seen.is_none() && called.is_ok(),
            "it is read, and takes too long"
        );
        assert!(glance().await.is_none());
        let again = tokio::time::timeout(Duration::ZERO, guardd.accept()).await;
        assert!(again.is_err(), "nobody reads it again: {again:?}");
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
