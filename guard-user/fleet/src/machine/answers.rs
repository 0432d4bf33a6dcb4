//! Signed answers in, and a receipt for each.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use guard_proto::{Call, Failure, approvers::Taken};
use guard_signed::{Kind, Signed};
use tokio::time::sleep;

use super::Carrier;
use crate::{
    messages::{self, Receipt},
    subjects::{Subject, What},
};

/// How many receipts of answers that were taken are kept: one comes again until its receipt has.
const KEPT: usize = 64;

/// After an answer that was not taken: guardd hears out a courier twenty times a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands in what comes.
pub(super) async fn carry(carrier: &Carrier) -> Result<()> {
    let subject = carrier.group.all(What::Answer, Some(&carrier.machine));
    let answers = carrier.link.client.subscribe(subject).await;
    let mut answers = answers.context("cannot hear answers")?;
    let mut kept: VecDeque<Receipt> = VecDeque::new();
    loop {
        let heard = answers.next().await.context("the connection has ended")?;
        let subject = Subject::parse(&heard.subject);
        let Some(request) = subject.and_then(|subject| subject.request) else {
            continue;
        };
        let name = messages::name_of(&heard.payload);
        let known = kept.iter().find(|one| one.answer == name);
        let receipt = match known {
            Some(known) => known.clone(),
            None => {
                let receipt = hand_in(carrier, &request, name, &heard.payload).await;
                // What was not taken may be another time.
                if receipt.taken.is_some() {
                    kept.truncate(KEPT - 1);
                    kept.push_front(receipt.clone());
                }
                receipt
            }
        };
        let is_taken = receipt.taken.is_some();
        let subject = carrier.subject(What::Receipt, Some(&request));
        carrier
            .link
            .publish(subject, messages::bytes(&receipt))
            .await;
        if !is_taken {
            sleep(PAUSE).await;
        }
    }
}

/// Has guardd check it.
async fn hand_in(carrier: &Carrier, request: &str, answer: String, payload: &[u8]) -> Receipt {
    let refused = |answer, failure| Receipt {
        answer,
        taken: None,
        refused: Some(failure),
    };
    let Some(signed) = messages::read::<Signed>(payload) else {
        return refused(answer, unread());
    };
    let call = Call::AnswerSigned {
        answer: signed.answer,
        key: signed.key,
        kind: match signed.kind {
            Kind::Ssh => "ssh",
            Kind::Passkey => "passkey",
        }
        .to_owned(),
        signature: signed.signature,
        authenticator_data: signed.authenticator_data,
        client_data: signed.client_data,
    };
    match carrier.guardd.call::<Taken>(&call).await {
        Ok(taken) => {
            tracing::info!(request, by = taken.by, answer = taken.answer, "answered");
            Receipt {
                answer,
                taken: Some(taken),
                refused: None,
            }
        }
        // guardd's own log has it, and no more often than it wants.
        Err(refusal) => {
            tracing::debug!(
                request,
                why = refusal.failure.why,
                "an answer was not taken"
            );
            refused(answer, refusal.failure)
        }
    }
}

fn unread() -> Failure {
    Failure {
        what: "the answer cannot be read".to_owned(),
        why: "it is no signed answer, as guard sign prints one".to_owned(),
        fix: "guard-fleet answer MACHINE REQUEST".to_owned(),
    }
}
