//! What a console hands in: each is published until its machine has said what became of it.

use std::time::Duration;

use guard_proto::{ErrorName, Failure, approvers::Taken, central::HoleThere};
use guard_signed::{Answer, Document as _, Question, Signed};
use tokio::sync::oneshot;

use super::unanswered::{MOST, Outgoing, Recipient, Reply, Unanswered};
use crate::{
    messages::{self, Close, No, PublishedQuestion, Receipt},
    people::heard::Fleet,
    subjects::{Group, Machine, Subject, SubjectKind, is_hole},
};

/// Something for a machine.
#[derive(Debug)]
pub(super) struct Handing {
    pub(super) machine: String,
    /// Or the hole.
    pub(super) request: String,
    pub(super) what: Handed,
    /// Takes what became of it.
    pub(super) reply: oneshot::Sender<Reply<Taken>>,
}

impl Handing {
    /// One, and where its reply comes.
    pub(super) fn new(
        machine: String,
        request: String,
        what: Handed,
    ) -> (Self, oneshot::Receiver<Reply<Taken>>) {
        let (reply, said) = oneshot::channel();
        let handing = Self {
            machine,
            request,
            what,
            reply,
        };
        (handing, said)
    }
}

#[derive(Debug)]
pub(super) enum Handed {
    Answer(Signed),
    No(No),
    /// The hole is to be closed, if it is for that session.
    Close {
        by: String,
        session: String,
    },
}

/// What has no receipt yet.
pub(super) type OpenAnswers = Unanswered<Subject, Taken>;

impl Recipient for Subject {
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn subject(&self) -> String {
        self.to_string()
    }

    fn silent(&self) -> Failure {
        silent(self)
    }
}

impl OpenAnswers {
    /// Publishes it, if it is about what is asked, or open.
    pub(super) async fn hand_in(&mut self, fleet: &Fleet, handing: Handing) {
        match self.for_machine(fleet, &handing) {
            Ok(outgoing) => self.begin(&fleet.link, outgoing, handing.reply).await,
            Err(refused) => {
                // Who has gone meanwhile wants no answer.
                let _ = handing.reply.send(Err(refused));
            }
        }
    }

    fn for_machine(&mut self, fleet: &Fleet, handing: &Handing) -> Reply<Outgoing<Subject>> {
        let Handing {
            machine,
            request,
            what,
            ..
        } = handing;
        if !fleet.link.stands() {
            return Err((ErrorName::Failed, unreached()));
        }
        if self.is_full() {
            return Err((ErrorName::Failed, busy()));
        }
        let (question, is_no, message) = match what {
            Handed::Answer(signed) => {
                let answer = Answer::from_bytes(signed.answer.as_bytes());
                let answer = answer.map_err(|why| (ErrorName::Invalid, no_answer(&why)))?;
                (answer.question, false, messages::bytes(signed))
            }
            Handed::No(no) => (no.question.clone(), true, messages::bytes(no)),
            Handed::Close { by, session } => {
                return closing(fleet, machine, request, session, by);
            }
        };
        let (group, machine, asked) = asked(fleet, machine, request)
            .ok_or_else(|| (ErrorName::NotFound, not_asked(machine, request)))?;
        if question != Question::hash(&asked.bytes) {
            return Err((ErrorName::No, changed(request)));
        }
        let to = Subject {
            group: group.clone(),
            what: if is_no {
                SubjectKind::No
            } else {
                SubjectKind::Answer
            },
            machine: machine.clone(),
            request: Some(request.clone()),
        };
        Ok(Outgoing { to, message })
    }

    /// Somebody has said what became of something.
    pub(super) fn receipt(&mut self, from: &Subject, receipt: Receipt) {
        let said = match (receipt.taken, receipt.refused) {
            (Some(taken), _) => Ok(taken),
            (None, Some(failure)) => Err((ErrorName::Refused, failure)),
            // A receipt that says nothing is none.
            (None, None) => return,
        };
        self.answer(&said, |to, name| {
            receipt.answer == name
                && (&from.group, &from.machine, &from.request)
                    == (&to.group, &to.machine, &to.request)
        });
    }
}

/// The machine that asks that.
fn asked<'f>(
    fleet: &'f Fleet,
    id: &str,
    request: &str,
) -> Option<(&'f Group, &'f Machine, &'f PublishedQuestion)> {
    let mut all = fleet.machines();
    all.find_map(|(group, machine, state)| {
        let is_it = machine.to_string() == id;
        let asked = is_it.then(|| state.question(request)).flatten()?;
        Some((group, machine, asked))
    })
}

/// What has a machine close a hole that it has reported.
fn closing(
    fleet: &Fleet,
    id: &str,
    hole: &str,
    session: &str,
    by: &str,
) -> Reply<Outgoing<Subject>> {
    let mut all = fleet.machines();
    let found = all.find_map(|(group, machine, state)| {
        let is_it = machine.to_string() == id;
        let (there, _) = state.there.as_ref().filter(|_| is_it)?;
        let mut holes = there.holes.iter().flatten();
        let meant = holes.find(|one: &&HoleThere| one.id == hole && one.session == session)?;
        Some((group, machine, meant))
    });
    // The id is the machine's word, and becomes part of a subject.
    let (group, machine, meant) = found
        .filter(|_| is_hole(hole))
        .ok_or_else(|| (ErrorName::NotFound, not_open(id, hole)))?;
    let to = Subject {
        group: group.clone(),
        what: SubjectKind::No,
        machine: machine.clone(),
        request: Some(hole.to_owned()),
    };
    let message = messages::bytes(&Close::of(by, meant));
    Ok(Outgoing { to, message })
}

pub(super) fn unreached() -> Failure {
    Failure {
        what: "it is not carried".to_owned(),
        why: "no server of the fleet is reached".to_owned(),
        fix: "journalctl -u guard-fleet-console, on the console's machine".to_owned(),
    }
}

fn busy() -> Failure {
    Failure {
        what: "it is not carried".to_owned(),
        why: format!("{MOST} answers have no receipt yet"),
        fix: "try again".to_owned(),
    }
}

fn not_asked(machine: &str, request: &str) -> Failure {
    Failure {
        what: format!("{request} is not answered"),
        why: format!("{machine} does not ask it now"),
        fix: "look again".to_owned(),
    }
}

fn not_open(machine: &str, hole: &str) -> Failure {
    Failure {
        what: format!("{hole} is not closed"),
        why: format!("{machine} has told of no such hole: it may have ended"),
        fix: "look again".to_owned(),
    }
}

fn changed(request: &str) -> Failure {
    Failure {
        what: format!("{request} is not answered"),
        why: "it asks something else now".to_owned(),
        fix: "look again".to_owned(),
    }
}

fn no_answer(why: &guard_signed::AnswerRefusal) -> Failure {
    Failure {
        what: "the signed answer is not taken".to_owned(),
        why: why.to_string(),
        fix: "load the page again".to_owned(),
    }
}

fn silent(about: &Subject) -> Failure {
    let machine = &about.machine;
    if let Some(hole) = about.hole() {
        return Failure {
            what: format!("{machine} has not said that it has closed {hole}"),
            why: "it is away, or its guard-fleet is older and closes no hole for a page; it may still be closed"
                .to_owned(),
            fix: format!("look again; where it stays open, on that machine: guard close {hole}"),
        };
    }
    Failure {
        what: format!("{machine} has not said that it has the answer"),
        why: "it may still count".to_owned(),
        fix: "look again, and at the page of machines".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of_silence(what: &str, about: &str) -> Failure {
        let subject = format!("guard.ci.{what}.m-0123456789abcdef0123.{about}");
        let subject = Subject::parse(&subject);
        silent(&subject.unwrap_or_else(|| panic!("{about} is no subject")))
    }

    #[test]
    fn of_a_machine_that_closes_no_hole_it_is_said_that_it_may_be_older() {
        let closing = said_of_silence("no", "h7");
        assert!(closing.why.contains("is older"), "{closing:?}");
        assert!(closing.fix.contains("guard close h7"), "{closing:?}");
        for what in ["answer", "no"] {
            let answered = said_of_silence(what, "r7");
            assert!(!answered.why.contains("is older"), "{answered:?}");
        }
    }
}
