//! Heads of requests: each refusal, and beside it what is almost the same and passes.

use super::{
    super::{
        Limits, Looks,
        Malformed::{self, *},
        Sieve,
    },
    passes, refuses, requests, whole,
};

/// Request line, and Host, that are wrong, then right.
const LINES: &[(Malformed, &[u8], &[u8])] = &[
    (RequestLine, b"GET  / HTTP/1.1", b"GET / HTTP/1.1"),
    (RequestLine, b"GET /  HTTP/1.1", b"GET / HTTP/1.1"),
    (RequestLine, b"GET / HTTP/1.1 ", b"GET / HTTP/1.1"),
    (RequestLine, b"GET /a b HTTP/1.1", b"GET /a%20b HTTP/1.1"),
    (RequestLine, b"GET", b"GET / HTTP/1.1"),
    (RequestLine, b"GET / HTTP/1.1x", b"GET / HTTP/1.1"),
    (RequestLine, b"GET / http/1.1", b"GET / HTTP/1.1"),
    (RequestLine, b"GET / HTTP/01.1", b"GET / HTTP/1.1"),
    (RequestLine, b"GET / HTTP/1.1\t", b"GET / HTTP/1.1"),
    (Version, b"GET /", b"GET / HTTP/1.1"),
    (Version, b"GET / HTTP/0.9", b"GET / HTTP/1.0"),
    (Version, b"GET / HTTP/1.2", b"GET / HTTP/1.1"),
    (Version, b"GET / HTTP/2.0", b"GET / HTTP/1.1"),
    (Version, b"PRI * HTTP/2.0", b"OPTIONS * HTTP/1.1"),
    (Method, b"GET\t/ HTTP/1.1", b"GET / HTTP/1.1"),
    (Method, b"G@T / HTTP/1.1", b"G.T / HTTP/1.1"),
    (Method, b"G\0T / HTTP/1.1", b"g!t / HTTP/1.1"),
    (
        MethodTooLong,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1",
    ),
    (Connect, b"CONNECT a:443 HTTP/1.1", b"CONNECTED / HTTP/1.1"),
    (Connect, b"connect / HTTP/1.1", b"GET /connect HTTP/1.1"),
    (BareCr, b"GET /\r HTTP/1.1", b"GET /%0D HTTP/1.1"),
    (BareCr, b"GET / HTTP/1.1\r", b"GET / HTTP/1.1"),
    (TargetForm, b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    (TargetForm, b"OPTIONS *a HTTP/1.1", b"OPTIONS /*a HTTP/1.1"),
    (TargetForm, b"GET a HTTP/1.1", b"GET /a HTTP/1.1"),
    (TargetForm, b"GET a:80 HTTP/1.1", b"GET /a:80 HTTP/1.1"),
    (TargetForm, b"GET ?q HTTP/1.1", b"GET /?q HTTP/1.1"),
    (
        TargetForm,
        b"GET ftp://a/ HTTP/1.1",
        b"GET http://a/ HTTP/1.1",
    ),
    (
        TargetForm,
        b"GET http://a HTTP/1.1",
        b"GET HTTP://A/ HTTP/1.1",
    ),
    (
        TargetForm,
        b"GET http://a?q HTTP/1.1",
        b"GET http://a/?q HTTP/1.1",
    ),
    (
        TargetForm,
        b"GET http://x@a/ HTTP/1.1",
        b"GET http://a/@ HTTP/1.1",
    ),
    (
        TargetForm,
        b"GET http:///a HTTP/1.1",
        b"GET https://a/a HTTP/1.1",
    ),
    (
        OtherHost,
        b"GET http://b/ HTTP/1.1",
        b"GET http://a/b HTTP/1.1",
    ),
    (
        OtherHost,
        b"GET http://a:80/ HTTP/1.1",
        b"GET http://a/:80 HTTP/1.1",
    ),
    (
        TargetByte(b'#'),
        b"GET /a#b HTTP/1.1",
        b"GET /a%23b HTTP/1.1",
    ),
    (
        TargetByte(b'#'),
        b"GET /a?b#c HTTP/1.1",
        b"GET /a?b?c HTTP/1.1",
    ),
    (TargetByte(0), b"GET /\0 HTTP/1.1", b"GET /%00 HTTP/1.1"),
    (TargetByte(9), b"GET /\t HTTP/1.1", b"GET /%09 HTTP/1.1"),
    (TargetByte(0x7f), b"GET /\x7f HTTP/1.1", b"GET /~ HTTP/1.1"),
    (
        TargetByte(0xc3),
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /%C3%A9 HTTP/1.1",
    ),
    (
        TargetByte(b'\\'),
        b"GET /a\\b HTTP/1.1",
        b"GET /a?\\b HTTP/1.1",
    ),
    (
        TargetByte(b'"'),
        b"GET /a?\" HTTP/1.1",
        b"GET /a?{|}^`[] HTTP/1.1",
    ),
];

/// A host that is wrong, then right.
const HOSTS: &[(Malformed, &[u8], &[u8])] = &[
    (Host, b"", b"a"),
    (Host, b"a b", b"a-b"),
    (Host, b"a,b", b"a.b."),
    (Host, b"a/b", b"a_b"),
    (Host, b"a@b", b"192.0.2.1:8080"),
    (Host, b"a:80@b", b"a:80"),
    (Host, b"a:", b"a:1"),
    (Host, b":80", b"0:80"),
    (Host, b"a:0", b"a:1"),
    (Host, b"a:080", b"a:80"),
    (Host, b"a:65536", b"a:65535"),
    (Host, b"a:+80", b"a:80"),
    (Host, b"a:80:80", b"a:80"),
    (Host, b"::1", b"[::1]"),
    (Host, b"[::1", b"[::1]:80"),
    (Host, b"[::1]80", b"[::1]:80"),
    (Host, b"[::1%25eth0]", b"[fe80::1]"),
    (Host, b"[v1.a]", b"[2001:db8::]"),
    (Host, b"a%41", b"aA"),
    (Host, b"\xc3\xa9", b"xn--9ca"),
    (Host, b"a#", b"a"),
    (OddBlanks, b" a", b"a"),
    (OddBlanks, b"a\t", b"a"),
];

#[test]
fn request_lines() {
    let head = |line: &[u8]| {
        [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            line,
            b"\r\nHost: a\r\n\r\n",
        ]
        .concat()
    };
    for &(why, wrong, right) in LINES {
        // As the second message: what is first on a connection may be something else than HTTP.
        refuses(requests, &head(wrong), 27, why);
        passes(requests, &head(right));
    }
}

#[test]
fn hosts() {
    let head = |host: &[u8]| [b"GET / HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat();
    for &(why, wrong, right) in HOSTS {
        refuses(requests, &head(wrong), 0, why);
        passes(requests, &head(right));
    }
}

#[test]
fn a_host_is_needed_but_in_http_1_0() {
    refuses(requests, b"GET / HTTP/1.1\r\n\r\n", 0, NoHost);
    refuses(requests, b"GET http://a/ HTTP/1.0\r\n\r\n", 0, NoHost);
    passes(requests, b"GET / HTTP/1.0\r\n\r\n");
    passes(requests, b"GET http://a/ HTTP/1.0\r\nHost: a\r\n\r\n");
    refuses(
        requests,
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        0,
        SecondHost,
    );
}

#[test]
fn http_1_0_has_no_transfer_encoding() {
    refuses(
        requests,
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        0,
        EncodingInOld,
    );
    passes(
        requests,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_refusal_does_not_wait_for_the_rest() {
    for (why, input) in [
        (BareLf, &b"GET / HTTP/1.1\n"[..]),
        (Version, b"GET /\r\n"),
        (Version, b"GET / HTTP/3.0\r\n"),
        (Fold, b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n"),
        (Method, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x16"),
        (EmptyLine, b"\r"),
        (EmptyLine, b"\n"),
        (
            EmptyLine,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n",
        ),
    ] {
        assert_eq!(
            whole(requests(), input).1,
            Some(why),
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn other_protocols_are_named() {
    for (looks, input) in [
        (Looks::Tls, &b"\x16\x03\x01\x02\x00\x01"[..]),
        (Looks::Ssh, b"SSH-2.0-OpenSSH_9.6\r\n"),
        (Looks::Socks, b"\x05\x01\x00"),
        (Looks::Smtp, b"EHLO a.example\r\n"),
        (Looks::Other, b"\0\0\0\x08\x04\xd2\x16\x2f"),
        (Looks::Other, b" GET / HTTP/1.1\r\n"),
        (Looks::Other, b"\xef\xbb\xbfGET / HTTP/1.1\r\n"),
    ] {
        refuses(requests, input, 0, NotHttp(looks));
    }
    passes(requests, b"SSH / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn http_2_begins_with_its_preface_or_not_at_all() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    refuses(requests, preface, 0, Preface);
    assert_eq!(whole(requests(), &preface[..23]), (0, None));
    refuses(requests, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", 0, Version);
    passes(requests, b"PR / HTTP/1.1\r\nHost: a\r\n\r\n");

    let mut sieve = requests();
    assert_eq!(sieve.pass(preface), Err(Preface));
    sieve.become_opaque();
    assert_eq!(
        sieve.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"),
        Ok(27)
    );
}

#[test]
fn nothing_follows_the_last_request() {
    let close = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let old = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    let kept = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    for last in [&close[..], old] {
        passes(requests, last);
        refuses(requests, &[last, old].concat(), last.len(), AfterClose);
    }
    passes(requests, &[&kept[..], close].concat());
}

#[test]
fn limits_hold_to_the_byte() {
    const LIMITS: Limits = Limits {
        start_line: 30,
        head: 60,
        fields: 3,
        trailers: 20,
    };
    let small = || Sieve::requests(LIMITS);
    let line = |more: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(more));
    passes(small, line(14).as_bytes());
    refuses(small, line(15).as_bytes(), 0, RequestLineTooLong);
    let head = |more: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(more)
        )
    };
    passes(small, head(28).as_bytes());
    refuses(small, head(29).as_bytes(), 0, HeadTooLong);
    let fields =
        |more: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X:\r\n".repeat(more));
    passes(small, fields(2).as_bytes());
    refuses(small, fields(3).as_bytes(), 0, TooManyFields);
    let body = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n";
    let trailers = |more: usize| format!("{body}X: {}\r\n\r\n", "x".repeat(more));
    passes(small, trailers(13).as_bytes());
    refuses(small, trailers(14).as_bytes(), body.len(), TrailersTooLong);
}
