//! A verdict: what it is made of, which both halves use, and all of it in one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Address, BootTime, BudgetId, DEFAULT_RULE, HoleId, HoleKind, HoleList, ListId, MAX_HOLES,
    MAX_RANGES, NameId, Named, PolicyId, PrefixValue, Protocol, RangeEntry, RangeList, Session,
    SessionId, Verdict, prefix_flags,
};

/// What is judged: a destination, a protocol and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connection {
    /// Canonical destination.
    pub to: Address,
    /// Destination port in host byte order, 0 where the protocol has none.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// The verifier wants all bytes of what is passed by reference to be written.
    pad: u8,
}

impl Connection {
    /// A port of a protocol at an address.
    #[inline(always)]
    #[must_use]
    pub const fn new(to: Address, protocol: Protocol, port: u16) -> Self {
        Self {
            to,
            port,
            protocol,
            pad: 0,
        }
    }
}

/// Where the tables come from: BPF maps in the kernel, plain memory in tests and `guard explain`.
pub trait Tables {
    /// The value of the longest prefix of a policy that covers an address.
    fn prefix(&self, policy: PolicyId, to: &Address) -> Option<PrefixValue>;
    /// A list of port ranges.
    fn ranges(&self, list: ListId) -> Option<&RangeList>;
    /// The holes of a session.
    fn holes(&self, session: SessionId) -> Option<&HoleList>;
    /// The version of a list that is about to be read.
    fn version(&self, holes: &HoleList) -> u32;
    /// Whether a list that was just read is still that version of that session's, so that what was read is no
    /// mixture of two: its memory may have become another list meanwhile.
    fn is_whole(&self, holes: &HoleList, of: SessionId, version: u32) -> bool;
    /// Takes one connection from a hole's budget; false when there is none left.
    fn take(&self, budget: BudgetId) -> bool;
    /// Gives back a connection that was taken.
    fn give_back(&self, budget: BudgetId);
    /// Whether anything is left in a budget.
    fn has(&self, budget: BudgetId) -> bool;
    /// The time.
    fn now(&self) -> BootTime;
    /// Calls with 0, 1, … until that gives something, `limit` times at most; `failed` where that cannot be done. Not a
    /// loop, whose every round the kernel's verifier would go through, and there `bpf_loop` (uapi/linux/bpf.h).
    fn find<R>(&self, limit: usize, failed: R, at: impl FnMut(usize) -> Option<R>) -> Option<R>;
}

/// The verdict of one policy on a connection, holes left aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct PolicyVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// [`prefix_flags`] of the policy.
    pub flags: u8,
    /// Index of the rule that gave it, or [`DEFAULT_RULE`].
    pub rule: u16,
}

impl PolicyVerdict {
    /// The verdict of a policy that cannot be read.
    pub const DENY: Self = Self {
        verdict: Verdict::Deny,
        flags: 0,
        rule: DEFAULT_RULE,
    };

    /// The verdict of a policy that has a person asked.
    pub const CONFIRM: Self = Self {
        verdict: Verdict::Confirm,
        flags: 0,
        rule: DEFAULT_RULE,
    };

    /// As one number: functions of the kernel half that are verified on their own return no more.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        ((self.verdict as u64) << 24) | ((self.flags as u64) << 16) | self.rule as u64
    }

    /// Out of [`Self::pack`].
    #[inline(always)]
    pub const fn unpack(packed: u64) -> Self {
        Self {
            verdict: Verdict::from_u8((packed >> 24) as u8),
            flags: (packed >> 16) as u8,
            rule: packed as u16,
        }
    }
}

/// Which holes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Wanted {
    /// Those that let all through: nothing else helps a packet, or a datagram.
    All = 0,
    /// Those for reads as well: a TCP connection begins, which can be redirected to the proxy.
    Any = 1,
    /// The one hole that caused the redirect of a connection: for reads, or for all where TLS has to show a name.
    Redirected = 2,
}

impl Wanted {
    /// Out of its number.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Self {
        match value {
            1 => Self::Any,
            2 => Self::Redirected,
            _ => Self::All,
        }
    }

    /// Those that could change such a verdict of the policies. Where reads pass anyway, no hole for reads is used up.
    #[inline(always)]
    #[must_use]
    pub const fn under(self, verdict: Verdict) -> Option<Self> {
        match (verdict, self) {
            (Verdict::Confirm, wanted) => Some(wanted),
            (Verdict::ReadOnly, Self::All | Self::Any) => Some(Self::All),
            _ => None,
        }
    }

    /// Whether a hole that covers a connection is one of these, and has room for it. `used` as in [`find_hole`].
    #[inline(always)]
    fn admits<T: Tables>(self, tables: &T, id: HoleId, kind: HoleKind, used: HoleId) -> bool {
        // One question after the other, and no answer kept: the verifier goes each way, and the stack is short.
        if !kind.is_known() {
            return false;
        }
        match self {
            // Nobody counts the bytes of what is redirected.
            Self::Redirected => return used.0 == id.0 && !kind.counts_bytes(),
            Self::All if kind.reads() => return false,
            Self::All | Self::Any => {}
        }
        if kind.counts_bytes() && !tables.has(BudgetId::bytes(id)) {
            return false;
        }
        if !kind.is_counted() {
            return true;
        }
        if !kind.reads() && used.0 == id.0 {
            return true;
        }
        tables.has(BudgetId::of(id, kind))
    }

    /// Whether a connection is taken from such a hole. Each redirect is one.
    #[inline(always)]
    const fn takes(self, kind: HoleKind, is_used: bool) -> bool {
        let is_redirected = matches!(self, Self::Redirected);
        kind.is_counted() && !is_redirected && (kind.reads() || !is_used)
    }
}

/// A hole that lets a connection through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The hole.
    pub hole: HoleId,
    /// Its [`HoleKind`]. Of the size of an `Option`'s tag, which LLVM reads at once with it.
    pub kind: u32,
    /// When it ends.
    pub expires: BootTime,
}

impl Passage {
    /// Takes a connection from the hole, where it counts them; `wanted` and `used` as it was found with. False where none is left
    /// any more.
    #[inline(always)]
    #[must_use]
    pub fn take<T: Tables>(&self, tables: &T, used: HoleId, wanted: Wanted) -> bool {
        let kind = HoleKind::from_u32(self.kind);
        !wanted.takes(kind, used.0 == self.hole.0) || tables.take(BudgetId::of(self.hole, kind))
    }

    /// Gives back what [`Self::take`] took with the same `used` and `wanted`: the connection does not go on.
    #[inline(always)]
    pub fn give_back<T: Tables>(&self, tables: &T, used: HoleId, wanted: Wanted) {
        let kind = HoleKind::from_u32(self.kind);
        if wanted.takes(kind, used.0 == self.hole.0) {
            tables.give_back(BudgetId::of(self.hole, kind));
        }
    }
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
    /// The [`HoleKind`] of that hole.
    pub kind: u32,
    /// When that hole ends.
    pub expires: BootTime,
}

impl Decision {
    /// What one policy says.
    #[inline(always)]
    pub const fn by(policy: PolicyId, said: PolicyVerdict) -> Self {
        Self {
            verdict: said.verdict,
            flags: said.flags,
            rule: said.rule,
            policy,
            hole: HoleId(0),
            kind: 0,
            expires: BootTime(0),
        }
    }

    /// What it and a policy further out say together: the stricter, of equals the outer one's. `self` is of policies that were
    /// put together so; the first is put together with itself.
    #[inline(always)]
    pub const fn and(self, outer: Self) -> Self {
        let replies = self.passes_replies() && outer.passes_replies();
        const OF_ANY: u8 = prefix_flags::NAMES | prefix_flags::BY_SNI;
        let of_any = (self.flags | outer.flags) & OF_ANY;
        let is_outer = outer.verdict.strictness() >= self.verdict.strictness();
        let mut both = if is_outer { outer } else { self };
        if !replies {
            both.flags &= !prefix_flags::INBOUND;
        }
        both.flags |= of_any;
        both
    }

    /// Of policies that were put together, one that lets no reply pass leaves neither `allow` nor the flag.
    #[inline(always)]
    const fn passes_replies(&self) -> bool {
        self.allows() || self.allows_reply()
    }

    /// What the policy that decided says, where no hole changed it.
    #[inline(always)]
    pub const fn said(&self) -> PolicyVerdict {
        PolicyVerdict {
            verdict: self.verdict,
            flags: self.flags,
            rule: self.rule,
        }
    }

    /// Where it is a hole that allows it which lets so many bytes through, all that are sent have to be counted.
    #[inline(always)]
    #[must_use]
    pub const fn counts_bytes(&self) -> bool {
        self.hole.0 != 0 && HoleKind::from_u32(self.kind).counts_bytes()
    }

    /// Whether it may pass.
    #[inline(always)]
    #[must_use]
    pub const fn allows(&self) -> bool {
        matches!(self.verdict, Verdict::Allow)
    }

    /// Whether TLS has to show a name that the policies allow.
    #[inline(always)]
    #[must_use]
    pub const fn is_by_sni(&self) -> bool {
        self.flags & prefix_flags::BY_SNI != 0
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

/// What a policy's trie says at an address: of that address, or of the pattern that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The verdict, with the flags of the value that it is from.
    pub verdict: PolicyVerdict,
    /// Whether a rule for this very address gave it.
    pub is_own: bool,
}

impl Said {
    /// A policy that cannot be read.
    pub const DENY: Self = Self {
        verdict: PolicyVerdict::DENY,
        is_own: true,
    };

    /// A pattern that is not in the policy.
    pub const NOTHING: Self = Self {
        verdict: PolicyVerdict::DENY,
        is_own: false,
    };

    const OWN: u64 = 1 << 32;

    /// As one number, as [`PolicyVerdict::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        let own = if self.is_own { Self::OWN } else { 0 };
        own | self.verdict.pack()
    }

    /// Out of [`Self::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(packed: u64) -> Self {
        Self {
            verdict: PolicyVerdict::unpack(packed),
            is_own: packed & Self::OWN != 0,
        }
    }

    /// Whether the policy has rules for names.
    #[inline(always)]
    #[must_use]
    pub const fn speaks_of_names(&self) -> bool {
        self.has(prefix_flags::NAMES)
    }

    #[inline(always)]
    const fn has(&self, flag: u8) -> bool {
        self.verdict.flags & flag != 0
    }

    /// Of a pattern: whether it may be said of private addresses.
    #[inline(always)]
    #[must_use]
    pub const fn may_be_private(&self) -> bool {
        self.has(prefix_flags::PRIVATE)
    }

    /// Whether it is a rule's for a pattern.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_pattern(&self) -> bool {
        self.has(prefix_flags::NAME) && self.verdict.rule != DEFAULT_RULE
    }

    /// Of two that allow, the one that looks at TLS is the stricter.
    #[inline(always)]
    const fn strictness(&self) -> u8 {
        let by_sni = if self.has(prefix_flags::BY_SNI) { 1 } else { 0 };
        2 * self.verdict.verdict.strictness() + by_sni
    }
}

/// What a policy's trie says at an address of a connection. An absent policy or list denies.
#[inline(always)]
fn said<T: Tables>(tables: &T, policy: PolicyId, at: &Address, to: &Connection) -> Said {
    let Some(value) = tables.prefix(policy, at) else {
        return Said::DENY;
    };
    if value.list.0 == 0 {
        return said_without_ports(&value);
    }
    let Some(list) = tables.ranges(value.list) else {
        return Said::DENY;
    };
    // One number of the size of an `Option`'s tag: kernels before 6.1.100 and 6.3 let nobody read a part of the stack
    // that was not written, and LLVM reads tag and bytes at once.
    const FAILED: u32 = u32::MAX;
    let first = tables.find(MAX_RANGES.min(list.len as usize), FAILED, |at| {
        let range = list.entries.get(at)?;
        let found = (at as u32) << 24 | u32::from(range.verdict) << 16 | u32::from(range.rule);
        range.covers(to.protocol, to.port).then_some(found)
    });
    let first = match first {
        None => return said_without_ports(&value),
        Some(FAILED) => return Said::DENY,
        Some(first) => first,
    };
    let (verdict, is_private) = RangeEntry::unpack((first >> 16) as u8);
    let (verdict, by_sni) = match verdict {
        Verdict::BY_SNI => (Verdict::Allow, prefix_flags::BY_SNI),
        other => (Verdict::from_u8(other), 0),
    };
    let flags = match value.flags & prefix_flags::NAME {
        0 => value.flags,
        _ if is_private => value.flags | prefix_flags::PRIVATE,
        _ => value.flags & !prefix_flags::PRIVATE,
    };
    Said {
        verdict: PolicyVerdict {
            verdict,
            flags: flags | by_sni,
            rule: first as u16,
        },
        is_own: first >> 24 < u32::from(list.own),
    }
}

/// What a value says where none of its port ranges does.
#[inline(always)]
const fn said_without_ports(value: &PrefixValue) -> Said {
    Said {
        verdict: PolicyVerdict {
            verdict: Verdict::from_u8(value.verdict),
            flags: value.flags,
            rule: value.rule,
        },
        is_own: value.flags & prefix_flags::HOST != 0,
    }
}

/// What a policy's trie says of a connection where its address is known by a pattern; without one, of the address.
#[inline(always)]
#[must_use]
pub fn said_of<T: Tables>(tables: &T, policy: PolicyId, pattern: NameId, to: &Connection) -> Said {
    if pattern.0 != 0 {
        return said(tables, policy, &pattern.key(), to);
    }
    let found = said(tables, policy, &to.to, to);
    // What stands for a pattern is nobody's address.
    if found.is_of_pattern() {
        Said::DENY
    } else {
        found
    }
}

/// What one policy says of an address, whatever its names are.
#[inline(always)]
pub fn policy_verdict<T: Tables>(tables: &T, policy: PolicyId, to: &Connection) -> PolicyVerdict {
    said(tables, policy, &to.to, to).verdict
}

/// What one policy says of an address that a session knows by names: a name counts as a rule for that address.
///
/// `says` is [`said_of`] for the policy. A name counts until its time is over; `began`: when the connection did, or now.
pub fn named_verdict(
    says: impl Fn(NameId) -> Said,
    named: Option<&Named>,
    began: BootTime,
) -> PolicyVerdict {
    let base = says(NameId(0));
    let Some(named) = named.filter(|_| base.speaks_of_names()) else {
        return base.verdict;
    };
    let learned = named.patterns.iter();
    let learned = learned.filter(|learned| learned.counts(began));
    learned
        .fold(NamesSaid::NOTHING, |all, one| all.and(says(one.pattern)))
        .over(base)
}

/// The strictest of what a policy says of some patterns. Both halves of guard make it pattern by pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamesSaid {
    said: Said,
    may_be_private: bool,
    /// One of them is not in the policy.
    is_unknown: bool,
}

impl NamesSaid {
    /// Of no pattern.
    pub const NOTHING: Self = Self {
        said: Said::NOTHING,
        may_be_private: true,
        is_unknown: false,
    };

    const PRIVATE: u64 = 1 << 40;
    const UNKNOWN: u64 = 1 << 41;

    /// As one number, as [`PolicyVerdict::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        let private = if self.may_be_private {
            Self::PRIVATE
        } else {
            0
        };
        let unknown = if self.is_unknown { Self::UNKNOWN } else { 0 };
        private | unknown | self.said.pack()
    }

    /// Out of [`Self::pack`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(packed: u64) -> Self {
        Self {
            said: Said::unpack(packed),
            may_be_private: packed & Self::PRIVATE != 0,
            is_unknown: packed & Self::UNKNOWN != 0,
        }
    }

    /// Takes one more into account.
    #[inline(always)]
    #[must_use]
    pub const fn and(mut self, pattern: Said) -> Self {
        if !pattern.has(prefix_flags::NAME) {
            self.is_unknown = true;
        } else if pattern.is_of_pattern() {
            self.may_be_private &= pattern.may_be_private();
            if !self.said.is_of_pattern() || pattern.strictness() > self.said.strictness() {
                self.said = pattern;
            }
        }
        self
    }

    /// The verdict, given what is said of the address itself.
    ///
    /// Names only make it stricter: where a rule denies; where a rule for this very address decides; at a
    /// [`prefix_flags::LOCAL`] address; and at a [`prefix_flags::PRIVATE`] one, unless all of them may have such addresses. A
    /// pattern that is not in the policy denies: the policy has changed, and what the session knows is about to be rewritten.
    #[inline(always)]
    pub const fn over(self, base: Said) -> PolicyVerdict {
        let flags = base.verdict.flags;
        if self.is_unknown {
            return PolicyVerdict {
                flags: flags & !prefix_flags::BY_SNI,
                ..PolicyVerdict::DENY
            };
        }
        if !self.said.is_of_pattern() {
            return base.verdict;
        }
        let by_rule = base.verdict.rule != DEFAULT_RULE;
        let is_denied = by_rule && matches!(base.verdict.verdict, Verdict::Deny);
        let may_widen = !is_denied
            && !base.is_own
            && !base.has(prefix_flags::LOCAL)
            && (self.may_be_private || !base.has(prefix_flags::PRIVATE));
        if self.said.strictness() < base.strictness() && !may_widen {
            return base.verdict;
        }
        let by_sni = self.said.verdict.flags & prefix_flags::BY_SNI;
        PolicyVerdict {
            flags: flags & !prefix_flags::BY_SNI | by_sni,
            ..self.said.verdict
        }
    }
}

/// The first hole of a session, of those that are wanted, that covers a connection and still lives: the most specific that
/// lets all through, else the most specific for reads.
///
/// `used` is what this very socket has taken a connection from for this destination: it is not counted twice. Nothing is taken yet:
/// what is refused in the end takes nothing.
///
/// `wanted` is asked with each hole. What the kernel half keeps beside the search must be no constant on any way to it: before Linux 6.4
/// the verifier takes two such ways for one, goes through the step for the first alone, and removes from it what only the other needs.
#[inline(always)]
pub fn find_hole<T: Tables>(
    tables: &T,
    session: SessionId,
    to: &Connection,
    used: HoleId,
    wanted: impl Fn() -> Wanted,
) -> Option<Passage> {
    let holes = tables.holes(session)?;
    let version = tables.version(holes);
    if holes.len == 0 {
        return None;
    }
    let now = tables.now();
    // What it needs is in it once, and not beside it as well: the stack is short.
    let first = tables.find(MAX_HOLES.min(holes.len as usize), None, move |at| {
        let hole = holes.entries.get(at)?;
        if !hole.covers(&to.to, to.protocol, to.port) || hole.expires <= now {
            return None;
        }
        let (id, expires, kind) = (hole.id, hole.expires, hole.kind);
        if !tables.is_whole(holes, session, version) {
            return Some(None);
        }
        let passage = Passage {
            hole: id,
            kind: kind.as_u32(),
            expires,
        };
        wanted()
            .admits(tables, id, kind, used)
            .then_some(Some(passage))
    });
    first.flatten()
}

/// The verdict of a session's policies, without holes: the strictest. Of equals the outermost's, which nothing in the session
/// chose. Replies pass where they pass under every policy; [`prefix_flags::NAMES`] and [`prefix_flags::BY_SNI`] are any policy's.
///
/// `says` is [`policy_verdict`], on the tables of whichever half decides. The kernel half makes it policy by policy.
#[inline(always)]
pub fn chain_verdict(session: &Session, says: impl Fn(PolicyId) -> PolicyVerdict) -> Decision {
    let by = |policy: &PolicyId| Decision::by(*policy, says(*policy));
    let own = by(&session.policies[0]);
    let around = session.policies[1..].iter();
    let around = around.take_while(|policy| policy.0 != 0);
    around.fold(own.and(own), |all, policy| all.and(by(policy)))
}

/// The verdict for a connection of a session: [`chain_verdict`], and what a hole changes of it.
///
/// The reference. The kernel half puts the same pieces together in `guard-ebpf/src/verdict.rs`, policy by policy; tests compare by
/// this one.
///
/// `says` is [`policy_verdict`] and `hole` is [`find_hole`], on the tables of whichever half decides.
#[inline(always)]
pub fn decide(
    session: &Session,
    wanted: Wanted,
    says: impl Fn(PolicyId) -> PolicyVerdict,
    hole: impl FnOnce(Wanted) -> Option<Passage>,
) -> Decision {
    with_hole(chain_verdict(session, says), wanted, hole)
}

/// A verdict of policies with what a hole changes of it. A hole for reads makes [`Verdict::ReadOnly`] of
/// [`Verdict::Confirm`].
#[inline(always)]
pub fn with_hole(
    mut decision: Decision,
    wanted: Wanted,
    hole: impl FnOnce(Wanted) -> Option<Passage>,
) -> Decision {
    if let Some(wanted) = wanted.under(decision.verdict)
        && let Some(passage) = hole(wanted)
    {
        decision.verdict = if HoleKind::from_u32(passage.kind).reads() {
            Verdict::ReadOnly
        } else {
            Verdict::Allow
        };
        decision.hole = passage.hole;
        decision.kind = passage.kind;
        decision.expires = passage.expires;
    }
    decision
}

/// Whether a policy lets TLS show a name: `says` is [`said_of`] of a pattern that covers the name, the narrowest that the policy
/// has, or `None`. A policy that does not look at TLS there minds only names that it has rules for.
#[inline(always)]
#[must_use]
pub const fn may_show(of_address: PolicyVerdict, says: Option<Said>) -> bool {
    match says {
        Some(said) if said.is_of_pattern() => matches!(said.verdict.verdict, Verdict::Allow),
        _ => of_address.flags & prefix_flags::BY_SNI == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_verdict_comes_back_as_it_was() {
        for verdict in [
            Verdict::Deny,
            Verdict::Confirm,
            Verdict::ReadOnly,
            Verdict::Allow,
        ] {
            let said = PolicyVerdict {
                verdict,
                flags: 3,
                rule: 0xfedc,
            };
            assert_eq!(PolicyVerdict::unpack(said.pack()), said);
        }
        assert_eq!(PolicyVerdict::unpack(0).verdict, Verdict::Deny);
    }

    #[test]
    fn the_strictest_of_a_chain_decides() {
        let verdicts = [Verdict::Allow, Verdict::Confirm, Verdict::Allow];
        let session = Session {
            id: SessionId(1),
            policies: [PolicyId(1), PolicyId(2), PolicyId(3), PolicyId(0)],
        };
        let says = |policy: PolicyId| PolicyVerdict {
            verdict: verdicts[policy.0 as usize - 1],
            ..PolicyVerdict::DENY
        };
        let decision = decide(&session, Wanted::Any, says, |_| None);
        assert_eq!(
            (decision.verdict, decision.policy),
            (Verdict::Confirm, PolicyId(2))
        );
    }

    fn nested() -> Session {
        Session {
            id: SessionId(2),
            policies: [PolicyId(1), PolicyId(2), PolicyId(0), PolicyId(0)],
        }
    }

    #[test]
    fn the_outermost_of_equals_decides() {
        let says = |_| PolicyVerdict {
            verdict: Verdict::Confirm,
            ..PolicyVerdict::DENY
        };
        let decision = decide(&nested(), Wanted::Any, says, |_| None);
        assert_eq!(decision.policy, PolicyId(2));
    }

    #[test]
    fn replies_pass_only_where_every_policy_lets_them() {
        let passes = |inner: PolicyVerdict, outer: PolicyVerdict| {
            let says = |policy| if policy == PolicyId(1) { inner } else { outer };
            decide(&nested(), Wanted::All, says, |_| None).allows_reply()
        };
        let said = |verdict, flags, rule| PolicyVerdict {
            verdict,
            flags,
            rule,
        };
        let inbound = prefix_flags::INBOUND;
        let by_default = said(Verdict::Deny, inbound, DEFAULT_RULE);
        let asks = said(Verdict::Confirm, inbound, 1);
        assert!(passes(by_default, by_default) && passes(by_default, asks));
        assert!(passes(by_default, said(Verdict::Allow, 0, 1)));
        for outer in [
            said(Verdict::Deny, inbound, 0),
            said(Verdict::Confirm, 0, 0),
        ] {
            assert!(!passes(by_default, outer) && !passes(asks, outer));
            assert!(!passes(outer, by_default) && !passes(outer, asks));
        }
    }

    #[test]
    fn a_hole_changes_no_deny() {
        let session = Session::default();
        let passage = Passage {
            hole: HoleId(1),
            kind: 0,
            expires: BootTime(u64::MAX),
        };
        for wanted in [Wanted::All, Wanted::Any, Wanted::Redirected] {
            let decision = decide(&session, wanted, |_| PolicyVerdict::DENY, |_| Some(passage));
            assert_eq!(decision.verdict, Verdict::Deny);
        }
    }
}
