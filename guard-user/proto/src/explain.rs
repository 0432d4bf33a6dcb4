//! The verdict for a destination, and what gives it.

use guard_policy as policy;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Call;
use crate::destination::Listener;

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
    /// The addresses and prefixes that the destination stands for; of a name a list of `address`, `until` (null: no session) and `verdict`.
    pub addresses: Vec<String>,
    /// The addresses of a name; the command's JSON has it in `addresses`.
    #[serde(default)]
    pub known: Vec<KnownAddress>,
    /// Of a name that no rule names, and of which a session knows no address: what becomes of its question, where that does not just leave.
    #[serde(default)]
    pub question: Option<String>,
    /// Why such a question leaves though the default denies.
    #[serde(default)]
    pub leaves: Option<String>,
    /// Of a name: why no question for it reaches a name server.
    #[serde(default)]
    pub unheard: Option<String>,
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
    /// A rule that has the name, where it opens nothing at these addresses, and why.
    #[serde(default)]
    pub barred: Option<String>,
    /// Of a loopback address: what holds where another program listens there; the rest is about a server of the session's own.
    #[serde(default)]
    pub other_program: Option<Box<Self>>,
    /// The program that listens there now; null: unknown.
    #[serde(default)]
    pub listener: Option<Listener>,
}

impl From<policy::ExplainedVerdict> for Explanation {
    fn from(one: policy::ExplainedVerdict) -> Self {
        let ports: Vec<_> = one.ports.iter().map(ToString::to_string).collect();
        Self {
            destination: one.destination,
            ports: (!ports.is_empty()).then(|| ports.join(",")),
            name: None,
            addresses: one.addresses,
            known: Vec::new(),
            question: None,
            leaves: None,
            unheard: None,
            verdict: one.verdict,
            rule: one.rule,
            reason: one.reason,
            policy: one.policy,
            file: Some(one.file),
            line: one.line,
            hole: one.hole,
            matched: one.matched,
            tls: one.tls,
            barred: one.barred,
            other_program: None,
            listener: None,
        }
    }
}

impl Explanation {
    /// Says of which name these are the addresses, where no session was told of it: what has this answer has its verdict.
    pub fn tell_name(&mut self, name: &str) {
        let known = |address: &String| KnownAddress {
            address: address.clone(),
            until: None,
            verdict: self.verdict.clone(),
        };
        self.known = self.addresses.iter().map(known).collect();
        self.name = Some(name.to_owned());
    }
}

/// An address of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAddress {
    /// The address.
    pub address: String,
    /// Until when it counts for new connections of a session that was told of it; null: no session was asked about.
    pub until: Option<Timestamp>,
    /// The verdict on it.
    pub verdict: String,
}

/// Answer to [`Call::Explain`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Explanations {
    /// One for each part of the destination that has an answer of its own.
    pub explanations: Vec<Explanation>,
}
