//! Heads of responses, RFC 9112 4.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    body::SievedBody,
    field::{Field, Name},
    framing::Framing,
    malformed::Malformed,
    octet::{TOKEN, not_in_value},
    speaks,
};

/// What about a request decides how its response is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentRequest {
    /// The method is HEAD: its response has no body, whatever it says (RFC 9112 6.3).
    pub head: bool,
    /// It asks for another protocol, so that the server may change to that.
    pub upgrade: bool,
}

/// The requests that have been sent on a connection and not been answered. All clones are the same queue, so that
/// one who sends need not own the connection.
#[derive(Clone, Debug, Default)]
pub struct SentRequests(Arc<Mutex<VecDeque<SentRequest>>>);

impl SentRequests {
    /// Adds a request, before its first byte is sent.
    pub fn push(&self, asked: SentRequest) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(asked);
    }

    /// Takes the one that is answered next.
    pub fn pop(&self) -> Option<SentRequest> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }
}

/// The heads of the responses on a connection.
#[derive(Debug)]
pub(super) struct Responses {
    asks: SentRequests,
    /// What is being answered.
    asked: Option<SentRequest>,
    status: u16,
    /// It is HTTP/1.0.
    old: bool,
    framing: Framing,
}

impl Responses {
    pub(super) fn new(asks: SentRequests) -> Self {
        Self {
            asks,
            asked: None,
            status: 0,
            old: false,
            framing: Framing::Unsaid,
        }
    }

    /// Looks at how a head begins.
    pub(super) fn begin(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.asked.is_none() {
            self.asked = self.asks.pop();
        }
        match bytes[0] {
            _ if self.asked.is_none() => Err(Malformed::Unasked),
            first if TOKEN.has(first) => Ok(()),
            b'\r' | b'\n' => Err(Malformed::EmptyLine),
            first => Err(Malformed::NotHttp(speaks::by_byte(first))),
        }
    }

    /// Reads a status line. Where the reason is empty, the space before it may be missing: nobody reads that in
    /// another way.
    pub(super) fn start_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        if let Some(looks) = speaks::by_line(line) {
            return Err(Malformed::NotHttp(looks));
        }
        let (version, rest) = line.split_at_checked(9).ok_or(Malformed::StatusLine)?;
        let (status, reason) = rest.split_at_checked(3).ok_or(Malformed::StatusLine)?;
        self.old = match version {
            b"HTTP/1.1 " => false,
            b"HTTP/1.0 " => true,
            _ => return Err(Malformed::StatusLine),
        };
        let right = matches!(reason, [] | [b' ', ..]) && not_in_value(reason).is_none();
        self.status = number(status)
            .filter(|_| right)
            .ok_or(Malformed::StatusLine)?;
        self.framing = Framing::Unsaid;
        Ok(())
    }

    pub(super) fn field(&mut self, field: &Field<'_>) -> Result<(), Malformed> {
        match field.known()? {
            Name::ContentLength => self.framing.content_length(field),
            Name::TransferEncoding => self.framing.transfer_encoding(field, self.old),
            _ => Ok(()),
        }
    }

    /// The head is whole: what follows it, RFC 9112 6.3. No body at all where the protocol changes.
    pub(super) fn end(&mut self) -> Result<Option<SievedBody>, Malformed> {
        let asked = self.asked.ok_or(Malformed::Unasked)?;
        let interim = matches!(self.status, 100..200);
        if interim || self.status == 204 {
            self.no_length()?;
        }
        if !interim || self.status == 101 {
            self.asked = None;
        }
        match self.status {
            101 if asked.upgrade => Ok(None),
            101 => Err(Malformed::SwitchUnasked),
            100..200 | 204 | 304 => Ok(Some(SievedBody::NONE)),
            _ if asked.head => Ok(Some(SievedBody::NONE)),
            _ => Ok(Some(SievedBody::of(self.framing, SievedBody::UntilClose))),
        }
    }

    /// RFC 9110 8.6 and RFC 9112 6.1 forbid both fields here. No length at all is what many say, and harmless.
    fn no_length(&self) -> Result<(), Malformed> {
        match self.framing {
            Framing::Unsaid | Framing::Length(0) => Ok(()),
            _ => Err(Malformed::LengthOfNothing),
        }
    }
}

/// Three digits. RFC 9110 15 has 100 to 599, and servers all.
fn number(status: &[u8]) -> Option<u16> {
    let plain = status.iter().all(u8::is_ascii_digit);
    let status: u16 = str::from_utf8(status).ok()?.parse().ok()?;
    Some(status).filter(|status| plain && *status >= 100)
}
