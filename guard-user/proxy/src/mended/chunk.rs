//! Sizes of chunks, RFC 9112 7.1.

use super::{super::sieve::LONGEST, lines::content};

/// The size of a chunk, by its line. What follows the digits is left out: blanks, and extensions (RFC 9112 7.1.1), which
/// are for the next recipient alone.
pub(super) fn size(line: &[u8]) -> Option<u64> {
    let line = content(line);
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, rest) = line.split_at(digits.count());
    let size = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    let right = matches!(rest, [] | [b' ' | b'\t' | b';', ..]) && size <= LONGEST;
    right.then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_the_digits_whatever_follows_them() {
        for (line, expected) in [
            (&b"5\r\n"[..], Some(5)),
            (b"1F\n", Some(31)),
            (b"0005  \r\n", Some(5)),
            (b"5;a=b;c=\"d\"\r\n", Some(5)),
            (b"5 ; a\r\n", Some(5)),
            (b"7fffffffffffffff\r\n", Some(LONGEST)),
            (b"8000000000000000\r\n", None),
            (b"10000000000000000\r\n", None),
            (b"\r\n", None),
            (b" 5\r\n", None),
            (b"+5\r\n", None),
            (b"5x\r\n", None),
            (b"0x5\r\n", None),
        ] {
            assert_eq!(size(line), expected, "{}", line.escape_ascii());
        }
    }
}
