//! What people have said yes or no to lately, so that `guard why` can tell what came of it.

use std::collections::{HashSet, VecDeque};

use guard_common::{AttemptCount, AttemptKey, BootTime, HoleEntry, HoleId, SessionId};
use guard_policy::Prefix;
use guard_proto as proto;
use guard_sys::clock::Clocks;

use super::{Requests, key::RequestKey, pending::Pending};
use crate::{policies::labels, sessions::Sessions};

/// Answers that are kept of all sessions together; of too many the oldest is evicted.
const MOST: usize = 256;

/// An answer to a request, or a hole that a person opened without one.
#[derive(Clone, Debug)]
pub(crate) struct PersonsAnswer {
    /// Whose session.
    pub(crate) session: SessionId,
    /// The request.
    pub(crate) request: Option<AnsweredRequest>,
    /// The approver.
    pub(crate) by: String,
    /// When.
    pub(crate) at: BootTime,
    /// How often the session had been refused or held there by then, as the kernel counts.
    pub(crate) tried: Vec<(AttemptKey, u64)>,
    /// Whether connections or a client were held for the answer.
    pub(crate) held: bool,
    /// The answer.
    pub(crate) said: YesOrNo,
}

/// What the answer was.
#[derive(Clone, Debug)]
pub(crate) enum YesOrNo {
    /// It opened these.
    Yes(Vec<OpenedByYes>),
    /// It refuses what the request was about, and more.
    No {
        /// Further addresses that it refuses.
        prefixes: Vec<Prefix>,
        /// Until then it is not asked about again.
        until: BootTime,
    },
}

/// A request with an answer.
#[derive(Clone, Debug)]
pub(crate) struct AnsweredRequest {
    /// Its id: `r1`.
    pub(crate) id: String,
    /// What it was about; of a burst at first.
    pub(crate) key: RequestKey,
    /// What people saw of it, with its attempts by then.
    pub(crate) shown: proto::Request,
}

/// A hole that a yes opened.
#[derive(Clone, Debug)]
pub(crate) struct OpenedByYes {
    /// The hole.
    pub(crate) hole: HoleId,
    /// What it covers.
    pub(crate) covers: HoleCoverage,
    /// Why it has ended, and how many connections it let through; none: it has not.
    pub(crate) ended: Option<(String, u64)>,
}

/// What a hole covers.
#[derive(Clone, Debug)]
pub(crate) enum HoleCoverage {
    /// What the request was about, by whatever name.
    Asked,
    /// Beside what the request was about: these addresses.
    Prefix(Prefix),
    /// What the kernel was told.
    Entry(HoleEntry),
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Given(VecDeque<PersonsAnswer>);

impl AnsweredRequest {
    /// A request by the id under which it was answered; `shown`: what people saw of that part of it.
    pub(crate) fn of(asked: &Pending, id: &str, key: RequestKey, shown: &proto::Request) -> Self {
        let shown = proto::Request {
            count: asked.tried,
            last_at: Clocks::read().calendar(asked.last),
            ..shown.clone()
        };
        Self {
            id: id.to_owned(),
            key,
            shown,
        }
    }
}

impl PersonsAnswer {
    /// Whether the request was about that, or about all names of a zone that this is one of.
    fn is_about(&self, key: &RequestKey) -> bool {
        let Some(AnsweredRequest { key: asked, .. }) = &self.request else {
            return false;
        };
        let names = asked.question.as_deref().zip(key.question.as_deref());
        let is_named = names.is_some_and(|(zone, name)| labels::covers(zone, name));
        (asked.is_there(key) && asked.alike() == key.alike())
            || (asked.session == key.session && is_named)
    }

    /// Whether these addresses are beside what the request was about.
    fn is_beside(&self, key: &RequestKey, prefix: &Prefix) -> bool {
        let asked = self.request.as_ref().map(|request| &request.key);
        asked.is_some_and(|asked| asked.is_beside(key)) && prefix.covers(&key.destination)
    }

    /// Whether a hole that it opened is for such connections.
    fn opens(&self, opened: &OpenedByYes, key: &RequestKey) -> bool {
        match &opened.covers {
            HoleCoverage::Asked => self.is_about(key),
            HoleCoverage::Prefix(prefix) => self.is_beside(key, prefix),
            HoleCoverage::Entry(entry) => {
                self.session == key.session
                    && key.is_connection()
                    && entry.covers(&key.destination, key.protocol, key.port)
            }
        }
    }

    /// Whether it is a no to that.
    fn refuses(&self, prefixes: &[Prefix], key: &RequestKey) -> bool {
        self.is_about(key) || prefixes.iter().any(|one| self.is_beside(key, one))
    }

    /// The hole for a request's destination, of the holes that a yes opened.
    #[must_use]
    pub(crate) fn hole(&self, key: &RequestKey) -> Option<&OpenedByYes> {
        match &self.said {
            YesOrNo::Yes(opened) => opened.iter().find(|one| self.opens(one, key)),
            YesOrNo::No { .. } => None,
        }
    }

    /// The same for another session.
    #[must_use]
    pub(crate) fn of(&self, session: SessionId) -> Self {
        let request = self.request.clone().map(|asked| AnsweredRequest {
            key: asked.key.of(session),
            ..asked
        });
        Self {
            session,
            request,
            ..self.clone()
        }
    }

    /// Whether it is a no.
    #[must_use]
    pub(crate) const fn is_no(&self) -> bool {
        matches!(self.said, YesOrNo::No { .. })
    }

    /// Whether it answers a request about `key`.
    #[must_use]
    fn is_to(&self, key: &RequestKey) -> bool {
        match &self.said {
            YesOrNo::Yes(_) => self.hole(key).is_some(),
            YesOrNo::No { prefixes, .. } => self.refuses(prefixes, key),
        }
    }

    /// Whether nothing has been refused or held there since.
    #[must_use]
    pub(crate) fn is_last(&self, attempt: &AttemptKey, tried: &AttemptCount) -> bool {
        self.tried.contains(&(*attempt, tried.count))
    }
}

impl Given {
    /// Keeps one.
    pub(crate) fn note(&mut self, answer: PersonsAnswer) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(answer);
    }

    /// Adds a hole to the yes that opened it.
    pub(crate) fn add(&mut self, session: SessionId, request: &str, hole: OpenedByYes) {
        let is_its = |answer: &&mut PersonsAnswer| {
            let asked = answer.request.as_ref();
            answer.session == session && asked.is_some_and(|asked| asked.id == request)
        };
        let answer = self.0.iter_mut().rev().find(is_its);
        if let Some(YesOrNo::Yes(opened)) = answer.map(|answer| &mut answer.said) {
            opened.push(hole);
        }
    }

    /// The holes for HTTP requests and statements of which no end is known.
    pub(crate) fn open_for_http(&self) -> impl Iterator<Item = HoleId> {
        let is_http = |answer: &&PersonsAnswer| {
            let asked = answer.request.as_ref();
            asked.is_some_and(|asked| asked.key.http.is_some())
        };
        let opened = self.0.iter().filter(is_http);
        let opened = opened.flat_map(|answer| match &answer.said {
            YesOrNo::Yes(opened) => opened.as_slice(),
            YesOrNo::No { .. } => &[],
        });
        let open = opened.filter(|one| one.ended.is_none());
        open.map(|one| one.hole)
    }

    /// Notes that a hole has ended, and how many connections or requests it let through.
    pub(crate) fn note_end(&mut self, hole: HoleId, why: &str, passed: u64) {
        let said = self.0.iter_mut().map(|answer| &mut answer.said);
        let opened = said.flat_map(|said| match said {
            YesOrNo::Yes(opened) => opened.as_mut_slice(),
            YesOrNo::No { .. } => &mut [],
        });
        for one in opened.filter(|one| one.hole == hole) {
            one.ended = Some((why.to_owned(), passed));
        }
    }

    /// The last one to that.
    #[must_use]
    pub(crate) fn to(&self, key: &RequestKey) -> Option<&PersonsAnswer> {
        self.0.iter().rev().find(|answer| answer.is_to(key))
    }

    /// Those to HTTP requests and statements of a session, the last first; of several to the same one the last.
    pub(crate) fn to_http(
        &self,
        session: SessionId,
    ) -> impl Iterator<Item = (&PersonsAnswer, &AnsweredRequest)> {
        let mut seen = HashSet::new();
        let all = self.0.iter().rev();
        let of = all.filter_map(move |answer| Some((answer, answer.request.as_ref()?)));
        of.filter(move |(answer, asked)| {
            let is_its = answer.session == session && asked.key.http.is_some();
            is_its && seen.insert(asked.key.alike())
        })
    }

    /// What the answered requests of a session about connections were about, and when they were answered, the last first.
    pub(crate) fn to_connections(
        &self,
        session: SessionId,
    ) -> impl Iterator<Item = (&RequestKey, BootTime)> {
        let its = self
            .0
            .iter()
            .rev()
            .filter(move |one| one.session == session);
        let asked = its.filter_map(|one| Some((&one.request.as_ref()?.key, one.at)));
        asked.filter(|(key, _)| key.is_connection())
    }

    /// How often there had been attempts like that when a person last answered: a request since is not about these.
    #[must_use]
    pub(crate) fn tried_before(&self, key: &RequestKey) -> u64 {
        let of = |attempt: &AttemptKey| (attempt.destination, attempt.protocol, attempt.port);
        let is_its =
            |attempt: &AttemptKey| of(attempt) == (key.destination, key.protocol, key.port);
        let tried = self
            .to(key)
            .map_or(&[][..], |answer| answer.tried.as_slice());
        let its = tried.iter().filter(|(attempt, _)| is_its(attempt));
        its.map(|(_, count)| count).sum()
    }

    /// Removes those of a session that has ended.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.0.retain(|answer| answer.session != session);
    }
}

impl Requests {
    /// A person's last answer to that, or no to the outermost session about it.
    pub(crate) fn last_answer(
        &self,
        sessions: &Sessions,
        key: &RequestKey,
    ) -> Option<&PersonsAnswer> {
        let outermost = key.of(sessions.outermost_of(key.session));
        let of_all = self.given.to(&outermost).filter(|answer| answer.is_no());
        let own = self.given.to(key).into_iter();
        own.chain(of_all).max_by_key(|answer| answer.at)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::Protocol;

    use super::*;
    use crate::requests::drafts::blank;

    fn key(session: u32, last: u8, port: u16) -> RequestKey {
        let to = IpAddr::from([192, 0, 2, last]).into();
        RequestKey::new(SessionId(session), to, Protocol::TCP, port)
    }

    fn asked(session: u32, request: &str) -> AnsweredRequest {
        let key = key(session, 1, 443);
        let to = key.endpoint(None);
        AnsweredRequest {
            id: request.to_owned(),
            shown: blank(&key, BootTime(1), to, "lab".to_owned()),
            key,
        }
    }

    fn yes(session: u32, request: &str, opened: &[(u32, Option<&str>)]) -> PersonsAnswer {
        let opened = opened.iter().map(|(hole, prefix)| OpenedByYes {
            hole: HoleId(*hole),
            covers: match prefix {
                Some(text) => HoleCoverage::Prefix(text.parse().unwrap()),
                None => HoleCoverage::Asked,
            },
            ended: None,
        });
        PersonsAnswer {
            session: SessionId(session),
            request: Some(asked(session, request)),
            by: "alice".to_owned(),
            at: BootTime(1),
            tried: Vec::new(),
            held: true,
            said: YesOrNo::Yes(opened.collect()),
        }
    }

    fn no(session: u32, request: &str, prefixes: &[&str]) -> PersonsAnswer {
        let prefixes = prefixes.iter().map(|text| text.parse().unwrap());
        PersonsAnswer {
            said: YesOrNo::No {
                prefixes: prefixes.collect(),
                until: BootTime(9),
            },
            ..yes(session, request, &[])
        }
    }

    fn found(given: &Given, key: &RequestKey) -> Option<(String, u32)> {
        let answer = given.to(key)?;
        let request = answer.request.as_ref().map(|request| request.id.clone());
        let hole = answer.hole(key).map_or(0, |opened| opened.hole.0);
        Some((request.unwrap_or_default(), hole))
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
        let to = key(1, 1, 443);
        let opened = given.to(&to).and_then(|answer| answer.hole(&to)).unwrap();
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
        given.note(PersonsAnswer {
            request: None,
            said: YesOrNo::Yes(vec![OpenedByYes {
                hole: HoleId(4),
                covers: HoleCoverage::Entry(entry),
                ended: None,
            }]),
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
    fn a_no_after_a_yes_is_the_last_answer_and_a_yes_after_that() {
        let mut given = Given::default();
        given.note(yes(1, "r1", &[(1, None)]));
        given.note_end(HoleId(1), "expired", 1);
        given.note(no(1, "r2", &["192.0.2.0/30"]));
        for last in [1, 3] {
            let to = key(1, last, 443);
            assert_eq!(found(&given, &to), Some(("r2".to_owned(), 0)), "{to:?}");
        }
        for other in [key(1, 4, 443), key(1, 3, 80), key(2, 1, 443)] {
            assert_eq!(found(&given, &other), None, "{other:?}");
        }
        given.note(yes(1, "r3", &[(2, None)]));
        assert_eq!(found(&given, &key(1, 1, 443)), Some(("r3".to_owned(), 2)));
    }

    #[test]
    fn what_was_tried_before_an_answer_is_no_part_of_the_next_request() {
        let attempt = |port| AttemptKey {
            session: SessionId(1),
            destination: key(1, 1, 443).destination,
            protocol: Protocol::TCP,
            port,
            ..AttemptKey::default()
        };
        let mut given = Given::default();
        assert_eq!(given.tried_before(&key(1, 1, 443)), 0);
        given.note(PersonsAnswer {
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
