//! Words in the wrong place: a command where a verb is expected, guard's options behind the command.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, RunArgs};
use super::error::CliError;
use super::render::command_line;
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

/// The verb that was probably meant comes first, and each verb once: clap has the likeliest last, and a name and its other names
/// each by itself.
pub(super) fn nearest_first(error: &mut clap::Error) {
    let text = |value: Option<&ContextValue>| match value {
        Some(ContextValue::String(typed)) => Some(typed.clone()),
        _ => None,
    };
    let typed = text(error.get(ContextKind::InvalidSubcommand));
    let (Some(typed), Some(ContextValue::Strings(suggested))) =
        (typed, error.get(ContextKind::SuggestedSubcommand))
    else {
        return;
    };
    let mut suggested = suggested.clone();
    suggested.sort_by_key(|verb| strsim::damerau_levenshtein(&typed, verb));
    let command = Cli::command();
    let mut known = Vec::new();
    suggested.retain(|verb| {
        let name = command
            .find_subcommand(verb)
            .map(|verb| verb.get_name().to_owned());
        let is_new = !known.contains(&name);
        known.push(name);
        is_new
    });
    error.insert(
        ContextKind::SuggestedSubcommand,
        ContextValue::Strings(suggested),
    );
}

fn is_verb(word: &OsStr) -> bool {
    let word = word.to_str().unwrap_or_default();
    Cli::command().find_subcommand(word).is_some()
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
            failure.fix = format!(
                "sudo guard {}",
                typed(arguments.get(1..).unwrap_or_default())
            );
            CliError::Answer { name, failure }
        }
        other => other,
    }
}

/// What `guard help`, `guard help VERB` and `guard version` ask for, which are options here.
pub(super) fn help(arguments: &[OsString]) -> Option<String> {
    let words: Vec<_> = arguments.iter().skip(1).map(|word| word.to_str()).collect();
    let mut command = Cli::command();
    match *words {
        [Some("version")] => Some(command.render_version()),
        [Some("help")] => Some(command.render_help().ansi().to_string()),
        [Some("help"), Some(verb)] => {
            command.build();
            let verb = command.find_subcommand_mut(verb)?;
            Some(verb.render_help().ansi().to_string())
        }
        _ => None,
    }
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

/// Words as they are typed.
pub(super) fn typed(words: &[OsString]) -> String {
    let words: Vec<_> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    command_line(&words)
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
