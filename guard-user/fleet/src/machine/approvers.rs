//! Who may answer here, and while somebody looks which sessions and holes there are, for consoles: these show each person what they
//! answer for, and have their passkeys sign. guardd goes by its own list all the same.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use guard_courier::Refusal;
use guard_proto::{
    Call, Hole, HolesReply, Session, SessionsReply,
    approvers::Approvers,
    central::{HoleThere, SessionThere, Untold},
};
use jiff::Timestamp;
use tokio::time::sleep;

use super::{Carrier, presence};
use crate::{
    link,
    messages::{self, There},
    subjects::SubjectKind,
};

/// How often guardd is asked whether that has changed: while somebody looks, and while nobody does.
const EVERY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// How long a machine waits at most until it answers a console: a fleet does not speak all at once.
const SPREAD: Duration = Duration::from_millis(500);
/// Bytes of a message; what is longer nobody reads.
const LONGEST: usize = 96 * 1024;
/// Sessions, and holes, that are published.
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
                let subject = carrier.subject(SubjectKind::Approvers, None);
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
            () = carrier.look_again.notified() => {}
            () = link.change() => is_wanted |= link.stands(),
            () = sleep(EVERY[usize::from(!is_looked)]) => {}
        }
    }
}

/// What there is now, of each user the newest first.
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
    let SessionsReply { mut sessions, .. } = guardd.call(&Call::Sessions {}).await?;
    let HolesReply { mut holes, .. } = guardd.call(&Call::Holes {}).await?;
    sessions.sort_by_key(|one| Reverse(one.started_at));
    holes.sort_by_key(|one| Reverse(one.opened_at));
    let holes = holes.into_iter();
    let holes = holes.filter_map(|hole| hole_there(hole, &sessions));
    let holes = in_turn(holes.collect(), |one| &one.user);
    let sessions = sessions.into_iter().map(session_there).collect();
    Ok(There {
        known,
        holes: Some(holes),
        sessions: Some(in_turn(sessions, |one| &one.user)),
        ..There::default()
    })
}

/// The first of each user, then the second of each: where it is cut off, nobody has more than others.
pub(super) fn in_turn<T>(all: Vec<T>, user: impl Fn(&T) -> &str) -> Vec<T> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut all: Vec<_> = all
        .into_iter()
        .map(|one| {
            let count = counts.entry(user(&one).to_owned()).or_default();
            *count += 1;
            (*count, one)
        })
        .collect();
    all.sort_by_key(|(count, _)| *count);
    all.into_iter().map(|(_, one)| one).collect()
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
        // Each scan computes the time again from the kernel's.
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

/// The message; of very much the first, and how much that is not in it.
fn short(mut there: There) -> Vec<u8> {
    let (all, mut most) = (counts(&there), MOST);
    loop {
        there.sessions.iter_mut().for_each(|all| all.truncate(most));
        there.holes.iter_mut().for_each(|all| all.truncate(most));
        there.left_out = left_out(&all, &counts(&there));
        let message = messages::bytes(&there);
        if message.len() <= LONGEST {
            return message;
        }
        if most > 0 {
            most /= 2;
            continue;
        }
        let (people, less) = (there.known.approvers.len(), there.known.approvers.len() / 2);
        if people == 0 {
            there.known.origins.clear();
            continue;
        }
        there.known.approvers.truncate(less);
        there.approvers_left_out += people - less;
    }
}

/// Sessions and holes, by user.
type Counts = BTreeMap<String, [usize; 2]>;

fn counts(there: &There) -> Counts {
    let mut counts = Counts::new();
    for one in there.sessions.iter().flatten() {
        counts.entry(one.user.clone()).or_default()[0] += 1;
    }
    for one in there.holes.iter().flatten() {
        counts.entry(one.user.clone()).or_default()[1] += 1;
    }
    counts
}

fn left_out(all: &Counts, told: &Counts) -> Vec<Untold> {
    let less = all.iter().map(|(user, [sessions, holes])| {
        let told = told.get(user).copied().unwrap_or_default();
        Untold {
            user: user.clone(),
            sessions: sessions - told[0],
            holes: holes - told[1],
        }
    });
    let less = less.filter(|one| (one.sessions, one.holes) != (0, 0));
    less.take(MOST).collect()
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
                ..There::default()
            });
            let read = messages::read::<There>(&message).unwrap_or_default();
            let told = read.known.approvers.len();
            assert!(message.len() <= LONGEST && told <= count, "{count}");
            assert!(told == count || told > 40, "{count}: {told}");
            assert_eq!(told + read.approvers_left_out, count);
            // Who may answer comes first.
            let sessions = read.sessions.map_or(0, |all| all.len());
            assert!(sessions == 0 || told == count, "{count}: {sessions}");
        }
    }
    #[test]
    fn who_has_many_sessions_hides_nobody_elses() {
        let session = |user: &str, number: usize| SessionThere {
            id: format!("s{number}"),
            name: String::new(),
            policy: String::new(),
            user: user.to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
        };
        let hole = |user: &str, number: usize| HoleThere {
            id: format!("h{number}"),
            session: String::new(),
            user: user.to_owned(),
            destination: String::new(),
            ports: None,
            opened_by: None,
            expires_at: Timestamp::UNIX_EPOCH,
            is_narrow: false,
            shut_by: None,
        };
        let both = |count: usize| [("agent", count), ("dev", 2)];
        let each = |count: usize| {
            let all = both(count).into_iter();
            all.flat_map(|(user, count)| (0..count).map(move |number| (user, number)))
        };
        for count in [1, 98, 99, 5000] {
            let sessions = each(count).map(|(user, number)| session(user, number));
            let holes = each(count).map(|(user, number)| hole(user, number));
            let message = short(There {
                sessions: Some(in_turn(sessions.collect(), |one| &one.user)),
                holes: Some(in_turn(holes.collect(), |one| &one.user)),
                ..There::default()
            });
            let read = messages::read::<There>(&message).unwrap_or_default();
            let told = counts(&read);
            assert_eq!(told["dev"], [2, 2], "{count}");
            let less = told["agent"].map(|told| count - told);
            let said: Vec<_> = read
                .left_out
                .iter()
                .map(|one| (&*one.user, [one.sessions, one.holes]))
                .collect();
            match less {
                [0, 0] => assert_eq!(said, []),
                less => assert_eq!(said, [("agent", less)], "{count}"),
            }
            // The newest, which come first.
            assert_eq!(read.sessions.as_ref().map(|all| &*all[0].id), Some("s0"));
        }
    }
}
