//! That the machine is there, and how it is.

use std::time::Duration;

use guard_proto::{Call, Presence};
use serde_json::Value;
use tokio::time::sleep;

use super::Carrier;
use crate::{
    link,
    messages::{self, MachineHere},
    settings::Settings,
    subjects::SubjectKind,
};

/// How often, in the mean: a third sooner or later, so that a fleet does not speak all at once.
pub(crate) const EVERY: Duration = Duration::from_secs(30);

/// For a server that comes and goes this machine's own guardd is notified no sooner.
const PACE: Duration = Duration::from_secs(1);

/// Of who signed policies, and characters of what is wrong with them.
const MOST_NAMES: usize = 8;
const LONGEST_PROBLEM: usize = 256;

/// Says it again and again.
pub(super) async fn tell(carrier: &Carrier) {
    loop {
        publish(carrier, false).await;
        sleep(EVERY.mul_f64(2.0 / 3.0 + link::random() * 2.0 / 3.0)).await;
    }
}

/// Says to guardd and to the service manager whether a server is there, when that changes and as often as others hear it.
pub(super) async fn tell_here(carrier: &Carrier, settings: &Settings) {
    let mut link = carrier.link.clone();
    loop {
        let is_there = link.stands();
        say_linked(carrier, is_there).await;
        let servers = settings.servers();
        let line = if is_there {
            format!("connected to a server of {servers}")
        } else {
            format!("no server is reached: {servers}")
        };
        // Nobody may have asked for it.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&line)]);
        sleep(PACE).await;
        tokio::select! {
            () = link.change() => {}
            () = sleep(EVERY) => {}
        }
    }
}

/// Says to guardd whether a server is there. Where guardd is away, it hears it later.
pub(super) async fn say_linked(carrier: &Carrier, connected: bool) {
    let call = Call::Linked { connected };
    let said = carrier.guardd.call::<Value>(&call).await;
    if let Err(refusal) = said {
        tracing::debug!(why = refusal.failure.why, "guardd was not told");
    }
}

/// Without what would make it longer than others read.
fn short(mut said: Presence) -> Presence {
    if let Some(fleet) = &mut said.fleet {
        fleet.policies.clear();
        fleet.by.truncate(MOST_NAMES);
        fleet.problem = fleet
            .problem
            .take()
            .map(|why| why.chars().take(LONGEST_PROBLEM).collect());
    }
    said
}

/// Says it once.
pub(super) async fn publish(carrier: &Carrier, leaves: bool) {
    let guardd = carrier.guardd.call::<Presence>(&Call::Presence {}).await;
    let guardd = guardd.map(short);
    let here = MachineHere {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        leaves,
        guardd: guardd.ok(),
        log: carrier.log.borrow().clone(),
    };
    let subject = carrier.subject(SubjectKind::Here, None);
    carrier.link.publish(subject, messages::bytes(&here)).await;
}
