//! What people and programs read: text and JSON from the same values.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use guard_proto::{ErrorName, Failure};
pub(crate) use guard_signed::visible::command_line;
use serde::Serialize;

use self::page::Page;
use self::time::Clock;
use super::error::CliError;

pub(crate) mod doctor;
pub(crate) mod elsewhere;
pub(crate) mod ended;
pub(crate) mod endpoint;
pub(crate) mod escape;
pub(crate) mod explain;
pub(crate) mod failure;
pub(crate) mod flows;
pub(crate) mod holes;
pub(crate) mod inside;
pub(crate) mod log;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod report;
pub(crate) mod requests;
pub(crate) mod seen;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod time;
pub(crate) mod verified;

/// Where a verb's output goes, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// JSON or text.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether it is JSON.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints `value` as one line of JSON, or the page that tells it, and does not keep it back.
    pub(crate) fn print<T: Serialize + ?Sized>(
        self,
        value: &T,
        page: impl FnOnce(&T, &Clock) -> Page,
    ) -> Result<(), CliError> {
        if self.json {
            return print_json(value);
        }
        let mut page = page(value, &Clock::system());
        if let Some(columns) = columns(std::io::stdout()) {
            page = page.fit(columns);
        }
        let mut out = anstream::stdout().lock();
        out.write_all(page.as_str().as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| CliError::output(&error))
    }

    /// Prints what a verb did or found, which is mostly one thing: as JSON that thing, or the list of them
    /// where there are several or none; as text each by itself.
    pub(crate) fn print_things<T: Serialize>(
        self,
        things: &[T],
        page: impl Fn(&T, &Clock) -> Page,
    ) -> Result<(), CliError> {
        match things {
            [only] => self.print(only, page),
            all if self.json => print_json(all),
            all => all.iter().try_for_each(|one| self.print(one, &page)),
        }
    }

    /// Tells, on standard error, what ended a verb, if there is anything to tell.
    pub(crate) fn error(self, error: &CliError) {
        if let Some(failure) = error.failure() {
            self.failed(failure, error.name());
        }
    }

    /// Tells, on standard error, what went wrong on this side of the socket.
    pub(crate) fn failure(self, failure: &Failure) {
        self.failed(failure, None);
    }

    /// That nobody reads it changes nothing any more.
    fn failed(self, failure: &Failure, name: Option<ErrorName>) {
        let _ = if self.json {
            writeln!(std::io::stderr(), "{}", failure::json(failure, name))
        } else {
            write!(anstream::stderr(), "{}", failure::page(failure).as_str())
        };
    }

    /// Tells, on standard error, what there is to say behind a command that had the terminal: one line of JSON, if there is any,
    /// or a page.
    pub(crate) fn behind_command(
        self,
        json: impl FnOnce() -> Option<String>,
        page: impl FnOnce() -> Page,
    ) {
        let _ = if self.json {
            json().map_or(Ok(()), |text| {
                writeln!(std::io::stderr(), "{}", escape::json(&text))
            })
        } else {
            take_back_styles();
            write!(anstream::stderr(), "{}", page().as_str())
        };
    }

    /// Tells, on standard error, what the person should know although all went well.
    pub(crate) fn warnings(self, warnings: &[String]) {
        for warning in warnings.iter().filter(|one| is_new(one)) {
            self.warn(warning);
        }
    }

    /// Tells, on standard error, what is no warning; programs do not read it.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            let _ = writeln!(anstream::stderr(), "guard: {text}");
        }
    }

    /// Prints one, whether or not it was printed before.
    pub(crate) fn warn(self, warning: &str) {
        let _ = if self.json {
            writeln!(std::io::stderr(), "{}", failure::warning_json(warning))
        } else {
            write!(anstream::stderr(), "{}", failure::warning(warning).as_str())
        };
    }
}

/// What was printed as a warning.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whether that was not printed as a warning yet: what is found here in a policy, guardd finds as well.
pub(crate) fn is_new(warning: &str) -> bool {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.insert(warning.to_owned())
}

/// Takes back what a command may have left at a terminal that hides or garbles text: an unfinished sequence, a style, a character set,
/// margins, insertion, lines that are cut, and no cursor. One by one, since not every terminal knows DECSTR. Colours that it has given
/// other values stay: a person may have chosen them.
const TAKE_BACK: &[u8] =
    b"\x1b\\\x1b[0m\x1b(B\x0f\x1b7\x1b[?6l\x1b[?69l\x1b[r\x1b8\x1b[4l\x1b[?7h\x1b[?25h";

/// Does so where standard error is a terminal: then the command had it.
fn take_back_styles() {
    let mut terminal = std::io::stderr();
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if terminal.is_terminal() && !is_dumb {
        let _ = terminal.write_all(TAKE_BACK);
    }
}

/// How wide the terminal is, where that is one.
pub(crate) fn columns(of: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    (size.ws_col > 0).then(|| size.ws_col.into())
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::output(&error.into()))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", escape::json(&text))
        .and_then(|()| out.flush())
        .map_err(|error| CliError::output(&error))
}

/// A path as a word of a command line.
pub(crate) fn path_word(path: &Path) -> String {
    command_line(&[path.display().to_string()])
}

#[cfg(test)]
pub(crate) mod examples;
