//! Heads of answers, and their trailer sections.

use super::{
    super::sieve::{LONGEST, SentRequest, trailer::is_forbidden},
    State,
    lines::content,
};

/// The beginning of an answer.
const BEGINNING: &[u8] = b"HTTP/1.";
const LENGTH: &str = "content-length";
const CODING: &str = "transfer-encoding";

/// A head as it is to be read.
pub(super) struct Head {
    pub(super) text: Vec<u8>,
    /// The state after it.
    pub(super) state: State,
    /// Whether another head answers the same request.
    pub(super) is_interim: bool,
}

/// Whether a head may begin so.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    BEGINNING.starts_with(bytes) || bytes.starts_with(BEGINNING)
}

/// A field, its value without the blanks around it, and in one line.
struct Field<'b> {
    name: &'b [u8],
    value: Vec<u8>,
}

impl Field<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The elements of a list, RFC 9110 5.6.1.
    fn elements(&self) -> impl Iterator<Item = &[u8]> {
        self.value
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
    }
}

/// Where the body ends, by the fields.
enum Framing {
    Unsaid,
    Length(u64),
    Chunked,
}

/// Mends the head of an answer, of which all lines are there. `None` if it is ambiguous.
pub(super) fn mend(section: &[u8], asked: SentRequest) -> Option<Head> {
    let mut lines = section.split_inclusive(|&byte| byte == b'\n').map(content);
    let start = lines.next()?;
    let StatusLine { status, is_old } = StatusLine::parse(start)?;
    let fields = fields(lines)?;
    let is_interim = matches!(status, 100..200) && status != 101;
    let framing = match status {
        // RFC 9112 6.3: there is no body, whatever the fields say.
        100..200 | 204 => Framing::Unsaid,
        _ => framing(&fields, is_old)?,
    };
    let state = match (status, &framing) {
        (101, _) => State::Rest,
        (100..200 | 204 | 304, _) | (_, Framing::Length(0)) => State::Head,
        _ if asked.head => State::Head,
        (_, Framing::Chunked) => State::Size,
        (_, Framing::Length(length)) => State::Body(*length),
        (_, Framing::Unsaid) => State::Rest,
    };
    let text = written(start, &fields, &framing);
    Some(Head {
        text,
        state,
        is_interim,
    })
}

/// The head again, in its order. Where the body ends is said once.
fn written(start: &[u8], fields: &[Field<'_>], framing: &Framing) -> Vec<u8> {
    let (mut said, value) = match framing {
        Framing::Unsaid => ("", String::new()),
        Framing::Length(length) => (LENGTH, length.to_string()),
        Framing::Chunked => (CODING, "chunked".to_owned()),
    };
    let mut text = [start, b"\r\n"].concat();
    for field in fields {
        let value = match () {
            () if field.is(said) => {
                said = "";
                value.as_bytes()
            }
            () if field.is(LENGTH) || field.is(CODING) => continue,
            () => &field.value,
        };
        write(&mut text, field.name, value);
    }
    text.extend_from_slice(b"\r\n");
    text
}

fn write(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        text.extend_from_slice(part);
    }
}

/// Mends a trailer section, of which all lines are there. Fields that belong in the head are removed (RFC 9110 6.5.1).
pub(super) fn mend_trailers(section: &[u8]) -> Option<Vec<u8>> {
    let lines = section.split_inclusive(|&byte| byte == b'\n').map(content);
    let mut text = Vec::new();
    for field in fields(lines)? {
        if !is_forbidden(field.name) {
            write(&mut text, field.name, &field.value);
        }
    }
    text.extend_from_slice(b"\r\n");
    Some(text)
}

/// What a status line says.
struct StatusLine {
    status: u16,
    /// Whether it is HTTP/1.0.
    is_old: bool,
}

impl StatusLine {
    fn parse(line: &[u8]) -> Option<Self> {
        let is_old = match line.get(..9)? {
            b"HTTP/1.1 " => false,
            b"HTTP/1.0 " => true,
            _ => return None,
        };
        let digits = line.get(9..12)?;
        let plain = digits.iter().all(u8::is_ascii_digit);
        let status = str::from_utf8(digits).ok()?.parse().ok()?;
        plain.then_some(Self { status, is_old })
    }
}

/// The fields up to an empty line. One that continues in a second line (RFC 9112 5.2) gets a space there.
fn fields<'b>(lines: impl Iterator<Item = &'b [u8]>) -> Option<Vec<Field<'b>>> {
    let mut fields: Vec<Field<'b>> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        if let [b' ' | b'\t', rest @ ..] = line {
            let value = &mut fields.last_mut()?.value;
            let rest = blanks_off(rest);
            if !value.is_empty() && !rest.is_empty() {
                value.push(b' ');
            }
            value.extend_from_slice(rest);
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        fields.push(Field {
            name: blanks_off(&line[..colon]),
            value: blanks_off(&line[colon + 1..]).to_vec(),
        });
    }
    Some(fields)
}

/// OWS, RFC 9110 5.6.3.
fn blanks_off(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Where the body ends: RFC 9112 6.3, by which chunks win. `None` if the fields contradict each other in another way.
fn framing(fields: &[Field<'_>], is_old: bool) -> Option<Framing> {
    let codings = fields.iter().filter(|field| field.is(CODING));
    let mut codings = codings
        .flat_map(Field::elements)
        // RFC 2616 3.6 had this for no coding.
        .filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(one), None) if one.eq_ignore_ascii_case(b"chunked") && !is_old => {
            return Some(Framing::Chunked);
        }
        _ => return None,
    }
    let lengths = fields.iter().filter(|field| field.is(LENGTH));
    let mut lengths = lengths.flat_map(Field::elements).map(decimal);
    let Some(first) = lengths.next() else {
        return Some(Framing::Unsaid);
    };
    let length = first?;
    let agree = lengths.all(|other| other == Some(length));
    agree.then_some(Framing::Length(length))
}

fn decimal(value: &[u8]) -> Option<u64> {
    let plain = value.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(value).ok()?.parse().ok()?;
    (plain && number <= LONGEST).then_some(number)
}
