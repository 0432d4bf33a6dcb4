//! Answers that servers write in another way than RFC 9112 has it.

use super::*;

/// What a server answers, and what the client reads: the status, fields, and the body.
const TABLE: &[(&[u8], &str, &str)] = &[
    // Blanks around a length (RFC 9112 5.1), and before a colon.
    (
        b"HTTP/1.1 200 OK\r\nContent-Length:   2 \t\r\nX-A :  b  \r\n\r\nok",
        "200 x-a: b\n",
        "ok",
    ),
    // Extensions of chunks, and blanks behind a size (RFC 9112 7.1.1).
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\no\r\n1  \r\nk\r\n0;end\r\n\r\n",
        "200 ",
        "ok",
    ),
    // The same length twice, in two fields and in one.
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "200 ",
        "ok",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "200 ",
        "ok",
    ),
    // Both: the chunks win (RFC 9112 6.3), whatever the length is.
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: Chunked \r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "200 ",
        "ok",
    ),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 002\r\n\r\nok",
        "200 ",
        "ok",
    ),
    // Lines that end with LF alone.
    (
        b"HTTP/1.1 200 OK\nContent-Length: 2\nX-A: b\n\nok",
        "200 x-a: b\n",
        "ok",
    ),
    (
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\nX-B: c\n\n",
        "200 ",
        "ok",
    ),
    // A folded line.
    (
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n  c\r\n\td\r\nContent-Length: 2\r\n\r\nok",
        "200 x-a: b c d\n",
        "ok",
    ),
    // What has no body has none, whatever it says.
    (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "204 ", ""),
    (
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
        "204 ",
        "",
    ),
    (
        b"HTTP/1.1 103 Early\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "200 ",
        "ok",
    ),
    // Statuses that nobody knows.
    (
        b"HTTP/1.1 999 Denied\r\nContent-Length: 2\r\n\r\nok",
        "999 ",
        "ok",
    ),
    // A trailer that is of no use so late.
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Type: x\r\n\r\n",
        "200 ",
        "ok",
    ),
    // Until the end.
    (b"HTTP/1.0 200 OK\nX-A: b\n\nok", "200 x-a: b\n", "ok"),
];

/// What a client reads: the status, and of the fields those that begin so; and the body.
fn told(answer: &str) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let lower = head.to_lowercase();
    let kept: String = lower
        .split("\r\n")
        .filter(|line| line.starts_with("x-"))
        .map(|line| format!("{line}\n"))
        .collect();
    let body = if lower.contains("\r\ntransfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    (format!("{} {kept}", status.unwrap_or_default()), body)
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        match usize::from_str_radix(size, 16).unwrap() {
            0 => return whole,
            size => {
                whole.push_str(&rest[..size]);
                body = rest[size..].strip_prefix("\r\n").unwrap();
            }
        }
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: photos\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn answers_are_read_as_clients_read_them_and_written_anew() {
    here(async {
        for &(answer, head, body) in TABLE {
            let to = Destination::new(b"\r\n\r\n", answer, 1).await;
            let lab = Lab::new(read_only(), no(), to.at).await;
            let got = lab.exchange(GET).await;
            let expected = (head.to_owned(), body.to_owned());
            assert_eq!(told(&got), expected, "{}: {got}", answer.escape_ascii());
            assert!(!got.to_lowercase().contains("content-length: 99"), "{got}");
        }
    })
    .await;
}

/// However the bytes come, and whatever came before them on the same connection.
#[tokio::test]
async fn answers_that_come_byte_by_byte_are_the_same() {
    here(async {
        for &(answer, head, body) in TABLE {
            let to = dripping(answer).await;
            let lab = Lab::new(read_only(), no(), to).await;
            let mut client = lab.client().await;
            client
                .write_all(b"GET /first HTTP/1.1\r\nHost: photos\r\n\r\n")
                .await
                .unwrap();
            let mut first = [0; FIRST.len()];
            client.read_exact(&mut first).await.unwrap();
            assert_eq!(first, FIRST);
            client.write_all(GET).await.unwrap();
            let mut got = String::new();
            client.read_to_string(&mut got).await.unwrap();
            let expected = (head.to_owned(), body.to_owned());
            assert_eq!(told(&got), expected, "{}: {got}", answer.escape_ascii());
        }
    })
    .await;
}

const FIRST: [u8; 43] = *b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";

/// A destination that answers twice on a connection: as it should, and then so, a byte at a time.
async fn dripping(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut got = Vec::new();
        let mut asked = async |times: usize, stream: &mut TcpStream| {
            while got.windows(4).filter(|end| end == b"\r\n\r\n").count() < times {
                assert!(stream.read_buf(&mut got).await.unwrap() > 0);
            }
        };
        asked(1, &mut stream).await;
        stream.write_all(&FIRST).await.unwrap();
        asked(2, &mut stream).await;
        for byte in answer {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    at
}

#[tokio::test]
async fn an_answer_may_have_more_fields_than_a_request() {
    here(async {
        let fields: String = (0..400).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        let to = Destination::new(b"\r\n\r\n", answer.leak().as_bytes(), 1).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let got = lab.exchange(GET).await;
        assert_eq!(got.matches("\r\nX-").count(), 400, "{got}");
        assert!(got.ends_with("\r\n\r\nok"));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_has_no_one_reading_is_not_passed_on() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: first\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: b\rX-C: d\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 2\r\n\r\nok",
        b"ICY 200 OK\r\n\r\nok",
        b"SSH-2.0-x\r\n\r\n",
    ] {
        here(async {
            let to = Destination::new(b"\r\n\r\n", answer, 1).await;
            let lab = Lab::new(read_only(), no(), to.at).await;
            let got = lab.exchange(GET).await;
            let text = answer.escape_ascii();
            assert!(got.starts_with("HTTP/1.1 502 "), "{text}: {got}");
            assert!(got.contains("is not HTTP"), "{text}: {got}");
        })
        .await;
    }
}
