//! polkit's authorisation before a hole is opened, if the settings ask for it.
//!
//! It comes after [`crate::control::auth`] and widens nothing. It may ask the person for a password, so each call waits in a
//! task of its own, and guardd does everything else meanwhile. Whatever is no clear yes is a no.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use guard_proto::Call;
use guard_sys::pidfd::Peer;
use tokio::{sync::Semaphore, time::timeout};
use zbus::{Fd, Variant, connection};

use crate::{
    control::{
        auth::{Approver, Authorised, authorise},
        failure::CallError,
    },
    shared::Shared,
};

/// polkit's action.
const ACTION: &str = "org.guardd.approve";
/// `AllowUserInteraction` of `CheckAuthorization`: the person may be asked for a password.
const MAY_ASK: u32 = 1;
/// How long a person may take. It is less than `guard` waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(50);
/// Calls that wait for polkit at once.
const AT_ONCE: usize = 16;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A process in polkit's interface: its kind, and what identifies it.
type PolkitSubject<'a> = (&'a str, HashMap<&'a str, Variant<'a>>);
/// Whether the process is authorised, whether it would be after authentication, and details.
type AuthorizationResult = (bool, bool, HashMap<String, String>);

#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    fn check_authorization(
        &self,
        subject: &PolkitSubject<'_>,
        action_id: &str,
        details: HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<AuthorizationResult>;

    fn cancel_check_authorization(&self, cancellation_id: &str) -> zbus::Result<()>;
}

/// Asks polkit whether the calling process may open what `call` opens, if the settings say so and the call opens anything.
///
/// # Errors
///
/// `Refused` if polkit says no, cannot be asked, or does not answer in time; and if the caller is inside by now.
pub(crate) async fn check(
    shared: &Shared,
    who: Approver,
    peer: &Peer,
    call: &Call,
) -> Result<(), CallError> {
    let to = match call {
        Call::Open { destination, .. } => destination.clone(),
        Call::Approve {
            id,
            prefix,
            address,
            ..
        } => shared.with(|state| asked_for(state, who, id, *prefix, *address)),
        Call::Apply(call) if call.widen => {
            format!("what another policy for {} lets through", call.session)
        }
        _ => return Ok(()),
    };
    if !shared.with(|state| state.config.approve.polkit) {
        return Ok(());
    }
    let Ok(_turn) = TURNS.try_acquire() else {
        return Err(unanswered(
            "as many requests wait for it as guardd asks at once",
        ));
    };
    match timeout(TIMEOUT + Duration::from_secs(1), ask(peer, &to)).await {
        Ok(Ok((true, _, _))) => still_outside(shared, peer, call),
        Ok(Ok((false, true, _))) => Err(nobody_asks()),
        Ok(Ok((false, false, _))) => Err(no()),
        Ok(Err(why)) => Err(unanswered(&why)),
        Err(_) => Err(unanswered("it did not answer in time")),
    }
}

/// The destination of a request, for the person to read. That of another user's request is not shown.
fn asked_for(
    state: &crate::state::State,
    who: Approver,
    id: &str,
    prefix: bool,
    address: bool,
) -> String {
    let asked = state
        .requests
        .get(id)
        .filter(|asked| who.answers_for(asked.owner));
    let to = asked.map(|asked| {
        let to = crate::control::advice::destination(&asked.shown.destination);
        let to = match (&asked.shown.question, &asked.shown.named) {
            (Some(question), _) => format!("questions for {}", question.name),
            (None, Some(told)) if !address => format!("{}, now {to}", told.name),
            _ => to,
        };
        match &asked.shown.burst {
            Some(burst) if prefix => format!("all of {}, as {to}", burst.prefix),
            Some(burst) => format!("{to} and others of {}", burst.prefix),
            None => to,
        }
    });
    to.unwrap_or_else(|| id.to_owned())
}

async fn ask(peer: &Peer, to: &str) -> Result<AuthorizationResult, String> {
    let say = |error: zbus::Error| error.to_string();
    let subject =
        subject(peer).map_err(|error| format!("the caller cannot be told to it: {error}"))?;
    let bus = connection::Builder::system()
        .method_timeout(TIMEOUT)
        .build()
        .await
        .map_err(say)?;
    let authority = AuthorityProxy::new(&bus).await.map_err(say)?;
    let id = format!(
        "guardd-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let details = HashMap::from([("destination", to)]);
    let answer = authority
        .check_authorization(&subject, ACTION, details, MAY_ASK, &id)
        .await;
    if answer.is_err() {
        // polkit may still be asking a person. Nothing waits for that.
        let _ = timeout(
            Duration::from_millis(500),
            authority.cancel_check_authorization(&id),
        )
        .await;
    }
    answer.map_err(say)
}

/// The calling process: by pidfd for a polkit that supports that (124), and by pid and start time for an older one.
fn subject(peer: &Peer) -> std::io::Result<PolkitSubject<'_>> {
    let uid = i32::try_from(peer.uid()).map_err(std::io::Error::other)?;
    let about = HashMap::from([
        ("pidfd", Variant::from(Fd::from(peer.pidfd()))),
        ("pid", Variant::from(peer.pid()?)),
        ("start-time", Variant::from(peer.started()?)),
        ("uid", Variant::from(uid)),
    ]);
    Ok(("unix-process", about))
}

/// The caller had time to move into a session.
fn still_outside(shared: &Shared, peer: &Peer, call: &Call) -> Result<(), CallError> {
    let caller = shared.with(|state| state.caller(peer))?;
    match authorise(&caller, call)? {
        Authorised::Approver(_) => Ok(()),
        Authorised::Agent(_) => Err(no()),
    }
}

const WHAT: &str = "nothing was opened";

fn no() -> CallError {
    CallError::refused(
        WHAT,
        format!("polkit says no to {ACTION}"),
        "try again, and authenticate; who may is in polkit's rules: see polkit(8)",
    )
}

fn nobody_asks() -> CallError {
    CallError::refused(
        WHAT,
        format!(
            "polkit wants you to authenticate for {ACTION}, and nothing in your session can ask you to"
        ),
        "run it in a desktop's session, or in a terminal start an agent first:\npkttyagent --process $$ &",
    )
}

fn unanswered(why: &str) -> CallError {
    CallError::refused(
        WHAT,
        format!("polkit was to be asked, and cannot be: {why}"),
        "see what polkit says:\nsystemctl status polkit\nor do without it: polkit = false under [approve] in \
         /etc/guard/guardd.toml, and restart guardd",
    )
}
