//! The audit log's last day, as guardd has it of those for whom somebody answers.
//!
//! It is read once, and then what has come since: a log may have a hundred megabytes, and those who look are many.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use guard_proto::{Call, Flow, LogKind, LogRecord, central::Hour, flows::FirstReached};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::{sync::Mutex, task::spawn_local, time::timeout};

use crate::{Guardd, Refusal};

/// Hours that are counted.
pub const HOURS: usize = 24;
/// How long what was read is believed, for many who look at once.
pub const FRESH: Duration = Duration::from_secs(2);
/// How much is read.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// When it is read from its beginning again: what a clock that was set has hidden is seen then.
const WHOLE: Duration = Duration::from_secs(3600);
/// What is read twice, so that nothing is left out between two readings; and by how much clocks may differ.
const OVERLAP: Duration = Duration::from_secs(2);
const DRIFT: SignedDuration = SignedDuration::from_secs(1);

/// What happened in each hour of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    /// The oldest first; the last is that of `until`.
    hours: [Hour; HOURS],
    /// The number of the last one; none: nothing is in them yet.
    until: Option<i64>,
}

fn number_of_hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600)
}

impl Hours {
    /// The same hours, with this one as the last.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> [Hour; HOURS] {
        let mut hours = self.hours;
        let now = number_of_hour(now);
        let over = now.saturating_sub(self.until.unwrap_or(now));
        let over = usize::try_from(over).unwrap_or(0).min(HOURS);
        hours.rotate_left(over);
        hours[HOURS - over..].fill(Hour::default());
        hours
    }

    /// The same, with what was first reached in each.
    #[must_use]
    pub fn with_flows(&self, flows: &[Flow], now: Timestamp) -> [Hour; HOURS] {
        self.with_reached(flows.iter().map(|flow| (flow.first_at, 1)), now)
    }

    /// The same, of flows that guardd has counted.
    #[must_use]
    pub fn with_counts(&self, counts: &[FirstReached], now: Timestamp) -> [Hour; HOURS] {
        self.with_reached(counts.iter().map(|one| (one.hour, one.flows)), now)
    }

    fn with_reached(
        &self,
        reached: impl Iterator<Item = (Timestamp, u64)>,
        now: Timestamp,
    ) -> [Hour; HOURS] {
        let mut counted = self.clone();
        counted.turn(now);
        for (at, count) in reached {
            if let Some(hour) = counted.hour(at, now) {
                hour.reached += count;
            }
        }
        counted.hours
    }

    /// Time goes on.
    pub fn turn(&mut self, now: Timestamp) {
        self.hours = self.until(now);
        self.until = Some(number_of_hour(now));
    }

    /// Counts a record, if it says that something was asked, or stopped.
    pub fn count(&mut self, record: &LogRecord, now: Timestamp) {
        self.turn(now);
        if let Some(hour) = self.hour(record.at, now) {
            match record.kind {
                LogKind::Request => hour.asked += 1,
                LogKind::Denied => hour.stopped += 1,
                _ => {}
            }
        }
    }

    /// Adds what others have counted.
    pub fn add(&mut self, other: &Self, now: Timestamp) {
        self.turn(now);
        for (hour, more) in self.hours.iter_mut().zip(other.until(now)) {
            hour.reached += more.reached;
            hour.asked += more.asked;
            hour.stopped += more.stopped;
        }
    }

    /// The hour in which something was.
    fn hour(&mut self, at: Timestamp, now: Timestamp) -> Option<&mut Hour> {
        let ago = usize::try_from(number_of_hour(now) - number_of_hour(at)).ok()?;
        let index = (HOURS - 1).checked_sub(ago)?;
        self.hours.get_mut(index)
    }
}

/// What somebody makes of a day's records.
pub trait DayOfLog: Clone + 'static {
    /// Time goes on: what is older than a day counts no more.
    fn turn(&mut self, now: Timestamp);

    /// One more record.
    fn add(&mut self, record: LogRecord, now: Timestamp);
}

/// What was read by a time.
#[derive(Clone, Debug)]
struct ReadDay<D> {
    /// That time, by both clocks.
    at: Instant,
    wall: Timestamp,
    /// When it was read from its beginning.
    whole: Instant,
    /// The number of the last record, and the latest time of one.
    last: Option<(u64, Timestamp)>,
    day: Rc<D>,
}

impl<D: DayOfLog> ReadDay<D> {
    /// From now on what has come since then, or all of it, into an empty one; and how much of the log that is.
    fn begin(before: Option<Self>, empty: &D) -> (Self, Duration) {
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
                    day: Rc::new(empty.clone()),
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
    fn add(&mut self, record: LogRecord, before: Option<(u64, Timestamp)>) {
        let number = record.fields.get("number").and_then(Value::as_u64);
        let number = number.unwrap_or_default();
        // In another log than before the numbers begin again, and the times do not.
        if before.is_some_and(|(last, latest)| number <= last && record.at <= latest) {
            return;
        }
        let latest = self.last.map_or(record.at, |(_, at)| at.max(record.at));
        self.last = Some((number, latest));
        Rc::make_mut(&mut self.day).add(record, self.wall);
    }
}

/// The last day, as it was last read.
#[derive(Debug)]
pub struct LastDay<D> {
    /// What a reading from the log's beginning begins with.
    empty: D,
    /// One reads at a time.
    turn: Mutex<()>,
    read: RefCell<Option<ReadDay<D>>>,
}

/// What there is of the last day at once.
#[derive(Debug)]
pub enum Glance<D> {
    /// All of it.
    Day(Rc<D>),
    /// It is long, and still read; as it was at a time before, if that is known.
    Late(Option<(Rc<D>, Timestamp)>),
    /// guardd tells nothing.
    None,
}

impl<D: DayOfLog> LastDay<D> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(empty: D) -> Self {
        Self {
            empty,
            turn: Mutex::default(),
            read: RefCell::default(),
        }
    }

    /// The day as it was so long ago at most. Those who ask meanwhile wait for the same.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub async fn day(&self, guardd: &Guardd, age: Duration) -> Result<Rc<D>, Refusal> {
        let _turn = self.turn.lock().await;
        let before = self.read.borrow().clone();
        if let Some(read) = before.as_ref().filter(|read| read.at.elapsed() < age) {
            return Ok(Rc::clone(&read.day));
        }
        let (mut read, some) = ReadDay::begin(before, &self.empty);
        let last = read.last;
        let call = Call::Log {
            follow: false,
            session: None,
            since: Some(some.as_secs_f64()),
        };
        let mut answers = guardd.stream::<LogRecord>(&call).await?;
        while let Some(record) = answers.next().await? {
            read.add(record, last);
        }
        let day = Rc::clone(&read.day);
        *self.read.borrow_mut() = Some(read);
        Ok(day)
    }

    /// The same, as far as it is there within that time. What takes longer is read on, for whoever looks next: inside of a `LocalSet`.
    pub async fn glance(self: &Rc<Self>, guardd: &Guardd, limit: Duration) -> Glance<D> {
        let (reading, guardd) = (Rc::clone(self), guardd.clone());
        let read = spawn_local(async move { reading.day(&guardd, FRESH).await });
        match timeout(limit, read).await {
            Ok(Ok(Ok(day))) => Glance::Day(day),
            Ok(_) => Glance::None,
            Err(_) => {
                let read = self.read.borrow();
                let read = read.as_ref();
                Glance::Late(read.map(|read| (Rc::clone(&read.day), read.wall)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use guard_proto::record::{Common, Record, Request};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Counted(Hours);

    impl DayOfLog for Counted {
        fn turn(&mut self, now: Timestamp) {
            self.0.turn(now);
        }

        fn add(&mut self, record: LogRecord, now: Timestamp) {
            self.0.count(&record, now);
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn record(time: &str) -> LogRecord {
        let request = Record::from(Request::default());
        LogRecord::new(at(time), None, &Common::default(), &request)
    }

    fn asked(hours: &[Hour; HOURS]) -> u64 {
        hours.iter().map(|hour| hour.asked).sum()
    }

    #[test]
    fn each_hour_has_what_happened_in_it() {
        let now = at("2026-11-25T12:30:00Z");
        let mut hours = Hours::default();
        for time in [
            "2026-11-25T12:00:00Z",
            "2026-11-25T11:59:59Z",
            "2026-11-24T13:00:00Z",
            "2026-11-24T12:59:59Z",
            "2026-11-25T13:00:00Z",
        ] {
            hours.count(&record(time), now);
        }
        let each = hours.until(now);
        assert_eq!((each[23].asked, each[22].asked, each[0].asked), (1, 1, 1));
        assert_eq!(
            asked(&each),
            3,
            "what is older, or from the future, is in no hour"
        );
    }

    #[test]
    fn hours_pass() {
        let mut hours = Hours::default();
        hours.turn(at("2026-11-25T12:30:00Z"));
        hours.count(&record("2026-11-25T12:00:00Z"), at("2026-11-25T12:30:00Z"));
        for (now, index) in [
            ("2026-11-25T12:59:00Z", 23),
            ("2026-11-25T13:00:00Z", 22),
            ("2026-11-26T11:00:00Z", 0),
        ] {
            let each = hours.until(at(now));
            assert_eq!(each[index].asked, 1, "{now}");
            assert_eq!(asked(&each), 1);
        }
        hours.turn(at("2026-11-26T11:59:00Z"));
        assert_eq!(hours.hours[0].asked, 1);
        hours.turn(at("2026-11-26T12:30:00Z"));
        assert_eq!(asked(&hours.hours), 0);
        hours.turn(at("2027-11-26T12:30:00Z"));
    }

    #[test]
    fn the_hours_of_two_are_added_hour_by_hour() {
        let (before, now) = (at("2026-11-25T11:30:00Z"), at("2026-11-25T12:30:00Z"));
        let [mut one, mut other] = [Hours::default(), Hours::default()];
        one.count(&record("2026-11-25T11:10:00Z"), before);
        other.count(&record("2026-11-25T12:10:00Z"), now);
        one.add(&other, now);
        let each = one.until(now);
        assert_eq!((each[22].asked, each[23].asked), (1, 1));
        assert_eq!(asked(&each), 2);
    }

    #[test]
    fn what_guardd_has_counted_is_in_the_hours_in_which_it_was() {
        let now = at("2026-11-25T12:30:00Z");
        let counts = [
            ("2026-11-24T12:00:00Z", 1),
            ("2026-11-24T13:00:00Z", 2),
            ("2026-11-25T12:00:00Z", 4),
            ("2026-11-25T13:00:00Z", 8),
        ];
        let counts = counts.map(|(hour, flows)| FirstReached {
            hour: at(hour),
            flows,
        });
        let each = Hours::default().with_counts(&counts, now);
        assert_eq!((each[0].reached, each[23].reached), (2, 4));
        let all: u64 = each.iter().map(|hour| hour.reached).sum();
        assert_eq!(all, 6, "what is older, or from the future, is in no hour");
    }

    #[test]
    fn a_clock_that_was_set_has_all_of_it_read_again() {
        let (read, _) = ReadDay::begin(None, &Counted::default());
        let at = |seconds: u64| read.at + Duration::from_secs(seconds);
        let wall = |seconds: i64| read.wall + SignedDuration::from_secs(seconds);
        assert!(read.goes_on(at(5), wall(5)));
        assert!(!read.goes_on(at(5), wall(60)) && !read.goes_on(at(5), wall(-60)));
        assert!(!read.goes_on(at(3600), wall(3600)));
    }
}
