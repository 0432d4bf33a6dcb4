//! What guardd finds where it tries out what this machine enforces.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;

/// One thing that was tried out about this machine: a row of `guard doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What, in a few words; the same on every machine.
    pub check: String,
    /// Doubt is `false`.
    pub ok: bool,
    /// Without it the guard's claim does not hold.
    pub required: bool,
    /// What was found, and how.
    pub detail: String,
    /// Null if it is ok.
    pub fix: Option<String>,
    /// `ok`, `open` or `missing`.
    #[serde(default)]
    pub state: String,
    /// Which ways round it is about, as in the threat model.
    #[serde(default)]
    pub family: String,
}

/// Answer to [`Call::Doctor`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// In the order of the families.
    pub rows: Vec<Row>,
    /// guardd's version.
    pub version: String,
    /// Whether guardd refuses to run anything where a required one is open.
    pub strict: bool,
}
