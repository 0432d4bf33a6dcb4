//! What of the outermost session's policies stops a request. A request names the outermost of them that does, which may be a fleet's
//! base; a yes opens all of them, so the rules of each say how many people have to sign, and their names who may. A yes to a port of the
//! loopback opens what its listener connects to, so that is measured as well.

use std::time::Duration;

use guard_common::Verdict;
use guard_proto::{Request, requests::ChainLink};

use crate::{
    policies::{ChainVerdict, Policies},
    requests::{Pending, bursts::Burst, hosts},
    sessions::{Session, Sessions},
};

/// What an answer is measured by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// The policies that an approver has to answer for.
    pub(crate) policies: Vec<String>,
    /// The rules by which several people may have to sign; of a policy's default it is empty.
    pub(crate) rules: Vec<String>,
}

impl Stopping {
    /// What of the outermost session's stopped it when it was asked.
    fn shown(shown: &Request) -> Self {
        let mut stopping = Self {
            rules: vec![shown.rule.clone().unwrap_or_default()],
            ..Self::default()
        };
        let outermost = shown.chain.first().filter(|link| stops(link));
        for link in outermost.into_iter().chain(&shown.beside) {
            stopping.add(&link.policy, link.rule.as_ref());
        }
        stopping
    }

    fn add(&mut self, policy: &str, rule: Option<&String>) {
        let rule = rule.map_or("", String::as_str);
        for (all, one) in [(&mut self.policies, policy), (&mut self.rules, rule)] {
            if !all.iter().any(|known| known == one) {
                all.push(one.to_owned());
            }
        }
    }

    /// The same, where none of the outermost session's stops it. The approvers of a session inside answer for the policy that the
    /// outermost one runs under as well: an agent may call its own what it likes.
    fn or_inside(mut self, shown: &Request, own: &str) -> Self {
        if self.policies.is_empty() {
            self.policies.push(own.to_owned());
            // A listener whose upstream may be anything is asked about where all policies allow it.
            if shown.chain.is_empty() || shown.chain.iter().any(stops) {
                self.policies.push(shown.policy.clone());
            }
        }
        self
    }
}

fn stops(link: &ChainLink) -> bool {
    link.verdict != Verdict::Allow.as_str()
}

/// What judges requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judging<'s> {
    /// The sessions that ask.
    pub(super) sessions: &'s Sessions,
    /// Their policies.
    pub(super) policies: &'s Policies,
}

impl Judging<'_> {
    /// What stops a request: as it was asked, and by now. None where that cannot be told, and then nothing may open.
    pub(super) fn stopping(&self, asked: &Pending) -> Option<Stopping> {
        let session = self.sessions.live(asked.key.session)?;
        let own = self.policies.get(session.asked_for()?)?;
        let mut stopping = Stopping::shown(&asked.shown);
        let judged = self.judged_now(asked)?.into_iter();
        for one in judged.filter(|one| one.verdict != Verdict::Allow) {
            let policy = &one.policy.policy.name;
            stopping.add(policy, one.rule.map(|rule| &rule.name));
        }
        for one in self.judged_by_host(session, asked) {
            stopping.add(&one.policy.policy.name, one.rule.map(|rule| &rule.name));
        }
        Some(stopping.or_inside(&asked.shown, &own.policy.name))
    }

    /// What stops a request by the outermost session's rules for the host that it names, which judge it beside what decides about the
    /// address.
    fn judged_by_host(&self, session: &Session, asked: &Pending) -> Vec<ChainVerdict<'_>> {
        let inside = session.with_those_around().len().saturating_sub(1);
        let chain = session.chain.get(inside..).unwrap_or_default();
        let judged = hosts::judged(self.policies, chain, &asked.key);
        let judged = judged.into_iter().flatten();
        judged.filter(|one| one.verdict != Verdict::Allow).collect()
    }

    /// The shortest `max_hole` of all rules that ask about what a yes to connections opens, none: no rule
    /// asks, or that cannot be told.
    pub(super) fn longest_by_rules(&self, asked: &Pending) -> Option<Duration> {
        let judged = self
            .judged_now(asked)
            .filter(|_| asked.key.is_connection())?;
        let asks =
            |one: &ChainVerdict<'_>| matches!(one.verdict, Verdict::Confirm | Verdict::ReadOnly);
        let asking = judged.into_iter().filter(asks);
        asking
            .map(|one| one.policy.policy.longest_hole(one.rule))
            .min()
    }

    /// What the outermost session's policies say of all that a yes may open.
    fn judged_now(&self, asked: &Pending) -> Option<Vec<ChainVerdict<'_>>> {
        let (key, policies) = (&asked.key, self.policies);
        let session = self.sessions.live(key.session)?;
        // Those of sessions inside come first, one of each.
        let inside = session.with_those_around().len().saturating_sub(1);
        let mut judged = Vec::new();
        let tried = asked.burst.iter().flat_map(Burst::addresses);
        for to in std::iter::once(key.destination).chain(tried) {
            let each = policies.judge_each(session.subject(), to, key.protocol, key.port)?;
            judged.extend(each.into_iter().skip(inside));
        }
        let Some(prefix) = asked.burst.as_ref().map(Burst::prefix) else {
            return Some(judged);
        };
        for slot in session.chain.iter().skip(inside) {
            let policy = policies.get(*slot)?;
            let met = policy.over(&prefix, &[key.ports()]).met.into_iter();
            judged.extend(met.map(|met| ChainVerdict {
                verdict: met.verdict,
                rule: met.rule,
                policy,
            }));
        }
        Some(judged)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::IpAddr, slice::from_ref};

    use guard_common::{BootTime, Protocol, SessionId};

    use super::*;
    use crate::{
        policies::of_texts,
        quota::Account,
        requests::{RequestKey, Requests, tests::shown},
        sessions::none_but,
    };

    /// The first request of a session, for port 443 of 192.0.2.1.
    fn asked(session: u32) -> Requests {
        let mut requests = Requests::without_files(10);
        let to = IpAddr::from([192, 0, 2, 1]).into();
        let key = RequestKey::new(SessionId(session), to, Protocol::TCP, 443);
        let owner = Account::inside(1000, SessionId(1));
        let Ok(_) = requests.note(key, owner, BootTime(1), || Ok::<_, Infallible>(shown(1)));
        requests
    }

    #[test]
    fn what_stops_a_request_by_now_is_the_outermost_sessions_and_says_how_long_a_yes_lasts() {
        let text = |name: &str, rule: &str, most: &str| {
            format!(
                "version = 1\nname = \"{name}\"\ndefault = \"allow\"\nmax_hole = \"{most}\"\n\
                 [[rule]]\nname = \"{rule}\"\nto = [\"192.0.2.0/24\"]\naction = \"confirm\"\n"
            )
        };
        let policies = of_texts(&[text("outer", "ask", "5m"), text("inner", "mine", "1m")]);
        let sessions = none_but(&[(1, None), (2, Some(1))]);
        let judging = Judging {
            sessions: &sessions,
            policies: &policies,
        };
        for session in [1, 2] {
            let requests = asked(session);
            let asked = requests.get("r1").unwrap();
            let stopping = judging.stopping(asked).unwrap();
            assert!(
                stopping.policies.contains(&"outer".to_owned()),
                "{stopping:?}"
            );
            assert!(stopping.rules.contains(&"ask".to_owned()), "{stopping:?}");
            assert!(!stopping.rules.contains(&"mine".to_owned()), "{stopping:?}");
            let longest = judging.longest_by_rules(asked);
            assert_eq!(longest, Some(Duration::from_secs(300)));
        }
        let requests = asked(9);
        let unknown = requests.get("r1").unwrap();
        assert_eq!(judging.stopping(unknown), None, "nothing may open");
        assert_eq!(judging.longest_by_rules(unknown), None);
    }

    fn link(policy: &str, rule: Option<&str>, verdict: &str) -> ChainLink {
        ChainLink {
            session: "s1".to_owned(),
            policy: policy.to_owned(),
            rule: rule.map(str::to_owned),
            verdict: verdict.to_owned(),
            reason: None,
        }
    }

    /// The policies and rules that count, of a request that names that policy and rule, in a session under `prod`.
    fn counts(
        (policy, rule): (&str, Option<&str>),
        chain: &[ChainLink],
        beside: &[ChainLink],
    ) -> (Vec<String>, Vec<String>) {
        let asked = Request {
            policy: policy.to_owned(),
            rule: rule.map(str::to_owned),
            chain: chain.to_vec(),
            beside: beside.to_vec(),
            ..shown(1)
        };
        let Stopping { policies, rules } = Stopping::shown(&asked).or_inside(&asked, "prod");
        (policies, rules)
    }

    fn said(policies: &[&str], rules: &[&str]) -> (Vec<String>, Vec<String>) {
        let owned = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
        (owned(policies), owned(rules))
    }

    #[test]
    fn each_policy_that_stops_it_counts_and_no_other() {
        let base = link("floor", Some("ask"), "confirm");
        let own = link("prod", Some("db"), "read-only");
        let asked = ("floor", Some("ask"));
        assert_eq!(
            counts(asked, from_ref(&base), &[own]),
            said(&["floor", "prod"], &["ask", "db"])
        );
        // What the session's own policy allows takes none of its approvers.
        assert_eq!(counts(asked, &[base], &[]), said(&["floor"], &["ask"]));
    }

    #[test]
    fn a_session_inside_chooses_no_approver_by_its_policys_name() {
        let (base, inside) = (link("floor", None, "allow"), link("mine", None, "confirm"));
        // Nor is anybody asked for who answers for a base that allows it.
        assert_eq!(
            counts(("mine", None), &[base.clone(), inside], &[]),
            said(&["prod", "mine"], &[""])
        );
        let anywhere = counts(("floor", None), &[base], &[]);
        assert_eq!(anywhere, said(&["prod"], &[""]));
        // An earlier guardd kept no chain.
        let earlier = counts(("mine", None), &[], &[]);
        assert_eq!(earlier, said(&["prod", "mine"], &[""]));
    }
}
