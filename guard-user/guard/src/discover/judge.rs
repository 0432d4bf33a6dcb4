//! What a policy does with places that are looked up nowhere: nothing is sent to them, not even a question for their address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use guard_common::Verdict;
use guard_discover::Host;
use guard_policy::{
    self as policy, Compiled, Destination, Diagnostic, DomainName, Environment, ExplainedVerdict,
    NamePattern, Parsed, Policy, PortSpec, Target,
};

use super::items::ANY;
use crate::policy::explain::environment_with;

/// Where addresses that stand for names are taken from: some public ones, and some of private networks.
const PUBLIC: [[u8; 2]; 3] = [[11, 22], [101, 102], [151, 152]];
const PRIVATE: [[u8; 2]; 3] = [[192, 168], [10, 77], [172, 20]];
/// Prefixes and groups that are no rule for one of these addresses in particular.
const WIDE: [&str; 9] = [
    "@public",
    "@private",
    "@on-link",
    "0.0.0.0/0",
    "::/0",
    "::ffff:0.0.0.0/96",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
];

/// A policy, and what stands for the names of the places that it is asked about.
pub(crate) struct Judge<'p> {
    parsed: &'p Parsed,
    environment: Environment,
    compiled: Compiled,
    /// The same as it judges names; where no rule is for all below one, their addresses say it all.
    by_name: Option<Box<(Environment, Compiled)>>,
}

impl<'p> Judge<'p> {
    /// For places on these hosts, with the addresses that are known. Each other name gets addresses that no rule but one for this name is for: a public one, and where the
    /// name looks like one of a private network, one of those, too.
    ///
    /// # Errors
    ///
    /// What is wrong with the policy.
    pub(crate) fn new<'h>(
        parsed: &'p Parsed,
        hosts: impl IntoIterator<Item = (&'h Host, &'h [IpAddr])>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let environment = environment_with(BTreeMap::new());
        let compiled = policy::compile(&parsed.policy, &environment)?;
        let alone = Self {
            parsed,
            environment,
            compiled,
            by_name: None,
        };
        let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for (host, known) in hosts {
            let Ok(Target::Name(name)) = host.as_str().parse() else {
                continue;
            };
            let number = names.len();
            names
                .entry(name.as_str().to_owned())
                .or_insert_with(|| match known {
                    [] => alone.stand_ins(&name, number),
                    known => known.to_vec(),
                });
        }
        let environment = Environment {
            names,
            ..alone.environment
        };
        let compiled = policy::compile(&parsed.policy, &environment)?;
        Ok(Self {
            parsed,
            by_name: by_name(parsed, &environment)?.map(Box::new),
            environment,
            compiled,
        })
    }

    /// The policy.
    pub(super) const fn policy(&self) -> &Policy {
        &self.parsed.policy
    }

    fn stand_ins(&self, name: &DomainName, number: usize) -> Vec<IpAddr> {
        let mut all = vec![self.stand_in(PUBLIC, number)];
        if is_private(name.as_str()) {
            all.push(self.stand_in(PRIVATE, number));
        }
        all
    }

    fn stand_in(&self, among: [[u8; 2]; 3], number: usize) -> IpAddr {
        let [_, _, high, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
        let all = among.map(|[a, b]| IpAddr::from(Ipv4Addr::new(a, b, high, low)));
        let is_anyones = |one: &ExplainedVerdict| {
            let matched = one.matched.as_deref().unwrap_or_default();
            one.rule.is_none() || WIDE.iter().any(|wide| matched.starts_with(wide))
        };
        let found = all.iter().find(|address| {
            let to = Target::Prefix((**address).into());
            self.explain(to, &[]).iter().all(is_anyones)
        });
        *found.unwrap_or(&all[0])
    }

    /// What `guard explain` says of it.
    pub(crate) fn explained(&self, host: &str, ports: &str) -> Vec<ExplainedVerdict> {
        let Ok(to) = host.parse::<Target>() else {
            return Vec::new();
        };
        let ports = match ports {
            ANY => Vec::new(),
            ports => match ports.parse::<PortSpec>() {
                Ok(ports) => vec![ports],
                Err(_) => return Vec::new(),
            },
        };
        let all = self.explain(to.clone(), &ports);
        // What decides for a part of a network alone goes on deciding there, whatever a rule for the whole says.
        let is_whole = |one: &ExplainedVerdict| {
            let shown = one.destination.parse::<Destination>();
            shown.is_ok_and(|shown| shown.target == to)
        };
        if all.iter().any(is_whole) {
            all.into_iter().filter(|one| is_whole(one)).collect()
        } else {
            all
        }
    }

    fn explain(&self, target: Target, ports: &[PortSpec]) -> Vec<ExplainedVerdict> {
        // What a session asks for by a name that such a rule is for counts by that name, whatever its addresses are.
        let is_below = |compiled: &Compiled| match &target {
            Target::Name(name) => matches!(compiled.pattern_of(name), Some(NamePattern::Below(_))),
            _ => false,
        };
        let by_name = self.by_name.as_deref();
        let (environment, compiled) = match by_name.filter(|(_, compiled)| is_below(compiled)) {
            Some((environment, compiled)) => (environment, compiled),
            None => (&self.environment, &self.compiled),
        };
        let to = Destination { target, port: None };
        policy::explain(&self.parsed.policy, compiled, environment, &to, ports)
    }
}

/// A policy as it judges names; nothing where it has no rule for all below one.
fn by_name(
    parsed: &Parsed,
    environment: &Environment,
) -> Result<Option<(Environment, Compiled)>, Vec<Diagnostic>> {
    let mut to = parsed.policy.rules.iter().flat_map(|rule| &rule.to);
    if !to.any(|target| matches!(target, Target::Wildcard(_))) {
        return Ok(None);
    }
    let environment = Environment {
        judges_names: true,
        ..environment.clone()
    };
    let compiled = policy::compile(&parsed.policy, &environment)?;
    Ok(Some((environment, compiled)))
}

/// Whether a name is likelier to be one of a private network than of the internet.
fn is_private(name: &str) -> bool {
    let ends = [
        "local",
        "lan",
        "home",
        "arpa",
        "internal",
        "intranet",
        "corp",
        "private",
        "localdomain",
    ];
    match name.rsplit_once('.') {
        Some((_, last)) => ends.contains(&last),
        None => true,
    }
}

/// A verdict by its word. What is unknown is taken for what lets most through.
pub(crate) fn verdict(text: &str) -> Verdict {
    [Verdict::Deny, Verdict::Confirm, Verdict::ReadOnly]
        .into_iter()
        .find(|verdict| verdict.as_str() == text)
        .unwrap_or(Verdict::Allow)
}
