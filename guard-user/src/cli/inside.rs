//! For the agent inside a session: what was stopped, and to ask for it.

use super::args::RequestArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};
use crate::proto::{Call, Requested, WhyReport};

/// `guard why`
pub(crate) fn why(mut client: Client, output: Output) -> Result<Exit, CliError> {
    let report: WhyReport = client.call(&Call::Why {})?;
    output.print(&report, render::inside::why)?;
    Ok(Exit::DONE)
}

/// `guard request`: no only where nobody can be asked.
pub(crate) fn request(
    mut client: Client,
    args: RequestArgs,
    output: Output,
) -> Result<Exit, CliError> {
    let call = Call::Request {
        destination: args.to.destination,
        ports: args.to.ports,
        reason: args.reason,
    };
    let requested: Requested = client.call(&call)?;
    output.print(&requested, render::inside::requested)?;
    Ok(Exit::answer(requested.verdict != "deny"))
}
