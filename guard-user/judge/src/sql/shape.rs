//! A SELECT without its whole numbers: one judgement is for all that differ in nothing else.
//!
//! Programs that put numbers into their texts send a new text each time. Nothing in the judge looks at a number in a SELECT;
//! PostgreSQL's grammar refuses one or the other (`float(99)`), and so does a server. So that this needs no
//! parser, a shape is given only to texts of few characters: without quotes, comments and dollars a digit means what it
//! says.

/// Digits of a number that is an `int4` whatever they are.
const MAX_DIGITS: usize = 9;

/// What stands for a number: no text has it, as a zero byte ends one.
const NUMBER: u8 = 0;

/// The shape of a text, if it may have one.
pub fn shape(text: &[u8]) -> Option<Vec<u8>> {
    let select = text.first_chunk::<7>()?;
    if !select.eq_ignore_ascii_case(b"select ") {
        return None;
    }
    let mut shape = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let rest = &text[at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let before = at.checked_sub(1).map_or(b' ', |before| text[before]);
        if is_number(before, digits, rest.get(digits)) {
            shape.push(NUMBER);
            at += digits;
            continue;
        }
        match byte {
            b'-' if before == b'-' => return None,
            b';' if rest.len() > 1 => return None,
            b' ' | b'\t' | b'\n' | b'_' | b'.' | b',' | b'(' | b')' | b'=' | b'<' | b'>' | b'*'
            | b'+' | b'-' | b';' => {}
            byte if byte.is_ascii_alphanumeric() => {}
            _ => return None,
        }
        // Digits that are a part of something else stay, all of them: none of those after the first begins a number.
        let taken = digits.max(1);
        shape.extend_from_slice(&rest[..taken]);
        at += taken;
    }
    Some(shape)
}

/// Whether digits are a whole number by what stands around them.
fn is_number(before: u8, digits: usize, after: Option<&u8>) -> bool {
    (1..=MAX_DIGITS).contains(&digits)
        && b" \t\n=<>(,+-*".contains(&before)
        && after.is_none_or(|after| b" \t\n,);".contains(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        let shape = shape(text.as_bytes())?;
        Some(String::from_utf8(shape).unwrap().replace('\0', "?"))
    }

    #[test]
    fn numbers_are_left_out() {
        for (text, expected) in [
            (
                "SELECT abalance FROM a WHERE aid = 12345;",
                "SELECT abalance FROM a WHERE aid = ?;",
            ),
            (
                "select a1, 2 from t2 where (b>3 and c in (4,5)) limit 10",
                "select a1, ? from t2 where (b>? and c in (?,?)) limit ?",
            ),
            (
                "select 1.5, 1e5, 0x1f, 1_0, 3 ",
                "select 1.5, 1e5, 0x1f, 1_0, ? ",
            ),
            ("select 123456789, 1234567890", "select ?, 1234567890"),
            ("select a -1, -2", "select a -?, -?"),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_may_hide_something_has_none() {
        for text in [
            "set a = 1",
            "selects 1",
            "select 1; set a = 1",
            "select 1;;",
            "select '1'",
            "select \"1\"",
            "select $1",
            "select $$ 1 $$",
            "select 1 -- 2",
            "select 1 /* 2 */",
            "select E\\1",
            "select é, 1",
            "select 1\r",
            "select\n1",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
