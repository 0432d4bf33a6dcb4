//! `guard suggest`: what was answered, as policy.

use std::io::Write;
use std::time::Duration;

use guard_proto::{Call, LogRecord};
use guard_trail::decisions::Decisions;
use guard_trail::suggest::{self, Suggestion};

use super::args::SuggestArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{Output, escape, page::Page};

/// What stands before the rules.
const HEAD: &str = "\
# What people have answered, as rules. Read them before you paste them into a policy; `guard check` then says whether
# it is valid, and `guard explain DEST --policy FILE` whether another rule there still decides.
";

/// Prints rules for a person to paste. That there are none is an answer, too.
pub(crate) fn suggest(client: Client, args: SuggestArgs, output: Output) -> Result<Exit, CliError> {
    let records = records(client, args.session, args.since)?;
    let suggestion = suggest::suggest(&Decisions::of(&records));
    if output.is_json() {
        output.print(&suggestion, |_, _| Page::default())?;
    } else {
        print(&suggestion)?;
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
    let mut text = match suggestion.rules.is_empty() {
        true => "# Nobody has answered anything that a rule could say.\n".to_owned(),
        false => format!("{HEAD}\n{}", suggestion.toml),
    };
    if !suggestion.left_out.is_empty() {
        text.push_str("\n# Left out:\n");
    }
    for left_out in &suggestion.left_out {
        let line = escape::visible(left_out, escape::LIMIT);
        text.push_str(&format!("# - {line}\n"));
    }
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CliError::output(&error))
}
