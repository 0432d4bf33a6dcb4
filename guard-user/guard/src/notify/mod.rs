//! `guard notify`: requests where a person is, on their desktop or with a terminal's bell.
//!
//! It is a client like any other: it follows the requests, so that connections wait while it can show them, and
//! answers with the verbs that a person types.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use guard_proto::Failure;

use self::desktop::Desktop;
use self::notifier::Notifier;
use super::args::NotifyArgs;
use super::error::{CliError, Exit};
use super::render::Output;

mod answers;
mod bell;
mod buttons;
mod desktop;
mod follow;
mod notifier;
mod words;

/// `guard notify`: until it is ended, or there is no desktop any more.
///
/// # Errors
///
/// Where there is no desktop to notify, where that does not answer, and guardd's refusal.
pub(crate) fn notify(socket: PathBuf, args: &NotifyArgs, output: Output) -> Result<Exit, CliError> {
    if args.bell {
        return bell::ring(socket, output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::output(&error))?;
    let desktop = match runtime.block_on(Desktop::connect()) {
        Ok(desktop) => desktop,
        Err(error) if io::stdout().is_terminal() => {
            output.warnings(&[format!(
                "there is no desktop to notify ({error}): ringing this terminal's bell instead"
            )]);
            return bell::ring(socket, output);
        }
        Err(error) => return Err(CliError::Local(no_desktop(&error))),
    };
    crate::keep_to_itself();
    let ended = runtime.block_on(Notifier::new(socket.clone(), desktop).run(follow::start(socket)));
    // An answer may be on its way still, and a thread follows.
    runtime.shutdown_background();
    ended.map(|never| match never {})
}

fn no_desktop(error: &zbus::Error) -> Failure {
    Failure {
        what: "cannot notify anybody".into(),
        why: format!("the session bus of a desktop does not answer: {error}"),
        fix: "in your desktop's session:\nsystemctl --user enable --now guard-notify\nor in a terminal:\nguard notify --bell"
            .into(),
    }
}

/// Says on standard error what has changed: for a terminal, or the journal.
fn say(text: &str) {
    // That nobody reads it changes nothing.
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("guard notify: {text}\n"));
}
