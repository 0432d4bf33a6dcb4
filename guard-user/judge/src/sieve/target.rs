//! Request targets and hosts, RFC 9112 3.2.

use std::{net::Ipv6Addr, ops::Range};

use percent_encoding::{AsciiSet, utf8_percent_encode};

use super::{
    malformed::Malformed,
    octet::{PATH, QUERY},
};

/// What of ASCII is encoded in a query. All else is, too.
const TO_ENCODE: &AsciiSet = &AsciiSet::EMPTY.add(b'"').add(b'<').add(b'>');

/// A request line with its query percent-encoded where that is what has to be done to it: `"`, `<`, `>` and UTF-8, which
/// some clients send as they are (curl among them) and whose encoding every server decodes to the same. `None` where that
/// changes nothing, or not all can be encoded.
pub(super) fn encoded(line: &[u8]) -> Option<Vec<u8>> {
    // A question mark is in no method, and the second blank ends the target.
    let query = line.iter().position(|&byte| byte == b'?')? + 1;
    let (before, query) = line.split_at(query);
    let end = query.iter().position(|&byte| byte == b' ')?;
    let (query, after) = query.split_at(end);
    let query = str::from_utf8(query).ok()?;
    let encoded: String = utf8_percent_encode(query, TO_ENCODE).collect();
    let changes = encoded.len() > query.len();
    changes.then(|| [before, encoded.as_bytes(), after].concat())
}

/// Reads a request target. Yields where in it the authority is, if it has one, which then has to be the Host.
pub(super) fn read(method: &[u8], target: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
    match target {
        b"*" if method == b"OPTIONS" => Ok(None),
        [b'/', ..] => path(target).map(|()| None),
        _ => absolute(target).map(Some),
    }
}

fn path(path: &[u8]) -> Result<(), Malformed> {
    let Some(at) = PATH.first_other(path) else {
        return Ok(());
    };
    let query = match path[at] {
        b'?' => &path[at + 1..],
        byte => return Err(Malformed::TargetByte(byte)),
    };
    // A query may have question marks of its own.
    QUERY
        .first_other(query)
        .map_or(Ok(()), |at| Err(Malformed::TargetByte(query[at])))
}

/// An http URL. It has a path: what none means depends on the method (RFC 9112 3.2.4) and on who reads it.
fn absolute(target: &[u8]) -> Result<Range<usize>, Malformed> {
    let is = |scheme: &str| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let start = match () {
        () if is("http://") => "http://".len(),
        () if is("https://") => "https://".len(),
        () => return Err(Malformed::TargetForm),
    };
    let slash = target[start..].iter().position(|&byte| byte == b'/');
    let end = start + slash.ok_or(Malformed::TargetForm)?;
    if is_host(&target[start..end]) {
        path(&target[end..]).map(|()| start..end)
    } else {
        Err(Malformed::TargetForm)
    }
}

/// Whether these are a host, and perhaps a port: RFC 9112 3.2, narrowed to what hosts are made of. No userinfo, no
/// percent-encoding, no zone, and a port only where its number is written as one writes it.
pub(super) fn is_host(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok() && is_port_or_none(port);
    }
    let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty() && name.bytes().all(in_name) && is_port_or_none(port)
}

fn is_port_or_none(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain && digits.parse::<u16>().is_ok()
}
