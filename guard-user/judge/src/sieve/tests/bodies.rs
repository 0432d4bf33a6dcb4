//! Bodies of requests.

use super::{
    super::{
        Malformed::{self, *},
        Phase,
    },
    passes, refuses, requests,
};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What of a chunked body passes before what is wrong, what is wrong, and what would have been right.
type Row = (Malformed, &'static [u8], &'static [u8], &'static [u8]);

const CHUNKS: &[Row] = &[
    (
        ChunkSize(b' '),
        b"",
        b" 1\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkSize(b' '),
        b"1",
        b" \r\nx\r\n0\r\n\r\n",
        b"\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkSize(b'\t'),
        b"1",
        b"\t\r\nx\r\n0\r\n\r\n",
        b"\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkSize(b'+'),
        b"",
        b"+1\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkSize(b'-'),
        b"",
        b"-1\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkSize(b'x'),
        b"0",
        b"x1\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkSize(b'_'),
        b"0",
        b"_1\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n0\r\n\r\n",
    ),
    (ChunkSize(b'g'), b"", b"g\r\n0\r\n\r\n", b"0\r\n\r\n"),
    (ChunkSize(b'\r'), b"", b"\r\n0\r\n\r\n", b"0\r\n\r\n"),
    (
        ChunkSize(b'"'),
        b"",
        b"\"1\"\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n0\r\n\r\n",
    ),
    (ChunkSize(b';'), b"", b";a\r\n0\r\n\r\n", b"0\r\n\r\n"),
    (
        ChunkSize(0),
        b"1",
        b"\0\r\nx\r\n0\r\n\r\n",
        b"\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkExtension,
        b"1",
        b";a=b\r\nx\r\n0\r\n\r\n",
        b"\r\nx\r\n0\r\n\r\n",
    ),
    (
        ChunkExtension,
        b"1",
        b";\nx\r\n0\r\n\r\n",
        b"\r\nx\r\n0\r\n\r\n",
    ),
    (ChunkExtension, b"1\r\nx\r\n0", b";a\r\n\r\n", b"\r\n\r\n"),
    (
        ChunkTooLarge,
        b"0000000000000001",
        b"0\r\nx",
        b"\r\nx\r\n0\r\n\r\n",
    ),
    (ChunkTooLarge, b"800000000000000", b"0\r\nx", b""),
    (ChunkTooLarge, b"fffffffffffffff", b"f\r\nx", b""),
    (
        ChunkTooLarge,
        b"0000000000000000",
        b"0\r\n\r\n",
        b"\r\n\r\n",
    ),
    (BareLf, b"1", b"\nx\r\n0\r\n\r\n", b"\r\nx\r\n0\r\n\r\n"),
    (BareCr, b"1\r", b"x\r\n0\r\n\r\n", b"\nx\r\n0\r\n\r\n"),
    (BareCr, b"1\r", b"\r\nx\r\n0\r\n\r\n", b"\nx\r\n0\r\n\r\n"),
    (ChunkEnd, b"1\r\nx", b"y\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    (ChunkEnd, b"1\r\nx", b"0\r\n\r\n", b"\r\n0\r\n\r\n"),
    (BareLf, b"1\r\nx", b"\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    (ChunkEnd, b"1\r\nx\r", b"0\r\n\r\n", b"\n0\r\n\r\n"),
    (ChunkEnd, b"1\r\nx\r", b"\r\n0\r\n\r\n", b"\n0\r\n\r\n"),
    (BareLf, b"0\r\n", b"\n", b"\r\n"),
    (NoColon, b"0\r\n", b"GET\r\n\r\n", b"GET:\r\n\r\n"),
    (BareLf, b"0\r\n", b"A: b\n\r\n", b"A: b\r\n\r\n"),
    (Fold, b"0\r\n", b"A: b\r\n c\r\n\r\n", b"A: b\r\nc:\r\n\r\n"),
    (
        BlankBeforeColon,
        b"0\r\n",
        b"A : b\r\n\r\n",
        b"A: b\r\n\r\n",
    ),
    (ValueByte(0), b"0\r\n", b"A: \0\r\n\r\n", b"A: \xff\r\n\r\n"),
    (
        Lookalike,
        b"0\r\n",
        b"content_length: 5\r\n\r\n",
        b"content_form: 5\r\n\r\n",
    ),
    (
        Trailer,
        b"0\r\n",
        b"content_type: 5\r\n\r\n",
        b"content_typo: 5\r\n\r\n",
    ),
    (
        Trailer,
        b"0\r\n",
        b"X_HTTP_Method_Override: DELETE\r\n\r\n",
        b"X_HTML: DELETE\r\n\r\n",
    ),
    (
        Trailer,
        b"0\r\n",
        b"x_original.url: /a\r\n\r\n",
        b"x_origin: /a\r\n\r\n",
    ),
    (
        Trailer,
        b"0\r\n",
        b"Content-Length: 5\r\n\r\n",
        b"X-Length: 5\r\n\r\n",
    ),
    (
        Trailer,
        b"00\r\n",
        b"transfer-encoding: chunked\r\n\r\n",
        b"a: b\r\n\r\n",
    ),
    (
        Trailer,
        b"0\r\n",
        b"A: b\r\nHost: b\r\n\r\n",
        b"A: b\r\nB: b\r\n\r\n",
    ),
    (Trailer, b"0\r\n", b"Trailer: a\r\n\r\n", b"ETag: a\r\n\r\n"),
    (
        Trailer,
        b"0\r\n",
        b"Authorization: a\r\n\r\n",
        b"Digest: a\r\n\r\n",
    ),
    (Trailer, b"0\r\n", b"If-Match: a\r\n\r\n", b"I: a\r\n\r\n"),
    (
        Trailer,
        b"0\r\n",
        b"X-Forwarded-For: a\r\n\r\n",
        b"X-Forward: a\r\n\r\n",
    ),
];

#[test]
fn chunks() {
    for &(why, before, wrong, right) in CHUNKS {
        let most = HEAD.len() + before.len();
        refuses(requests, &[HEAD, before, wrong].concat(), most, why);
        if !right.is_empty() {
            passes(requests, &[HEAD, before, right].concat());
        }
        let mut sieve = requests();
        assert_eq!(sieve.pass(&[HEAD, before].concat()), Ok(most));
    }
}

#[test]
fn the_largest_chunk_is_too_much_to_come() {
    let mut sieve = requests();
    let size = [HEAD, b"7fffffffffffffff\r\nx"].concat();
    assert_eq!(sieve.pass(&size), Ok(size.len()));
    assert_eq!(sieve.phase(), Phase::Body);
    assert_eq!(sieve.end(), Err(Truncated));
}

#[test]
fn chunks_of_all_sizes_and_their_trailers_pass() {
    passes(requests, &[HEAD, b"0\r\n\r\n"].concat());
    let body = b"3\r\n\r\n\r\r\n00A\r\n0123456789\r\na\r\n9876543210\r\n000\r\nA: b\r\nC:\r\n\r\n";
    passes(requests, &[HEAD, body].concat());
}

#[test]
fn a_body_is_as_long_as_it_says() {
    let post =
        |length: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let next = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    passes(requests, format!("{}{next}{next}", post("27")).as_bytes());
    passes(requests, format!("{}x{next}", post("1")).as_bytes());
    // The classic: what one takes for a body is a request to the other.
    let both =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n";
    refuses(
        requests,
        format!("{both}0\r\n\r\nG").as_bytes(),
        0,
        LengthAndEncoding,
    );

    let mut sieve = requests();
    let longest = post("9223372036854775807");
    assert_eq!(sieve.pass(longest.as_bytes()), Ok(longest.len()));
    assert_eq!(sieve.pass(&[0; 4096]), Ok(4096));
    assert_eq!(sieve.phase(), Phase::Body);
}

#[test]
fn a_stream_may_end_between_messages_only() {
    let whole = [HEAD, b"1\r\nx\r\n0\r\nA: b\r\n\r\n"].concat();
    for end in 1..whole.len() {
        let mut sieve = requests();
        sieve.pass(&whole[..end]).unwrap();
        assert_ne!(sieve.phase(), Phase::Between);
        assert_eq!(
            sieve.end(),
            Err(Truncated),
            "{}",
            whole[..end].escape_ascii()
        );
        assert_eq!(sieve.pass(&whole[end..]), Err(Truncated));
    }
    passes(requests, &whole);
    passes(requests, b"");
}

#[test]
fn phases_are_told() {
    let mut sieve = requests();
    assert_eq!(sieve.phase(), Phase::Between);
    assert_eq!(sieve.pass(&HEAD[..1]), Ok(0));
    assert_eq!(sieve.phase(), Phase::Head);
    assert_eq!(sieve.pass(HEAD), Ok(HEAD.len()));
    assert_eq!(sieve.phase(), Phase::Body);
    assert_eq!(sieve.pass(b"0\r\n\r\n"), Ok(5));
    assert_eq!(sieve.phase(), Phase::Between);
    sieve.become_opaque();
    assert_eq!(sieve.pass(b"\0\n\xff"), Ok(3));
    assert_eq!(sieve.phase(), Phase::Opaque);
}

#[test]
fn what_is_refused_stays_so() {
    let mut sieve = requests();
    assert_eq!(sieve.pass(b"\r\n"), Err(EmptyLine));
    sieve.become_opaque();
    assert_eq!(
        sieve.pass(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Err(EmptyLine)
    );
    assert_eq!(sieve.end(), Err(EmptyLine));
    assert_eq!(sieve.phase(), Phase::Refused);
}
