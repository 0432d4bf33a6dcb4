//! The one verdict function.

use crate::{
    Address, BootTime, DEFAULT_RULE, HoleId, HoleList, ListId, MAX_HOLES, MAX_RANGES, PolicyId,
    PrefixValue, Protocol, RangeList, Session, SessionId, Verdict, prefix_flags,
};

/// What is judged: a destination, a protocol and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Canonical destination.
    pub to: Address,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port in host byte order, 0 where the protocol has none.
    pub port: u16,
}

/// Where the tables come from: BPF maps in the kernel, plain memory in tests and `guard explain`.
pub trait Tables {
    /// The value of the longest prefix of a policy that covers an address.
    fn prefix(&self, policy: PolicyId, to: &Address) -> Option<PrefixValue>;
    /// A list of port ranges.
    fn ranges(&self, list: ListId) -> Option<&RangeList>;
    /// The holes of a session.
    fn holes(&self, session: SessionId) -> Option<&HoleList>;
    /// Whether a list that was just read is one version of itself, not a mixture of two.
    fn is_whole(&self, holes: &HoleList) -> bool;
    /// Takes one connection from a hole's budget; false when there is none left.
    fn take(&self, hole: HoleId) -> bool;
    /// The time.
    fn now(&self) -> BootTime;
}

/// A verdict and what gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// The verdict, holes taken into account.
    pub verdict: Verdict,
    /// [`prefix_flags`] of the policy that decided.
    pub flags: u8,
    /// Index of the rule that decided, or [`DEFAULT_RULE`].
    pub rule: u16,
    /// The policy that decided.
    pub policy: PolicyId,
    /// The hole that allows it, or 0.
    pub hole: HoleId,
    /// When that hole ends.
    pub expires: BootTime,
}

impl Decision {
    /// What holds where nothing is known.
    pub const DENY: Self = Self {
        verdict: Verdict::Deny,
        flags: 0,
        rule: DEFAULT_RULE,
        policy: PolicyId(0),
        hole: HoleId(0),
        expires: BootTime(0),
    };

    /// Whether it may pass.
    #[inline(always)]
    #[must_use]
    pub const fn allows(&self) -> bool {
        matches!(self.verdict, Verdict::Allow)
    }

    /// Whether a reply on a connection that came in from there may pass: the policy says `inbound`,
    /// and no rule says `deny`.
    #[inline(always)]
    #[must_use]
    pub const fn allows_reply(&self) -> bool {
        self.flags & prefix_flags::INBOUND != 0
            && (self.rule == DEFAULT_RULE || !matches!(self.verdict, Verdict::Deny))
    }
}

/// What one policy says, without holes. An absent policy or list denies.
#[inline(always)]
pub fn policy_verdict<T: Tables>(tables: &T, policy: PolicyId, to: &Connection) -> Decision {
    let Some(value) = tables.prefix(policy, &to.to) else {
        return Decision {
            policy,
            ..Decision::DENY
        };
    };
    let mut found = Decision {
        verdict: Verdict::from_u8(value.verdict),
        flags: value.flags,
        rule: value.rule,
        policy,
        ..Decision::DENY
    };
    if value.list.0 == 0 {
        return found;
    }
    let Some(list) = tables.ranges(value.list) else {
        return Decision {
            policy,
            ..Decision::DENY
        };
    };
    for i in 0..MAX_RANGES {
        if i as u32 >= list.len {
            break;
        }
        let range = &list.entries[i];
        if range.covers(to.protocol, to.port) {
            found.verdict = Verdict::from_u8(range.verdict);
            found.rule = range.rule;
            break;
        }
    }
    found
}

/// The verdict for a connection of a session.
///
/// `granted` is the hole that this very socket has taken a connection from for this destination, or 0:
/// it is not counted twice.
#[inline(always)]
pub fn decide<T: Tables>(
    tables: &T,
    session: &Session,
    to: &Connection,
    granted: HoleId,
) -> Decision {
    let mut decision = policy_verdict(tables, session.policies[0], to);
    for policy in &session.policies[1..] {
        if policy.0 == 0 {
            break;
        }
        let outer = policy_verdict(tables, *policy, to);
        if outer.verdict.strictness() > decision.verdict.strictness() {
            decision = outer;
        }
    }
    match decision.verdict {
        Verdict::Allow | Verdict::Deny => decision,
        Verdict::Confirm | Verdict::ReadOnly => {
            through_hole(tables, session.id, to, granted, decision)
        }
    }
}

/// `stopped`, or an allowance by the most specific hole that covers the connection and still lives.
#[inline(always)]
fn through_hole<T: Tables>(
    tables: &T,
    session: SessionId,
    to: &Connection,
    granted: HoleId,
    stopped: Decision,
) -> Decision {
    let Some(holes) = tables.holes(session) else {
        return stopped;
    };
    if holes.len == 0 {
        return stopped;
    }
    let now = tables.now();
    for i in 0..MAX_HOLES {
        if i as u32 >= holes.len {
            break;
        }
        let hole = &holes.entries[i];
        if !hole.covers(&to.to, to.protocol, to.port) || hole.expires <= now {
            continue;
        }
        let (id, expires, counted) = (hole.id, hole.expires, hole.counted);
        if !tables.is_whole(holes) {
            return stopped;
        }
        if counted == 0 || id == granted || tables.take(id) {
            return Decision {
                verdict: Verdict::Allow,
                hole: id,
                expires,
                ..stopped
            };
        }
    }
    stopped
}
