//! The messages between the proxy and guardd: JSON, one in each packet (`guard_sys::packets`).
//!
//! guardd believes the proxy about the requests that it saw, and nothing else: the proxy has no right to open
//! anything, and all that it can ask for is a person's answer.

use std::net::IpAddr;

use guard_judge::http::Rules;
use serde::{Deserialize, Serialize};

/// The version that the programs of one build have in common.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Which message an answer is for. Whoever asks counts its own questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub u64);

/// What guardd calls a network namespace: 0, 1, … in the order in which it found them; 0 is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkId(pub u32);

/// For what a session trusts guard's certificate authority: names that the proxy serves, and addresses of read-only destinations. What
/// is `None` is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityScope {
    /// Names, and all below them.
    pub names: Option<Vec<String>>,
    /// Addresses and lengths of their prefixes.
    pub prefixes: Option<Vec<(IpAddr, u8)>>,
}

/// A session and the original destination of some of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RedirectTarget {
    /// The session's number.
    pub session: u32,
    /// The address; IPv4 where it is IPv4-mapped.
    pub address: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// The ticket of another program's listener that is wanted at a loopback address; 0 where there is none.
    pub listener: u32,
}

/// From the proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToDaemon {
    /// The first of all, when [`ToProxy::Hello`] has been heard.
    Hello {
        /// The proxy's version. Where it is not guardd's own, they do not understand each other.
        version: String,
    },
    /// Asks for the terms of connections there. Answered with [`ToProxy::Terms`].
    Terms {
        /// The number of this message.
        number: Number,
        /// Where to.
        target: RedirectTarget,
        /// guardd has told the proxy of that target before, and policies, sessions or holes have changed since: it is no new target of the
        /// session, and judged at another pace.
        #[serde(default)]
        again: bool,
    },
    /// Asks whether the wanted listener is the one that listens there, once the proxy is connected. Answered with [`ToProxy::Reached`].
    Reached {
        /// The number of this message.
        number: Number,
        /// Where to.
        target: RedirectTarget,
    },
    /// Asks whether a client may show a name there, in TLS or in HTTP. Answered with [`ToProxy::Name`].
    Name {
        /// The number of this message.
        number: Number,
        /// Where to.
        target: RedirectTarget,
        /// The name, as the client wrote it; empty where it shows none.
        name: String,
        /// guardd has judged it before, and policies, sessions or holes have changed since: it is no new name of the session, and judged at
        /// another pace.
        #[serde(default)]
        again: bool,
    },
    /// Asks whether this request may pass. Answered with [`ToProxy::Answer`]: at once, or when an approver has answered or
    /// nobody did in time.
    Ask {
        /// The number of this message.
        number: Number,
        /// Where to.
        target: RedirectTarget,
        /// The request.
        request: HttpAttempt,
    },
    /// Nobody waits for the answer any more: the client has gone.
    Gone {
        /// The number of the message that this cancels.
        number: Number,
    },
    /// A record for the audit log.
    Log {
        /// Where to.
        target: RedirectTarget,
        /// What happened.
        entry: Entry,
    },
    /// Requests and statements that read there since the last message of this kind.
    Reads {
        /// Where to.
        target: RedirectTarget,
        /// How many.
        count: u64,
    },
    /// Records of refusals that were left out: there were more than are sent.
    LeftOut {
        /// The session's number.
        session: u32,
        /// How many.
        count: u64,
    },
    /// The proxy has fewer sockets left in a network than it likes. Always answered with one [`ToProxy::Sockets`].
    Sockets {
        /// In which.
        network: NetworkId,
        /// How many IPv4 ones are wanted.
        #[serde(default)]
        ipv4: usize,
        /// How many IPv6 ones.
        #[serde(default)]
        ipv6: usize,
    },
    /// The answer to [`ToProxy::Vouch`].
    Vouched {
        /// The number of the message that this answers.
        number: Number,
        /// The certificate, as PEM.
        certificate: String,
    },
}

/// From guardd.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToProxy {
    /// The first of all. With it come the descriptors of the map `ORIGINS`, of the file for the key of the certificate
    /// authority, and of files of certificates that destinations may have.
    Hello {
        /// guardd's version; none before 0.3.0.
        #[serde(default)]
        version: Option<String>,
    },
    /// Take connections there. With it come two listeners: on 127.0.0.1, and, where the network has IPv6, on ::1.
    Listen {
        /// In which network.
        network: NetworkId,
        /// Its cookie, by which the kernel's map knows it (`SO_NETNS_COOKIE`).
        cookie: u64,
    },
    /// Unconnected TCP sockets come with it, for connections out of a network that the proxy is not in; none where they
    /// could not be made.
    Sockets {
        /// In which.
        network: NetworkId,
        /// How many of them are IPv4, and come first; the rest are IPv6.
        ipv4: usize,
    },
    /// That network is gone.
    Forget {
        /// Which.
        network: NetworkId,
    },
    /// Policies, sessions or holes have changed: cached terms are void.
    Renew,
    /// Which certificate is a session to trust? Answered with [`ToDaemon::Vouched`].
    Vouch {
        /// The number of guardd's message.
        number: Number,
        /// For what.
        scope: AuthorityScope,
    },
    /// Whether the wanted listener is the one that listens there.
    Reached {
        /// The number of the message that this answers.
        number: Number,
        /// `false` also where that cannot be told.
        is_it: bool,
    },
    /// What holds for a target.
    Terms {
        /// The number of the message that this answers.
        number: Number,
        /// `None`: nothing passes there, the connection is to be closed.
        terms: Option<TargetTerms>,
        /// Where there are none because its session connects to targets too fast: until when guardd judges no other new one, or none again
        /// where it was asked so, in nanoseconds of boot time. Nothing is said of the target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
    /// The answer to [`ToDaemon::Name`].
    Name {
        /// The number of the message that this answers.
        number: Number,
        /// Why it may not: a clause without a full stop; none if it may.
        why: Option<String>,
        /// What the policies' rules for that name say of requests: they judge these beside the terms of the target. Where it may not, the
        /// rule by which.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rules: Vec<Rules>,
        /// Where it may not because its session shows names too fast: until when guardd judges no other new one, or none again where it was
        /// asked so, in nanoseconds of boot time. Until then the proxy refuses those by itself, and counts them ([`ToDaemon::LeftOut`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
    /// The answer to [`ToDaemon::Ask`].
    Answer {
        /// The number of the message that this answers.
        number: Number,
        /// Whether it may pass.
        answer: AskAnswer,
    },
}

/// What passes at a target where not all is closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passing {
    /// Everything: all policies of the session allow it, or a hole does.
    Everything,
    /// What these rules let through, one for each policy that does not allow it, the outermost first. Without any: nothing.
    Judged(Vec<Rules>),
}

/// What holds for a target. Where nothing passes there are no terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetTerms {
    /// What passes there.
    pub passing: Passing,
    /// On whose account its connections are: the number of the session around it that a person started, or its own.
    pub account: u32,
    /// A person has let through whatever changes something there, however often: a transaction that begins now may write
    /// though it reads first.
    #[serde(default)]
    pub writes: bool,
    /// TLS has to show a name there that the policies allow. Where it is open, all else passes as it is.
    #[serde(default)]
    pub by_sni: bool,
    /// A policy of the session has rules for names: whether one may be shown has to be asked ([`ToDaemon::Name`]).
    #[serde(default)]
    pub names: bool,
    /// When these end by themselves, in nanoseconds of boot time: with the first hole of the session that does. From then on guardd has to
    /// be asked again.
    #[serde(default)]
    pub until: Option<u64>,
}

impl TargetTerms {
    /// Whether these still hold at that boot time, in nanoseconds.
    #[must_use]
    pub fn holds_at(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether everything passes there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.passing, Passing::Everything)
    }

    /// The rules that judge there; none where it [is open](Self::is_open).
    #[must_use]
    pub fn rules(&self) -> &[Rules] {
        match &self.passing {
            Passing::Everything => &[],
            Passing::Judged(rules) => rules,
        }
    }
}

/// Whether a request may pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum AskAnswer {
    /// It may pass: by a person's yes, or since the policies have come to allow it.
    Yes,
    /// A person said no, or nobody is there to be asked, or nobody answered in time.
    No {
        /// The id of the request that waits for a person, if one does.
        request: Option<String>,
        /// Why, for the agent: a sentence without a full stop.
        why: String,
        /// What it can do, for the agent.
        fix: String,
    },
}

/// An HTTP request or SQL statement that is no read, as guardd and an approver see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAttempt {
    /// Who connected.
    pub tgid: Tgid,
    /// The method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The Host.
    pub host: Option<String>,
    /// Path and query.
    pub path: String,
    /// Length of the body in bytes; `None`: not known before its end.
    pub bytes: Option<u64>,
    /// The head of the body where that is text, of at most [`MAX_PREVIEW`] bytes.
    pub body_preview: Option<String>,
    /// How that came of the body, where it is not its own beginning: `unpacked from gzip, 96 bytes`.
    #[serde(default)]
    pub body_form: Option<String>,
    /// What its headers say beside that, as `destination: /other`: all but those that are known to say nothing of what is
    /// done, and without credentials.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Method and path are those of the request line: no header and nothing in the query names others, nor more to act on.
    #[serde(default)]
    pub plain: bool,
    /// It defines what a database is: a migration has many, which are one request.
    #[serde(default)]
    pub definition: bool,
    /// SHA-256 of method, URL, headers and body, in hex, where the whole body has been read: a yes can be for this very
    /// request though its client has gone.
    pub digest: Option<String>,
    /// The same without the headers that say nothing of what is done to what: a person who says no to several of these is not
    /// asked about the next.
    #[serde(default)]
    pub matter: Option<String>,
    /// The rule that stopped it.
    pub rule: String,
    /// What kind of write it is.
    pub kind: String,
    /// Warnings that it is bulky or irreversible.
    pub warnings: Vec<String>,
    /// The state of a statement's transaction.
    #[serde(default)]
    pub transaction: TransactionState,
}

/// Whether what a client asks about can pass in the transaction in which it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionState {
    /// It can, or there is none.
    #[default]
    Able,
    /// It has begun as one that only reads, and has read: after a yes its program has to begin anew.
    HasRead,
    /// It has failed: nothing passes before its program begins anew.
    HasFailed,
}

/// The number of a process, as guardd sees it; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tgid(pub u32);

/// Bytes of path and query, of a request that a person can be asked about.
pub const MAX_PATH: usize = 3000;
/// Bytes of a body that a person is shown.
pub const MAX_PREVIEW: usize = 2048;
/// Bytes of what kind of write it is.
pub const MAX_KIND: usize = 1280;
/// Headers that a person is shown.
pub const MAX_HEADERS: usize = 16;
/// Bytes of one, with its name.
pub const MAX_HEADER: usize = 2048;

/// What the proxy has to add to the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// `refused` (a rule denies it, or it could not be understood), `failed` (the other end, after a person's yes) or `warned`
    /// (of no request: what a person is to know of the destination). That a write passes guardd writes down by itself, before it says so.
    pub outcome: String,
    /// The method, where the request could be read.
    pub method: Option<String>,
    /// Path and query.
    pub path: Option<String>,
    /// The Host.
    pub host: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Whether the policy denies it: nobody can allow it.
    #[serde(default)]
    pub denied: bool,
    /// No rule has refused it, nor that of the address: its session shows names too fast.
    #[serde(default)]
    pub no_rule: bool,
    /// It is about statements for a database.
    #[serde(default)]
    pub sql: bool,
}

impl Entry {
    /// With nothing but what came of it.
    #[must_use]
    pub fn of(outcome: &str) -> Self {
        Self {
            outcome: outcome.to_owned(),
            method: None,
            path: None,
            host: None,
            rule: None,
            why: None,
            status: None,
            denied: false,
            no_rule: false,
            sql: false,
        }
    }

    /// About a name that the policy does not have there.
    #[must_use]
    pub fn denied(why: &str) -> Self {
        Self {
            denied: true,
            ..Self::refused(why)
        }
    }

    /// About what was not understood.
    #[must_use]
    pub fn refused(why: &str) -> Self {
        Self {
            why: Some(why.to_owned()),
            ..Self::of("refused")
        }
    }
}
