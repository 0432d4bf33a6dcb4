//! The names that clients show: in TLS (SNI), and in HTTP (Host). Where a destination is reached by its name, they are held to
//! the names of which the policies say so.

use guard_common::{
    Address, Connection, NamedKey, PolicyId, PolicyVerdict, Protocol, Verdict, said_of,
};
use guard_policy::{DomainName, NamePattern, Rule, Target};

use super::{ChainVerdict, InForce, Policies, VerdictSubject};

/// Why a client may not show a name.
#[derive(Debug)]
pub(crate) struct RefusedName<'p> {
    /// A clause without a full stop.
    pub(crate) why: String,
    /// The rule by which; none where a default decides.
    pub(crate) rule: Option<&'p Rule>,
}

impl Policies {
    /// Whether the proxy looks at TLS, and not the kernel half.
    #[must_use]
    pub(crate) fn is_sni_for_proxy(&self) -> bool {
        self.is_sni_for_proxy
    }

    /// Sets that.
    pub(crate) fn set_sni_for_proxy(&mut self, is_for_proxy: bool) {
        self.is_sni_for_proxy = is_for_proxy;
    }

    /// The rule by which TLS has to show a name at a TCP port of an address, the outermost policy's.
    #[must_use]
    pub(crate) fn sni_rule(
        &self,
        subject: VerdictSubject<'_>,
        to: Address,
        port: u16,
    ) -> Option<&Rule> {
        let each = self.judge_each(subject, to, Protocol::TCP, port)?;
        let rules = each.into_iter().rev().filter_map(|judged| judged.rule);
        let looks = |spec: &guard_policy::PortSpec| spec.covers(Protocol::TCP, port);
        rules
            .into_iter()
            .find(|rule| rule.sni_ports().iter().any(looks))
    }

    /// Why a client may not show a name at a TCP port of an address; none if it may. What is no host's name is none that a rule
    /// has.
    #[must_use]
    pub(crate) fn refuses_name(
        &self,
        subject: VerdictSubject<'_>,
        to: Address,
        port: u16,
        name: &str,
    ) -> Option<RefusedName<'_>> {
        let to = Connection::new(to, Protocol::TCP, port);
        let name: Result<DomainName, _> = name.parse();
        let name = name.ok();
        let mut refusals = subject.chain.iter().map(|slot| {
            let Some(policy) = self.slots.get(slot) else {
                return Some(RefusedName {
                    why: "a policy of its session is not in force".to_owned(),
                    rule: None,
                });
            };
            self.refuses(subject, *slot, policy, &to, name.as_ref())
        });
        refusals.find_map(|refusal| refusal)
    }

    /// What each policy of a chain says by its rule for a name that a client shows at a TCP port of an address; none where it has no such
    /// rule. Names share addresses, and a session chooses which of them it asks for: another of them may decide about the address.
    /// Nothing at all where it is no host's name.
    #[must_use]
    pub(crate) fn judge_name(
        &self,
        chain: &[PolicyId],
        to: Address,
        port: u16,
        name: &str,
    ) -> Vec<Option<ChainVerdict<'_>>> {
        let to = Connection::new(to, Protocol::TCP, port);
        let Ok(name) = name.parse::<DomainName>() else {
            return Vec::new();
        };
        let judged = chain.iter().map(|slot| {
            let policy = self.slots.get(slot)?;
            let pattern = policy.compiled.pattern_of(&name)?;
            let said = said_of(&policy.compiled.lookup(), *slot, pattern.id(), &to);
            let rule = policy.policy.rule(said.verdict.rule);
            let rule = rule.filter(|_| said.is_of_pattern())?;
            Some(ChainVerdict {
                verdict: rule.action,
                rule: Some(rule),
                policy,
            })
        });
        judged.collect()
    }

    /// Returns the names that a client may show where a rule of a chain is read-only: the proxy serves these, so its certificates cover
    /// these. They are those of all rules that do not deny, as names share addresses; none where any name may be shown.
    #[must_use]
    pub(crate) fn may_be_shown(&self, chain: &[PolicyId]) -> Option<Vec<NamePattern>> {
        let policies = chain.iter().filter_map(|slot| self.get(*slot));
        let mut names = Vec::new();
        for one in policies.filter(|one| one.is_read_only()) {
            let policy = &one.policy;
            if policy.default == Verdict::ReadOnly || !one.speaks_of_names() {
                return None;
            }
            let rules = policy.rules.iter();
            for rule in rules.filter(|rule| rule.action != Verdict::Deny) {
                for target in &rule.to {
                    match NamePattern::of(target) {
                        Some(name) => names.push(name),
                        None if rule.action == Verdict::ReadOnly => return None,
                        None => {}
                    }
                }
            }
        }
        Some(names)
    }

    fn refuses<'p>(
        &'p self,
        subject: VerdictSubject<'_>,
        slot: PolicyId,
        policy: &'p InForce,
        to: &Connection,
        name: Option<&DomainName>,
    ) -> Option<RefusedName<'p>> {
        let lookup = policy.compiled.lookup();
        let says = |pattern| said_of(&lookup, slot, pattern, to);
        let known = subject.session.map(|id| NamedKey::new(id, slot, to.to));
        let known = known.and_then(|key| self.known.patterns(&key));
        let decided = subject.by_names(says, known.as_ref());
        let pattern = name.and_then(|name| policy.compiled.pattern_of(name));
        let said = pattern.as_ref().map(|pattern| says(pattern.id()));
        let said = said.filter(guard_common::Said::is_of_pattern);
        let is_stricter = said
            .is_some_and(|said| said.verdict.verdict.strictness() > decided.verdict.strictness());
        let is_held = is_by_name(policy, &decided, to);
        if !is_stricter && (said.is_some() || !is_held) {
            return None;
        }
        let shown = name.map_or_else(
            || "what the client names".to_owned(),
            |name| name.as_str().to_owned(),
        );
        let of_address = policy.policy.rule(decided.rule);
        let of_name = said.and_then(|said| policy.policy.rule(said.verdict.rule));
        let rule = of_address.map_or("the default", |rule| rule.name.as_str());
        let policy = &policy.policy.name;
        Some(match (is_stricter, pattern) {
            (true, Some(pattern)) => {
                let by = of_name.map_or("", |rule| rule.name.as_str());
                RefusedName {
                    why: format!(
                        "the rule `{by}` of the policy {policy} is stricter about {shown} (by {pattern}) than `{rule}` is about this address"
                    ),
                    rule: of_name,
                }
            }
            _ => RefusedName {
                why: format!(
                    "the rule `{rule}` of the policy {policy} is about this address by its names, and {shown} is none of those that the policy has there"
                ),
                rule: of_address,
            },
        })
    }
}

/// Whether a rule is about an address by a name, so that clients have to show one of its names there.
fn is_by_name(policy: &InForce, decided: &PolicyVerdict, to: &Connection) -> bool {
    if decided.flags & guard_common::prefix_flags::BY_SNI != 0 {
        return true;
    }
    let Some(rule) = policy.policy.rule(decided.rule) else {
        return false;
    };
    let is_address = |target: &&Target| NamePattern::of(target).is_none();
    let mut addresses = rule.to.iter().filter(is_address);
    let has_it = addresses.any(|target| {
        let prefixes = target.prefixes(&policy.fitted).into_iter();
        prefixes.into_iter().any(|prefix| prefix.covers(&to.to))
    });
    policy.speaks_of_names() && decided.verdict != Verdict::Allow && !has_it
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::{BootTime, Learned, NameId, Named};

    use super::*;
    use crate::policies;

    const TEXT: &str = r#"
version = 1
default = "deny"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "read-only"

[[rule]]
name = "forge"
to = ["forge.example.com", "192.0.2.40"]
action = "allow"
tls = "name"

[[rule]]
name = "shut"
to = ["shut.api.example.com"]
action = "deny"

[[rule]]
name = "open"
to = ["203.0.113.0/25"]
action = "allow"

[[rule]]
name = "ask"
to = ["203.0.113.128/25"]
action = "confirm"

[[rule]]
name = "mail"
to = ["mail.example.com"]
ports = ["tcp/25"]
action = "allow"

[[rule]]
name = "net"
to = ["192.0.2.0/28"]
action = "read-only"
"#;

    fn in_force() -> Policies {
        of_text(TEXT, &[("forge.example.com", 41)])
    }

    /// Of that policy, where names have these addresses of 192.0.2.0/24.
    fn of_text(text: &str, names: &[(&str, u8)]) -> Policies {
        let source = policies::library::PolicyText::brought(None, text.to_owned());
        let read = policies::parse(&source).unwrap();
        let names = names.iter().map(|(name, last)| {
            let address = IpAddr::from([192, 0, 2, *last]);
            ((*name).to_owned(), vec![address])
        });
        let environment = guard_policy::Environment {
            names: names.collect(),
            judges_names: true,
            ..guard_policy::Environment::default()
        };
        let prepared = policies::compile(source, read, &environment).unwrap();
        let mut policies = policies::none();
        policies.put(PolicyId(1), prepared.into());
        policies
    }

    /// What holds at an address for what begins, and for what stands, where names were learned until then.
    fn with_names(to: [u8; 4], names: &[(&str, u64)]) -> [Verdict; 2] {
        let policies = in_force();
        let chain = [PolicyId(1)];
        let policy = &policies.slots[&chain[0]];
        let to = Connection::new(IpAddr::from(to).into(), Protocol::TCP, 443);
        let lookup = policy.compiled.lookup();
        let key = NamedKey::default();
        let named = names.iter().fold(Named::default(), |named, (name, until)| {
            let learned = Learned {
                pattern: NameId::of(name),
                until: BootTime(*until),
            };
            named.with(&key, learned, BootTime(0)).unwrap()
        });
        [false, true].map(|stands| {
            let subject = VerdictSubject {
                stands,
                ..VerdictSubject::from(&chain[..])
            };
            let says = |pattern| said_of(&lookup, chain[0], pattern, &to);
            subject.by_names(says, Some(&named)).verdict
        })
    }

    #[test]
    fn what_stands_goes_on_by_what_last_had_it_come_to_the_proxy() {
        let (elsewhere, in_net) = ([198, 51, 100, 9], [192, 0, 2, 1]);
        let (api, forge, mail) = ("*.api.example.com", "forge.example.com", "mail.example.com");
        let live = u64::MAX;
        assert_eq!(
            with_names(elsewhere, &[(api, live)]),
            [Verdict::ReadOnly; 2]
        );
        assert_eq!(
            with_names(elsewhere, &[(api, 20)]),
            [Verdict::Deny, Verdict::ReadOnly]
        );
        // A later name, of other ports, takes nothing from it; and of what is over, the last counts that let it begin.
        for names in [&[(api, 20), (mail, live)][..], &[(api, 30), (mail, 40)]] {
            assert_eq!(
                with_names(elsewhere, names),
                [Verdict::Deny, Verdict::ReadOnly],
                "{names:?}"
            );
        }
        // A connection may have begun just now: what is over opens no more to it than to that.
        assert_eq!(with_names(in_net, &[(forge, live)]), [Verdict::Allow; 2]);
        assert_eq!(with_names(in_net, &[(forge, 20)]), [Verdict::ReadOnly; 2]);
        // What was read-only stays so where all would be let through by now, or asked about, without the proxy.
        for (last, now) in [(9, Verdict::Allow), (129, Verdict::Confirm)] {
            assert_eq!(
                with_names([203, 0, 113, last], &[(api, 20)]),
                [now, Verdict::ReadOnly]
            );
        }
        // What denies, denies.
        let shut = "shut.api.example.com";
        for names in [&[(api, 20), (shut, live)][..], &[(api, 20), (shut, 30)]] {
            assert_eq!(with_names(elsewhere, names)[0], Verdict::Deny, "{names:?}");
        }
        assert_eq!(
            with_names(elsewhere, &[(api, 20), (shut, live)]),
            [Verdict::Deny; 2]
        );
    }

    #[test]
    fn names_are_held_to_where_the_name_decides() {
        let policies = in_force();
        let chain = [PolicyId(1)];
        let refuses = |last: u8, port, name: &str| {
            let to = IpAddr::from([192, 0, 2, last]).into();
            let refused =
                policies.refuses_name(VerdictSubject::from(&chain[..]), to, port, name)?;
            let rule = refused.rule.map(|rule| rule.name.clone());
            Some((rule.unwrap_or_default(), refused.why))
        };
        // Of an exact name by its address, and of an address beside one.
        for last in [40, 41] {
            assert_eq!(refuses(last, 443, "FORGE.example.com"), None);
            for other in [
                "other.example.com",
                "a.api.example.com",
                "shut.api.example.com",
                "",
                "192.0.2.41",
            ] {
                let (rule, _) = refuses(last, 443, other).unwrap();
                let by = match other {
                    "shut.api.example.com" => "shut",
                    "a.api.example.com" => "api",
                    _ => "forge",
                };
                assert_eq!(rule, by, "{other}");
            }
            assert_eq!(refuses(last, 22, "forge.example.com"), None);
        }
        // Where the address decides, only what is stricter is refused.
        assert_eq!(refuses(1, 443, "other.example.com"), None);
        assert_eq!(refuses(1, 443, "a.api.example.com"), None);
        let (rule, why) = refuses(1, 443, "shut.api.example.com").unwrap();
        assert_eq!(rule, "shut");
        assert!(why.contains("`shut`") && why.contains("`net`"), "{why}");
    }

    #[test]
    fn certificates_cover_each_name_that_is_served_where_another_is_read_only() {
        let rule = |name: &str, action: &str| {
            format!(
                "[[rule]]\nname = \"{name}\"\nto = [\"{name}.example.com\"]\naction = \"{action}\"\n"
            )
        };
        let actions = [
            ("api", "read-only"),
            ("dev", "allow"),
            ("shut", "deny"),
            ("asked", "confirm"),
        ];
        let rules: String = actions.map(|(name, action)| rule(name, action)).concat();
        let text = format!("version = 1\ndefault = \"allow\"\n{rules}");
        let at_one = [("api.example.com", 60), ("dev.example.com", 60)];
        let (policies, chain) = (of_text(&text, &at_one), [PolicyId(1)]);
        let to = IpAddr::from([192, 0, 2, 60]).into();
        let covered = policies.may_be_shown(&chain).unwrap();
        for (name, is_served) in [
            ("api", true),
            ("dev", true),
            ("shut", false),
            ("other", false),
        ] {
            let name = format!("{name}.example.com");
            let refused = policies.refuses_name(VerdictSubject::from(&chain[..]), to, 443, &name);
            assert_eq!(refused.is_none(), is_served, "{name}");
            let is_covered = covered.iter().any(|pattern| pattern.to_string() == name);
            assert_eq!(is_covered, is_served, "{name}");
        }
        // By an address nobody knows the names that clients show.
        let by_address = format!(
            "{text}{}",
            rule("net", "read-only").replace("net.example.com", "192.0.2.0/28")
        );
        assert_eq!(of_text(&by_address, &at_one).may_be_shown(&chain), None);
    }

    #[test]
    fn a_names_own_rules_are_those_of_its_port_whatever_decides_about_the_address() {
        let policies = in_force();
        let rules = |last: u8, port, name: &str| -> Vec<String> {
            let to = IpAddr::from([192, 0, 2, last]).into();
            let judged = policies.judge_name(&[PolicyId(1)], to, port, name);
            let rules = judged.into_iter().flatten().filter_map(|one| one.rule);
            rules.map(|rule| rule.name.clone()).collect()
        };
        for last in [1, 40, 99] {
            assert_eq!(rules(last, 443, "A.api.example.com"), ["api"]);
            assert_eq!(rules(last, 443, "forge.example.com"), ["forge"]);
            for (port, name) in [
                (22, "a.api.example.com"),
                (443, "other.example.com"),
                (443, ""),
            ] {
                let none: [&str; 0] = [];
                assert_eq!(rules(last, port, name), none, "{last} {port} {name}");
            }
        }
    }
}
