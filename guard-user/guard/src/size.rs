//! Numbers of bytes as people write them: `512`, `64KiB`, `10MB`.

/// Units and their sizes in bytes.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Reads a whole number of bytes, of KiB, MiB and GiB, or of kB, MB and GB; upper and lower case are one.
///
/// # Errors
///
/// For anything else, for nothing, and for what is too much to count.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let known = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let each = match (unit.is_empty(), known) {
        (true, _) => 1,
        (false, Some((_, size))) => *size,
        (false, None) => return Err("write 512, 64KiB, 10MB or 1GiB".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write 512, 64KiB, 10MB or 1GiB".to_owned())?;
    match number.checked_mul(each) {
        Some(0) => Err("it must be more than nothing".to_owned()),
        Some(size) if i64::try_from(size).is_ok() => Ok(size),
        _ => Err("it is too much to count".to_owned()),
    }
}

/// Reads how many connections: one at least.
///
/// # Errors
///
/// For anything else.
pub(crate) fn parse_count(text: &str) -> Result<u32, String> {
    count(text, "there is no limit")
}

/// The same of HTTP requests.
///
/// # Errors
///
/// As [`parse_count`].
pub(crate) fn parse_requests(text: &str) -> Result<u32, String> {
    count(text, "a request that waits passes alone")
}

/// The same of the addresses of a burst.
///
/// # Errors
///
/// As [`parse_count`].
pub(crate) fn parse_tried(text: &str) -> Result<u32, String> {
    count(text, "one address is opened alone")
}

fn count(text: &str, otherwise: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("it must be 1 or more".to_owned()),
        Ok(count) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(count),
        _ => Err(format!(
            "write a number such as 1; without this option {otherwise}"
        )),
    }
}

/// The number of a line of a list.
///
/// # Errors
///
/// That it is none.
pub(crate) fn parse_number(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a number of the list, such as 1".to_owned())
}

/// The number of a bundle.
///
/// # Errors
///
/// That it is none.
pub(crate) fn parse_serial(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write a number that is larger than that of the bundle before".to_owned())
}

/// In the largest unit of 1,024 of which there is one, as `1.5 MiB`.
pub(crate) fn shown(size: u64) -> String {
    let unit = UNITS[..3].iter().rev().find(|(_, each)| size >= *each);
    match unit {
        Some((name, each)) => {
            let tenths = u128::from(size) * 10 / u128::from(*each);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{size} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_says_what_holds_without_it() {
        let all = |text| [parse_count(text), parse_requests(text), parse_tried(text)];
        assert_eq!(all("2"), [Ok(2), Ok(2), Ok(2)]);
        for none in ["0", "+2", "-1"] {
            assert!(all(none).iter().all(Result::is_err), "{none}");
        }
        let holds = [
            "no limit",
            "that waits passes alone",
            "one address is opened alone",
        ];
        for (wrong, holds) in all("all").into_iter().zip(holds) {
            assert!(wrong.unwrap_err().contains(holds), "{holds}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, size) in [
            ("1", 1),
            ("64KiB", 65_536),
            ("10 MB", 10_000_000),
            ("1gib", 1 << 30),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for wrong in [
            "",
            "0",
            "KiB",
            "1.5MB",
            "-1",
            "1 TB",
            "99999999999GiB",
            "18446744073709551615",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        let shown = [0, 1023, 1024, 1_572_864, u64::MAX].map(shown);
        assert_eq!(
            shown,
            ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "17179869183.9 GiB"]
        );
    }
}
