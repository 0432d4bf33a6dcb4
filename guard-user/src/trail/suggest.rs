//! From answers to rules: what would make them permanent, and not a connection more.

use std::collections::{BTreeMap, BTreeSet};

use guard_common::Protocol;
use serde::Serialize;

use super::decisions::{Answer, Decisions, HttpAnswer, Said};
use crate::policy::{self, Environment, PortSpec, Prefix};

/// Rules that are offered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Suggestion {
    /// As text for a policy, with the reasons as comments.
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
    /// Ports; empty: all.
    pub ports: Vec<String>,
    /// `allow`, `read-only` or `deny`.
    pub action: &'static str,
    /// Under `read-only`.
    pub http: Vec<SuggestedHttp>,
    /// The answers that it comes from.
    pub why: Vec<String>,
}

/// An HTTP rule that is offered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SuggestedHttp {
    /// What it does to such requests: `deny` before `allow`, since the first that matches decides.
    pub is_allowed: bool,
    /// The method; null: any.
    pub method: Option<String>,
    /// The path; null: any.
    pub path: Option<String>,
    /// The query; empty: none at all; null: any.
    pub query: Option<String>,
    /// Why it is a comment: it would let more through than was said yes to.
    pub wider: Option<&'static str>,
    /// The answer that it comes from.
    pub why: String,
}

/// A request's body is not for a rule to tell.
const ANY_BODY: &str = "a rule cannot tell one body from another: with this, whatever body passes";

/// The rules that come of decisions.
#[must_use]
pub fn suggest(decisions: &Decisions) -> Suggestion {
    let mut left_out = decisions.unsaid.clone();
    let answers = agreeing(&decisions.answers, &mut left_out);
    let http = agreeing_http(&decisions.http, &answers, &mut left_out);
    // Whoever contradicts an HTTP answer is left out with it.
    let is_meant = |one: &&Answer| !http.refuted.contains(&place(one));
    let answers: Vec<_> = answers.iter().filter(is_meant).cloned().collect();
    let mut rules = Vec::new();
    let yes = areas(answers.iter().filter(|one| one.said == Said::Yes));
    let is_needed = |one: &&Answer| {
        let is_read = http
            .by_place
            .contains_key(&(one.to, one.ports.unwrap_or(NO_PORT)));
        !is_read && !yes.iter().any(|wider| wider.covers(&Area::of(one)))
    };
    let reads = answers.iter().filter(|one| one.said == Said::Reads);
    let (reads, hidden): (Vec<_>, Vec<_>) = areas(reads.filter(is_needed))
        .into_iter()
        .partition(|area| !yes.iter().any(|other| area.would_hide(other)));
    for why in hidden.into_iter().flat_map(|area| area.why) {
        // Both hold for the same, and a rule for reads would take something of the other.
        left_out.push(format!(
            "{why}: reads alone, where another yes says everything"
        ));
    }
    let no = areas(answers.iter().filter(|one| one.said == Said::No));
    for (areas, said) in [(no, Said::No), (yes, Said::Yes), (reads, Said::Reads)] {
        rules.extend(joined(areas, said));
    }
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
fn agreeing(answers: &[Answer], left_out: &mut Vec<String>) -> Vec<Answer> {
    let mut kept = Vec::new();
    for one in answers {
        let is_no = one.said == Said::No;
        let against = answers
            .iter()
            .find(|other| (other.said == Said::No) != is_no && overlap(one, other));
        match against {
            Some(other) => left_out.push(format!("{}: but {}", one.why, other.why)),
            None => kept.push(one.clone()),
        }
    }
    kept
}

fn overlap(one: &Answer, other: &Answer) -> bool {
    let ports = match (&one.ports, &other.ports) {
        (Some(one), Some(other)) => one.intersection(other).is_some(),
        _ => true,
    };
    ports && (one.to.contains(&other.to) || other.to.contains(&one.to))
}

/// Where an answer is about.
type PlaceOf = (Prefix, Option<PortSpec>);

fn place(one: &Answer) -> PlaceOf {
    (one.to, one.ports)
}

/// HTTP answers by where to.
#[derive(Default)]
struct Http {
    by_place: BTreeMap<(Prefix, PortSpec), Vec<SuggestedHttp>>,
    /// Answers about connections that they contradict.
    refuted: BTreeSet<PlaceOf>,
}

/// The HTTP answers that no other one contradicts, nor one about connections there.
fn agreeing_http(all: &[HttpAnswer], answers: &[Answer], left_out: &mut Vec<String>) -> Http {
    let mut http = Http::default();
    for one in all {
        let as_answer = Answer {
            to: one.to,
            ports: Some(one.ports),
            said: if one.yes { Said::Yes } else { Said::No },
            why: one.why.clone(),
        };
        let there: Vec<_> = answers
            .iter()
            .filter(|other| other.said != Said::Reads && overlap(other, &as_answer))
            .collect();
        let against = there
            .iter()
            .find(|other| (other.said == Said::No) == one.yes);
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
fn is_same(one: &HttpAnswer, other: &HttpAnswer) -> bool {
    let requests = |one: &HttpAnswer| (one.to, one.ports, one.method.clone(), one.path.clone());
    requests(one) == requests(other)
}

/// An HTTP answer as a rule, if one can say it.
fn suggested(one: &HttpAnswer) -> Result<SuggestedHttp, &'static str> {
    let (path, query) = match one.path.as_deref().map(|path| path.split_once('?')) {
        Some(Some((path, query))) => (Some(path), Some(query)),
        // One that names no query has none; a pattern that names none is for any.
        Some(None) => (one.path.as_deref(), (!one.is_pattern).then_some("")),
        None => (None, None),
    };
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

/// Addresses, and ports of them.
#[derive(Clone, Debug)]
struct Area {
    to: Prefix,
    /// Sorted, neither touching nor overlapping. Empty: all.
    ports: Vec<PortSpec>,
    why: BTreeSet<String>,
}

/// What no answer is about.
const NO_PORT: PortSpec = PortSpec::one(Protocol::ANY, 0);

impl Area {
    fn of(one: &Answer) -> Self {
        Self {
            to: one.to,
            ports: one.ports.into_iter().collect(),
            why: BTreeSet::from([one.why.clone()]),
        }
    }

    /// Whether all of another one is in it.
    fn covers(&self, other: &Self) -> bool {
        let has = |port: &PortSpec| {
            self.ports
                .iter()
                .any(|own| own.intersection(port) == Some(*port))
        };
        let ports =
            self.ports.is_empty() || (!other.ports.is_empty() && other.ports.iter().all(has));
        self.to.contains(&other.to) && ports
    }

    /// Whether a rule for it would decide for connections that are in another one, too.
    fn would_hide(&self, other: &Self) -> bool {
        let meet = |one: &PortSpec| {
            other
                .ports
                .iter()
                .any(|two| one.intersection(two).is_some())
        };
        let ports = self.ports.is_empty() || other.ports.is_empty() || self.ports.iter().any(meet);
        let narrower = || {
            let widest = |area: &Self| match area.ports.is_empty() {
                true => u32::MAX,
                false => area
                    .ports
                    .iter()
                    .map(|port| u32::from(port.width()))
                    .max()
                    .unwrap_or(0),
            };
            widest(other) < widest(self)
        };
        match (self.to == other.to, other.to.contains(&self.to)) {
            (true, _) => ports && !narrower(),
            (false, is_inside) => is_inside && ports,
        }
    }
}

/// What answers of one kind are about, each address and port once: adjacent ones put together, and nothing else.
fn areas<'a>(answers: impl Iterator<Item = &'a Answer>) -> Vec<Area> {
    let mut by_prefix: BTreeMap<Prefix, Area> = BTreeMap::new();
    let mut everything: BTreeSet<Prefix> = BTreeSet::new();
    for one in answers {
        let area = by_prefix.entry(one.to).or_insert_with(|| Area {
            to: one.to,
            ports: Vec::new(),
            why: BTreeSet::new(),
        });
        area.why.insert(one.why.clone());
        match one.ports {
            Some(ports) => area.ports.push(ports),
            None => {
                everything.insert(one.to);
            }
        }
    }
    for area in by_prefix.values_mut() {
        area.ports = match everything.contains(&area.to) {
            true => Vec::new(),
            false => touching(std::mem::take(&mut area.ports)),
        };
    }
    aggregated(by_prefix.into_values().collect())
}

/// Ports of which none touch.
fn touching(mut ports: Vec<PortSpec>) -> Vec<PortSpec> {
    ports.sort();
    let mut joined: Vec<PortSpec> = Vec::new();
    for one in ports {
        match joined.last_mut() {
            Some(last)
                if last.protocol == one.protocol && one.low <= last.high.saturating_add(1) =>
            {
                last.high = last.high.max(one.high);
            }
            _ => joined.push(one),
        }
    }
    joined
}

/// Halves of a prefix with the same ports as that prefix, again and again.
fn aggregated(mut areas: Vec<Area>) -> Vec<Area> {
    loop {
        areas.sort_by_key(|area| (std::cmp::Reverse(area.to.length()), area.to));
        let halves = areas.iter().enumerate().find_map(|(at, one)| {
            let parent = one.to.parent()?;
            let other = areas[at + 1..]
                .iter()
                .position(|other| other.ports == one.ports && other.to.parent() == Some(parent))?;
            // Everything of one family is not half of all that there is.
            (parent.length() > 0).then_some((at, at + 1 + other, parent))
        });
        let Some((first, second, parent)) = halves else {
            return areas;
        };
        let other = areas.remove(second);
        let one = &mut areas[first];
        one.to = parent;
        one.why.extend(other.why);
        // It may be one that was answered as a whole, too.
        let (mut whole, rest): (Vec<_>, Vec<_>) =
            areas.into_iter().partition(|area| area.to == parent);
        let ports = whole.iter().flat_map(|area| area.ports.clone()).collect();
        let is_all = whole.iter().any(|area| area.ports.is_empty());
        let why = whole.iter().flat_map(|area| area.why.clone()).collect();
        areas = rest;
        if let Some(area) = whole.pop() {
            let ports = if is_all { Vec::new() } else { touching(ports) };
            areas.push(Area { ports, why, ..area });
        }
    }
}

/// One rule for all that has the same ports.
fn joined(areas: Vec<Area>, said: Said) -> Vec<SuggestedRule> {
    let mut by_ports: BTreeMap<Vec<PortSpec>, Vec<Area>> = BTreeMap::new();
    for area in areas {
        by_ports.entry(area.ports.clone()).or_default().push(area);
    }
    let (action, word) = match said {
        Said::Yes => ("allow", "allowed"),
        Said::Reads => ("read-only", "read"),
        Said::No => ("deny", "denied"),
    };
    let rules = by_ports.into_iter().map(|(ports, mut areas)| {
        areas.sort_by_key(|area| area.to);
        SuggestedRule {
            name: name(word, &areas[0].to, areas.len() - 1, &ports),
            to: areas.iter().map(|area| area.to.to_short()).collect(),
            ports: ports.iter().map(ToString::to_string).collect(),
            action,
            http: Vec::new(),
            why: areas
                .into_iter()
                .flat_map(|area| area.why)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
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
        http,
        why: Vec::new(),
    }
}

/// The rules as text for a policy.
fn toml(rules: &[SuggestedRule]) -> String {
    let mut text = String::new();
    for rule in rules {
        if !text.is_empty() {
            text.push('\n');
        }
        rule.write(&mut text);
    }
    text
}

impl SuggestedRule {
    fn write(&self, text: &mut String) {
        for why in &self.why {
            text.push_str(&comment(why));
        }
        let list = |items: &[String]| {
            items
                .iter()
                .map(|item| string(item))
                .collect::<Vec<_>>()
                .join(", ")
        };
        text.push_str("[[rule]]\n");
        text.push_str(&format!(
            "name = {}\nto = [{}]\n",
            string(&self.name),
            list(&self.to)
        ));
        if !self.ports.is_empty() {
            text.push_str(&format!("ports = [{}]\n", list(&self.ports)));
        }
        text.push_str(&format!("action = {}\n", string(self.action)));
        for http in &self.http {
            text.push('\n');
            http.write(text);
        }
    }
}

impl SuggestedHttp {
    fn write(&self, text: &mut String) {
        text.push_str(&comment(&self.why));
        if let Some(wider) = self.wider {
            text.push_str(&comment(&format!("Left to you, since {wider}.")));
        }
        let action = if self.is_allowed { "allow" } else { "deny" };
        let method = self
            .method
            .as_ref()
            .map(|method| format!("method = [{}]\n", string(method)));
        let path = self
            .path
            .as_ref()
            .map(|path| format!("path = {}\n", string(path)));
        let query = self
            .query
            .as_ref()
            .map(|query| format!("query = {}\n", string(query)));
        let lines = ["[[rule.http]]\n".to_owned()]
            .into_iter()
            .chain(method)
            .chain(path)
            .chain(query);
        let mark = if self.wider.is_some() { "#" } else { "" };
        for line in lines.chain([format!("action = \"{action}\"\n")]) {
            text.push_str(mark);
            text.push_str(&line);
        }
    }
}

/// A comment of one line, whatever is in it.
fn comment(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() || is_turning(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    format!("# {}\n", text.chars().map(plain).collect::<String>())
}

/// What changes the direction of text hides what is there.
const fn is_turning(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
