//! What follows when something has changed. Operations say what they changed; nobody calls the follow-ups by hand.

mod apply;

/// What an operation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Requests came up, or are dropped.
    Requests,
    /// A person answered requests: those that are held for the answer go on, or end.
    Answers,
    /// Holes were opened, or have ended.
    Holes,
    /// A slot holds another policy, or one that stands for other addresses.
    Policies,
    /// A slot is empty.
    Slots,
    /// Sessions are judged by a chain of policies by which none was judged before.
    Chains,
    /// It is known where a listener leads.
    Listeners,
    /// An approver came, or a session has more connections held than it may.
    Approvers,
}
