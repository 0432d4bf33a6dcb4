//! What a connection speaks, by its first bytes.

use super::malformed::Looks;

/// How a client begins HTTP/2, RFC 9113 3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether these may be the first bytes of HTTP/2: all that are there are those of the preface.
pub(super) fn may_be_http2(bytes: &[u8]) -> bool {
    PREFACE.starts_with(bytes) || bytes.starts_with(PREFACE)
}

/// What begins with a byte that begins no HTTP message.
pub(super) const fn by_byte(first: u8) -> Looks {
    match first {
        0x16 => Looks::Tls,
        0x04 | 0x05 => Looks::Socks,
        _ => Looks::Other,
    }
}

/// What begins with a line that could begin with an HTTP method.
pub(super) fn by_line(line: &[u8]) -> Option<Looks> {
    let starts = |with: &[u8]| {
        let start = line.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    match () {
        () if starts(b"SSH-") => Some(Looks::Ssh),
        () if starts(b"EHLO ") || starts(b"HELO ") => Some(Looks::Smtp),
        () => None,
    }
}
