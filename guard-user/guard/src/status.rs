//! What is enforced.

use guard_proto::{Call, Status};

use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};

/// `guard status`: yes only if all of it is enforced.
pub(crate) fn status(mut client: Client, output: Output) -> Result<Exit, CliError> {
    let status: Status = client.call(&Call::Status {})?;
    output.print(&status, render::status::page)?;
    Ok(Exit::answer(status.enforcing))
}
