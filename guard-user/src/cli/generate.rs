//! Shell completions and man pages, from the same definition as the arguments.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::error::{CliError, Exit};
use crate::proto::Failure;

/// `guard completions`
pub(crate) fn completions(shell: Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "guard", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(|error| CliError::output(&error))?;
    Ok(Exit::DONE)
}

/// `guard man`: guard.1, and guard-VERB.1 for each verb.
pub(crate) fn man(directory: &Path) -> Result<Exit, CliError> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| Failure {
            what: format!("cannot write the man pages into {}", directory.display()),
            why: error.to_string(),
            fix: "name a directory that you may write:\nguard man DIR".into(),
        })?;
    Ok(Exit::DONE)
}
