//! What a server sends.

use super::{
    super::{
        Looks,
        Malformed::{self, *},
        Phase, SentRequest, Sieve,
    },
    refuses, responses,
};

const GET: SentRequest = SentRequest {
    head: false,
    upgrade: false,
};
const HEAD: SentRequest = SentRequest {
    head: true,
    upgrade: false,
};
const UPGRADE: SentRequest = SentRequest {
    head: false,
    upgrade: true,
};

fn to_get() -> Sieve {
    responses(&[GET])
}

/// All of it is the answers to these, and no more is expected.
fn answers(asked: &[SentRequest], input: &[u8]) {
    let mut sieve = responses(asked);
    let text = input.escape_ascii();
    assert_eq!(sieve.pass(input), Ok(input.len()), "{text}");
    assert_eq!(sieve.phase(), Phase::Between, "{text}");
    assert_eq!(sieve.pass(b"H"), Err(Unasked), "{text}");
}

/// A response that is wrong, then right.
const TABLE: &[(Malformed, &[u8], &[u8])] = &[
    (
        StatusLine,
        b"HTTP/1.1  200 OK\r\nContent-Length:0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:0\r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/2 204 No\r\n\r\n",
        b"HTTP/1.0 204 No\r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/1.1 20 \r\n\r\n",
        b"HTTP/1.1 204 \r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/1.1 2040\r\n\r\n",
        b"HTTP/1.1 204\r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/1.1 +20 \r\n\r\n",
        b"HTTP/1.1 204 +\r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/1.1 099 \r\n\r\n",
        b"HTTP/1.1 304 \r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/1.1 9990 \r\n\r\n",
        b"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/1.1 204 \0\r\n\r\n",
        b"HTTP/1.1 204 \xc3\xa9\r\n\r\n",
    ),
    (
        StatusLine,
        b"HTTP/1.1 204 a\rb\r\n\r\n",
        b"HTTP/1.1 204 a\tb\r\n\r\n",
    ),
    (
        StatusLine,
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 204 OK\r\n\r\n",
    ),
    (BareLf, b"HTTP/1.1 204 No\n\n", b"HTTP/1.1 204 No\r\n\r\n"),
    (
        NotHttp(Looks::Ssh),
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
    ),
    (NotHttp(Looks::Tls), b"\x16\x03", b"HTTP/1.1 204 No\r\n\r\n"),
    (
        EmptyLine,
        b"\r\nHTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
    ),
    (
        Fold,
        b"HTTP/1.1 204 No\r\nA: b\r\n c: d\r\n\r\n",
        b"HTTP/1.1 204 No\r\nA: b\r\nc: d\r\n\r\n",
    ),
    (
        SecondLength,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        LengthAndEncoding,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        EncodingInOld,
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n",
    ),
    (
        Encoding,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        LengthOfNothing,
        b"HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        LengthOfNothing,
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        LengthOfNothing,
        b"HTTP/1.1 100 Go on\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 304 No\r\nContent-Length: 1\r\n\r\n",
    ),
    (
        SwitchUnasked,
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    ),
];

#[test]
fn each_refusal_beside_what_passes() {
    for &(why, wrong, right) in TABLE {
        refuses(to_get, wrong, 0, why);
        answers(&[GET], right);
    }
}

#[test]
fn a_server_that_says_more_than_it_was_asked_is_cut_off() {
    let one = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    answers(&[GET], one);
    refuses(to_get, &[&one[..], b"y"].concat(), one.len(), Unasked);
    refuses(to_get, &[&one[..], b"\r\n"].concat(), one.len(), Unasked);
    refuses(to_get, &[one, &one[..]].concat(), one.len(), Unasked);
    answers(&[GET, GET], &[one, &one[..]].concat());
    refuses(
        || responses(&[]),
        b"HTTP/1.1 408 Timeout\r\n\r\n",
        0,
        Unasked,
    );
}

#[test]
fn a_server_that_says_less_than_it_announced_is_found_out() {
    let one = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    for end in 1..one.len() {
        let mut sieve = to_get();
        sieve.pass(&one[..end]).unwrap();
        assert_eq!(sieve.end(), Err(Truncated));
    }
    answers(&[GET], one);
}

#[test]
fn the_request_decides_whether_there_is_a_body() {
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let until_close = b"HTTP/1.1 200 OK\r\n\r\n";
    for head in [&length[..], chunked, until_close] {
        answers(&[HEAD], head);
        let mut sieve = to_get();
        assert_eq!(sieve.pass(head), Ok(head.len()));
        assert_eq!(sieve.phase(), Phase::Body);
    }
    let heads = [&length[..], &length[..], b"hello"].concat();
    answers(&[HEAD, GET], &heads);
}

#[test]
fn a_body_until_the_end_is_never_over() {
    let mut sieve = responses(&[GET, GET]);
    let head = b"HTTP/1.0 200 OK\r\n\r\n";
    assert_eq!(sieve.pass(head), Ok(head.len()));
    assert_eq!(sieve.pass(head), Ok(head.len()));
    assert_eq!(sieve.phase(), Phase::Body);
    assert_eq!(sieve.end(), Ok(()));
}

#[test]
fn after_a_change_of_protocol_all_passes() {
    let input = b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n\x81\0\n";
    let mut sieve = responses(&[UPGRADE]);
    assert_eq!(sieve.pass(input), Ok(input.len()));
    assert_eq!(sieve.phase(), Phase::Opaque);
    answers(
        &[UPGRADE, GET],
        b"HTTP/1.1 204 \r\n\r\nHTTP/1.1 204 \r\n\r\n",
    );
}
