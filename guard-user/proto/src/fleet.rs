//! The policies of a fleet that a machine has.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::{calls::PolicyRef, moment};

/// Answer to [`Call::OfferPolicies`], and a part of what a machine says of itself: what is in force, as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPolicies {
    /// The group that the machine is in.
    pub group: String,
    /// The number of the bundle in force; null: there was none yet.
    pub serial: Option<u64>,
    /// The policy around each session; null: none is.
    pub base: Option<String>,
    /// The names of the policies in the bundle.
    pub policies: Vec<String>,
    /// Who signed it.
    pub by: Vec<String>,
    /// When it was last offered.
    #[serde(default, serialize_with = "moment::write_some")]
    pub heard_at: Option<Timestamp>,
    /// For how many seconds it stands after that; null: for ever.
    #[serde(default)]
    pub lasts: Option<u64>,
    /// SHA-256 of its bytes, in hexadecimal; null: there was none yet.
    #[serde(default)]
    pub bundle: Option<String>,
    /// The same of the last one that was refused since; null: none was.
    #[serde(default)]
    pub refused: Option<String>,
    /// When that was last offered.
    #[serde(default, serialize_with = "moment::write_some")]
    pub refused_at: Option<Timestamp>,
    /// What is wrong: with what was kept, or with what was offered last.
    pub problem: Option<String>,
}

/// Whether the fleet's servers are reached, as the courier says that carries to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLink {
    /// Whether one of them is, by a word of the last two minutes.
    pub connected: bool,
    /// Since when that is so; null: nothing was said since guardd started.
    #[serde(serialize_with = "moment::write_some")]
    pub since: Option<Timestamp>,
    /// The user of that courier; null: none has said so.
    #[serde(default)]
    pub by: Option<String>,
}

/// Answer to [`Call::FleetTexts`]: what judges sessions beside the machine's own policies, or goes before one of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetTexts {
    /// The group that the machine is in; null: it is in no fleet.
    pub group: Option<String>,
    /// What lies around each session now: where the fleet has been silent for too long, what denies everything. Null: nothing does.
    pub base: Option<PolicyRef>,
    /// All in the bundle.
    pub policies: Vec<PolicyRef>,
    /// Why they are not known: then nothing starts, and no name means anything.
    pub problem: Option<String>,
}
