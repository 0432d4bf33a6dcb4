//! Why a verb ends without having done its work, and the exit status that says so.

use std::io;
use std::process::ExitCode;

use guard_proto::{ErrorName, Failure};

/// An exit status, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

/// docs/reference/cli.md has each with its comment.
impl Exit {
    /// Done, or yes.
    pub const DONE: Self = Self(0);
    /// No: not enforcing (`status`), invalid (`check`), denied (`request`), `--fail-on` (`report`), not whole (`log --verify`),
    /// different (`diff`), a required row not ok (`doctor`, `setup`), open production (`discover --check`), nothing signed (`sign`),
    /// declined (`trust`, `policy apply`).
    pub const NO: Self = Self(1);
    /// Not possible: usage, no guardd, refused.
    pub const FAILED: Self = Self(2);
    /// The command **never ran**.
    pub const NOT_STARTED: Self = Self(125);

    /// [`Exit::DONE`] for yes, [`Exit::NO`] for no.
    pub(crate) const fn answer(yes: bool) -> Self {
        if yes { Self::DONE } else { Self::NO }
    }

    /// The status of a verb that has printed its answer: a reader that is gone makes no yes of a no.
    ///
    /// # Errors
    ///
    /// That it could not be told for any other reason.
    pub(crate) fn once_told(self, told: Result<(), CliError>) -> Result<Self, CliError> {
        read_or_not(told).map(|()| self)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// What a verb has printed, where more is to be done than to print it: that nobody reads it any more ends nothing then.
///
/// # Errors
///
/// That it could not be told for any other reason.
pub(crate) fn read_or_not(told: Result<(), CliError>) -> Result<(), CliError> {
    match told {
        Err(CliError::OutputClosed) => Ok(()),
        told => told,
    }
}

/// What ends a verb early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// guardd answered with an error.
    #[error("{failure}")]
    Answer { name: ErrorName, failure: Failure },
    /// It could not be done on this side of the socket.
    #[error(transparent)]
    Local(#[from] Failure),
    /// No guardd listens at the socket.
    #[error(transparent)]
    NoDaemon(Failure),
    /// The guard could not start the command, or the command is none.
    #[error("{failure}")]
    Launch { exit: Exit, failure: Failure },
    /// The reader of the output is gone.
    #[error("nobody reads the output")]
    OutputClosed,
}

impl CliError {
    /// The exit status of a verb that ends with this.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Answer {
                name: ErrorName::No,
                ..
            } => Exit::NO,
            Self::Answer { .. } | Self::Local(_) | Self::NoDaemon(_) => Exit::FAILED,
            Self::Launch { exit, .. } => *exit,
            Self::OutputClosed => Exit::DONE,
        }
    }

    /// What to tell the person, if there is anything left to tell.
    pub(crate) const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Answer { failure, .. }
            | Self::Local(failure)
            | Self::NoDaemon(failure)
            | Self::Launch { failure, .. } => Some(failure),
            Self::OutputClosed => None,
        }
    }

    /// What guardd calls it, if it is an answer of its.
    pub(crate) const fn name(&self) -> Option<ErrorName> {
        match self {
            Self::Answer { name, .. } => Some(*name),
            _ => None,
        }
    }

    /// The same, as `guard run` tells it: whatever it was, the command never ran.
    pub(crate) fn not_started(self) -> Self {
        if let Self::Launch { .. } = self {
            return self;
        }
        let failure = self.failure().cloned().unwrap_or_else(|| Failure {
            what: "cannot start the command".into(),
            why: self.to_string(),
            fix: "check where standard output goes".into(),
        });
        Self::Launch {
            exit: Exit::NOT_STARTED,
            failure,
        }
    }

    /// A failure to write standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Local(Failure {
            what: "cannot write the output".into(),
            why: error.to_string(),
            fix: "check where standard output goes".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_makes_no_yes_of_a_no() {
        let gone = || Err(CliError::output(&io::ErrorKind::BrokenPipe.into()));
        for exit in [Exit::DONE, Exit::NO, Exit::FAILED] {
            assert_eq!(exit.once_told(gone()).unwrap(), exit);
            assert_eq!(exit.once_told(Ok(())).unwrap(), exit);
        }
        let full = Err(CliError::output(&io::ErrorKind::StorageFull.into()));
        assert_eq!(Exit::NO.once_told(full).unwrap_err().exit(), Exit::FAILED);
        // Where nothing is answered but what is printed, all was done.
        assert_eq!(CliError::OutputClosed.exit(), Exit::DONE);
    }
}
