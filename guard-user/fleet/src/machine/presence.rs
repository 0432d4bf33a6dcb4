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

/// Says it again and again.
pub(super) async fn tell(carrier: &Carrier) {
    loop {
        publish(carrier, false).await;
        sleep(EVERY.mul_f64(2.0 / 3.0 + link::random() * 2.0 / 3.0)).await;
    }
}

/// Says it once.
pub(super) async fn publish(carrier: &Carrier, leaves: bool) {
    let guardd = carrier.guardd.call::<Presence>(&Call::Presence {}).await;
    let here = Here {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        leaves,
        guardd: guardd.ok(),
    };
    let subject = carrier.subject(What::Here, None);
    carrier.link.publish(subject, messages::bytes(&here)).await;
}
