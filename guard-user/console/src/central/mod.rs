//! The console of many machines: guard-fleet tells what they ask, and carries answers to them.
//!
//! Each machine says for itself who may answer there. So somebody who is logged in sees a machine if it lists the key by which
//! they logged in, or by a link their name with its keys, and of it what it has them answer for: what one machine says of people
//! counts at no other.

pub(crate) mod events;
pub(crate) mod mirror;
pub(crate) mod routes;

use std::{path::Path, rc::Rc};

use anyhow::{Result, anyhow, ensure};
use guard_courier::FleetSocket;
use guard_proto::central::{FleetCall, FleetUpdate};

use crate::files::{Files, Identity};
use mirror::{Mirror, MirroredMachine};

/// A browser with a session.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    files: Files,
    secret: String,
}

impl Browser {
    /// Who has logged in there; none: the session has ended.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.files.session(&self.secret)
    }
}

/// What such a console has instead of a guardd.
#[derive(Debug)]
pub(crate) struct Central {
    pub(crate) fleet: FleetSocket,
    pub(crate) mirror: Rc<Mirror>,
}

impl Central {
    /// Follows guard-fleet at that socket.
    pub(crate) fn begin(socket: &Path) -> Self {
        let fleet = FleetSocket::at(socket.to_owned());
        let mirror = Mirror::begin(&fleet);
        Self { fleet, mirror }
    }
}

/// Somebody of that name, with the keys that machines know them by.
///
/// # Errors
///
/// That none does, or guard-fleet does not answer.
pub(crate) async fn enrolled(socket: &Path, name: &str) -> Result<Identity> {
    let said = |refusal: guard_courier::Refusal| {
        let failure = refusal.failure;
        anyhow!("{}: {}\n{}", failure.what, failure.why, failure.fix)
    };
    let fleet = FleetSocket::at(socket.to_owned());
    let mut told = fleet
        .stream::<FleetUpdate>(&FleetCall::Follow {})
        .await
        .map_err(said)?;
    let mut keys = Vec::new();
    let mut machines = 0;
    while let Some(told) = told.next().await.map_err(said)? {
        if let Some(machine) = told.machine {
            machines += 1;
            let seen = MirroredMachine::of(machine);
            let people = seen.approvers.iter().filter(|one| one.name == name);
            let known = people.flat_map(|one| &one.keys);
            keys.extend(known.map(|key| key.fingerprint.clone()));
        }
        if told.whole {
            break;
        }
    }
    keys.sort_unstable();
    keys.dedup();
    ensure!(
        !keys.is_empty(),
        "none of {machines} machines that were heard knows anybody called {name:?}: guard approver list there; \
         one that has just come may take a moment"
    );
    Ok(Identity {
        name: name.to_owned(),
        keys,
        by_key: false,
    })
}
