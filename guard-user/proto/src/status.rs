//! What is enforced, as it was just read back from the kernel, and what the kernel half logs.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::{
    fleet::{FleetLink, FleetPolicies},
    moment,
};

/// Answer to [`Call::Status`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Every hook is attached and every map is loaded, as just read back.
    pub enforcing: bool,
    /// Why not, where it is not.
    pub problem: Option<String>,
    /// What else is wrong, such as a full disk under the audit log.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// guardd's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The root of the guarded cgroups.
    pub cgroup_root: PathBuf,
    /// Where policies are looked for by name; the first wins.
    #[serde(default)]
    pub policy_dirs: Vec<PathBuf>,
    /// The policy of a session that names none.
    #[serde(default)]
    pub session_policy: Option<String>,
    /// The policies in force.
    pub policies: Vec<PolicyStatus>,
    /// How many sessions live.
    pub sessions: usize,
    /// How many requests wait.
    pub requests: usize,
    /// How many holes are open.
    pub holes: usize,
    /// How many attempts were refused to the sessions that live or ended in the last minute, and to cgroups that no
    /// session owns, as the kernel counts.
    pub refused: u64,
    /// The programs.
    pub hooks: Vec<HookStatus>,
    /// Refusals that the ring buffer had no room to report; each is counted all the same.
    pub events_lost: u64,
    /// Refusals that a count stands for.
    pub events_summed_up: u64,
    /// Names that the live sessions were refused, or not told, and that a count alone stands for: more came in a second than are
    /// told one by one.
    #[serde(default)]
    pub names_summed_up: u64,
    /// Networks in which questions of the caller's sessions, of root all, to their name servers are refused: some of each session.
    #[serde(default)]
    pub unserved_networks: Vec<UnservedNetwork>,
    /// The last record of the audit log; null without a chain.
    #[serde(default)]
    pub audit: Option<AuditStatus>,
    /// What the machine has of its fleet; null: the settings name none.
    #[serde(default)]
    pub fleet: Option<FleetPolicies>,
    /// Whether the fleet's servers are reached; null: nobody carries to any.
    #[serde(default)]
    pub fleet_link: Option<FleetLink>,
    /// When guardd started; null: unknown.
    #[serde(serialize_with = "moment::write_some", default)]
    pub since: Option<Timestamp>,
}

/// The last record of the audit log: what to note elsewhere, so that `guard log --verify --head` can look for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// The file in use.
    pub path: PathBuf,
    /// 0: there is none.
    pub number: u64,
    /// SHA-256.
    pub hash: String,
}

/// Answer to [`Call::Presence`]: what a courier may tell others of this machine. It counts, and says of nobody whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// What the machine is called in questions.
    pub machine: String,
    /// guardd's version.
    pub version: String,
    /// As in [`Status`], and as just read back.
    pub enforcing: bool,
    /// Why not, where it is not.
    pub problem: Option<String>,
    /// How many sessions live.
    pub sessions: usize,
    /// How many requests wait.
    pub requests: usize,
    /// How many holes are open.
    pub holes: usize,
    /// The last record of the audit log.
    pub audit: AuditHead,
    /// What the machine has of its fleet; null: the settings name none.
    #[serde(default)]
    pub fleet: Option<FleetPolicies>,
}

/// The last record of the audit log, for whoever keeps it elsewhere: not where the log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// 0: there is none.
    pub number: u64,
    /// SHA-256.
    pub hash: String,
}

/// A policy in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its name.
    pub name: String,
    /// Null: built in.
    pub file: Option<String>,
    /// Lets pass what no rule names: for sessions that are observed.
    #[serde(default)]
    pub observed: bool,
    /// How many sessions it holds for.
    pub sessions: usize,
    /// Prefixes in the kernel.
    pub prefixes: usize,
    /// When this version was put in place.
    #[serde(serialize_with = "moment::write")]
    pub loaded_at: Timestamp,
    /// Why a newer text of it was refused: this version still stands.
    pub error: Option<String>,
    /// What it cannot do, such as names that do not resolve.
    pub warnings: Vec<String>,
}

/// A program on the guard's root cgroup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HookStatus {
    /// Such as `connect4`.
    pub name: String,
    /// Whether it is attached to the guard's root cgroup.
    pub attached: bool,
    /// Its id, as bpftool takes it.
    pub program_id: Option<u32>,
}

/// A network namespace in which guard's resolver cannot listen: there sessions resolve no names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnservedNetwork {
    /// The outermost session of the process.
    pub session: String,
    /// A process in it.
    pub pid: u32,
    /// Its inode, as in `net:[4026532281]`.
    pub network: u64,
    /// Why.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// Answer to [`Call::KernelLog`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLog {
    /// Whose decisions are logged: a session's id, or `all`; absent: nobody's.
    pub of: Option<String>,
}
