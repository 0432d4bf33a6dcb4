//! `guard flows`: what sessions have reached.

use std::time::Duration;

use guard_proto::{Call, Flow, flows::Flows};
use jiff::{SignedDuration, Timestamp};

use super::args::FlowsArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};

/// Lists them.
pub(crate) fn flows(mut client: Client, args: FlowsArgs, output: Output) -> Result<Exit, CliError> {
    let mut answer = reached(&mut client, args.session)?;
    keep_late(&mut answer.flows, args.since);
    output.warnings(&answer.warnings);
    output.print(answer.flows.as_slice(), render::flows::list)?;
    Ok(Exit::DONE)
}

/// What the caller's sessions have reached, or one of them.
pub(crate) fn reached(client: &mut Client, session: Option<String>) -> Result<Flows, CliError> {
    client.call(&Call::Flows { session, by: None })
}

/// Keeps those of which something was sent or received in that time.
pub(crate) fn keep_late(flows: &mut Vec<Flow>, since: Option<Duration>) {
    let since = since.and_then(|since| SignedDuration::try_from(since).ok());
    let now = Timestamp::now();
    flows.retain(|flow| since.is_none_or(|since| now.duration_since(flow.last_at) <= since));
}
