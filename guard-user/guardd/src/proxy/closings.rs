//! The connections that the proxy closed for what came first on them, and the requests that it refused without asking, so that
//! `guard why` can say so.

use std::collections::HashMap;

use guard_common::{Address, BootTime, SessionId};

/// Closings of one session that are kept.
const REMEMBERED: usize = 16;

/// What the proxy closed of each session, each destination and reason once.
#[derive(Debug, Default)]
pub struct Closings(HashMap<SessionId, Vec<Closing>>);

/// Connections to one destination that were closed for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Where to.
    pub to: Address,
    /// The TCP port.
    pub port: u16,
    /// Why.
    pub why: String,
    /// When the last one was.
    pub last: BootTime,
    /// How many.
    pub count: u64,
}

impl Closings {
    /// Notes one. Of too many the oldest is forgotten.
    pub fn note(&mut self, session: SessionId, to: (Address, u16), why: &str, now: BootTime) {
        let all = self.0.entry(session).or_default();
        let known = all
            .iter()
            .position(|one| (one.to, one.port) == to && one.why == why);
        let count = match known {
            Some(at) => all.remove(at).count,
            None => 0,
        };
        if all.len() >= REMEMBERED {
            all.remove(0);
        }
        all.push(Closing {
            to: to.0,
            port: to.1,
            why: why.to_owned(),
            last: now,
            count: count + 1,
        });
    }

    /// Those of a session, the latest last.
    pub fn of(&self, session: SessionId) -> impl DoubleEndedIterator<Item = &Closing> {
        self.0.get(&session).into_iter().flatten()
    }

    /// Removes those of a session that has ended.
    pub fn forget(&mut self, session: SessionId) {
        self.0.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_same_is_counted_and_the_oldest_of_too_many_forgotten() {
        let mut closings = Closings::default();
        let to: Address = IpAddr::from([192, 0, 2, 1]).into();
        let session = SessionId(1);
        for now in 0..2 {
            closings.note(session, (to, 443), "no name", BootTime(now));
        }
        let all: Vec<_> = closings.of(session).collect();
        assert_eq!((all.len(), all[0].count, all[0].last), (1, 2, BootTime(1)));
        for port in 0..REMEMBERED as u16 {
            closings.note(session, (to, port), "no name", BootTime(9));
        }
        let ports: Vec<_> = closings.of(session).map(|one| one.port).collect();
        assert_eq!(ports, Vec::from_iter(0..REMEMBERED as u16));
        assert_eq!(closings.of(SessionId(2)).count(), 0);
        closings.forget(session);
        assert_eq!(closings.of(session).count(), 0);
    }
}
