//! Which request gets which page.

use guard_courier::{Refusal, day::Glance};
use guard_proto::{
    Call, Hole, HolesReply, RequestsReply, SessionsReply,
    approvers::{Approvers, Asked, Invitation, Passkey, Presented, PresentedKey, Taken},
    flows::FlowsReply,
    requests::Denied,
};
use guard_signed::{Document as _, Question};
use http::{Method, StatusCode, header, request::Parts};
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Console,
    audit_log::GLANCE,
    both::{
        self, AnswerSigned, assets_and_links, body_of, frame, logged_in, logged_out, login,
        nothing_here, parsed, refused, refused_page,
    },
    central, events, gate,
    knocks::Peer,
    login::LoginSigned,
    machine::machine,
    pages::{self, Frame, Tab},
    push,
    reply::{self, Reply},
    scope::{Scope, Visitor},
};

/// A new passkey, as the script has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    invitation: String,
    id: String,
    public_key: String,
}

/// Answers a request.
pub(crate) async fn answer(console: &Console, peer: Peer, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let reply = match gate::pass(&parts, &console.settings.origin) {
        Err(stopped) => reply::text(stopped.status(), stopped.why()),
        Ok(()) => route(console, &parts, body).await,
    };
    console.knocks.note(peer, &parts, &reply);
    match parts.method {
        Method::HEAD => reply.map(|_| http_body_util::Empty::new().boxed_unsync()),
        _ => reply,
    }
}

async fn route(console: &Console, parts: &Parts, body: Incoming) -> Reply {
    let path = path_of(parts);
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    let is_post = parts.method == Method::POST;
    if let Some(central) = &console.central {
        return central::routes::route(console, central, parts, &path, is_post, body).await;
    }
    if let Some(reply) = open_to_all(console, is_post, &path, parts).await {
        return reply;
    }
    let body = match body_of(is_post, body).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    match (is_post, &path[..]) {
        (true, ["login"]) => return login(console, &body),
        (true, ["login", "passkey"]) => return login_by_passkey(console, &body).await,
        (true, ["enrol"]) => return enrol(console, &body).await,
        _ => {}
    }
    let Some(secret) = gate::cookie(&parts.headers, &console.settings.origin) else {
        return logged_out(console, parts, is_post);
    };
    let Some(visitor) = Visitor::of(console, secret) else {
        return logged_out(console, parts, is_post);
    };
    if is_post && path == ["logout"] {
        visitor.end();
        let cookie = gate::set_cookie(&console.settings.origin, None);
        return reply::and(reply::to("/login"), header::SET_COOKIE, &cookie);
    }
    if is_post && path == ["logout", "everywhere"] {
        return match visitor.identity() {
            Some(identity) => both::log_out_everywhere(console, &identity),
            None => logged_out(console, parts, is_post),
        };
    }
    match (visitor.scope().await, is_post) {
        (Ok(None), _) => logged_out(console, parts, is_post),
        // The stream asks guardd itself, and says so where that is away.
        (_, false) if path == ["events"] => events::stream(console, visitor, machine()),
        (Ok(Some(_)), true) if path == ["devices"] => {
            add_device(console, &visitor, parts, &body).await
        }
        (Ok(Some(scope)), true) => post(console, &scope, &path, &body).await,
        (Ok(Some(scope)), false) => get(console, &scope, &path, parts).await,
        (Err(refusal), _) if matches!(path.last(), Some(&"answer" | &"devices")) => {
            refused(&refusal)
        }
        (Err(refusal), _) => {
            let tab = Tab::at(path.first().unwrap_or(&""));
            refused_page(console, tab, &refusal)
        }
    }
}

/// Part by part; none where that is no text.
fn path_of(parts: &Parts) -> Vec<String> {
    let path = parts.uri.path().split('/').skip(1);
    let path = path.map(|part| Some(percent_decode_str(part).decode_utf8().ok()?.into_owned()));
    path.collect::<Option<_>>().unwrap_or_default()
}

/// What takes no session: the assets, and the ways to one.
async fn open_to_all(
    console: &Console,
    is_post: bool,
    path: &[&str],
    parts: &Parts,
) -> Option<Reply> {
    if is_post {
        return None;
    }
    match path {
        ["login"] if !gate::is_visit(&parts.headers) => Some(login_page(console).await),
        ["enrol", invitation] => Some(enrol_page(console, invitation).await),
        _ => assets_and_links(console, path, parts),
    }
}

async fn login_page(console: &Console) -> Reply {
    let known = console.guardd.call::<Approvers>(&Call::Approvers {}).await;
    let ids: Vec<_> = known.map(|known| passkeys(&known)).unwrap_or_default();
    let nonce = console.logins.begin();
    reply::page(
        StatusCode::OK,
        pages::login::choose(&frame(console, None), &nonce, &ids),
    )
}

/// Where a passkey is made, if the invitation counts: one that was made before guardd says no is of no use.
async fn enrol_page(console: &Console, text: &str) -> Reply {
    let frame = frame(console, None);
    let invitation = text.to_owned();
    let call = Call::Invitation { invitation };
    match console.guardd.call::<Invitation>(&call).await {
        Ok(_) => reply::page(StatusCode::OK, pages::login::enrol(&frame, text)),
        Err(refusal) => reply::page(pages::status(&refusal), pages::refused(&frame, &refusal)),
    }
}

/// The ids of all passkeys.
fn passkeys(known: &Approvers) -> Vec<String> {
    let keys = known.approvers.iter().flat_map(|one| &one.keys);
    let passkeys = keys.filter(|key| key.kind == "passkey");
    passkeys.map(|key| key.id.clone()).collect()
}

async fn login_by_passkey(console: &Console, body: &[u8]) -> Reply {
    let signed: LoginSigned = match parsed(body) {
        Ok(signed) => signed,
        Err(reply) => return *reply,
    };
    let known = match console.guardd.call::<Approvers>(&Call::Approvers {}).await {
        Ok(known) => known,
        Err(refusal) => return refused(&refusal),
    };
    let identity = console
        .logins
        .person(&signed, &known, &console.settings.origin);
    logged_in(console, identity)
}

async fn enrol(console: &Console, body: &[u8]) -> Reply {
    let made: Made = match parsed(body) {
        Ok(made) => made,
        Err(reply) => return *reply,
    };
    let passkey = Passkey {
        id: made.id,
        public_key: made.public_key,
    };
    let call = Call::Present {
        invitation: made.invitation,
        key: PresentedKey {
            ssh: None,
            passkey: Some(passkey),
        },
    };
    match console.guardd.call::<Presented>(&call).await {
        Ok(presented) => reply::json(
            StatusCode::OK,
            &json!({ "name": presented.name, "fingerprint": presented.fingerprint }),
        ),
        Err(refusal) => refused(&refusal),
    }
}

async fn get(console: &Console, scope: &Scope, path: &[&str], parts: &Parts) -> Reply {
    let session = query(parts, "session");
    match path {
        [""] => {
            let (asked, day) = tokio::join!(asked_of(console, scope), glance(console, scope));
            shown(console, Tab::Questions, asked, |frame, asked| {
                pages::questions::page(frame, &asked.requests, scope, machine(), day.as_ref())
            })
        }
        ["q", here, id] if *here == machine() => question(console, scope, id).await,
        ["q", here, id, "hash"] if *here == machine() => hash_of(console, scope, id).await,
        ["sessions"] => {
            let listed = sessions_of(console, scope).await;
            shown(console, Tab::Sessions, listed, |frame, listed| {
                pages::lists::sessions(frame, &listed.sessions, scope)
            })
        }
        ["holes"] => {
            let listed = holes_of(console, scope).await;
            shown(console, Tab::Holes, listed, |frame, listed| {
                pages::lists::holes(frame, &listed.holes, scope)
            })
        }
        ["flows"] => {
            let listed = flows_of(console, scope, session.clone()).await;
            shown(console, Tab::Flows, listed, |frame, listed| {
                pages::lists::flows(frame, listed, session.as_deref(), scope)
            })
        }
        ["log"] => log(console, scope, session.as_deref()).await,
        ["approvers"] => {
            let known = console.guardd.call::<Approvers>(&Call::Approvers {}).await;
            let known = known.map(|mut known| {
                push::remove_unenrolled(console, &known);
                known.approvers.retain(|one| scope.meets(one));
                known
            });
            shown(console, Tab::Approvers, known, |frame, known| {
                let devices = push::pages::Shown::of(&console.settings, &scope.name);
                pages::lists::approvers(frame, &known.approvers, devices.as_ref())
            })
        }
        _ => nothing_here(),
    }
}

/// The last day, as far as it is there: no question waits for it.
async fn glance(console: &Console, scope: &Scope) -> Option<maud::Markup> {
    let flows = tokio::time::timeout(GLANCE, flows_of(console, scope, None));
    let (seen, flows) = tokio::join!(console.audit_log.glance(scope), flows);
    let flows = flows.ok().map(Result::unwrap_or_default);
    match (seen, flows) {
        (Glance::None, _) => None,
        (Glance::Day(day), Some(listed)) => Some(pages::log::glance(&day, &listed.flows, None)),
        (Glance::Late(Some((day, at))), Some(listed)) => {
            Some(pages::log::glance(&day, &listed.flows, Some(at)))
        }
        (Glance::Late(None), _) | (_, None) => Some(pages::log::reading()),
    }
}

async fn asked_of(console: &Console, scope: &Scope) -> Result<RequestsReply, Refusal> {
    let mut asked = console
        .guardd
        .call::<RequestsReply>(&Call::Pending {})
        .await?;
    asked.requests.retain(|one| scope.has(&one.user));
    Ok(asked)
}

async fn sessions_of(console: &Console, scope: &Scope) -> Result<SessionsReply, Refusal> {
    let mut listed = console
        .guardd
        .call::<SessionsReply>(&Call::Sessions {})
        .await?;
    listed.sessions.retain(|one| scope.has(&one.user));
    Ok(listed)
}

/// A hole says whose session it is for by that session alone.
async fn holes_of(console: &Console, scope: &Scope) -> Result<HolesReply, Refusal> {
    let mut listed = console.guardd.call::<HolesReply>(&Call::Holes {}).await?;
    let sessions = sessions_of(console, scope).await?.sessions;
    let is_own = |hole: &Hole| sessions.iter().any(|one| one.id == hole.session);
    listed.holes.retain(is_own);
    Ok(listed)
}

async fn flows_of(
    console: &Console,
    scope: &Scope,
    session: Option<String>,
) -> Result<FlowsReply, Refusal> {
    let by = Some(scope.name.clone());
    let call = Call::Flows {
        session,
        by,
        latest: None,
    };
    console.guardd.call(&call).await
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query()?.as_bytes();
    let mut pairs = form_urlencoded::parse(query);
    let found = pairs.find(|(key, value)| key == name && !value.is_empty());
    found.map(|(_, value)| value.into_owned())
}

fn shown<T>(
    console: &Console,
    tab: Tab,
    answer: Result<T, Refusal>,
    show: impl FnOnce(&Frame<'_>, &T) -> maud::Markup,
) -> Reply {
    match answer {
        Ok(answer) => reply::page(StatusCode::OK, show(&frame(console, Some(tab)), &answer)),
        Err(refusal) => refused_page(console, tab, &refusal),
    }
}

async fn log(console: &Console, scope: &Scope, session: Option<&str>) -> Reply {
    let (day, flows) = tokio::join!(console.audit_log.day(scope), flows_of(console, scope, None));
    shown(console, Tab::Log, day, |frame, day| {
        let flows = flows.map(|listed| listed.flows).unwrap_or_default();
        pages::log::page(frame, day, &flows, session)
    })
}

/// The page of a request, or of its answer.
async fn question(console: &Console, scope: &Scope, id: &str) -> Reply {
    // The bytes first: what has changed since then guardd refuses.
    let question = Call::Question { id: id.to_owned() };
    let asked = console.guardd.call::<Asked>(&question).await;
    let pending = asked_of(console, scope).await;
    let pending = match pending {
        Ok(pending) => pending,
        Err(refusal) => return refused_page(console, Tab::Questions, &refusal),
    };
    let Some(request) = pending.requests.iter().find(|one| one.id == id) else {
        let day = console
            .audit_log
            .day_by_now(scope)
            .await
            .unwrap_or_default();
        let became = pages::question::over(&frame(console, Some(Tab::Questions)), id, &day);
        let status = if day.about(id).next().is_some() {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        return reply::page(status, became);
    };
    let known = console.guardd.call::<Approvers>(&Call::Approvers {}).await;
    let known = known.unwrap_or_default().approvers;
    let asking = pages::question::Asking {
        request,
        asked: asked.as_ref().map_err(|refusal| &refusal.failure),
        approvers: &known,
        by: &scope.name,
        machine: machine(),
    };
    reply::page(
        StatusCode::OK,
        pages::question::page(&frame(console, Some(Tab::Questions)), &asking),
    )
}

/// Which bytes an answer is for now: guardd's settings and its clock have a say in them, and no stream tells of those.
async fn hash_of(console: &Console, scope: &Scope, id: &str) -> Reply {
    let call = Call::Question { id: id.to_owned() };
    match console.guardd.call::<Asked>(&call).await {
        Ok(asked) => {
            let question = Question::from_bytes(asked.question.as_bytes()).ok();
            if question.is_some_and(|one| scope.has(&one.user)) {
                reply::json(StatusCode::OK, &json!({ "hash": asked.hash }))
            } else {
                nothing_here()
            }
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn post(console: &Console, scope: &Scope, path: &[&str], body: &[u8]) -> Reply {
    match path {
        ["q", here, id, "no"] if *here == machine() => {
            let call = Call::Deny {
                id: (*id).to_owned(),
                seconds: None,
                by: Some(scope.name.clone()),
            };
            match console.guardd.call::<Denied>(&call).await {
                Ok(_) => reply::to("/"),
                Err(refusal) => refused_page(console, Tab::Questions, &refusal),
            }
        }
        ["q", here, _, "answer"] if *here == machine() => hand_in(console, body).await,
        ["devices", id, "remove"] => push::pages::remove(console, &scope.name, id),
        ["holes", id, "close"] => {
            let call = Call::Close {
                ids: vec![(*id).to_owned()],
                all: false,
                by: Some(scope.name.clone()),
            };
            match console.guardd.call::<HolesReply>(&call).await {
                Ok(_) => reply::to("/holes"),
                Err(refusal) => refused_page(console, Tab::Holes, &refusal),
            }
        }
        _ => nothing_here(),
    }
}

/// Has the browser notified that asks for it.
async fn add_device(console: &Console, visitor: &Visitor, parts: &Parts, body: &[u8]) -> Reply {
    let agent = parts.headers.get(header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    match visitor.identity() {
        Some(identity) => {
            let is_logged_in = || visitor.identity().is_some();
            push::pages::add(console, identity, is_logged_in, agent, body).await
        }
        None => logged_out(console, parts, true),
    }
}

/// Carries a signed answer to guardd, which looks at the signature.
async fn hand_in(console: &Console, body: &[u8]) -> Reply {
    let signed: AnswerSigned = match parsed(body) {
        Ok(signed) => signed,
        Err(reply) => return *reply,
    };
    let call = Call::AnswerSigned {
        answer: signed.answer,
        key: signed.key,
        kind: "passkey".to_owned(),
        signature: signed.signature,
        authenticator_data: Some(signed.authenticator_data),
        client_data: Some(signed.client_data),
    };
    match console.guardd.call::<Taken>(&call).await {
        Ok(taken) => both::taken(&taken),
        Err(refusal) => refused(&refusal),
    }
}
