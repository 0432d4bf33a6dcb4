//! `guard flows`: what sessions have reached.

use guard_proto::{Call, flows::Flows};

use super::args::FlowsArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};

/// Lists them.
pub(crate) fn flows(mut client: Client, args: FlowsArgs, output: Output) -> Result<Exit, CliError> {
    let answer = reached(&mut client, args.session)?;
    output.warnings(&answer.warnings);
    output.print(answer.flows.as_slice(), render::flows::list)?;
    Ok(Exit::DONE)
}

/// What the caller's sessions have reached, or one of them.
pub(crate) fn reached(client: &mut Client, session: Option<String>) -> Result<Flows, CliError> {
    client.call(&Call::Flows { session, by: None })
}
