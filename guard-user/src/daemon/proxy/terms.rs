//! What holds for a connection that the proxy has taken.

use std::time::Duration;

use guard_common::{Address, PolicyId, Protocol, SessionId, Verdict};

use crate::{
    daemon::{policies::Policies, state::State},
    policy::{Met, PortSpec, Prefix},
    proxy::{
        judge::Rules,
        wire::{Target, Terms},
    },
};

/// What a chain of policies says of a target, holes left aside.
#[derive(Debug)]
pub enum Standing {
    /// Nothing passes.
    Closed,
    /// Requests are judged by these rules, and a client may wait that long for a person.
    Judged {
        /// The rules that decide, one for each policy that says `read-only`, the outermost first.
        rules: Vec<Rules>,
        /// The least patient policy's.
        hold: Duration,
    },
    /// All passes.
    Open,
}

/// What a chain of policies says of a TCP connection. Every policy must let it.
#[must_use]
pub fn standing(policies: &Policies, chain: &[PolicyId], to: Address, port: u16) -> Standing {
    let ports = [PortSpec::one(Protocol::TCP, port)];
    let (mut rules, mut hold) = (Vec::new(), Duration::MAX);
    for slot in chain.iter().rev() {
        let Some(policy) = policies.get(*slot) else {
            return Standing::Closed;
        };
        let coverage = policy.over(&Prefix::host(to), &ports);
        match coverage.met.first() {
            Some(Met {
                verdict: Verdict::Allow,
                ..
            }) => {}
            Some(Met {
                verdict: Verdict::ReadOnly,
                rule: Some(rule),
            }) => {
                rules.push(Rules::of(rule));
                hold = hold.min(policy.policy.hold);
            }
            _ => return Standing::Closed,
        }
    }
    match (chain.is_empty(), rules.is_empty()) {
        (true, _) => Standing::Closed,
        (false, true) => Standing::Open,
        (false, false) => Standing::Judged { rules, hold },
    }
}

impl State {
    /// What holds for a target now, holes included.
    #[must_use]
    pub fn standing(&self, target: &Target) -> Standing {
        let Some(session) = self.sessions.live(SessionId(target.session)) else {
            return Standing::Closed;
        };
        let to = Address::from(target.address);
        match standing(&self.policies, &session.chain, to, target.port) {
            Standing::Open => Standing::Open,
            _ if self.is_open_wide(target) => Standing::Open,
            stopped => stopped,
        }
    }

    /// The same, as the proxy is told it; `None` where nothing passes there.
    #[must_use]
    pub fn proxy_terms(&self, target: &Target) -> Option<Terms> {
        let rules = match self.standing(target) {
            Standing::Closed => return None,
            Standing::Judged { rules, .. } => rules,
            Standing::Open => Vec::new(),
        };
        let session = self.sessions.live(SessionId(target.session))?;
        let account = session.outermost().0;
        Some(Terms { rules, account })
    }

    /// Whether a hole of the kernel's lets all connections there pass, any number of them: those that are counted are
    /// the kernel's to count. What a policy denies no hole covers.
    fn is_open_wide(&self, target: &Target) -> bool {
        let (session, to) = (SessionId(target.session), Address::from(target.address));
        let judged = self.sessions.live(session).and_then(|live| {
            let (chain, port) = (&live.chain, target.port);
            self.policies.judge(chain, to, Protocol::TCP, port)
        });
        let is_stopped =
            judged.is_some_and(|j| matches!(j.verdict, Verdict::Confirm | Verdict::ReadOnly));
        let holes = || self.datapath.holes().unwrap_or_default();
        is_stopped
            && holes().iter().any(|hole| {
                let is_free = hole.session == session && hole.connections_left.is_none();
                is_free && hole.entry.covers(&to, Protocol::TCP, target.port)
            })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        daemon::{
            library::Source,
            policies::{self, InForce},
        },
        policy::Environment,
    };

    /// The text says `confirm` where the policy is to say `read-only`.
    fn policy(text: &str, is_read_only: bool) -> InForce {
        let source = Source::brought(None, format!("version = 1\n{text}"));
        let mut read = policies::read(&source).unwrap();
        if is_read_only {
            for rule in &mut read.policy.rules {
                rule.action = Verdict::ReadOnly;
            }
        }
        policies::compile(source, read, &Environment::default())
            .unwrap()
            .into()
    }

    fn stands(chain: &[u32], last: u8) -> Standing {
        let rule = |name: &str, to: &str, action: &str| {
            format!("[[rule]]\nname = \"{name}\"\nto = [\"{to}\"]\naction = \"{action}\"\n")
        };
        let reads = |name: &str, hold: &str| {
            let rule = rule(name, "192.0.2.0/28", "confirm");
            policy(
                &format!("default = \"allow\"\nhold = \"{hold}\"\n{rule}"),
                true,
            )
        };
        let asks = rule("asks", "192.0.2.1", "confirm");
        let denies = rule("denies", "192.0.2.2", "deny");
        let mut policies = Policies::default();
        policies.put(PolicyId(1), reads("outer", "10s"));
        policies.put(PolicyId(2), reads("inner", "20s"));
        let strict = format!("default = \"allow\"\n{asks}{denies}");
        policies.put(PolicyId(3), policy(&strict, false));
        let chain: Vec<_> = chain.iter().map(|slot| PolicyId(*slot)).collect();
        let to = IpAddr::from([192, 0, 2, last]).into();
        standing(&policies, &chain, to, 443)
    }

    #[test]
    fn every_policy_that_says_read_only_judges() {
        let Standing::Judged { rules, hold } = stands(&[2, 1, 3], 3) else {
            panic!("no rule judges");
        };
        let names: Vec<_> = rules.into_iter().map(|rule| rule.name).collect();
        // A chain ends with the outermost.
        assert_eq!(names, ["outer", "inner"]);
        assert_eq!(hold, Duration::from_secs(10));
    }

    #[test]
    fn what_one_policy_stops_in_another_way_is_closed() {
        for last in [1, 2] {
            assert!(matches!(stands(&[1, 3], last), Standing::Closed), "{last}");
        }
        for (chain, last) in [(&[][..], 3), (&[1, 9], 3)] {
            assert!(matches!(stands(chain, last), Standing::Closed), "{chain:?}");
        }
        assert!(matches!(stands(&[1, 2], 99), Standing::Open));
    }
}
