//! Durations as options take them.

use std::str::FromStr;

/// A duration in seconds, as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(pub f64);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return Err("write a number and a unit, such as 90s, 15m, 1h or 2d".into()),
        };
        let number: u32 = digits
            .parse()
            .map_err(|_| "write a whole number and a unit, such as 15m".to_owned())?;
        Ok(Self(f64::from(number) * f64::from(unit)))
    }
}
