//! What is enforced.

use std::path::Path;

use guard_proto::{Call, RequestsReply, SessionsReply, Status};
use serde::Serialize;

use super::args::StatusArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::policy::apply::note;
use super::policy::library::broken;
use super::render::status::{Broken, OwnView};
use super::render::{self, Output};

/// What guardd says, and what it will find where it looks for policies.
#[derive(Debug, Serialize)]
pub(crate) struct WithFiles {
    #[serde(flatten)]
    pub(crate) status: Status,
    /// Files that are no policies, as far as this user may read them: guardd reads a policy when it is named.
    pub(crate) broken: Vec<Broken>,
}

/// `guard status`: yes only if all of it is enforced.
pub(crate) fn status(
    mut client: Client,
    args: &StatusArgs,
    output: Output,
) -> Result<Exit, CliError> {
    let status: Status = client.call(&Call::Status {})?;
    let mut broken = broken(&status.policy_dirs);
    // Of those in force, guardd has said it.
    broken.retain(|one| {
        let is_it = |file: Option<&str>| file.is_some_and(|file| Path::new(file) == one.file);
        let mut told = status
            .policies
            .iter()
            .filter(|policy| policy.error.is_some());
        !told.any(|policy| is_it(policy.file.as_deref()))
    });
    let exit = Exit::answer(status.enforcing);
    let sessions = client.call::<SessionsReply>(&Call::Sessions {});
    let own = client.call::<RequestsReply>(&Call::Pending {});
    let own = own.map_or(0, |own| own.requests.len());
    let told = output.print(&WithFiles { status, broken }, |all, clock| {
        let own = OwnView { own, all: args.all };
        let mut page = render::status::page(&all.status, &all.broken, own, clock);
        note(&mut page, &sessions.unwrap_or_default().sessions);
        page
    });
    exit.once_told(told)
}
