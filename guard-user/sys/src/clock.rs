//! The clock that holes end by, and what it is on the calendar.

use guard_common::BootTime;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

/// How far apart two readings may be, in nanoseconds, and the calendar's clock was not set: it is slewed by some hundred in a
/// second (adjtimex(2)).
const STEADY: u64 = 5_000_000;

/// [`Reading::offset`], as it was last read; 0: never.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// Now.
#[must_use]
pub fn now() -> BootTime {
    // Seconds since boot are never negative, and nanoseconds last for 584 years.
    let now = clock_gettime(ClockId::Boottime);
    BootTime(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
}

/// The two clocks, one after the other.
struct Reading {
    boot: BootTime,
    /// From boot to the calendar's epoch, in nanoseconds.
    offset: i64,
    /// How long that took.
    took: u64,
}

impl Reading {
    fn new() -> Self {
        let before = now();
        let calendar = Timestamp::now().as_nanosecond();
        let took = now().0 - before.0;
        let boot = BootTime(before.0 + took / 2);
        // Until the year 2262.
        let offset = i64::try_from(calendar - i128::from(boot.0)).unwrap_or(i64::MAX);
        Self { boot, offset, took }
    }

    /// The quickest of some: a busy machine may do something else in between.
    fn best() -> Self {
        let others = (0..7).map(|_| Self::new());
        others.fold(
            Self::new(),
            |best, one| if one.took < best.took { one } else { best },
        )
    }
}

/// The two clocks read at one moment, to convert between them.
///
/// Read them again for each use: the calendar's clock is set now and then, boot time never is. As long as nobody sets it, a moment is
/// the same one on the calendar each time.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    boot: BootTime,
    calendar: Timestamp,
}

impl Clocks {
    /// Now.
    #[must_use]
    pub fn read() -> Self {
        let one = Reading::new();
        let kept = OFFSET.load(Relaxed);
        let is_steady = kept.abs_diff(one.offset) <= one.took.saturating_add(STEADY);
        let offset = if is_steady {
            kept
        } else {
            Reading::best().offset
        };
        OFFSET.store(offset, Relaxed);
        let calendar = Timestamp::from_nanosecond(i128::from(offset) + i128::from(one.boot.0));
        Self {
            boot: one.boot,
            calendar: calendar.unwrap_or_else(|_| Timestamp::now()),
        }
    }

    /// When they were read.
    #[must_use]
    pub const fn present(&self) -> Timestamp {
        self.calendar
    }

    /// The same in boot time.
    #[must_use]
    pub const fn now(&self) -> BootTime {
        self.boot
    }

    /// When `at` was or will be. What is too far off for a calendar is its first or last moment.
    #[must_use]
    pub fn calendar(&self, at: BootTime) -> Timestamp {
        let away = i128::from(at.0) - i128::from(self.boot.0);
        self.calendar
            .saturating_add(SignedDuration::from_nanos_i128(away))
            .unwrap_or(Timestamp::MAX)
    }

    /// The boot time of `at`. What was before boot is 0.
    #[must_use]
    pub fn boot(&self, at: Timestamp) -> BootTime {
        let away = at.duration_since(self.calendar).as_nanos();
        let nanos = (i128::from(self.boot.0) + away).clamp(0, i128::from(u64::MAX));
        BootTime(nanos as u64)
    }
}

/// The time between two of the kernel's ticks, a jiffy: what its coarse clocks go by (`clock_getres(2)`).
#[must_use]
pub fn tick() -> Duration {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    Duration::from_nanos(u64::try_from(tick.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_grows_and_agrees_with_the_kernel() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let now = now();
        assert!((now.0 as f64 / 1e9 - uptime).abs() < 5.0);
        assert!(super::now() >= now);
    }

    #[test]
    fn a_moment_is_the_same_one_each_time() {
        let at = now();
        let first = Clocks::read().calendar(at);
        assert!((0..1_000).all(|_| Clocks::read().calendar(at) == first));
    }

    #[test]
    fn there_and_back() {
        let clocks = Clocks::read();
        for boot in [clocks.boot.0, clocks.boot.0 + 900_000_000_000, 1] {
            let boot = BootTime(boot);
            assert_eq!(clocks.boot(clocks.calendar(boot)), boot);
        }
        let soon = clocks.calendar(BootTime(clocks.boot.0 + 1_000_000_000));
        assert_eq!(soon.duration_since(clocks.calendar).as_secs(), 1);
    }

    #[test]
    fn what_is_out_of_reach_is_the_nearest_there_is() {
        let clocks = Clocks::read();
        assert_eq!(clocks.boot(Timestamp::MIN), BootTime(0));
        assert!(clocks.calendar(BootTime(u64::MAX)) > clocks.calendar);
    }
}
