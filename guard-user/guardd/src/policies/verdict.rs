//! The verdict of a chain of policies on a destination, holes left aside: what guardd tells people, and tells the proxy. The kernel half
//! decides for itself.
//!
//! Which rule wins: of a policy the one with the most specific prefix, then the narrower protocol and ports, then the stricter action
//! (`guard_policy` compiles it so), and of several policies the one with the strictest verdict, of equals a rule before a default unless
//! it is a project's, and of those the outermost policy's.

use guard_common::{
    Address, BootTime, Connection, Learned, NameId, Named, NamedKey, PolicyId, PolicyVerdict,
    Protocol, Said, SessionId, Verdict, named_verdict, prefix_flags, said_of,
};
use guard_policy::{self as policy, Coverage, Met, NamedAt, PortSpec, Prefix, Rule};
use guard_sys::clock;

use super::{InForce, Policies, known_names};

/// Whose destinations are judged: by a chain of policies, and the names by which a session knows addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerdictSubject<'c> {
    /// The slots of its policies.
    pub(crate) chain: &'c [PolicyId],
    /// The session, if it is one.
    pub(crate) session: Option<SessionId>,
    /// The connections in question were allowed when they began, and came to the proxy.
    pub(crate) stands: bool,
    /// A hole for reads is there, which has what waits for a yes come to the proxy.
    pub(crate) may_read: bool,
}

impl VerdictSubject<'_> {
    /// What one policy says of an address that is known by names. Of connections that stand it is not known when they began, but that they
    /// came to the proxy: what has them come now decides, as one may just have begun; else what last had them come.
    pub(super) fn by_names(
        &self,
        says: impl Fn(NameId) -> Said,
        named: Option<&Named>,
    ) -> PolicyVerdict {
        let now = clock::now();
        let decided = named_verdict(&says, named, now);
        if !self.stands || self.comes_to_proxy(&decided) {
            return decided;
        }
        let ends = named.into_iter().flat_map(|named| named.patterns);
        let moments = ends.map(|learned| BootTime(learned.until.0.saturating_sub(1)));
        let mut moments: Vec<_> = moments.filter(|at| *at < now).collect();
        moments.sort_unstable();
        let before = moments.into_iter().rev();
        let before: Vec<_> = before.map(|at| named_verdict(&says, named, at)).collect();
        let comes = before.iter().find(|said| self.comes_to_proxy(said));
        // It may be another policy of the chain that had it come.
        let passes = before.iter().find(|said| said.verdict != Verdict::Deny);
        let passes = passes.filter(|_| decided.verdict == Verdict::Deny);
        comes.or(passes).copied().unwrap_or(decided)
    }

    fn comes_to_proxy(&self, said: &PolicyVerdict) -> bool {
        match said.verdict {
            Verdict::ReadOnly => true,
            Verdict::Confirm => self.may_read,
            Verdict::Allow => said.flags & prefix_flags::BY_SNI != 0,
            _ => false,
        }
    }
}

impl<'c> From<&'c [PolicyId]> for VerdictSubject<'c> {
    fn from(chain: &'c [PolicyId]) -> Self {
        Self {
            chain,
            session: None,
            stands: false,
            may_read: false,
        }
    }
}

impl<'c> From<&'c Vec<PolicyId>> for VerdictSubject<'c> {
    fn from(chain: &'c Vec<PolicyId>) -> Self {
        Self::from(chain.as_slice())
    }
}

/// A verdict of a chain of policies, with the rule that gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainVerdict<'p> {
    /// The verdict, holes left aside.
    pub(crate) verdict: Verdict,
    /// The rule; none: the policy's default.
    pub(crate) rule: Option<&'p Rule>,
    /// The policy.
    pub(crate) policy: &'p InForce,
}

impl ChainVerdict<'_> {
    /// Whether it says more than a default. A project's rule, which an agent may have written, is never named in the place of another
    /// policy's default.
    #[must_use]
    pub(crate) fn says_more(&self) -> bool {
        self.rule.is_some() && !self.policy.source.project
    }

    /// Why the rule is there. What a project says is told as its words, and that its default decides, as it goes by its policy's
    /// name.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<String> {
        let source = &self.policy.source;
        match self.rule {
            Some(rule) => Some(source.told(rule.reason.clone()?)),
            None => source.project.then(|| PROJECTS_DEFAULT.to_owned()),
        }
    }
}

/// Why there is a request or a refusal where no rule of a project's decides.
const PROJECTS_DEFAULT: &str = "the default of its project's .guard.toml";

impl Policies {
    /// The verdict of a chain of policies on one destination: the strictest; of equals one by a rule, and of these the outermost, which
    /// is the last. The kernel takes the outermost, so the two may name different rules.
    /// `None` if a slot is not known: the kernel half denies then.
    #[must_use]
    pub(crate) fn judge<'c>(
        &self,
        subject: impl Into<VerdictSubject<'c>>,
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Option<ChainVerdict<'_>> {
        let each = self.judge_each(subject, to, protocol, port)?;
        // Of equals one by a rule, which says more than a default; of these the outermost.
        let each = each.into_iter();
        each.max_by_key(|judged| (judged.verdict.strictness(), judged.says_more()))
    }

    /// The verdict of each policy of a chain on one destination, in the chain's order. `None` as for [`Self::judge`].
    #[must_use]
    pub(crate) fn judge_each<'c>(
        &self,
        subject: impl Into<VerdictSubject<'c>>,
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Option<Vec<ChainVerdict<'_>>> {
        let subject = subject.into();
        let ports = [PortSpec::one(protocol, port)];
        let connection = Connection::new(to, protocol, port);
        let judged = subject.chain.iter().map(|slot| {
            let policy = self.slots.get(slot)?;
            if let Some(judged) = self.judge_by_names(subject, *slot, policy, &connection) {
                return Some(judged);
            }
            let Met { verdict, rule } = *policy.over(&Prefix::host(to), &ports).met.first()?;
            Some(ChainVerdict {
                verdict,
                rule,
                policy,
            })
        });
        judged.collect()
    }

    /// Every verdict of the policy in a slot on an address that the session knows by names, or would know by `name` if it
    /// asked for that; `None` if there are no names.
    #[must_use]
    pub(crate) fn over_known(
        &self,
        subject: VerdictSubject<'_>,
        slot: PolicyId,
        to: &Prefix,
        name: Option<&str>,
        ports: &[PortSpec],
    ) -> Option<Coverage<'_>> {
        let policy = self.slots.get(&slot)?;
        let key = NamedKey::new(subject.session?, slot, to.address());
        let now = clock::now();
        let known = self.known.patterns(&key);
        let asked = name.and_then(|name| known_names::pattern_of(&policy.compiled, name));
        let named = match asked {
            None => known.or(name.map(|_| Named::default()))?,
            Some(pattern) => {
                let until = BootTime(u64::MAX);
                known
                    .unwrap_or_default()
                    .with(&key, Learned { pattern, until }, now)?
            }
        };
        let (policy, compiled) = (&policy.policy, &policy.compiled);
        let known = NamedAt { named: &named, now };
        Some(policy::over_known(policy, compiled, to, ports, known))
    }

    /// A rule of a session's policies that has a name of an address and opens nothing there, and why.
    #[must_use]
    pub(crate) fn barred(
        &self,
        subject: VerdictSubject<'_>,
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Option<policy::Barred> {
        let to = Connection::new(to, protocol, port);
        subject.chain.iter().find_map(|slot| {
            let policy = self.slots.get(slot)?;
            let key = NamedKey::new(subject.session?, *slot, to.to);
            let known = NamedAt {
                named: &self.known.patterns(&key)?,
                now: clock::now(),
            };
            policy::barred(&policy.policy, &policy.compiled, &to, known)
        })
    }

    /// The verdict of a policy on an address that the session knows by names; `None` if it knows none.
    fn judge_by_names<'p>(
        &self,
        subject: VerdictSubject<'_>,
        slot: PolicyId,
        policy: &'p InForce,
        to: &Connection,
    ) -> Option<ChainVerdict<'p>> {
        let named = self
            .known
            .patterns(&NamedKey::new(subject.session?, slot, to.to))?;
        let lookup = policy.compiled.lookup();
        let says = |pattern| said_of(&lookup, slot, pattern, to);
        let said = subject.by_names(says, Some(&named));
        Some(ChainVerdict {
            verdict: said.verdict,
            rule: policy.policy.rule(said.rule),
            policy,
        })
    }

    /// Whether a prefix is one decision: each policy of the chain has one answer for all of it, by one rule, and the strictest
    /// is `confirm`.
    #[must_use]
    pub(crate) fn confirm_all(&self, chain: &[PolicyId], within: &Prefix, ports: PortSpec) -> bool {
        let mut strictest = Verdict::Allow;
        for slot in chain {
            let Some(policy) = self.slots.get(slot) else {
                return false;
            };
            let [Met { verdict, .. }] = policy.over(within, &[ports]).met[..] else {
                return false;
            };
            if verdict.strictness() > strictest.strictness() {
                strictest = verdict;
            }
        }
        strictest == Verdict::Confirm
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::policies::of_texts;

    fn policies(texts: &[&str]) -> Policies {
        let texts = texts.iter().map(|text| format!("version = 1\n{text}"));
        of_texts(&texts.collect::<Vec<_>>())
    }

    #[test]
    fn the_strictest_of_a_chain_decides_and_is_named() {
        let policies = policies(&[
            "default = \"allow\"",
            "default = \"allow\"\n[[rule]]\nname = \"db\"\nto = [\"192.0.2.1\"]\nports = [\"tcp/5432\"]\naction = \"confirm\"",
        ]);
        let judge = |slots: &[u32], port| {
            let chain: Vec<_> = slots.iter().map(|slot| PolicyId(*slot)).collect();
            let to = IpAddr::from([192, 0, 2, 1]).into();
            let judged = policies.judge(&chain, to, Protocol::TCP, port)?;
            Some((judged.verdict, judged.rule.map(|rule| rule.name.clone())))
        };
        let stopped = Some((Verdict::Confirm, Some("db".to_owned())));
        assert_eq!(judge(&[1, 2], 5432), stopped);
        assert_eq!(judge(&[2, 1], 5432), stopped);
        assert_eq!(judge(&[1, 2], 5433), Some((Verdict::Allow, None)));
        assert_eq!(judge(&[1, 3], 5432), None);
    }

    #[test]
    fn of_policies_that_say_the_same_a_rule_is_named_before_a_default() {
        let rule = |name: &str| {
            format!(
                "default = \"deny\"\n[[rule]]\nname = \"{name}\"\nto = [\"192.0.2.1\"]\naction = \"allow\""
            )
        };
        let (own, base) = (rule("own"), rule("base"));
        let policies = policies(&[&own, "default = \"allow\"", &base]);
        let named = |slots: &[u32]| {
            let chain: Vec<_> = slots.iter().map(|slot| PolicyId(*slot)).collect();
            let to = IpAddr::from([192, 0, 2, 1]).into();
            let judged = policies.judge(&chain, to, Protocol::TCP, 443).unwrap();
            judged.rule.map(|rule| rule.name.clone())
        };
        assert_eq!(named(&[1, 2]).as_deref(), Some("own"));
        assert_eq!(named(&[2, 1]).as_deref(), Some("own"));
        assert_eq!(named(&[1, 3]).as_deref(), Some("base"), "the outermost");
        assert_eq!(named(&[2, 2]), None);
    }
}
