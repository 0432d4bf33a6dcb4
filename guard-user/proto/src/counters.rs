//! Plain numbers for monitoring.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::{Call, Status};
use crate::{
    HookStatus,
    fleet::{FleetLink, FleetPolicies},
    moment,
};

/// Answer to [`Call::Counters`]. What [`Status`] says too has its name there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Every hook is attached and every map is loaded, as just read back.
    pub enforcing: bool,
    /// guardd's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// When guardd started; null: unknown.
    #[serde(serialize_with = "moment::write_some", default)]
    pub since: Option<Timestamp>,
    /// The programs.
    pub hooks: Vec<HookStatus>,
    /// How many sessions live.
    pub sessions: usize,
    /// How many policies are in force.
    pub policies: usize,
    /// Policies whose newest text is not in force.
    pub policies_refused: usize,
    /// What the machine has of its fleet; null: the settings name none.
    pub fleet: Option<FleetPolicies>,
    /// Whether the fleet's servers are reached; null: nobody carries to any.
    pub fleet_link: Option<FleetLink>,
    /// The last record is missing in the audit log.
    pub audit_problem: bool,
    /// Records missing in the audit log.
    pub audit_failures: u64,
    /// The counts of each session, until a minute after its end.
    pub by_session: Vec<SessionCounters>,
    /// What happened since guardd started, by `NAME` or `NAME.KIND`; absent: 0.
    pub events: BTreeMap<String, u64>,
}

/// The counts of one session; those of the kernel survive guardd.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SessionCounters {
    /// Its id; null: cgroups that no session owns.
    pub session: Option<String>,
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: String,
    /// Refused attempts.
    pub refused: u64,
    /// Refused attempts of which guardd was told.
    pub reported: u64,
    /// Refused attempts that are only counted.
    pub summed_up: u64,
    /// Refused attempts that the ring buffer had no room for.
    pub lost: u64,
    /// Refused names that are only counted.
    pub names_summed_up: u64,
    /// Requests that wait.
    pub requests: u64,
    /// Open holes.
    pub holes: u64,
}
