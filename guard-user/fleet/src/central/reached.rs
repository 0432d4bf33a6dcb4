//! What a console asks of a machine that tells it to nobody else: what sessions have reached there. It answers soon, or not at all.

use std::time::Duration;

use guard_proto::{
    ErrorName, Failure, Flow,
    central::{Hour, ReachedThere},
};
use guard_signed::visible::visible;
use tokio::sync::oneshot;

use super::{
    carried::unreached,
    unanswered::{MOST, Outgoing, Recipient, Reply, Unanswered},
};
use crate::{
    messages::{self, AskReached, HeardReached, SaidReached},
    people::{heard::Fleet, known::At},
    subjects::Subject,
};

/// Flows, warnings, and hours.
const SHOWN: (usize, usize, usize) = (500, 8, 24);
/// Characters of a text of the machine's.
const LINE: usize = 512;

/// Something to ask.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) group: String,
    pub(super) machine: String,
    pub(super) by: String,
    pub(super) keys: Vec<String>,
    /// Takes the machine's reply.
    pub(super) reply: oneshot::Sender<Reply<ReachedThere>>,
}

/// What has no answer yet.
pub(super) type OpenAsks = Unanswered<At, ReachedThere>;

impl Recipient for At {
    /// A page waits no longer.
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn subject(&self) -> String {
        self.0.reached(&self.1)
    }

    fn silent(&self) -> Failure {
        silent(&self.1.to_string())
    }
}

impl OpenAsks {
    /// Asks, if that machine was heard.
    pub(super) async fn ask(&mut self, fleet: &Fleet, asking: Asking) {
        match self.of_machine(fleet, &asking) {
            Ok(outgoing) => self.begin(&fleet.link, outgoing, asking.reply).await,
            Err(failure) => {
                // Who has gone meanwhile wants no answer.
                let _ = asking.reply.send(Err((ErrorName::Failed, failure)));
            }
        }
    }

    fn of_machine(&mut self, fleet: &Fleet, asking: &Asking) -> Result<Outgoing<At>, Failure> {
        if !fleet.link.stands() {
            return Err(unreached());
        }
        if self.is_full() {
            return Err(busy());
        }
        let at = asking.group.parse().ok().zip(asking.machine.parse().ok());
        let at: Option<At> = at.filter(|at: &At| fleet.machine(&at.0, &at.1).is_some());
        let to = at.ok_or_else(|| silent(&asking.machine))?;
        let (by, keys) = (asking.by.clone(), asking.keys.clone());
        let ask = AskReached::of(by, keys).map_err(|error| Failure {
            what: "nothing is asked".to_owned(),
            why: error.to_string(),
            fix: "try again".to_owned(),
        })?;
        let message = messages::bytes(&ask);
        Ok(Outgoing { to, message })
    }

    /// A machine has answered somebody: nobody else has that.
    pub(super) fn heard(&mut self, from: &Subject, heard: &HeardReached) {
        let is_it = |to: &At, name: &str| {
            let is_asked = heard.asked.iter().any(|asked| asked == name);
            is_asked && (&from.group, &from.machine) == (&to.0, &to.1)
        };
        if !self.has(is_it) {
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
        self.answer(&said, is_it);
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
    use tokio::time::Instant;

    use super::*;

    const ONE: &str = "m-0123456789abcdef0123";
    const OTHER: &str = "m-0123456789abcdef9999";

    type Said = oneshot::Receiver<Reply<ReachedThere>>;

    /// What is to be asked, and its name.
    fn ask(machine: &str, by: &str) -> Result<(Outgoing<At>, String)> {
        let ask = AskReached::of(by.to_owned(), vec!["SHA256:a".to_owned()])?;
        let message = messages::bytes(&ask);
        let name = messages::name_of(&message);
        let to: Option<At> = "ci".parse().ok().zip(machine.parse().ok());
        let to = to.context("no machine")?;
        Ok((Outgoing { to, message }, name))
    }

    fn open(asks: &mut OpenAsks, ask: Outgoing<At>) -> Said {
        let (reply, said) = oneshot::channel();
        asks.add(ask, reply, Instant::now());
        said
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
        let ((alices, to_alices), (bobs, to_bobs)) = (ask(ONE, "alice")?, ask(ONE, "bob")?);
        assert_ne!(to_alices, to_bobs);
        let (_, an_hour_ago) = ask(ONE, "alice")?;
        assert_ne!(to_alices, an_hour_ago, "nor is one of an hour ago hers now");
        let answer = |asks: &[&String], left_out: usize| SaidReached {
            asked: asks.iter().copied().cloned().collect(),
            reached: Some(told(left_out)),
            refused: None,
        };
        let heard = |said: &SaidReached| {
            let heard = HeardReached::read(&messages::bytes(said).into());
            heard.context("it is no answer")
        };
        let (twice, to_twice) = ask(ONE, "alice")?;
        let to_alice = answer(&[&to_alices, &to_twice], 1);
        let to_bob = answer(&[&to_bobs], 2);
        let nothing = SaidReached {
            reached: None,
            ..to_alice.clone()
        };
        let mut asks = OpenAsks::default();
        let [mut hers, mut his, hers_twice] = [alices, bobs, twice].map(|ask| open(&mut asks, ask));
        // Another machine, another group, one that says nothing, one that was not asked for, and one that is none but for its name.
        asks.heard(&from("ci", OTHER)?, &heard(&to_alice)?);
        asks.heard(&from("dev", ONE)?, &heard(&to_alice)?);
        asks.heard(&from("ci", ONE)?, &heard(&nothing)?);
        asks.heard(&from("ci", ONE)?, &heard(&answer(&[&an_hour_ago], 3))?);
        let mut odd = heard(&to_alice)?;
        odd.payload = "{\"asked\":[]}".into();
        asks.heard(&from("ci", ONE)?, &odd);
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
        assert_eq!(asks.next(), None, "nothing is open");
        Ok(())
    }
}
