//! `guard watch`: a screen with what waits for an answer, and a key for each answer.
//!
//! The model says what is so, the view how it looks; both are pure. The rest is a loop that waits for guardd, for keys
//! and for signals.

use std::ffi::OsStr;
use std::path::Path;

use guard_proto::{Call, Failure, SessionsReply};
use rustix::termios::isatty;

use super::args::WatchArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::Output;

mod answer;
mod feed;
mod job;
mod model;
mod rows;
mod run;
mod screen;
mod view;
mod words;

/// `guard watch`
pub(crate) fn watch(socket: &Path, args: &WatchArgs, output: Output) -> Result<Exit, CliError> {
    super::keep_to_itself();
    if output.is_json() {
        return Err(no_screen("it has no JSON", "guard pending --follow --json"));
    }
    if !isatty(std::io::stdin()) || !isatty(std::io::stdout()) {
        let why = "standard input and standard output have to be a terminal";
        return Err(no_screen(why, INSTEAD));
    }
    if is_dumb(std::env::var_os("TERM").as_deref()) {
        let why = "this terminal (TERM) cannot place text";
        return Err(no_screen(why, INSTEAD));
    }
    may_ask(socket)?;
    run::run(socket, args)
}

/// What does the same in lines.
const INSTEAD: &str = "see requests in lines:\nguard pending --follow\nand answer from another terminal:\nguard approve ID\nguard deny ID";

fn is_dumb(term: Option<&OsStr>) -> bool {
    term.is_none_or(|term| term.is_empty() || term == "dumb")
}

fn no_screen(why: &str, fix: &str) -> CliError {
    CliError::Local(Failure {
        what: "cannot show a screen".into(),
        why: why.into(),
        fix: fix.into(),
    })
}

/// Whether guardd lets the caller see anything. One that does not run yet may do so later.
fn may_ask(socket: &Path) -> Result<(), CliError> {
    let asked = Client::connect(socket)
        .and_then(|mut client| client.call::<SessionsReply>(&Call::Sessions {}));
    match asked {
        Ok(_) | Err(CliError::NoDaemon(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_cannot_place_text_is_dumb() {
        for (term, dumb) in [
            (None, true),
            (Some(""), true),
            (Some("dumb"), true),
            (Some("xterm"), false),
            (Some("vt100"), false),
        ] {
            assert_eq!(is_dumb(term.map(OsStr::new)), dumb, "{term:?}");
        }
    }
}
