//! The audit trail.

use super::args::LogArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};
use crate::proto::{Call, LogRecord};

/// `guard log`: each record is printed as it comes, so that a reader of a pipe has it at once.
pub(crate) fn log(client: Client, args: LogArgs, output: Output) -> Result<Exit, CliError> {
    let call = Call::Log {
        follow: args.follow,
        session: args.session,
        since: args.since.map(|duration| duration.as_secs_f64()),
    };
    let mut any = false;
    for record in client.stream::<LogRecord>(&call)? {
        output.print(&record?, render::log::line)?;
        any = true;
    }
    if !any && !output.is_json() {
        output.print("", |_, _| render::log::none())?;
    }
    Ok(Exit::DONE)
}
