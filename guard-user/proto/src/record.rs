//! The records of the audit log: their kinds, and the fields of each.
//!
//! A [`LogRecord`] is a line as it stands in the log, and keeps fields that this version does not know. [`Record`] and
//! [`Common`] are the same with types, to write and to read by.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{DnsQuestion, Endpoint, HttpHole, HttpRequest, destination::Listener, moment};

/// One answer to [`Call::LogLines`](crate::Call::LogLines).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The record, as it stands in the log: what its hash is over.
    pub line: String,
}

/// A line of the audit log: `at`, `kind`, `session`, and what the kind brings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogRecord {
    /// When.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// What happened.
    pub kind: LogKind,
    /// In which session, if in one.
    pub session: Option<String>,
    /// All others, in the order of their names.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl LogRecord {
    /// A line that says all that.
    #[must_use]
    pub fn new(at: Timestamp, session: Option<String>, common: &Common, record: &Record) -> Self {
        let mut fields = Map::new();
        common.write(&mut fields);
        record.write(&mut fields);
        Self {
            at,
            kind: record.kind(),
            session,
            fields,
        }
    }

    /// What its kind says.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::read(self.kind, &self.fields)
    }

    /// What records of any kind may say.
    #[must_use]
    pub fn common(&self) -> Common {
        Common::read(&self.fields)
    }
}

/// A field. What was written is hashed: whether a record says null or nothing has to stay as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<T> {
    /// The record does not have it.
    #[default]
    Absent,
    /// There is none, or nobody knows.
    Null,
    /// It is this.
    Is(T),
    /// It is of another type than this version has for it.
    Other(Value),
}

impl<T> Field<T> {
    /// The value, if there is one.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if there is one.
    pub fn take(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            _ => None,
        }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Absent | Self::Null)
    }

    /// Whether it is that value.
    pub fn is<U: ?Sized>(&self, value: &U) -> bool
    where
        T: PartialEq<U>,
    {
        self.get().is_some_and(|own| own == value)
    }
}

impl<T: Serialize + DeserializeOwned> Field<T> {
    fn read(name: &str, from: &Map<String, Value>) -> Self {
        match from.get(name) {
            None => Self::Absent,
            Some(Value::Null) => Self::Null,
            Some(value) => match T::deserialize(value) {
                Ok(value) => Self::Is(value),
                Err(_) => Self::Other(value.clone()),
            },
        }
    }

    fn write(&self, name: &str, into: &mut Map<String, Value>) {
        let value = match self {
            Self::Absent => return,
            Self::Null => Value::Null,
            Self::Other(value) => value.clone(),
            // No type of a field has keys that are no text.
            Self::Is(value) => serde_json::to_value(value).unwrap_or_default(),
        };
        into.insert(name.to_owned(), value);
    }
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Self::Is(value)
    }
}

impl<T> From<Option<T>> for Field<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Is)
    }
}

impl From<&str> for Field<String> {
    fn from(text: &str) -> Self {
        Self::Is(text.to_owned())
    }
}

impl From<Option<&str>> for Field<String> {
    fn from(text: Option<&str>) -> Self {
        text.map(str::to_owned).into()
    }
}

/// Where something wanted to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RecordedDestination {
    /// An endpoint.
    Endpoint(Endpoint),
    /// Of a `socket` call there is no more.
    Socket {
        /// As in [`Endpoint::protocol`].
        protocol: String,
        /// `SOCK_RAW` and the like, by number.
        socket_type: u32,
    },
}

impl RecordedDestination {
    /// Where to, if the record says it.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Endpoint(to) => Some(to),
            Self::Socket { .. } => None,
        }
    }
}

/// The process by which somebody decided, and by which right: root answers for all, an owner for sessions of its own; a courier hands in
/// what others signed, or says no. Null is what could not be told, such as all of one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionOrigin {
    /// The user, by number.
    pub uid: u32,
    /// `root`, `owner`, `courier` or `signature`.
    pub right: String,
    /// The process that called.
    pub pid: Option<u32>,
    /// The name of its executable's file.
    pub comm: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
    /// Its command line, which tells an approval from a screen's; without what lets somebody in, in a URL that a person has typed.
    /// The process chose it.
    pub command: Vec<String>,
    /// Its controlling terminal, without /dev/; null for services and notifiers.
    pub terminal: Option<String>,
}

/// A signature, with all that it takes to check it but the public key, which the record that added it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The approver.
    pub by: String,
    /// The key's id.
    pub key: String,
    /// `ssh` or `passkey`.
    pub kind: String,
    /// The question's bytes.
    pub question: String,
    /// The answer's bytes, which were signed.
    pub answer: String,
    /// In base64url; null for SSH.
    pub authenticator_data: Option<String>,
    /// In base64url; null for SSH.
    pub client_data: Option<String>,
    /// In base64url.
    pub signature: String,
}

/// Requests that have become one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// The id that it goes by.
    pub request: String,
    /// What it is about.
    pub prefix: String,
    /// Ids that `request` has absorbed.
    pub others: Vec<String>,
}

/// A struct of fields, and its way from and to a line.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($(#[$says:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "the names of most fields say what they are")]
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name { $($(#[$says])* pub $field: Field<$type>,)* }

        impl $name {
            /// Out of the fields of a line, or of a request as it was shown.
            #[must_use]
            pub fn read(fields: &Map<String, Value>) -> Self {
                Self { $($field: Field::read(stringify!($field), fields),)* }
            }

            fn write(&self, into: &mut Map<String, Value>) {
                $(self.$field.write(stringify!($field), into);)*
            }
        }
    };
}

/// The kinds, each with its struct. docs/reference/json.md has each field with its comment, and of a kind's comment what follows a colon.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $fields:tt)*) => {
        /// What a [`LogRecord`] tells of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum LogKind { $($(#[$doc])* $kind,)* }

        impl LogKind {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];
        }

        /// What happened.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record { $($(#[$doc])* $kind(Box<$kind>),)* }

        impl Record {
            fn read(kind: LogKind, fields: &Map<String, Value>) -> Self {
                match kind { $(LogKind::$kind => $kind::read(fields).into(),)* }
            }

            fn write(&self, into: &mut Map<String, Value>) {
                match self { $(Self::$kind(one) => one.write(into),)* }
            }

            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> LogKind {
                match self { $(Self::$kind(_) => LogKind::$kind,)* }
            }
        }

        $(
            fields! { $(#[$doc])* $kind $fields }

            impl From<$kind> for Record {
                fn from(one: $kind) -> Self {
                    Self::$kind(Box::new(one))
                }
            }
        )*
    };
}

fields! {
    /// What records of any kind may say.
    Common {
        /// The session's owner.
        uid: u32,
        /// A session's omitted records.
        left_out: u64,
        /// Later ones may be omitted.
        last: bool,
        /// Omitted starts and ends of [sessions with no other record](limits.md).
        starts_left_out: u64,
        /// Again, by a new guardd after a kill.
        noticed: String,
        /// Missing records before it.
        lost: u64,
        /// Bytes cut off.
        torn: u64,
    }
}

kinds! {
    /// A session was made.
    SessionStart {
        name: String,
        policy: String,
        user: String,
        parent: String,
        command: Vec<String>,
        /// A unit's: by `unit`, `root` or `settings`.
        assigned: String,
        observed: bool,
        /// `guard doctor`'s own; reports leave it out.
        trial: bool,
        /// If before `at`.
        started: String,
    }
    /// A command was not started, as the settings say, and no session began.
    StartRefused {
        name: String,
        policy: String,
        user: String,
        command: Vec<String>,
        why: String,
    }
    /// Its last process has ended.
    SessionEnd {
        seconds: f64,
        /// Attempts, names.
        denied: u64,
    }
    /// Something was refused, for good or until a person says yes.
    Denied {
        /// Without a session.
        cgroup: u64,
        destination: RecordedDestination,
        rule: String,
        /// A fleet's or parent's, around the session.
        policy: String,
        verdict: String,
        listener: Listener,
        hook: String,
        count: u64,
        pid: u32,
        comm: String,
        exe: String,
        /// For some Unix sockets, for names (`protocol` `dns`), and for connections held in vain.
        why: String,
        connections: usize,
        /// Seconds.
        waited: f64,
        /// What passes there, where a UDP `connect` did not.
        tcp: String,
        /// A listed name with a search domain.
        searched: bool,
        /// Refused or unanswered names beyond those told one by one.
        names: u64,
    }
    /// A connection waits.
    Held {
        request: String,
        destination: RecordedDestination,
        rule: String,
        policy: String,
        verdict: String,
        count: u64,
        pid: u32,
        comm: String,
        exe: String,
        waits_until: String,
    }
    /// A request was made: new or merged.
    Request {
        request: String,
        destination: RecordedDestination,
        rule: String,
        verdict: String,
        pid: u32,
        comm: String,
        exe: String,
        warnings: Vec<String>,
        note: String,
        listener: Listener,
        /// Without body and harmless headers.
        http: HttpRequest,
        question: DnsQuestion,
        burst: Gathered,
    }
    /// A request is settled that nobody had answered: by a policy.
    Settled {
        request: String,
        parts: Vec<String>,
        policy: String,
        rule: String,
        verdict: String,
    }
    /// An agent said what a request is for that had been made without a word.
    Noted {
        request: String,
        note: String,
    }
    /// Something that looks like production was found: it came into reach.
    Appeared {
        host: String,
        ports: String,
        service: String,
        file: String,
        line: u64,
        key: String,
        verdict: String,
        asks: bool,
        more: bool,
    }
    /// A person answered one.
    Answered {
        request: String,
        /// The id typed, if another.
        called: String,
        /// Absorbed ids.
        parts: Vec<String>,
        /// `yes`, `no`.
        answer: String,
        /// Prefixes, or names.
        opens: Vec<String>,
        refuses: Vec<String>,
        seconds: f64,
        connections: u64,
        bytes: u64,
        read_only: bool,
        count: u64,
        /// The request without body.
        shown: Map<String, Value>,
        by: String,
        from: DecisionOrigin,
        signed: Signature,
        /// Others who had signed.
        with: Vec<String>,
    }
    /// A person said yes elsewhere, and others have to: a signed yes of several.
    AnsweredInPart {
        request: String,
        approvals: u32,
        wanted: u32,
        by: String,
        from: DecisionOrigin,
        signed: Signature,
    }
    /// An answer from elsewhere was refused: at most one a second per courier.
    AnswerRefused {
        request: String,
        why: String,
        by: String,
        /// Not if forged.
        key: String,
        count: u64,
        from: DecisionOrigin,
    }
    /// Somebody may answer from elsewhere with a key.
    ApproverAdded {
        approver: String,
        /// Id.
        key: String,
        key_kind: String,
        public_key: String,
        fido: bool,
        answers_for: Vec<String>,
        policies: Vec<String>,
        max_for: f64,
        by: String,
        from: DecisionOrigin,
    }
    /// Somebody may not any more.
    ApproverRemoved {
        approver: String,
        /// Id.
        key: String,
        key_kind: String,
        public_key: String,
        by: String,
        from: DecisionOrigin,
    }
    /// A person said that a place is not what it looks like, or is after all; or that nobody has to know what is in an encrypted
    /// file: by `guard discover`.
    Dismissed {
        host: String,
        /// 0: unknown.
        port: u16,
        label: String,
        /// In place of a host.
        file: String,
        sha256: String,
        /// Not if everywhere.
        dir: String,
        withdrawn: bool,
        by: String,
        from: DecisionOrigin,
    }
    /// A person let a policy widen another one, or not any more: a project's policy.
    Trusted {
        file: String,
        sha256: String,
        policy_sha256: String,
        shown_sha256: String,
        withdrawn: bool,
        by: String,
        from: DecisionOrigin,
    }
    /// A hole was opened.
    HoleOpen {
        hole: String,
        destination: String,
        /// Whose addresses it opens.
        name: String,
        /// `dns`: only questions.
        ports: String,
        reason: String,
        request: String,
        expires_at: String,
        connections: u64,
        bytes: u64,
        read_only: bool,
        http: HttpHole,
        by: String,
        from: DecisionOrigin,
    }
    /// A hole ended or was closed.
    HoleClose {
        hole: String,
        /// `expired`, `closed`, `used up`, …
        why: String,
        /// As counted.
        connections: u64,
        requests: u64,
        /// Used; null: no budget.
        bytes: u64,
        cut: usize,
        by: String,
        from: DecisionOrigin,
    }
    /// A policy was put in place, or refused.
    PolicyLoad {
        policy: String,
        file: String,
        prefixes: usize,
        /// Of a fleet's bundle.
        serial: u64,
        signed_by: Vec<String>,
        /// If refused.
        error: String,
    }
    /// A person had a session be judged by another text of its policy.
    PolicyApplied {
        policy: String,
        file: String,
        sha256: String,
        /// Null: it narrows.
        widens: String,
        /// If it failed.
        error: String,
        by: String,
        from: DecisionOrigin,
    }
    /// An HTTP request was judged: written at its end.
    Http {
        destination: RecordedDestination,
        /// `passed` by a yes, `refused`, `failed`; `warned`: a database [reads elsewhere](../postgres.md#what-it-does-not-do).
        outcome: String,
        method: String,
        path: String,
        host: String,
        rule: String,
        /// Null unless denied.
        verdict: String,
        request: String,
        hole: String,
        why: String,
        status: u16,
        /// True of a statement for a database; absent of others.
        sql: bool,
    }
    /// guardd has begun to enforce, or found that it is enforced.
    DaemonStart {
        version: String,
        /// `fresh`, `adopted`, `replaced`.
        start: String,
        sessions: usize,
    }
    /// guardd stops: enforcement continues unless there is an `error`.
    DaemonStop {
        sessions: usize,
        error: String,
    }
}
