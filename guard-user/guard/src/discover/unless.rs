//! What may hold of a name in place of what is said of it: nobody looked it up, and by its address a stricter rule may be for it.

use guard_common::{Protocol, Verdict};
use guard_policy::{Environment, Group, Policy, PortSpec, Prefix, Rule, Target};

use super::items::Now;
use super::judge::verdict;

/// The rules by address that are stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unless {
    /// What the strictest of them does.
    verdict: Verdict,
    /// Whether none of them is for the internet.
    is_private: bool,
}

impl Unless {
    /// Nothing where the policy has a rule for the name itself: that is narrower than one for a network.
    pub(super) fn of(policy: &Policy, name: &str, ports: &str, now: &Now) -> Option<Self> {
        let is_name = |to: &Target| matches!(to, Target::Name(own) if own.as_str() == name);
        let rule = now.rule.as_ref();
        let by = policy.rules.iter().find(|one| Some(&one.name) == rule);
        if by.is_some_and(|by| by.to.iter().any(is_name)) {
            return None;
        }
        let ports = ports.parse().ok();
        let now = verdict(now.verdict).strictness();
        let stricter = policy
            .rules
            .iter()
            .filter(|rule| rule.action.strictness() > now && is_at(rule, ports.as_ref()));
        let found = stricter.flat_map(|rule| {
            let networks = rule.to.iter().filter_map(is_private);
            networks.map(|is_private| Self {
                verdict: rule.action,
                is_private,
            })
        });
        found.reduce(Self::and)
    }

    fn and(self, other: Self) -> Self {
        let is_stricter = other.verdict.strictness() > self.verdict.strictness();
        Self {
            verdict: if is_stricter {
                other.verdict
            } else {
                self.verdict
            },
            is_private: self.is_private && other.is_private,
        }
    }

    /// Both, as far as they are stricter than what holds now.
    pub(super) fn beside(both: [Option<Self>; 2], now: Verdict) -> Option<Self> {
        let both = both.into_iter().flatten();
        let stricter = both.filter(|one| one.is_stricter_than(now));
        stricter.reduce(Self::and)
    }

    pub(super) fn is_stricter_than(self, other: Verdict) -> bool {
        self.verdict.strictness() > other.strictness()
    }

    /// For which names it is not.
    pub(super) const fn only(self) -> &'static str {
        if self.is_private {
            "public: "
        } else {
            "by name: "
        }
    }

    /// What the name would be.
    pub(super) const fn words(self) -> &'static str {
        if self.is_private {
            "private"
        } else {
            "ruled by address"
        }
    }
}

/// A rule by name that is stricter than one for an address would be, and that the latter beats where the name has that address, as its
/// ports are fewer. Nobody looked the name up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleByName {
    verdict: Verdict,
    rule: String,
    name: String,
}

impl RuleByName {
    /// The strictest of them for a rule that does this, for that host, at these ports; none: all.
    pub(crate) fn beaten<'p>(
        policy: &Policy,
        by: Verdict,
        host: &str,
        ports: impl Iterator<Item = &'p PortSpec> + Clone,
    ) -> Option<Self> {
        // Of two that meet, the one with the narrower ports decides.
        let is_narrower = |own: &PortSpec, of: &PortSpec| {
            let is_protocol = of.protocol == Protocol::ANY && own.protocol != of.protocol;
            own.intersection(of).is_some() && (is_protocol || own.width() < of.width())
        };
        let is_wider = |rule: &Rule| {
            let mut ports = ports.clone();
            ports.any(|own| {
                rule.ports.is_empty() || rule.ports.iter().any(|of| is_narrower(own, of))
            })
        };
        let stricter = policy
            .rules
            .iter()
            .filter(|rule| rule.action.strictness() > by.strictness());
        let wider = stricter.filter(|rule| is_wider(rule));
        let named = wider.filter_map(|rule| {
            // What is for the host itself is judged as it is.
            let is_another =
                |to: &&Target| matches!(to, Target::Name(name) if name.as_str() != host);
            let name = rule.to.iter().find(is_another)?;
            Some(Self {
                verdict: rule.action,
                rule: rule.name.clone(),
                name: name.to_string(),
            })
        });
        // Of equals the first.
        named.reduce(|one, other| {
            if other.is_stricter_than(one.verdict) {
                other
            } else {
                one
            }
        })
    }

    pub(crate) fn is_stricter_than(&self, other: Verdict) -> bool {
        self.verdict.strictness() > other.strictness()
    }

    /// "rule never, deny, is for db.example.net, which may be there"
    pub(crate) fn words(&self) -> String {
        format!(
            "rule {}, {}, is for {}, which may be there: it was not looked up",
            self.rule,
            self.verdict.as_str(),
            self.name
        )
    }
}

/// By NAT64, an address is the same place as by itself (RFC 6052, RFC 8215).
const NAT64: Prefix = Prefix::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 32);

/// Whether what is for a network is for none of the internet. Nothing where it is for single addresses, or where no name makes a policy
/// more permissive.
fn is_private(to: &Target) -> Option<bool> {
    let public = Group::Public.prefixes(&Environment::default());
    let is_public = |prefix: &Prefix| public.iter().any(|one| one.meets(prefix));
    match to {
        Target::Prefix(one) if one.is_host() || NAT64.contains(one) => None,
        Target::Prefix(prefix) => Some(!is_public(prefix)),
        Target::Group(group) if Group::LOCAL.contains(group) => None,
        Target::Group(group) => Some(*group != Group::Public),
        Target::Name(_) | Target::Wildcard(_) => None,
    }
}

/// Whether a rule is for one of these ports; for all where they are not known.
fn is_at(rule: &Rule, ports: Option<&PortSpec>) -> bool {
    let Some(asked) = ports else { return true };
    let meets = |own: &PortSpec| {
        let is_protocol =
            own.protocol.covers(asked.protocol) || asked.protocol.covers(own.protocol);
        is_protocol && own.low <= asked.high && asked.low <= own.high
    };
    rule.ports.is_empty() || rule.ports.iter().any(meets)
}

/// ", unless private" where one of them may be; of some alone, how many.
pub(super) fn of_all<'u>(all: impl Iterator<Item = &'u Now>) -> String {
    let all: Vec<_> = all.map(|now| now.unless).collect();
    let found: Vec<_> = all.iter().flatten().copied().collect();
    let Some(both) = found.iter().copied().reduce(Unless::and) else {
        return String::new();
    };
    let some = if found.len() == all.len() {
        String::new()
    } else {
        format!("{} of them ", found.len())
    };
    format!(", {some}unless {}", both.words())
}
