//! What `guard` and `guardd` say to each other: serde types only.
//!
//! The wire is Varlink: JSON objects, each ended by a NUL byte, on a Unix stream socket. A call is
//! `{"method": …, "parameters": {…}, "more": true?}`, an answer `{"parameters": {…}, "continues":
//! true?}` or `{"error": …, "parameters": {…}}`. The objects in answers are those that
//! `guard --json` prints.

use std::{net::IpAddr, path::PathBuf};

use guard_policy::{self as policy, SocketName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod moment;
pub mod names;
pub mod record;
pub mod varlink;
pub mod wire;

pub use record::{LogKind, LogRecord};

/// The Varlink interface, without the dot and the method.
pub const INTERFACE: &str = "org.guardd.Control";

/// A call is at most this long, its NUL included. Answers are as long as the lists that they hold:
/// the daemon bounds those, not their frames.
pub const MAX_FRAME: usize = 64 * 1024;

/// A frame of [`Call::Run`], [`Call::Assign`] or [`Call::Explain`] carries a policy's text and may be this long. Anything
/// longer belongs in the daemon's policy directory.
pub const MAX_POLICY_FRAME: usize = 8 * 1024 * 1024;

/// What a client asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "method", content = "parameters", deny_unknown_fields)]
pub enum Call {
    /// Make a session and its cgroup. Answer: [`Started`].
    #[serde(rename = "org.guardd.Control.Run")]
    Run(Run),
    /// Move the calling process into a session of its own user. Answer: `{}`.
    #[serde(rename = "org.guardd.Control.Enter")]
    Enter {
        /// Which session.
        session: String,
    },
    /// Make a session of a cgroup that is there already: a unit's or a container's. Answer: [`Started`].
    #[serde(rename = "org.guardd.Control.Assign")]
    Assign(Assign),
    /// The requests that wait for an answer. With `more`: one [`Requests`] now and one at each change.
    #[serde(rename = "org.guardd.Control.Pending")]
    Pending {},
    /// Answer a request with yes. Answer: [`Holes`].
    #[serde(rename = "org.guardd.Control.Approve")]
    Approve {
        /// Which request.
        id: String,
        /// Of an HTTP request: all with its method whose paths match this pattern, in which `*` stands for any text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Of an HTTP request: all that change something at its destination.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        writes: bool,
        /// Of a burst: all of [`Burst::prefix`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        prefix: bool,
        /// Of a burst: the first so many of [`Burst::addresses`]. Absent: the one that `id` asked about alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tried: Option<u32>,
        /// Of a connection to an address that the session knows by a name: that address alone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        address: bool,
        /// How long the hole lives.
        #[serde(flatten)]
        terms: HoleTerms,
    },
    /// Answer a request with no. Answer: [`Requests`] with that one request.
    #[serde(rename = "org.guardd.Control.Deny")]
    Deny {
        /// Which request.
        id: String,
        /// For how long it is not asked again, in seconds.
        #[serde(rename = "for")]
        seconds: Option<f64>,
        /// From a courier: the approver who is logged in there. It counts only for whose sessions that one answers for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Open a hole that nobody asked for. Answer: [`Holes`].
    #[serde(rename = "org.guardd.Control.Open")]
    Open {
        /// An address, prefix, name or group, each but prefix and group with or without a port.
        destination: String,
        /// Port specifications; none is all of them.
        #[serde(default)]
        ports: Vec<String>,
        /// Which session; absent where the caller has just one.
        session: Option<String>,
        /// Why, for the audit log.
        reason: Option<String>,
        /// How long the hole lives.
        #[serde(flatten)]
        terms: HoleTerms,
    },
    /// The open holes, read from the kernel. Answer: [`Holes`].
    #[serde(rename = "org.guardd.Control.Holes")]
    Holes {},
    /// Close holes. Answer: [`Holes`] with those that were closed.
    #[serde(rename = "org.guardd.Control.Close")]
    Close {
        /// Which.
        #[serde(default)]
        ids: Vec<String>,
        /// All that the caller may close.
        #[serde(default)]
        all: bool,
        /// From a courier: as in `Deny`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// The live sessions. Answer: [`Sessions`].
    #[serde(rename = "org.guardd.Control.Sessions")]
    Sessions {},
    /// End a session and all of its processes. Answer: [`Sessions`] with that one.
    #[serde(rename = "org.guardd.Control.Stop")]
    Stop {
        /// Which.
        session: String,
    },
    /// What sessions have reached: those that live, and those that ended lately. From inside: what the caller's own has. Answer:
    /// [`Flows`].
    #[serde(rename = "org.guardd.Control.Flows")]
    Flows {
        /// Of this one alone, and those inside it, by its id or name.
        #[serde(default)]
        session: Option<String>,
        /// From a courier: as in `Deny`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// From a supervisor: a connection to a Unix socket was refused. Answer: `{}`.
    #[serde(rename = "org.guardd.Control.SocketRefused")]
    SocketRefused {
        /// Whose.
        session: String,
        /// Its path, or its abstract name after an `@`; empty where that is not known.
        socket: String,
        /// The process that asked.
        pid: u32,
        /// The name of its main thread when it asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comm: Option<String>,
        /// It could not be told who listens there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unknown: bool,
    },
    /// From a launcher: something that looks like production has come into reach while its command runs. Answer: [`Appeared`].
    #[serde(rename = "org.guardd.Control.Appeared")]
    Appeared {
        /// Whose.
        session: String,
        /// What.
        place: Box<Place>,
    },
    /// What a person has decided before: not production, and trusted. Answer: [`Decisions`].
    #[serde(rename = "org.guardd.Control.Decisions")]
    Decisions {
        /// Whose, for root; absent: the caller's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// A place is not what it looks like. Answer: [`Decisions`].
    #[serde(rename = "org.guardd.Control.Dismiss")]
    Dismiss {
        /// An address or a name.
        host: String,
        /// Its port, of TCP; 0 where that is not known.
        port: u16,
        /// What it looks like: as something graver it is told again.
        label: String,
        /// It is, after all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        withdraw: bool,
    },
    /// A project's policy may widen a policy, as it is now. Answer: [`Decisions`].
    #[serde(rename = "org.guardd.Control.Trust")]
    Trust {
        /// What is trusted.
        file: TrustedFile,
        /// Whose, for root; absent: the caller's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// No more, under whatever policy.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        withdraw: bool,
    },
    /// From a supervisor: the address in the connect(2) of a thread whose memory the supervisor may not read. Answer:
    /// [`SocketAddress`].
    #[serde(rename = "org.guardd.Control.SocketAddress")]
    SocketAddress {
        /// Whose.
        session: String,
        /// The thread, which waits in connect(2).
        thread: u32,
    },
    /// From a supervisor: whether a process of a session that the supervisor may not read has a Unix socket open. Answer:
    /// [`HasSocket`].
    #[serde(rename = "org.guardd.Control.HasSocket")]
    HasSocket {
        /// Whose.
        session: String,
        /// The socket's number, as `socket:[N]` in `/proc/PID/fd` has it.
        number: u64,
        /// Its cookie (`SO_COOKIE`).
        cookie: u64,
    },
    /// From a supervisor, which sees its own network namespace only: whether a process of a session has the Unix socket open
    /// that is bound at a file. Answer: [`HasSocket`].
    #[serde(rename = "org.guardd.Control.HasBound")]
    HasBound {
        /// Whose.
        session: String,
        /// The file's number.
        inode: u64,
        /// The device of its file system, as `st_dev`.
        device: u64,
    },
    /// From a launcher: the sockets that [`Started::name_sockets`] means. Answer: `{}`.
    #[serde(rename = "org.guardd.Control.NameSockets")]
    NameSockets {
        /// Whose.
        session: String,
        /// The sockets.
        sockets: Vec<NamedSocket>,
    },
    /// What is enforced, read back from the kernel. Answer: [`Status`].
    #[serde(rename = "org.guardd.Control.Status")]
    Status {},
    /// The verdict for a destination, and what gives it. Answer: [`Explanations`].
    #[serde(rename = "org.guardd.Control.Explain")]
    Explain {
        /// As in `Open`.
        destination: String,
        /// Port specifications; none is all of them.
        #[serde(default)]
        ports: Vec<String>,
        /// Under which policy, if not a session's.
        policy: Option<PolicyRef>,
        /// Under which session's policy and holes.
        session: Option<String>,
    },
    /// The audit log. One [`LogRecord`] an answer, with `more` only.
    #[serde(rename = "org.guardd.Control.Log")]
    Log {
        /// Go on when all that there is has been sent.
        #[serde(default)]
        follow: bool,
        /// Of this session only.
        session: Option<String>,
        /// Not older than this, in seconds.
        since: Option<f64>,
    },
    /// For a process inside: its session and what was lately stopped there. Answer: [`WhyReport`].
    #[serde(rename = "org.guardd.Control.Why")]
    Why {},
    /// For a process inside: ask for a destination. Answer: [`Requested`].
    #[serde(rename = "org.guardd.Control.Request")]
    Request {
        /// As in `Open`.
        destination: String,
        /// Port specifications; none is all of them.
        #[serde(default)]
        ports: Vec<String>,
        /// Shown to the person as the agent's words.
        reason: Option<String>,
    },
    /// Read the policies again, as SIGHUP does. Answer: [`Status`].
    #[serde(rename = "org.guardd.Control.Reload")]
    Reload {},
    /// For root: has the kernel half log its decisions to guardd's own log, or no more. Answer: [`KernelLog`].
    #[serde(rename = "org.guardd.Control.KernelLog")]
    KernelLog {
        /// A session's id, or `all`; absent: nobody's.
        of: Option<String>,
    },
    /// What guardd finds where it tries out what this machine enforces. Answer: [`Found`].
    #[serde(rename = "org.guardd.Control.Doctor")]
    Doctor {},
    /// The bytes that guardd has made to ask about a request, for an answer from elsewhere. Answer: [`Asked`].
    #[serde(rename = "org.guardd.Control.Question")]
    Question {
        /// Which request.
        id: String,
    },
    /// Hand in an answer that somebody has signed elsewhere. Answer: [`Taken`].
    #[serde(rename = "org.guardd.Control.AnswerSigned")]
    AnswerSigned {
        /// The answer's bytes, as text.
        answer: String,
        /// The id of the key.
        key: String,
        /// `ssh` or `passkey`.
        kind: String,
        /// The signature, in base64url.
        signature: String,
        /// What a passkey's authenticator says, in base64url.
        authenticator_data: Option<String>,
        /// What a passkey's browser says, in base64url.
        client_data: Option<String>,
    },
    /// Who may answer from elsewhere. Answer: [`Approvers`].
    #[serde(rename = "org.guardd.Control.Approvers")]
    Approvers {},
    /// For root: somebody may present a key. Answer: [`Invited`].
    #[serde(rename = "org.guardd.Control.Invite")]
    Invite {
        /// Who.
        who: Enrolment,
        /// For how long, in seconds; absent: ten minutes.
        #[serde(rename = "for")]
        seconds: Option<f64>,
    },
    /// Whether a key can be presented with an invitation. Answer: [`Invitation`].
    #[serde(rename = "org.guardd.Control.Invitation")]
    Invitation {
        /// It.
        invitation: String,
    },
    /// With an invitation: the key that root may accept. Answer: [`Presented`].
    #[serde(rename = "org.guardd.Control.Present")]
    Present {
        /// The invitation.
        invitation: String,
        /// The key.
        key: PresentedKey,
    },
    /// For root: enrol the key that somebody has presented. Answer: [`Approvers`] with that one.
    #[serde(rename = "org.guardd.Control.Accept")]
    Accept {
        /// Whose.
        name: String,
        /// The key's fingerprint, as its owner has it.
        fingerprint: String,
        /// Also where a program can sign with it alone.
        #[serde(default)]
        plain: bool,
    },
    /// For root: enrol an SSH key. Answer: [`Approvers`] with that one.
    #[serde(rename = "org.guardd.Control.Enrol")]
    Enrol {
        /// Whose.
        who: Enrolment,
        /// The key's line.
        key: String,
        /// Also where a program can sign with it alone.
        #[serde(default)]
        plain: bool,
    },
    /// For root: nobody answers with that key any more, or none of a person's. Answer: [`Approvers`] with what is gone.
    #[serde(rename = "org.guardd.Control.Remove")]
    Remove {
        /// A person's name, or a key's id or fingerprint.
        called: String,
    },
}

/// A person who is to answer from elsewhere. What is absent stays as it is; of somebody new it is the usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The name to sign with.
    pub name: String,
    /// Whose sessions: users; of somebody new the one of that name.
    pub answers_for: Option<Vec<String>>,
    /// Under which policies, with `*` for any text; of somebody new all.
    pub policies: Option<Vec<String>>,
    /// How long a hole lasts at most, in seconds; of somebody new as the settings say.
    pub max_for: Option<f64>,
}

/// A key that somebody presents: one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresentedKey {
    /// The line of an SSH key.
    pub ssh: Option<String>,
    /// A passkey.
    pub passkey: Option<Passkey>,
}

/// A passkey, as `navigator.credentials.create()` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    /// The credential's id, in base64url.
    pub id: String,
    /// `getPublicKey()`: a `SubjectPublicKeyInfo`, in base64url.
    pub public_key: String,
}

/// Answer to [`Call::Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The request's id.
    pub request: String,
    /// The question's bytes, as text: JSON by RFC 8785.
    pub question: String,
    /// SHA-256 of `guard question v1`, a newline and the bytes, in base64url.
    pub hash: String,
}

/// Answer to [`Call::AnswerSigned`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The request's id.
    pub request: String,
    /// `yes`, `no`, or `part`: others must say yes, too.
    pub answer: String,
    /// Who signed it.
    pub by: String,
    /// How many have said yes.
    pub approvals: u32,
    /// How many have to.
    pub wanted: u32,
    /// What was opened.
    pub holes: Vec<Hole>,
    /// What the person should know, such as a hole that is for reads alone.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Answer to calls about approvers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Approvers {
    /// In the order in which they were added.
    pub approvers: Vec<ApproverShown>,
    /// What the person should know, such as that a program could sign.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Somebody who may answer from elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApproverShown {
    /// The name to sign with.
    pub name: String,
    /// Users whose sessions.
    pub answers_for: Vec<String>,
    /// Policies; `*` stands for any text.
    pub policies: Vec<String>,
    /// Seconds that a hole lasts at most; null: as the settings say.
    pub max_for: Option<f64>,
    /// The keys.
    pub keys: Vec<KeyShown>,
}

/// An enrolled key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShown {
    /// A credential's id, or an SSH key's fingerprint.
    pub id: String,
    /// `ssh` or `passkey`.
    pub kind: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Whether somebody has to touch a device for each signature.
    pub fido: bool,
    /// The line of an SSH key, or a passkey's `SubjectPublicKeyInfo` in base64url.
    pub public_key: String,
}

/// Answer to [`Call::Invite`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Whom.
    pub name: String,
    /// Presents one key, once.
    pub invitation: String,
    /// Until when.
    #[serde(serialize_with = "moment::write")]
    pub expires_at: Timestamp,
    /// Pages on which a passkey can be made for it: one for each origin of the settings.
    #[serde(default)]
    pub links: Vec<String>,
    /// What the person should know, such as a shortened time.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Answer to [`Call::Invitation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Who was invited.
    pub name: String,
}

/// Answer to [`Call::Present`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// Who was invited.
    pub name: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}

/// Answer to [`Call::KernelLog`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLog {
    /// Whose decisions are logged: a session's id, or `all`; absent: nobody's.
    pub of: Option<String>,
}

/// A policy by the daemon's name for it, or its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRef {
    /// The daemon's own policy of that name; with `text`, what the text is called where it says
    /// nothing itself.
    pub name: Option<String>,
    /// The file that `text` came from, as the user wrote it. Shown, never opened.
    pub file: Option<String>,
    /// A policy's text, read by the command as its user.
    pub text: Option<String>,
}

/// Parameters of [`Call::Run`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Absent: the daemon's default.
    pub policy: Option<PolicyRef>,
    /// The session's name; absent: the command's.
    pub name: Option<String>,
    /// How long a connection may wait for an answer, in seconds.
    pub hold: Option<f64>,
    /// The command line, for people to see.
    pub command: Vec<String>,
    /// Under which uid the command will run. Another than the caller's for root only.
    pub uid: u32,
    /// Whoever starts the command connects its Unix sockets for it, where guardd wants that.
    #[serde(default)]
    pub connects: bool,
    /// Landlock keeps the command from abstract Unix sockets of others.
    #[serde(default)]
    pub scoped: bool,
    /// It will be root of a user namespace of its own, in which nobody but that uid is.
    #[serde(default)]
    pub root: bool,
    /// What no rule of the policy names passes, to be learned from. For a caller outside only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
    /// Another policy that must allow, too: the project's. For a caller outside only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Box<PolicyRef>>,
}

/// Parameters of [`Call::Assign`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// What judges it from now on.
    pub policy: PolicyRef,
    /// The unit's name, or its cgroup right below the guard's root. Absent: the one that the caller starts in.
    pub unit: Option<String>,
    /// The session's name; absent: the unit's.
    pub name: Option<String>,
    /// The uid that answers for it; absent: the unit's user, or root.
    pub owner: Option<u32>,
}

/// How long a hole lives, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HoleTerms {
    /// In seconds; absent: 15 minutes.
    #[serde(rename = "for", default)]
    pub seconds: Option<f64>,
    /// Connections, or HTTP requests; absent: any number, and of one HTTP request that alone.
    #[serde(default)]
    pub connections: Option<u32>,
    /// HTTP requests; absent: as [`Self::connections`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Bytes that may be sent: of a connection all of its packets, of an HTTP request its body; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Reads only.
    #[serde(default)]
    pub read_only: bool,
}

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
    /// guardd's settings say that nothing runs while something that looks like production is open: whoever launches the command
    /// looks first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub covered: bool,
    /// The policy's text, for whoever launches the command to say what it leaves open; absent where it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the policy allows, where the kernel judges by who listens: it is to be told which sockets these are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_sockets: Vec<SocketName>,
}

/// Answer to [`Call::Appeared`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appeared {
    /// Whether it is asked about from now on.
    pub asks: bool,
}

/// What looks like production, and where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// An address or a name.
    pub host: String,
    /// `tcp/5432`; `tcp`: it is not said which.
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

/// Answer to [`Call::Decisions`], [`Call::Dismiss`] and [`Call::Trust`]: all that one user has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// Places that are not what they look like.
    #[serde(default)]
    pub dismissed: Vec<Dismissal>,
    /// Policies of projects that may widen, the latest last.
    #[serde(default)]
    pub trusted: Vec<TrustedFile>,
}

/// A place that is not what it looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dismissal {
    /// An address or a name.
    pub host: String,
    /// Its port, of TCP; 0 where that is not known.
    pub port: u16,
    /// What it looked like then.
    pub label: String,
    /// When that was said.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Who said it.
    pub by: String,
}

/// The policy of a project that may widen another policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedFile {
    /// The file, as it is shown; never opened.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the text of the policy that it widens.
    pub policy: String,
}

/// A socket that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSocket {
    /// What a policy calls it.
    pub name: SocketName,
    /// Its number (`SO_COOKIE`), which no other socket ever has.
    pub cookie: u64,
}

/// Answer to [`Call::HasSocket`] and [`Call::HasBound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HasSocket {
    /// Whether one has.
    pub open: bool,
}

/// Answer to [`Call::SocketAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketAddress {
    /// Its path, or its abstract name after an `@`; empty where that cannot be told, and absent where the thread is about
    /// to connect to something else.
    pub socket: Option<String>,
    /// Whether a path means to the thread what it means to the caller: both have the same root directory.
    pub same_root: bool,
}

/// Which Unix sockets a session may connect to, beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketTerms {
    /// What the policy allows.
    pub allow: Vec<SocketName>,
    /// Where the kernel lets it connect by itself.
    pub by_itself: Vec<PathBuf>,
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
}

/// A process that a command has left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftProcess {
    /// Its number.
    pub pid: u32,
    /// Its executable's name; null: unknown.
    pub comm: Option<String>,
}

/// Where something wanted to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// IPv4 if IPv4-mapped, or a Unix socket's path.
    pub address: String,
    /// Null if the protocol has none.
    pub port: Option<u16>,
    /// `tcp`, `udp`, `icmp`, a number, `unix`, `handed` (a socket handed in), `signal`, or `dns` (a question).
    pub protocol: String,
    /// The name that the session asked for and was told that address of, or the one in the policy that stands for it.
    pub host: Option<String>,
}

/// Something a `confirm` or `read-only` rule stopped, that a person may answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// `r1`
    pub id: String,
    /// Whose attempt it was.
    pub session: String,
    /// The policy that stops it: of a session inside another the outermost one that does.
    pub policy: String,
    /// The user's name.
    pub user: String,
    /// The process, of HTTP the one that connected; null: unknown.
    pub pid: Option<u32>,
    /// Its executable's name, from /proc; the thread's own word where it was gone already.
    pub comm: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
    /// A process chooses its own; empty for HTTP: secrets.
    pub command: Vec<String>,
    /// Where to.
    pub destination: Endpoint,
    /// The rule that stopped it; null: the policy's default.
    pub rule: Option<String>,
    /// That rule's reason.
    pub reason: Option<String>,
    /// `confirm` or `read-only`; the strictest of the chain.
    pub verdict: String,
    /// What each policy says of it, the outermost first.
    #[serde(default)]
    pub chain: Vec<ChainLink>,
    /// Whether a connection waits for the answer.
    pub held: bool,
    /// When it was first tried.
    #[serde(serialize_with = "moment::write")]
    pub asked_at: Timestamp,
    /// When it was last tried.
    #[serde(serialize_with = "moment::write")]
    pub last_at: Timestamp,
    /// Until when a connection waits.
    #[serde(serialize_with = "moment::write_some", default)]
    pub waits_until: Option<Timestamp>,
    /// How often it was tried.
    pub count: u64,
    /// Executables that tried it; 8 at most.
    #[serde(default)]
    pub programs: Vec<String>,
    /// What looks like a warning sign about how it was tried.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// An HTTP request or SQL statement; null for a connection.
    pub http: Option<HttpRequest>,
    /// A DNS question, of which nothing has left the machine; null for a connection.
    #[serde(default)]
    pub question: Option<Question>,
    /// How the session came to know the address; null: by no name server of the machine.
    #[serde(default)]
    pub named: Option<NameTold>,
    /// The agent's own words.
    pub note: Option<String>,
    /// Null: one address.
    #[serde(default)]
    pub burst: Option<Burst>,
    /// Suggested answers; empty for HTTP.
    #[serde(default)]
    pub offers: Vec<Offer>,
    /// What was connected to, where that is a port of this machine that leads to the destination.
    #[serde(default)]
    pub through: Option<Through>,
    /// What a signed answer has to say; null: none.
    #[serde(default)]
    pub code: Option<String>,
}

/// What one policy of a session's chain says of a request: its own, or one of those around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// The session that the policy is of.
    pub session: String,
    /// The policy. Of a session inside another its name, its rule and its reason are that one's own words.
    pub policy: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// `allow`, `confirm` or `read-only`.
    pub verdict: String,
    /// The rule's reason.
    pub reason: Option<String>,
}

/// A listener on this machine that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Through {
    /// The address that was connected to.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The process that listens; null: unknown.
    pub pid: Option<u32>,
    /// Its executable's name.
    pub comm: Option<String>,
    /// Its command line.
    pub command: Vec<String>,
}

impl Request {
    /// About how many addresses it is, by powers of two: 0 if it is no burst. A follower gets it again when that has grown.
    #[must_use]
    pub fn size(&self) -> u32 {
        let count = self.burst.as_ref().map(|burst| burst.count);
        count.and_then(usize::checked_ilog2).unwrap_or(0)
    }
}

/// A name that a session asked for, and was told an address of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameTold {
    /// The name that was asked for.
    pub name: String,
    /// The name that has the address, where CNAME led to another.
    pub cname: Option<String>,
    /// The process that asked; null: unknown.
    pub pid: Option<u32>,
    /// Its executable's name.
    pub comm: Option<String>,
    /// When it was last told.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Other names that the session asked for and was told that address of; 8 at most.
    pub also: Vec<String>,
}

/// A name that a session asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// `*.zone.example`: all below it.
    pub name: String,
    /// The record types, such as `TXT`; 8 at most.
    pub types: Vec<String>,
    /// Bytes of all names that were asked for.
    pub bytes: u64,
}

impl Question {
    /// The protocol of its destination.
    pub const PROTOCOL: &str = "dns";

    /// The zone, where it is about all below that.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.name.strip_prefix("*.")
    }
}

/// Many destinations in one prefix, of one protocol and port, that are asked about together; or many names below one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// A prefix that one rule decides, or `*.zone.example`.
    pub prefix: String,
    /// Those tried, addresses or names, oldest first; 16 at most.
    pub addresses: Vec<String>,
    /// How many were tried; 256 at most.
    pub count: usize,
}

/// A way to say yes to a request: never longer than the policy's `max_hole`, and nobody's answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// For so long, in seconds.
    #[serde(rename = "for")]
    pub seconds: f64,
    /// To so many connections; null: any number.
    #[serde(default)]
    pub connections: Option<u32>,
}

/// An HTTP request that was stopped; or a statement for a database, which has the same parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The method, or a statement's command.
    pub method: String,
    /// `http`, `https` or `postgres`.
    #[serde(default)]
    pub scheme: String,
    /// Path and query; of a statement its text without constants.
    pub path: String,
    /// The Host, or a statement's user and database.
    pub host: Option<String>,
    /// Body length; null: not known yet.
    pub bytes: Option<u64>,
    /// 2,048 bytes at most.
    pub body_preview: Option<String>,
    /// How the preview came of the body; `unpacked from gzip, 96 bytes`, null: cut.
    #[serde(default)]
    pub body_form: Option<String>,
    /// Those that may matter; `destination: /other`, without credentials.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What kind of write it is.
    #[serde(default)]
    pub kind: String,
    /// What looks bulky or irreversible about it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// SHA-256; null: body unread.
    #[serde(default)]
    pub digest: Option<String>,
}

impl HttpRequest {
    /// The scheme of statements for `PostgreSQL`.
    pub const POSTGRES: &str = "postgres";

    /// Said of a request whose headers are not all shown.
    pub const CUT_HEADERS: &str = "not all that its headers say is shown";

    /// Said of a statement whose parameters are not all shown.
    pub const CUT_PARAMETERS: &str = "not all of its parameters are shown";

    /// The pattern that is for its path and no other: a `*` of its own is written `\*`. Of a URL all but the query.
    #[must_use]
    pub fn as_pattern(&self) -> String {
        match (self.is_statement(), self.path.split_once('?')) {
            (true, _) => self.path.replace('*', r"\*"),
            (false, Some((path, _))) => path.to_owned(),
            (false, None) => self.path.clone(),
        }
    }

    /// Whether it is a statement for a database.
    #[must_use]
    pub fn is_statement(&self) -> bool {
        self.scheme == Self::POSTGRES
    }
}

/// A temporary permission that a person opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hole {
    /// `h1`
    pub id: String,
    /// For which session.
    pub session: String,
    /// The prefix as text, or the name.
    pub destination: String,
    /// Port specification; null: all; `dns`: only questions.
    pub ports: Option<String>,
    /// The name of the user who opened it; null: unknown.
    pub opened_by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When; null: unknown.
    #[serde(serialize_with = "moment::write_some", default)]
    pub opened_at: Option<Timestamp>,
    /// When it ends.
    #[serde(serialize_with = "moment::write")]
    pub expires_at: Timestamp,
    /// Connections that it still lets through; null: any number.
    pub connections_left: Option<u64>,
    /// Bytes that may still be sent through it; null: any number.
    #[serde(default)]
    pub bytes_left: Option<u64>,
    /// Reads only.
    pub read_only: bool,
    /// Which HTTP requests; null: connections.
    #[serde(default)]
    pub http: Option<HttpHole>,
    /// The addresses that a name has had so far; empty: it is for none.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// Which HTTP requests a hole lets through to a `read-only` destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHole {
    /// To this host; null: any.
    #[serde(default)]
    pub host: Option<String>,
    /// With this method; null: any.
    pub method: Option<String>,
    /// A pattern, or one request's path; null: any.
    pub path: Option<String>,
    /// How many more; null: any number.
    pub requests_left: Option<u64>,
    /// Null: not for one alone.
    pub digest: Option<String>,
}

/// The verdict for a destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked for, or the part of it that has this answer.
    pub destination: String,
    /// Port specifications, with commas between; null: all that no other explanation names.
    pub ports: Option<String>,
    /// The name, where that was asked for.
    #[serde(default)]
    pub name: Option<String>,
    /// The addresses and prefixes that the destination stands for; under a session a list of `address`, `until` and `verdict`.
    pub addresses: Vec<String>,
    /// The addresses of a name under a session; the command's JSON has it in `addresses`.
    #[serde(default)]
    pub known: Vec<KnownAddress>,
    /// Of a name under a session that knows no address of it: what becomes of its question, where that does not just leave.
    #[serde(default)]
    pub question: Option<String>,
    /// `allow`, `confirm`, `read-only` or `deny`.
    pub verdict: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// That rule's reason.
    pub reason: Option<String>,
    /// The policy.
    pub policy: String,
    /// Its file.
    pub file: Option<String>,
    /// The rule's line in it.
    pub line: Option<usize>,
    /// The hole that allows it.
    pub hole: Option<String>,
    /// Of `to`, what matched.
    pub matched: Option<String>,
    /// Names of which TLS has to show one there; null: it need not.
    #[serde(default)]
    pub tls: Option<Vec<String>>,
    /// For a loopback port; as `through`.
    #[serde(default)]
    pub listener: Option<Through>,
    /// Where the listener leads.
    #[serde(default)]
    pub leads_to: Vec<Endpoint>,
    /// It leads to where nobody can tell, too.
    #[serde(default)]
    pub leads_anywhere: bool,
}

/// An address that a session was told of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAddress {
    /// The address.
    pub address: String,
    /// Until when it counts for new connections.
    pub until: Timestamp,
    /// The verdict on it.
    pub verdict: String,
}

impl From<policy::Explanation> for Explanation {
    fn from(one: policy::Explanation) -> Self {
        let ports: Vec<_> = one.ports.iter().map(ToString::to_string).collect();
        Self {
            destination: one.destination,
            ports: (!ports.is_empty()).then(|| ports.join(",")),
            name: None,
            addresses: one.addresses,
            known: Vec::new(),
            question: None,
            verdict: one.verdict,
            rule: one.rule,
            reason: one.reason,
            policy: one.policy,
            file: Some(one.file),
            line: one.line,
            hole: one.hole,
            matched: one.matched,
            tls: one.tls,
            listener: None,
            leads_to: Vec::new(),
            leads_anywhere: false,
        }
    }
}

/// Answer to [`Call::Pending`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Requests {
    /// Oldest first.
    pub requests: Vec<Request>,
}

/// Answer to [`Call::Deny`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Denied {
    /// The request.
    pub requests: Vec<Request>,
    /// Until when it is not asked again. A guardd of before does not say it.
    #[serde(serialize_with = "moment::write_some", default)]
    pub until: Option<Timestamp>,
}

/// Answer to calls that open, close or list holes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Holes {
    /// Oldest first.
    pub holes: Vec<Hole>,
    /// What the person should know, such as a shortened duration.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Answer to [`Call::Sessions`] and [`Call::Stop`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// Oldest first.
    pub sessions: Vec<Session>,
}

/// What a session has reached: connections of one program to one port of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The session.
    pub session: String,
    /// The name that the session asked for, the latest of several; null: it asked for none.
    pub host: Option<String>,
    /// The names by which its connections are likely to have been made, the latest first.
    pub names: Vec<String>,
    /// Where to.
    pub address: String,
    /// As in `destination`.
    pub protocol: String,
    /// Null if the protocol has none.
    pub port: Option<u16>,
    /// What the thread called itself that made the socket; null: unknown.
    pub program: Option<String>,
    /// When the first connection was established.
    #[serde(serialize_with = "moment::write")]
    pub first_at: Timestamp,
    /// When the last one was, or one was closed.
    #[serde(serialize_with = "moment::write")]
    pub last_at: Timestamp,
    /// Of TCP; else how often a socket turned there.
    pub connections: u64,
    /// Of closed connections; null: not TCP.
    pub bytes_sent: Option<u64>,
    /// Of closed connections; null: not TCP.
    pub bytes_received: Option<u64>,
    /// What the policies say of it: `confirm` or `read-only` if a hole let it through.
    pub verdict: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// Where a listener on this machine leads.
    #[serde(default)]
    pub leads_to: Vec<Endpoint>,
}

/// Answer to [`Call::Flows`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Flows {
    /// By session, in the order of their first connections.
    pub flows: Vec<Flow>,
    /// The name servers of this machine, as policies have them: `@dns`.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
    /// What is missing.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Answer to [`Call::Explain`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Explanations {
    /// One for each part of the destination that has an answer of its own.
    pub explanations: Vec<Explanation>,
}

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
    /// The last record of the audit log; null without a chain.
    #[serde(default)]
    pub audit: Option<AuditStatus>,
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

/// Answer to [`Call::Why`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WhyReport {
    /// The caller's session.
    pub session: Session,
    /// The latest first; 20 at most.
    pub stopped: Vec<Stopped>,
    /// There was more before that, which is not told.
    #[serde(default)]
    pub more: bool,
}

/// A refusal, in words for the refused program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stopped {
    /// When it was last refused.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Where it wanted to go.
    pub destination: Endpoint,
    /// `confirm`, `read-only` or `deny`.
    pub verdict: String,
    /// The rule; null: the policy's default.
    pub rule: Option<String>,
    /// The rule's reason.
    pub reason: Option<String>,
    /// How often.
    pub count: u64,
    /// What to do instead, or how to ask.
    pub advice: String,
    /// The request that waits for a person, where one does.
    pub request: Option<String>,
    /// The HTTP request, where that was stopped and not the connection.
    #[serde(default)]
    pub http: Option<HttpRequest>,
    /// How the session came to know the address; as `named` of a request.
    #[serde(default)]
    pub named: Option<NameTold>,
}

/// Answer to [`Call::Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Requested {
    /// `allow`: nothing to ask; `confirm`: asked; `deny`: cannot be asked.
    pub verdict: String,
    /// The request that waits now.
    pub request: Option<Request>,
    /// What that means, in words.
    pub advice: String,
}

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

/// What went wrong, for people and programs: `--json` prints `{"error": {"what", "why", "fix"}}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{what}: {why}")]
pub struct Failure {
    /// What could not be done.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to type or change next.
    pub fix: String,
}

/// The Varlink errors of [`INTERFACE`]; the parameters of each are a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorName {
    /// The caller may not do this.
    Refused,
    /// There is no such session, request, hole or policy.
    NotFound,
    /// The call's parameters are wrong.
    Invalid,
    /// The policy's verdict, or a person's answer, is no.
    No,
    /// It could not be done.
    Failed,
}

impl ErrorName {
    /// The name without the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "Refused",
            Self::NotFound => "NotFound",
            Self::Invalid => "Invalid",
            Self::No => "No",
            Self::Failed => "Failed",
        }
    }
}
