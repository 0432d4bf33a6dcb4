//! From flows to a policy: what would have let exactly that pass, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use guard_common::{DNS_PORT, Protocol, Verdict};
use guard_policy::{self as policy, Environment, Group, PortSpec, Prefix};
use guard_proto::Flow;
use serde::Serialize;

use super::{
    area::touching,
    text::{comment, string},
};

/// Of one destination no more ports are listed: then it is all of a protocol that has more than half as many.
const MAX_PORTS: usize = 32;
/// Programs that are named beside a destination.
const PROGRAMS: usize = 8;

/// A policy that is offered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LearnedPolicy {
    /// As text, with what it comes from as comments.
    pub toml: String,
    /// Its rules, one by one.
    pub rules: Vec<LearnedRule>,
    /// What passed and is not in it, with the reason.
    pub left_out: Vec<String>,
}

/// A rule of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LearnedRule {
    /// What to call it.
    pub name: String,
    /// Names, or groups, or addresses.
    pub to: Vec<String>,
    /// Never empty.
    pub ports: Vec<String>,
    /// `allow`, `confirm` or `read-only`.
    pub action: &'static str,
    /// Who went there, and how often; a line for each destination.
    pub why: Vec<String>,
}

/// What a rule is for. Rules are sorted so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LearnedTarget {
    Name(String),
    Group(&'static str),
    Address(Prefix),
}

impl LearnedTarget {
    fn kind(&self) -> &'static str {
        match self {
            Self::Name(_) => "names",
            Self::Group(_) => "name servers",
            Self::Address(_) => "addresses",
        }
    }

    fn order(&self) -> u8 {
        match self {
            Self::Name(_) => 0,
            Self::Group(_) => 1,
            Self::Address(_) => 2,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Group(group) => (*group).to_owned(),
            Self::Address(prefix) => prefix.to_short(),
        }
    }
}

/// What went to a target.
#[derive(Debug, Default)]
struct Use {
    ports: Vec<PortSpec>,
    /// Connections, by program.
    programs: BTreeMap<String, u64>,
    /// What decided, where a person or the proxy had a say.
    rules: BTreeSet<String>,
}

/// Everything that went to anywhere.
#[derive(Debug, Default)]
struct Uses {
    all: BTreeMap<(&'static str, LearnedTarget), Use>,
    left_out: BTreeSet<String>,
}

/// The policy that would have let exactly these pass.
#[must_use]
pub fn learn(flows: &[Flow], environment: &Environment) -> LearnedPolicy {
    let mut uses = Uses::default();
    for flow in flows {
        if let Err(why) = uses.add(flow, environment) {
            uses.left_out.insert(format!("{}: {why}", words(flow)));
        }
    }
    let rules = rules(strictest(uses.all));
    let sessions: BTreeSet<_> = flows.iter().map(|flow| flow.session.as_str()).collect();
    let mut learned = LearnedPolicy {
        toml: toml(&rules, &sessions),
        rules,
        left_out: uses.left_out.into_iter().collect(),
    };
    learned.left_out.extend(problem(&learned.toml));
    learned
}

/// Why it is no policy, as where an address has more ports than a policy can tell apart.
fn problem(toml: &str) -> Option<String> {
    let parsed = policy::parse("learned.toml", toml);
    let compiled =
        parsed.and_then(|parsed| policy::compile(&parsed.policy, &Environment::default()));
    let first = compiled.err()?.into_iter().next()?;
    Some(format!("this is no policy as it is: {}", first.message))
}

impl Uses {
    fn add(&mut self, flow: &Flow, environment: &Environment) -> Result<(), &'static str> {
        let action = action(&flow.verdict).ok_or("no rule lets it pass")?;
        let ports = ports(&flow.protocol, flow.port).ok_or("no rule can name its protocol")?;
        let address: IpAddr = flow.address.parse().map_err(|_| "it is no address")?;
        for target in targets(flow, address, ports, environment) {
            let one = self.all.entry((action, target)).or_default();
            one.ports.push(ports);
            let program = flow.program.as_deref().unwrap_or("an unknown program");
            *one.programs.entry(program.to_owned()).or_default() += flow.connections;
            if action != Verdict::Allow.as_str() {
                one.rules.extend(flow.rule.clone());
            }
        }
        Ok(())
    }
}

fn action(verdict: &str) -> Option<&'static str> {
    let all = [Verdict::Allow, Verdict::Confirm, Verdict::ReadOnly];
    all.map(Verdict::as_str)
        .into_iter()
        .find(|known| *known == verdict)
}

fn ports(protocol: &str, port: Option<u16>) -> Option<PortSpec> {
    let all: PortSpec = protocol.parse().ok()?;
    match port {
        Some(port) => Some(PortSpec::one(all.protocol, port)),
        None => Some(all),
    }
}

/// Names before addresses; but where no name counts, the address.
fn targets(
    flow: &Flow,
    address: IpAddr,
    ports: PortSpec,
    environment: &Environment,
) -> Vec<LearnedTarget> {
    let to = Prefix::from(address);
    if ports.low == DNS_PORT && ports.high == DNS_PORT && environment.dns.contains(&address) {
        return vec![LearnedTarget::Group(Group::Dns.as_str())];
    }
    let names = flow.names.iter().map(|name| name.trim_end_matches('.'));
    let names: Vec<_> = names
        .filter(|name| name.parse::<policy::DomainName>().is_ok())
        .map(|name| LearnedTarget::Name(name.to_ascii_lowercase()))
        .collect();
    if address.is_loopback() {
        // Another program's server there is this machine's.
        let machine = LearnedTarget::Group(Group::GuardedHost.as_str());
        return vec![LearnedTarget::Address(to), machine];
    }
    if names.is_empty() || is_local(&to, environment) {
        vec![LearnedTarget::Address(to)]
    } else {
        names
    }
}

/// Whether no name makes a policy more permissive there.
fn is_local(to: &Prefix, environment: &Environment) -> bool {
    let mut areas = Group::LOCAL
        .iter()
        .flat_map(|group| group.areas(environment));
    areas.any(|area| area.contains(to))
}

/// Where one port of a destination was judged in several ways, as under several policies, the strictest counts.
fn strictest(
    mut all: BTreeMap<(&'static str, LearnedTarget), Use>,
) -> BTreeMap<(&'static str, LearnedTarget), Use> {
    let order = [Verdict::Confirm, Verdict::ReadOnly, Verdict::Allow];
    let mut decided: BTreeSet<(LearnedTarget, PortSpec)> = BTreeSet::new();
    for action in order.map(Verdict::as_str) {
        let of_it = all.iter_mut().filter(|((one, _), _)| *one == action);
        let mut new = Vec::new();
        for ((_, target), one) in of_it {
            let is_new = |port: &PortSpec| !decided.contains(&(target.clone(), *port));
            one.ports.retain(is_new);
            new.extend(one.ports.iter().map(|port| (target.clone(), *port)));
        }
        decided.extend(new);
    }
    all.retain(|_, one| !one.ports.is_empty());
    all
}

/// One rule for all of a kind that has the same ports.
fn rules(all: BTreeMap<(&'static str, LearnedTarget), Use>) -> Vec<LearnedRule> {
    let mut grouped: BTreeMap<_, Vec<(LearnedTarget, Use)>> = BTreeMap::new();
    for ((action, target), one) in all {
        let ports = few(touching(one.ports.clone()));
        let at = (target.order(), target.kind(), action, ports);
        grouped.entry(at).or_default().push((target, one));
    }
    let rules = grouped.into_iter().map(|((_, kind, action, ports), uses)| {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        LearnedRule {
            name: name(kind, action, &uses, &ports),
            to: uses.iter().map(|(target, _)| target.text()).collect(),
            ports,
            action,
            why: uses.iter().map(|(target, one)| one.why(target)).collect(),
        }
    });
    rules.collect()
}

/// A protocol with too many ports is all of it.
fn few(ports: Vec<PortSpec>) -> Vec<PortSpec> {
    if ports.len() <= MAX_PORTS {
        return ports;
    }
    let count = |protocol: Protocol| ports.iter().filter(|one| one.protocol == protocol).count();
    let of = |one: &PortSpec| {
        if count(one.protocol) > MAX_PORTS / 2 {
            PortSpec::all(one.protocol)
        } else {
            *one
        }
    };
    let all: BTreeSet<_> = ports.iter().map(of).collect();
    all.into_iter().collect()
}

impl Use {
    /// "pypi.org: pip 12, curl 1"
    fn why(&self, target: &LearnedTarget) -> String {
        let mut programs: Vec<_> = self.programs.iter().collect();
        programs.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let more = programs.len().saturating_sub(PROGRAMS);
        let mut words: Vec<_> = programs
            .into_iter()
            .take(PROGRAMS)
            .map(|(program, count)| format!("{program} {count}"))
            .collect();
        if more > 0 {
            words.push(format!("and {more} more programs"));
        }
        let rules = self
            .rules
            .iter()
            .map(|rule| format!("by the rule {rule:?}, which may say more"));
        words.extend(rules);
        if few(touching(self.ports.clone())) != touching(self.ports.clone()) {
            words.push(format!("{} ports, so all of them", self.ports.len()));
        }
        format!("{}: {}", target.text(), words.join(", "))
    }
}

fn name(kind: &str, action: &str, uses: &[(LearnedTarget, Use)], ports: &[String]) -> String {
    let what = match uses {
        [(only, _)] => only.text(),
        _ => format!("{} {kind}", uses.len()),
    };
    let (some, rest) = ports.split_at(ports.len().min(3));
    let rest = match rest.len() {
        0 => String::new(),
        more => format!(" and {more} more ports"),
    };
    let verb = match action {
        "allow" => "reached",
        "confirm" => "asked about",
        _ => "read",
    };
    format!("{verb} {what} {}{rest}", some.join(" "))
}

fn words(flow: &Flow) -> String {
    let host = flow.host.as_ref().map(|host| format!(" ({host})"));
    let port = flow.port.map(|port| format!(" port {port}"));
    let program = flow.program.as_ref().map(|program| format!(", {program}"));
    let all = [host, port, program].map(Option::unwrap_or_default);
    format!("{} {}{}", flow.protocol, flow.address, all.concat())
}

fn toml(rules: &[LearnedRule], sessions: &BTreeSet<&str>) -> String {
    let sessions: Vec<_> = sessions.iter().copied().collect();
    let whose = match &sessions[..] {
        [] => "no session".to_owned(),
        all => all.join(", "),
    };
    let mut text = comment(&format!(
        "What {whose} reached, and nothing else. Written by `guard suggest --from-flows`."
    ));
    text.push_str(&comment(
        "Beside each destination are the programs, and how often each connected.",
    ));
    text.push_str("version = 1\nname = \"learned\"\ndefault = \"deny\"\n");
    let mut targets = rules.iter().flat_map(|rule| &rule.to);
    if targets.any(|to| to.parse::<policy::DomainName>().is_ok()) {
        // A rule for an address would have any name asked for.
        text.push_str("\n[dns]\nnames = \"rules\"\n");
    }
    for rule in rules {
        text.push('\n');
        for why in &rule.why {
            text.push_str(&comment(why));
        }
        let list = |items: &[String]| {
            let items: Vec<_> = items.iter().map(|item| string(item)).collect();
            items.join(", ")
        };
        text.push_str(&format!(
            "[[rule]]\nname = {}\nto = [{}]\nports = [{}]\naction = {}\n",
            string(&rule.name),
            list(&rule.to),
            list(&rule.ports),
            string(rule.action)
        ));
    }
    text
}
