//! That the machine is there, and how it is.

use std::time::Duration;

use guard_proto::{Call, Presence};
use tokio::time::sleep;

use super::Carrier;
use crate::{
    link,
    messages::{self, Here},
    subjects::What,
};

/// How often, in the mean: a third sooner or later, so that a fleet does not speak all at once.
pub(crate) const EVERY: Duration = Duration::from_secs(30);

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
    let here = Here {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        leaves,
        guardd: guardd.ok(),
        log: carrier.log.borrow().clone(),
    };
    let subject = carrier.subject(What::Here, None);
    carrier.link.publish(subject, messages::bytes(&here)).await;
}
