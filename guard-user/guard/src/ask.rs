//! A question to the person at the terminal.

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{QueueSelector, tcflush};

use crate::error::CliError;

/// Whether they say yes.
pub(crate) fn yes(question: impl Display) -> Result<bool, CliError> {
    let answer = answer(&question).map_err(|error| CliError::output(&error))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn answer(question: &impl Display) -> io::Result<String> {
    let mut stdin = io::stdin().lock();
    if stdin.is_terminal() {
        // What was typed before somebody could read this answers something else.
        tcflush(&stdin, QueueSelector::IFlush)?;
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(answer)
}
