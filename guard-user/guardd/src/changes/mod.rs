//! The follow-ups of changes. An owner's operation that has some returns what it changed, a method of `State` names it itself, and
//! `State::apply` does what follows: no caller does that by hand. What is due by time alone is in `tick.rs`. `Shared::with` does the rest
//! behind all work: it wakes the ticking task where a tick is to follow, and the followers of requests where these are others.

mod apply;

use guard_common::PolicyId;

/// What an operation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There are new requests, or some were dropped.
    Requests,
    /// A person answered requests: connections and HTTP requests that are held for the answer go on, or end.
    Answers,
    /// Holes were opened, or have ended.
    Holes,
    /// A session has begun or ended.
    Sessions,
    /// The kernel has nothing left of sessions that ended a while ago.
    SessionsGone,
    /// That slot holds another policy, or one that stands for other addresses.
    Policies(PolicyId),
    /// A slot is empty.
    Slots,
    /// Sessions are judged by a chain of policies that was not in use before.
    Chains,
    /// The machine has other name servers, or another search list.
    NameServers,
    /// The proxy is about to be told that it has old terms.
    Terms,
    /// An approver has come or gone, or a session has more connections held than it may: whose connections are held may change.
    Approvers,
    /// A bundle of the fleet was offered.
    Bundle,
}

impl Change {
    /// Whether a tick comes at once: something may have to be tidied up, or be due at another time. Not behind a policy that was put in
    /// place: its session is not there yet, and a tick empties slots that judge nothing.
    #[must_use]
    pub(crate) fn has_tick(self) -> bool {
        match self {
            Self::Answers | Self::Holes | Self::Sessions | Self::Approvers | Self::Bundle => true,
            Self::Requests
            | Self::SessionsGone
            | Self::Policies(_)
            | Self::Slots
            | Self::Chains
            | Self::NameServers
            | Self::Terms => false,
        }
    }
}
