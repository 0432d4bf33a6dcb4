//! Answers about HTTP requests, as rules for them.

use std::collections::{BTreeMap, BTreeSet};

use guard_judge::http::LEFT_OUT;
use guard_policy::{self as policy, PortSpec, Prefix};

use super::{
    super::decisions::{ConnectionDecision, DecisionKind, HttpDecision},
    PlaceOf, SuggestedHttp, overlap, place,
};

/// A request's body is not for a rule to tell.
const ANY_BODY: &str = "a rule cannot tell one body from another: with this, whatever body passes";

/// HTTP answers by where to.
#[derive(Default)]
pub(super) struct Http {
    pub(super) by_place: BTreeMap<(Prefix, PortSpec), Vec<SuggestedHttp>>,
    /// Answers about connections that they contradict.
    pub(super) refuted: BTreeSet<PlaceOf>,
}

/// The HTTP answers that no other one contradicts, nor one about connections there.
pub(super) fn agreeing_http(
    all: &[HttpDecision],
    answers: &[ConnectionDecision],
    left_out: &mut Vec<String>,
) -> Http {
    let mut http = Http::default();
    for one in all {
        let as_answer = ConnectionDecision {
            to: one.to,
            ports: Some(one.ports),
            said: if one.yes {
                DecisionKind::Yes
            } else {
                DecisionKind::No
            },
            why: one.why.clone(),
        };
        let there: Vec<_> = answers
            .iter()
            .filter(|other| other.said != DecisionKind::Reads && overlap(other, &as_answer))
            .collect();
        let against = there
            .iter()
            .find(|other| (other.said == DecisionKind::No) == one.yes);
        let other_way = all
            .iter()
            .find(|other| other.yes != one.yes && is_same(one, other));
        if let Some(other) = against {
            left_out.push(format!("{}: but {}", one.why, other.why));
            left_out.push(format!("{}: but {}", other.why, one.why));
            http.refuted.insert(place(other));
        } else if let Some(other) = other_way {
            left_out.push(format!("{}: but {}", one.why, other.why));
        } else if there.is_empty() {
            match suggested(one) {
                Ok(rule) => {
                    let rules = http.by_place.entry((one.to, one.ports)).or_default();
                    let is_known = |known: &SuggestedHttp| {
                        let same = (known.is_allowed, &known.method, &known.path, &known.query);
                        same == (rule.is_allowed, &rule.method, &rule.path, &rule.query)
                    };
                    if !rules.iter().any(is_known) {
                        rules.push(rule);
                    }
                }
                Err(why) => left_out.push(format!("{}: {why}", one.why)),
            }
        }
    }
    for rules in http.by_place.values_mut() {
        rules.sort();
    }
    http
}

/// Whether they are about the same requests.
fn is_same(one: &HttpDecision, other: &HttpDecision) -> bool {
    let requests = |one: &HttpDecision| (one.to, one.ports, one.method.clone(), one.path.clone());
    requests(one) == requests(other)
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
        wider: (one.yes && one.has_body).then_some(ANY_BODY),
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
