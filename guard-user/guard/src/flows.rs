//! `guard flows`: what sessions have reached.

use std::time::Duration;

use guard_proto::{
    Call,
    flows::{Flow, FlowsReply},
};
use jiff::{SignedDuration, Timestamp};

use super::args::FlowsArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::page::Page;
use super::render::{self, Output};

/// Lists them.
pub(crate) fn flows(mut client: Client, args: FlowsArgs, output: Output) -> Result<Exit, CliError> {
    let answer = reached(&mut client, args.session)?;
    output.warnings(&answer.warnings);
    let flows = lately(answer.flows, args.since, Timestamp::now());
    output.print(flows.as_slice(), |flows, clock| {
        match args.since.filter(|_| flows.is_empty()) {
            Some(_) => Page::of("Nothing was reached in that time."),
            None => render::flows::list(flows, clock),
        }
    })?;
    Ok(Exit::DONE)
}

/// What the caller's sessions have reached, or one of them.
pub(crate) fn reached(
    client: &mut Client,
    session: Option<String>,
) -> Result<FlowsReply, CliError> {
    client.call(&Call::Flows {
        session,
        by: None,
        latest: None,
    })
}

/// Those of which a connection began or ended in that time before now.
pub(crate) fn lately(mut flows: Vec<Flow>, since: Option<Duration>, now: Timestamp) -> Vec<Flow> {
    if let Some(since) = since.and_then(|since| SignedDuration::try_from(since).ok()) {
        flows.retain(|flow| now.duration_since(flow.last_at) <= since);
    }
    flows
}

#[cfg(test)]
mod tests {
    use super::super::render::examples;
    use super::*;

    #[test]
    fn what_was_seen_last_before_that_time_is_left_out() {
        let flow = examples::flow();
        let after = |seconds: i64| flow.last_at + SignedDuration::from_secs(seconds);
        let minute = Some(Duration::from_secs(60));
        for (now, since, is_left) in [
            (after(60), minute, true),
            (after(61), minute, false),
            (after(61), None, true),
            // A clock that was set back since then.
            (after(-3600), minute, true),
        ] {
            let left = lately(vec![flow.clone()], since, now);
            assert_eq!(left.len(), usize::from(is_left), "{now}");
        }
    }
}
