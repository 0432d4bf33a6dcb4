//! How long, and since when, as people type it. Policies are stricter: see [`parse_duration`].

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, ToSpan as _, Zoned};

use guard_policy::{LONGEST, format_duration, parse_duration};

use crate::render::time::zone;

/// How long: `15m` as policies have it, and `15min`, `90 seconds`, `1.5h` or `2 weeks` besides.
///
/// # Errors
///
/// For what is none, with one that was probably meant; for more than a year.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let strict = match parse_duration(text.trim()) {
        Ok(duration) => return Ok(duration),
        Err(invalid) => invalid.to_string(),
    };
    let text = text.trim();
    let Some(friendly) = friendly(text) else {
        return Err(meant(text).unwrap_or(strict));
    };
    let duration = Duration::try_from(friendly)
        .map_err(|_| format!("it lies in the past: write {}", shown(friendly.abs())))?;
    if duration > LONGEST {
        let longest = format_duration(LONGEST);
        return Err(format!(
            "`{text}` is too long: the longest duration is `{longest}`"
        ));
    }
    match duration.subsec_nanos() {
        0 => Ok(duration),
        _ => Err("write whole seconds".to_owned()),
    }
}

/// How long something holds: longer than not at all.
///
/// # Errors
///
/// As [`duration`].
pub(super) fn lasting(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it would end at once: write `15m`".to_owned()),
        longer => Ok(longer),
    }
}

/// Since when, as the time that has passed since then: a duration, `yesterday`, a date, a time of today, or both.
///
/// # Errors
///
/// For what is none of them, and for what is to come.
pub(super) fn since(text: &str) -> Result<Duration, String> {
    before(text, &Timestamp::now().to_zoned(zone()))
}

fn before(text: &str, now: &Zoned) -> Result<Duration, String> {
    let text = text.trim();
    let Some(then) = moment(text, now) else {
        // Takes it with or without "ago" at its end.
        return match friendly(text) {
            Some(ago) if ago.is_negative() => Ok(ago.unsigned_abs()),
            _ => duration(text).map_err(|why| not_a_time(text, &why, now)),
        };
    };
    let passed = now.timestamp().duration_since(then);
    Duration::try_from(passed).map_err(|_| "that is still to come".to_owned())
}

/// What to write instead: where it looks like a time or a date, that.
fn not_a_time(text: &str, why: &str, now: &Zoned) -> String {
    let today = now.date();
    let is_digit = |c: char| c.is_ascii_digit();
    if text.contains(':') && text.starts_with(is_digit) {
        return format!("`{text}` is no time of a day: write one like `14:30`, or `{today} 14:30`");
    }
    if text.matches('-').count() == 2 && text.starts_with(is_digit) {
        return format!("`{text}` is no day: write a date like `{today}`");
    }
    format!("{why}; or `yesterday`, a time like `14:30`, or a date like `{today}`")
}

fn moment(text: &str, now: &Zoned) -> Option<Timestamp> {
    let zone = now.time_zone();
    let date = match text {
        "today" => Some(now.date()),
        "yesterday" => Some(now.date().checked_sub(1.day()).ok()?),
        _ => None,
    };
    let civil = date.map(DateTime::from).or_else(|| text.parse().ok());
    let civil = civil.or_else(|| Some(text.parse::<Date>().ok()?.into()));
    // A number alone would be an hour.
    let time = || text.contains(':').then(|| text.parse::<Time>().ok())?;
    let civil = civil.or_else(|| Some(now.date().to_datetime(time()?)));
    // One that names its offset is meant as it stands.
    let exact = text.parse::<Timestamp>().ok();
    exact.or_else(|| Some(civil?.to_zoned(zone.clone()).ok()?.timestamp()))
}

fn friendly(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// What a duration that is none was probably meant to be.
fn meant(text: &str) -> Option<String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        return Some(format!(
            "a number needs its unit: write `{text}m` for minutes, `{text}s` for seconds"
        ));
    }
    let small = text.to_lowercase();
    friendly(&small).map(|one| format!("write {}", shown(one.abs())))
}

fn shown(duration: SignedDuration) -> String {
    format!("`{}`", format_duration(duration.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_a_duration() {
        for (text, seconds) in [
            ("15m", 900),
            ("15min", 900),
            ("15 minutes", 900),
            (" 90 s ", 90),
            ("1.5h", 5_400),
            ("1h 30m", 5_400),
            ("2 weeks", 1_209_600),
            ("PT15M", 900),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_told_what_to_write() {
        for (text, said) in [
            (
                "15",
                "a number needs its unit: write `15m` for minutes, `15s` for seconds",
            ),
            ("15M", "write `15m`"),
            ("-15m", "it lies in the past: write `15m`"),
            ("0.5s", "write whole seconds"),
            (
                "2 years",
                "`2 years` is not a duration: write `90s`, `15m`, `2h`, `1d` or `1h30m`",
            ),
            (
                "60 weeks",
                "`60 weeks` is too long: the longest duration is `366d`",
            ),
            (
                "forever",
                "`forever` is not a duration: write `90s`, `15m`, `2h`, `1d` or `1h30m`",
            ),
        ] {
            assert_eq!(duration(text).unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn what_holds_does_so_for_some_time() {
        assert_eq!(lasting("1s"), Ok(Duration::from_secs(1)));
        for nothing in ["0", "0s"] {
            assert_eq!(duration(nothing), Ok(Duration::ZERO));
            assert!(lasting(nothing).unwrap_err().contains("`15m`"));
        }
    }

    #[test]
    fn since_takes_days_and_times_too() {
        let now: Zoned = "2026-11-24T16:30:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, passed) in [
            ("2h", "2h"),
            ("2h ago", "2h"),
            ("today", "16h30m"),
            ("yesterday", "1d16h30m"),
            ("2026-11-22", "2d16h30m"),
            ("14:30", "2h"),
            ("2026-11-24 15:00", "1h30m"),
            ("2026-11-24T15:00:00Z", "30m"),
        ] {
            let since = before(text, &now).map(format_duration);
            assert_eq!(since.as_deref(), Ok(passed), "{text}");
        }
        for (text, said) in [
            ("23:59", "that is still to come"),
            ("15", "write `15m`"),
            ("last week", "`yesterday`"),
            (
                "25:00",
                "`25:00` is no time of a day: write one like `14:30`",
            ),
            ("2026-13-01", "is no day: write a date like `2026-11-24`"),
            ("24.12.2026", "or a date like `2026-11-24`"),
        ] {
            let why = before(text, &now).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
