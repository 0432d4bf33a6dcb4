//! Heads of requests, RFC 9112 3.

use std::ops::Range;

use super::{
    body::SievedBody,
    connection::Connection,
    field::{Field, Name},
    framing::Framing,
    malformed::Malformed,
    octet::TOKEN,
    speaks, target,
};

/// Methods in use are shorter by far.
const LONGEST_METHOD: usize = 32;

/// The heads of the requests on a connection.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Whether a request came before this one.
    going: bool,
    /// Whether the request before this one had to be the last.
    closing: bool,
    head: Head,
}

/// What has been read of a head.
#[derive(Debug, Default)]
struct Head {
    /// It is HTTP/1.0.
    old: bool,
    /// Where in the head the authority is, in the absolute-form.
    authority: Option<Range<usize>>,
    host: bool,
    framing: Framing,
    connection: Connection,
}

impl Requests {
    /// Looks at how a head begins. False until it is known that it is HTTP/1.
    pub(super) fn begin(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        let first = bytes[0];
        match self.going {
            _ if self.closing => return Err(Malformed::AfterClose),
            _ if matches!(first, b'\r' | b'\n') => return Err(Malformed::EmptyLine),
            _ if TOKEN.has(first) => {}
            true => return Err(Malformed::Method),
            false => return Err(Malformed::NotHttp(speaks::by_byte(first))),
        }
        if self.going || !speaks::may_be_http2(bytes) {
            return Ok(true);
        }
        if bytes.len() < speaks::PREFACE.len() {
            Ok(false)
        } else {
            Err(Malformed::Preface)
        }
    }

    pub(super) fn start_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let foreign = speaks::by_line(line).filter(|_| !self.going);
        if let Some(looks) = foreign {
            return Err(Malformed::NotHttp(looks));
        }
        let [method, target, version] = words(line)?;
        check_method(method)?;
        let old = is_old(version)?;
        let found = target::read(method, target)?;
        let shift = method.len() + 1;
        self.head = Head {
            old,
            authority: found.map(|at| at.start + shift..at.end + shift),
            ..Head::default()
        };
        Ok(())
    }

    /// Takes a field of the head whose bytes these are.
    pub(super) fn field(&mut self, field: &Field<'_>, bytes: &[u8]) -> Result<(), Malformed> {
        let head = &mut self.head;
        match field.known()? {
            Name::ContentLength => head.framing.content_length(field),
            Name::TransferEncoding => head.framing.transfer_encoding(field, head.old),
            Name::Host => head.host(field, bytes),
            Name::Connection => head.connection.take(field),
            Name::Expect if !field.value.eq_ignore_ascii_case(b"100-continue") => {
                Err(Malformed::Expectation)
            }
            Name::Expect | Name::Upgrade | Name::Other => Ok(()),
        }
    }

    /// The head is whole: what follows it.
    pub(super) fn end(&mut self) -> Result<SievedBody, Malformed> {
        let head = &self.head;
        if !head.host && (!head.old || head.authority.is_some()) {
            return Err(Malformed::NoHost);
        }
        self.going = true;
        self.closing = !head.connection.persists(head.old);
        Ok(SievedBody::of(head.framing, SievedBody::NONE))
    }
}

impl Head {
    fn host(&mut self, field: &Field<'_>, bytes: &[u8]) -> Result<(), Malformed> {
        let value = field.exact()?;
        let authority = self.authority.clone().map(|at| &bytes[at]);
        match authority {
            _ if self.host => Err(Malformed::SecondHost),
            _ if !target::is_host(value) => Err(Malformed::Host),
            Some(other) if !other.eq_ignore_ascii_case(value) => Err(Malformed::OtherHost),
            _ => {
                self.host = true;
                Ok(())
            }
        }
    }
}

/// Method, target and version. Where there are only two words the third is that of HTTP/0.9.
fn words(line: &[u8]) -> Result<[&[u8]; 3], Malformed> {
    if line.contains(&b'\r') {
        return Err(Malformed::BareCr);
    }
    let mut words = line.split(|&byte| byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), version, None) if !target.is_empty() => {
            Ok([method, target, version.unwrap_or(b"HTTP/0.9")])
        }
        _ => Err(Malformed::RequestLine),
    }
}

fn check_method(method: &[u8]) -> Result<(), Malformed> {
    match method {
        _ if method.is_empty() || TOKEN.first_other(method).is_some() => Err(Malformed::Method),
        _ if method.len() > LONGEST_METHOD => Err(Malformed::MethodTooLong),
        // Methods know upper from lower case. A server that does not would see a tunnel here.
        _ if method.eq_ignore_ascii_case(b"CONNECT") => Err(Malformed::Connect),
        _ => Ok(()),
    }
}

/// Whether the version is 1.0 and not 1.1, RFC 9112 2.3.
fn is_old(version: &[u8]) -> Result<bool, Malformed> {
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed::Version)
        }
        _ => Err(Malformed::RequestLine),
    }
}
