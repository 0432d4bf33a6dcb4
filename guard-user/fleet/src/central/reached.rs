//! What a console asks of a machine that tells it to nobody else: what sessions have reached there. It answers soon, or not at all.

use std::time::Duration;

use guard_proto::{
    ErrorName, Failure, Flow,
    central::{Hour, ReachedThere},
};
use guard_signed::visible::visible;
use tokio::{sync::oneshot, time::Instant};

use super::carried::unreached;
use crate::{
    messages::{self, AskReached, HeardReached, SaidReached},
    people::{heard::Fleet, known::At},
    subjects::Subject,
};

/// How long to wait for an answer, for a page does, and after which time it is asked again.
const ANSWER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// At once.
const MOST: usize = 64;
/// Flows, warnings, and hours.
const SHOWN: (usize, usize, usize) = (500, 8, 24);
/// Characters of a text of the machine's.
const LINE: usize = 512;

/// What it has answered.
pub(super) type SaidThere = Result<ReachedThere, (ErrorName, Failure)>;

/// Something to ask.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) group: String,
    pub(super) machine: String,
    pub(super) by: String,
    pub(super) keys: Vec<String>,
    pub(super) reply: oneshot::Sender<SaidThere>,
}

/// What has no answer yet.
#[derive(Debug, Default)]
pub(super) struct OpenAsks {
    open: Vec<OpenAsk>,
}

#[derive(Debug)]
struct OpenAsk {
    at: At,
    message: Vec<u8>,
    name: String,
    again: Instant,
    latest: Instant,
    reply: oneshot::Sender<SaidThere>,
}

impl OpenAsks {
    /// Asks, if that machine was heard.
    pub(super) async fn begin(&mut self, fleet: &Fleet, asking: Asking) {
        self.open.retain(|one| !one.reply.is_closed());
        let (at, message) = match self.addressed(fleet, &asking) {
            Ok(addressed) => addressed,
            Err(failure) => {
                // Who has gone meanwhile wants no answer.
                let _ = asking.reply.send(Err((ErrorName::Failed, failure)));
                return;
            }
        };
        let now = Instant::now();
        self.open.push(OpenAsk {
            at,
            name: messages::name_of(&message),
            message,
            again: now,
            latest: now + ANSWER.0,
            reply: asking.reply,
        });
        self.again(fleet).await;
    }

    fn addressed(&self, fleet: &Fleet, asking: &Asking) -> Result<(At, Vec<u8>), Failure> {
        if !fleet.link.stands() {
            return Err(unreached());
        }
        if self.open.len() >= MOST {
            return Err(busy());
        }
        let at = asking.group.parse().ok().zip(asking.machine.parse().ok());
        let at: Option<At> = at.filter(|at: &At| fleet.machine(&at.0, &at.1).is_some());
        let at = at.ok_or_else(|| silent(&asking.machine))?;
        let (by, keys) = (asking.by.clone(), asking.keys.clone());
        let ask = AskReached::of(by, keys).map_err(|error| Failure {
            what: "nothing is asked".to_owned(),
            why: error.to_string(),
            fix: "try again".to_owned(),
        })?;
        Ok((at, messages::bytes(&ask)))
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.open.iter().map(|one| one.again.min(one.latest)).min()
    }

    /// Asks again what is to be asked again, and gives up what nobody has answered.
    pub(super) async fn again(&mut self, fleet: &Fleet) {
        let now = Instant::now();
        for one in &mut self.open {
            if one.again <= now {
                let (subject, message) = (one.at.0.reached(&one.at.1), one.message.clone());
                fleet.link.publish(subject, message).await;
                one.again = now + ANSWER.1;
            }
        }
        for late in self.open.extract_if(.., |one| one.latest <= now) {
            let silent = silent(&late.at.1.to_string());
            let _ = late.reply.send(Err((ErrorName::Failed, silent)));
        }
    }

    /// A machine has answered somebody: nobody else has that.
    pub(super) fn heard(&mut self, from: &Subject, heard: &HeardReached) {
        let is_it = |one: &OpenAsk| {
            let at = (&one.at.0, &one.at.1);
            (&from.group, &from.machine) == at && heard.asked.contains(&one.name)
        };
        if !self.open.iter().any(is_it) {
            return;
        }
        let Some(said) = messages::read::<SaidReached>(&heard.payload) else {
            return;
        };
        let said = match (said.reached, said.refused) {
            (Some(reached), _) => Ok(shown(reached)),
            (None, Some(failure)) => Err((ErrorName::Refused, failure)),
            // An answer that says nothing is none.
            (None, None) => return,
        };
        for one in self.open.extract_if(.., |one| is_it(one)) {
            let _ = one.reply.send(said.clone());
        }
    }
}

/// In words of its own that steer nothing.
fn shown(told: ReachedThere) -> ReachedThere {
    let left_out = told.flows.len().saturating_sub(SHOWN.0);
    let flows = told.flows.into_iter().take(SHOWN.0).map(flow);
    let warnings = told.warnings.iter().take(SHOWN.1);
    let hours = told
        .hours
        .filter(|hours: &Vec<Hour>| hours.len() == SHOWN.2);
    ReachedThere {
        at: told.at,
        flows: flows.collect(),
        left_out: told.left_out.saturating_add(left_out),
        warnings: warnings.map(|one| visible(one, LINE)).collect(),
        hours,
        is_reading: told.is_reading,
        late: told.late,
    }
}

fn flow(one: Flow) -> Flow {
    let text = |text: &Option<String>| text.as_ref().map(|text| visible(text, LINE));
    Flow {
        session: visible(&one.session, 32),
        host: text(&one.host),
        names: Vec::new(),
        address: visible(&one.address, LINE),
        protocol: visible(&one.protocol, 32),
        program: text(&one.program),
        verdict: visible(&one.verdict, 32),
        rule: text(&one.rule),
        leads_to: Vec::new(),
        ..one
    }
}

fn busy() -> Failure {
    Failure {
        what: "it is not asked".to_owned(),
        why: format!("{MOST} are asked already"),
        fix: "try again".to_owned(),
    }
}

fn silent(machine: &str) -> Failure {
    Failure {
        what: format!("{machine} gives no answer"),
        why: "it is away or busy, or its guard-fleet is older and does not tell what was reached"
            .to_owned(),
        fix: "look again; on that machine: guard flows".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, Result};
    use jiff::Timestamp;

    use super::*;

    const ONE: &str = "m-0123456789abcdef0123";
    const OTHER: &str = "m-0123456789abcdef9999";

    fn open(machine: &str, by: &str) -> Result<(OpenAsk, oneshot::Receiver<SaidThere>)> {
        let (reply, said) = oneshot::channel();
        let ask = AskReached::of(by.to_owned(), vec!["SHA256:a".to_owned()])?;
        let message = messages::bytes(&ask);
        let at: Option<At> = "ci".parse().ok().zip(machine.parse().ok());
        let ask = OpenAsk {
            at: at.context("no machine")?,
            name: messages::name_of(&message),
            message,
            again: Instant::now(),
            latest: Instant::now() + ANSWER.0,
            reply,
        };
        Ok((ask, said))
    }

    fn told(left_out: usize) -> ReachedThere {
        ReachedThere {
            at: Timestamp::UNIX_EPOCH,
            flows: vec![],
            left_out,
            warnings: vec!["\u{202e}".to_owned(); 100],
            hours: Some(vec![Hour::default(); 23]),
            is_reading: true,
            late: None,
        }
    }

    #[test]
    fn an_answer_is_for_whoever_asked_that_of_that_machine() -> Result<()> {
        let from = |group: &str, machine: &str| {
            let subject = format!("guard.{group}.approvers.{machine}");
            Subject::parse(&subject).context("no subject")
        };
        let ((alices, mut hers), (bobs, mut his)) = (open(ONE, "alice")?, open(ONE, "bob")?);
        assert_ne!(alices.name, bobs.name);
        let (again, _reply) = open(ONE, "alice")?;
        assert_ne!(
            alices.name, again.name,
            "nor is one of an hour ago hers now"
        );
        let answer = |asks: &[&OpenAsk], left_out: usize| SaidReached {
            asked: asks.iter().map(|ask| ask.name.clone()).collect(),
            reached: Some(told(left_out)),
            refused: None,
        };
        let heard = |said: &SaidReached| {
            let heard = HeardReached::read(&messages::bytes(said).into());
            heard.context("it is no answer")
        };
        let (twice, hers_twice) = open(ONE, "alice")?;
        let (to_alice, to_bob) = (answer(&[&alices, &twice], 1), answer(&[&bobs], 2));
        let nothing = SaidReached {
            reached: None,
            ..to_alice.clone()
        };
        let mut asks = OpenAsks {
            open: vec![alices, bobs, twice],
        };
        // Another machine, another group, one that says nothing, one that was not asked for, and one that is none but for its name.
        asks.heard(&from("ci", OTHER)?, &heard(&to_alice)?);
        asks.heard(&from("dev", ONE)?, &heard(&to_alice)?);
        asks.heard(&from("ci", ONE)?, &heard(&nothing)?);
        asks.heard(&from("ci", ONE)?, &heard(&answer(&[&again], 3))?);
        let mut odd = heard(&to_alice)?;
        odd.payload = "{\"asked\":[]}".into();
        asks.heard(&from("ci", ONE)?, &odd);
        assert_eq!(asks.open.len(), 3);
        assert!(hers.try_recv().is_err() && his.try_recv().is_err());
        asks.heard(&from("ci", ONE)?, &heard(&to_bob)?);
        assert!(hers.try_recv().is_err());
        let said = his.try_recv()?.map_err(|(_, failure)| failure.why);
        assert_eq!(said.map(|there| there.left_out), Ok(2));
        // Both of hers have the one answer.
        asks.heard(&from("ci", ONE)?, &heard(&to_alice)?);
        for mut hers in [hers, hers_twice] {
            let said = hers.try_recv()?.map_err(|(_, failure)| failure.why);
            let said = said.map(|there| (there.left_out, there.warnings.len(), there.hours));
            assert_eq!(said, Ok((1, SHOWN.1, None)), "23 hours are no day");
        }
        assert!(asks.open.is_empty());
        Ok(())
    }
}
