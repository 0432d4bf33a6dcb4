//! Random streams: mostly right, with what parsers disagree on strewn in.

use proptest::{collection::vec, prelude::*, sample::select};

const LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "GET /a?b=c HTTP/1.1",
    "POST /a HTTP/1.1",
    "HEAD / HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET http://a/x HTTP/1.1",
    "DELETE //a/../b%2f HTTP/1.1",
    "PUT /a HTTP/1.0",
];

const WRONG_LINES: &[&str] = &[
    "GET  / HTTP/1.1",
    "GET /",
    "GET / HTTP/2.0",
    "CONNECT a:80 HTTP/1.1",
    "GET * HTTP/1.1",
    "GET /# HTTP/1.1",
    "GET http://b/ HTTP/1.1",
    "GET http://a HTTP/1.1",
    "PRI * HTTP/2.0",
    "SSH-2.0-x",
];

const HOSTS: &[&str] = &["Host: a", "host:a", "HOST: A"];

const FIELDS: &[&str] = &[
    "A: b",
    "A:",
    "x-y: \t z \t",
    "Connection: keep-alive",
    "Connection: Keep-Alive, Upgrade",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "TE: trailers",
    "Trailer: x",
    "X: \u{e9}",
];

const ODD_FIELDS: &[&str] = &[
    "Connection: close",
    "Connection: host",
    "Host: a",
    "Host: b",
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: 03",
    "Content-Length: +3",
    "Content-Length: 3, 3",
    "Content-Length : 3",
    "Content_Length: 3",
    "Content-Length:\t3",
    "Content-Length: 9223372036854775807",
    "Content-Length: 9223372036854775808",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "transfer_encoding: chunked",
    " folded",
    "nothing",
    "Expect: x",
    "A: b\rC: d",
    "A: b\nC: d",
    "A: \0",
    ": b",
];

const TRAILERS: &[&str] = &["", "A: b\r\n", "A: b\r\nC:\r\n", "ETag: \u{e9}\r\n"];
const ODD_TRAILERS: &[&str] = &[
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "x\r\n",
    " x: y\r\n",
    "If-Match: a\r\n",
    "content_type: a\r\n",
    "A: b\n",
];

/// One that is right nine times of ten.
fn mostly(
    right: &'static [&'static str],
    wrong: &'static [&'static str],
) -> impl Strategy<Value = String> {
    prop_oneof![9 => select(right), 1 => select(wrong)].prop_map(str::to_owned)
}

#[derive(Clone, Debug)]
enum Framing {
    None,
    Length(Vec<u8>),
    Chunked(Vec<(usize, Vec<u8>)>, String),
}

fn framing() -> impl Strategy<Value = Framing> {
    let body = || {
        prop_oneof![
            vec(any::<u8>(), 0..20),
            Just(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec())
        ]
    };
    let chunk = (1..4_usize, vec(any::<u8>(), 1..20));
    prop_oneof![
        Just(Framing::None),
        body().prop_map(Framing::Length),
        (vec(chunk, 0..4), mostly(TRAILERS, ODD_TRAILERS))
            .prop_map(|(chunks, trailers)| Framing::Chunked(chunks, trailers)),
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let fields = vec(mostly(FIELDS, ODD_FIELDS), 0..4);
    let line = prop_oneof![19 => select(LINES), 1 => select(WRONG_LINES)];
    (line, select(HOSTS), fields, framing()).prop_map(|(line, host, fields, framing)| {
        let mut head = format!("{line}\r\n{host}\r\n");
        for field in fields {
            head += &format!("{field}\r\n");
        }
        let (field, body) = framed(framing);
        head += &format!("{field}\r\n");
        // A character a byte: what is in the tables is Latin-1.
        head.chars().map(|c| c as u8).chain(body).collect()
    })
}

/// The field that announces a body, and the body.
fn framed(framing: Framing) -> (String, Vec<u8>) {
    match framing {
        Framing::None => (String::new(), Vec::new()),
        Framing::Length(body) => (format!("Content-Length: {}\r\n", body.len()), body),
        Framing::Chunked(chunks, trailers) => {
            let mut body = Vec::new();
            for (digits, chunk) in chunks {
                body.extend_from_slice(format!("{:0digits$x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(&chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend(format!("0\r\n{trailers}\r\n").chars().map(|c| c as u8));
            ("Transfer-Encoding: chunked\r\n".to_owned(), body)
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Delete,
    Insert(u8),
    Replace(u8),
    Repeat(usize),
    Cut,
}

fn change() -> impl Strategy<Value = Change> {
    let byte = || select(b"\r\n \t:;,.0159aFfxX+-_#%*/?@[]\\\0\x0b\x7f\x80\xff".to_vec());
    prop_oneof![
        3 => Just(Change::Delete),
        3 => byte().prop_map(Change::Insert),
        3 => byte().prop_map(Change::Replace),
        1 => (1..20_usize).prop_map(Change::Repeat),
        1 => Just(Change::Cut),
    ]
}

fn changed(mut input: Vec<u8>, at: usize, change: &Change) -> Vec<u8> {
    if input.is_empty() {
        return input;
    }
    let at = at % input.len();
    match *change {
        Change::Delete => drop(input.remove(at)),
        Change::Insert(byte) => input.insert(at, byte),
        Change::Replace(byte) => input[at] = byte,
        Change::Repeat(length) => {
            let again = input[at..input.len().min(at + length)].to_vec();
            input.splice(at..at, again);
        }
        Change::Cut => input.truncate(at),
    }
    input
}

/// A few messages in a row, as they are or with a few changes.
pub(super) fn stream() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop_oneof![
        2 => vec((any::<usize>(), change()), 0..1),
        3 => vec((any::<usize>(), change()), 1..3),
    ];
    (vec(message(), 1..4), changes).prop_map(|(messages, changes)| {
        let input = messages.concat();
        changes
            .iter()
            .fold(input, |input, (at, change)| changed(input, *at, change))
    })
}

/// Bytes of which many mean something.
pub(super) fn noise() -> impl Strategy<Value = Vec<u8>> {
    let words = LINES
        .iter()
        .chain(ODD_FIELDS)
        .chain(TRAILERS)
        .chain(&["\r\n", "\r\n\r\n", "0", "a"]);
    let words: Vec<Vec<u8>> = words.map(|word| word.as_bytes().to_vec()).collect();
    let piece = prop_oneof![select(words), vec(any::<u8>(), 0..8)];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
