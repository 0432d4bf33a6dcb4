//! A client and its destination: each HTTP request is judged, sent there if it may pass, and answered.

use std::{
    cell::{Cell, RefCell},
    error::Error,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts, uri::Scheme};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Notify, SetOnce};

use super::{
    answers::Problem,
    body::{Attended, Body, Busy},
    headers,
    link::GuarddLink,
    name_cache::RefusedBy,
    networks::{ConnectionSlot, Network},
    passing::{Passed, entry},
    postgres::AcrossConnections,
    room::Room,
    shared_io::Departure,
    sieve::{Malformed, Watch},
    tls::Secure,
    upgrade::Upgrade,
    upstream::{Unanswered, Unopened, Upstream, Version},
    wire::{Entry, RedirectTarget, Tgid},
};

/// Why a connection is broken off instead of answered.
pub(super) type Abort = Box<dyn Error + Send + Sync>;

/// A connection that was redirected: where it was going, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirected {
    pub(super) target: RedirectTarget,
    pub(super) tgid: Tgid,
}

/// The context of a connection: its session, process, original destination and network namespace, and whom to ask (guardd).
#[derive(Debug)]
pub(super) struct ConnectionContext {
    pub(super) link: Rc<GuarddLink>,
    pub(super) target: RedirectTarget,
    /// The process that connected. Others may have the socket since.
    pub(super) tgid: Tgid,
    network: Rc<Network>,
    /// The limits on bodies that are read first.
    pub(super) room: Arc<Room>,
    /// Statements that were allowed and may be done once more, in a database.
    pub(super) across: Rc<AcrossConnections>,
    upstream_ended: Rc<Notify>,
    /// TLS on it, if it is used.
    pub(super) secure: Option<Rc<Secure>>,
}

impl ConnectionContext {
    /// The context of a connection not known to be TLS.
    #[must_use]
    pub(super) fn new(
        link: Rc<GuarddLink>,
        redirected: Redirected,
        network: Rc<Network>,
        room: Arc<Room>,
        across: Rc<AcrossConnections>,
    ) -> Self {
        Self {
            link,
            target: redirected.target,
            tgid: redirected.tgid,
            network,
            room,
            across,
            upstream_ended: Rc::default(),
            secure: None,
        }
    }

    /// Connects to the destination.
    pub(super) fn connect(&self) -> Rc<Upstream> {
        let (network, link) = (Rc::clone(&self.network), Rc::clone(&self.link));
        let upstream = Upstream::begin(network, link, self.target, Rc::clone(&self.upstream_ended));
        if let Some(secure) = &self.secure {
            upstream.secure(Rc::clone(secure));
        }
        Rc::new(upstream)
    }

    /// The scheme of its URLs.
    pub(super) fn scheme(&self) -> Scheme {
        match self.secure {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }

    /// Writes an entry to the audit log.
    pub(super) fn log(&self, entry: Entry) {
        let host = self.secure.as_ref().map(|secure| secure.name());
        let host = entry.host.or(host);
        self.link.log(self.target, Entry { host, ..entry });
    }

    /// Writes an entry about a refused name to the audit log, or counts it where it gets none.
    pub(super) fn log_name(&self, by: RefusedBy, entry: Entry) {
        match by {
            RefusedBy::Policies | RefusedBy::Pace => self.log(entry),
            RefusedBy::Pause => self.link.leave_out(self.target.session),
        }
    }
}

/// A client's connection, and the upstream connection that it is paired with.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) context: ConnectionContext,
    upstream: RefCell<Rc<Upstream>>,
    /// The sieve's watch on what it sends.
    watch: Watch,
    answering: Arc<AtomicUsize>,
    departure: RefCell<Departure>,
    /// Set when something has passed unjudged, because a hole for everything was open.
    by_hole: SetOnce<()>,
    /// Whether the destination has answered anything.
    has_answer: Cell<bool>,
    /// Whether the audit log has that it asks for a client certificate.
    is_unarmed_noted: Cell<bool>,
    _place: Option<ConnectionSlot>,
}

impl Client {
    /// A client that has not sent a request.
    #[must_use]
    pub(super) fn new(
        context: ConnectionContext,
        upstream: Rc<Upstream>,
        watch: Watch,
        place: Option<ConnectionSlot>,
    ) -> Self {
        Self {
            context,
            upstream: RefCell::new(upstream),
            watch,
            answering: Arc::default(),
            departure: RefCell::default(),
            by_hole: SetOnce::new(),
            has_answer: Cell::default(),
            is_unarmed_noted: Cell::default(),
            _place: place,
        }
    }

    /// Its upstream connection.
    pub(super) fn upstream(&self) -> Rc<Upstream> {
        Rc::clone(&self.upstream.borrow())
    }

    /// Waits until the upstream connection has ended.
    pub(super) async fn upstream_ended(&self) {
        self.context.upstream_ended.notified().await;
    }

    /// Notes that a hole for everything lets something pass.
    pub(super) fn goes_by_hole(&self) {
        // It may be set already.
        let _ = self.by_hole.set(());
    }

    /// Resolves when the hole that this connection relied on closes; the caller then ends the connection, upgraded and
    /// streaming ones included.
    pub(super) async fn hole_closed(&self) {
        self.by_hole.wait().await;
        self.context.link.closes(self.context.target).await;
        self.log(Entry::refused("the hole that it went through has ended"));
    }

    /// Makes a new upstream connection: the old one may have been closed while the client was held.
    pub(super) fn reconnect(&self) {
        let anew = self.context.connect();
        self.upstream.replace(anew).retire();
    }

    /// Sets the probe that tells whether the client has left, while nothing reads from it.
    pub(super) fn watch_departure(&self, departure: Departure) {
        self.departure.replace(departure);
    }

    /// Waits until the client has left.
    pub(super) async fn left(&self) {
        let departure = self.departure.borrow().clone();
        departure.left().await;
    }

    /// Whether an answer is on its way: nothing else may be sent in between.
    #[must_use]
    pub(super) fn is_busy(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    /// Writes an entry to the audit log.
    pub(super) fn log(&self, entry: Entry) {
        self.context.log(entry);
    }

    /// The answer to a request: the destination's, or why the request is not sent there.
    ///
    /// # Errors
    ///
    /// If the connection must be broken off, as the destination would have done.
    pub(super) async fn answer(
        self: Rc<Self>,
        mut request: Request<Incoming>,
        version: Version,
    ) -> Result<Response<Body>, Abort> {
        let busy = Busy::new(&self.answering);
        let upgrade = Upgrade::of(&mut request);
        let (mut parts, body) = request.into_parts();
        let passed = match headers::normalise(&mut parts, version, &self.context.scheme()) {
            Ok(()) => self.pass(&parts, body).await?,
            Err(why) => Err(self.unreadable(&parts, StatusCode::BAD_REQUEST, why)),
        };
        let answer = match passed {
            Ok(passed) => self.send(parts, passed, version, upgrade).await?,
            Err(problem) => problem.answer(),
        };
        Ok(answer.map(|body| Attended::new(body, busy).boxed_unsync()))
    }

    /// The problem of an ambiguous request.
    pub(super) fn unreadable(&self, parts: &Parts, status: StatusCode, why: &str) -> Problem {
        self.log(Entry {
            why: Some(why.to_owned()),
            status: Some(status.as_u16()),
            ..entry("refused", parts)
        });
        Problem::unreadable(status, why.to_owned())
    }

    async fn send(
        self: &Rc<Self>,
        mut parts: Parts,
        passed: Passed,
        version: Version,
        upgrade: Option<Upgrade>,
    ) -> Result<Response<Body>, Abort> {
        let failed = passed.was_asked.then(|| entry("failed", &parts));
        let spoken = parts.version;
        headers::strip(&mut parts.headers);
        if let Some(upgrade) = &upgrade {
            upgrade.ask(&mut parts.headers);
        }
        // hyper takes a GET or HEAD that says nothing of its body for one that has none.
        let body = &passed.body;
        let is_told = parts.headers.contains_key(header::CONTENT_LENGTH)
            || body.size_hint().exact().is_some();
        if version == Version::Http1 && !is_told && !body.is_end_stream() {
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let request = Request::from_parts(parts, passed.body);
        let answered = self.upstream().send(request, version).await;
        let response = match answered {
            Ok(response) => response,
            Err(unanswered) => return self.unanswered(unanswered, failed),
        };
        let mut response = self.switched(response, upgrade)?;
        self.has_answer.set(true);
        self.tell_unarmed(&mut response);
        *response.version_mut() = spoken;
        Ok(response.map(|body| body.boxed_unsync()))
    }

    /// The problem if the destination does not answer.
    fn unanswered(
        &self,
        unanswered: Unanswered,
        failed: Option<Entry>,
    ) -> Result<Response<Body>, Abort> {
        if let Some(failed) = failed {
            let why = Some(unanswered.to_string());
            self.log(Entry { why, ..failed });
        }
        if matches!(&unanswered, Unanswered::Unopened(_) | Unanswered::Other) {
            // A retry needs a new connection: this one would fail in the same way.
            self.context.upstream_ended.notify_one();
        }
        if let Some(why) = self.unarmed(&unanswered) {
            self.note_unarmed(&why, StatusCode::BAD_GATEWAY);
            self.context.upstream_ended.notify_one();
            return Ok(Problem::unarmed(why).answer());
        }
        let said = match unanswered {
            Unanswered::Unopened(Unopened::Untrusted(why)) => {
                return Ok(self.untrusted(why.to_string()).answer());
            }
            other @ (Unanswered::Unopened(_) | Unanswered::Other) => other.to_string(),
            // The client's own body broke off.
            Unanswered::Broken(broken) if self.watch.refusal().is_some() => {
                return Err(broken.into());
            }
            Unanswered::Broken(broken) => match Malformed::behind(&broken) {
                Some(malformed) => {
                    format!("what the destination sends is not HTTP: {malformed}")
                }
                None => return Err(broken.into()),
            },
        };
        Ok(Problem::unanswered(said).answer())
    }

    /// Why a destination does not answer that asks for a client certificate and has not answered anything yet: with TLS 1.3 it
    /// ends the connection after the handshake.
    fn unarmed(&self, unanswered: &Unanswered) -> Option<String> {
        let has_ended = match unanswered {
            Unanswered::Unopened(_) => false,
            Unanswered::Other => true,
            Unanswered::Broken(broken) => {
                self.watch.refusal().is_none() && Malformed::behind(broken).is_none()
            }
        };
        let secure = self.context.secure.as_ref();
        let secure = secure.filter(|_| has_ended && !self.has_answer.get());
        secure.and_then(|secure| secure.lacks_certificate())
    }

    /// Adds to an answer why it may be a refusal (RFC 9209): the destination does not know of the proxy.
    fn tell_unarmed(&self, response: &mut Response<Incoming>) {
        let secure = self.context.secure.as_ref();
        let is_no = matches!(response.status().as_u16(), 400 | 401 | 403 | 495 | 496);
        let Some(why) = secure
            .filter(|_| is_no)
            .and_then(|secure| secure.lacks_certificate())
        else {
            return;
        };
        self.note_unarmed(&why, response.status());
        let details = why.replace('"', "\\\"");
        if let Ok(value) = HeaderValue::try_from(format!("guard; details=\"{details}\"")) {
            response.headers_mut().append("proxy-status", value);
        }
    }

    /// Writes that to the audit log, once for each connection.
    fn note_unarmed(&self, why: &str, status: StatusCode) {
        if !self.is_unarmed_noted.replace(true) {
            self.log(Entry {
                status: Some(status.as_u16()),
                ..Entry::refused(why)
            });
        }
    }

    /// The problem if the destination has not shown that it is the right one.
    pub(super) fn untrusted(&self, why: String) -> Problem {
        let problem = Problem::untrusted(why.clone());
        self.log(Entry {
            status: Some(problem.status),
            ..Entry::refused(&why)
        });
        problem
    }

    /// The destination's answer without connection headers; after an upgrade, both ends are joined.
    fn switched(
        self: &Rc<Self>,
        mut response: Response<Incoming>,
        upgrade: Option<Upgrade>,
    ) -> Result<Response<Incoming>, Abort> {
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let to = response.headers_mut().remove(header::UPGRADE);
        headers::strip(response.headers_mut());
        match (switches, upgrade, to) {
            (true, Some(upgrade), Some(to)) => {
                // Before the client gets the answer, so that what it sends then is not read as HTTP/1.
                self.watch.become_opaque();
                upgrade.join(Rc::clone(self), &mut response);
                response.headers_mut().insert(header::UPGRADE, to);
            }
            (true, ..) => return Err("the destination switches to what nobody asked for".into()),
            _ => {}
        }
        Ok(response)
    }
}
