//! The state machine.

use super::{
    body::SievedBody,
    chunk::Chunks,
    field::Field,
    limits::Limits,
    malformed::Malformed,
    request::Requests,
    response::{Responses, SentRequests},
    section::Section,
    target, trailer,
};

/// Where in a stream the sieve is, for whoever keeps time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between messages: nothing of the next has come.
    Between,
    /// In a head, which is held back.
    Head,
    /// In a body, its trailers included.
    Body,
    /// All passes, unread.
    Opaque,
    /// Nothing passes any more.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    Head(Section),
    Body(SievedBody),
    Trailers(Section),
    Opaque,
    Refused(Malformed),
}

#[derive(Debug)]
enum Direction {
    Requests(Requests),
    Responses(Responses),
}

/// A sieve for one direction of one connection. It has no buffer: heads and trailer sections stay with its owner until
/// they are whole, and it keeps how far it has read them.
#[derive(Debug)]
pub struct Sieve {
    limits: Limits,
    direction: Direction,
    state: State,
    only_http2: bool,
    /// Where queries are to be encoded: how long a request line is, and what is to be in its place.
    encodes: bool,
    encoded: Option<(usize, Vec<u8>)>,
}

impl Sieve {
    /// A sieve for what a client sends.
    #[must_use]
    pub fn requests(limits: Limits) -> Self {
        Self::new(limits, Direction::Requests(Requests::default()))
    }

    /// A sieve for what a server answers to what is in the queue.
    #[must_use]
    pub fn responses(limits: Limits, asks: SentRequests) -> Self {
        Self::new(limits, Direction::Responses(Responses::new(asks)))
    }

    const fn new(limits: Limits, direction: Direction) -> Self {
        Self {
            limits,
            direction,
            state: State::Between,
            only_http2: false,
            encodes: false,
            encoded: None,
        }
    }

    /// The same, where what is not allowed in a query is not refused if its owner can percent-encode it: see
    /// [`Sieve::encoded`].
    #[must_use]
    pub fn encoding_queries(self) -> Self {
        Self {
            encodes: true,
            ..self
        }
    }

    /// Where nothing of a head has passed, as its query is to be encoded: how many of its first bytes are to be replaced,
    /// and by what.
    pub fn encoded(&mut self) -> Option<(usize, Vec<u8>)> {
        self.encoded.take()
    }

    /// The same, where the client has heard that HTTP/2 is spoken: its preface passes, and all that follows it;
    /// nothing else does.
    #[must_use]
    pub fn only_http2(self) -> Self {
        Self {
            only_http2: true,
            ..self
        }
    }

    /// How many of these bytes may go on. The others are to be shown again, as the first, when there are more: they
    /// are of a head that is not whole, and there are fewer than [`Limits::head`] of them. Fewer than all may pass
    /// also where the next are refused.
    ///
    /// # Errors
    /// Where nothing of these bytes, nor of what follows, may go on. It stays like that.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut passed = 0;
        self.encoded = None;
        loop {
            match self.step(&bytes[passed..]) {
                Ok(0) => return Ok(passed),
                Ok(more) => passed += more,
                Err(malformed) => {
                    self.state = State::Refused(malformed);
                    return match passed {
                        0 => Err(malformed),
                        _ => Ok(passed),
                    };
                }
            }
        }
    }

    /// The stream is at its end.
    ///
    /// # Errors
    /// Where it should not be, RFC 9112 8.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::Between | State::Opaque | State::Body(SievedBody::UntilClose) => return Ok(()),
            State::Refused(_) => {}
            _ => self.state = State::Refused(Malformed::Truncated),
        }
        self.refusal().map_or(Ok(()), Err)
    }

    /// From here on all passes: the connection speaks another protocol, and who reads that is not asked. What was
    /// refused stays so, but for the preface of HTTP/2.
    pub fn become_opaque(&mut self) {
        if matches!(self.refusal(), None | Some(Malformed::Preface)) {
            self.state = State::Opaque;
        }
    }

    /// Where in the stream it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self.state {
            State::Between => Phase::Between,
            State::Head(_) => Phase::Head,
            State::Body(_) | State::Trailers(_) => Phase::Body,
            State::Opaque => Phase::Opaque,
            State::Refused(_) => Phase::Refused,
        }
    }

    /// Why nothing passes any more.
    #[must_use]
    pub const fn refusal(&self) -> Option<Malformed> {
        match self.state {
            State::Refused(malformed) => Some(malformed),
            _ => None,
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        if let State::Between = self.state
            && !bytes.is_empty()
        {
            self.state = State::Head(Section::default());
        }
        match &mut self.state {
            State::Refused(malformed) => Err(*malformed),
            _ if bytes.is_empty() => Ok(0),
            State::Opaque => Ok(bytes.len()),
            State::Between | State::Head(_) => self.head(bytes),
            State::Body(body) => {
                let passed = body.pass(bytes)?;
                self.state = after(*body);
                Ok(passed)
            }
            State::Trailers(section) => {
                let passed = trailer::pass(section, bytes, &self.limits)?;
                if passed > 0 {
                    self.state = State::Between;
                }
                Ok(passed)
            }
        }
    }

    /// Reads on in a head. Zero until it is whole, then its length.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let (State::Head(section), limits) = (&mut self.state, &self.limits) else {
            return Ok(0);
        };
        if section.line == 0 {
            let begun = self.direction.begin(bytes);
            if self.only_http2 && begun == Err(Malformed::Preface) {
                self.state = State::Opaque;
                return Ok(bytes.len());
            }
            if !begun? {
                return Ok(0);
            }
            if self.only_http2 {
                return Err(Malformed::NoPreface);
            }
            let too_long = self.direction.start_line_too_long();
            match section.next(bytes, limits.start_line, too_long)? {
                Some(line) => {
                    let read = self.direction.start_line(line);
                    if self.encodes
                        && matches!(read, Err(Malformed::TargetByte(_)))
                        && let Some(encoded) = target::encoded(line)
                    {
                        self.encoded = Some((line.len(), encoded));
                        *section = Section::default();
                        return Ok(0);
                    }
                    read?;
                }
                None => return Ok(0),
            }
        }
        while let Some(line) = section.next(bytes, limits.head, Malformed::HeadTooLong)? {
            if line.is_empty() {
                let length = section.line;
                self.state = self.direction.end()?.map_or(State::Opaque, after);
                return Ok(length);
            }
            section.field(limits.fields)?;
            self.direction.field(&Field::read(line)?, bytes)?;
        }
        Ok(0)
    }
}

/// The state in which a body of which this is left leaves the stream.
fn after(body: SievedBody) -> State {
    match body {
        SievedBody::NONE => State::Between,
        SievedBody::Chunked(Chunks::Over) => State::Trailers(Section::default()),
        _ => State::Body(body),
    }
}

impl Direction {
    fn begin(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        match self {
            Self::Requests(requests) => requests.begin(bytes),
            Self::Responses(responses) => responses.begin(bytes).map(|()| true),
        }
    }

    const fn start_line_too_long(&self) -> Malformed {
        match self {
            Self::Requests(_) => Malformed::RequestLineTooLong,
            Self::Responses(_) => Malformed::StatusLineTooLong,
        }
    }

    fn start_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::Requests(requests) => requests.start_line(line),
            Self::Responses(responses) => responses.start_line(line),
        }
    }

    fn field(&mut self, field: &Field<'_>, head: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::Requests(requests) => requests.field(field, head),
            Self::Responses(responses) => responses.field(field),
        }
    }

    fn end(&mut self) -> Result<Option<SievedBody>, Malformed> {
        match self {
            Self::Requests(requests) => requests.end().map(Some),
            Self::Responses(responses) => responses.end(),
        }
    }
}
