//! `guard assign`: gives a unit or a container its policy.

use guard_proto::{Call, Failure, Started, calls::Assign};
use guard_sys::accounts::UserAccount;

use super::args::AssignArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::policy_file::{PolicyFile, policy_ref};
use super::render::{self, Output};

/// Reads all that is needed before it asks guardd.
pub(crate) fn assign(
    connect: impl FnOnce() -> Result<Client, CliError>,
    args: AssignArgs,
    output: Output,
) -> Result<Exit, CliError> {
    // Called without a unit it is in one, which starts again and again.
    let read = match &args.unit {
        None => PolicyFile::read_of_root,
        Some(_) => PolicyFile::read,
    };
    let call = Call::Assign(Assign {
        policy: policy_ref(&args.policy, read, output)?,
        unit: args.unit,
        name: args.name,
        owner: args.owner.as_deref().map(uid).transpose()?,
    });
    let started: Started = connect()?.call(&call)?;
    output.warnings(&started.warnings);
    output.print(&started.session, render::sessions::assigned)?;
    Ok(Exit::DONE)
}

fn uid(user: &str) -> Result<u32, Failure> {
    let nobody = |why: String| Failure {
        what: format!("{user} cannot answer for it"),
        why,
        fix: format!("check the name: getent passwd {user}"),
    };
    match UserAccount::uid_of(user) {
        Ok(Some(uid)) => Ok(uid),
        Ok(None) => Err(nobody("no account has that name".into())),
        Err(error) => Err(nobody(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_users() {
        assert_eq!(uid("root").unwrap(), 0);
        insta::assert_snapshot!(uid("no such user").unwrap_err(), @"no such user cannot answer for it: no account has that name");
    }
}
