//! What people have said yes to lately, so that `guard why` can tell what came of it.

use std::collections::VecDeque;

use guard_common::{AttemptCount, AttemptKey, BootTime, HoleEntry, HoleId, SessionId};
use guard_policy::Prefix;

use super::key::RequestKey;

/// Answers that are kept of all sessions together; of too many the oldest is evicted.
const MOST: usize = 256;

/// A yes to a request about connections, or a hole that a person opened without one.
#[derive(Clone, Debug)]
pub struct Yes {
    /// Whose.
    pub session: SessionId,
    /// The request.
    pub request: Option<AnsweredRequest>,
    /// The approver.
    pub by: String,
    /// When.
    pub at: BootTime,
    /// How often the session had been refused or held there by then, as the kernel counts.
    pub tried: Vec<(AttemptKey, u64)>,
    /// Whether connections were held for the answer.
    pub held: bool,
    /// What it opened.
    pub opened: Vec<OpenedByYes>,
}

/// A request with a yes.
#[derive(Clone, Debug)]
pub struct AnsweredRequest {
    /// Its id: `r1`.
    pub id: String,
    /// What it was about; of a burst at first.
    pub key: RequestKey,
}

/// A hole that a yes opened.
#[derive(Clone, Debug)]
pub struct OpenedByYes {
    /// The hole.
    pub hole: HoleId,
    /// What it covers.
    pub covers: Covered,
    /// Why it has ended, and how many connections it let through; none: it has not.
    pub ended: Option<(String, u64)>,
}

/// What a hole covers.
#[derive(Clone, Debug)]
pub enum Covered {
    /// What the request was about, by whatever name.
    Asked,
    /// Beside what the request was about: these addresses.
    Prefix(Prefix),
    /// What the kernel was told.
    Entry(HoleEntry),
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub struct Given(VecDeque<Yes>);

impl Yes {
    /// Whether a hole that it opened is for such connections.
    fn covers(&self, opened: &OpenedByYes, key: &RequestKey) -> bool {
        let asked = self.request.as_ref().map(|request| &request.key);
        match &opened.covers {
            Covered::Asked => asked == Some(key),
            Covered::Prefix(prefix) => {
                asked.is_some_and(|asked| asked.is_beside(key)) && prefix.covers(&key.destination)
            }
            Covered::Entry(entry) => {
                self.session == key.session
                    && key.is_connection()
                    && entry.covers(&key.destination, key.protocol, key.port)
            }
        }
    }

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
    pub fn to(&self, key: &RequestKey) -> Option<(&Yes, &OpenedByYes)> {
        self.0.iter().rev().find_map(|yes| {
            let mut opened = yes.opened.iter();
            Some((yes, opened.find(|one| yes.covers(one, key))?))
        })
    }

    /// How often there had been attempts like that when a person last said yes to them: a request since is not about these.
    #[must_use]
    pub fn tried_before(&self, key: &RequestKey) -> u64 {
        let of = |attempt: &AttemptKey| (attempt.destination, attempt.protocol, attempt.port);
        let is_its =
            |attempt: &AttemptKey| of(attempt) == (key.destination, key.protocol, key.port);
        let tried = self
            .to(key)
            .map_or(&[][..], |(yes, _)| yes.tried.as_slice());
        let its = tried.iter().filter(|(attempt, _)| is_its(attempt));
        its.map(|(_, count)| count).sum()
    }

    /// Removes those of a session that has ended.
    pub fn forget(&mut self, session: SessionId) {
        self.0.retain(|yes| yes.session != session);
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
        let opened = opened.iter().map(|(hole, prefix)| OpenedByYes {
            hole: HoleId(*hole),
            covers: match prefix {
                Some(text) => Covered::Prefix(text.parse().unwrap()),
                None => Covered::Asked,
            },
            ended: None,
        });
        Yes {
            session: SessionId(session),
            request: Some(AnsweredRequest {
                id: request.to_owned(),
                key: key(session, 1, 443),
            }),
            by: "alice".to_owned(),
            at: BootTime(1),
            tried: Vec::new(),
            held: true,
            opened: opened.collect(),
        }
    }

    fn found(given: &Given, key: &RequestKey) -> Option<(String, u32)> {
        let (yes, opened) = given.to(key)?;
        let request = yes.request.as_ref().map(|request| request.id.clone());
        Some((request.unwrap_or_default(), opened.hole.0))
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
    fn a_hole_without_a_request_is_found_by_what_it_covers() {
        let to = key(1, 1, 443).destination;
        let entry = HoleEntry {
            prefix: to,
            mask: guard_common::Address::mask(128),
            id: HoleId(4),
            low: 440,
            high: 450,
            prefix_len: 128,
            protocol: Protocol::TCP,
            ..HoleEntry::default()
        };
        let mut given = Given::default();
        given.note(Yes {
            request: None,
            opened: vec![OpenedByYes {
                hole: HoleId(4),
                covers: Covered::Entry(entry),
                ended: None,
            }],
            ..yes(1, "", &[])
        });
        assert_eq!(
            found(&given, &key(1, 1, 443)),
            Some((String::new(), 4)),
            "whichever of its ports"
        );
        for other in [key(1, 2, 443), key(1, 1, 80), key(2, 1, 443)] {
            assert_eq!(found(&given, &other), None, "{other:?}");
        }
    }

    #[test]
    fn what_was_tried_before_a_yes_is_no_part_of_the_next_request() {
        let attempt = |port| AttemptKey {
            session: SessionId(1),
            destination: key(1, 1, 443).destination,
            protocol: Protocol::TCP,
            port,
            ..AttemptKey::default()
        };
        let mut given = Given::default();
        assert_eq!(given.tried_before(&key(1, 1, 443)), 0);
        given.note(Yes {
            tried: vec![(attempt(443), 2), (attempt(80), 7)],
            ..yes(1, "r1", &[(1, None)])
        });
        assert_eq!(given.tried_before(&key(1, 1, 443)), 2);
        assert_eq!(given.tried_before(&key(1, 2, 443)), 0);
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
