//! What looks like production: what is in reach of a session, and what comes into reach while its command runs.

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

/// A place that looks like production, as a session's own processes are told of it: never by which file or key, or the list would be a
/// map to credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductionPlace {
    /// An address, a network or a name.
    pub host: String,
    /// As in [`Place`].
    pub ports: String,
    /// What answers there.
    pub service: String,
    /// What the session's policies say.
    pub verdict: String,
}

/// What a launcher has found before its command started, and what came into reach since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductionFound {
    /// The places.
    pub places: Vec<ProductionPlace>,
    /// Whether all was read, and all that was found is here.
    pub complete: bool,
}

impl ProductionFound {
    /// No more places are told: as many as are recorded of what comes into reach.
    pub const MOST: usize = 64;
}

/// Answer to [`Call::Production`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductionReply {
    /// What was found; absent where nobody has looked.
    pub found: Option<ProductionFound>,
}

/// Answer to [`Call::Appeared`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appeared {
    /// Whether it is asked about from now on; of more than are told, whether each new connection is.
    pub asks: bool,
}
