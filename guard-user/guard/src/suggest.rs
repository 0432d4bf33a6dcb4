//! `guard suggest`: what was answered, as policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use guard_policy::Environment;
use guard_proto::{Call, Failure, Flow, SessionsReply};
use guard_trail::suggest::{self, Suggestion, learned::learn};
use jiff::Timestamp;

use super::args::SuggestArgs;
use super::client::Client;
use super::discover::suggested::{self, Offered};
use super::error::{CliError, Exit};
use super::flows;
use super::policy::explain::environment_with;
use super::records::Teller;
use super::render::{Output, escape, page::Page};
use super::report::{self, summary::Report};

/// What stands before the rules.
const HEAD: &str = "\
# What people have answered, as rules. Read them before you paste them into a policy; `guard check` then says whether
# it is valid, and `guard explain DEST --policy FILE` whether another rule there still decides. A rule here takes the
# place of a wider one of yours, and of its profile: where that is read-only too, give these [[rule.http]] to it instead.
";

/// Prints rules for a person to paste. That there are none is an answer, too.
pub(crate) fn suggest(
    teller: Teller,
    args: SuggestArgs,
    socket: &Path,
    output: Output,
) -> Result<Exit, CliError> {
    let records = teller.records(args.session, args.since)?;
    let suggestion = suggest::by_policy(&records);
    let rules = suggestion
        .rules
        .iter()
        .map(|one| Offered::of(&one.name, &one.to, &one.ports, one.action));
    output.warnings(&suggested::remarks(socket, rules));
    if output.is_json() {
        output.print(&suggestion, |_, _| Page::default())?;
    } else {
        print(&suggestion)?;
    }
    Ok(Exit::DONE)
}

/// Prints a policy of what was reached.
pub(crate) fn from_flows(
    mut client: Client,
    args: SuggestArgs,
    socket: &Path,
    output: Output,
) -> Result<Exit, CliError> {
    let mut answer = flows::reached(&mut client, args.session)?;
    output.warnings(&answer.warnings);
    if let Some(name) = &args.name {
        answer.flows = named(client, name, answer.flows)?;
    }
    let flows = flows::lately(answer.flows, args.since, Timestamp::now());
    output.warnings(&remarks(&flows, args.name.is_some()));
    let mut environment = environment_with(BTreeMap::new());
    environment.dns.extend(answer.name_servers);
    tell(&flows, &environment, socket, output)
}

/// The same of what `guard flows --json` wrote: runners of CI that are thrown away leave nothing else.
pub(crate) fn from_files(
    args: &SuggestArgs,
    socket: &Path,
    output: Output,
) -> Result<Exit, CliError> {
    let mut flows = Vec::new();
    for file in &args.files {
        flows.extend(read(file)?);
    }
    let flows = flows::lately(flows, args.since, Timestamp::now());
    // Each machine has numbers of its own for its sessions.
    output.warnings(&remarks(&flows, true));
    tell(&flows, &environment_with(BTreeMap::new()), socket, output)
}

fn read(file: &Path) -> Result<Vec<Flow>, CliError> {
    let text = fs::read_to_string(file).map_err(|error| unread(file, &error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| unread(file, &error.to_string()))
}

fn unread(file: &Path, why: &str) -> CliError {
    let failure = Failure {
        what: format!("cannot read what was reached from {}", file.display()),
        why: why.to_owned(),
        fix: "give it as it was written by: guard flows --json".to_owned(),
    };
    failure.into()
}

fn tell(
    flows: &[Flow],
    environment: &Environment,
    socket: &Path,
    output: Output,
) -> Result<Exit, CliError> {
    let learned = learn(flows, environment);
    let rules = learned
        .rules
        .iter()
        .map(|one| Offered::of(&one.name, &one.to, &one.ports, one.action));
    output.warnings(&suggested::remarks(socket, rules));
    if output.is_json() {
        output.print(&learned, |_, _| Page::default())?
    } else {
        write(&learned.toml, &learned.left_out)?
    }
    Ok(Exit::DONE)
}

/// What sessions with a name have reached, and those inside them. The audit log has the names of those that have ended.
fn named(mut client: Client, name: &str, flows: Vec<Flow>) -> Result<Vec<Flow>, CliError> {
    let live: SessionsReply = client.call(&Call::Sessions {})?;
    let live = live.sessions.into_iter().filter(|one| one.name == name);
    let live: BTreeSet<_> = live.map(|one| one.id).collect();
    let mut report = Report::of(&Teller::Guardd(client).records(None, None)?);
    report.reach(flows.clone(), None);
    report.keep(None, Some(name));
    if report.sessions.is_empty() && live.is_empty() {
        return Err(report::unknown(None, Some(name), false).into());
    }
    let is_its = |flow: &Flow| live.contains(&flow.session) || report.reached.contains(flow);
    Ok(flows.into_iter().filter(is_its).collect())
}

/// What the person should know of what the policy is made of.
fn remarks(flows: &[Flow], is_named: bool) -> Vec<String> {
    let sessions: BTreeSet<_> = flows.iter().map(|flow| flow.session.as_str()).collect();
    match sessions.len() {
        0 => vec![
            "nothing was reached there in that time, so this policy lets nothing pass".to_owned(),
        ],
        2.. if !is_named => vec![format!(
            "this is of {} sessions together: --session ID or --name NAME is for some of them",
            sessions.len()
        )],
        _ => Vec::new(),
    }
}

/// Not as a page: what is pasted must not be cut, and long lines are as they are.
fn print(suggestion: &Suggestion) -> Result<(), CliError> {
    let text = if suggestion.rules.is_empty() {
        "# No answer so far is one that a rule could repeat. Requests that wait for one: guard pending\n".to_owned()
    } else {
        format!("{HEAD}\n{}", suggestion.toml)
    };
    write(&text, &suggestion.left_out)
}

fn write(text: &str, left_out: &[String]) -> Result<(), CliError> {
    let mut text = text.to_owned();
    if !left_out.is_empty() {
        text.push_str("\n# Left out:\n");
    }
    for left_out in left_out {
        let line = escape::escaped(left_out, escape::LIMIT);
        text.push_str(&format!("# - {line}\n"));
    }
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CliError::output(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(session: &str) -> Flow {
        Flow {
            session: session.to_owned(),
            ..crate::render::examples::flow()
        }
    }

    #[test]
    fn what_other_machines_wrote_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flows.json");
        let written = serde_json::to_string(&[flow("s1"), flow("s2")]).unwrap();
        fs::write(&file, written).unwrap();
        assert_eq!(read(&file).unwrap().len(), 2);
        let learned = learn(&read(&file).unwrap(), &environment_with(BTreeMap::new()));
        assert!(learned.toml.contains("pypi.org"), "{}", learned.toml);
        fs::write(&file, "{\"flows\": []}").unwrap();
        assert!(read(&file).is_err());
        assert!(read(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_policy_of_nothing_and_one_of_several_sessions_say_so() {
        let said = |sessions: &[&str], is_named| {
            let flows: Vec<_> = sessions.iter().map(|one| flow(one)).collect();
            remarks(&flows, is_named).concat()
        };
        assert!(said(&[], false).starts_with("nothing was reached"));
        assert!(said(&[], true).starts_with("nothing was reached"));
        assert!(said(&["s1", "s2", "s1"], false).starts_with("this is of 2 sessions"));
        assert_eq!(said(&["s1", "s2"], true), "");
        assert_eq!(said(&["s1", "s1"], false), "");
    }
}
