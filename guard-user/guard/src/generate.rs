//! Shell completions and man pages, from the same definition as the arguments.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use guard_proto::Failure;

use super::args::Cli;
use super::complete;
use super::error::{CliError, Exit};

/// How the exit statuses of a verb are listed behind its help, and those of verbs that list none.
const STATUS: &str = "Exit status:";
const USUAL: &str = "0 done or yes; 1 the answer is no; 2 it could not be done.";

/// `guard completions`
pub(crate) fn completions(shell: Shell) -> Result<Exit, CliError> {
    complete::script(shell)
        .and_then(|script| io::stdout().write_all(script.as_bytes()))
        .map_err(|error| CliError::output(&error))?;
    Ok(Exit::DONE)
}

/// `guard man`: guard.1, and guard-VERB.1 for each verb.
pub(crate) fn man(directory: &Path) -> Result<Exit, CliError> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    fs::create_dir_all(directory)
        .and_then(|()| pages(command, directory))
        .map_err(|error| Failure {
            what: format!("cannot write the man pages into {}", directory.display()),
            why: error.to_string(),
            fix: "name a directory that you may write:\nguard man DIR".into(),
        })?;
    Ok(Exit::DONE)
}

fn pages(command: Command, directory: &Path) -> io::Result<()> {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for verb in verbs.cloned() {
        pages(verb, directory)?;
    }
    let after = command.get_after_help().map(ToString::to_string);
    // Sections of their own, as man-pages(7) has them, and not one that is called EXTRA.
    let shown = command.clone().after_help(Resettable::Reset);
    let man = Man::new(shown.override_usage(synopsis(&command)));
    let mut page = Vec::new();
    man.render(&mut page)?;
    page.extend_from_slice(sections(&after.unwrap_or_default()).as_bytes());
    replace_file(&directory.join(man.get_filename()), &page)
}

/// In place of what has the name: a link there might lead to anything of the caller's.
fn replace_file(file: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::create_new(file)?.write_all(text),
    }
}

/// Options with their values, which clap_mangen leaves out, and then what has no name.
fn synopsis(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let is_usual = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let shown: Vec<_> = shown.filter(is_usual).collect();
    let (named, rest): (Vec<&Arg>, Vec<_>) = shown.iter().partition(|arg| !arg.is_positional());
    let named = named.into_iter().map(option);
    let mut words: Vec<_> = std::iter::once(name.to_owned()).chain(named).collect();
    for arg in rest {
        if arg.is_trailing_var_arg_set() {
            words.push("[--]".to_owned());
        }
        let more = if takes_more(arg) { "..." } else { "" };
        words.push(optional(arg, format!("{}{more}", value(arg))));
    }
    if command.has_subcommands() {
        words.push("VERB ...".to_owned());
    }
    words.join(" ")
}

fn option(arg: &Arg) -> String {
    let short = arg.get_short().map(|letter| format!("-{letter}|"));
    let long = arg.get_long().unwrap_or_default();
    let value = if arg.get_action().takes_values() {
        format!(" {}", value(arg))
    } else {
        String::new()
    };
    let option = optional(arg, format!("{}--{long}{value}", short.unwrap_or_default()));
    if takes_more(arg) {
        format!("{option}...")
    } else {
        option
    }
}

fn optional(arg: &Arg, text: String) -> String {
    if arg.is_required_set() {
        text
    } else {
        format!("[{text}]")
    }
}

fn value(arg: &Arg) -> String {
    let choices: Vec<_> = arg
        .get_possible_values()
        .iter()
        .map(|one| one.get_name().to_owned())
        .collect();
    match (choices.is_empty(), arg.get_value_names()) {
        (false, _) => choices.join("|"),
        (true, Some(names)) => names.join(" "),
        (true, None) => arg.get_id().to_string().to_uppercase(),
    }
}

fn takes_more(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// EXAMPLES and EXIT STATUS, out of what stands behind the help.
fn sections(after: &str) -> String {
    let (examples, status) = after.split_once(STATUS).unwrap_or((after, USUAL));
    let examples = examples.trim().trim_start_matches("Examples:");
    let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
    let examples = match examples {
        "" => String::new(),
        examples => format!(".SH EXAMPLES\n.nf\n{}\n.fi\n", literal(examples)),
    };
    format!("{examples}.SH \"EXIT STATUS\"\n{}\n", literal(&status))
}

/// Text that roff(7) takes letter by letter.
fn literal(text: &str) -> String {
    let escaped = text
        .trim_matches('\n')
        .replace('\\', "\\e")
        .replace('-', "\\-");
    let lines = escaped.lines().map(|line| {
        if line.starts_with(['.', '\'']) {
            format!("\\&{line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_page_goes_where_it_is_wanted_and_not_where_a_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let [pages, other] = ["pages", "other"].map(|name| dir.path().join(name));
        fs::create_dir(&pages).unwrap();
        fs::write(&other, "theirs").unwrap();
        symlink(&other, pages.join("guard-run.1")).unwrap();
        for _ in 0..2 {
            assert_eq!(man(&pages).unwrap(), Exit::DONE);
            assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
            let page = fs::symlink_metadata(pages.join("guard-run.1")).unwrap();
            assert!(page.is_file());
        }
    }
}
