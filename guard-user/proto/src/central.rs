//! What guard-fleet shows a console of many machines, and carries for it. Frames are those of Varlink, over a socket of its own;
//! guardd has no part in it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Flow, approvers::ApproverShown, moment};

/// The interface, without the dot and the method.
pub const INTERFACE: &str = "org.guardd.Fleet";

/// What a console asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "parameters")]
pub enum FleetCall {
    /// All machines, and then each that changes. With `more` only: one [`FleetUpdate`] an answer.
    #[serde(rename = "org.guardd.Fleet.Follow")]
    Follow {},
    /// Somebody looks, for as long as the connection lasts: machines have connections wait. With `more` only. Answer: `{}`.
    #[serde(rename = "org.guardd.Fleet.Look")]
    Look {},
    /// Have a machine's guardd look at a signed answer. Answer: [`Taken`](crate::approvers::Taken).
    #[serde(rename = "org.guardd.Fleet.AnswerSigned")]
    AnswerSigned {
        /// The machine.
        machine: String,
        /// The request's id there.
        request: String,
        /// The answer's bytes, as text.
        answer: String,
        /// The id of the key, which is a passkey.
        key: String,
        /// The signature, in base64url.
        signature: String,
        /// What its authenticator says, in base64url.
        authenticator_data: String,
        /// What its browser says, in base64url.
        client_data: String,
    },
    /// Say no for somebody who is logged in. Answer: [`Taken`](crate::approvers::Taken).
    #[serde(rename = "org.guardd.Fleet.Deny")]
    Deny {
        /// The machine.
        machine: String,
        /// The request's id there.
        request: String,
        /// The hash of its question: of another the no is none.
        question: String,
        /// The approver, as that machine knows them.
        by: String,
    },
    /// Close a hole for somebody who is logged in. Answer: [`Taken`](crate::approvers::Taken), of the hole and `closed`.
    #[serde(rename = "org.guardd.Fleet.Close")]
    Close {
        /// The machine.
        machine: String,
        /// The hole's id there.
        hole: String,
        /// The session that it is for: another hole of that id is not meant.
        session: String,
        /// The approver, as that machine knows them.
        by: String,
    },
    /// What the sessions have reached of those for whom somebody answers who is logged in. Answer: [`ReachedThere`], soon or not at all.
    #[serde(rename = "org.guardd.Fleet.Reached")]
    Reached {
        /// The machine's group: another machine of that id is not meant.
        group: String,
        /// The machine.
        machine: String,
        /// The approver, as that machine knows them.
        by: String,
        /// Fingerprints of the keys by which it is that approver: another one of that name is not meant.
        keys: Vec<String>,
    },
}

/// Answer to [`FleetCall::Follow`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetUpdate {
    /// Whether a server of the fleet is reached.
    pub connected: bool,
    /// What was told before counts no more.
    pub anew: bool,
    /// A machine, as it is now.
    pub machine: Option<HeardMachine>,
    /// That was all of it, for now.
    pub whole: bool,
}

/// A machine, as it was last heard. All of it is its own word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeardMachine {
    /// The group that it is in.
    pub group: String,
    /// What it is called in questions.
    pub machine: String,
    /// Since when it was not heard, or has said that it goes; null: it is there.
    #[serde(serialize_with = "moment::write_some", default)]
    pub away_since: Option<Timestamp>,
    /// How it is; null: its guardd does not answer.
    pub state: Option<MachineState>,
    /// Who may answer for its sessions.
    pub approvers: Vec<ApproverShown>,
    /// Fingerprints of the keys that the fleet's policies revoke there.
    #[serde(default)]
    pub revoked: Vec<String>,
    /// The origins of pages whose passkeys it takes; null: it has not said so yet.
    pub origins: Option<Vec<String>>,
    /// How many more may, for whom its message had no room.
    #[serde(default)]
    pub approvers_left_out: usize,
    /// Its sessions, a hundred at most, of each user the newest; null: it says so only while somebody looks.
    #[serde(default)]
    pub sessions: Option<Vec<SessionThere>>,
    /// Its holes, in the same way.
    #[serde(default)]
    pub holes: Option<Vec<HoleThere>>,
    /// How many more of these there are.
    #[serde(default)]
    pub left_out: Vec<Untold>,
    /// The bytes of its open questions, as text.
    pub questions: Vec<String>,
    /// It asks more than these, and what else it asks has to be answered there.
    #[serde(default)]
    pub asks_more: bool,
    /// What became of others, the latest last.
    pub over: Vec<Over>,
}

/// What a machine says of its guardd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// guardd's version.
    pub version: String,
    /// Every hook is attached and every map is loaded, as last read back.
    pub enforcing: bool,
    /// Why not, where it is not.
    pub problem: Option<String>,
    /// How many sessions live.
    pub sessions: usize,
    /// How many holes are open.
    pub holes: usize,
    /// The serial of the fleet's policies in force; null: none are.
    pub serial: Option<u64>,
    /// What is wrong with these.
    pub policies_problem: Option<String>,
}

/// Of whom there is more than is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untold {
    /// The user.
    pub user: String,
    /// So many sessions.
    pub sessions: usize,
    /// So many holes.
    pub holes: usize,
}

/// A session on a machine, as far as others are told: not what runs in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionThere {
    /// The session.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its policy's name.
    pub policy: String,
    /// Whose it is.
    pub user: String,
    /// When it was made.
    #[serde(serialize_with = "moment::write")]
    pub started_at: Timestamp,
}

/// A hole on a machine, as far as others are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleThere {
    /// The hole.
    pub id: String,
    /// For which session.
    pub session: String,
    /// Whose that is.
    pub user: String,
    /// The prefix, or the name.
    pub destination: String,
    /// Port specification; null: all.
    pub ports: Option<String>,
    /// Who has opened it; null: unknown.
    pub opened_by: Option<String>,
    /// When it ends, to the second.
    #[serde(serialize_with = "moment::write")]
    pub expires_at: Timestamp,
    /// Not connections but requests or reads alone.
    pub is_narrow: bool,
    /// What denies all of it now; null: nothing.
    pub shut_by: Option<String>,
}

/// What the sessions on a machine have reached of those for whom somebody answers there, and the last day of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReachedThere {
    /// When the machine looked, by its own clock.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Of each outermost session in turn the latest, and what was reached last comes first; without names beside `host`, and without
    /// where listeners lead.
    pub flows: Vec<Flow>,
    /// How many more there are, the older ones.
    pub left_out: usize,
    /// What is missing.
    pub warnings: Vec<String>,
    /// Each hour of the last day, this one last; null: guardd does not tell its log, or it is being read, and was not before.
    pub hours: Option<Vec<Hour>>,
    /// Whether the audit log is being read: a moment later there is more.
    pub is_reading: bool,
    /// As of when these are, while it is being read; null: as of `at`.
    #[serde(serialize_with = "moment::write_some", default)]
    pub late: Option<Timestamp>,
}

/// What happened in an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Destinations first reached.
    pub reached: u64,
    /// Requests.
    pub asked: u64,
    /// Refusals that were recorded.
    pub stopped: u64,
}

/// What guardd has said of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// The request's id.
    pub request: String,
    /// The hash of its question.
    pub question: String,
    /// `yes`, `no`, or `part`: others must say yes, too.
    pub answer: String,
    /// Who has answered.
    pub by: String,
    /// How many have said yes, and how many have to.
    pub approvals: u32,
    /// The same.
    pub wanted: u32,
    /// How many holes it has opened.
    pub holes: usize,
    /// What the person should know.
    pub warnings: Vec<String>,
    /// When the receipt came.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
}
