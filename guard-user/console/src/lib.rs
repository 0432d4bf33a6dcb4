//! `guard-console`: pages on which people see what sessions ask, and answer.
//!
//! It is a courier: a user without rights who carries guardd's questions to a browser, and signed answers back. guardd checks
//! each signature itself, so that an attacker who takes the console over can hide a question or delay a yes, and cannot make one of what
//! a session has not asked. A session cookie lets one look, say no and close holes; a yes takes a passkey each time.
//!
//! With `fleet` in its settings it shows many machines, of which guard-fleet tells (`central/`), and talks to no guardd.
//!
//! A request passes `gate.rs` first (host, origin, size), then `routes.rs`. What an agent wrote is put into pages by maud's
//! escaping alone (`pages/`), and the one script writes it as text.

mod args;
mod audit_log;
mod both;
mod central;
mod events;
mod files;
mod gate;
mod hub;
mod knocks;
mod listen;
mod login;
mod lookers;
mod machine;
mod notify;
mod outgoing;
mod pages;
mod push;
mod reply;
mod routes;
mod scope;
mod serve;
mod settings;

use std::{path::PathBuf, rc::Rc};

use anyhow::{Context as _, Result, anyhow};
use guard_courier::Guardd;
use guard_proto::{Call, approvers::Approvers};

pub use args::{ConsoleArgs, SYNONYMS, Verb};
pub use files::{Files, Identity};
pub use notify::{Done, LATER, NotifyArgs, notify};
pub use push::push;
pub use settings::{Settings, WebOrigin};

/// All that a request needs.
struct Console {
    settings: Settings,
    guardd: Guardd,
    files: Files,
    hub: Rc<hub::Hub>,
    audit_log: audit_log::AuditLog,
    logins: login::Challenges,
    knocks: knocks::Knocks,
    assets: pages::Assets,
    /// Many machines in the place of one.
    central: Option<central::Central>,
}

/// Whether this is the machine's root, and not that of a user namespace.
#[must_use]
pub fn is_machines_root() -> bool {
    rustix::process::geteuid().is_root() && guard_sys::user_namespace::root_is().is_none()
}

/// Serves until it is stopped.
///
/// # Errors
///
/// That it cannot listen, or keep what it has to.
pub fn run(settings: Settings) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("cannot begin")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let files = Files::open(&settings.state_dir)?;
        let listeners = listen::listen(&settings.listen).await?;
        let guardd = Guardd::at(settings.socket.clone());
        let console = Rc::new(Console {
            guardd: guardd.clone(),
            files,
            hub: hub::Hub::begin(guardd.clone()),
            audit_log: audit_log::AuditLog::new(guardd),
            logins: login::Challenges::new().context("there are no random numbers")?,
            knocks: knocks::Knocks::default(),
            assets: pages::Assets::new(),
            central: settings.fleet.as_deref().map(central::Central::begin),
            settings,
        });
        let (settings, uid) = (&console.settings, rustix::process::geteuid().as_raw());
        tracing::info!(listen = %settings.listen, origin = %settings.origin, uid, "serves; for a link: guard-console login NAME");
        // Nobody may have asked for it.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        serve::serve(console, listeners).await
    })
}

/// A link that logs an approver in once, for a user who may write where the console keeps such.
///
/// # Errors
///
/// That the caller is another user than the console, nobody of that name is enrolled, or nothing can be kept.
pub fn login_link(settings: &Settings, name: &str) -> Result<String> {
    let files = Files::of_the_console(&settings.state_dir)?;
    let token = files
        .new_login(enrolled(settings, name)?)
        .with_context(|| {
            let dir: PathBuf = settings.state_dir.join("logins");
            format!("cannot keep a link in {}", dir.display())
        })?;
    Ok(format!("{}/login/{token}", settings.origin))
}

/// Logs the approver of that name, or of that key's fingerprint, out of all browsers; none: everybody. Their devices are sent nothing
/// more. Returns of how many browsers.
///
/// # Errors
///
/// That the caller is another user than the console, or a session cannot be ended.
pub fn logout(settings: &Settings, whose: Option<&str>) -> Result<usize> {
    let files = Files::of_the_console(&settings.state_dir)?;
    let is_meant = |one: &Identity| whose.is_none_or(|whose| one.goes_by(whose));
    both::log_out(&files, settings, is_meant).with_context(|| {
        let dir = settings.state_dir.display();
        format!("not all sessions and devices in {dir} could be ended")
    })
}

/// An approver, as guardd knows it now, or all machines.
fn enrolled(settings: &Settings, name: &str) -> Result<Identity> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot begin")?;
    if let Some(fleet) = &settings.fleet {
        return runtime.block_on(central::enrolled(fleet, name));
    }
    let guardd = Guardd::at(settings.socket.clone());
    let known = runtime.block_on(guardd.call::<Approvers>(&Call::Approvers {}));
    let known = known.map_err(|refusal| {
        let failure = refusal.failure;
        anyhow!("{}: {}\n{}", failure.what, failure.why, failure.fix)
    })?;
    let mut people = known.approvers.iter();
    let person = people.find(|one| one.name == name).with_context(|| {
        format!("nobody called {name:?} is enrolled: guard approver list, or as root guard approver invite NAME")
    })?;
    Ok(Identity::of(person, &person.keys))
}
