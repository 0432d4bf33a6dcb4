//! What people have said yes to lately, so that `guard why` can tell what came of it.

use std::collections::VecDeque;

use guard_common::{AttemptCount, AttemptKey, BootTime, HoleId, SessionId};
use guard_policy::Prefix;

use super::key::RequestKey;

/// Answers that are kept of all sessions together; of too many the oldest is evicted.
const MOST: usize = 256;

/// A yes to a request about connections.
#[derive(Clone, Debug)]
pub struct Yes {
    /// What the request was about; of a burst at first.
    pub key: RequestKey,
    /// The request: `r1`.
    pub request: String,
    /// The approver.
    pub by: String,
    /// When.
    pub at: BootTime,
    /// How often the session had been refused or held there by then, as the kernel counts.
    pub tried: Vec<(AttemptKey, u64)>,
    /// Whether connections were held for the answer.
    pub held: bool,
    /// What it opened.
    pub opened: Vec<Opened>,
}

/// A hole that a yes opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The hole.
    pub hole: HoleId,
    /// Its prefix; none: that of the request, by whatever name.
    pub prefix: Option<Prefix>,
    /// Why it has ended, and how many connections it let through; none: it has not.
    pub ended: Option<(String, u64)>,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub struct Given(VecDeque<Yes>);

impl Yes {
    /// Whether nothing has been refused or held there since.
    #[must_use]
    pub fn is_last(&self, attempt: &AttemptKey, tried: &AttemptCount) -> bool {
        self.tried.contains(&(*attempt, tried.count))
    }
}

impl Given {
    /// Keeps one.
    pub fn note(&mut self, yes: Yes) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(yes);
    }

    /// Notes that a hole has ended.
    pub fn note_end(&mut self, hole: HoleId, why: &str, connections: u64) {
        let opened = self.0.iter_mut().flat_map(|yes| &mut yes.opened);
        for one in opened.filter(|one| one.hole == hole) {
            one.ended = Some((why.to_owned(), connections));
        }
    }

    /// The last one about connections like that, and what it opened there.
    #[must_use]
    pub fn to(&self, key: &RequestKey) -> Option<(&Yes, &Opened)> {
        self.0.iter().rev().find_map(|yes| {
            let covers = |one: &&Opened| match &one.prefix {
                Some(prefix) => yes.key.is_beside(key) && prefix.covers(&key.destination),
                None => yes.key == *key,
            };
            Some((yes, yes.opened.iter().find(covers)?))
        })
    }

    /// Removes those of a session that has ended.
    pub fn forget(&mut self, session: SessionId) {
        self.0.retain(|yes| yes.key.session != session);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::Protocol;

    use super::*;

    fn key(session: u32, last: u8, port: u16) -> RequestKey {
        let to = IpAddr::from([192, 0, 2, last]).into();
        RequestKey::new(SessionId(session), to, Protocol::TCP, port)
    }

    fn yes(session: u32, request: &str, opened: &[(u32, Option<&str>)]) -> Yes {
        let opened = opened.iter().map(|(hole, prefix)| Opened {
            hole: HoleId(*hole),
            prefix: prefix.map(|text| text.parse().unwrap()),
            ended: None,
        });
        Yes {
            key: key(session, 1, 443),
            request: request.to_owned(),
            by: "alice".to_owned(),
            at: BootTime(1),
            tried: Vec::new(),
            held: true,
            opened: opened.collect(),
        }
    }

    fn found(given: &Given, key: &RequestKey) -> Option<(String, u32)> {
        let (yes, opened) = given.to(key)?;
        Some((yes.request.clone(), opened.hole.0))
    }

    #[test]
    fn the_last_yes_there_is_found_with_its_own_hole() {
        let mut given = Given::default();
        let both = [(1, Some("192.0.2.1/32")), (2, Some("192.0.2.2/32"))];
        given.note(yes(1, "r1", &both));
        assert_eq!(found(&given, &key(1, 2, 443)), Some(("r1".to_owned(), 2)));
        for other in [key(1, 3, 443), key(1, 1, 80), key(2, 1, 443)] {
            assert_eq!(found(&given, &other), None, "{other:?}");
        }
        given.note(yes(1, "r2", &[(3, None)]));
        assert_eq!(found(&given, &key(1, 1, 443)), Some(("r2".to_owned(), 3)));
        given.note_end(HoleId(3), "expired", 7);
        let (_, opened) = given.to(&key(1, 1, 443)).unwrap();
        assert_eq!(opened.ended, Some(("expired".to_owned(), 7)));
        given.forget(SessionId(1));
        assert_eq!(found(&given, &key(1, 1, 443)), None);
    }

    #[test]
    fn of_too_many_the_oldest_goes() {
        let mut given = Given::default();
        given.note(yes(1, "r0", &[(1, None)]));
        for _ in 0..MOST {
            given.note(yes(2, "r1", &[(2, None)]));
        }
        assert_eq!(given.0.len(), MOST);
        assert_eq!(found(&given, &key(1, 1, 443)), None);
    }
}
