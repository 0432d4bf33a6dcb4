//! What both lists of routes answer alike: that of one machine's console ([`crate::routes`]), and that of many machines'
//! ([`crate::central`]).

use std::io;

use guard_courier::Refusal;
use guard_proto::approvers::Taken;
use guard_signed::{Answer, Document as _};
use http::{StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    Console, Settings,
    files::{Files, Identity},
    gate,
    pages::{self, Frame, Tab},
    push::{self, Devices},
    reply::{self, Reply},
};

/// Bytes of a body at most.
const LONGEST: usize = 64 * 1024;

/// How long a body may take to come.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// A signed answer, as the script has it. Bytes are base64url.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerSigned {
    pub(crate) answer: String,
    pub(crate) key: String,
    pub(crate) signature: String,
    pub(crate) authenticator_data: String,
    pub(crate) client_data: String,
}

impl AnswerSigned {
    /// The hash of the question that it is to, as the answer says.
    pub(crate) fn question(&self) -> Option<String> {
        let answer = Answer::from_bytes(self.answer.as_bytes());
        answer.ok().map(|answer| answer.question)
    }
}

/// The same of what asks no guardd.
pub(crate) fn assets_and_links(console: &Console, path: &[&str], parts: &Parts) -> Option<Reply> {
    match path {
        ["push.js" | "manifest.webmanifest"] => push::pages::asset(console, path),
        ["assets", name] => Some(console.assets.get(name).unwrap_or_else(nothing_here)),
        ["login", secret] => Some(if console.files.is_login(secret) {
            reply::page(
                StatusCode::OK,
                pages::login::link(&frame(console, None), secret),
            )
        } else {
            reply::page(
                StatusCode::FORBIDDEN,
                pages::login::used(&frame(console, None)),
            )
        }),
        ["login"] => Some(again(console, parts)),
        _ => None,
    }
}

/// The body of what posts.
pub(crate) async fn body_of(is_post: bool, body: Incoming) -> Result<Vec<u8>, Reply> {
    if is_post {
        read(body).await
    } else {
        Ok(Vec::new())
    }
}

/// A body, if it is no longer than bodies are.
async fn read(body: Incoming) -> Result<Vec<u8>, Reply> {
    let whole = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, LONGEST).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes().to_vec()),
        Ok(Err(_)) => Err(reply::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "That is too long.",
        )),
        Err(_) => Err(reply::text(
            StatusCode::REQUEST_TIMEOUT,
            "That takes too long.",
        )),
    }
}

pub(crate) fn nothing_here() -> Reply {
    reply::text(StatusCode::NOT_FOUND, "There is nothing here.")
}

pub(crate) fn frame(console: &Console, tab: Option<Tab>) -> Frame<'_> {
    Frame {
        assets: &console.assets,
        tab,
    }
}

/// The way in, for a visitor without a session. A browser keeps the cookie back where a link of another site leads here, and brings
/// it when the page itself asks again.
pub(crate) fn logged_out(console: &Console, parts: &Parts, is_post: bool) -> Reply {
    match (is_post, gate::is_visit(&parts.headers)) {
        (true, _) => reply::json(
            StatusCode::UNAUTHORIZED,
            &json!({ "error": "Log in again: this browser's session has ended." }),
        ),
        (false, true) => again(console, parts),
        (false, false) => reply::to("/login"),
    }
}

fn again(console: &Console, parts: &Parts) -> Reply {
    reply::page(
        StatusCode::OK,
        pages::login::again(&frame(console, None), parts.uri.path()),
    )
}

/// A link's secret becomes a session.
pub(crate) fn login(console: &Console, body: &[u8]) -> Reply {
    let mut fields = form_urlencoded::parse(body);
    let secret = fields
        .find(|(name, _)| name == "secret")
        .map(|(_, secret)| secret);
    match secret.and_then(|secret| console.files.take_login(&secret)) {
        Some(identity) => begin_session(console, identity, reply::to("/")),
        None => reply::page(
            StatusCode::FORBIDDEN,
            pages::login::used(&frame(console, None)),
        ),
    }
}

/// Ends all sessions of the approver who is logged in, in whatever browser.
pub(crate) fn log_out_everywhere(console: &Console, identity: &Identity) -> Reply {
    let is_meant = |one: &Identity| one.is_of_same_person(identity);
    match log_out(&console.files, &console.settings, is_meant) {
        Ok(ended) => {
            tracing::info!(
                name = identity.name,
                sessions = ended,
                "logs out everywhere"
            );
            let cookie = gate::set_cookie(&console.settings.origin, None);
            reply::and(reply::to("/login"), header::SET_COOKIE, &cookie)
        }
        Err(error) => {
            tracing::error!(%error, name = identity.name, "not all sessions end");
            reply::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Not all sessions could be ended: see the console's log.",
            )
        }
    }
}

/// Ends all sessions that are meant, takes back links, and has the devices of the same people notified no more. Returns how many
/// sessions that were.
///
/// # Errors
///
/// That one of them, or a device, cannot be removed; all others are.
pub(crate) fn log_out(
    files: &Files,
    settings: &Settings,
    is_meant: impl Fn(&Identity) -> bool,
) -> io::Result<usize> {
    // The sessions first: one of them could have another device notified.
    let ended = files.end_all(&is_meant);
    let told = Devices::at(&settings.state_dir).remove_all(is_meant);
    ended.and_then(|ended| told.map(|()| ended))
}

/// A session for whose passkey has signed the login.
pub(crate) fn logged_in(console: &Console, identity: Option<Identity>) -> Reply {
    match identity {
        Some(identity) => {
            let named = reply::json(StatusCode::OK, &json!({ "name": identity.name }));
            begin_session(console, identity, named)
        }
        None => reply::json(
            StatusCode::FORBIDDEN,
            &json!({ "error": "No passkey that is enrolled has signed this. Load the page again." }),
        ),
    }
}

fn begin_session(console: &Console, identity: Identity, reply: Reply) -> Reply {
    match console.files.new_session(identity) {
        Ok(secret) => {
            let cookie = gate::set_cookie(&console.settings.origin, Some(&secret));
            reply::and(reply, header::SET_COOKIE, &cookie)
        }
        Err(error) => {
            tracing::error!(%error, "no session can be kept");
            reply::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "No session can be kept: see the console's log.",
            )
        }
    }
}

pub(crate) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Reply>> {
    serde_json::from_slice(body).map_err(|error| {
        Box::new(reply::json(
            StatusCode::BAD_REQUEST,
            &json!({ "error": format!("That is not understood: {error}") }),
        ))
    })
}

/// guardd's no, for the script.
pub(crate) fn refused(refusal: &Refusal) -> Reply {
    let failure = &refusal.failure;
    let said = json!({ "error": format!("{}: {}", failure.what, failure.why), "fix": failure.fix });
    reply::json(pages::status(refusal), &said)
}

/// guardd's no, as a page.
pub(crate) fn refused_page(console: &Console, tab: Tab, refusal: &Refusal) -> Reply {
    reply::page(
        pages::status(refusal),
        pages::refused(&frame(console, Some(tab)), refusal),
    )
}

/// That guardd has taken it, for the script.
pub(crate) fn taken(taken: &Taken) -> Reply {
    reply::json(
        StatusCode::OK,
        &json!({
            "answer": taken.answer, "by": taken.by, "approvals": taken.approvals, "wanted": taken.wanted,
            "warnings": taken.warnings,
        }),
    )
}
