//! A question to the person at the terminal.

use std::fmt::Display;
use std::io::{self, BufRead as _, Write as _};

use crate::error::CliError;

/// Whether they say yes.
pub(crate) fn yes(question: impl Display) -> Result<bool, CliError> {
    let mut answer = String::new();
    let read = write!(io::stderr(), "{question} [y/N] ")
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.map_err(|error| CliError::output(&error))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
