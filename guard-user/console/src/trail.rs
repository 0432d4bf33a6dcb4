//! The audit log's last day, as guardd has it of those for whom somebody answers.

use std::{
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use guard_proto::{Call, LogKind, LogRecord};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::client::{Guardd, Refusal};

/// Hours that are shown.
pub(crate) const HOURS: usize = 24;
/// Records that are kept, the latest.
const MOST: usize = 2000;
/// How long it is believed, for many pages at once.
const FRESH: Duration = Duration::from_secs(2);

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

/// Reads it.
#[derive(Debug)]
pub(crate) struct Trail {
    guardd: Guardd,
    read: Mutex<Option<(Instant, Rc<Day>)>>,
}

impl Trail {
    pub(crate) fn new(guardd: Guardd) -> Self {
        Self {
            guardd,
            read: Mutex::new(None),
        }
    }

    /// The last day. Those who ask meanwhile get the same.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(crate) async fn day(&self) -> Result<Rc<Day>, Refusal> {
        let mut read = self.read.lock().await;
        if let Some((at, day)) = &*read
            && at.elapsed() < FRESH
        {
            return Ok(Rc::clone(day));
        }
        let day = Rc::new(self.read().await?);
        *read = Some((Instant::now(), Rc::clone(&day)));
        Ok(day)
    }

    async fn read(&self) -> Result<Day, Refusal> {
        let call = Call::Log {
            follow: false,
            session: None,
            since: Some(Duration::from_secs(24 * 3600).as_secs_f64()),
        };
        let mut answers = self.guardd.stream::<LogRecord>(&call).await?;
        let (mut day, now) = (Day::default(), Timestamp::now());
        while let Some(record) = answers.next().await? {
            day.add(record, now);
        }
        Ok(day)
    }
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
