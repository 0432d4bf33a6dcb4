//! Why bytes are refused.

use std::error::Error;

use http::StatusCode;

/// What begins a connection that is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// A TLS record of type handshake, RFC 8446 5.1.
    Tls,
    /// An identification string, RFC 4253 4.2.
    Ssh,
    /// A SOCKS greeting, RFC 1928 3, or that of version 4.
    Socks,
    /// The greeting of a mail client, RFC 5321 4.1.1.1.
    Smtp,
    /// Something whose first byte no HTTP method has.
    Other,
}

impl Looks {
    const fn phrase(self) -> &'static str {
        match self {
            Self::Tls => "it looks like TLS",
            Self::Ssh => "it looks like SSH",
            Self::Socks => "it looks like SOCKS",
            Self::Smtp => "it looks like SMTP",
            Self::Other => "no HTTP method begins like that",
        }
    }
}

/// Why nothing more of a stream passes. The text is for a person, and has nothing of the stream but single bytes, as
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    // The beginning of a message.
    /// The connection speaks something else.
    #[error("this is not HTTP: {}", .0.phrase())]
    NotHttp(Looks),
    /// The connection preface of HTTP/2, RFC 9113 3.4, and nobody has said that HTTP/2 may be spoken here.
    #[error("HTTP/2 begins where HTTP/1 was expected")]
    Preface,
    /// Anything but that, where the destination has begun as an HTTP/2 server does.
    #[error("the destination speaks HTTP/2, and the client does not")]
    NoPreface,
    /// A line end where a start line should be. RFC 9112 2.2 lets a server skip it; not all do.
    #[error("an empty line comes before the request line")]
    EmptyLine,
    /// Bytes after the last message of a connection, RFC 9112 9.6.
    #[error("more follows the request after which the connection was to close")]
    AfterClose,

    // Lines.
    /// RFC 9112 2.2: a line ends with CRLF. Some take LF alone for a line end.
    #[error("a line ends with LF alone, not with CRLF")]
    BareLf,
    /// RFC 9112 2.2: a CR that no LF follows. Some take it for a line end.
    #[error("there is a CR inside of a line")]
    BareCr,
    /// [`Limits::start_line`](super::Limits::start_line).
    #[error("the request line is too long")]
    RequestLineTooLong,
    /// [`Limits::head`](super::Limits::head).
    #[error("the head of the message is too long")]
    HeadTooLong,
    /// [`Limits::trailers`](super::Limits::trailers).
    #[error("the trailer section is too long")]
    TrailersTooLong,
    /// [`Limits::fields`](super::Limits::fields).
    #[error("the message has too many header fields")]
    TooManyFields,

    // The request line.
    /// RFC 9112 3: not three words with one space between.
    #[error("the request line is not a method, a target and a version with one space between")]
    RequestLine,
    /// RFC 9110 9.1: a method is a token.
    #[error("the request method is not a token")]
    Method,
    /// Longer than 32 bytes; no registered method is.
    #[error("the request method is too long")]
    MethodTooLong,
    /// RFC 9110 9.3.6: a tunnel, in which nothing can be judged.
    #[error("CONNECT is not served: what a tunnel carries cannot be judged")]
    Connect,
    /// A byte that no target has: RFC 9112 3.2, RFC 3986.
    #[error("the request target has the byte {0:#04x}, which must be percent-encoded")]
    TargetByte(u8),
    /// None of the forms of RFC 9112 3.2, or one that is not for this method.
    #[error("the request target is not a path, nor an http URL with a path")]
    TargetForm,
    /// RFC 9112 3.2.2: Host is what the absolute-form names.
    #[error("the request target names another host than the Host field")]
    OtherHost,
    /// RFC 9112 2.3: neither 1.0 nor 1.1.
    #[error("the HTTP version is neither 1.0 nor 1.1")]
    Version,

    // Field lines.
    /// RFC 9112 5.2: a line that begins with a blank continued the one before, once.
    #[error("a header line begins with a blank")]
    Fold,
    /// RFC 9112 5.1: a blank between name and colon.
    #[error("there is a blank between a header name and its colon")]
    BlankBeforeColon,
    /// A field line without a colon, RFC 9112 5.
    #[error("a header line has no colon")]
    NoColon,
    /// A field line that begins with its colon, RFC 9112 5.
    #[error("a header has no name")]
    NoName,
    /// A byte that no token has, RFC 9110 5.1.
    #[error("a header name has the byte {0:#04x}")]
    NameByte(u8),
    /// A control character, RFC 9110 5.5.
    #[error("a header value has the control character {0:#04x}")]
    ValueByte(u8),
    /// Blanks around Host, Content-Length or Transfer-Encoding, beyond one space after the colon. RFC 9112 5 allows
    /// them; not all who read these fields do.
    #[error("there are odd blanks around a header value that says where a message goes or ends")]
    OddBlanks,
    /// `Content_Length` and the like, which some read as `Content-Length`.
    #[error("a header name has an underscore where the header that it looks like has a hyphen")]
    Lookalike,

    // Framing.
    /// RFC 9112 6.3: not a decimal number as one writes it.
    #[error("Content-Length is not a plain decimal number")]
    Length,
    /// More than 2^63 - 1 bytes: some count with a sign.
    #[error("Content-Length is too large")]
    LengthTooLarge,
    /// RFC 9112 6.3: several, even where they agree.
    #[error("Content-Length is there twice")]
    SecondLength,
    /// RFC 9112 6.1: anything but exactly `chunked`.
    #[error("Transfer-Encoding is something else than `chunked`")]
    Encoding,
    /// RFC 9112 6.1: several, even where they agree.
    #[error("Transfer-Encoding is there twice")]
    SecondEncoding,
    /// RFC 9112 6.1, 6.3: what all smuggling begins with.
    #[error("there are both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// RFC 9112 6.1: HTTP/1.0 has none.
    #[error("there is Transfer-Encoding in HTTP/1.0")]
    EncodingInOld,

    // Other fields that decide.
    /// RFC 9112 3.2.
    #[error("the request has no Host field")]
    NoHost,
    /// RFC 9112 3.2.
    #[error("the request has more than one Host field")]
    SecondHost,
    /// RFC 9112 3.2, RFC 9110 7.2: not a name or an address, with or without a port.
    #[error("the Host field is not a host with or without a port")]
    Host,
    /// RFC 9110 7.6.1: an option that names a field which is meant for all. Who removes it changes the message.
    #[error("the Connection field names something that it should not")]
    ConnectionOption,
    /// RFC 9110 10.1.1.
    #[error("the Expect field wants something else than 100-continue")]
    Expectation,

    // Chunks.
    /// RFC 9112 7.1: hexadecimal digits and nothing else.
    #[error("a chunk size has the byte {0:#04x}")]
    ChunkSize(u8),
    /// More than 16 digits, or than 2^63 - 1 bytes.
    #[error("a chunk size is too large")]
    ChunkTooLarge,
    /// RFC 9112 7.1.1. Nobody uses them, and parsers have disagreed on where they end.
    #[error("a chunk has an extension")]
    ChunkExtension,
    /// RFC 9112 7.1: CRLF follows the bytes of a chunk.
    #[error("a chunk is longer than its size says")]
    ChunkEnd,
    /// RFC 9110 6.5.1: a field that is of no use, or of harm, when it comes that late.
    #[error("the trailer section has a field that belongs into the head")]
    Trailer,

    // Responses.
    /// RFC 9112 4.
    #[error("the status line is not a version, a status and a reason")]
    StatusLine,
    /// [`Limits::start_line`](super::Limits::start_line).
    #[error("the status line is too long")]
    StatusLineTooLong,
    /// RFC 9110 7.8: the protocol is changed, and nobody wanted that.
    #[error("the server changes the protocol unasked")]
    SwitchUnasked,
    /// RFC 9110 8.6, RFC 9112 6.1: a length where there is no body.
    #[error("a response that has no body says how long it is")]
    LengthOfNothing,
    /// Bytes that answer no request, such as those beyond a Content-Length.
    #[error("the server sends what nobody has asked for")]
    Unasked,

    // Both.
    /// RFC 9112 8: the connection ends inside of a message.
    #[error("the connection ends inside of a message")]
    Truncated,
}

impl Malformed {
    /// What a client that sent this deserves. Where a server sent it, its client gets 502 (RFC 9110 15.6.3).
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLong | Self::TrailersTooLong | Self::TooManyFields => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Connect | Self::MethodTooLong | Self::Encoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version | Self::Preface => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The refusal that is behind an error, such as the one with which hyper ended a connection.
    #[must_use]
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error.downcast_ref::<std::io::Error>();
            let inner = inner.and_then(|io| io.get_ref()?.downcast_ref());
            if let Some(found) = error.downcast_ref().or(inner) {
                return Some(*found);
            }
            next = error.source();
        }
        None
    }
}
