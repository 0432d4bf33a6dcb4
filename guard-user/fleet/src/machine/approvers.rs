//! Who may answer here, for consoles: these show each person what they answer for, and have their passkeys sign. guardd goes by
//! its own list all the same.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use guard_proto::{Call, approvers::Approvers};
use tokio::time::sleep;

use super::{Carrier, presence};
use crate::{link, messages, subjects::What};

/// How often guardd is asked whether they have changed: while somebody looks, and while nobody does.
const EVERY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// How long a machine waits at most until it answers a console: a fleet does not speak all at once.
const SPREAD: Duration = Duration::from_millis(500);
/// Bytes of a message; what is longer nobody reads.
const LONGEST: usize = 96 * 1024;

/// Tells it when a console asks, when the server has come, and when it has changed.
pub(super) async fn carry(carrier: &Carrier) -> Result<()> {
    let asked = carrier.link.client.subscribe(carrier.group.who()).await;
    let mut asked = asked.context("cannot hear consoles")?;
    let mut link = carrier.link.clone();
    let (mut told, mut is_wanted) = (Vec::new(), true);
    loop {
        // A guardd that is away says nothing new.
        if let Ok(known) = carrier.guardd.call::<Approvers>(&Call::Approvers {}).await {
            let message = short(known);
            if is_wanted || message != told {
                let subject = carrier.subject(What::Approvers, None);
                carrier.link.publish(subject, message.clone()).await;
                (told, is_wanted) = (message, false);
            }
        }
        let is_looked = carrier.looked.borrow().is_some();
        tokio::select! {
            heard = asked.next() => {
                heard.context("the connection has ended")?;
                is_wanted = true;
                sleep(SPREAD.mul_f64(link::random())).await;
                presence::publish(carrier, false).await;
            }
            () = link.change() => is_wanted |= link.stands(),
            () = sleep(EVERY[usize::from(!is_looked)]) => {}
        }
    }
}

/// The message; of very many approvers the first.
fn short(mut known: Approvers) -> Vec<u8> {
    known.warnings.clear();
    loop {
        let message = messages::bytes(&known);
        if message.len() <= LONGEST {
            return message;
        }
        let less = known.approvers.len() / 2;
        known.approvers.truncate(less);
        known.origins.truncate(less);
    }
}

#[cfg(test)]
mod tests {
    use guard_proto::ApproverShown;

    use super::*;

    #[test]
    fn what_is_told_is_no_longer_than_others_read() {
        let approver = ApproverShown {
            name: "x".repeat(1000),
            answers_for: vec![],
            policies: vec![],
            max_for: None,
            keys: vec![],
        };
        for count in [0, 1, 90, 1000] {
            let known = Approvers {
                approvers: vec![approver.clone(); count],
                ..Approvers::default()
            };
            let message = short(known);
            let read = messages::read::<Approvers>(&message);
            let told = read.map_or(0, |read| read.approvers.len());
            assert!(message.len() <= LONGEST && told <= count, "{count}");
            assert!(told == count || told > 40, "{count}: {told}");
        }
    }
}
