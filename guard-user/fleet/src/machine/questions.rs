//! Questions out, while somebody looks.

use std::{collections::HashMap, time::Duration};

use guard_courier::Refusal;
use guard_proto::{Call, ErrorName, Request, RequestsReply, approvers::Asked};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Carrier, PAUSE, approvers::in_turn, presence};
use crate::{
    link::{self, until},
    subjects::SubjectKind,
};

/// How often guardd is asked again for what it asks, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// However many come at once: what is open is published again so often at most.
const AGAIN: Duration = Duration::from_millis(200);

/// How long a machine waits at most until it says what it asks: a fleet does not speak all at once.
const SPREAD: Duration = Duration::from_millis(250);

/// What is published.
#[derive(Debug, Default)]
struct Published {
    open: HashMap<String, OpenQuestion>,
}

#[derive(Debug, Default)]
struct OpenQuestion {
    /// The request, as it was when its question was asked for.
    request: String,
    /// What was published; none: guardd could not write it down yet.
    question: Option<String>,
}

/// What guardd says where it is asked for a question.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Question(String),
    /// It is asked no more: it was answered in between, or is closed.
    Over,
    /// It is asked, and guardd cannot write it down now: its disk is full.
    Later,
}

/// Publishes what is asked.
pub(super) async fn carry(carrier: &Carrier) {
    // Also while guardd is away: what has gone meanwhile is published when it is back.
    let mut published = Published::default();
    loop {
        somebody_looks(carrier).await;
        sleep(spread()).await;
        tokio::select! {
            ended = follow(carrier, &mut published) => {
                if let Err(refusal) = ended {
                    tracing::debug!(why = refusal.failure.why, "guardd is away");
                }
                sleep(PAUSE).await;
            }
            () = nobody_looks(carrier) => {}
        }
    }
}

fn spread() -> Duration {
    SPREAD.mul_f64(link::random())
}

async fn somebody_looks(carrier: &Carrier) {
    let mut looked = carrier.looked.subscribe();
    // Its other end lives in the carrier.
    let _ = looked.wait_for(Option::is_some).await;
}

async fn nobody_looks(carrier: &Carrier) {
    let mut looked = carrier.looked.subscribe();
    loop {
        let until = *looked.borrow_and_update();
        let Some(until) = until else {
            return;
        };
        tokio::select! {
            _ = looked.changed() => {}
            () = sleep_until(until) => {
                carrier.looked.send_if_modified(|now| {
                    let is_over = *now == Some(until);
                    if is_over {
                        *now = None;
                    }
                    is_over
                });
            }
        }
    }
}

async fn follow(carrier: &Carrier, published: &mut Published) -> Result<(), Refusal> {
    let mut followed = carrier
        .guardd
        .stream::<RequestsReply>(&Call::Pending {})
        .await?;
    let mut is_first = true;
    // When all of it is published again, and when that may be next.
    let (mut due, mut next) = (None, Instant::now());
    let mut looked = None;
    loop {
        tokio::select! {
            asked = followed.next() => {
                let Some(asked) = asked? else {
                    return Ok(());
                };
                published.update(carrier, asked.requests).await?;
                due = due.or(published.retry());
                // Whoever has just come knows by this that it has heard all of them.
                if std::mem::take(&mut is_first) {
                    presence::publish(carrier, false).await;
                }
            }
            () = carrier.anew.notified(), if !is_first && due.is_none() => {
                due = Some(next.max(Instant::now() + spread()));
            }
            () = until(due) => {
                // Its settings and its clock have a say in a question, too.
                if looked.is_none_or(|at: Instant| at.elapsed() >= LOOK_AGAIN) {
                    published.look_again(carrier).await?;
                    looked = Some(Instant::now());
                }
                for (id, open) in &published.open {
                    if let Some(question) = &open.question {
                        publish(carrier, id, question).await;
                    }
                }
                presence::publish(carrier, false).await;
                next = Instant::now() + AGAIN;
                due = published.retry();
            }
        }
    }
}

impl Published {
    /// Publishes what is new, and that what is gone is over.
    async fn update(&mut self, carrier: &Carrier, requests: Vec<Request>) -> Result<(), Refusal> {
        let gone: Vec<_> = self
            .open
            .keys()
            .filter(|id| requests.iter().all(|one| one.id != **id))
            .cloned()
            .collect();
        for id in gone {
            self.open.remove(&id);
            publish(carrier, &id, "").await;
        }
        // Of many the last come late: no user's are behind all of another's.
        for request in in_turn(requests, |one| &one.user) {
            let id = request.id.clone();
            let request = request.asks();
            if self
                .open
                .get(&id)
                .is_some_and(|open| open.request == request)
            {
                continue;
            }
            let question = match question_about(carrier, &id).await? {
                Said::Question(question) => Some(question),
                Said::Over => continue,
                Said::Later => {
                    self.open.entry(id).or_default();
                    continue;
                }
            };
            let open = OpenQuestion { request, question };
            let before = self.open.get(&id).map(|before| &before.question);
            if let Some(question) = open.question.as_deref()
                && before != Some(&open.question)
            {
                publish(carrier, &id, question).await;
            }
            self.open.insert(id, open);
        }
        Ok(())
    }

    /// When to ask guardd again for a question that it could not give.
    fn retry(&self) -> Option<Instant> {
        let lacks = self.open.values().any(|open| open.question.is_none());
        lacks.then(|| Instant::now() + LOOK_AGAIN)
    }

    /// Asks guardd for each question again. One that can be answered no more is over.
    async fn look_again(&mut self, carrier: &Carrier) -> Result<(), Refusal> {
        let mut gone = Vec::new();
        for (id, open) in &mut self.open {
            match question_about(carrier, id).await? {
                Said::Question(question) => open.question = Some(question),
                Said::Over => gone.push(id.clone()),
                Said::Later => {}
            }
        }
        for id in gone {
            self.open.remove(&id);
            publish(carrier, &id, "").await;
        }
        Ok(())
    }
}

/// The question about a request.
async fn question_about(carrier: &Carrier, id: &str) -> Result<Said, Refusal> {
    let call = Call::Question { id: id.to_owned() };
    let refusal = match carrier.guardd.call::<Asked>(&call).await {
        Ok(asked) => return Ok(Said::Question(asked.question)),
        Err(refusal) => refusal,
    };
    let said = without_question(refusal)?;
    tracing::debug!(id, ?said, "has no question");
    Ok(said)
}

/// What a refusal to show a question means for the request.
fn without_question(refusal: Refusal) -> Result<Said, Refusal> {
    match refusal.name {
        None => Err(refusal),
        Some(ErrorName::Failed) => Ok(Said::Later),
        Some(_) => Ok(Said::Over),
    }
}

/// Publishes a question; an empty one: it is over.
async fn publish(carrier: &Carrier, id: &str, question: &str) {
    let subject = carrier.subject(SubjectKind::Question, Some(id));
    carrier.link.publish(subject, question.to_owned()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard_proto::Failure;

    #[test]
    fn a_question_that_cannot_be_written_down_is_not_over() {
        let said = |name| {
            let failure = Failure {
                what: String::new(),
                why: String::new(),
                fix: String::new(),
            };
            without_question(Refusal { name, failure }).ok()
        };
        assert_eq!(said(Some(ErrorName::Failed)), Some(Said::Later));
        for name in [ErrorName::NotFound, ErrorName::Refused, ErrorName::No] {
            assert_eq!(said(Some(name)), Some(Said::Over));
        }
        assert_eq!(said(None), None, "guardd is away: nothing is known");
    }
}
