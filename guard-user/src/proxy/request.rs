//! A request's way: judged, asked for where it is no read, and sent on.

use std::{
    cell::RefCell,
    error::Error,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{
    HeaderMap, Request, Response, StatusCode, Uri, header, request::Parts, uri::PathAndQuery,
};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use sha2::{Digest as _, Sha256};

use super::{
    answers::Problem,
    body::{Attended, Begun, Body, Busy},
    headers,
    judge::{self, Judgement, Rules, Write},
    lent::Look,
    link::Link,
    sieve::{Malformed, Watch},
    upgrade::Upgrade,
    upstream::{Unanswered, Upstream, Version},
    wire::{Answer, Asked, Entry, MAX_PREVIEW, Target, Terms},
};

/// Bytes of a body that are read before a person is asked, so that a yes can be for just that body.
const MAX_DIGESTED: usize = 64 * 1024;

/// Why a connection is broken off in place of an answer.
pub(super) type Abort = Box<dyn Error + Send + Sync>;

/// A client, and where it wanted to go.
#[derive(Debug)]
pub(super) struct Client {
    link: Rc<Link>,
    target: Target,
    /// Its connection to the destination.
    pub(super) upstream: Upstream,
    watch: Watch,
    answering: Arc<AtomicUsize>,
    look: RefCell<Look>,
}

impl Client {
    /// One that has not asked for anything yet.
    #[must_use]
    pub(super) fn new(link: Rc<Link>, target: Target, upstream: Upstream, watch: Watch) -> Self {
        Self {
            link,
            target,
            upstream,
            watch,
            answering: Arc::default(),
            look: RefCell::default(),
        }
    }

    /// Tells by which look whether the client is there while nobody reads from it.
    pub(super) fn look_at(&self, look: Look) {
        self.look.replace(look);
    }

    /// Whether an answer is on its way: nothing else may be said in between.
    #[must_use]
    pub(super) fn is_busy(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    /// Writes something down.
    pub(super) fn log(&self, entry: Entry) {
        self.link.log(self.target, entry);
    }

    /// The answer to a request: the destination's, or why it is not sent there.
    ///
    /// # Errors
    ///
    /// Where the connection is to be broken off, as the destination would have.
    pub(super) async fn answer(
        self: Rc<Self>,
        mut request: Request<Incoming>,
        version: Version,
    ) -> Result<Response<Body>, Abort> {
        let Some(terms) = self.link.terms(self.target).await else {
            return Err("nothing passes there any more".into());
        };
        let busy = Busy::new(&self.answering);
        let upgrade = Upgrade::of(&mut request);
        let (parts, body) = request.into_parts();
        let answer = match self.pass(&terms, &parts, body).await? {
            Ok(body) => self.send(parts, body, version, upgrade).await?,
            Err(problem) => problem.answer(),
        };
        Ok(answer.map(|body| Attended::new(body, busy).boxed_unsync()))
    }

    /// The body to be sent on, where a request may pass; else why not.
    async fn pass(
        &self,
        terms: &Terms,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Result<Body, Problem>, Abort> {
        if terms.rules.is_empty() {
            return Ok(Ok(body.boxed_unsync()));
        }
        let request = judge::Request {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            has_body: !body.is_end_stream(),
        };
        let (judgement, mut body) = match judge::judge_all(&terms.rules, &request, None) {
            Judgement::Read { .. } => return Ok(Ok(body.boxed_unsync())),
            Judgement::NeedsBody { limit } => {
                let body = Begun::read(body, limit).await?;
                (with_body(&terms.rules, &request, &body), body)
            }
            known => (known, Begun::read(body, 0).await?),
        };
        let mut write = match judgement {
            Judgement::Read { .. } => return Ok(Ok(body.boxed_unsync())),
            Judgement::Write(write) => write,
            denied => return Ok(Err(self.denied(terms, parts, denied.because()))),
        };
        body.read_on(MAX_DIGESTED).await?;
        for warning in judge::warnings(&request, &body.head(judge::HEAD)) {
            if !write.warnings.contains(&warning) {
                write.warnings.push(warning);
            }
        }
        self.confirmed(terms, parts, body, write).await
    }

    fn denied(&self, terms: &Terms, parts: &Parts, because: &str) -> Problem {
        let problem = Problem::stopped(
            because.to_owned(),
            "nobody can allow it but by changing the policy".to_owned(),
        );
        let problem = problem.under(terms);
        let entry = Entry {
            rule: problem.rule.clone(),
            why: Some(because.to_owned()),
            status: Some(problem.status),
            ..Entry::about("refused", parts)
        };
        self.log(entry);
        problem
    }

    /// Asks a person.
    async fn confirmed(
        &self,
        terms: &Terms,
        parts: &Parts,
        body: Begun,
        write: Write,
    ) -> Result<Result<Body, Problem>, Abort> {
        let because = write.because.clone();
        let asked = asked(terms, parts, &body, write);
        let look = self.look.borrow().clone();
        let answer = tokio::select! {
            answer = self.link.ask(self.target, asked).answer() => answer,
            () = look.left() => return Err("the client has left".into()),
        };
        Ok(match answer {
            Answer::Yes => {
                self.log(Entry::about("passed", parts));
                Ok(body.boxed_unsync())
            }
            Answer::No { request, why, fix } => Err(Problem {
                request,
                ..Problem::stopped(format!("{because}; {why}"), fix).under(terms)
            }),
        })
    }

    async fn send(
        &self,
        mut parts: Parts,
        body: Body,
        version: Version,
        upgrade: Option<Upgrade>,
    ) -> Result<Response<Body>, Abort> {
        let spoken = parts.version;
        headers::strip(&mut parts.headers);
        if let Some(upgrade) = &upgrade {
            upgrade.ask(&mut parts.headers);
        }
        if version == Version::Http1 {
            parts.uri = origin_form(&parts.uri);
        }
        let mut response = match self
            .upstream
            .send(Request::from_parts(parts, body), version)
            .await
        {
            Ok(response) => response,
            Err(error @ Unanswered::Unreachable { .. }) => {
                return Ok(Problem::unanswered(error.to_string()).answer());
            }
            Err(Unanswered::Broken(broken)) => match Malformed::behind(&broken) {
                Some(malformed) => {
                    let said = format!("what the destination sends is not HTTP: {malformed}");
                    return Ok(Problem::unanswered(said).answer());
                }
                None => return Err(broken.into()),
            },
        };
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let to = response.headers_mut().remove(header::UPGRADE);
        headers::strip(response.headers_mut());
        match (switches, upgrade, to) {
            (true, Some(upgrade), Some(to)) => {
                upgrade.join(&self.watch, &mut response);
                response.headers_mut().insert(header::UPGRADE, to);
            }
            (true, ..) => return Err("the destination switches to what nobody asked for".into()),
            _ => {}
        }
        *response.version_mut() = spoken;
        Ok(response.map(|body| body.boxed_unsync()))
    }
}

/// A target without scheme and authority: the connection's own destination counts.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

fn asked(terms: &Terms, parts: &Parts, body: &Begun, write: Write) -> Asked {
    let path = path(&parts.uri);
    let host = host(parts);
    let preview = body.head(MAX_PREVIEW);
    let digest = body
        .is_whole()
        .then(|| digest(parts, host.as_deref(), &path, body));
    Asked {
        method: parts.method.to_string(),
        scheme: "http".to_owned(),
        host,
        path,
        bytes: body.bytes(),
        body_preview: text(&preview),
        digest,
        rule: terms
            .rules
            .first()
            .map(|rules| rules.name.clone())
            .unwrap_or_default(),
        kind: write.kind,
        warnings: write.warnings,
    }
}

/// What a request is, now that its body was read as far as that may be.
fn with_body(rules: &[Rules], request: &judge::Request<'_>, body: &Begun) -> Judgement {
    match body.is_whole() {
        true => judge::judge_all(rules, request, Some(&body.head(usize::MAX))),
        false => judge::judge_too_long(rules, request),
    }
}

fn path(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or("/", PathAndQuery::as_str)
        .to_owned()
}

fn host(parts: &Parts) -> Option<String> {
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    authority.or_else(|| one_of(&parts.headers, &header::HOST))
}

fn one_of(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The head of a body, as far as it is text.
fn text(head: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // Cut off within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.is_empty()).then(|| text.to_owned())
}

/// What a request is recognised by. Each part has its length before it, so that no two requests look the same.
fn digest(parts: &Parts, host: Option<&str>, path: &str, body: &Begun) -> String {
    let kind = one_of(&parts.headers, &header::CONTENT_TYPE);
    let body = body.head(usize::MAX);
    let mut digest = Sha256::new();
    for part in [
        parts.method.as_str().as_bytes(),
        b"http",
        host.unwrap_or_default().as_bytes(),
        path.as_bytes(),
        kind.as_deref().unwrap_or_default().as_bytes(),
        &body,
    ] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Entry {
    /// With nothing but what came of it.
    #[must_use]
    pub(super) fn of(outcome: &str) -> Self {
        Self {
            outcome: outcome.to_owned(),
            method: None,
            path: None,
            host: None,
            rule: None,
            why: None,
            status: None,
        }
    }

    /// About what was not understood.
    #[must_use]
    pub(super) fn refused(why: &str) -> Self {
        Self {
            why: Some(why.to_owned()),
            ..Self::of("refused")
        }
    }

    /// About a request.
    #[must_use]
    pub(super) fn about(outcome: &str, parts: &Parts) -> Self {
        Self {
            method: Some(parts.method.to_string()),
            path: Some(path(&parts.uri)),
            host: host(parts),
            ..Self::of(outcome)
        }
    }
}
