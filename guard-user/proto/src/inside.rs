//! Answers to a process inside a session: why it was stopped, and what became of its request.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::{
    destination::{Endpoint, NameTold},
    http::HttpRequest,
    moment,
    requests::Request,
    sessions::Session,
};

/// Answer to [`Call::Why`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WhyReport {
    /// The caller's session.
    pub session: Session,
    /// The latest first; 20 at most.
    pub stopped: Vec<Stopped>,
    /// There was more before that, which is not told.
    #[serde(default)]
    pub more: bool,
}

/// A refusal, in words for the refused program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stopped {
    /// When it was last refused.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Where it wanted to go.
    pub destination: Endpoint,
    /// `confirm`, `read-only` or `deny`.
    // Of a name also `names::FAILED`, as the page of objects says of all verdicts.
    pub verdict: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// The rule's reason.
    pub reason: Option<String>,
    /// The policy, where that is not the session's own but one around it: the fleet's, or a parent session's.
    #[serde(default)]
    pub policy: Option<String>,
    /// How often; 0 where nothing was tried, and a person was asked with `guard request`.
    pub count: u64,
    /// What to do instead, or how to ask.
    pub advice: String,
    /// The request that waits for a person, where one does.
    pub request: Option<String>,
    /// The HTTP request, where that was stopped and not the connection.
    #[serde(default)]
    pub http: Option<HttpRequest>,
    /// How the session came to know the address; as `named` of a request.
    #[serde(default)]
    pub named: Option<NameTold>,
    /// A rule that has the name, where it opens nothing at this address, and why.
    #[serde(default)]
    pub barred: Option<String>,
    /// A person's yes to it, and what came of that; null: nobody said yes, or it did not help.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// A person's no to it, where that is the last answer.
    #[serde(default)]
    pub refused: Option<PersonsNo>,
    /// What decides there now; null: what decided then.
    #[serde(default)]
    pub now: Option<DecidesNow>,
    /// Whether that was before guardd started again, and it is not known any more what decided then: verdict, rule and names are
    /// those of now.
    #[serde(default)]
    pub before_restart: bool,
}

impl Stopped {
    /// A refusal of which nothing else is known.
    #[must_use]
    pub fn new(at: Timestamp, destination: Endpoint, verdict: &str, advice: String) -> Self {
        Self {
            at,
            destination,
            verdict: verdict.to_owned(),
            rule: None,
            reason: None,
            policy: None,
            count: 1,
            advice,
            request: None,
            http: None,
            named: None,
            barred: None,
            outcome: None,
            refused: None,
            now: None,
            before_restart: false,
        }
    }

    /// Whether it waited for an answer, and then passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        let outcome = self.outcome.as_ref();
        outcome.is_some_and(|outcome| outcome.waited && outcome.passed > 0 && !outcome.again)
    }
}

/// What came of a person's yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The request that was answered; null: opened without one.
    pub request: Option<String>,
    /// Who said yes.
    pub by: String,
    /// When.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// The hole that it opened.
    pub hole: String,
    /// Whether a connection was held for the answer.
    pub waited: bool,
    /// Connections that the hole has let through; of an HTTP request or a statement, requests.
    pub passed: u64,
    /// Why the hole has ended; null: it is open.
    pub ended: Option<String>,
    /// Whether it was refused again since, for the hole is over.
    #[serde(default)]
    pub again: bool,
}

/// A person's no to what was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonsNo {
    /// The request that was answered.
    pub request: String,
    /// Who said no.
    pub by: String,
    /// When.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Until when it is not asked about again.
    #[serde(serialize_with = "moment::write")]
    pub until: Timestamp,
}

/// What decides about a destination now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidesNow {
    /// `allow`, `confirm`, `read-only` or `deny`.
    pub verdict: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// The policy, where that is not the session's own.
    pub policy: Option<String>,
}

/// Answer to [`Call::Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Requested {
    /// `allow`: nothing to ask; `confirm`: asked; `deny`: cannot be asked.
    pub verdict: String,
    /// The request that waits now.
    pub request: Option<Request>,
    /// What that means, in words.
    pub advice: String,
}
