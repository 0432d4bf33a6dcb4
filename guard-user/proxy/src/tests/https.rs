//! HTTPS: clients that trust the guard's authority, and destinations that are who they say, or not.

use std::sync::Arc;

use http::{Method, Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _,
    },
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::*;
use crate::{
    body::{self, Body},
    tls::Tls,
    upstream::LocalExecutor,
    wire::AuthorityScope,
};

const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";
const HTTP10: &[u8] = b"http/1.0";
const NAME: &str = "photos.example";

/// An authority that production has.
struct Company {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

struct Shown {
    chain: CertificateDer<'static>,
    key: KeyPair,
}

impl Company {
    fn new() -> Self {
        Self::named("company")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let chain = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Shown { chain, key }
    }
}

/// What people make for one machine: a certificate that has signed itself, and may be an authority's.
fn homemade(is_ca: IsCa) -> (Shown, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.is_ca = is_ca;
    let made = params.self_signed(&key).unwrap();
    let chain = made.der().clone();
    (Shown { chain, key }, made.pem())
}

type Arrived = Rc<RefCell<Vec<String>>>;

/// A destination that echoes bodies, and writes down requests.
async fn destination(shown: &Shown, alpn: &[&[u8]]) -> (SocketAddr, Arrived) {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.chain.clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let arrived = Arrived::default();
    let all = Rc::clone(&arrived);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(answer(acceptor.clone(), stream, Rc::clone(&all)));
        }
    });
    (at, arrived)
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, arrived: Arrived) {
    // A proxy that does not trust it breaks off.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let service = service_fn(move |request: Request<Incoming>| {
        let (method, version, uri) = (request.method(), request.version(), request.uri());
        arrived
            .borrow_mut()
            .push(format!("{method} {uri} {version:?}"));
        async move { Ok::<_, hyper::Error>(http::Response::new(request.into_body())) }
    });
    let stream = TokioIo::new(stream);
    let _ = if is_h2 {
        server::conn::http2::Builder::new(LocalExecutor)
            .serve_connection(stream, service)
            .await
    } else {
        server::conn::http1::Builder::new()
            .serve_connection(stream, service)
            .await
    };
}

/// A destination that asks for a certificate which the company has issued, and answers 403 to who has none, or has to see
/// one in the handshake.
async fn asking(
    company: &Company,
    has_to: bool,
    version: &'static SupportedProtocolVersion,
) -> SocketAddr {
    let shown = company.issue(NAME, |_| {});
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.serialize_der()));
    let mut roots = RootCertStore::empty();
    let pem = company.pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = if has_to {
        verifier
    } else {
        verifier.allow_unauthenticated()
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![shown.chain], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = service_fn(async |_: Request<Incoming>| {
                let mut answer = http::Response::new(body::full("forbidden"));
                *answer.status_mut() = StatusCode::FORBIDDEN;
                Ok::<_, hyper::Error>(answer)
            });
            let serving = server::conn::http1::Builder::new();
            spawn_local(async move {
                let _ = serving
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    at
}

/// A client that trusts a certificate (PEM), and speaks these.
async fn secured(
    lab: &Lab,
    trusted: &str,
    name: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    secured_on(lab.client().await, trusted, name, alpn).await
}

/// The same on a connection that is there.
async fn secured_on(
    stream: TcpStream,
    trusted: &str,
    name: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}

fn everywhere(tls: &Tls) -> String {
    tls.vouch(&AuthorityScope::default()).unwrap()
}

fn request(method: Method, uri: &str, body: &'static str) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", NAME);
    request.body(body::full(body)).unwrap()
}

/// What a destination answers by HTTP/1.1.
async fn ask(
    stream: TlsStream<TcpStream>,
    method: Method,
    body: &'static str,
) -> (StatusCode, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    let answer = sender
        .send_request(request(method, "/x?y=1", body))
        .await
        .unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The status of a read from a host.
async fn ask_for(stream: TlsStream<TcpStream>, host: &str) -> StatusCode {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    let mut request = request(Method::GET, "/x", "");
    request.headers_mut().insert("host", host.parse().unwrap());
    sender.send_request(request).await.unwrap().status()
}

#[tokio::test]
async fn reads_pass_and_a_person_is_asked_about_the_rest() {
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue(NAME, |_| {}), &[HTTP11]).await;
        let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
        let trusted = everywhere(&lab.tls);
        let stream = secured(&lab, &trusted, NAME, &[H2, HTTP11]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP11));
        assert_eq!(ask(stream, Method::GET, "").await.0, StatusCode::OK);
        let stream = secured(&lab, &trusted, NAME, &[]).await.unwrap();
        let (status, problem) = ask(stream, Method::POST, "hello").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
        assert_eq!(*arrived.borrow(), ["GET /x?y=1 HTTP/1.1"]);
        let asked = lab.guardd.asked.borrow();
        assert_eq!(asked[0].scheme, "https");
        assert_eq!(asked[0].host.as_deref(), Some(NAME));
    })
    .await;
}

#[tokio::test]
async fn both_ends_speak_http2_where_both_can() {
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue(NAME, |_| {}), &[H2, HTTP11]).await;
        let lab = Lab::trusting(read_only(), Some(AskAnswer::Yes), to, &company.pem()).await;
        let stream = secured(&lab, &everywhere(&lab.tls), NAME, &[H2, HTTP11])
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(H2));
        let (mut sender, connection) = http2::Builder::new(LocalExecutor)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        spawn_local(connection);
        let uri = "https://photos.example/x";
        let get = sender
            .send_request(request(Method::GET, uri, ""))
            .await
            .unwrap();
        assert_eq!(
            (get.status(), get.version()),
            (StatusCode::OK, Version::HTTP_2)
        );
        let put = sender
            .send_request(request(Method::PUT, uri, "hello"))
            .await
            .unwrap();
        assert_eq!(put.into_body().collect().await.unwrap().to_bytes(), "hello");
        let plain = request(Method::GET, "http://photos.example/x", "");
        let other = sender.send_request(plain).await.unwrap();
        assert_eq!(other.status(), StatusCode::BAD_REQUEST);
        let both = [
            "GET https://photos.example/x HTTP/2.0",
            "PUT https://photos.example/x HTTP/2.0",
        ];
        assert_eq!(*arrived.borrow(), both);
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_says_nothing_of_http2_is_spoken_to_in_http1() {
    here(async {
        let company = Company::new();
        let (to, _) = destination(&company.issue(NAME, |_| {}), &[]).await;
        let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
        let trusted = everywhere(&lab.tls);
        let stream = secured(&lab, &trusted, NAME, &[H2, HTTP11]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP11));
        assert_eq!(ask(stream, Method::GET, "").await.0, StatusCode::OK);
    })
    .await;
}

/// What a client hears of a destination that shows such a certificate, where the company's authority is trusted.
async fn told(company: &Company, shown: &Shown, name: &str) -> String {
    let (to, arrived) = destination(shown, &[HTTP11]).await;
    let lab = Lab::trusting(everything(), no(), to, &company.pem()).await;
    let stream = secured(&lab, &everywhere(&lab.tls), name, &[H2, HTTP11])
        .await
        .unwrap();
    // There is no destination to agree with, so it is what the client likes best.
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(H2));
    let (mut sender, connection) = http2::Builder::new(LocalExecutor)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    spawn_local(connection);
    let uri = format!("https://{name}/");
    let request = Request::builder().uri(uri).body(body::full("")).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let problem = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(arrived.borrow().is_empty());
    let logged = lab.guardd.logged.borrow();
    assert_eq!(
        (logged[0].outcome.as_str(), logged[0].host.as_deref()),
        ("refused", Some(name))
    );
    String::from_utf8_lossy(&problem).into_owned()
}

#[tokio::test]
async fn nothing_is_sent_to_who_cannot_show_who_it_is() {
    here(async {
        let company = Company::new();
        let stranger = Company::named("stranger").issue(NAME, |_| {});
        let problem = told(&company, &stranger, NAME).await;
        assert!(
            problem.contains("nobody whom this machine trusts has issued it"),
            "{problem}"
        );
        assert!(problem.contains("[proxy] ca"), "{problem}");
        let forged = Company::new().issue(NAME, |_| {});
        let problem = told(&company, &forged, NAME).await;
        assert!(problem.contains("has not signed it"), "{problem}");
        let expired = company.issue(NAME, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        });
        let problem = told(&company, &expired, NAME).await;
        assert!(problem.contains("it has expired"), "{problem}");
        let other = company.issue("other.example", |_| {});
        let problem = told(&company, &other, NAME).await;
        assert!(problem.contains("it is for other.example;"), "{problem}");
        let (homemade, _) = homemade(IsCa::Ca(BasicConstraints::Unconstrained));
        let problem = told(&company, &homemade, NAME).await;
        assert!(problem.contains("is not valid"), "{problem}");
    })
    .await;
}

#[tokio::test]
async fn nobody_is_asked_about_what_cannot_be_sent() {
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue("other.example", |_| {}), &[]).await;
        let yes = Some(AskAnswer::Yes);
        let lab = Lab::trusting(read_only(), yes, to, &company.pem()).await;
        let trusted = everywhere(&lab.tls);
        let stream = secured(&lab, &trusted, NAME, &[HTTP11]).await.unwrap();
        let (status, problem) = ask(stream, Method::POST, "hello").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{problem}");
        assert!(problem.contains("it is for other.example;"), "{problem}");
        assert!(lab.guardd.asked.borrow().is_empty());
        assert!(arrived.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_people_make_for_one_machine_is_trusted_where_it_is_named() {
    here(async {
        let ca = IsCa::Ca(BasicConstraints::Unconstrained);
        for is_ca in [ca, IsCa::ExplicitNoCa, IsCa::NoCa] {
            let (shown, pem) = homemade(is_ca);
            let (to, _) = destination(&shown, &[HTTP11]).await;
            let lab = Lab::trusting(read_only(), no(), to, &pem).await;
            assert_eq!(status(&lab, NAME).await, StatusCode::OK);
            // For that machine, and no other.
            assert_eq!(status(&lab, "other.example").await, StatusCode::BAD_GATEWAY);
        }
    })
    .await;
}

async fn status(lab: &Lab, name: &str) -> StatusCode {
    let trusted = everywhere(&lab.tls);
    let stream = secured(lab, &trusted, name, &[HTTP11]).await.unwrap();
    ask_for(stream, name).await
}

#[tokio::test]
async fn what_is_no_authority_signs_for_nobody() {
    here(async {
        let key = KeyPair::generate().unwrap();
        for (is_ca, expected) in [
            (IsCa::Ca(BasicConstraints::Unconstrained), StatusCode::OK),
            (IsCa::ExplicitNoCa, StatusCode::BAD_GATEWAY),
            (IsCa::NoCa, StatusCode::BAD_GATEWAY),
        ] {
            let mut params = CertificateParams::new(vec!["nas.example".to_owned()]).unwrap();
            params.is_ca = is_ca;
            let issuer = CertifiedIssuer::self_signed(params, &key).unwrap();
            let leaf = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
            let chain = params.signed_by(&leaf, &issuer).unwrap().der().clone();
            let (to, _) = destination(&Shown { chain, key: leaf }, &[HTTP11]).await;
            let lab = Lab::trusting(read_only(), no(), to, &issuer.pem()).await;
            assert_eq!(status(&lab, NAME).await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_shown_too_fast_ends_its_connection() {
    const OTHER: &str = "other.example";
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue(OTHER, |_| {}), &[HTTP11]).await;
        let mut terms = read_only().unwrap();
        terms.names = true;
        let lab = Lab::trusting(Some(terms), no(), to, &company.pem()).await;
        // Longer than this test.
        let until = guard_sys::clock::now().0 + 600_000_000_000;
        *lab.guardd.judges_again.borrow_mut() = Some(until);
        let trusted = everywhere(&lab.tls);
        for _ in 0..2 {
            let ended = secured(&lab, &trusted, OTHER, &[HTTP11]).await;
            assert!(ended.is_err());
        }
        lab.guardd
            .until("logged", |guardd| !guardd.logged.borrow().is_empty())
            .await;
        let logged = lab.guardd.logged.borrow();
        assert_eq!((logged.len(), logged[0].no_rule), (1, true));
        assert!(arrived.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_name_is_neither_asked_about_nor_shown_where_nothing_passes_any_more()
-> anyhow::Result<()> {
    here(async {
        let destination = TcpListener::bind("127.0.0.1:0").await?;
        let terms = read_only().map(|terms| TargetTerms {
            names: true,
            ..terms
        });
        let lab = Lab::new(terms, no(), destination.local_addr()?).await;
        let client = lab.client().await;
        // The proxy connects when it has the terms.
        let (mut upstream, _) = destination.accept().await?;
        *lab.guardd.terms.borrow_mut() = None;
        lab.link.renew();
        let trusted = everywhere(&lab.tls);
        let ended = secured_on(client, &trusted, NAME, &[HTTP11]).await;
        assert!(ended.is_err());
        assert_eq!(*lab.guardd.names.borrow(), 0);
        let mut heard = Vec::new();
        // That the connection is reset says as much as that it is closed.
        let _ = upstream.read_to_end(&mut heard).await;
        assert!(heard.is_empty());
        Ok::<_, anyhow::Error>(())
    })
    .await
}

#[tokio::test]
async fn a_request_is_for_whom_tls_was_begun_with() {
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue(NAME, |_| {}), &[HTTP11]).await;
        let lab = Lab::trusting(read_only(), Some(AskAnswer::Yes), to, &company.pem()).await;
        let trusted = everywhere(&lab.tls);
        for host in [
            "staging.example",
            "127.0.0.1",
            "photos.example.com",
            "x photos.example",
        ] {
            let stream = secured(&lab, &trusted, NAME, &[HTTP11]).await.unwrap();
            let status = ask_for(stream, host).await;
            assert!(
                [StatusCode::MISDIRECTED_REQUEST, StatusCode::BAD_REQUEST].contains(&status),
                "{host}: {status}"
            );
        }
        assert!(arrived.borrow().is_empty());
        for host in [NAME, "PHOTOS.example.:443"] {
            let stream = secured(&lab, &trusted, NAME, &[HTTP11]).await.unwrap();
            assert_eq!(ask_for(stream, host).await, StatusCode::OK, "{host}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_is_for_the_address_where_tls_was_begun_with_no_name() {
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue("127.0.0.1", |_| {}), &[HTTP11]).await;
        let lab = Lab::trusting(read_only(), Some(AskAnswer::Yes), to, &company.pem()).await;
        let trusted = everywhere(&lab.tls);
        for host in [
            NAME,
            "localhost",
            "127.0.0.2",
            "[::1]",
            "[::ffff:127.0.0.2]",
        ] {
            let stream = secured(&lab, &trusted, "127.0.0.1", &[HTTP11])
                .await
                .unwrap();
            let status = ask_for(stream, host).await;
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        }
        assert!(arrived.borrow().is_empty());
        for host in ["127.0.0.1", "127.0.0.1:443", "[::ffff:127.0.0.1]:443"] {
            let stream = secured(&lab, &trusted, "127.0.0.1", &[HTTP11])
                .await
                .unwrap();
            assert_eq!(ask_for(stream, host).await, StatusCode::OK, "{host}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_pins_is_told_of_in_the_log() {
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue(NAME, |_| {}), &[HTTP11]).await;
        let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
        let failed = secured(&lab, &company.pem(), NAME, &[HTTP11]).await;
        assert!(failed.is_err());
        lab.guardd
            .until("logged", |guardd| !guardd.logged.borrow().is_empty())
            .await;
        let logged = lab.guardd.logged.borrow();
        let why = logged[0].why.as_deref().unwrap();
        assert!(
            why.contains("does not take the certificate") && why.contains("allow"),
            "{why}"
        );
        assert_eq!(logged[0].host.as_deref(), Some(NAME));
        assert!(arrived.borrow().is_empty());
    })
    .await;
}

/// Whether it says that it goes, or not.
#[tokio::test]
async fn a_client_that_goes_once_it_has_seen_the_key_is_told_of_in_the_log() {
    for says_so in [true, false] {
        here(async {
            let company = Company::new();
            let (to, arrived) = destination(&company.issue(NAME, |_| {}), &[H2]).await;
            let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
            let trusted = everywhere(&lab.tls);
            let mut stream = secured(&lab, &trusted, NAME, &[H2]).await.unwrap();
            if says_so {
                stream.shutdown().await.unwrap();
            }
            drop(stream);
            lab.guardd
                .until("logged", |guardd| !guardd.logged.borrow().is_empty())
                .await;
            let logged = lab.guardd.logged.borrow();
            let why = logged[0].why.as_deref().unwrap();
            assert!(
                why.contains("before it asks") && why.contains("allow"),
                "{why}"
            );
            assert_eq!(logged[0].host.as_deref(), Some(NAME));
            assert!(arrived.borrow().is_empty());
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_session_trusts_is_limited() {
    here(async {
        let company = Company::new();
        let (to, _) = destination(&company.issue(NAME, |_| {}), &[HTTP11]).await;
        let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
        let to_names = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let scope = AuthorityScope {
                names: Some(names),
                prefixes: Some(Vec::new()),
            };
            lab.tls.vouch(&scope).unwrap()
        };
        for fits in [&[NAME][..], &["example"], &["other.test", NAME]] {
            assert!(
                secured(&lab, &to_names(fits), NAME, &[]).await.is_ok(),
                "{fits:?}"
            );
        }
        for narrow in [&["other.example"][..], &["x.photos.example"], &[]] {
            assert!(
                secured(&lab, &to_names(narrow), NAME, &[]).await.is_err(),
                "{narrow:?}"
            );
        }
        assert!(
            secured(&lab, &to_names(&[NAME]), "127.0.0.1", &[])
                .await
                .is_err()
        );
    })
    .await;
}

#[tokio::test]
async fn whoever_names_nobody_asks_for_the_address() {
    here(async {
        let company = Company::new();
        let (to, _) = destination(&company.issue("127.0.0.1", |_| {}), &[]).await;
        let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
        let scope = AuthorityScope {
            names: Some(vec![NAME.to_owned()]),
            prefixes: Some(vec![([127, 0, 0, 0].into(), 8)]),
        };
        let trusted = lab.tls.vouch(&scope).unwrap();
        let stream = secured(&lab, &trusted, "127.0.0.1", &[]).await.unwrap();
        assert_eq!(ask_for(stream, "127.0.0.1").await, StatusCode::OK);
    })
    .await;
}

/// What `curl --http1.0` offers. Servers seldom know that name.
#[tokio::test]
async fn http_1_0_is_taken_as_1_1() {
    for (knows, offers, agreed) in [
        (&[H2, HTTP11][..], &[HTTP10][..], HTTP10),
        (&[], &[HTTP10], HTTP10),
        (&[HTTP10], &[HTTP10], HTTP10),
        (&[HTTP11], &[HTTP10, HTTP11], HTTP11),
    ] {
        here(async {
            let company = Company::new();
            let (to, arrived) = destination(&company.issue(NAME, |_| {}), knows).await;
            let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
            let trusted = everywhere(&lab.tls);
            let stream = secured(&lab, &trusted, NAME, offers).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed));
            assert_eq!(ask(stream, Method::GET, "").await.0, StatusCode::OK);
            let stream = secured(&lab, &trusted, NAME, offers).await.unwrap();
            assert_eq!(ask(stream, Method::PUT, "x").await.0, StatusCode::FORBIDDEN);
            assert_eq!(*arrived.borrow(), ["GET /x?y=1 HTTP/1.1"]);
        })
        .await;
    }
}

/// Only the client has the key of its certificate. Whoever is in between can but say so.
#[tokio::test]
async fn a_destination_that_asks_for_a_certificate_is_told_of() {
    for version in [&TLS12, &TLS13] {
        here(async {
            let company = Company::new();
            let to = asking(&company, false, version).await;
            let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
            let trusted = everywhere(&lab.tls);
            // The second time the destination does not ask again.
            for number in 1..=2 {
                let stream = secured(&lab, &trusted, NAME, &[]).await.unwrap();
                let (mut sender, connection) =
                    http1::handshake(TokioIo::new(stream)).await.unwrap();
                spawn_local(connection);
                for _ in 0..2 {
                    let read = sender.send_request(request(Method::GET, "/x", ""));
                    let answer = read.await.unwrap();
                    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
                    let said = answer.headers()["proxy-status"].to_str().unwrap();
                    assert!(
                        said.starts_with("guard; details=\"photos.example asks for a certificate"),
                        "{said}"
                    );
                    assert!(said.ends_with("action = \\\"allow\\\"\""), "{said}");
                    let body = answer.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body, "forbidden");
                }
                let logged = lab.guardd.logged.borrow();
                assert_eq!(logged.len(), number);
                assert_eq!(logged[number - 1].status, Some(403));
                let why = logged[number - 1].why.as_deref().unwrap();
                assert!(why.contains("asks for a certificate"), "{why}");
            }
        })
        .await;
    }
}

/// In TLS 1.2 the handshake fails, and in 1.3 what follows it.
#[tokio::test]
async fn a_destination_that_has_to_see_a_certificate_is_told_of() {
    for version in [&TLS12, &TLS13] {
        here(async {
            let company = Company::new();
            let to = asking(&company, true, version).await;
            let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
            let trusted = everywhere(&lab.tls);
            let stream = secured(&lab, &trusted, NAME, &[]).await.unwrap();
            let (status, problem) = ask(stream, Method::GET, "").await;
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert!(
                problem.contains("asks for a certificate of the client's"),
                "{problem}"
            );
            let logged = lab.guardd.logged.borrow();
            let why = logged[0].why.as_deref().unwrap();
            assert!(why.contains("asks for a certificate"), "{why}");
        })
        .await;
    }
}

/// Who does not ask is not spoken of.
#[tokio::test]
async fn an_answer_of_who_asks_for_nothing_is_as_it_was() {
    here(async {
        let company = Company::new();
        let (to, _) = destination(&company.issue(NAME, |_| {}), &[HTTP11]).await;
        let lab = Lab::trusting(read_only(), Some(AskAnswer::Yes), to, &company.pem()).await;
        let stream = secured(&lab, &everywhere(&lab.tls), NAME, &[])
            .await
            .unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        spawn_local(connection);
        let answer = sender.send_request(request(Method::GET, "/x", "")).await;
        assert!(!answer.unwrap().headers().contains_key("proxy-status"));
        assert!(lab.guardd.logged.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_is_no_http_within_tls_is_refused() {
    here(async {
        let company = Company::new();
        let (to, arrived) = destination(&company.issue(NAME, |_| {}), &[]).await;
        let lab = Lab::trusting(read_only(), no(), to, &company.pem()).await;
        let trusted = everywhere(&lab.tls);
        assert!(secured(&lab, &trusted, NAME, &[b"imap"]).await.is_err());
        let mut stream = secured(&lab, &trusted, NAME, &[HTTP11]).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        let logged = lab.guardd.logged.borrow();
        let why: Vec<_> = logged
            .iter()
            .filter_map(|entry| entry.why.as_deref())
            .collect();
        assert!(why[0].contains("imap"), "{why:?}");
        assert!(why[1].contains("another version of HTTP"), "{why:?}");
        assert!(arrived.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_while_a_person_thinks_is_noticed() {
    here(async {
        let company = Company::new();
        let (to, _) = destination(&company.issue(NAME, |_| {}), &[HTTP11]).await;
        let lab = Lab::trusting(read_only(), None, to, &company.pem()).await;
        let mut stream = secured(&lab, &everywhere(&lab.tls), NAME, &[HTTP11])
            .await
            .unwrap();
        let put = b"PUT /x HTTP/1.1\r\nHost: photos.example\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(put).await.unwrap();
        lab.guardd.is_asked().await;
        // With TLS's last word before the end.
        stream.shutdown().await.unwrap();
        lab.guardd
            .until("gone", |guardd| *guardd.gone.borrow() == 1)
            .await;
    })
    .await;
}

#[tokio::test]
async fn the_key_is_kept() {
    let file = tempfile::tempfile().unwrap();
    let tls = || Tls::new(file.try_clone().unwrap().into(), Vec::new()).unwrap();
    let (first, second) = (tls(), tls());
    let key = |tls: &Tls| {
        let mut roots = RootCertStore::empty();
        let pem = everywhere(tls);
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        roots.roots.remove(0).subject_public_key_info
    };
    assert_eq!(key(&first), key(&second));
}
