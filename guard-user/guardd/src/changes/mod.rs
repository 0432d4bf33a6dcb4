//! The follow-ups of changes. An owner's operation that has some returns what it changed, a method of `State` names it itself, and
//! `State::apply` does what follows: no caller does that by hand. What is due by time alone is in `tick.rs`. Followers of requests learn of others from `Shared::with`, which compares `Requests::version`.

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
    /// That slot holds another policy, or one that stands for other addresses.
    Policies(PolicyId),
    /// A slot is empty.
    Slots,
    /// Sessions are judged by a chain of policies that was not in use before.
    Chains,
    /// A listener was scanned, so its upstreams are known.
    Listeners,
    /// An approver has come or gone, or a session has more connections held than it may: whose connections are held may change.
    Approvers,
}
