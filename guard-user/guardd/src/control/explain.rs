//! The verdict for a destination, and the rule or hole that gives it.

use guard_common::{DNS_PORT, Protocol, SessionId, Verdict};
use guard_datapath::LiveHole;
use guard_policy::{
    self as policy, Destination, DnsNames, DomainName, Environment, Policy, PortSpec, Prefix,
    strictness,
};
use guard_proto::{
    PolicyRef,
    destination::Listener,
    explain::{Explanation, Explanations},
};
use guard_sys::threads;

use crate::{
    control::failure::CallError,
    holes::opening,
    listeners::identify,
    policies::{InForce, library::PolicyText, load},
    quota::Account,
    shared::Shared,
};

/// What a destination and ports are, where the error does not say it.
const WHAT_TO_WRITE: &str =
    "give an address, a prefix, a name or a group, and ports as tcp/443, udp/53 or icmp";

/// Parses a client's destination and ports.
///
/// # Errors
///
/// `Invalid`, with what was expected.
pub(crate) fn parse(to: &str, ports: &[String]) -> Result<(Destination, Vec<PortSpec>), CallError> {
    let wrong = |what: &str, why: policy::Invalid| {
        // The error's own help is about what was typed.
        let fix = why.help.unwrap_or_else(|| WHAT_TO_WRITE.to_owned());
        CallError::invalid(format!("cannot understand {what:?}"), why.message, fix)
    };
    let of_names = |why: policy::Invalid| match to.strip_prefix("*.") {
        Some(below) => policy::Invalid {
            help: Some(format!("write one of the names, such as www.{below}")),
            ..why
        },
        None => why,
    };
    let destination: Destination = to.parse().map_err(|why| wrong(to, of_names(why)))?;
    let specs = ports.iter();
    let specs = specs.map(|port| port.parse().map_err(|why| wrong(port, why)));
    let specs: Vec<PortSpec> = specs.collect::<Result<_, _>>()?;
    destination
        .agree(&specs)
        .map_err(|why| wrong(&ports.join(","), why))?;
    Ok((destination, specs))
}

/// The name that must be looked up for a destination, if there is one.
#[must_use]
pub(crate) fn name_in(to: &Destination) -> Option<String> {
    match &to.target {
        policy::Target::Name(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

/// The policies that explain a verdict.
#[derive(Clone, Debug)]
pub(crate) enum Under {
    /// A session's policies and holes.
    Session(SessionId),
    /// A policy of guardd's, or one that the client brings, without a session and holes, and a project's that judges beside it.
    Policy {
        /// The policy.
        policy: PolicyRef,
        /// The project's.
        beside: Option<PolicyRef>,
        /// Who asks.
        account: Account,
    },
}

/// The verdict for a destination. At a loopback address it is for a server of the session's own, and
/// [`Explanation::other_program`] for another program's.
///
/// # Errors
///
/// `NotFound` or `Invalid`.
pub(crate) async fn explain(
    shared: &Shared,
    under: &Under,
    to: &Destination,
    ports: &[PortSpec],
) -> Result<Explanations, CallError> {
    let mut told = by_address(shared, under, to, ports).await?;
    let Some(prefix) = on_loopback(to) else {
        return Ok(told);
    };
    let listeners = Destination {
        target: policy::Target::Prefix(prefix.listeners()),
        ..to.clone()
    };
    let others = by_address(shared, under, &listeners, ports).await?;
    let listener = program_at(prefix, &to.ports(ports)).await;
    for one in &mut told.explanations {
        let mut same = others.explanations.iter();
        let other = same.find(|other| other.ports == one.ports);
        let strictest = || {
            let all = others.explanations.iter();
            all.max_by_key(|other| strictness(&other.verdict))
        };
        one.other_program = other.or_else(strictest).cloned().map(Box::new);
        one.listener.clone_from(&listener);
    }
    Ok(told)
}

/// The loopback address that the destination is, if it is one.
fn on_loopback(to: &Destination) -> Option<Prefix> {
    match &to.target {
        policy::Target::Prefix(prefix) if prefix.is_host() && prefix.address().is_loopback() => {
            Some(*prefix)
        }
        _ => None,
    }
}

/// The program that listens at a port of guardd's own loopback now, if one is asked about.
async fn program_at(prefix: Prefix, ports: &[PortSpec]) -> Option<Listener> {
    let one = ports.iter().find(|spec| spec.low == spec.high)?;
    let (protocol, port) = (one.protocol, one.low);
    let found = threads::run(move || identify::at(prefix.address(), protocol, port)).await;
    found.ok().flatten().map(|program| program.shown())
}

async fn by_address(
    shared: &Shared,
    under: &Under,
    to: &Destination,
    ports: &[PortSpec],
) -> Result<Explanations, CallError> {
    match under {
        Under::Session(id) => shared.with(|state| state.explaining().explain(*id, to, ports)),
        Under::Policy {
            policy,
            beside,
            account,
        } => {
            let chain = chain_under(shared, policy.clone(), beside.clone(), *account).await?;
            under_policies(shared, &chain, to, ports)
        }
    }
}

/// Under a policy, and a project's that judges beside it.
fn under_policies(
    shared: &Shared,
    chain: &[InForce],
    to: &Destination,
    ports: &[PortSpec],
) -> Result<Explanations, CallError> {
    let now = shared.with(|state| state.environment());
    let by_all = |to: &Destination, ports: &[PortSpec]| {
        let each = |project: bool| {
            let own = chain.iter().filter(|one| one.source.project == project);
            own.map(|one| explained(one, &now, to, ports))
                .reduce(stricter)
        };
        let policies = each(false).unwrap_or_default();
        match each(true) {
            Some(project) => policy::beside(project, policies),
            None => policies,
        }
    };
    let mut all = told(to, by_all(to, ports))?;
    let policy::Target::Name(name) = &to.target else {
        return Ok(all);
    };
    if chain.iter().any(InForce::speaks_of_names) {
        let unheard = unheard(&now, by_all);
        let question = UnnamedQuestion::under(chain.iter(), name);
        for one in &mut all.explanations {
            one.unheard.clone_from(&unheard);
            if let (None, Some(question)) = (&unheard, &question) {
                question.tell(one);
            }
        }
    }
    for one in &mut all.explanations {
        one.tell_name(name.as_str());
    }
    Ok(all)
}

/// The policies that would judge a session under them, compiled.
async fn chain_under(
    shared: &Shared,
    policy: PolicyRef,
    project: Option<PolicyRef>,
    account: Account,
) -> Result<Vec<InForce>, CallError> {
    let (policies, project) = shared.with(|state| {
        let library = state.policies.library();
        let policy = library.resolve(policy)?;
        let project = project
            .map(|project| library.resolve(project))
            .transpose()?;
        // A session under them would have the fleet's around it.
        let policies = [policy].into_iter().chain(state.fleet.base()?);
        Ok::<_, CallError>((policies.collect::<Vec<_>>(), project))
    })?;
    let mut chain = Vec::new();
    for source in policies {
        chain.push(InForce::from(load::prepare(shared, source, account).await?));
    }
    if let Some(project) = project {
        let now = shared.with(|state| state.environment());
        let may_ask = |one: &InForce| policy::may_ask_for_names(&one.policy, &one.compiled, &now);
        let project = project.of_project(chain.iter().all(may_ask));
        // As in a session's chain: of equals the policy's own is told of.
        chain.insert(0, load::prepare(shared, project, account).await?.into());
    }
    Ok(chain)
}

/// What becomes of a question for a name that no rule of a policy names.
pub(super) struct UnnamedQuestion<'p> {
    pub(super) names: DnsNames,
    policy: &'p Policy,
}

impl<'p> UnnamedQuestion<'p> {
    /// Under the strictest of some policies, of those that have no rule for the name; none where all have one.
    pub(super) fn under(
        policies: impl Iterator<Item = &'p InForce>,
        name: &DomainName,
    ) -> Option<Self> {
        let unnamed = policies.filter(|policy| {
            policy.speaks_of_names() && policy.compiled.pattern_of(name).is_none()
        });
        let judged = unnamed.map(|policy| Self {
            names: policy.policy.names_asked(),
            policy: &policy.policy,
        });
        judged.max_by_key(|judged| match judged.names {
            DnsNames::Any => 0,
            DnsNames::Ask => 1,
            DnsNames::Rules => 2,
        })
    }

    /// Has an answer say it. Where it does not leave there is no address to connect to.
    pub(super) fn tell(&self, one: &mut Explanation) {
        let (verdict, words) = match self.names {
            DnsNames::Rules => (Verdict::Deny, NOT_NAMED),
            DnsNames::Ask => (Verdict::Confirm, ASKED_ABOUT),
            DnsNames::Any => {
                one.leaves = self.leaves();
                return;
            }
        };
        one.question = Some(words.to_owned());
        if strictness(&one.verdict) < verdict.strictness() {
            verdict.as_str().clone_into(&mut one.verdict);
            (one.rule, one.reason, one.matched, one.line) = (None, None, None, None);
            (one.hole, one.policy) = (None, self.policy.name.clone());
            one.file = Some(self.policy.file.clone());
        }
    }

    /// Why it leaves, where the policy's default denies what it is asked for.
    fn leaves(&self) -> Option<String> {
        let policy = self.policy;
        let why = match (policy.dns_names, policy.names_opened_by()) {
            (Some(_), _) => "the policy has [dns] names = \"any\"".to_owned(),
            (None, rule) => format!(
                "the rule {:?} lets addresses pass; [dns] names = \"rules\" would refuse it",
                rule?.name
            ),
        };
        (policy.default == Verdict::Deny).then(|| format!("leaves this machine: {why}"))
    }
}

/// What becomes of a question that no rule is about.
const NOT_NAMED: &str = "refused: no rule names it, and the policy has [dns] names = \"rules\"";
const ASKED_ABOUT: &str =
    "a person is asked before it leaves: the policy has [dns] names = \"ask\"";

/// Why no question for a name reaches a name server of this machine; none where one may be asked. `explained`: what holds there.
pub(super) fn unheard(
    now: &Environment,
    explained: impl Fn(&Destination, &[PortSpec]) -> Vec<policy::ExplainedVerdict>,
) -> Option<String> {
    let ports = [Protocol::UDP, Protocol::TCP].map(|protocol| PortSpec::one(protocol, DNS_PORT));
    let all = now.dns.iter().flat_map(|server| {
        let to = Destination {
            target: policy::Target::Prefix(Prefix::from(*server)),
            port: None,
        };
        // Each for itself: of one port there is one answer.
        ports.map(|port| explained(&to, &[port])).concat()
    });
    let all: Vec<_> = all.collect();
    let is_denied = |one: &policy::ExplainedVerdict| one.verdict == Verdict::Deny.as_str();
    let (first, server) = (all.first()?, now.dns.first()?);
    all.iter().all(is_denied).then(|| match &first.rule {
        Some(rule) => format!("refused: the rule {rule:?} denies name servers ({server})"),
        None => format!(
            "refused: the policy's default denies name servers ({server}); a rule lets them be asked: to = [\"@dns\"], \
             ports = [\"udp/53\", \"tcp/53\"], action = \"allow\""
        ),
    })
}

pub(super) fn explained(
    policy: &InForce,
    now: &Environment,
    to: &Destination,
    ports: &[PortSpec],
) -> Vec<policy::ExplainedVerdict> {
    let said = policy::explain(&policy.policy, &policy.compiled, now, to, ports);
    told_by(&policy.source, said)
}

/// What a policy says, with a project's reasons as its words.
pub(super) fn told_by(
    source: &PolicyText,
    mut said: Vec<policy::ExplainedVerdict>,
) -> Vec<policy::ExplainedVerdict> {
    for one in &mut said {
        one.reason = one.reason.take().map(|reason| source.told(reason));
    }
    said
}

/// Of two policies' answers, the one with the stricter part: all policies of a nested session must allow. Of equals the one where a
/// rule says so and no default, or else the outer one.
pub(super) fn stricter(
    inner: Vec<policy::ExplainedVerdict>,
    outer: Vec<policy::ExplainedVerdict>,
) -> Vec<policy::ExplainedVerdict> {
    let rank = |all: &[policy::ExplainedVerdict]| {
        let each = all.iter();
        let each = each.map(|one| (strictness(&one.verdict), one.rule.is_some()));
        each.max()
    };
    if rank(&outer) >= rank(&inner) {
        outer
    } else {
        inner
    }
}

/// The hole that changes a verdict, and the new verdict: a hole for all counts before one for reads, as in the kernel half.
pub(super) fn opened<'h>(
    holes: &[&'h LiveHole],
    one: &policy::ExplainedVerdict,
    asked: &[PortSpec],
) -> Option<(&'h LiveHole, Verdict)> {
    let all = [Verdict::ReadOnly, Verdict::Confirm];
    let verdict = all.into_iter().find(|all| all.as_str() == one.verdict)?;
    through(holes, verdict, |hole| covers(hole, one, asked))
}

/// The same of a verdict and of those holes that are over what it is about.
pub(super) fn through<'h>(
    holes: &[&'h LiveHole],
    verdict: Verdict,
    is_over: impl Fn(&LiveHole) -> bool,
) -> Option<(&'h LiveHole, Verdict)> {
    let over = |reads: bool| {
        let mut holes = holes.iter().copied();
        holes.find(|hole| hole.entry.kind.reads() == reads && is_over(hole))
    };
    let for_all = || Some((over(false)?, Verdict::Allow));
    let for_reads = || Some((over(true)?, Verdict::ReadOnly));
    match verdict {
        Verdict::ReadOnly => for_all(),
        Verdict::Confirm => for_all().or_else(for_reads),
        Verdict::Allow | Verdict::Deny => None,
    }
}

/// Whether a hole covers all that an explanation is about.
fn covers(hole: &LiveHole, one: &policy::ExplainedVerdict, asked: &[PortSpec]) -> bool {
    let entry = &hole.entry;
    let area = Prefix::new(entry.prefix.to_u128(), entry.prefix_len);
    let Ok(to) = one.destination.parse::<Destination>() else {
        return false;
    };
    let policy::Target::Prefix(prefix) = to.target else {
        return false;
    };
    let ports = match (one.ports.is_empty(), asked.is_empty()) {
        (false, _) => one.ports.clone(),
        (true, false) => asked.to_vec(),
        (true, true) => vec![PortSpec::all(guard_common::Protocol::ANY)],
    };
    let has_port = |spec: &PortSpec| {
        let has_protocol = entry.protocol.covers(spec.protocol);
        has_protocol && entry.low <= spec.low && spec.high <= entry.high
    };
    hole.connections_left != Some(0) && area.contains(&prefix) && ports.iter().all(has_port)
}

/// The answer as the client gets it.
pub(super) fn told(
    to: &Destination,
    all: Vec<policy::ExplainedVerdict>,
) -> Result<Explanations, CallError> {
    if all.is_empty() {
        return Err(opening::nowhere(&to.to_string()));
    }
    let joined = policy::joined(all, to).into_iter();
    Ok(Explanations {
        explanations: joined.map(Into::into).collect(),
    })
}

#[cfg(test)]
mod tests {
    use guard_proto::explain::KnownAddress;

    use super::*;

    #[test]
    fn what_is_no_destination_is_said_to_be_none() {
        assert!(parse("192.0.2.10:443", &["tcp/443".to_owned()]).is_ok());
        assert!(parse("192.0.2.10:443", &["tcp/80".to_owned()]).is_err());
        let error = parse("https://example.com/", &[]).unwrap_err();
        assert!(error.failure.why.contains("URL"), "{error}");
        let error = parse("*.example.com:80", &[]).unwrap_err();
        assert!(error.failure.fix.contains("www.example.com:80"), "{error}");
        assert!(parse("192.0.2.10", &["443".to_owned()]).is_err());
    }

    #[test]
    fn what_to_write_is_about_what_was_typed() {
        for (to, ports, why, fix) in [
            (
                "192.0.2.10",
                "443",
                "`443` names no protocol",
                "write `tcp/443` or `udp/443`",
            ),
            (
                "https://example.com/",
                "",
                "`https://example.com/` is a URL",
                "write `example.com:443`",
            ),
            (
                "192.0.2.10:443",
                "tcp/80",
                "port 443 and tcp/80 differ",
                "write `192.0.2.10 --ports tcp/80`, or leave out --ports",
            ),
            (
                "*.example.com",
                "",
                "`*.example.com` stands for names that nobody can list",
                "write one of the names, such as www.example.com",
            ),
        ] {
            let ports: Vec<_> = ports.split_terminator(',').map(str::to_owned).collect();
            let failure = parse(to, &ports).unwrap_err().failure;
            assert_eq!((&*failure.why, &*failure.fix), (why, fix));
        }
    }

    #[test]
    fn addresses_of_a_name_have_its_verdict_and_no_end_without_a_session() {
        let mut one: Explanation = serde_json::from_value(serde_json::json!({
            "destination": "db.example.com",
            "addresses": ["192.0.2.10", "2001:db8::1"],
            "verdict": "confirm",
            "policy": "asks",
        }))
        .unwrap();
        one.tell_name("db.example.com");
        assert_eq!(one.name.as_deref(), Some("db.example.com"));
        let known: Vec<_> = one.known.iter().map(|known| &*known.address).collect();
        assert_eq!(known, ["192.0.2.10", "2001:db8::1"]);
        let is_so = |known: &KnownAddress| known.until.is_none() && known.verdict == "confirm";
        assert!(one.known.iter().all(is_so), "{:?}", one.known);
    }

    #[test]
    fn the_strictest_verdict_is_told() {
        let order = ["allow", "read-only", "confirm", "deny"];
        assert!(order.iter().map(|v| strictness(v)).is_sorted());
    }
}
