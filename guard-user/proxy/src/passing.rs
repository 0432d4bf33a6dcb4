//! Whether an HTTP request may pass: reads pass, and an approver is asked about the rest (`confirmed`).

use std::{
    borrow::Cow,
    rc::Rc,
    time::{Duration, Instant},
};

use guard_proto::HttpRequest;
use http::{
    StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use hyper::body::{Body as _, Incoming};

use super::{
    answers::{Problem, StoppingRule},
    body::{self, BegunBody, Body},
    client::{Abort, Client, ConnectionContext},
    digest,
    judge::{self, HttpWrite, Judgement, RuledJudgement, Rules, ShownHeaders},
    name_cache::{NameTerms, RefusedBy},
    preview::{self, Preview},
    wire::{AskAnswer, Entry, HttpAttempt, MAX_PATH, TargetTerms, TransactionState},
};

/// Bytes at the beginning of a body that a person is shown something of.
const MAX_SHOWN: usize = 64 * 1024;
/// The timeout for these, and for each part of the rest, which is read so that a yes can be for exactly that body: some clients send
/// more only after an answer.
const MORE: Duration = Duration::from_secs(1);
/// The timeout for a body that has to be judged.
const ALL: Duration = Duration::from_secs(30);
/// After this long without traffic a destination may have closed a connection, or be about to.
const STALE: Duration = Duration::from_secs(1);

/// A request that may pass.
pub(super) struct Passed {
    pub(super) body: Body,
    /// Whether guardd was asked, and said yes.
    pub(super) was_asked: bool,
}

impl Passed {
    /// Nobody is asked.
    fn unasked(body: Body) -> Self {
        Self {
            body,
            was_asked: false,
        }
    }
}

/// A judgement, and the rule by which it stops a request.
struct OwnedJudgement {
    judgement: Judgement,
    rule: StoppingRule,
}

impl OwnedJudgement {
    /// `all`: the rules that have judged.
    fn of(ruled: RuledJudgement<'_>, all: &[Rules]) -> Self {
        let rule = match &ruled.judgement {
            Judgement::Read { .. } | Judgement::NeedsBody { .. } => StoppingRule::default(),
            Judgement::Write(_) | Judgement::Denied { .. } => StoppingRule::of(ruled.by, all),
        };
        Self {
            judgement: ruled.judgement,
            rule,
        }
    }
}

/// A request that may pass, or the problem for the client.
type Judged = Result<Passed, Problem>;

impl Client {
    /// The part of a request that may be sent on; else why it may not pass.
    ///
    /// # Errors
    ///
    /// If the connection must be broken off.
    pub(super) async fn pass(&self, parts: &Parts, body: Incoming) -> Result<Judged, Abort> {
        let mut terms = self.terms().await?;
        if terms.is_open() {
            self.goes_by_hole();
            return Ok(Ok(Passed::unasked(body::outgoing(body))));
        }
        if let Some(misdirected) = self.misdirected(parts) {
            return Ok(Err(misdirected.under(StoppingRule::first(terms.rules()))));
        }
        let rules = match self.judging(parts, &terms).await {
            Ok(rules) => rules,
            Err(misnamed) => {
                unwanted(
                    parts,
                    BegunBody::new(body, self.context.room.taken(terms.account)),
                );
                return Ok(Err(misnamed));
            }
        };
        let request = judge::RequestHead {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            has_body: !body.is_end_stream(),
            is_secure: self.context.secure.is_some() || self.context.target.address.is_loopback(),
        };
        let turn = self.context.room.turn(terms.account).await;
        let mut judged = OwnedJudgement::of(judge::judge_all(&rules, &request, None), &rules);
        drop(rules);
        turn.end().await;
        if let Judgement::Read { .. } = judged.judgement {
            self.context.link.count_read(self.context.target);
            return Ok(Ok(Passed::unasked(body::outgoing(body))));
        }
        let mut body = BegunBody::new(body, self.context.room.taken(terms.account));
        if let Judgement::NeedsBody { limit } = judged.judgement {
            body.read(limit, ALL).await?;
            if body.is_crowded() {
                return Ok(Err(self.crowded(parts, body)));
            }
            // It took as long as the client liked.
            terms = self.terms().await?;
            if terms.is_open() {
                self.goes_by_hole();
                return Ok(Ok(Passed::unasked(body::outgoing(body))));
            }
            let rules = match self.judging(parts, &terms).await {
                Ok(rules) => rules,
                Err(misnamed) => {
                    unwanted(parts, body);
                    return Ok(Err(misnamed));
                }
            };
            let turn = self.context.room.turn(terms.account).await;
            judged = OwnedJudgement::of(with_body(&rules, &request, &body), &rules);
            drop(rules);
            turn.end().await;
        }
        let OwnedJudgement { judgement, rule } = judged;
        match judgement {
            Judgement::Read { .. } => {
                self.context.link.count_read(self.context.target);
                Ok(Ok(Passed::unasked(body::outgoing(body))))
            }
            Judgement::Write(write) => {
                // Boxed: else its room would be in every connection.
                Box::pin(self.confirmed(&terms, parts, &request, body, write, rule)).await
            }
            denied => {
                unwanted(parts, body);
                Ok(Err(self.denied(rule, parts, denied.because())))
            }
        }
    }

    /// The problem of a request for another host than the TLS connection's (RFC 9110 15.5.20).
    fn misdirected(&self, parts: &Parts) -> Option<Problem> {
        let (secure, host) = (self.context.secure.as_ref()?, host(parts)?);
        (!secure.is_for(&host)).then(|| {
            let why = format!(
                "its host is not {}, for which TLS was begun (SNI), so that servers may take it for either",
                secure.name()
            );
            Problem {
                fix: "use one name in URL and Host".to_owned(),
                ..self.unreadable(parts, StatusCode::MISDIRECTED_REQUEST, &why)
            }
        })
    }

    /// The rules that judge a request: those of the destination, and those for the host that it names, where these are others. Names share
    /// addresses, and what one of them may be asked is not what another may. The host's come first: of equally strict ones they are what a
    /// client is told of.
    ///
    /// # Errors
    ///
    /// The problem where that host is none of the names by which the policies let the destination be reached.
    async fn judging<'t>(
        &self,
        parts: &Parts,
        terms: &'t Rc<TargetTerms>,
    ) -> Result<Cow<'t, [Rules]>, Problem> {
        if !terms.names {
            return Ok(Cow::Borrowed(terms.rules()));
        }
        let host = host(parts).unwrap_or_default();
        let host = host.parse().map_or_else(
            |_| String::new(),
            |host: Authority| host.host().trim_end_matches('.').to_owned(),
        );
        let link = &self.context.link;
        let named = link
            .name_terms(self.context.target, terms.account, &host)
            .await;
        if let Some(misnamed) = self.misnamed(terms, parts, &named) {
            return Err(misnamed);
        }
        let (own, all) = (&named.rules, terms.rules());
        // Mostly it is the one that decides about the destination.
        if own.iter().all(|one| all.contains(one)) {
            return Ok(Cow::Borrowed(all));
        }
        let others = all.iter().filter(|one| !own.contains(one));
        Ok(Cow::Owned(own.iter().chain(others).cloned().collect()))
    }

    /// The problem of a request whose host may not be named there, or not now.
    fn misnamed(&self, terms: &TargetTerms, parts: &Parts, named: &NameTerms) -> Option<Problem> {
        let refusal = named.refusal.as_ref()?;
        let why = format!("its host may not be named there: {}", refusal.why);
        let rule = StoppingRule::of(named.rules.first(), terms.rules());
        if refusal.by == RefusedBy::Policies {
            return Some(self.denied(rule, parts, &why));
        }
        let fix = "name fewer hosts, and send this one again in a while";
        let problem = Problem::stopped(why, fix.to_owned()).under(rule);
        let entry = Entry {
            no_rule: true,
            ..refused(parts, &problem)
        };
        self.context.log_name(refusal.by, entry);
        Some(problem)
    }

    fn crowded(&self, parts: &Parts, body: BegunBody) -> Problem {
        unwanted(parts, body);
        self.refused(parts, Problem::crowded())
    }

    async fn terms(&self) -> Result<Rc<TargetTerms>, Abort> {
        let terms = self.context.link.terms(self.context.target).await;
        terms.ok_or_else(|| "nothing passes there any more".into())
    }

    fn denied(&self, rule: StoppingRule, parts: &Parts, because: &str) -> Problem {
        let fix = "nobody can allow it but by changing the policy";
        let problem = Problem::stopped(because.to_owned(), fix.to_owned()).under(rule);
        let denied = true;
        self.log(Entry {
            denied,
            ..refused(parts, &problem)
        });
        problem
    }

    /// The problem of a request that was refused, once that is written down.
    fn refused(&self, parts: &Parts, problem: Problem) -> Problem {
        self.log(refused(parts, &problem));
        problem
    }

    /// Asks guardd, and by it an approver, and waits for the answer.
    async fn confirmed(
        &self,
        terms: &Rc<TargetTerms>,
        parts: &Parts,
        request: &judge::RequestHead<'_>,
        mut body: BegunBody,
        mut write: HttpWrite,
        rule: StoppingRule,
    ) -> Result<Judged, Abort> {
        // No person is asked about what cannot be sent.
        if let Some(why) = self.upstream().distrusted() {
            unwanted(parts, body);
            return Ok(Err(self.untrusted(why.to_string())));
        }
        if path(&parts.uri).len() > MAX_PATH {
            let status = StatusCode::URI_TOO_LONG;
            let why = "its path is longer than what a person is shown";
            return Ok(Err(self.unreadable(parts, status, why).under(rule)));
        }
        body.read(MAX_SHOWN, MORE).await?;
        if body.so_far().len() > MAX_SHOWN {
            body.read_ahead(MORE, ALL).await?;
        }
        if body.is_crowded() {
            return Ok(Err(self.crowded(parts, body)));
        }
        let turn = self.context.room.turn(terms.account).await;
        let (said, preview) = shown(parts, request, &body, &mut write.warnings);
        let because = write.because.clone();
        let asked = asked(
            parts,
            &self.context,
            request,
            &body,
            WriteToShow {
                write,
                rule: rule.name.clone(),
                said,
                preview,
            },
        );
        turn.end().await;
        let began = Instant::now();
        let answer = tokio::select! {
            answer = self.context.link.ask(self.context.target, asked).answer() => answer,
            () = self.left() => left(),
        };
        match answer {
            AskAnswer::Yes => self.still_may(terms, parts, request, body, began).await,
            AskAnswer::No { request, why, fix } => {
                unwanted(parts, body);
                let problem = Problem::stopped(format!("{because}; {why}"), fix).under(rule);
                Ok(Err(self.refused(parts, Problem { request, ..problem })))
            }
        }
    }

    /// What may pass after a yes: the policies may have changed, and what they deny now is still refused.
    async fn still_may(
        &self,
        before: &Rc<TargetTerms>,
        parts: &Parts,
        request: &judge::RequestHead<'_>,
        body: BegunBody,
        began: Instant,
    ) -> Result<Judged, Abort> {
        let terms = self.terms().await?;
        if terms.is_open() {
            self.goes_by_hole();
        }
        if !Rc::ptr_eq(before, &terms) && !terms.is_open() {
            let rules = match self.judging(parts, &terms).await {
                Ok(rules) => rules,
                Err(misnamed) => return Ok(Err(misnamed)),
            };
            let now = with_body(&rules, request, &body);
            if let Judgement::Denied { because } = &now.judgement {
                let rule = StoppingRule::of(now.by, &rules);
                return Ok(Err(self.denied(rule, parts, because)));
            }
        }
        if began.elapsed() > STALE {
            self.reconnect();
        }
        Ok(Ok(Passed {
            body: body::outgoing(body),
            was_asked: true,
        }))
    }
}

/// Drops the rest of a body that is not sent on. In HTTP/1 the connection ends with it.
fn unwanted(parts: &Parts, body: BegunBody) {
    if parts.version == Version::HTTP_2 {
        body.discard();
    }
}

/// The answer to a client that closed its side while it was held, if it still reads.
fn left() -> AskAnswer {
    AskAnswer::No {
        request: None,
        why: "the client closed its side of the connection before anybody answered".to_owned(),
        fix: "leave it open, and send the request again".to_owned(),
    }
}

/// The judgement on a request whose body was read, as far as that is limited.
fn with_body<'r>(
    rules: &'r [Rules],
    request: &judge::RequestHead<'_>,
    body: &BegunBody,
) -> RuledJudgement<'r> {
    if body.is_whole() {
        judge::judge_all(rules, request, Some(body.so_far()))
    } else {
        judge::judge_too_long(rules, request)
    }
}

/// What a person is shown of a request beside its method and path. `warnings` gets what they should know of it.
fn shown(
    parts: &Parts,
    request: &judge::RequestHead<'_>,
    body: &BegunBody,
    warnings: &mut Vec<String>,
) -> (ShownHeaders, Preview) {
    let head = body.head(MAX_SHOWN);
    let is_whole = body.is_whole() && head.len() == body.so_far().len();
    let preview = preview::of(&parts.headers, head, is_whole);
    let meant = preview.meant.as_deref().into_iter();
    for head in meant.chain([body.head(judge::HEAD)]) {
        for warning in judge::warnings(request, head) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings.splice(0..0, judge::elsewhere(request));
    let said = judge::said(request, body.trailers());
    if said.is_cut {
        warnings.insert(0, HttpRequest::CUT_HEADERS.to_owned());
    }
    (said, preview.without_secrets())
}

/// What an approver is shown of a request that changes something.
struct WriteToShow {
    write: HttpWrite,
    /// The rule that stops it.
    rule: Option<String>,
    said: ShownHeaders,
    preview: Preview,
}

fn asked(
    parts: &Parts,
    context: &ConnectionContext,
    request: &judge::RequestHead<'_>,
    body: &BegunBody,
    WriteToShow {
        write,
        rule,
        said,
        preview,
    }: WriteToShow,
) -> HttpAttempt {
    let server = context.secure.as_ref().map(|secure| secure.name());
    let (path, host) = (path(&parts.uri), host(parts).or(server.clone()));
    let scheme = context.scheme();
    let identity = body.is_whole().then(|| {
        let url = digest::Url {
            scheme: scheme.as_str(),
            server: server.as_deref().unwrap_or_default(),
            host: host.as_deref().unwrap_or_default(),
            path: &path,
        };
        digest::of(parts, &url, body)
    });
    let (digest, matter) = identity.map(|one| (one.digest, one.matter)).unzip();
    let judged = body.is_whole().then(|| body.so_far());
    let judged = judged.filter(|body| body.len() <= judge::BODY_LIMIT);
    HttpAttempt {
        tgid: context.tgid,
        method: parts.method.to_string(),
        scheme: scheme.to_string(),
        bytes: body.bytes(),
        body_preview: preview.text,
        body_form: preview.form,
        plain: judge::is_plain(request, judged, &said),
        headers: said.headers,
        definition: false,
        digest,
        matter,
        rule: rule.unwrap_or_default(),
        kind: write.kind,
        warnings: write.warnings,
        host,
        path: judge::without_secrets(&path),
        transaction: TransactionState::Able,
    }
}

fn path(uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    path.to_owned()
}

fn host(parts: &Parts) -> Option<String> {
    let authority = parts.uri.authority();
    let authority = authority.map(|authority| authority.as_str().to_owned());
    authority.or_else(|| {
        let host = parts.headers.get(header::HOST)?;
        Some(host.to_str().ok()?.to_owned())
    })
}

/// Of a request that was refused, with its problem.
fn refused(parts: &Parts, problem: &Problem) -> Entry {
    Entry {
        rule: problem.rule.clone(),
        why: Some(problem.detail.clone()),
        status: Some(problem.status),
        ..entry("refused", parts)
    }
}

/// The audit entry of a request.
#[must_use]
pub(super) fn entry(outcome: &str, parts: &Parts) -> Entry {
    Entry {
        method: Some(cut(parts.method.as_str())),
        path: Some(cut(&judge::without_secrets(&path(&parts.uri)))),
        host: host(parts).as_deref().map(cut),
        ..Entry::of(outcome)
    }
}

/// The beginning of what a client has sent, for the audit log.
fn cut(text: &str) -> String {
    text.chars().take(MAX_PATH).collect()
}
