//! What looks like production and comes into reach while a command runs.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;

/// What looks like production, and where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// An address, a network or a name.
    pub host: String,
    /// `tcp/5432`; `tcp`: it is not said which; `any`: all of a network.
    pub ports: String,
    /// What answers there.
    pub service: String,
    /// The file that says so.
    pub file: String,
    /// Its line; absent where that is not known.
    pub line: Option<u64>,
    /// The variable, context or section there.
    pub key: String,
    /// What the session's policy says.
    pub verdict: String,
}

/// Answer to [`Call::Appeared`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appeared {
    /// Whether it is asked about from now on; of more than are told, whether each new connection is.
    pub asks: bool,
}
