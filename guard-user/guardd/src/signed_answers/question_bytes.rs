//! A question's bytes: made once for what a request is about, and again where that has changed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guard_policy::format_duration;
use guard_proto as proto;
use guard_signed::{Document as _, Question};
use guard_sys::clock;

use super::{
    SignedAnswers, no_random, other_digits, questions::GivenQuestion, random, shows::Shows,
    stopping::Judging,
};
use crate::{
    config::{Code, Config, SignedScope},
    control::{failure::CallError, ids},
    holes::covers::may_be_for_another_host,
    requests::{Pending, Requests, offers::longest_yes},
    state::State,
    times::after,
};

/// How long a question counts: as long as a request without an attempt is kept.
const LIFE: Duration = crate::requests::MAX_AGE;
/// What everybody is offered, in seconds.
const TIMES: [u64; 3] = [900, 300, 3600];

impl State {
    /// The question about a request, for an approver who `may` know of its owner.
    ///
    /// # Errors
    ///
    /// That no signed answers are taken, or there is no such request, or its question is closed.
    pub(crate) fn question(
        &mut self,
        id: &str,
        may: impl Fn(u32) -> bool,
    ) -> Result<proto::approvers::Asked, CallError> {
        if self.config.answers.couriers.is_none() {
            return Err(switched_off());
        }
        let asked = self.requests.get(id).filter(|one| may(one.owner)).cloned();
        let asked = asked.ok_or_else(|| ids::no_request(id))?;
        if asked.key.question.is_some() {
            return Err(only_here(id));
        }
        let kept = self.asked_elsewhere(&asked)?;
        if kept.is_closed() {
            return Err(closed(id));
        }
        Ok(proto::approvers::Asked {
            request: asked.shown.id,
            question: kept.bytes,
            hash: kept.hash,
        })
    }

    /// The code of a request's question, if one is wanted, for the channel that tells it now; the question is made for that.
    pub(crate) fn code_to_tell(&mut self, id: &str) -> Option<String> {
        self.config.answers.couriers.as_ref()?;
        let asked = self.requests.get(id).cloned()?;
        self.config.code_channel(&asked)?;
        let kept = self.asked_elsewhere(&asked).ok()?;
        self.signed_answers.questions.note_told(&asked.shown.id);
        Some(kept.code).filter(|code| !code.is_empty())
    }

    /// The question about a request: the one that there is, if it asks what would be asked now.
    fn asked_elsewhere(&mut self, asked: &Pending) -> Result<GivenQuestion, CallError> {
        if self.signed_answers.boot().is_empty() {
            return Err(without_number());
        }
        if let Some(kept) = self.signed_answers.questions.of(&asked.shown.id)
            && !kept.is_over(clock::now())
            && self.is_unchanged(asked, kept)
            && !self.signed_answers.is_spent(kept)
        {
            return Ok(kept.clone());
        }
        let content = self.content(asked, asked.shown.pid);
        let earlier = self.signed_answers.questions.of(&asked.shown.id).cloned();
        let before = earlier.as_ref().map_or("", |earlier| earlier.code.as_str());
        let code = match content.code_by {
            // What was told with other bytes answers none of these.
            Some(_) => other_digits(before).map_err(|error| no_random(&error))?,
            None => String::new(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let asked_at = now.map_or(0, |since| since.as_secs());
        let question = Question {
            asked_at,
            expires_at: asked_at + LIFE.as_secs(),
            nonce: random().map_err(|error| no_random(&error))?,
            ..content
        };
        let bytes = question.to_bytes().ok();
        let bytes = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let bytes = bytes.ok_or_else(|| too_long(&asked.shown.id))?;
        let now = clock::now();
        let kept = GivenQuestion {
            pid: asked.shown.pid,
            ..GivenQuestion::new(bytes, after(now, LIFE), code)
        };
        let kept = kept.in_place_of(earlier.as_ref(), now);
        self.signed_answers
            .questions
            .keep(&asked.shown.id, kept.clone())
            .map_err(|error| not_kept(&error))?;
        self.requests.note_signed_question();
        Ok(kept)
    }

    /// Whether the question about a request still asks what would be asked now. Another process of the same program, with the same
    /// command, asks the same: else whatever tries again in a loop could never be answered.
    pub(super) fn is_unchanged(&self, asked: &Pending, kept: &GivenQuestion) -> bool {
        is_same(kept, &self.content(asked, kept.pid))
    }

    /// What there is to ask where that process asks, without what makes each question another.
    fn content(&self, asked: &Pending, pid: Option<u32>) -> Question {
        let shown = &asked.shown;
        let shows = Shows::of(&proto::Request {
            pid,
            ..shown.clone()
        });
        Question {
            asked_at: 0,
            boot: self.signed_answers.boot().to_owned(),
            code_by: self.config.code_channel(asked).map(str::to_owned),
            expires_at: 0,
            kind: kind(shown).to_owned(),
            machine: self.signed_answers.machine().to_owned(),
            nonce: String::new(),
            offers: self.offered(asked),
            policy: shown.policy.clone(),
            request: shown.id.clone(),
            rule: shown.rule.clone(),
            session: shown.session.clone(),
            shown_whole: shows.whole,
            shows: shows.lines,
            user: shown.user.clone(),
            v: 1,
        }
    }

    /// What may be answered.
    fn offered(&self, asked: &Pending) -> Vec<String> {
        let settings = &self.config.answers;
        let may = |scope: SignedScope| settings.scopes.contains(&scope);
        let Some(longest) = self.longest_signed(asked) else {
            return Vec::new();
        };
        let mut offers = Vec::new();
        for seconds in TIMES.map(|seconds| seconds.min(longest.as_secs())) {
            let offer = format!("for={seconds}");
            if may(SignedScope::Offers) && seconds > 0 && !offers.contains(&offer) {
                offers.push(offer);
            }
        }
        let http = asked.shown.http.as_ref();
        if may(SignedScope::One) {
            let once = match http {
                Some(_) => "requests=1",
                None => "connections=1",
            };
            offers.push(once.to_owned());
        }
        if let Some(http) = http.filter(|http| may(SignedScope::Path) && !http.is_statement()) {
            offers.push(format!("path={}", http.as_pattern()));
        }
        let of_one_host = http.is_some_and(|http| !may_be_for_another_host(http));
        for (is_meant, scope, offer) in [
            (asked.burst.is_some(), SignedScope::Prefix, "scope=prefix"),
            (of_one_host, SignedScope::Writes, "scope=writes"),
            (http.is_none(), SignedScope::ReadOnly, "read-only"),
        ] {
            if is_meant && may(scope) {
                offers.push(offer.to_owned());
            }
        }
        offers
    }

    /// What judges requests.
    pub(super) fn judging(&self) -> Judging<'_> {
        Judging {
            sessions: &self.sessions,
            policies: &self.policies,
        }
    }

    /// The longest hole that a signed yes may open there; none: nothing can be opened.
    pub(super) fn longest_signed(&self, asked: &Pending) -> Option<Duration> {
        let longest = longest_yes(&self.sessions, &self.policies, asked)?;
        let longest = self
            .judging()
            .longest_by_rules(asked)
            .unwrap_or(longest)
            .min(longest);
        Some(longest.min(self.config.answers.max_for.0))
    }
}

impl SignedAnswers {
    /// Drops the questions of requests that are gone.
    pub(crate) fn tidy(&mut self, requests: &Requests) {
        let is_open = |id: &str| requests.get(id).is_some_and(|one| one.shown.id == id);
        self.questions.retain(clock::now(), is_open);
    }

    /// Whether an answer to it was taken, whatever came of that.
    fn is_spent(&self, kept: &GivenQuestion) -> bool {
        let question = kept.question();
        question.is_none_or(|question| self.questions.is_used(&question.nonce))
    }
}

impl Config {
    /// The channel that tells a code; none if no code is wanted.
    fn code_channel(&self, asked: &Pending) -> Option<&'static str> {
        let shown = &asked.shown;
        let is_warned = !shown.warnings.is_empty()
            || shown
                .http
                .as_ref()
                .is_some_and(|http| !http.warnings.is_empty());
        let is_wanted = match self.answers.code {
            Code::Never => false,
            Code::Warned => is_warned,
            Code::Always => true,
        };
        let by = match self.on_request {
            Some(_) => "on_request",
            None => "guard watch",
        };
        is_wanted.then_some(by)
    }
}

/// Whether a question that was given out asks that.
fn is_same(kept: &GivenQuestion, content: &Question) -> bool {
    kept.question().is_some_and(|question| {
        let was = Question {
            asked_at: 0,
            expires_at: 0,
            nonce: String::new(),
            ..question
        };
        was == *content
    })
}

fn kind(shown: &proto::Request) -> &'static str {
    match &shown.http {
        Some(http) if http.is_statement() => "sql",
        Some(_) => "http",
        None => "connect",
    }
}

/// The error where an answer could count twice.
fn without_number() -> CallError {
    CallError::failed(
        "no signed answers are taken",
        "when guardd started, it could not keep the number of its state, so an answer might count twice",
        "make room on the disk, then: systemctl restart guardd",
    )
}

/// The error where the settings take no signed answers.
pub(super) fn switched_off() -> CallError {
    CallError::refused(
        "no signed answers are taken",
        "the settings have no couriers under [answers]",
        "as root, in /etc/guard/guardd.toml, under [answers]: couriers = []\nsystemctl restart guardd",
    )
}

pub(super) fn closed(id: &str) -> CallError {
    CallError::refused(
        format!("{id} can only be answered at the machine"),
        "three answers said a wrong code",
        format!("guard approve {id}, or guard deny {id}"),
    )
}

/// The name waits for a few seconds, and its hole has no terms that an answer could name.
fn only_here(id: &str) -> CallError {
    CallError::refused(
        format!("cannot have {id} answered elsewhere"),
        "it is about asking for a name, which waits for seconds only",
        format!("answer it on its machine:\nguard approve {id}\nguard deny {id}"),
    )
}

fn too_long(id: &str) -> CallError {
    CallError::failed(
        format!("{id} cannot be asked elsewhere"),
        "it is too long for a question",
        format!("guard approve {id}, or guard deny {id}"),
    )
}

pub(super) fn not_kept(error: &std::io::Error) -> CallError {
    CallError::failed(
        "the question cannot be kept, so it is not asked",
        error.to_string(),
        "make room on the disk of guardd's state directory",
    )
}

/// How long, as people read it.
pub(super) fn lasting(time: Duration) -> String {
    format_duration(Duration::from_secs(time.as_secs()))
}
