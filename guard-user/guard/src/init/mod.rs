//! `guard init`: enters guard into an agent's settings, so that its model is told what was stopped and can ask.
//!
//! What is entered are the tools of [`super::mcp`] and the hook of [`super::hook`]. Both are for processes inside a
//! session, and neither can widen what those may reach. Whatever else stands in the settings stays as it is.

use std::fs;
use std::io::{self, IsTerminal as _};

use clap::ValueEnum as _;
use guard_launch::CommandIdentity;
use guard_proto::Failure;
use serde::Serialize;

use self::agent::Scope;
use self::program::Program;
use super::args::{AgentKind, InitArgs};
use super::ask::yes;
use super::change::Change;
use super::error::{CliError, Exit};
use super::person::Person;
use super::render::escape::{LIMIT, visible};
use super::render::page::{COMMAND, Page};
use super::render::{Output, time::Clock};
use super::sudo;

mod agent;
mod json;
mod program;
mod toml;

/// What is or would be done to a file.
#[derive(Debug, Serialize)]
struct FileChange {
    file: String,
    /// The change in the format of `diff -u`.
    diff: String,
    written: bool,
}

/// One step of `guard setup`: shows what would be entered into the project's settings, and enters it after a yes.
///
/// # Errors
///
/// As [`init`].
pub(crate) fn offer(agent: AgentKind, print: bool, output: Output) -> Result<(), CliError> {
    let own = Program::own();
    let scope = Scope::project()?;
    if scope.is_anothers() {
        return Err(roots("root would own them").into());
    }
    let changes = agent::changes(agent, &scope, Some(&own))?;
    let changes: Vec<_> = changes.into_iter().filter(Change::is_one).collect();
    let name = agent.program();
    if changes.is_empty() {
        return say(
            output,
            Page::of(format_args!("{name}: guard is in its settings already.")),
        );
    }
    output.print(shown(&changes, false).as_slice(), diffs)?;
    if print || !asked(agent, scope.outside(&changes))? {
        return say(
            output,
            Page::of(format_args!("{name}: nothing was written.")),
        );
    }
    changes.iter().try_for_each(Change::write)?;
    let first = agent::at_first(agent);
    say(output, Page::of(format_args!("{name}: written. {first}")))
}

/// `guard init`
///
/// # Errors
///
/// Where the settings cannot be read, understood or written, and where nobody can be asked.
pub(crate) fn init(args: &InitArgs, output: Output) -> Result<Exit, CliError> {
    if sudo::caller().is_none() {
        return done(args, &Person::own(), output);
    }
    if !args.remove {
        return Err(roots("sudo makes this root").into());
    }
    // What was entered so before can be taken out, with no more rights than that person has.
    let identity = CommandIdentity::choose(None)?;
    let person = Person::of(&identity);
    let cannot = |error: io::Error| roots(&format!("root cannot become that user: {error}"));
    identity
        .with_rights(|| done(args, &person, output))
        .map_err(cannot)?
}

fn done(args: &InitArgs, person: &Person, output: Output) -> Result<Exit, CliError> {
    let scope = if args.user {
        Scope::user(person)?
    } else {
        Scope::project()?
    };
    if scope.is_anothers() {
        return Err(roots("root would own them").into());
    }
    let own = Program::own();
    let changes = agent::changes(args.agent, &scope, (!args.remove).then_some(&own))?;
    let changes: Vec<_> = changes.into_iter().filter(Change::is_one).collect();
    if !output.is_json() {
        output.print(shown(&changes, false).as_slice(), diffs)?;
    }
    if args.print || changes.is_empty() {
        return ended(args, &changes, false, output);
    }
    // The answer that `--yes` gives is for the project. Whoever wrote the project chose where its links lead.
    let outside = scope.outside(&changes);
    if (!args.yes || outside.is_some()) && !asked(args.agent, outside)? {
        return Exit::NO.once_told(say(output, Page::of("Nothing was written.")));
    }
    changes.iter().try_for_each(Change::write)?;
    changes.iter().for_each(|change| tidy(args.agent, change));
    ended(args, &changes, true, output)
}

/// An agent that runs as a person could not change settings that root owns, nor read those in root's home.
fn roots(why: &str) -> Failure {
    Failure {
        what: "nothing was written".into(),
        why: format!("it is for the settings of whoever starts the agent, and {why}"),
        fix: sudo::as_that_person(),
    }
}

/// Of a file that is gone, the agent's directory goes too where nothing is left in it.
fn tidy(agent: AgentKind, change: &Change) {
    let dir = change.file.parent().filter(|_| change.after.is_none());
    if let Some(dir) = dir.filter(|dir| dir.ends_with(agent.directory())) {
        // One that has something in it stays.
        let _ = fs::remove_dir(dir);
    }
}

fn shown(changes: &[Change], written: bool) -> Vec<FileChange> {
    let shown = changes.iter().map(|change| FileChange {
        file: change.file.display().to_string(),
        diff: change.diff(),
        written,
    });
    shown.collect()
}

fn ended(
    args: &InitArgs,
    changes: &[Change],
    written: bool,
    output: Output,
) -> Result<Exit, CliError> {
    if output.is_json() {
        output.print(shown(changes, written).as_slice(), diffs)?;
        return Ok(Exit::DONE);
    }
    let mut page = Page::default();
    match (changes, args.remove) {
        ([], true) => drop(page.line("Nothing to remove: guard is not in those settings.")),
        ([], false) => drop(page.line("Nothing to do: guard is in those settings already.")),
        _ if !written => drop(page.line("Nothing was written.")),
        (changes, _) => {
            for change in changes {
                let done = match change.after {
                    Some(_) => "Written",
                    None => "Removed",
                };
                page.line(format_args!("{done}: {}", change.file.display()));
            }
        }
    }
    if !args.remove {
        page.line("");
        agent::start(args.agent, &mut page);
        page.text("What it can reach that looks like production: ")
            .styled(COMMAND, "guard discover")
            .end();
    }
    say(output, page)?;
    Ok(Exit::DONE)
}

/// Says something to a person. Programs read the values.
fn say(output: Output, page: Page) -> Result<(), CliError> {
    if output.is_json() {
        Ok(())
    } else {
        output.print(&(), |(), _| page)
    }
}

fn diffs(shown: &[FileChange], _clock: &Clock) -> Page {
    let mut page = Page::default();
    page.diff(shown.iter().flat_map(|one| one.diff.lines().chain([""])));
    page
}

/// Returns true if the person at the terminal says yes; `outside` is a change to a file that is not the project's.
fn asked(agent: AgentKind, outside: Option<&Change>) -> Result<bool, CliError> {
    let file = outside.map(|change| change.file.display());
    if !io::stdin().is_terminal() {
        let agent = agent.to_possible_value();
        let agent = agent.as_ref().map_or("AGENT", |value| value.get_name());
        let (why, yes) = match file {
            Some(file) => (
                format!(
                    "a link in this project leads out of it, to {file}, and --yes is for the project alone"
                ),
                "at a terminal, say yes to it",
            ),
            None => (
                "standard input is no terminal, so nobody can be asked".into(),
                "say yes beforehand",
            ),
        };
        let option = if outside.is_some() { "" } else { " --yes" };
        return Err(CliError::Local(Failure {
            what: "nothing was written".into(),
            why,
            fix: format!(
                "look at what would be written, and {yes}:\nguard init {agent} --print\nguard init {agent}{option}"
            ),
        }));
    }
    match file {
        Some(file) => yes(format_args!(
            "A link in this project leads out of it, to {}. Write this?",
            visible(file, LIMIT)
        )),
        None => yes("Write this?"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn change(file: &Path, after: Option<&str>) -> Change {
        Change::of(file.to_owned(), |_| Ok(after.map(str::to_owned))).unwrap()
    }

    #[test]
    fn a_directory_goes_with_the_last_that_was_in_it() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let claude = dir.path().join(".claude");
        let settings = claude.join("settings.json");
        fs::create_dir(&claude)?;
        tidy(AgentKind::ClaudeCode, &change(&settings, Some("{}")));
        assert!(claude.exists(), "a file was written there");
        fs::write(claude.join("theirs"), "")?;
        tidy(AgentKind::ClaudeCode, &change(&settings, None));
        assert!(claude.exists(), "it has a file of somebody else");
        fs::remove_file(claude.join("theirs"))?;
        tidy(
            AgentKind::ClaudeCode,
            &change(&dir.path().join(".mcp.json"), None),
        );
        assert!(dir.path().exists(), "it is the project");
        tidy(AgentKind::ClaudeCode, &change(&settings, None));
        assert!(!claude.exists());
        Ok(())
    }
}
