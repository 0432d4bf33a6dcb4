//! What comes back instead of an answer.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::varlink::INTERFACE;

/// What went wrong, for people and programs: `--json` prints `{"error": {"what", "why", "fix"}}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{what}: {why}")]
pub struct Failure {
    /// What could not be done.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to type or change next.
    pub fix: String,
}

/// The Varlink errors of [`INTERFACE`]; the parameters of each are a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorName {
    /// The caller may not do this.
    Refused,
    /// There is no such session, request, hole or policy.
    NotFound,
    /// The call's parameters are wrong.
    Invalid,
    /// The policy's verdict, or a person's answer, is no.
    No,
    /// It could not be done.
    Failed,
}

impl ErrorName {
    /// The name without the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "Refused",
            Self::NotFound => "NotFound",
            Self::Invalid => "Invalid",
            Self::No => "No",
            Self::Failed => "Failed",
        }
    }
}
