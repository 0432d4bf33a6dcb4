//! For the agent inside a session: what was stopped, and to ask for it.

use std::path::Path;
use std::time::Duration;

use guard_proto::{
    Call, Stopped,
    inside::{Requested, WhyReport},
};
use jiff::{SignedDuration, Timestamp};

use super::args::RequestArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{self, Output};

/// For guardd to say who this is.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Whether this runs in a session, by its cgroup, where guard's root has its usual name. No variable counts: a project may set it.
pub(super) fn is_inside() -> bool {
    guard_sys::cgroup2::own_path().is_ok_and(|cgroup| is_sessions(&cgroup))
}

/// The same by the word of root's guardd alone, which has it from the kernel: for what narrows whoever is outside. Without its word,
/// this is outside.
pub(super) fn is_known_inside(client: &mut Client) -> bool {
    client.call::<WhyReport>(&Call::Why {}).is_ok()
}

/// The same, and by guardd's word where there is one: only a process inside learns what was stopped there.
pub(super) fn is_inside_of(socket: &Path) -> bool {
    let is_known = || {
        let mut client = Client::connect_inside(socket).ok()?.within(TIMEOUT);
        client.call::<WhyReport>(&Call::Why {}).ok()
    };
    is_inside() || is_known().is_some()
}

fn is_sessions(cgroup: &Path) -> bool {
    let parts: Vec<_> = cgroup.iter().skip_while(|part| *part == "/").collect();
    let root = parts
        .iter()
        .position(|part| *part == "guard.slice")
        .or_else(|| (parts.first().is_some_and(|part| *part == "guard")).then_some(0));
    root.is_some_and(|root| parts.len() > root + 1)
}

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
    let typed = args.to.destination.clone();
    let call = Call::Request {
        destination: args.to.destination,
        ports: args.to.ports,
        reason: args.reason,
    };
    let requested: Requested = client.call(&call)?;
    output.print(&requested, |requested, _| {
        render::inside::requested(requested, &typed)
    })?;
    Ok(Exit::answer(requested.verdict != "deny"))
}
