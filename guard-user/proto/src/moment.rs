//! Times as everything here writes them: RFC 3339 in UTC, to the millisecond, always of one length.

use jiff::Timestamp;
use serde::Serializer;

/// As text.
#[must_use]
pub fn text(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// For `serialize_with`.
pub(super) fn write<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

/// For `serialize_with`, where there may be none.
///
/// # Errors
///
/// What the serializer says.
pub fn write_some<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => write(time, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_one_length() {
        for (given, written) in [
            ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00.000Z"),
            ("2026-11-20T12:00:00.4367981Z", "2026-11-20T12:00:00.436Z"),
        ] {
            assert_eq!(text(given.parse().unwrap()), written);
        }
    }
}
