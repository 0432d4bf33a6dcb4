//! What a user's process finds, looked for as that user.

use std::io;

use guard_launch::CommandIdentity;
use guard_probe::{
    Check, Family, ProbeResult,
    child::Trying,
    devices,
    helpers::{self, Helper},
    user,
    user::Victim,
};
use guard_proto::Row;

pub(super) const LOOKED: Check = Check::part(
    Family::Helper,
    "what the user may",
    "guard doctor, as the user whose commands are to be guarded",
);

/// What was found.
pub(super) struct UserChecks {
    pub(super) rows: Vec<Row>,
    pub(super) helpers: Vec<Helper>,
}

/// Looks.
pub(super) fn look(identity: &CommandIdentity) -> UserChecks {
    looked(identity).unwrap_or_else(|error| UserChecks {
        rows: vec![LOOKED.row(ProbeResult::unclear(error))],
        helpers: Vec::new(),
    })
}

fn looked(identity: &CommandIdentity) -> io::Result<UserChecks> {
    // Variables are the caller's own: another user has others.
    let is_own = identity.account().is_none();
    let mut child = Trying::start(|says| {
        if identity.adopt().is_ok() {
            says.say(&user::rows());
            says.say(&devices::rows());
            says.say(&helpers::found(is_own));
        }
    })?;
    let mut rows: Vec<Row> = child.hear()?;
    rows.extend(child.hear::<Vec<Row>>()?);
    let helpers = child.hear()?;
    Ok(UserChecks { rows, helpers })
}

/// Somebody for a session's command to attack: a process of the same user, outside.
pub(super) fn victim(identity: &CommandIdentity) -> io::Result<Victim> {
    Victim::start(|| identity.adopt())
}
