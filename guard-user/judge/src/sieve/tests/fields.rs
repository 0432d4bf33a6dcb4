//! Field lines of requests: each refusal, and beside it what is almost the same and passes.

use super::{
    super::Malformed::{self, *},
    passes, refuses, requests,
};

/// A field line that is wrong, then right.
const FIELDS: &[(Malformed, &[u8], &[u8])] = &[
    // Lines.
    (BareLf, b"A: b\nC: d", b"A: b\r\nC: d"),
    (
        BareLf,
        b"Transfer-Encoding\n: chunked",
        b"Transfer: chunked",
    ),
    (BareLf, b"A: b\n\r\nTransfer-Encoding: chunked", b"A: b"),
    (
        BareCr,
        b"A: b\rTransfer-Encoding: chunked",
        b"A: bTransfer-Encoding: chunked",
    ),
    (BareCr, b"A: b\r\r\nB: c", b"A: b\r\nB: c"),
    (BareCr, b"A\r: b", b"A: b"),
    (BareCr, b"\rA: b", b"A: b"),
    (Fold, b"A: b\r\n c", b"A: b\r\nc:"),
    (Fold, b"A: b\r\n\tc: d", b"A: b\r\nc: d"),
    (Fold, b" Transfer-Encoding: chunked", b"A: chunked"),
    (Fold, b"A: b\r\n ", b"A: b\r\nB: "),
    (
        BlankBeforeColon,
        b"Transfer-Encoding : chunked",
        b"A: chunked",
    ),
    (
        BlankBeforeColon,
        b"Transfer-Encoding\t: chunked",
        b"A: chunked",
    ),
    (
        BlankBeforeColon,
        b"Transfer Encoding: chunked",
        b"TransferEncoding: chunked",
    ),
    (
        BlankBeforeColon,
        b"Content-Length : 5",
        b"Content-Length: 0",
    ),
    (NoColon, b"A", b"A:"),
    (NoName, b": b", b"A: b"),
    (NoName, b":b", b"A::b"),
    (NameByte(b'('), b"A(b): c", b"A!b: (c)"),
    (NameByte(0), b"A\0: c", b"A: c"),
    (NameByte(0xc3), b"\xc3\xa9: c", b"A: \xc3\xa9"),
    (
        NameByte(0x0b),
        b"\x0bTransfer-Encoding: chunked",
        b"A: chunked",
    ),
    (
        NameByte(b'"'),
        b"\"Content-Length\": 5",
        b"Content-Length: 0",
    ),
    (ValueByte(0), b"A: b\0c", b"A: b c"),
    (
        ValueByte(0x0b),
        b"Transfer-Encoding:\x0bchunked",
        b"A: \t chunked\t ",
    ),
    (
        ValueByte(0x0c),
        b"Content-Length: 5\x0c",
        b"Content-Length: 0",
    ),
    (ValueByte(0x7f), b"A: \x7f", b"A: ~"),
    (ValueByte(0x1f), b"A: \x1f", b"A: \x20"),
    (Lookalike, b"Content_Length: 5", b"Content_Lengthy: 5"),
    (
        Lookalike,
        b"transfer_encoding: chunked",
        b"transfer_encoder: chunked",
    ),
    // Content-Length.
    (Length, b"Content-Length: +6", b"Content-Length: 0"),
    (Length, b"Content-Length: -6", b"Content-Length: 0"),
    (Length, b"Content-Length: -0", b"Content-Length: 0"),
    (Length, b"Content-Length: 6, 6", b"Content-Length: 0"),
    (Length, b"Content-Length: 6,", b"Content-Length: 0"),
    (Length, b"Content-Length: 06", b"Content-Length: 0"),
    (Length, b"Content-Length: 00", b"Content-Length: 0"),
    (Length, b"Content-Length: 0x6", b"Content-Length: 0"),
    (Length, b"Content-Length: 1_0", b"Content-Length: 0"),
    (Length, b"Content-Length: 1e1", b"Content-Length: 0"),
    (Length, b"Content-Length: 6.0", b"Content-Length: 0"),
    (Length, b"Content-Length: \"6\"", b"Content-Length: 0"),
    (Length, b"Content-Length: 6 6", b"Content-Length: 0"),
    (Length, b"Content-Length: a", b"content-length: 0"),
    (Length, b"Content-Length: \xb2", b"CONTENT-LENGTH: 0"),
    (Length, b"Content-Length:", b"Content-Length:0"),
    (Length, b"Content-Length: ", b"Content-Length:0"),
    (OddBlanks, b"Content-Length:  0", b"Content-Length: 0"),
    (OddBlanks, b"Content-Length: 0 ", b"Content-Length: 0"),
    (OddBlanks, b"Content-Length:\t0", b"Content-Length: 0"),
    (
        LengthTooLarge,
        b"Content-Length: 9223372036854775808",
        b"Content-Length: 0",
    ),
    (
        LengthTooLarge,
        b"Content-Length: 18446744073709551616",
        b"Content-Length: 0",
    ),
    (
        LengthTooLarge,
        b"Content-Length: 99999999999999999999999999",
        b"Content-Length: 0",
    ),
    (
        SecondLength,
        b"Content-Length: 0\r\nContent-Length: 0",
        b"Content-Length: 0",
    ),
    (
        SecondLength,
        b"Content-Length: 0\r\ncontent-length: 6",
        b"Content-Length: 0\r\nX: 6",
    ),
    // Transfer-Encoding.
    (
        LengthAndEncoding,
        b"Content-Length: 6\r\nTransfer-Encoding: chunked",
        b"Content-Length: 0\r\nTE: chunked",
    ),
    (
        LengthAndEncoding,
        b"Transfer-Encoding: chunked\r\nContent-Length: 6",
        b"TE: chunked\r\nContent-Length: 0",
    ),
    (
        LengthAndEncoding,
        b"Content-Length: 0\r\nTransfer-Encoding: identity",
        b"Content-Length: 0",
    ),
    (
        SecondEncoding,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"TE: chunked",
    ),
    (
        SecondEncoding,
        b"Transfer-Encoding: chunked\r\nTransfer-encoding: x",
        b"TE: x",
    ),
    (Encoding, b"Transfer-Encoding: xchunked", b"TE: xchunked"),
    (Encoding, b"Transfer-Encoding: chunkedx", b"TE: chunkedx"),
    (
        Encoding,
        b"Transfer-Encoding: chunked, identity",
        b"TE: identity",
    ),
    (
        Encoding,
        b"Transfer-Encoding: identity, chunked",
        b"TE: identity",
    ),
    (
        Encoding,
        b"Transfer-Encoding: chunked, chunked",
        b"TE: chunked",
    ),
    (Encoding, b"Transfer-Encoding: gzip, chunked", b"TE: gzip"),
    (Encoding, b"Transfer-Encoding: identity", b"TE: identity"),
    (Encoding, b"Transfer-Encoding: ,chunked", b"TE: ,chunked"),
    (Encoding, b"Transfer-Encoding: chunked,", b"TE: chunked,"),
    (
        Encoding,
        b"Transfer-Encoding: chunked;q=1",
        b"TE: chunked;q=1",
    ),
    (
        Encoding,
        b"Transfer-Encoding: \"chunked\"",
        b"TE: \"chunked\"",
    ),
    (Encoding, b"Transfer-Encoding: 'chunked'", b"TE: 'chunked'"),
    (
        Encoding,
        b"Transfer-Encoding: chunked chunked",
        b"TE: chunked",
    ),
    (
        Encoding,
        b"Transfer-Encoding: \xffchunked",
        b"TE: \xffchunked",
    ),
    (Encoding, b"Transfer-Encoding:", b"TE:"),
    (OddBlanks, b"Transfer-Encoding:\tchunked", b"TE:\tchunked"),
    (OddBlanks, b"Transfer-Encoding:  chunked", b"TE:  chunked"),
    (OddBlanks, b"Transfer-Encoding: chunked ", b"TE: chunked "),
    (OddBlanks, b"Transfer-Encoding: chunked\t", b"TE: chunked\t"),
    // What else decides.
    (SecondHost, b"Host: a", b"X-Host: a"),
    (SecondHost, b"host: b", b"Hos: b"),
    (
        ConnectionOption,
        b"Connection: Content-Length",
        b"Connection: close",
    ),
    (
        ConnectionOption,
        b"Connection: keep-alive, host",
        b"Connection: Keep-Alive, Upgrade",
    ),
    (
        ConnectionOption,
        b"Connection: Authorization",
        b"Connection: TE,close",
    ),
    (
        ConnectionOption,
        b"Connection: X-Forwarded-For",
        b"Connection: Upgrade, HTTP2-Settings",
    ),
    (
        ConnectionOption,
        b"Connection: close,",
        b"Connection:\tclose ",
    ),
    (ConnectionOption, b"Connection:", b"Connection:close"),
    (Expectation, b"Expect: 200-ok", b"Expect: 100-continue"),
    (
        Expectation,
        b"Expect: 100-continue, x",
        b"Expect: 100-Continue",
    ),
    (Expectation, b"Expect:", b"Expect:100-continue"),
];

#[test]
fn field_lines() {
    let head = |line: &[u8]| [b"POST / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat();
    for &(why, wrong, right) in FIELDS {
        refuses(requests, &head(wrong), 0, why);
        passes(requests, &head(right));
    }
}
