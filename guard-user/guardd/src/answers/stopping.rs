//! What of the outermost session's policies stops a request. A request names the outermost of them that does, which may be a fleet's
//! base; a yes opens all of them, so the rules of each say how many people have to sign, and their names who may.

use guard_common::Verdict;

use crate::{
    policies::ChainVerdict,
    requests::{Pending, bursts::Burst},
    state::State,
};

/// What an answer is measured by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// The policies that an approver has to answer for.
    pub policies: Vec<String>,
    /// The rules by which several people may have to sign; of a policy's default it is empty.
    pub rules: Vec<String>,
}

impl Stopping {
    /// As it was asked. A session inside another may call its policy what it likes: so the outermost one's counts as well.
    fn shown(asked: &Pending) -> Self {
        let shown = &asked.shown;
        let outermost = shown.chain.first().map(|link| link.policy.clone());
        let mut stopping = Self {
            policies: outermost.into_iter().collect(),
            rules: Vec::new(),
        };
        stopping.add(&shown.policy, shown.rule.as_ref());
        for link in &shown.beside {
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
}

impl State {
    /// What stops a request: as it was asked, and by now. None where that cannot be told, and then nothing may open.
    pub(super) fn stopping(&self, asked: &Pending) -> Option<Stopping> {
        let session = self.sessions.live(asked.key.session)?;
        let own = self.policies.get(session.asked_for()?)?;
        let mut stopping = Stopping::shown(asked);
        stopping.policies.push(own.policy.name.clone());
        let judged = self.judged_now(asked)?.into_iter();
        for one in judged.filter(|one| one.verdict != Verdict::Allow) {
            let policy = &one.policy.policy.name;
            stopping.add(policy, one.rule.map(|rule| &rule.name));
        }
        Some(stopping)
    }

    /// What the outermost session's policies say of all that a yes may open.
    fn judged_now(&self, asked: &Pending) -> Option<Vec<ChainVerdict<'_>>> {
        let (key, policies) = (&asked.key, &self.policies);
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
