//! What a client asks guardd for: the calls and their parameters.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::{
    Applied, Burst, Counters, HolesReply, Presence, RequestsReply, SessionsReply, Started, Status,
    approvers::{Approvers, Asked, Invitation, Invited, Presented, Taken},
    decisions::DecisionsReply,
    doctor::Found,
    explain::Explanations,
    fleet::{FleetPolicies, FleetTexts},
    flows::FlowsReply,
    holes::AlwaysReply,
    inside::{Requested, WhyReport},
    production::{Appeared, ProductionReply},
    record::LogLine,
    requests::Denied,
    sockets::{HasSocket, SocketAddress},
    status::KernelLog,
};
use crate::{
    approvers::{Enrolment, PresentedKey},
    decisions::TrustedFile,
    production::{Place, ProductionFound},
    sockets::NamedSocket,
};

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
    /// The requests that wait for an answer. With `more`: one [`RequestsReply`] now and one at each change.
    #[serde(rename = "org.guardd.Control.Pending")]
    Pending {},
    /// From a launcher: the requests of a session. With `more` only: one [`RequestsReply`] now and one at each
    /// change. Whoever looks so is no approver who is there: nothing is held for it.
    #[serde(rename = "org.guardd.Control.Held")]
    Held {
        /// Whose.
        session: String,
    },
    /// Answer a request with yes. Answer: [`HolesReply`].
    #[serde(rename = "org.guardd.Control.Approve")]
    Approve {
        /// Which request.
        id: String,
        /// Of an HTTP request: all with its method whose paths match this pattern, in which `*` stands for any text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Of an HTTP request: all that change something at its host; of a statement, at its destination.
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
        /// Of a connection to another program on the loopback: the user's later sessions reach that program, owner and port without a
        /// question.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        always: bool,
        /// How long the hole lives.
        #[serde(flatten)]
        terms: HoleTerms,
    },
    /// Answer a request with no. Answer: [`Denied`], with that request and those that the no answers with it.
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
    /// Open a hole that nobody asked for. Answer: [`HolesReply`].
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
        /// Also where it is wider than /8, or /32 in IPv6.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        wide: bool,
        /// At a loopback address: as in `Approve`, of the program that listens there now.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        always: bool,
        /// How long the hole lives.
        #[serde(flatten)]
        terms: HoleTerms,
    },
    /// The open holes, read from the kernel. Answer: [`HolesReply`].
    #[serde(rename = "org.guardd.Control.Holes")]
    Holes {},
    /// The programs on the loopback that are reached without a question; forgets some. Answer: [`AlwaysReply`], with those that were
    /// forgotten, or else all.
    #[serde(rename = "org.guardd.Control.Always")]
    Always {
        /// Those to forget.
        #[serde(default)]
        forget: Vec<String>,
    },
    /// Close holes. Answer: [`HolesReply`] with those that were closed.
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
    /// The live sessions. Answer: [`SessionsReply`].
    #[serde(rename = "org.guardd.Control.Sessions")]
    Sessions {},
    /// The policy by which a session is judged, as a person gave it. Answer: [`PolicyRef`].
    #[serde(rename = "org.guardd.Control.PolicyText")]
    PolicyText {
        /// Which session.
        session: String,
    },
    /// Have a session, and all inside it, be judged by another text of its policy. Answer: [`Applied`].
    #[serde(rename = "org.guardd.Control.Apply")]
    Apply(Apply),
    /// End a session and all of its processes. Answer: [`SessionsReply`] with that one.
    #[serde(rename = "org.guardd.Control.Stop")]
    Stop {
        /// Which.
        session: String,
        /// Why its command was not started, where the settings say that it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// What sessions have reached: those that live, and those that ended lately. From inside: what the caller's own has. Answer:
    /// [`FlowsReply`].
    #[serde(rename = "org.guardd.Control.Flows")]
    Flows {
        /// Of this one alone, and those inside it, by its id or name.
        #[serde(default)]
        session: Option<String>,
        /// From a courier: as in `Deny`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// From a courier: so many at most, the latest of each outermost session, then the one before it of each, and so on; without
        /// `names`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latest: Option<u32>,
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
        /// What comes after it is not told: where the settings say so, each new connection is asked about from then on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    /// From a launcher: what looks like production and is in reach of its command, before that starts. Answer: `{}`.
    #[serde(rename = "org.guardd.Control.InReach")]
    InReach {
        /// Whose.
        session: String,
        /// What.
        found: Box<ProductionFound>,
    },
    /// For a process inside: what was found in reach of its session. Answer: [`ProductionReply`].
    #[serde(rename = "org.guardd.Control.Production")]
    Production {},
    /// What a person has decided before: not production, and trusted. Answer: [`DecisionsReply`].
    #[serde(rename = "org.guardd.Control.Decisions")]
    Decisions {
        /// Whose, for root; absent: the caller's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// A place is not what it looks like. Answer: [`DecisionsReply`].
    #[serde(rename = "org.guardd.Control.Dismiss")]
    Dismiss {
        /// An address or a name.
        host: String,
        /// Its port, of TCP; 0 where that is not known.
        port: u16,
        /// What it looks like: as something graver it is told again.
        label: String,
        /// The project that it is so in; absent: wherever it is found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<String>,
        /// It is, after all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        withdraw: bool,
    },
    /// What an encrypted file has in it is not known, and that is all right. Answer: [`DecisionsReply`].
    #[serde(rename = "org.guardd.Control.DismissFile")]
    DismissFile {
        /// The file, as it is shown.
        file: String,
        /// SHA-256 of its bytes, in hexadecimal.
        sha256: String,
        /// The project that it is in; absent: it is the home's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<String>,
        /// It is not, after all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        withdraw: bool,
    },
    /// A project's policy may widen a policy, as it is now. Answer: [`DecisionsReply`].
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
    /// Plain numbers for monitoring. Answer: [`Counters`].
    #[serde(rename = "org.guardd.Control.Counters")]
    Counters {},
    /// What a courier may tell others of this machine. Answer: [`Presence`].
    #[serde(rename = "org.guardd.Control.Presence")]
    Presence {},
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
        /// A project's that judges beside that: both have to allow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beside: Option<Box<PolicyRef>>,
        /// Under which session's policy and holes.
        session: Option<String>,
    },
    /// The audit log. One [`LogRecord`] an answer, with `more` only. For a process inside: of a session that its own started, in short.
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
    /// For root, and the courier that the settings give the audit log: its records as they stand there, byte by byte, of all its files,
    /// with `more` only. One [`LogLine`] an answer.
    #[serde(rename = "org.guardd.Control.LogLines")]
    LogLines {
        /// From the record of that number on; absent, and where the log has none of that number yet: from the oldest that is there.
        from: Option<u64>,
        /// Go on when all that there is has been sent.
        #[serde(default)]
        follow: bool,
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
    /// From a courier or root: put the policies of a signed bundle in force. Answer: [`FleetPolicies`].
    #[serde(rename = "org.guardd.Control.OfferPolicies")]
    OfferPolicies {
        /// The bundle's bytes, as text.
        bundle: String,
        /// Signatures by `ssh-keygen -Y sign`, in base64url.
        signatures: Vec<String>,
    },
    /// From a courier, and root: whether the fleet's servers are reached. It is believed for two minutes. Answer: `{}`.
    #[serde(rename = "org.guardd.Control.Linked")]
    Linked {
        /// Whether one of them is.
        connected: bool,
    },
    /// The texts of the fleet's policies. Answer: [`FleetTexts`].
    #[serde(rename = "org.guardd.Control.FleetTexts")]
    FleetTexts {},
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
    /// For root: enrol a key. Answer: [`Approvers`] with that one.
    #[serde(rename = "org.guardd.Control.Enrol")]
    Enrol {
        /// Whose.
        who: Enrolment,
        /// The line of an SSH key; or `passkey ID:PUBLIC_KEY`.
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
    /// The launcher connects the command's Unix sockets for it, where guardd wants that.
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
    /// The policy's text has more in it than its file: what a person agreed to of the project's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub agreed: bool,
}

/// Parameters of [`Call::Apply`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Which session: one that a person started, under a text.
    pub session: String,
    /// The text.
    pub policy: PolicyRef,
    /// Also where it may let more through than the one before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub widen: bool,
    /// Only say whether it may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look: bool,
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
