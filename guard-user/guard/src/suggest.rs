//! `guard suggest`: what was answered, as policy.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use guard_proto::{Call, LogRecord};
use guard_trail::decisions::Decisions;
use guard_trail::suggest::{self, Suggestion, learned::learn};
use jiff::{SignedDuration, Timestamp};

use super::args::SuggestArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::flows;
use super::policy::explain::environment_with;
use super::render::{Output, escape, page::Page};

/// What stands before the rules.
const HEAD: &str = "\
# What people have answered, as rules. Read them before you paste them into a policy; `guard check` then says whether
# it is valid, and `guard explain DEST --policy FILE` whether another rule there still decides.
";

/// Prints rules for a person to paste, or a policy of what was reached. That there are none is an answer, too.
pub(crate) fn suggest(client: Client, args: SuggestArgs, output: Output) -> Result<Exit, CliError> {
    if args.from_flows {
        return from_flows(client, args, output);
    }
    let records = records(client, args.session, args.since)?;
    let suggestion = suggest::suggest(&Decisions::of(&records));
    if output.is_json() {
        output.print(&suggestion, |_, _| Page::default())?;
    } else {
        print(&suggestion)?;
    }
    Ok(Exit::DONE)
}

fn from_flows(mut client: Client, args: SuggestArgs, output: Output) -> Result<Exit, CliError> {
    let mut answer = flows::reached(&mut client, args.session)?;
    output.warnings(&answer.warnings);
    if let Some(since) = args
        .since
        .and_then(|since| SignedDuration::try_from(since).ok())
    {
        let now = Timestamp::now();
        answer
            .flows
            .retain(|flow| now.duration_since(flow.last_at) <= since);
    }
    let mut environment = environment_with(BTreeMap::new());
    environment.dns.extend(answer.name_servers);
    let learned = learn(&answer.flows, &environment);
    match output.is_json() {
        true => output.print(&learned, |_, _| Page::default())?,
        false => write(&learned.toml, &learned.left_out)?,
    }
    Ok(Exit::DONE)
}

/// The records of the audit log.
pub(super) fn records(
    client: Client,
    session: Option<String>,
    since: Option<Duration>,
) -> Result<Vec<LogRecord>, CliError> {
    let call = Call::Log {
        follow: false,
        session,
        since: since.map(|since| since.as_secs_f64()),
    };
    client.stream::<LogRecord>(&call)?.collect()
}

/// Not as a page: what is pasted must not be cut, and long lines are as they are.
fn print(suggestion: &Suggestion) -> Result<(), CliError> {
    let text = match suggestion.rules.is_empty() {
        true => "# Nobody has answered anything that a rule could say.\n".to_owned(),
        false => format!("{HEAD}\n{}", suggestion.toml),
    };
    write(&text, &suggestion.left_out)
}

fn write(text: &str, left_out: &[String]) -> Result<(), CliError> {
    let mut text = text.to_owned();
    if !left_out.is_empty() {
        text.push_str("\n# Left out:\n");
    }
    for left_out in left_out {
        let line = escape::visible(left_out, escape::LIMIT);
        text.push_str(&format!("# - {line}\n"));
    }
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CliError::output(&error))
}
