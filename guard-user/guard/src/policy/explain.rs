//! `guard explain`: guardd's answer, or without one the answer that a policy file gives by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use guard_policy::{
    self as policy, Destination, DomainName, Environment, Group, Invalid, Parsed, Policy, PortSpec,
    Target,
};
use guard_proto::{self as proto, Call, ErrorName, Failure, PolicyRef, explain::Explanations};
use guard_sys::host::HostAddresses;
use hickory_resolver::system_conf::read_system_conf;
use serde::{Serialize, Serializer, ser::Error as _};

use crate::args::ExplainArgs;
use crate::around::Fleet;
use crate::client::Client;
use crate::discover::judge::verdict;
use crate::discover::{FoundAt, found};
use crate::error::{CliError, Exit};
use crate::person::Person;
use crate::policy_file::{PolicyFile, is_file, none_of_that_name, personal};
use crate::project;
use crate::render::{self, Output};

/// The verdict, and where the destination was found.
pub(crate) fn explain(
    connect: impl FnOnce() -> Result<Client, CliError>,
    mut args: ExplainArgs,
    output: Output,
) -> Result<Exit, CliError> {
    if let Some(place) = policy::place_of_url(&args.to.destination) {
        output.note(&format!("of a URL, only its place is judged here: {place}"));
        args.to.destination = place;
    }
    let to = args.to.destination.parse();
    let found = to.map_or_else(|_| Vec::new(), |to| found(&to));
    let explanations = match explained(connect, &args, output) {
        Ok(none) if none.is_empty() => {
            let failure = no_address(&args.to.destination);
            return Err(also_found(failure, &found).into());
        }
        Err(CliError::Answer {
            name: name @ ErrorName::Invalid,
            failure,
        }) => {
            let failure = also_found(failure, &found);
            return Err(CliError::Answer { name, failure });
        }
        explained => explained?,
    };
    let shown = explanations.iter().map(|one| ShownExplanation(one, &found));
    let shown: Vec<_> = shown.collect();
    output.print_things(&shown, |shown, clock| {
        let mut page = render::explain::one(shown.0, clock);
        for one in shown.1 {
            page.field("found", one.words());
        }
        page
    })?;
    Ok(Exit::DONE)
}

/// Asks guardd wherever there is one: it knows what names stand for, and the holes.
fn explained(
    connect: impl FnOnce() -> Result<Client, CliError>,
    args: &ExplainArgs,
    output: Output,
) -> Result<Vec<proto::explain::Explanation>, CliError> {
    Ok(match args.policy.as_deref() {
        Some(policy) if is_file(policy) => {
            of_file(&PolicyFile::read(policy.as_ref())?, connect, args, output)?
        }
        Some(name) => match connect() {
            Ok(mut client) => {
                let named = PolicyRef {
                    name: Some(name.to_owned()),
                    file: None,
                    text: None,
                };
                let judging = ProjectPolicies::of(&mut client, args, output)?;
                let answer = judging.clone().ask(&mut client, args, Some(named));
                let person = Person::own();
                match (answer, personal(name, &person)) {
                    (Err(error), Some(own)) if error.name() == Some(ErrorName::NotFound) => {
                        let file = PolicyFile::read(&own)?;
                        let parsed = file.parse(output)?;
                        judging.ask(&mut client, args, Some(file.to_wire(&parsed)))?
                    }
                    (Err(error), None) if error.name() == Some(ErrorName::NotFound) => {
                        return Err(none_of_that_name(error, name, &person));
                    }
                    (answer, _) => answer?,
                }
            }
            // What is installed or built in can be read without it.
            Err(CliError::NoDaemon(_)) => {
                let file = PolicyFile::named(name)?;
                let parsed = file.parse(output)?;
                alone(&file, &parsed, args, output)?
            }
            Err(error) => return Err(error),
        },
        None => {
            let mut client = connect()?;
            ProjectPolicies::of(&mut client, args, output)?.ask(&mut client, args, None)?
        }
    })
}

fn of_file(
    file: &PolicyFile,
    connect: impl FnOnce() -> Result<Client, CliError>,
    args: &ExplainArgs,
    output: Output,
) -> Result<Vec<proto::explain::Explanation>, CliError> {
    let parsed = file.parse(output)?;
    match connect() {
        Ok(mut client) => {
            let judging = ProjectPolicies::of(&mut client, args, output)?;
            judging.ask(&mut client, args, Some(file.to_wire(&parsed)))
        }
        Err(CliError::NoDaemon(_)) => alone(file, &parsed, args, output),
        Err(error) => Err(error),
    }
}

/// What judges here because of the project.
#[derive(Clone, Default)]
struct ProjectPolicies {
    /// In the policy's place: what a person has agreed to.
    in_place: Option<PolicyRef>,
    beside: Option<Box<PolicyRef>>,
}

impl ProjectPolicies {
    /// Says that the project's policy judges, too.
    fn of(client: &mut Client, args: &ExplainArgs, output: Output) -> Result<Self, CliError> {
        if args.session.is_some() {
            return Ok(Self::default());
        }
        let judging = project::judging(Path::new("."), args.policy.as_deref(), client, output);
        let judging = project::said(judging, output)?.map(|project| Self {
            in_place: project.policy,
            beside: Some(Box::new(project.beside)),
        });
        Ok(judging.unwrap_or_default())
    }

    fn ask(
        self,
        client: &mut Client,
        args: &ExplainArgs,
        policy: Option<PolicyRef>,
    ) -> Result<Vec<proto::explain::Explanation>, CliError> {
        let call = Call::Explain {
            destination: args.to.destination.clone(),
            ports: args.to.ports.clone(),
            policy: self.in_place.or(policy),
            beside: self.beside,
            session: args.session.clone(),
        };
        let answer: Explanations = client.call(&call)?;
        Ok(answer.explanations)
    }
}

/// What the policy says by itself, and the project's beside it and the fleet's around it where these are known.
fn alone(
    file: &PolicyFile,
    parsed: &Parsed,
    args: &ExplainArgs,
    output: Output,
) -> Result<Vec<proto::explain::Explanation>, CliError> {
    let (to, ports) = asked_about(args)?;
    let by = |parsed: &Parsed, asks: bool| {
        // The name server that answers for a name reads it.
        let names = parsed.policy.names().filter(|_| asks);
        let environment = environment(names, &to);
        if asks {
            output.warnings(&unknown(parsed, &environment));
        }
        let policy = &parsed.policy;
        let compiled = policy::compile(policy, &environment)
            .map_err(|diagnostics| file.invalid(&diagnostics, output))?;
        let explained = policy::explain(policy, &compiled, &environment, &to, &ports);
        Ok::<_, CliError>(explained)
    };
    let project = project::narrowing(Path::new("."), file, args.policy.as_deref(), output);
    let project = project::said(project, output)?.map(|project| project.parsed);
    let base = Fleet::known().base(output)?.map(|base| base.parsed);
    let asks_for_project = may_ask(parsed) && base.as_ref().is_none_or(may_ask);
    let mut explanations = by(parsed, true)?;
    if let Some(base) = base {
        explanations = stricter(explanations, by(&base, true)?);
    }
    if let Some(project) = project {
        explanations = policy::beside(by(&project, asks_for_project)?, explanations);
    }
    let joined = policy::joined(explanations, &to).into_iter();
    let mut all: Vec<proto::explain::Explanation> = joined.map(Into::into).collect();
    if let policy::Target::Name(name) = &to.target {
        for one in &mut all {
            one.tell_name(name.as_str());
        }
    }
    Ok(all)
}

/// Where to, and at which ports.
fn asked_about(args: &ExplainArgs) -> Result<(Destination, Vec<PortSpec>), Failure> {
    let to: Destination = args
        .to
        .destination
        .parse()
        .map_err(|invalid| not_valid("the destination", &invalid))?;
    let wrong_ports = |invalid: Invalid| not_valid("the ports", &invalid);
    let ports = args.to.ports.iter();
    let ports = ports.map(|spec| spec.parse::<PortSpec>().map_err(wrong_ports));
    let ports: Vec<_> = ports.collect::<Result<_, Failure>>()?;
    to.agree(&ports).map_err(wrong_ports)?;
    Ok((to, ports))
}

/// Whether a session under that policy may ask for some name.
fn may_ask(parsed: &Parsed) -> bool {
    let (policy, environment) = (&parsed.policy, environment_with(BTreeMap::new()));
    let compiled = policy::compile(policy, &environment);
    compiled.is_ok_and(|compiled| policy::may_ask_for_names(policy, &compiled, &environment))
}

/// The one with the stricter part, as guardd has it of two policies that both have to allow.
fn stricter(
    inner: Vec<policy::ExplainedVerdict>,
    outer: Vec<policy::ExplainedVerdict>,
) -> Vec<policy::ExplainedVerdict> {
    let rank = |all: &[policy::ExplainedVerdict]| {
        let all = all.iter().map(|one| verdict(&one.verdict).strictness());
        all.max()
    };
    if rank(&outer) >= rank(&inner) {
        outer
    } else {
        inner
    }
}

/// An explanation as people get it: of a name under a session, `addresses` are those that the session was told, each with its
/// verdict. Beside it, where files here say that it is production.
struct ShownExplanation<'e>(&'e proto::explain::Explanation, &'e [FoundAt]);

impl Serialize for ShownExplanation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serde_json::to_value(self.0).map_err(S::Error::custom)?;
        if let Some(fields) = shown.as_object_mut() {
            let known = fields.remove("known");
            if let (Some(_), Some(known)) = (&self.0.name, known) {
                fields.insert("addresses".to_owned(), known);
            }
            if !self.1.is_empty() {
                let found = serde_json::to_value(self.1).map_err(S::Error::custom)?;
                fields.insert("found".to_owned(), found);
            }
        }
        shown.serialize(serializer)
    }
}

/// What names and groups stand for, as far as a command can tell.
fn environment<'p>(
    names: impl Iterator<Item = &'p DomainName>,
    to: &'p Destination,
) -> Environment {
    let asked = match &to.target {
        Target::Name(name) => Some(name),
        _ => None,
    };
    of_names(names.chain(asked))
}

/// The same for policies alone.
pub(crate) fn environment_of(policies: &[&Policy]) -> Environment {
    of_names(policies.iter().flat_map(|policy| policy.names()))
}

/// The same for names alone.
pub(crate) fn environment_of_names(names: &[DomainName]) -> Environment {
    of_names(names.iter())
}

fn of_names<'p>(names: impl Iterator<Item = &'p DomainName>) -> Environment {
    environment_with(names.map(resolve).collect())
}

/// The same where what names stand for is known already.
pub(crate) fn environment_with(names: BTreeMap<String, Vec<IpAddr>>) -> Environment {
    let dns = read_system_conf()
        .map(|(config, _)| {
            config
                .name_servers()
                .iter()
                .map(|server| server.ip)
                .collect()
        })
        .unwrap_or_default();
    let host = HostAddresses::look().unwrap_or_default();
    Environment {
        names,
        dns,
        on_link: policy::networks_around(&host.addresses, &host.on_link),
        host: host.addresses,
        ..Environment::default()
    }
}

fn resolve(name: &DomainName) -> (String, Vec<IpAddr>) {
    let found = (name.as_str(), 0).to_socket_addrs();
    let addresses = found.map(|found| found.map(|address| address.ip()).collect());
    (name.as_str().to_owned(), addresses.unwrap_or_default())
}

/// Names that are listed; of more only the number.
const NAMES: usize = 7;

/// What may make guardd's answer another one.
fn unknown(parsed: &Parsed, environment: &Environment) -> Vec<String> {
    let unresolved = parsed.policy.unresolved(environment);
    let names: BTreeSet<_> = unresolved.map(|(_, name)| name.as_str()).collect();
    let first: Vec<_> = names.iter().take(NAMES).copied().collect();
    let more = match names.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let told = format!(
        "these names do not resolve, and rules for them cover no address here: {}{more}",
        first.join(", ")
    );
    (!names.is_empty()).then_some(told).into_iter().collect()
}

fn not_valid(what: &str, invalid: &Invalid) -> Failure {
    Failure {
        what: format!("cannot understand {what}"),
        why: invalid.message.clone(),
        fix: invalid
            .help
            .clone()
            .unwrap_or_else(|| "guard explain --help".into()),
    }
}

fn no_address(to: &str) -> Failure {
    let fix = match group_meant(to) {
        Some(group) => format!("did you mean the group?\nguard explain {group}"),
        None => "name an address, or a name that resolves:\nguard explain 192.0.2.10".into(),
    };
    Failure {
        what: format!("cannot explain {to}"),
        why: "it has no address here".into(),
        fix,
    }
}

/// The group whose name without its `@` is that of a host here, with the port that was named.
fn group_meant(to: &str) -> Option<Destination> {
    let Destination { target, port } = to.parse().ok()?;
    let Target::Name(name) = target else {
        return None;
    };
    let target = Target::Group(Group::meant_by(name.as_str())?);
    Some(Destination { target, port })
}

/// That a name has no address here does not say that it is nowhere: what was found says where from, and as what.
fn also_found(failure: Failure, found: &[FoundAt]) -> Failure {
    if found.is_empty() {
        return failure;
    }
    let places: Vec<_> = found.iter().map(FoundAt::words).collect();
    Failure {
        why: format!("{}; it is found in {}", failure.why, places.join(", ")),
        fix: format!(
            "{}\nor have a policy with a rule for the name, whatever it becomes:\nguard discover --write NAME",
            failure.fix
        ),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::DestinationArgs;

    const POLICY: &str = "version = 1\ndefault = \"allow\"\n[[rule]]\nname = \"photos\"\n\
        to = [\"192.0.2.0/24\"]\nports = [\"tcp/443\"]\naction = \"confirm\"\nreason = \"production\"\n";

    fn explained(
        destination: &str,
        ports: &[&str],
    ) -> Result<Vec<proto::explain::Explanation>, CliError> {
        let file = PolicyFile {
            name: "agent.toml".into(),
            text: POLICY.into(),
        };
        let to = DestinationArgs {
            destination: destination.into(),
            ports: ports.iter().map(|&spec| spec.to_owned()).collect(),
        };
        let args = ExplainArgs {
            to,
            policy: None,
            session: None,
        };
        let nobody = || {
            let failure = Failure {
                what: String::new(),
                why: String::new(),
                fix: String::new(),
            };
            Err(CliError::NoDaemon(failure))
        };
        of_file(&file, nobody, &args, Output::new(false))
    }

    #[test]
    fn a_file_answers_without_a_daemon() {
        let parts = explained("192.0.2.10", &[]).unwrap();
        let clock = render::examples::clock();
        let pages: String = parts
            .iter()
            .map(|part| render::explain::one(part, &clock).plain())
            .collect();
        insta::assert_snapshot!(pages, @r"
        192.0.2.10 tcp/443  confirm
            rule     photos: production
            policy   agent, agent.toml:3
            covers   192.0.2.0/24 tcp/443, which is the most specific that does
            guard open 192.0.2.10 --ports tcp/443 --for 15m
        192.0.2.10  allow
            rule     none: the policy's default
            policy   agent, agent.toml:2
        ");
    }

    #[test]
    fn a_group_without_its_sign_is_guessed() {
        let fix = |to: &str| no_address(to).fix;
        for (to, wanted) in [
            (
                "metadata",
                "did you mean the group?\nguard explain @metadata",
            ),
            (
                "LAN:443",
                "did you mean the group?\nguard explain @private:443",
            ),
            (
                "nowhere.invalid",
                "name an address, or a name that resolves:\nguard explain 192.0.2.10",
            ),
        ] {
            assert_eq!(fix(to), wanted);
        }
    }

    #[test]
    fn names_without_an_address_are_told_of_in_one_line() {
        let names: Vec<_> = (0..9).map(|at| format!("\"n{at}.example.com\"")).collect();
        let rule = format!(
            "[[rule]]\nto = [{}]\naction = \"confirm\"\n",
            names.join(", ")
        );
        let parsed = policy::parse("agent.toml", &format!("{rule}{rule}")).unwrap();
        insta::assert_snapshot!(unknown(&parsed, &Environment::default()).join("\n"), @"these names do not resolve, and rules for them cover no address here: n0.example.com, n1.example.com, n2.example.com, n3.example.com, n4.example.com, n5.example.com, n6.example.com, and 2 more");
        let none = policy::parse("agent.toml", POLICY).unwrap();
        assert_eq!(unknown(&none, &Environment::default()), [""; 0]);
    }

    #[test]
    fn ports_narrow_the_question() {
        let parts = explained("192.0.2.10", &["tcp/443"]).unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(
            (parts[0].verdict.as_str(), parts[0].line),
            ("confirm", Some(3))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let failure = |destination, ports: &[&str]| {
            explained(destination, ports)
                .unwrap_err()
                .failure()
                .cloned()
        };
        assert!(failure("192.0.2.1/24", &[]).is_some());
        assert!(failure("192.0.2.1", &["tcp/99999"]).is_some());
        assert!(failure("@nowhere", &[]).is_some());
    }
}
