//! For the agent inside a session: what was stopped, and to ask for it.

use std::time::Duration;

use guard_proto::{Call, Requested, Stopped, WhyReport};
use jiff::{SignedDuration, Timestamp};

use super::args::RequestArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};

/// `guard why`
pub(crate) fn why(
    client: Client,
    since: Option<Duration>,
    output: Output,
) -> Result<Exit, CliError> {
    let report = stopped(client, since)?;
    output.print(&report, render::inside::why)?;
    Ok(Exit::DONE)
}

/// What was stopped in the session of this process; with `since`, in that time.
pub(super) fn stopped(mut client: Client, since: Option<Duration>) -> Result<WhyReport, CliError> {
    let mut report: WhyReport = client.call(&Call::Why {})?;
    if let Some(since) = since.and_then(|since| SignedDuration::try_from(since).ok()) {
        let now = Timestamp::now();
        let is_recent = |one: &Stopped| now.duration_since(one.at) <= since;
        // Where an older one is left out, those that guardd has left out are older still.
        report.more &= report.stopped.iter().all(is_recent);
        report.stopped.retain(is_recent);
    }
    Ok(report)
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
