//! The rules that would make a person's answers permanent, and let not a connection more through.

mod area;
mod http;
pub mod learned;
mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use guard_common::Protocol;
use guard_policy::{self as policy, Environment, PortSpec, Prefix, Profile};
use guard_proto::{LogKind, LogRecord, record::Record};
use serde::Serialize;

use self::{
    area::{Area, NO_PORT, areas},
    http::{Http, agreeing_http},
    text::{comment, toml},
};

use super::decisions::{ConnectionDecision, DecisionKind, LoggedDecisions, NameDecision};

/// Rules that are offered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Suggestion {
    /// The rules as text for a policy, with the reasons as comments.
    pub toml: String,
    /// The same, one by one.
    pub rules: Vec<SuggestedRule>,
    /// What was decided and is not in them, with the reason.
    pub left_out: Vec<String>,
}

/// A rule that is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuggestedRule {
    /// What to call it.
    pub name: String,
    /// Addresses and prefixes.
    pub to: Vec<String>,
    /// Empty: all.
    pub ports: Vec<String>,
    /// `allow`, `read-only` or `deny`.
    pub action: &'static str,
    /// Under `read-only`: a guess.
    pub profile: Option<Profile>,
    /// Under `read-only`.
    pub http: Vec<SuggestedHttp>,
    /// The answers that it comes from.
    pub why: Vec<String>,
    /// The policy that they were given under; null: the records do not name it.
    pub policy: Option<String>,
}

/// An HTTP rule that is offered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SuggestedHttp {
    /// What it does to such requests; those with `false` come first.
    pub is_allowed: bool,
    /// The method; null: any.
    pub method: Option<String>,
    /// The path; null: any.
    pub path: Option<String>,
    /// Empty: none at all; null: any.
    pub query: Option<String>,
    /// Why it is a comment: it would let more through than was said yes to.
    pub wider: Option<&'static str>,
    /// The answer that it comes from.
    pub why: String,
}

/// The rules that come of records, for each policy by itself: what people say under one is no answer under another, which may ask about
/// other things.
#[must_use]
pub fn by_policy(records: &[LogRecord]) -> Suggestion {
    let policies = policies(records);
    let mut by_policy: BTreeMap<Option<&String>, Vec<LogRecord>> = BTreeMap::new();
    let is_told = |record: &&LogRecord| {
        matches!(
            record.kind,
            LogKind::Request | LogKind::Answered | LogKind::HoleOpen
        )
    };
    for record in records.iter().filter(is_told) {
        let session = record.session.as_ref();
        let policy = session.and_then(|session| policies.get(session));
        let of_policy = by_policy.entry(policy).or_default();
        of_policy.push(record.clone());
    }
    let each = by_policy.into_iter().map(|(policy, records)| {
        let mut suggestion = suggest(&LoggedDecisions::of(&records));
        for rule in &mut suggestion.rules {
            rule.policy = policy.cloned();
        }
        (policy, suggestion)
    });
    let said = |one: &Suggestion| !one.rules.is_empty() || !one.left_out.is_empty();
    let mut each: Vec<_> = each.filter(|(_, one)| said(one)).collect();
    if each.len() <= 1 {
        return each.pop().map(|(_, one)| one).unwrap_or_default();
    }
    let mut all = Suggestion::default();
    for (policy, one) in each {
        if !one.rules.is_empty() {
            let under = policy.map_or_else(
                || "Under a policy that these records do not name:".to_owned(),
                |policy| format!("Under the policy {policy}:"),
            );
            let gap = if all.toml.is_empty() { "" } else { "\n" };
            all.toml += &format!("{gap}{}\n{}", comment(&under), one.toml);
        }
        all.rules.extend(one.rules);
        all.left_out.extend(one.left_out);
    }
    all
}

/// Under which policy each session runs, as far as records tell.
fn policies(records: &[LogRecord]) -> HashMap<String, String> {
    let mut policies = HashMap::new();
    for record in records {
        let policy = match record.record() {
            Record::SessionStart(one) => one.policy.get().cloned(),
            Record::Answered(one) => one.shown.get().and_then(|shown| {
                let policy = shown.get("policy")?.as_str()?;
                Some(policy.to_owned())
            }),
            _ => None,
        };
        if let (Some(session), Some(policy)) = (&record.session, policy) {
            policies.entry(session.clone()).or_insert(policy);
        }
    }
    policies
}

/// The rules that come of decisions.
#[must_use]
pub fn suggest(decisions: &LoggedDecisions) -> Suggestion {
    let mut left_out = decisions.unsaid.clone();
    let answers = agreeing(&decisions.answers, &mut left_out);
    let http = agreeing_http(&decisions.http, &answers, &mut left_out);
    let answers = unrefuted(answers, &http, &mut left_out);
    let mut rules = Vec::new();
    let yes = areas(answers.iter().filter(|one| one.said == DecisionKind::Yes));
    let reads = reads_alone(&answers, &yes, &http, &mut left_out);
    let no = areas(answers.iter().filter(|one| one.said == DecisionKind::No));
    for (areas, said) in [
        (no, DecisionKind::No),
        (yes, DecisionKind::Yes),
        (reads, DecisionKind::Reads),
    ] {
        rules.extend(joined(areas, said));
    }
    rules.extend(named(&decisions.names, &mut left_out));
    for ((to, ports), requests) in http.by_place {
        rules.push(http_rule(to, ports, requests));
    }
    let toml = toml(&rules);
    left_out.extend(problem(&toml));
    Suggestion {
        toml,
        rules,
        left_out,
    }
}

/// The answers that no HTTP answer contradicts: whoever contradicts one is left out with it, and each is named.
fn unrefuted(
    answers: Vec<ConnectionDecision>,
    http: &Http,
    left_out: &mut Vec<String>,
) -> Vec<ConnectionDecision> {
    let mut kept = Vec::new();
    for one in answers {
        match http.refuted.get(&said_there(&one)) {
            Some(other) => left_out.push(format!("{}: but {other}", one.why)),
            None => kept.push(one),
        }
    }
    kept
}

/// Where reads alone were allowed, and no other rule has them.
fn reads_alone(
    answers: &[ConnectionDecision],
    yes: &[Area],
    http: &Http,
    left_out: &mut Vec<String>,
) -> Vec<Area> {
    let is_needed = |one: &&ConnectionDecision| {
        let is_read = http
            .by_place
            .contains_key(&(one.to, one.ports.unwrap_or(NO_PORT)));
        !is_read && !yes.iter().any(|wider| wider.covers(&Area::of(one)))
    };
    let reads = answers.iter().filter(|one| one.said == DecisionKind::Reads);
    let (reads, had): (Vec<_>, Vec<_>) = reads.partition(is_needed);
    for one in had {
        left_out.push(format!("{}{HAS_READS}", one.why));
    }
    let (reads, hidden): (Vec<_>, Vec<_>) = areas(reads.into_iter())
        .into_iter()
        .partition(|area| !yes.iter().any(|other| area.would_hide(other)));
    for why in hidden.into_iter().flat_map(|area| area.why) {
        // Both hold for the same, and a rule for reads would take something of the other.
        left_out.push(format!(
            "{why}: reads alone, where another yes says everything"
        ));
    }
    reads
}

/// Why the rules are no policy, as where an address has more ports than a policy can tell apart.
fn problem(toml: &str) -> Option<String> {
    let text = format!("version = 1\n{toml}");
    let parsed = policy::parse("suggested.toml", &text);
    let compiled =
        parsed.and_then(|parsed| policy::compile(&parsed.policy, &Environment::default()));
    let first = compiled.err()?.into_iter().next()?;
    Some(format!(
        "these rules are no policy as they are: {}",
        first.message
    ))
}

/// The answers that no other one contradicts.
fn agreeing(answers: &[ConnectionDecision], left_out: &mut Vec<String>) -> Vec<ConnectionDecision> {
    let mut kept = Vec::new();
    for one in answers {
        let is_no = one.said == DecisionKind::No;
        let against = answers
            .iter()
            .find(|other| (other.said == DecisionKind::No) != is_no && overlap(one, other));
        match against {
            Some(other) => left_out.push(format!("{}: but {}", one.why, other.why)),
            None => kept.push(one.clone()),
        }
    }
    kept
}

fn overlap(one: &ConnectionDecision, other: &ConnectionDecision) -> bool {
    let ports = match (&one.ports, &other.ports) {
        (Some(one), Some(other)) => one.intersection(other).is_some(),
        _ => true,
    };
    ports && one.to.meets(&other.to)
}

/// Why a yes to reads has no rule of its own, behind what it is.
const HAS_READS: &str = ": another rule there has its reads";

/// Where an answer is about, and what it says.
type SaidThere = (Prefix, Option<PortSpec>, DecisionKind);

fn said_there(one: &ConnectionDecision) -> SaidThere {
    (one.to, one.ports, one.said)
}

/// One rule for all that has the same ports.
fn joined(areas: Vec<Area>, said: DecisionKind) -> Vec<SuggestedRule> {
    let mut by_ports: BTreeMap<Vec<PortSpec>, Vec<Area>> = BTreeMap::new();
    for area in areas {
        by_ports.entry(area.ports.clone()).or_default().push(area);
    }
    let (action, word) = match said {
        DecisionKind::Yes => ("allow", "allowed"),
        DecisionKind::Reads => ("read-only", "read"),
        DecisionKind::No => ("deny", "denied"),
    };
    let rules = by_ports.into_iter().map(|(ports, mut areas)| {
        areas.sort_by_key(|area| area.to);
        SuggestedRule {
            name: name(word, &areas[0].to, areas.len() - 1, &ports),
            to: areas.iter().map(|area| area.to.to_short()).collect(),
            ports: ports.iter().map(ToString::to_string).collect(),
            action,
            profile: likely(action, &ports, &[]),
            http: Vec::new(),
            why: areas
                .into_iter()
                .flat_map(|area| area.why)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            policy: None,
        }
    });
    rules.collect()
}

/// One rule for each name and its ports. A yes to everything is a yes to reads, too.
fn named(decisions: &[NameDecision], left_out: &mut Vec<String>) -> Vec<SuggestedRule> {
    let mut by_name: BTreeMap<_, Vec<&NameDecision>> = BTreeMap::new();
    for one in decisions {
        by_name.entry((&one.name, one.ports)).or_default().push(one);
    }
    let rules = by_name.into_iter().map(|((name, ports), all)| {
        let reads = all.iter().all(|one| one.reads);
        let (action, word) = if reads {
            ("read-only", "read")
        } else {
            ("allow", "allowed")
        };
        let (meant, had): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.reads == reads);
        left_out.extend(had.iter().map(|one| format!("{}{HAS_READS}", one.why)));
        let at = ports.map(|ports| format!(" {ports}")).unwrap_or_default();
        SuggestedRule {
            name: format!("{word} {name}{at}"),
            to: vec![name.clone()],
            ports: ports.iter().map(ToString::to_string).collect(),
            action,
            profile: likely(action, ports.as_slice(), &[]),
            http: Vec::new(),
            why: meant.iter().map(|one| one.why.clone()).collect(),
            policy: None,
        }
    });
    rules.collect()
}

fn name(word: &str, first: &Prefix, more: usize, ports: &[PortSpec]) -> String {
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let (some, rest) = ports.split_at(ports.len().min(2));
    let ports = some
        .iter()
        .map(|port| format!(" {port}"))
        .collect::<String>();
    let rest = if rest.is_empty() {
        String::new()
    } else {
        format!(" and {} more ports", rest.len())
    };
    format!("{word} {}{more}{ports}{rest}", first.to_short())
}

fn http_rule(to: Prefix, ports: PortSpec, http: Vec<SuggestedHttp>) -> SuggestedRule {
    SuggestedRule {
        name: name("requests to", &to, 0, &[ports]),
        to: vec![to.to_short()],
        ports: vec![ports.to_string()],
        action: "read-only",
        profile: likely("read-only", &[ports], &http),
        http,
        why: Vec::new(),
        policy: None,
    }
}

/// The profile of what may answer there, by the paths of requests or by the one port that is meant.
fn likely(action: &str, ports: &[PortSpec], http: &[SuggestedHttp]) -> Option<Profile> {
    let mut paths = http.iter().filter_map(|one| one.path.as_deref());
    let by_path = paths.find_map(Profile::of_path);
    let by_port = match ports {
        [one] if one.protocol == Protocol::TCP && one.low == one.high => Profile::of_port(one.low),
        _ => None,
    };
    by_path.or(by_port).filter(|_| action == "read-only")
}
