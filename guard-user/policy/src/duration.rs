//! Durations as people write them: `90s`, `15m`, `1h30m`.

use std::time::Duration;

use super::invalid::{Invalid, quoted};

/// Units and their length in seconds, longest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// No duration is longer: a year.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Reads `0`, `0s`, `90s`, `15m`, `2h`, `1d` or `1h30m`: whole numbers, each with its unit, the longer
/// unit first. No time at all needs no unit.
///
/// # Errors
/// For anything else, and for more than [`LONGEST`].
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let seconds = sum_of_parts(text).ok_or_else(|| {
        let invalid = Invalid::new(format!("{} is not a duration", quoted(text)));
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && text.len() < 8 {
            invalid.help(format!(
                "a number needs its unit: write `{text}s` or `{text}m`"
            ))
        } else {
            invalid.help("write `90s`, `15m`, `2h`, `1d` or `1h30m`")
        }
    })?;
    match Duration::from_secs(seconds) {
        duration if duration <= LONGEST => Ok(duration),
        _ => Err(Invalid::new(format!("{} is too long", quoted(text)))
            .help("the longest duration is `366d`")),
    }
}

fn sum_of_parts(mut rest: &str) -> Option<u64> {
    if rest == "0" {
        return Some(0);
    }
    let mut units = UNITS.iter();
    let mut sum = 0_u64;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[digits..].chars().next()?;
        let (_, seconds) = units.find(|(name, _)| *name == unit)?;
        // Too large to count is too long, not malformed.
        let count: u64 = match rest[..digits].parse() {
            Ok(count) => count,
            Err(_) if digits > 0 => u64::MAX,
            Err(_) => return None,
        };
        sum = sum.saturating_add(count.saturating_mul(*seconds));
        rest = &rest[digits + unit.len_utf8()..];
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

/// The shortest text that [`parse_duration`] reads as this many whole seconds.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (unit, seconds) in UNITS {
        if rest >= seconds {
            text.push_str(&format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        for (text, seconds) in [
            ("0s", 0),
            ("15m", 900),
            ("1h30m", 5_400),
            ("2d1s", 172_801),
            ("366d", 31_622_400),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
            assert_eq!(format_duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "15", "m", "1.5h", "-1s", "1m1h", "1m1m", "1w", "1s ", "１s", "1µ",
        ] {
            let invalid = parse_duration(text).unwrap_err();
            assert!(invalid.message.ends_with("is not a duration"), "{invalid}");
        }
        for text in ["367d", "99999999999999999999d"] {
            let invalid = parse_duration(text).unwrap_err();
            assert!(invalid.message.ends_with("is too long"), "{invalid}");
        }
    }
}
