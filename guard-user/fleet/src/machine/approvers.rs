//! Who may answer here, and while somebody looks which sessions and holes there are, for consoles: these show each person what they
//! answer for, and have their passkeys sign. guardd goes by its own list all the same.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use guard_courier::Refusal;
use guard_proto::{
    Call, Hole, Holes, Session, Sessions,
    approvers::Approvers,
    central::{HoleThere, SessionThere},
};
use jiff::Timestamp;
use tokio::time::sleep;

use super::{Carrier, presence};
use crate::{
    link,
    messages::{self, There},
    subjects::What,
};

/// How often guardd is asked whether that has changed: while somebody looks, and while nobody does.
const EVERY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// How long a machine waits at most until it answers a console: a fleet does not speak all at once.
const SPREAD: Duration = Duration::from_millis(500);
/// Bytes of a message; what is longer nobody reads.
const LONGEST: usize = 96 * 1024;
/// Sessions, and holes, that are told.
const MOST: usize = 100;

/// Tells it when a console asks, when the server has come, and when it has changed.
pub(super) async fn carry(carrier: &Carrier) -> Result<()> {
    let asked = carrier.link.client.subscribe(carrier.group.who()).await;
    let mut asked = asked.context("cannot hear consoles")?;
    let mut link = carrier.link.clone();
    let mut looked = carrier.looked.subscribe();
    let (mut told, mut is_wanted) = (Vec::new(), true);
    loop {
        let is_looked = looked.borrow_and_update().is_some();
        // A guardd that is away says nothing new.
        if let Ok(there) = there(carrier, is_looked).await {
            let message = short(there);
            if is_wanted || message != told {
                let subject = carrier.subject(What::Approvers, None);
                carrier.link.publish(subject, message.clone()).await;
                (told, is_wanted) = (message, false);
            }
        }
        tokio::select! {
            heard = asked.next() => {
                let heard = heard.context("the connection has ended")?;
                if messages::is_empty(&heard) {
                    is_wanted = true;
                    sleep(SPREAD.mul_f64(link::random())).await;
                    presence::publish(carrier, false).await;
                }
            }
            // Its other end lives in the carrier. That somebody looks on is no news.
            _ = looked.wait_for(|now| now.is_some() != is_looked) => {}
            () = link.change() => is_wanted |= link.stands(),
            () = sleep(EVERY[usize::from(!is_looked)]) => {}
        }
    }
}

/// What there is now.
async fn there(carrier: &Carrier, is_looked: bool) -> Result<There, Refusal> {
    let guardd = &carrier.guardd;
    let mut known = guardd.call::<Approvers>(&Call::Approvers {}).await?;
    known.warnings.clear();
    if !is_looked {
        return Ok(There {
            known,
            ..There::default()
        });
    }
    let Sessions { sessions } = guardd.call(&Call::Sessions {}).await?;
    let Holes { holes, .. } = guardd.call(&Call::Holes {}).await?;
    let holes = holes.into_iter();
    let holes = holes.filter_map(|hole| hole_there(hole, &sessions));
    Ok(There {
        known,
        holes: Some(holes.take(MOST).collect()),
        sessions: Some(sessions.into_iter().take(MOST).map(session_there).collect()),
    })
}

fn session_there(one: Session) -> SessionThere {
    SessionThere {
        id: one.id,
        name: one.name,
        policy: one.policy,
        user: one.user,
        started_at: one.started_at,
    }
}

/// None: its session has just ended.
fn hole_there(hole: Hole, sessions: &[Session]) -> Option<HoleThere> {
    let session = sessions.iter().find(|one| one.id == hole.session)?;
    Some(HoleThere {
        user: session.user.clone(),
        // Each look makes the time anew of the kernel's.
        expires_at: hole
            .expires_at
            .round(jiff::Unit::Second)
            .unwrap_or(Timestamp::MIN),
        is_narrow: hole.read_only || hole.http.is_some(),
        id: hole.id,
        session: hole.session,
        destination: hole.destination,
        ports: hole.ports,
        opened_by: hole.opened_by,
        shut_by: hole.shut_by,
    })
}

/// The message; of very much the first.
fn short(mut there: There) -> Vec<u8> {
    loop {
        let message = messages::bytes(&there);
        if message.len() <= LONGEST {
            return message;
        }
        let listed = [
            there.sessions.as_ref().map_or(0, Vec::len),
            there.holes.as_ref().map_or(0, Vec::len),
        ];
        if listed != [0, 0] {
            let [sessions, holes] = listed.map(|count| count / 2);
            there
                .sessions
                .iter_mut()
                .for_each(|all| all.truncate(sessions));
            there.holes.iter_mut().for_each(|all| all.truncate(holes));
            continue;
        }
        let less = there.known.approvers.len() / 2;
        there.known.approvers.truncate(less);
        there.known.origins.truncate(less);
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
            let session = SessionThere {
                id: "s1".to_owned(),
                name: "x".repeat(1000),
                policy: String::new(),
                user: String::new(),
                started_at: Timestamp::UNIX_EPOCH,
            };
            let message = short(There {
                known,
                sessions: Some(vec![session; count]),
                holes: Some(Vec::new()),
            });
            let read = messages::read::<There>(&message).unwrap_or_default();
            let told = read.known.approvers.len();
            assert!(message.len() <= LONGEST && told <= count, "{count}");
            assert!(told == count || told > 40, "{count}: {told}");
            // Who may answer comes first.
            let sessions = read.sessions.map_or(0, |all| all.len());
            assert!(sessions == 0 || told == count, "{count}: {sessions}");
        }
    }
}
