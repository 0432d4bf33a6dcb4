//! Sessions: what a new one is started with, and how a live one is shown.

use std::path::PathBuf;

use guard_policy::SocketName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::{calls::PolicyRef, moment, sockets::SocketTerms};

/// Answer to [`Call::Run`] and [`Call::Assign`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// The new session; or the one that there is already, where the call changes nothing.
    pub session: Session,
    /// What the person should know, such as rules that cannot be enforced.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// A certificate (PEM) that the session is to trust; absent where nothing is read-only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The command's Unix sockets are to be connected for it; absent where they are not judged, or the kernel does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<SocketTerms>,
    /// With strict settings nothing starts while a required row of `guard doctor` is open: the launcher checks those that
    /// guardd cannot see.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// guardd's settings say that nothing runs while something that looks like production is open: the launcher
    /// looks first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub covered: bool,
    /// guardd's settings say that what looks like production and comes into reach is asked about: the launcher looks
    /// for it, and starts nothing where that is not possible.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// The policy's text, for the launcher to say what it leaves open; absent where it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the fleet has around it, as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub around: Option<Box<PolicyRef>>,
    /// Names in the policy's rules that have no address: what looks at places must not take them for covered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<String>,
    /// What the policy allows, where the kernel judges by who listens: it is to be told which sockets these are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_sockets: Vec<SocketName>,
}

impl Started {
    /// One of which there is nothing else to say: nothing to trust, and no socket to connect.
    #[must_use]
    pub const fn new(session: Session, warnings: Vec<String>) -> Self {
        Self {
            session,
            warnings,
            authority: None,
            sockets: None,
            strict: false,
            covered: false,
            asks: false,
            text: None,
            around: None,
            unresolved: Vec::new(),
            name_sockets: Vec::new(),
        }
    }
}

/// One command and all its descendants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// `s1`
    pub id: String,
    /// Its name.
    pub name: String,
    /// The policy's name.
    pub policy: String,
    /// The user's name, or the uid where there is none.
    pub user: String,
    /// The uid that the command runs under, and that answers for the session.
    pub uid: u32,
    /// The session's cgroup.
    pub cgroup: PathBuf,
    /// The first process; null until it has entered.
    pub pid: Option<u32>,
    /// The command line.
    pub command: Vec<String>,
    /// When it was made.
    #[serde(serialize_with = "moment::write")]
    pub started_at: Timestamp,
    /// When its command ended; null while it runs, or unseen.
    #[serde(serialize_with = "moment::write_some", default)]
    pub command_ended_at: Option<Timestamp>,
    /// Outlive the command; 16 at most.
    #[serde(default)]
    pub left: Vec<LeftProcess>,
    /// The session around it; null: a person started it.
    #[serde(default)]
    pub parent: Option<String>,
    /// Its policy lets pass what no rule names.
    #[serde(default)]
    pub observed: bool,
    /// How many places that look like production came into reach while its command ran.
    #[serde(default)]
    pub appeared: u32,
    /// More came than are told, and each new connection is asked about, as the settings say.
    #[serde(default)]
    pub all_asked: bool,
    /// The file that a person gave its policy by, from the root on; null: it is guardd's own, or has more in it.
    #[serde(default)]
    pub policy_file: Option<String>,
    /// SHA-256 of the text that judges it, where there is such a file.
    #[serde(default)]
    pub policy_sha256: Option<String>,
}

/// Answer to [`Call::Apply`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// The session, as it is judged now.
    pub session: Session,
    /// Whether that is by another text than before.
    pub changed: bool,
    /// What the text may let through that the one before does not; null: it only narrows.
    #[serde(default)]
    pub widens: Option<String>,
    /// What the person should know, such as rules that cannot be enforced.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A process that a command has left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftProcess {
    /// Its number.
    pub pid: u32,
    /// Its executable's name; null: unknown.
    pub comm: Option<String>,
}

/// Answer to [`Call::SessionsReply`] and [`Call::Stop`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SessionsReply {
    /// Oldest first.
    pub sessions: Vec<Session>,
    /// The caller is a courier, and is told of no others than those for whose users somebody is enrolled.
    #[serde(default)]
    pub carried: bool,
}
