//! The clock that holes end by, and what it is on the calendar.

use guard_common::BootTime;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::time::Duration;

/// Now.
#[must_use]
pub fn now() -> BootTime {
    // Seconds since boot are never negative, and nanoseconds last for 584 years.
    let now = clock_gettime(ClockId::Boottime);
    BootTime(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
}

/// The two clocks read at one moment, to convert between them.
///
/// Read them anew for each use: the calendar's clock is set now and then, boot time never is.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    boot: BootTime,
    calendar: Timestamp,
}

impl Clocks {
    /// Now.
    #[must_use]
    pub fn read() -> Self {
        Self {
            boot: now(),
            calendar: Timestamp::now(),
        }
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
