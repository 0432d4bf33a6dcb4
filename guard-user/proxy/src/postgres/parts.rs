//! The messages of a batch that say what to do.

use std::{fmt::Write as _, io};

use bytes::Bytes;

use super::{
    frame::{Fields, invalid},
    ledger::{NamedObject, Parameters},
    refusal::OWN,
};

/// Bytes of parameters that a person is shown, and below of each.
const MAX_SHOWN: usize = 1024;
const MAX_PARAMETER: usize = 128;

/// A message of a batch.
#[derive(Debug)]
pub(super) enum Part {
    /// Names a text.
    Parse {
        name: Bytes,
        text: Bytes,
        /// The types of its parameters, as they were sent.
        types: Bytes,
    },
    /// Names a statement with its parameters.
    Bind {
        portal: Bytes,
        statement: Bytes,
        parameters: Parameters,
        /// All behind the names, as it was sent.
        values: Bytes,
        /// Of that the formats and the values.
        bind: Bytes,
    },
    /// Executes a portal.
    Execute { portal: Bytes },
    /// Releases a name.
    Close(NamedObject, Bytes),
    /// Asks what a name stands for.
    Describe(NamedObject, Bytes),
}

impl Part {
    /// Whether it takes a free name: the empty name stands for one thing at a time.
    pub(super) fn gives_a_name(&self) -> bool {
        match self {
            Self::Parse { name, .. } => !name.is_empty(),
            Self::Bind { portal, .. } => !portal.is_empty(),
            _ => false,
        }
    }

    /// Parses a message.
    ///
    /// # Errors
    ///
    /// If it is not as the protocol requires.
    pub(super) fn of(tag: u8, message: &Bytes) -> io::Result<Self> {
        let mut fields = Fields::of(message);
        let part = match tag {
            b'P' => parse(&mut fields)?,
            b'B' => bind(&mut fields)?,
            b'E' => {
                let portal = name(&mut fields)?;
                fields.number()?;
                Self::Execute { portal }
            }
            b'C' => {
                let named = named(&mut fields)?;
                Self::Close(named, name(&mut fields)?)
            }
            b'D' => {
                let named = named(&mut fields)?;
                Self::Describe(named, name(&mut fields)?)
            }
            _ => return Err(invalid("a message is of a kind that is not known")),
        };
        fields.end()?;
        Ok(part)
    }
}

/// Bytes of a name that a server uses (`NAMEDATALEN`, less one).
pub(super) const MAX_NAME: usize = 63;

/// Whether a name is the same to a server as here: servers cut longer ones, and have other characters in an encoding of their
/// own.
pub(super) fn is_plain(name: &[u8]) -> bool {
    name.len() <= MAX_NAME && name.is_ascii()
}

fn name(fields: &mut Fields) -> io::Result<Bytes> {
    let name = fields.string()?;
    match is_plain(&name) {
        _ if name[..] == *OWN.as_bytes() => Err(invalid("a name is the guard's own")),
        // A slice keeps the whole buffer, and names are kept for long.
        true => Ok(Bytes::copy_from_slice(&name)),
        false => Err(invalid(
            "a name is longer than 63 bytes, or not in ASCII: the server may take it for another",
        )),
    }
}

fn parse(fields: &mut Fields) -> io::Result<Part> {
    let (name, text) = (name(fields)?, fields.string()?);
    let types = fields.rest();
    for _ in 0..fields.count()? {
        fields.number()?;
    }
    Ok(Part::Parse { name, text, types })
}

fn bind(fields: &mut Fields) -> io::Result<Part> {
    let (portal, statement) = (name(fields)?, name(fields)?);
    let values = fields.rest();
    let mut formats = Vec::new();
    for _ in 0..fields.count()? {
        formats.push(fields.count()?);
    }
    let (mut parameters, mut is_cut) = (String::new(), false);
    let mut more = 0;
    for at in 0..fields.count()? {
        let length = fields.number()?;
        let value = match usize::try_from(length) {
            Ok(length) => Some(fields.bytes(length)?),
            Err(_) if length == -1 => None,
            Err(_) => return Err(invalid("a parameter has a length that is none")),
        };
        let format = formats
            .get(at)
            .or(formats.first().filter(|_| formats.len() == 1));
        if parameters.len() >= MAX_SHOWN {
            more += 1;
        } else {
            let shown = shown(value.as_ref(), format.copied().unwrap_or(0));
            is_cut |= !shown.is_whole;
            let comma = if at == 0 { "" } else { ", " };
            parameters.push_str(&format!("{comma}${} = {}", at + 1, shown.text));
        }
    }
    if more > 0 {
        parameters.push_str(&format!(" and {more} more"));
    }
    let bind = values.slice(..values.len() - fields.rest().len());
    for _ in 0..fields.count()? {
        fields.count()?;
    }
    Ok(Part::Bind {
        portal,
        statement,
        parameters: Parameters {
            shown: parameters.into(),
            is_cut: is_cut || more > 0,
        },
        values,
        bind,
    })
}

/// What a person is shown.
#[derive(Debug)]
pub(super) struct ShownText {
    pub(super) text: String,
    /// Whether nothing was cut off.
    pub(super) is_whole: bool,
}

/// A parameter, for a person. In binary its meaning depends on its type, which only the server knows: a text has the same bytes
/// either way.
fn shown(value: Option<&Bytes>, format: usize) -> ShownText {
    let Some(value) = value else {
        return ShownText {
            text: "NULL".to_owned(),
            is_whole: true,
        };
    };
    let is_printable = |text: &&str| format == 0 || !text.contains(char::is_control);
    let text = std::str::from_utf8(value).ok().filter(is_printable);
    let mut shown = match text {
        Some(text) => {
            let cut = &text[..text.floor_char_boundary(MAX_PARAMETER)];
            let more = if cut.len() < text.len() { "…" } else { "" };
            // Escaped, so that nothing in it looks like the next parameter.
            ShownText {
                text: format!("'{}{more}'", cut.escape_debug()),
                is_whole: more.is_empty(),
            }
        }
        None => in_digits(value),
    };
    if format != 0 {
        shown.text.push_str(" in binary");
        if let Some(number) = whole_number(value) {
            let _ = write!(shown.text, " ({number}, if it is a whole number)");
        }
    }
    shown
}

fn in_digits(value: &[u8]) -> ShownText {
    let mut text = "0x".to_owned();
    for byte in value.iter().take(MAX_PARAMETER / 2) {
        let _ = write!(text, "{byte:02x}");
    }
    let is_whole = value.len() <= MAX_PARAMETER / 2;
    if !is_whole {
        text.push('…');
    }
    ShownText { text, is_whole }
}

/// As `int2`, `int4` and `int8` are sent in binary.
fn whole_number(value: &[u8]) -> Option<i64> {
    match value {
        [a, b] => Some(i16::from_be_bytes([*a, *b]).into()),
        [a, b, c, d] => Some(i32::from_be_bytes([*a, *b, *c, *d]).into()),
        eight => eight.try_into().ok().map(i64::from_be_bytes),
    }
}

fn named(fields: &mut Fields) -> io::Result<NamedObject> {
    match fields.byte()? {
        b'S' => Ok(NamedObject::Statement),
        b'P' => Ok(NamedObject::Portal),
        _ => Err(invalid("a name is for neither a statement nor a portal")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::refusal::message, *};

    proptest! {
        #[test]
        fn any_bytes_are_a_part_or_none(tag in prop::sample::select(b"PBECDx".to_vec()), body: Vec<u8>) {
            // Both a server and this read each to its end.
            let _ = Part::of(tag, &message(tag, &body));
        }
    }

    fn bound(body: &[u8]) -> io::Result<String> {
        match Part::of(b'B', &message(b'B', body))? {
            Part::Bind { parameters, .. } => Ok(parameters.shown.to_string()),
            part => panic!("{part:?}"),
        }
    }

    /// One parameter in that format.
    fn one(format: u8, value: &[u8]) -> Parameters {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        let body = [&[0, 0, 0, 1, 0, format, 0, 1], &length[..], value, &[0, 0]].concat();
        match Part::of(b'B', &message(b'B', &body)).unwrap() {
            Part::Bind { parameters, .. } => parameters,
            part => panic!("{part:?}"),
        }
    }

    #[test]
    fn parameters_are_shown_as_they_are_meant() {
        let two = b"\0\0\0\x01\0\0\0\x03\0\0\0\x02hi\xff\xff\xff\xff\0\0\0\x01\xff\0\0";
        assert_eq!(bound(two).unwrap(), "$1 = 'hi', $2 = NULL, $3 = 0xff");
        for (format, value, shown) in [
            (0, &b"a'b\n"[..], r"'a\'b\n'"),
            (
                1,
                b"hi there",
                "'hi there' in binary (7523580336838898277, if it is a whole number)",
            ),
            (1, b"hello", "'hello' in binary"),
            (
                1,
                b"\0\0\0\x07",
                "0x00000007 in binary (7, if it is a whole number)",
            ),
            (
                1,
                b"\xff\xfe",
                "0xfffe in binary (-2, if it is a whole number)",
            ),
            (
                1,
                b"\0\0\0\x01\0\0\0\0",
                "0x0000000100000000 in binary (4294967296, if it is a whole number)",
            ),
            (1, b"", "'' in binary"),
            (1, b"\x01", "0x01 in binary"),
        ] {
            let told = one(format, value);
            assert_eq!(
                (&*told.shown, told.is_cut),
                (&*format!("$1 = {shown}"), false)
            );
        }
    }

    #[test]
    fn what_is_not_shown_of_parameters_is_said() {
        for (format, byte, length, is_cut) in [
            (0, b'x', MAX_PARAMETER, false),
            (0, b'x', MAX_PARAMETER + 1, true),
            (1, b'x', MAX_PARAMETER + 1, true),
            (1, 0xff, MAX_PARAMETER / 2, false),
            (1, 0xff, MAX_PARAMETER / 2 + 1, true),
        ] {
            assert_eq!(one(format, &vec![byte; length]).is_cut, is_cut, "{length}");
        }
        let mut many = b"\0\0\0\0\x01\0".to_vec();
        for _ in 0..256 {
            many.extend(b"\0\0\0\x08abcdefgh");
        }
        many.extend(b"\0\0");
        match Part::of(b'B', &message(b'B', &many)).unwrap() {
            Part::Bind { parameters, .. } => assert!(parameters.is_cut, "{parameters:?}"),
            part => panic!("{part:?}"),
        }
    }

    #[test]
    fn what_is_longer_or_shorter_than_it_says_is_none() {
        for body in [
            &b"\0\0\0\0\0\0\0"[..],
            b"\0\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\x01\0\0\0\x09hi\0\0",
            b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0",
        ] {
            assert!(bound(body).is_err(), "{body:?}");
        }
    }
}
