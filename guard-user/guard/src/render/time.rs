//! Times and durations as people say them.

use std::env;
use std::ffi::OsStr;
use std::fs;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The moment and the time zone that relative and absolute times are shown for.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// What "ago" and "in" count from.
    pub(crate) now: Timestamp,
    /// Where the reader is.
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// Now, here.
    pub(crate) fn system() -> Self {
        Self {
            now: Timestamp::now(),
            zone: zone(),
        }
    }

    /// "3 s ago"
    pub(crate) fn ago(&self, then: Timestamp) -> String {
        match self.seconds_until(then) {
            0.. => "just now".into(),
            past => format!("{} ago", duration(past.unsigned_abs())),
        }
    }

    /// "in 14 min"
    pub(crate) fn until(&self, then: Timestamp) -> String {
        match self.seconds_until(then) {
            ..=0 => "now".into(),
            future => format!("in {}", duration(future.unsigned_abs())),
        }
    }

    /// "2026-11-20 14:03:22"
    pub(crate) fn at(&self, then: Timestamp) -> String {
        then.to_zoned(self.zone.clone())
            .strftime("%F %T")
            .to_string()
    }

    /// Rounded, so that a hole of 15 min is one of 15 min in the moment after it was opened.
    fn seconds_until(&self, then: Timestamp) -> i64 {
        let span = then.duration_since(self.now);
        span.as_secs() + i64::from(span.subsec_millis() / 500)
    }
}

/// Files of time zones are smaller, in bytes.
const LARGEST_ZONE: u64 = 64 * 1024;

/// Returns the system's time zone, or UTC where `TZ` names what is no regular file, or a large one: such a file may never end.
pub(crate) fn zone() -> TimeZone {
    zone_of(env::var_os("TZ").as_deref())
}

fn zone_of(variable: Option<&OsStr>) -> TimeZone {
    let path = variable.and_then(OsStr::to_str).unwrap_or_default();
    let about = fs::metadata(path.trim_start_matches(':'));
    if about.is_ok_and(|about| !about.is_file() || about.len() > LARGEST_ZONE) {
        TimeZone::UTC
    } else {
        TimeZone::system()
    }
}

/// "59 s", "1 min 30 s", "15 min", "2 h 5 min", "3 d 4 h": the two largest units of `seconds` at most, rounded down.
pub(crate) fn duration(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..120 => pair(1, "min", seconds % MINUTE, "s"),
        120..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => pair(seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        DAY.. => pair(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    }
}

fn pair(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        return format!("{large} {large_unit}");
    }
    format!("{large} {large_unit} {small} {small_unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let said: Vec<_> = [
            0, 1, 59, 60, 61, 119, 120, 150, 899, 900, 3599, 3600, 5400, 86400, 90000,
        ]
        .map(duration)
        .into();
        insta::assert_snapshot!(said.join(", "), @"0 s, 1 s, 59 s, 1 min, 1 min 1 s, 1 min 59 s, 2 min, 2 min, 14 min, 15 min, 59 min, 1 h, 1 h 30 min, 1 d, 1 d 1 h");
    }

    #[test]
    fn an_endless_file_is_no_zone() {
        for endless in [
            "/dev/zero",
            ":/dev/zero",
            "../../../../../../../../dev/zero",
            "/",
        ] {
            assert_eq!(zone_of(Some(endless.as_ref())), TimeZone::UTC, "{endless}");
        }
        assert_eq!(zone_of(None), TimeZone::system());
    }

    #[test]
    fn times_are_relative() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let clock = Clock {
            now,
            zone: TimeZone::UTC,
        };
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(clock.ago(at("2026-11-20T11:59:57Z")), "3 s ago");
        assert_eq!(clock.ago(at("2026-11-20T12:00:05Z")), "just now");
        assert_eq!(clock.until(at("2026-11-20T12:14:59.9Z")), "in 15 min");
        assert_eq!(clock.until(at("2026-11-20T12:14:58Z")), "in 14 min");
        assert_eq!(clock.until(at("2026-11-20T11:00:00Z")), "now");
        assert_eq!(clock.at(at("2026-11-20T11:00:00Z")), "2026-11-20 11:00:00");
    }
}
