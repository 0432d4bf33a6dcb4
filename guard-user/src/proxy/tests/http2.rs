//! HTTP/2 without TLS, by prior knowledge.

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http2, server, service::service_fn};
use hyper_util::rt::TokioIo;

use super::*;
use crate::proxy::{
    body::{self, Body},
    upstream::Here,
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
            let serving = server::conn::http2::Builder::new(Here);
            spawn_local(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    (at, arrived)
}

async fn client(lab: &Lab) -> http2::SendRequest<Body> {
    let stream = TokioIo::new(lab.client().await);
    let (sender, connection) = http2::Builder::new(Here).handshake(stream).await.unwrap();
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
        let lab = Lab::new(read_only(), Some(Answer::Yes), to).await;
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
