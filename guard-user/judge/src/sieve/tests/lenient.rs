//! hyper, which is lenient, reads what passes as it was meant.

use std::{cell::RefCell, future::poll_fn, rc::Rc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, Uri, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{
    super::{Limits, Malformed, SievedIo},
    naive,
    random::stream,
    requests, whole,
};

type Seen = Rc<RefCell<Vec<naive::Request>>>;

async fn see(
    seen: Seen,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    seen.borrow_mut().push(naive::Request {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        body,
    });
    Ok(Response::new(Empty::new()))
}

/// The complete requests that hyper finds in a stream that goes through the sieve, why the sieve refused more, and
/// what the client has got. The refusal is answered as a proxy has to.
async fn served(input: &[u8]) -> (Vec<naive::Request>, Option<Malformed>, String) {
    let (mut client, server) = duplex(1 << 20);
    client.write_all(input).await.unwrap();
    client.shutdown().await.unwrap();
    let seen = Seen::default();
    let service = service_fn(|request| Box::pin(see(Rc::clone(&seen), request)));
    let io = SievedIo::new(server, requests());
    let watch = io.watch();
    // What comes after a request has to wait until that is answered: its refusal would end the answer.
    let mut connection = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let refusal = watch.refusal();
    let known = ended.err().and_then(|error| Malformed::behind(&error));
    assert!(known.is_none() || known == refusal, "{known:?}");
    let mut io = connection.into_parts().io.into_inner();
    if let Some(why) = refusal {
        let answer = format!("HTTP/1.1 {}\r\n\r\n", why.status());
        io.write_all(answer.as_bytes()).await.unwrap();
    }
    drop(io);
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    let seen = seen.borrow().clone();
    (seen, refusal, answers)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

proptest! {
    #![proptest_config(guard_rounds::rounds(1024))]

    #[test]
    fn hyper_finds_the_same_requests(input in stream()) {
        let reading = naive::read(&input, &Limits::default());
        let (seen, refused, _) = block_on(served(&input));
        let expected: Vec<_> = reading.requests.iter().map(as_hyper_says).collect();
        prop_assert_eq!(seen, expected, "{:?}", refused);
        if reading.refused {
            prop_assert_eq!(refused, whole(requests(), &input).1);
        }
    }
}

/// hyper writes a scheme in lower case, and that is all that it changes.
fn as_hyper_says(request: &naive::Request) -> naive::Request {
    let mut request = request.clone();
    if let Some(colon) = request
        .target
        .find("://")
        .filter(|_| !request.target.starts_with('/'))
    {
        request.target[..colon].make_ascii_lowercase();
    }
    request
}

#[test]
fn hyper_reads_each_byte_that_a_target_may_have() {
    for byte in 0..=u8::MAX {
        for before in ["/", "/?"] {
            let target = [before.as_bytes(), &[byte]].concat();
            let head = [b"GET ", &target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            if whole(requests(), &head).0 > 0 {
                let uri = Uri::try_from(&target[..]).unwrap();
                assert_eq!(uri.to_string().as_bytes(), target);
            }
        }
    }
}

#[test]
fn hyper_reads_what_is_as_large_as_it_may_be() {
    let limits = Limits::default();
    let fields = "X:\r\n".repeat(limits.fields - 2);
    let trailers = "X:\r\n".repeat(limits.fields);
    let many = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{fields}Transfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n"
    );
    let target = "x".repeat(limits.start_line - "GET / HTTP/1.1\r\n".len());
    let line = format!("GET /{target} HTTP/1.1\r\nHost: a\r\n");
    let value = "x".repeat(limits.head - line.len() - "X:\r\n\r\n".len());
    let long = format!("{line}X:{value}\r\n\r\n");
    let value = "x".repeat(limits.trailers - "X:\r\n\r\n".len());
    let late = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX:{value}\r\n\r\n"
    );
    for input in [many, long, late] {
        assert_eq!(whole(requests(), input.as_bytes()), (input.len(), None));
        let (seen, refused, _) = block_on(served(input.as_bytes()));
        assert_eq!((seen.len(), refused), (1, None), "{}", &input[..60]);
    }
}

#[test]
fn a_refusal_can_be_answered_after_what_came_before_it() {
    let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bad, status) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            "400",
        ),
        ("CONNECT a:1 HTTP/1.1\r\n", "501"),
        ("\n", "400"),
    ] {
        let input = [good, good, bad].concat();
        let (seen, _, answers) = block_on(served(input.as_bytes()));
        let statuses: Vec<_> = answers
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|text| &text[..3])
            .collect();
        assert_eq!(
            (seen.len(), &statuses[..]),
            (2, &["200", "200", status][..]),
            "{answers}"
        );
    }
}
