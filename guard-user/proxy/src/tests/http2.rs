//! HTTP/2 without TLS, by prior knowledge.

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http2, server, service::service_fn};
use hyper_util::rt::TokioIo;

use super::*;
use crate::{
    body::{self, Body},
    upstream::LocalExecutor,
};

/// A destination that echoes bodies, and writes down methods and paths.
pub(super) async fn destination() -> (SocketAddr, Rc<RefCell<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let arrived: Rc<RefCell<Vec<String>>> = Rc::default();
    let all = Rc::clone(&arrived);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let all = Rc::clone(&all);
            let service = service_fn(move |request: Request<Incoming>| {
                let line = format!("{} {}", request.method(), request.uri());
                all.borrow_mut().push(line);
                async move { Ok::<_, hyper::Error>(http::Response::new(request.into_body())) }
            });
            let serving = server::conn::http2::Builder::new(LocalExecutor);
            spawn_local(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    (at, arrived)
}

async fn client(lab: &Lab) -> http2::SendRequest<Body> {
    let stream = TokioIo::new(lab.client().await);
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .handshake(stream)
        .await
        .unwrap();
    spawn_local(connection);
    sender
}

fn request(method: Method, body: &'static str) -> Request<Body> {
    let request = Request::builder().method(method).uri("http://photos/x?y=1");
    request.body(body::full(body)).unwrap()
}

#[tokio::test]
async fn reads_pass_and_writes_are_stopped_on_one_connection() {
    here(async {
        let (to, arrived) = destination().await;
        let lab = Lab::new(read_only(), no(), to).await;
        let mut sender = client(&lab).await;
        let read = sender.send_request(request(Method::GET, ""));
        assert_eq!(read.await.unwrap().status(), StatusCode::OK);
        let write = sender.send_request(request(Method::POST, "hello"));
        let stopped = write.await.unwrap();
        assert_eq!(stopped.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            stopped.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(*arrived.borrow(), ["GET http://photos/x?y=1"]);
    })
    .await;
}

#[tokio::test]
async fn what_a_person_allows_arrives_whole() {
    here(async {
        let (to, arrived) = destination().await;
        let lab = Lab::new(read_only(), Some(AskAnswer::Yes), to).await;
        let mut sender = client(&lab).await;
        let answer = sender.send_request(request(Method::POST, "hello")).await;
        let echoed = answer.unwrap().into_body().collect().await.unwrap();
        assert_eq!(echoed.to_bytes(), "hello");
        assert_eq!(*arrived.borrow(), ["POST http://photos/x?y=1"]);
        assert_eq!(lab.guardd.asked.borrow()[0].host.as_deref(), Some("photos"));
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_request_is_said_to_what_speaks_no_http2() {
    here(async {
        let to = Destination::new(b"SM\r\n\r\n", b"ERROR unknown command\r\n", 9).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let mut sender = client(&lab).await;
        let read = sender.send_request(request(Method::GET, ""));
        assert_eq!(read.await.unwrap().status(), StatusCode::BAD_GATEWAY);
        // The preface, and what hyper says before it knows of any request.
        let arrived = to.arrived.borrow().concat();
        let headers = arrived
            .windows(6)
            .filter(|bytes| bytes[..3] == [0x87, 0x82, 0x84] || *bytes == b"photos");
        assert_eq!(headers.count(), 0, "{arrived:?}");
        assert!(arrived.starts_with(b"PRI * HTTP/2.0"));
    })
    .await;
}

#[tokio::test]
async fn two_names_of_a_host_are_one_too_many() {
    here(async {
        let (to, arrived) = destination().await;
        let lab = Lab::new(read_only(), no(), to).await;
        let mut sender = client(&lab).await;
        let mut odd = request(Method::GET, "");
        odd.headers_mut().insert("host", "staging".parse().unwrap());
        assert_eq!(
            sender.send_request(odd).await.unwrap().status(),
            StatusCode::BAD_REQUEST
        );
        let mut odd = request(Method::GET, "");
        odd.headers_mut()
            .insert("content_length", "3".parse().unwrap());
        assert_eq!(
            sender.send_request(odd).await.unwrap().status(),
            StatusCode::BAD_REQUEST
        );
        assert!(arrived.borrow().is_empty());
    })
    .await;
}

/// The first nine bytes are of the destination's SETTINGS, or of the proxy's own.
const IS_SETTINGS: [u8; 6] = [4, 0, 0, 0, 0, 0];

/// RFC 9113 3.4: a server may send its SETTINGS before its client has said anything, and such a client may wait for them.
#[tokio::test]
async fn a_client_may_wait_for_what_the_destination_says_at_once() {
    here(async {
        let (to, arrived) = destination().await;
        let lab = Lab::new(read_only(), no(), to).await;
        for number in 1..=50 {
            let stream = lab.client().await;
            let mut first = [0; 9];
            while stream.peek(&mut first).await.unwrap() < first.len() {}
            assert_eq!(first[3..], IS_SETTINGS);
            let (mut sender, connection) = http2::Builder::new(LocalExecutor)
                .handshake(TokioIo::new(stream))
                .await
                .unwrap();
            spawn_local(connection);
            let read = sender.send_request(request(Method::GET, ""));
            assert_eq!(read.await.unwrap().status(), StatusCode::OK);
            let write = sender.send_request(request(Method::POST, "hello"));
            assert_eq!(write.await.unwrap().status(), StatusCode::FORBIDDEN);
            assert_eq!(arrived.borrow().len(), number);
        }
        assert!(arrived.borrow().iter().all(|line| line.starts_with("GET ")));
    })
    .await;
}

/// A client that speaks something else is told nothing of it, and nothing of what it says arrives.
#[tokio::test]
async fn what_is_no_http2_does_not_pass_to_what_has_said_that_it_is() {
    for (begins, why) in [
        (&b"GET / HTTP/1.1\r\nHost: photos\r\n\r\n"[..], "does not"),
        (b"\x05\x01\0", "SOCKS"),
        (b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n", "does not"),
    ] {
        here(async {
            let (to, arrived) = destination().await;
            let lab = Lab::new(read_only(), no(), to).await;
            let mut stream = lab.client().await;
            stream.read_exact(&mut [0; 9]).await.unwrap();
            stream.write_all(begins).await.unwrap();
            let mut rest = Vec::new();
            // It may be reset.
            let _ = stream.read_to_end(&mut rest).await;
            let is_refused = |entry: &Entry| entry.why.as_ref().is_some_and(|w| w.contains(why));
            lab.guardd
                .until("it is written down", |guardd| {
                    guardd.logged.borrow().iter().any(is_refused)
                })
                .await;
            assert!(arrived.borrow().is_empty());
        })
        .await;
    }
}

/// RFC 9113 8.1: the answer is there, whatever is not read of the request.
#[tokio::test]
async fn who_still_sends_a_long_body_is_told_that_it_is_stopped() {
    here(async {
        let (to, arrived) = destination().await;
        let lab = Lab::new(read_only(), no(), to).await;
        let mut sender = client(&lab).await;
        let long = request(Method::PUT, "").map(|_| body::full(vec![7; 8 << 20]));
        let stopped = sender.send_request(long).await.unwrap();
        assert_eq!(stopped.status(), StatusCode::FORBIDDEN);
        let problem = stopped.into_body().collect().await.unwrap().to_bytes();
        assert!(problem.starts_with(b"{\n  \"type\": \"urn:guard:stopped\""));
        assert!(arrived.borrow().is_empty());
    })
    .await;
}
