//! Answers about HTTP requests, as rules for them.

use std::collections::BTreeMap;

use guard_judge::http::LEFT_OUT;
use guard_policy::{self as policy, PortSpec, Prefix};

use super::{
    super::decisions::{ConnectionDecision, DecisionKind, HttpDecision, WritesTo},
    SaidThere, SuggestedHttp, overlap, said_there,
};

/// A request's body is not for a rule to tell.
const ANY_BODY: &str = "a rule cannot tell one body from another: with this, whatever body passes";

/// A rule for an address is for all hosts there.
const ANY_HOST: &str = "a rule for an address cannot tell one host from another: with this, whatever is written to any of them passes";

/// A request without a Host may be for any of them, and a yes to its like is none to writes to each.
const NO_HOST: &str = "the yes names no host, and a rule for an address is for all hosts there: with this, whatever is written to any of them passes";

/// The same of one request, or of those like it.
const WITHOUT_HOST: &str = "what was asked names no host, and a rule for an address is for all hosts there: with this, the same passes to any of them";

/// HTTP answers by where to.
#[derive(Default)]
pub(super) struct Http {
    pub(super) by_place: BTreeMap<(Prefix, PortSpec), Vec<SuggestedHttp>>,
    /// The answers about connections that they contradict, each with what contradicts it first.
    pub(super) refuted: BTreeMap<SaidThere, String>,
}

/// The HTTP answers that no other one contradicts, nor one about connections there.
pub(super) fn agreeing_http(
    all: &[HttpDecision],
    answers: &[ConnectionDecision],
    left_out: &mut Vec<String>,
) -> Http {
    let mut http = Http::default();
    let others = http.unrefuted(all, answers, left_out);
    for one in others {
        // What is left out itself has nothing in a rule.
        let mut there = there(one, answers).into_iter();
        let wider = there.find(|other| !http.refuted.contains_key(&said_there(other)));
        let other_way = all
            .iter()
            .find(|other| other.yes != one.yes && is_same(one, other));
        if let Some(other) = other_way {
            left_out.push(format!("{}: but {}", one.why, other.why));
        } else if let Some(wider) = wider {
            left_out.push(format!(
                "{}: the rule for connections there has it, as {}",
                one.why, wider.why
            ));
        } else if let Err(why) = http.add(one) {
            left_out.push(format!("{}: {why}", one.why));
        }
    }
    for rules in http.by_place.values_mut() {
        rules.sort();
    }
    http
}

impl Http {
    /// The answers that none about connections there contradicts; notes those that they contradict.
    fn unrefuted<'a>(
        &mut self,
        all: &'a [HttpDecision],
        answers: &[ConnectionDecision],
        left_out: &mut Vec<String>,
    ) -> Vec<&'a HttpDecision> {
        let mut others = Vec::new();
        for one in all {
            let is_against =
                |other: &&&ConnectionDecision| (other.said == DecisionKind::No) == one.yes;
            let there = there(one, answers);
            let against: Vec<_> = there.iter().filter(is_against).collect();
            match against.first() {
                Some(first) => left_out.push(format!("{}: but {}", one.why, first.why)),
                None => others.push(one),
            }
            for other in against {
                let refuted = self.refuted.entry(said_there(other));
                refuted.or_insert_with(|| one.why.clone());
            }
        }
        others
    }

    /// Adds what an answer says as a rule, once; or says why no rule can say it.
    fn add(&mut self, one: &HttpDecision) -> Result<(), &'static str> {
        let rule = suggested(one)?;
        let rules = self.by_place.entry((one.to, one.ports)).or_default();
        let is_known = |known: &SuggestedHttp| {
            let same = (known.is_allowed, &known.method, &known.path, &known.query);
            let by_host = |one: &SuggestedHttp| one.wider.filter(|why| *why != ANY_BODY);
            same == (rule.is_allowed, &rule.method, &rule.path, &rule.query)
                && by_host(known) == by_host(&rule)
        };
        if !rules.iter().any(is_known) {
            rules.push(rule);
        }
        Ok(())
    }
}

/// The answers about connections to where a request went, but for those to reads alone.
fn there<'a>(one: &HttpDecision, answers: &'a [ConnectionDecision]) -> Vec<&'a ConnectionDecision> {
    let as_answer = ConnectionDecision {
        to: one.to,
        ports: Some(one.ports),
        said: if one.yes {
            DecisionKind::Yes
        } else {
            DecisionKind::No
        },
        why: String::new(),
    };
    let about = answers
        .iter()
        .filter(|other| other.said != DecisionKind::Reads);
    about.filter(|other| overlap(other, &as_answer)).collect()
}

/// Whether they are about the same requests.
fn is_same(one: &HttpDecision, other: &HttpDecision) -> bool {
    let requests = |one: &HttpDecision| (one.to, one.ports, one.method.clone(), one.path.clone());
    requests(one) == requests(other)
}

/// Why a rule lets more through than an answer, if it does.
fn wider(one: &HttpDecision) -> Option<&'static str> {
    match one.all_writes {
        _ if !one.yes => None,
        Some(WritesTo::OneHost) => Some(ANY_HOST),
        Some(WritesTo::NoHost) => Some(NO_HOST),
        None if !one.has_host => Some(WITHOUT_HOST),
        None => one.has_body.then_some(ANY_BODY),
    }
}

/// An HTTP answer as a rule, if one can say it.
fn suggested(one: &HttpDecision) -> Result<SuggestedHttp, &'static str> {
    let (path, query) = match one.path.as_deref().map(|path| path.split_once('?')) {
        Some(Some((path, query))) => (Some(path), Some(query)),
        // One that names no query has none; a pattern that names none is for any.
        Some(None) => (one.path.as_deref(), (!one.is_pattern).then_some("")),
        None => (None, None),
    };
    if query.is_some_and(|query| query.contains(LEFT_OUT)) {
        return Err("a value in its query is not in the audit log, as it may let somebody in");
    }
    let literal = [path, query].into_iter().flatten();
    if !one.is_pattern && literal.into_iter().any(|text| text.contains('*')) {
        return Err("its path or query has a *, which stands for any text in a rule");
    }
    let rule = SuggestedHttp {
        is_allowed: one.yes,
        method: one.method.clone(),
        path: path.map(str::to_owned),
        query: query.map(str::to_owned),
        wider: wider(one),
        why: one.why.clone(),
    };
    let mut text = "version = 1\n[[rule]]\nto = [\"::/0\"]\naction = \"read-only\"\n".to_owned();
    SuggestedHttp {
        wider: None,
        ..rule.clone()
    }
    .write(&mut text);
    match policy::parse("suggested.toml", &text) {
        Ok(_) => Ok(rule),
        Err(_) => Err("no rule can be written for its method, path or query"),
    }
}
