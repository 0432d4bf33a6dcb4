//! The HTTP requests and statements of a session that were stopped, and what a person said of them.

use std::collections::HashSet;

use guard_common::SessionId;
use guard_proto::{self as proto, Stopped, inside::Outcome};
use guard_sys::clock::{self, Clocks};

use super::requests::in_words;
use crate::{
    control::{
        advice::{self, DecidingRule},
        inside::{StopExplainer, came_of, matter, refused},
    },
    holes::{hole::Hole, known::Holes},
    requests::{
        Pending, RequestKey,
        given::{AnsweredRequest, PersonsAnswer},
    },
};

/// How many of a session's answered requests are shown.
const MAX_ANSWERED: usize = 8;

/// A stopped request, as people saw it. None if it is about a connection.
fn of_http(
    asked: &proto::Request,
    advice: impl FnOnce(&str, &proto::Request) -> String,
) -> Option<Stopped> {
    let http = asked.http.as_ref()?;
    let what = advice::short(&in_words(http, &asked.destination.address));
    let (to, advice) = (asked.destination.clone(), advice(&what, asked));
    Some(Stopped {
        rule: asked.rule.clone(),
        reason: asked.reason.clone(),
        count: asked.count,
        http: Some(http.clone()),
        named: asked.named.clone(),
        // The policy is for the person who is asked to see.
        ..Stopped::new(asked.last_at, to, &asked.verdict, advice)
    })
}

impl StopExplainer<'_> {
    /// A session's HTTP requests that wait, and those that were answered lately.
    pub(crate) fn stopped_http(&self, session: SessionId, clocks: &Clocks) -> Vec<Stopped> {
        let mine = |one: &&Pending| one.key.session == session && one.key.http.is_some();
        let waiting = self.requests.pending().iter().filter(mine);
        let waiting = waiting.filter_map(|one| self.waiting_http(one, clocks));
        let given = self.requests.given().to_http(session);
        let is_over = |(_, asked): &(_, &AnsweredRequest)| self.requests.find(&asked.key).is_none();
        let given: Vec<_> = given.filter(is_over).take(MAX_ANSWERED).collect();
        let told: HashSet<_> = given.iter().map(|(_, asked)| asked.id.as_str()).collect();
        let answered = given
            .iter()
            .filter_map(|(answer, asked)| self.answered_http(answer, asked, clocks));
        let refused = self.requests.refused_http(session, clock::now());
        let refused = refused
            .filter(|asked| !told.contains(asked.id.as_str()))
            .filter_map(|asked| of_http(asked, |what, _| advice::http_answered_no(what)));
        waiting.chain(answered).chain(refused).collect()
    }

    /// One that waits, with what came of a yes to one like it before.
    fn waiting_http(&self, one: &Pending, clocks: &Clocks) -> Option<Stopped> {
        let before = self.requests.given().to(&one.key);
        let outcome = before.and_then(|answer| {
            let AnsweredRequest { key, .. } = answer.request.as_ref()?;
            let outcome = self.holes.http_outcome(answer, key, clocks)?;
            Some(Outcome {
                again: true,
                ..outcome
            })
        });
        let decides = matter(self.sessions, self.policies, &one.key);
        let words = |what: &str, asked: &proto::Request| {
            let by = DecidingRule {
                name: asked.rule.as_deref(),
                reason: asked.reason.as_deref(),
                is_own: decides.is_some_and(|now| now.is_own && now.rule == asked.rule),
            };
            advice::http_asked(what, by, &asked.id)
        };
        Some(Stopped {
            at: clocks.calendar(one.last),
            count: one.tried,
            request: Some(one.shown.id.clone()),
            outcome,
            refused: before.and_then(|answer| refused(answer, clocks)),
            ..of_http(&one.shown, words)?
        })
    }

    /// One that does not wait any more.
    fn answered_http(
        &self,
        answer: &PersonsAnswer,
        asked: &AnsweredRequest,
        clocks: &Clocks,
    ) -> Option<Stopped> {
        let outcome = self.holes.http_outcome(answer, &asked.key, clocks);
        let is_refused = self.requests.is_refused_to(self.sessions, &asked.key);
        let words = |what: &str, _: &proto::Request| match &outcome {
            None if is_refused => advice::http_answered_no(what),
            None => advice::http_may_be_asked(what),
            Some(outcome) => {
                advice::http_answered_yes(what, outcome.passed, outcome.ended.as_deref())
            }
        };
        let stopped = of_http(&asked.shown, words)?;
        Some(Stopped {
            outcome,
            refused: refused(answer, clocks),
            ..stopped
        })
    }
}

impl Holes {
    /// What came of a yes.
    fn http_outcome(
        &self,
        answer: &PersonsAnswer,
        key: &RequestKey,
        clocks: &Clocks,
    ) -> Option<Outcome> {
        let opened = answer.hole(key)?;
        let (ended, passed) = match &opened.ended {
            Some((why, passed)) => (Some(why.clone()), *passed),
            None => {
                let hole = self.get(opened.hole).and_then(Hole::requests);
                (None, hole.map_or(0, |requests| requests.passed))
            }
        };
        Some(Outcome {
            passed,
            ended,
            ..came_of(answer, opened, clocks)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, rc::Rc};

    use guard_common::{Address, BootTime};
    use guard_proto::HttpRequest;

    use super::*;
    use crate::{
        policies::of_texts,
        quota::Account,
        record::shelf::Shelf,
        requests::{HttpRequestKey, Requests, tests::shown},
        sessions::none_but,
    };

    fn delete() -> HttpRequest {
        HttpRequest {
            method: "DELETE".to_owned(),
            path: "/api/jobs/7".to_owned(),
            ..HttpRequest::default()
        }
    }

    fn asked() -> proto::Request {
        proto::Request {
            http: Some(delete()),
            ..shown(1)
        }
    }

    #[test]
    fn a_stopped_request_waits_or_was_refused_and_is_its_own_sessions() -> Result<(), Infallible> {
        let policies = of_texts(&["version = 1\ndefault = \"confirm\"\n".to_owned()]);
        let sessions = none_but(&[(1, None), (2, None)]);
        let holes = Holes::new(Shelf::nowhere(), Shelf::nowhere());
        let mut requests = Requests::without_files(10);
        let stopped = |requests: &Requests, session: u32| {
            let stops = StopExplainer {
                sessions: &sessions,
                policies: &policies,
                requests,
                holes: &holes,
            };
            let stopped = stops.stopped_http(SessionId(session), &Clocks::read());
            let ids = stopped.into_iter().map(|one| {
                assert_eq!(one.http.map(|http| http.path), Some(delete().path));
                one.request
            });
            ids.collect::<Vec<_>>()
        };
        let http = HttpRequestKey {
            request: delete(),
            alone: None,
            plain: true,
            series: false,
            matter: None,
        };
        let key = RequestKey::of_http(SessionId(1), Address::default(), 443, Rc::new(http));
        let owner = Account::inside(1000, SessionId(1));
        let ask = || Ok::<_, Infallible>(asked());
        requests.note(key.clone(), owner, BootTime(1), ask)?;
        assert_eq!(stopped(&requests, 1), [Some("r1".to_owned())]);
        assert!(stopped(&requests, 2).is_empty());
        requests.take("r1");
        assert!(stopped(&requests, 1).is_empty());
        requests.refuse(key, None, asked(), BootTime(u64::MAX));
        assert_eq!(stopped(&requests, 1), [None::<String>]);
        Ok(())
    }
}
