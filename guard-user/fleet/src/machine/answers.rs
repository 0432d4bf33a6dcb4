//! Signed answers in, and what consoles say unsigned: no, and that a hole be closed. A receipt for each.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, stream::select};
use guard_courier::Refusal;
use guard_proto::{
    Call, Failure, HolesReply,
    approvers::{Asked, Taken},
    requests::Denied,
};
use guard_signed::{Kind, Signed};
use tokio::time::sleep;

use super::Carrier;
use crate::{
    messages::{self, Close, No, Receipt},
    subjects::{Subject, SubjectKind, is_hole},
};

/// How many receipts of answers that were taken are kept: one comes again until its receipt has.
const KEPT: usize = 64;

/// After an answer that was not taken: guardd hears out a courier twenty times a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands in what comes.
pub(super) async fn carry(carrier: &Carrier) -> Result<()> {
    let hear = async |what: SubjectKind| {
        let subject = carrier.group.all(what, Some(&carrier.machine));
        let heard = carrier.link.client.subscribe(subject).await;
        heard.context("cannot hear answers")
    };
    let mut answers = select(
        hear(SubjectKind::Answer).await?,
        hear(SubjectKind::No).await?,
    );
    let mut kept: VecDeque<(Subject, Receipt)> = VecDeque::new();
    loop {
        let heard = answers.next().await.context("the connection has ended")?;
        let subject = Subject::parse(&heard.subject);
        let Some(subject) = subject.filter(|_| messages::is_published(&heard)) else {
            continue;
        };
        let Some(request) = subject.request.clone() else {
            continue;
        };
        let name = messages::name_of(&heard.payload);
        // What closes a hole may be the same, byte for byte, as what closed another one.
        let is_it =
            |(about, receipt): &&(Subject, Receipt)| *about == subject && receipt.answer == name;
        let known = kept.iter().find(is_it);
        let is_new = known.is_none();
        let receipt = match known {
            Some((_, known)) => known.clone(),
            None => receipt(carrier, subject.what, &request, name, &heard.payload).await,
        };
        // What was not taken may be another time.
        if is_new && receipt.taken.is_some() {
            kept.truncate(KEPT - 1);
            kept.push_front((subject, receipt.clone()));
        }
        let is_taken = receipt.taken.is_some();
        let of = request_of(&receipt, &request);
        let subject = carrier.subject(SubjectKind::Receipt, Some(of));
        carrier
            .link
            .publish(subject, messages::bytes(&receipt))
            .await;
        if !is_taken {
            sleep(PAUSE).await;
        }
    }
}

/// The request that a receipt is for: an answer may come as one to another.
fn request_of<'r>(receipt: &'r Receipt, asked: &'r str) -> &'r str {
    let taken = receipt.taken.as_ref();
    taken.map_or(asked, |taken| taken.request.as_str())
}

/// What comes of an answer, of a no, or of closing a hole.
async fn receipt(
    carrier: &Carrier,
    what: SubjectKind,
    request: &str,
    answer: String,
    payload: &[u8],
) -> Receipt {
    let done = match what {
        SubjectKind::No if is_hole(request) => close(carrier, request, payload).await,
        SubjectKind::No => deny(carrier, request, payload).await,
        _ => hand_in(carrier, request, payload).await,
    };
    let (taken, refused) = match done {
        Ok(taken) => (Some(taken), None),
        Err(failure) => (None, Some(failure)),
    };
    Receipt {
        answer,
        taken,
        refused,
    }
}

/// Has guardd check it.
async fn hand_in(carrier: &Carrier, request: &str, payload: &[u8]) -> Result<Taken, Failure> {
    let Some(signed) = messages::read::<Signed>(payload) else {
        return Err(unread("it is no signed answer, as guard sign prints one"));
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
    let taken = done(request, carrier.guardd.call::<Taken>(&call).await)?;
    tracing::info!(request, by = taken.by, answer = taken.answer, "answered");
    Ok(taken)
}

/// Says no, where what was asked is asked still: a request's number may be another's later.
async fn deny(carrier: &Carrier, request: &str, payload: &[u8]) -> Result<Taken, Failure> {
    let Some(no) = messages::read::<No>(payload) else {
        return Err(unread("it is no no"));
    };
    let id = request.to_owned();
    let question = Call::Question { id: id.clone() };
    let asked = done(request, carrier.guardd.call::<Asked>(&question).await)?;
    if asked.hash != no.question {
        return Err(Failure {
            what: format!("{request} is not answered"),
            why: "it asks something else now".to_owned(),
            fix: "look again".to_owned(),
        });
    }
    let call = Call::Deny {
        id,
        seconds: None,
        by: Some(no.by.clone()),
    };
    done(request, carrier.guardd.call::<Denied>(&call).await)?;
    tracing::info!(request, by = no.by, "answered with no, unsigned");
    Ok(unsigned(request, "no", no.by, Vec::new()))
}

/// Closes a hole, where it is the one that was meant. That the approver answers for its session is guardd's to see to.
async fn close(carrier: &Carrier, hole: &str, payload: &[u8]) -> Result<Taken, Failure> {
    let Some(close) = messages::read::<Close>(payload) else {
        return Err(Failure {
            what: format!("{hole} is not closed"),
            why: "what came closes no hole".to_owned(),
            fix: "close it there: guard close HOLE".to_owned(),
        });
    };
    let open = carrier.guardd.call::<HolesReply>(&Call::Holes {}).await;
    let open = done(hole, open)?.holes;
    if !open.iter().any(|one| one.id == hole && close.means(one)) {
        return Err(Failure {
            what: format!("{hole} is not closed"),
            why: "no hole of that name is open, or it is another now".to_owned(),
            fix: "look again".to_owned(),
        });
    }
    let call = Call::Close {
        ids: vec![hole.to_owned()],
        all: false,
        by: Some(close.by.clone()),
    };
    let closed = done(hole, carrier.guardd.call::<HolesReply>(&call).await)?;
    tracing::info!(hole, by = close.by, "closed, unsigned");
    carrier.look_again.notify_one();
    Ok(unsigned(hole, "closed", close.by, closed.warnings))
}

/// What guardd has done that nobody signed.
fn unsigned(about: &str, answer: &str, by: String, warnings: Vec<String>) -> Taken {
    Taken {
        request: about.to_owned(),
        answer: answer.to_owned(),
        by,
        approvals: 0,
        wanted: 0,
        holes: Vec::new(),
        warnings,
    }
}

/// guardd's own log has what it refuses, and no more often than it wants.
fn done<T>(request: &str, said: Result<T, Refusal>) -> Result<T, Failure> {
    said.map_err(|refusal| {
        let why = &refusal.failure.why;
        tracing::debug!(request, why, "not taken");
        refusal.failure
    })
}

fn unread(why: &str) -> Failure {
    Failure {
        what: "the answer cannot be read".to_owned(),
        why: why.to_owned(),
        fix: "guard-fleet answer MACHINE REQUEST".to_owned(),
    }
}
