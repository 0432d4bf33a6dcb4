//! What runs under the guard, and how to end it.

use super::args::StopArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};
use crate::proto::{Call, Sessions};

/// `guard sessions`
pub(crate) fn sessions(mut client: Client, output: Output) -> Result<Exit, CliError> {
    let answer: Sessions = client.call(&Call::Sessions {})?;
    output.print(answer.sessions.as_slice(), render::sessions::list)?;
    Ok(Exit::DONE)
}

/// `guard stop`
pub(crate) fn stop(mut client: Client, args: StopArgs, output: Output) -> Result<Exit, CliError> {
    let answer: Sessions = client.call(&Call::Stop {
        session: args.session,
    })?;
    output.print_things(&answer.sessions, render::sessions::stopped)?;
    Ok(Exit::DONE)
}
