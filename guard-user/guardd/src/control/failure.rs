//! The error of a verb that cannot do what was called for.

use guard_datapath::DatapathError;
use guard_proto::{
    ErrorName, Failure,
    varlink::{INTERFACE, WireError},
};
use serde_json::json;

use crate::record::{audit::AuditError, kept::UnreadableFile};

/// A [`Failure`] under the Varlink error that a client branches on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub(crate) struct CallError {
    /// The error's name in the interface.
    pub(crate) name: ErrorName,
    /// The text for people.
    pub(crate) failure: Failure,
}

impl CallError {
    /// An error of one kind, from its three sentences.
    pub(crate) fn new(
        name: ErrorName,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            name,
            failure: Failure {
                what: what.into(),
                why: why.into(),
                fix: fix.into(),
            },
        }
    }

    /// The caller may not do this.
    pub(crate) fn refused(
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(ErrorName::Refused, what, why, fix)
    }

    /// The named thing does not exist.
    pub(crate) fn not_found(
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(ErrorName::NotFound, what, why, fix)
    }

    /// The call's parameters are wrong.
    pub(crate) fn invalid(
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(ErrorName::Invalid, what, why, fix)
    }

    /// The call failed.
    pub(crate) fn failed(
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(ErrorName::Failed, what, why, fix)
    }

    /// A kept file cannot be changed, as it could not be read.
    pub(crate) fn unread(what: &str, file: &UnreadableFile) -> Self {
        let fix = format!(
            "repair or remove it, and restart guardd: {}",
            file.file().display()
        );
        Self::failed(what, file.to_string(), fix)
    }
}

impl From<DatapathError> for CallError {
    fn from(error: DatapathError) -> Self {
        error.failure("the kernel half could not do that").into()
    }
}

impl From<AuditError> for CallError {
    fn from(error: AuditError) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self {
            name: ErrorName::Failed,
            failure,
        }
    }
}

impl From<CallError> for WireError {
    fn from(refusal: CallError) -> Self {
        Self {
            error: format!("{INTERFACE}.{}", refusal.name.as_str()),
            parameters: json!({
                "what": refusal.failure.what,
                "why": refusal.failure.why,
                "fix": refusal.failure.fix,
            }),
        }
    }
}
