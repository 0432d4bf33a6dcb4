//! Words in the wrong place: a command where a verb is expected, guard's options behind the command.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, RunArgs};
use super::error::CliError;
use guard_cli::typed;
use guard_proto::Failure;

/// What `guard claude` and `guard -- claude` were meant to be, where there is such a program.
pub(super) fn command_for_verb(arguments: &[OsString], error: &clap::Error) -> Option<Failure> {
    let kinds = [
        ErrorKind::InvalidSubcommand,
        ErrorKind::UnknownArgument,
        ErrorKind::MissingSubcommand,
    ];
    let words = arguments.get(1..)?;
    let command = match words {
        [escape, command @ ..] if escape == "--" => command,
        command => command,
    };
    let program = command.first()?;
    if !kinds.contains(&error.kind()) || is_verb(program) || !is_program(program) {
        return None;
    }
    Some(Failure {
        what: format!("{} is no verb of guard's", program.display()),
        why: "a command is run by the verb run".to_owned(),
        fix: format!("guard run -- {}", typed(command)),
    })
}

/// A word in the place of a verb that is none: the line with each verb that it is like, or the command that it may be.
pub(super) fn no_verb(arguments: &[OsString], error: &clap::Error) -> Option<Failure> {
    let command = may_be_a_command(arguments, error);
    let command = command.map(|command| format!("or, to run a command:\n{command}"));
    guard_cli::no_verb(&Cli::command(), arguments, error, command)
}

/// The command that a word may be that is neither a verb nor like one, and no program of this PATH.
fn may_be_a_command(arguments: &[OsString], error: &clap::Error) -> Option<String> {
    let words = arguments.get(1..).filter(|words| !words.is_empty())?;
    let is_option = words[0].as_encoded_bytes().starts_with(b"-");
    let is_like_one = error.get(ContextKind::SuggestedSubcommand).is_some();
    let is_unknown = error.kind() == ErrorKind::InvalidSubcommand && !is_verb(&words[0]);
    (is_unknown && !is_option && !is_like_one).then(|| format!("guard run -- {}", typed(words)))
}

/// The verb that was probably meant comes first, and each verb once.
pub(super) fn nearest_first(error: &mut clap::Error) {
    guard_cli::nearest_first(&Cli::command(), error);
}

fn is_verb(word: &OsStr) -> bool {
    guard_cli::is_verb(&Cli::command(), word)
}

/// Whether it is one that can be run: of PATH, or by its path.
pub(super) fn is_program(word: &OsStr) -> bool {
    let is_executable = |path: &Path| {
        let meta = path.metadata();
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if word.as_encoded_bytes().contains(&b'/') {
        return is_executable(Path::new(word));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    !word.is_empty() && std::env::split_paths(&path).any(|dir| is_executable(&dir.join(word)))
}

/// guardd does not know which command root is to type again: this does.
pub(super) fn typed_out(error: CliError, arguments: &[OsString]) -> CliError {
    match error {
        CliError::Answer { name, mut failure } if failure.fix == "sudo guard …" => {
            failure.fix = again("sudo ", arguments);
            CliError::Answer { name, failure }
        }
        other => other,
    }
}

/// The command that was typed, behind a word of sudo's or nothing.
pub(super) fn again(before: &str, arguments: &[OsString]) -> String {
    let named = std::env::var_os("GUARD_SOCKET").filter(|path| !path.is_empty());
    written_out(before, arguments, named.as_deref())
}

/// sudo takes the variable away that names the socket.
fn written_out(before: &str, arguments: &[OsString], named: Option<&OsStr>) -> String {
    let words = arguments.get(1..).unwrap_or_default();
    let has_socket = words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word.as_encoded_bytes().starts_with(b"--socket"));
    let named = named.filter(|_| !before.is_empty() && !has_socket);
    let named = named.map(|path| ["--socket".into(), path.to_owned()]);
    let words: Vec<_> = named.into_iter().flatten().chain(words.to_vec()).collect();
    format!("{before}guard {}", typed(&words))
}

/// What `guard help`, `guard help policy edit`, `guard policy help` and `guard version` ask for, which are options here.
pub(super) fn help(arguments: &[OsString]) -> Option<String> {
    let words = verbs(arguments)?;
    let mut command = Cli::command();
    if words == ["version"] {
        return Some(command.render_version());
    }
    let path = match &words[..] {
        ["help", path @ ..] | [path @ .., "help"] => path,
        _ => return None,
    };
    command.build();
    let mut found = &mut command;
    for verb in path {
        found = found.find_subcommand_mut(verb)?;
    }
    Some(found.render_help().ansi().to_string())
}

/// The words that are no options of guard's own.
fn verbs(arguments: &[OsString]) -> Option<Vec<&str>> {
    let mut words = arguments.iter().skip(1);
    let mut verbs = Vec::new();
    while let Some(word) = words.next() {
        match word.to_str()? {
            "--socket" => {
                words.next();
            }
            option if option.starts_with('-') => {}
            verb => verbs.push(verb),
        }
    }
    Some(verbs)
}

/// What is wrong with `guard help aprove` is what is wrong with `guard aprove`.
pub(super) fn asked_about(
    arguments: Vec<OsString>,
    error: clap::Error,
) -> (Vec<OsString>, clap::Error) {
    let [guard, word, verb] = &arguments[..] else {
        return (arguments, error);
    };
    if word != "help" || is_verb(verb) {
        return (arguments, error);
    }
    let about = vec![guard.clone(), verb.clone()];
    let wrong = Cli::try_parse_from(&about).err();
    (about, wrong.unwrap_or(error))
}

/// That `--policy` stands behind a command, whose own it is there: it would run under another policy than the person believes.
/// Where `--` says which words are the command's, they are.
///
/// # Errors
///
/// Both ways to write it.
pub(super) fn policy_behind_command(arguments: &[OsString], args: &RunArgs) -> Result<(), Failure> {
    let is_policy = |word: &&OsString| {
        let text = word.to_string_lossy();
        text == "--policy" || text.starts_with("--policy=")
    };
    let Some(at) = args.command.iter().position(|word| is_policy(&word)) else {
        return Ok(());
    };
    if is_escaped(arguments, args) || args.policy.is_some() {
        return Ok(());
    }
    let (program, option) = (args.command[0].display(), args.command[at].display());
    let long = usize::from(args.command[at] == "--policy");
    let end = args.command.len().min(at + 1 + long);
    let (before, rest) = args.command.split_at(at);
    let (policy, after) = rest.split_at(end - at);
    Err(Failure {
        what: format!("cannot tell whose {option} is"),
        why: format!("it stands behind {program}, which would get it, and guard would not"),
        fix: format!(
            "guard run {} -- {}\nor, if it is {program}'s own:\nguard run -- {}",
            typed(policy),
            typed(&[before, after].concat()),
            typed(&args.command),
        ),
    })
}

/// Whether `--` says which words are the command's.
pub(super) fn is_escaped(arguments: &[OsString], args: &RunArgs) -> bool {
    let begin = arguments.len().saturating_sub(args.command.len());
    begin > 0 && arguments.get(begin - 1).is_some_and(|word| word == "--")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::Verb;
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_command_for_a_verb_is_told_how_to_run() {
        for (line, fix) in [
            ("guard sh -c true", Some("guard run -- sh -c true")),
            ("guard -- sh", Some("guard run -- sh")),
            ("guard /bin/sh", Some("guard run -- /bin/sh")),
            ("guard no-such-program", None),
            ("guard approve --nonsense", None),
        ] {
            let words = words(line);
            let error = Cli::try_parse_from(&words).unwrap_err();
            let told = command_for_verb(&words, &error).map(|failure| failure.fix);
            assert_eq!(told.as_deref(), fix, "{line}");
        }
    }

    #[test]
    fn what_is_alike_in_its_letters_alone_is_not_suggested() {
        let tip = |line: &str| {
            let mut error = Cli::try_parse_from(words(line)).unwrap_err();
            nearest_first(&mut error);
            let said = error.to_string();
            assert!(!said.contains("\n\n\n"), "{said}");
            said.contains("tip: ")
        };
        for line in ["guard aprove r1", "guard sess", "guard policy shwo ci"] {
            assert!(tip(line), "{line}");
        }
        for line in [
            "guard update",
            "guard exec",
            "guard auth",
            "guard uninstall",
            "guard delete",
            "guard claude",
        ] {
            assert!(!tip(line), "{line}");
        }
    }

    #[test]
    fn a_word_that_is_like_no_verb_may_be_a_command() {
        let told = |line: &str| {
            let words = words(line);
            let mut error = Cli::try_parse_from(&words).unwrap_err();
            nearest_first(&mut error);
            may_be_a_command(&words, &error)
        };
        let command = told("guard no-such-claude -p hello");
        assert_eq!(
            command.as_deref(),
            Some("guard run -- no-such-claude -p hello")
        );
        for line in [
            "guard aprove r1",
            "guard policy frob",
            "guard --frob",
            "guard approve",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn a_word_that_is_no_verb_leads_to_those_that_are() {
        let told = |line: &str| {
            let words = words(line);
            let mut error = Cli::try_parse_from(&words).unwrap_err();
            nearest_first(&mut error);
            no_verb(&words, &error)
        };
        for (line, what, why, fix) in [
            (
                "guard aprove r1",
                "aprove is no verb of guard's",
                "did you mean approve?",
                "guard approve r1\nguard --help",
            ),
            (
                "guard --json policy shwo ci",
                "policy shwo is no verb of guard's",
                "did you mean show?",
                "guard --json policy show ci\nguard policy --help",
            ),
            (
                "guard policy frob",
                "policy frob is no verb of guard's",
                "guard policy --help lists them",
                "guard policy --help",
            ),
            (
                "guard no-such-claude -p hello",
                "no-such-claude is no verb of guard's",
                "guard --help lists them",
                "guard --help\nor, to run a command:\nguard run -- no-such-claude -p hello",
            ),
        ] {
            let told = told(line).unwrap();
            let told = (&*told.what, &*told.why, &*told.fix);
            assert_eq!(told, (what, why, fix), "{line}");
        }
        assert!(told("guard --frob").is_none());
    }

    #[test]
    fn help_is_a_word_wherever_it_stands() {
        for (line, usage) in [
            ("guard help", "Usage: guard"),
            ("guard --json help", "Usage: guard"),
            ("guard --socket /x help", "Usage: guard"),
            ("guard help run", "Usage: guard run"),
            ("guard help policy edit", "Usage: guard policy edit"),
            ("guard policy help", "Usage: guard policy"),
            ("guard policy edit help", "Usage: guard policy edit"),
        ] {
            let help = help(&words(line)).unwrap_or_default();
            let plain = anstream::adapter::strip_str(&help).to_string();
            assert!(plain.contains(usage), "{line}: {plain}");
        }
        for line in ["guard help aprove", "guard approve", "guard helped run"] {
            assert_eq!(help(&words(line)), None, "{line}");
        }
        assert!(help(&words("guard version")).is_some());
    }

    #[test]
    fn what_root_is_to_type_names_the_socket_that_sudo_forgets() {
        let plain = words("guard assign --policy ci x.service");
        let named = words("guard --socket=/y assign --policy ci x.service");
        let socket = Some(OsStr::new("/x"));
        for (before, arguments, socket, out) in [
            (
                "sudo ",
                &plain,
                None,
                "sudo guard assign --policy ci x.service",
            ),
            (
                "sudo ",
                &plain,
                socket,
                "sudo guard --socket /x assign --policy ci x.service",
            ),
            (
                "sudo ",
                &named,
                socket,
                "sudo guard --socket=/y assign --policy ci x.service",
            ),
            ("", &plain, socket, "guard assign --policy ci x.service"),
        ] {
            assert_eq!(written_out(before, arguments, socket), out);
        }
    }

    #[test]
    fn the_verb_that_was_meant_is_suggested_first() {
        for (typed, first) in [
            ("aprove", "'approve'"),
            ("approvr", "'approve'"),
            ("sesions", "'sessions'"),
        ] {
            let mut error = Cli::try_parse_from(["guard", typed, "r1"]).unwrap_err();
            nearest_first(&mut error);
            let said = error.to_string();
            let (_, tip) = said.split_once("tip: ").unwrap();
            let named = tip.find('\'').map(|at| &tip[at..]).unwrap();
            assert!(named.starts_with(first), "{typed}: {said}");
            assert!(!said.contains("'approvers'"), "{typed}: {said}");
        }
    }

    #[test]
    fn a_policy_behind_the_command_is_not_taken_for_the_commands() {
        let told = |line: &str| {
            let words = words(line);
            let Verb::Run(args) = Cli::try_parse_from(&words).unwrap().verb else {
                panic!("{line}");
            };
            policy_behind_command(&words, &args)
                .err()
                .map(|failure| failure.fix)
        };
        for line in [
            "guard run claude --policy ci -p hello",
            "guard run claude -p hello --policy ci",
        ] {
            assert!(
                told(line)
                    .unwrap()
                    .starts_with("guard run --policy ci -- claude -p hello\n"),
                "{line}: {:?}",
                told(line)
            );
        }
        assert!(
            told("guard run claude --policy=ci")
                .unwrap()
                .starts_with("guard run --policy=ci -- claude\n")
        );
        assert!(told("guard run claude --policy").is_some());
        for line in [
            "guard run -- opa --policy x",
            "guard run --policy ci opa --policy x",
            "guard run opa --policies x",
            "guard run --policy ci -- claude",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }
}
