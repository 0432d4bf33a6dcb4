//! Answers on their way to guardd, and what comes of them.

use guard_proto::{Call, ErrorName, Failure, HolesReply};
use jiff::Timestamp;

use super::model::{Notice, Tone};
use super::rows;
use crate::error::CliError;
use crate::render::time::Clock;

/// What a person decided.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// About which request, or hole.
    pub(crate) id: String,
    /// The same call that the verb makes.
    pub(crate) call: Call,
}

/// The outcome of an answer.
#[derive(Debug)]
pub(crate) enum AnswerOutcome {
    /// Yes.
    Opened(HolesReply),
    /// No, until then.
    Denied(Option<Timestamp>),
    /// A hole was closed.
    Closed(HolesReply),
    /// The request or hole is gone.
    Gone(Failure),
    /// It could not be done.
    Refused(Failure),
}

impl From<CliError> for AnswerOutcome {
    fn from(error: CliError) -> Self {
        let is_gone = matches!(
            error,
            CliError::Answer {
                name: ErrorName::NotFound,
                ..
            }
        );
        let failure = error.failure().cloned().unwrap_or_else(|| Failure {
            what: "cannot answer".into(),
            why: error.to_string(),
            fix: "guard pending".into(),
        });
        if is_gone {
            Self::Gone(failure)
        } else {
            Self::Refused(failure)
        }
    }
}

/// The line that tells of it.
pub(crate) fn told(id: &str, outcome: &AnswerOutcome) -> Notice {
    match outcome {
        AnswerOutcome::Opened(answer) => {
            let holes: Vec<_> = answer.holes.iter().map(rows::opened).collect();
            let warnings = answer.warnings.iter().map(|one| format!(" ({one})"));
            let text = format!(
                "{id}: yes; {}{}",
                holes.join(", "),
                warnings.collect::<String>()
            );
            Notice::new(Tone::Good, text)
        }
        AnswerOutcome::Denied(until) => {
            let until = until.map(|until| Clock::system().until(until));
            let until = until.map(|until| format!("; asked again {until} at the soonest"));
            Notice::new(Tone::Good, format!("{id}: no{}", until.unwrap_or_default()))
        }
        AnswerOutcome::Closed(answer) => {
            let ids: Vec<_> = answer.holes.iter().map(|hole| hole.id.clone()).collect();
            Notice::new(Tone::Good, format!("{} closed", ids.join(", ")))
        }
        AnswerOutcome::Gone(failure) | AnswerOutcome::Refused(failure) => {
            let fix = failure.fix.replace('\n', " ");
            Notice::new(Tone::Bad, format!("{failure}; {fix}"))
        }
    }
}
