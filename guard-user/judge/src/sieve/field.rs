//! Field lines, RFC 9112 5.

use super::{
    malformed::Malformed,
    octet::{TOKEN, not_in_value},
};

/// The fields that say where a message ends or goes, or what becomes of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Host,
    Expect,
    Upgrade,
    Connection,
    ContentLength,
    TransferEncoding,
    Other,
}

/// A field line that is well formed.
pub(super) struct Field<'b> {
    pub(super) name: &'b [u8],
    /// Without the blanks around it.
    pub(super) value: &'b [u8],
    /// What follows the colon.
    raw: &'b [u8],
}

impl<'b> Field<'b> {
    /// Reads a line, which has lost its CRLF.
    pub(super) fn read(line: &'b [u8]) -> Result<Self, Malformed> {
        let colon = match TOKEN.first_other(line) {
            Some(at) if line[at] == b':' => at,
            other => return Err(not_a_name(line, other)),
        };
        if colon == 0 {
            return Err(Malformed::NoName);
        }
        let raw = &line[colon + 1..];
        match not_in_value(raw) {
            Some(b'\r') => Err(Malformed::BareCr),
            Some(byte) => Err(Malformed::ValueByte(byte)),
            None => Ok(Self {
                name: &line[..colon],
                value: without_blanks(raw),
                raw,
            }),
        }
    }

    /// The field's name, as the sieve tells names apart.
    pub(super) fn known(&self) -> Result<Name, Malformed> {
        let is = |name: &str| self.name.eq_ignore_ascii_case(name.as_bytes());
        Ok(match self.name.len() {
            4 if is("host") => Name::Host,
            6 if is("expect") => Name::Expect,
            7 if is("upgrade") => Name::Upgrade,
            10 if is("connection") => Name::Connection,
            14 if is("content-length") => Name::ContentLength,
            17 if is("transfer-encoding") => Name::TransferEncoding,
            14 if is("content_length") => return Err(Malformed::Lookalike),
            17 if is("transfer_encoding") => return Err(Malformed::Lookalike),
            _ => Name::Other,
        })
    }

    /// The value of a field on which all must agree: no blanks but one space after the colon.
    pub(super) fn exact(&self) -> Result<&'b [u8], Malformed> {
        match self.raw.strip_prefix(b" ").unwrap_or(self.raw) {
            value if value.len() == self.value.len() => Ok(value),
            _ => Err(Malformed::OddBlanks),
        }
    }

    /// The elements of a list, RFC 9110 5.6.1.
    pub(super) fn elements(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        self.value.split(|&byte| byte == b',').map(without_blanks)
    }
}

/// What is wrong with a line whose name ends at that place, or does not end.
fn not_a_name(line: &[u8], at: Option<usize>) -> Malformed {
    let Some(at) = at else {
        return Malformed::NoColon;
    };
    match line[at] {
        b' ' | b'\t' if at == 0 => Malformed::Fold,
        b' ' | b'\t' => Malformed::BlankBeforeColon,
        b'\r' => Malformed::BareCr,
        byte => Malformed::NameByte(byte),
    }
}

/// OWS, RFC 9110 5.6.3.
fn without_blanks(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
