//! What a command line that clap refuses was probably meant to be: ids where none belong, options that other programs have, times
//! with a sign, and a word before the command.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use guard_policy::{Destination, parse_duration};
use guard_proto::Failure;

use super::answers::one_by_one;
use super::args::{Cli, RunArgs};
use super::misplaced::{is_escaped, is_program, typed};

/// Options that take a time.
const TIMES: [&str; 4] = ["--for", "--hold", "--max-for", "--since"];
/// Verbs that can be asked about one session, by an option.
const OF_A_SESSION: [&str; 5] = ["flows", "log", "replay", "report", "suggest"];

/// What it was meant to be, where that can be told.
pub(super) fn meant(arguments: &[OsString], error: &clap::Error) -> Option<Failure> {
    let kinds = [
        ErrorKind::InvalidValue,
        ErrorKind::MissingRequiredArgument,
        ErrorKind::UnknownArgument,
    ];
    if !kinds.contains(&error.kind()) {
        return None;
    }
    let words: Vec<&str> = arguments
        .iter()
        .skip(1)
        .map_while(|word| word.to_str())
        .collect();
    let command = Cli::command();
    let at = words
        .iter()
        .position(|word| command.find_subcommand(word).is_some())?;
    let verb = command.find_subcommand(words[at])?.get_name().to_owned();
    if error.kind() == ErrorKind::InvalidValue {
        return of_a_format(&words, &verb, error);
    }
    if let Some(failure) = of_a_missing_option(&words, &verb, error.kind()) {
        return Some(failure);
    }
    let wrong = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(wrong)) => wrong.as_str(),
        // What stands where a file does that wants another option.
        _ => words[at + 1..]
            .iter()
            .copied()
            .find(|word| id(word).is_some())?,
    };
    below_zero(&words, wrong)
        .or_else(|| of_a_time(&words, &verb, wrong))
        .or_else(|| of_an_id(&words, &verb, wrong))
        .or_else(|| of_a_destination(&verb, wrong))
        .or_else(|| of_an_option(&words, &verb, wrong))
}

/// clap offers to take an unknown option for a value, which no verb but `run` has a use for.
pub(super) fn no_value(error: &mut clap::Error, verb: Option<&str>) {
    if error.kind() == ErrorKind::UnknownArgument && verb != Some("run") {
        error.remove(ContextKind::Suggested);
    }
}

/// That a word which is no program stands before the command, where guard's own options do.
///
/// # Errors
///
/// What to type in its place.
pub(super) fn word_before_command(arguments: &[OsString], args: &RunArgs) -> Result<(), Failure> {
    let [word, escape, command @ ..] = &args.command[..] else {
        return Ok(());
    };
    let is_command = is_escaped(arguments, args) || is_program(word);
    if is_command || escape != "--" || command.is_empty() {
        return Ok(());
    }
    let (word, command) = (typed(std::slice::from_ref(word)), typed(command));
    Err(Failure {
        what: format!("cannot tell what {word} is"),
        why: "it stands before --, where guard's own options do, and is no program".to_owned(),
        fix: format!(
            "guard run --policy {word} -- {command}\nor, as the session's name:\nguard run --name {word} -- {command}"
        ),
    })
}

/// The letter of an id: r, h or s.
fn id(word: &str) -> Option<char> {
    let letter = word.chars().next().filter(|c| "rhs".contains(*c))?;
    let number = &word[1..];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(letter)
}

fn failure(what: String, why: &str, fix: String) -> Option<Failure> {
    Some(Failure {
        what,
        why: why.to_owned(),
        fix,
    })
}

/// The line with other words in the place of one.
fn line(words: &[&str], of: &str, others: &[&str]) -> String {
    let words = words.iter().flat_map(|word| match *word == of {
        true => others.to_vec(),
        false => vec![*word],
    });
    let words: Vec<OsString> = words.map(OsString::from).collect();
    format!("guard {}", typed(&words))
}

/// A time that lies before nothing: clap takes it for an option.
fn below_zero(words: &[&str], wrong: &str) -> Option<Failure> {
    let is_wrong = |word: &&str| word.starts_with(wrong) && word.starts_with('-');
    let at = words.iter().position(is_wrong)?;
    let time = words[at].strip_prefix('-')?;
    let option = at.checked_sub(1).map(|before| words[before])?;
    if !TIMES.contains(&option) || !time.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    failure(
        format!("cannot take {option} {}", words[at]),
        "a time has no sign",
        line(words, words[at], &[time]),
    )
}

/// A time without its option.
fn of_a_time(words: &[&str], verb: &str, wrong: &str) -> Option<Failure> {
    let option = match verb {
        "open" => "--for",
        "flows" | "report" | "suggest" => "--since",
        _ => return None,
    };
    let has_unit = wrong.ends_with(|c: char| c.is_ascii_alphabetic());
    if !has_unit || parse_duration(wrong).is_err() {
        return None;
    }
    failure(
        format!("cannot tell what {wrong} is for"),
        &format!("did you mean {option} {wrong}?"),
        line(words, wrong, &[option, wrong]),
    )
}

/// `--format json`: what a program reads, every verb prints by the same option.
fn of_a_format(words: &[&str], verb: &str, error: &clap::Error) -> Option<Failure> {
    let value = error.get(ContextKind::InvalidValue);
    let is_json = |value: &ContextValue| matches!(value, ContextValue::String(it) if it == "json");
    if verb != "report" || !value.is_some_and(is_json) {
        return None;
    }
    let words = words.iter().filter(|word| !word.starts_with("--format"));
    let words: Vec<_> = words.copied().collect();
    let other = match words.contains(&"json") {
        true => line(&words, "json", &["--json"]),
        false => format!("{} --json", line(&words, "", &[])),
    };
    failure(
        "guard report has no --format json".to_owned(),
        "did you mean --json?",
        other,
    )
}

/// An option that is nothing without another.
fn of_a_missing_option(words: &[&str], verb: &str, kind: ErrorKind) -> Option<Failure> {
    let is_name = |word: &&str| *word == "--name" || word.starts_with("--name=");
    let is_missing = kind == ErrorKind::MissingRequiredArgument;
    if !is_missing || verb != "suggest" || !words.iter().any(is_name) {
        return None;
    }
    failure(
        "guard suggest knows sessions by name only with --from-flows".to_owned(),
        "without it, rules come of answers, and --session takes an id",
        format!(
            "{} --from-flows\nor, of the answers in one session:\nguard suggest --session s1",
            line(words, "", &[])
        ),
    )
}

/// An id behind a verb that takes none.
fn of_an_id(words: &[&str], verb: &str, wrong: &str) -> Option<Failure> {
    match (verb, id(wrong)?) {
        ("answer", 'r') => failure(
            format!("cannot answer {wrong} so"),
            "guard answer hands in what somebody has signed elsewhere",
            format!("guard approve {wrong}\nguard deny {wrong}"),
        ),
        ("sign", 'r') => failure(
            format!("cannot sign an answer to {wrong} so"),
            "guard sign reads the question from standard input",
            format!("guard question {wrong} --bytes | guard sign > answer"),
        ),
        (verb, 's') if OF_A_SESSION.contains(&verb) => failure(
            format!("guard {verb} takes no session by itself"),
            "one is chosen by an option",
            line(words, wrong, &["--session", wrong]),
        ),
        ("pending", 'r') => failure(
            format!("cannot list {wrong} alone"),
            "guard pending lists all requests",
            format!("guard pending\nand answer it:\nguard approve {wrong}\nguard deny {wrong}"),
        ),
        ("holes", 'h') => failure(
            format!("cannot list {wrong} alone"),
            "guard holes lists all holes",
            format!("guard holes\nand close it:\nguard close {wrong}"),
        ),
        ("sessions" | "status", 's') => failure(
            format!("cannot show {wrong} alone"),
            &format!("guard {verb} shows all sessions"),
            format!("guard sessions\nand what it did:\nguard log --session {wrong}"),
        ),
        _ => None,
    }
}

/// A destination behind `guard why`, which tells what was stopped.
fn of_a_destination(verb: &str, wrong: &str) -> Option<Failure> {
    if verb != "why" || wrong.parse::<Destination>().is_err() {
        return None;
    }
    failure(
        format!("guard why takes no destination, such as {wrong}"),
        "it tells what was stopped, whatever it was",
        format!("guard why\nor what holds there:\nguard explain {wrong}"),
    )
}

/// An option that this verb does not have, and others do.
fn of_an_option(words: &[&str], verb: &str, wrong: &str) -> Option<Failure> {
    match (verb, wrong) {
        ("approve" | "deny", "--all") => Some(one_by_one(verb)),
        ("stop", "--all") => failure(
            "cannot stop all sessions at once".to_owned(),
            "each is named by its id; several in one line",
            "guard sessions\nguard stop ID…".to_owned(),
        ),
        ("log", "-n" | "--lines" | "--tail") => failure(
            format!("guard log has no {wrong}"),
            "it prints all records, or those since a time",
            "guard log | tail -n 10\nguard log --since 1h".to_owned(),
        ),
        ("log", "--grep" | "--kind" | "--type") => failure(
            format!("guard log has no {wrong}"),
            "its records are chosen by their fields, in JSON",
            "guard log --json | jq -c 'select(.kind == \"denied\")'".to_owned(),
        ),
        ("report", name) if !name.starts_with('-') => failure(
            "guard report takes no session by itself".to_owned(),
            "one is chosen by an option: by its name, or by its id",
            format!(
                "{}\nor by its id:\nguard report --session s1",
                line(words, name, &["--name", name])
            ),
        ),
        ("completions", "--shell") => failure(
            "guard completions has no --shell".to_owned(),
            "the shell is named by itself",
            line(words, wrong, &[]),
        ),
        ("why", destination) if !destination.starts_with('-') => failure(
            format!("guard why takes no destination such as {destination}"),
            "it tells all that was stopped",
            format!("guard why\nor what the policy says of it:\nguard explain {destination}"),
        ),
        _ => None,
    }
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
    fn what_clap_refuses_is_told_what_to_type() {
        for (line, fix) in [
            ("guard answer r7", "guard approve r7\nguard deny r7"),
            ("guard sign r7", "guard question r7 --bytes"),
            ("guard log s1", "guard log --session s1"),
            ("guard --json flows s1", "guard --json flows --session s1"),
            ("guard replay ci s1", "guard replay ci --session s1"),
            ("guard requests r1", "guard approve r1"),
            ("guard holes h1", "guard close h1"),
            ("guard ps s1", "guard log --session s1"),
            ("guard stop --all", "guard stop ID…"),
            ("guard yes --all", "guard approve r1 r2"),
            ("guard log -n 10", "guard log | tail"),
            ("guard log --kind denied", "jq"),
            ("guard completions --shell bash", "guard completions bash"),
            ("guard log --since -5m", "guard log --since 5m"),
            (
                "guard open db.example.com:5432 5m",
                "guard open db.example.com:5432 --for 5m",
            ),
            ("guard flows 1h", "guard flows --since 1h"),
            (
                "guard report --format json --name ci",
                "guard report --json --name ci",
            ),
            ("guard report --format=json", "guard report --json"),
            ("guard report n1", "guard report --name n1\n"),
            ("guard report s1", "guard report --session s1"),
            (
                "guard suggest --name day",
                "guard suggest --name day --from-flows\n",
            ),
            ("guard why 192.0.2.10:443", "guard explain 192.0.2.10:443"),
            ("guard why db.example.com", "guard explain db.example.com"),
            (
                "guard run --hold -5s -- true",
                "guard run --hold 5s -- true",
            ),
        ] {
            let words = words(line);
            let error = Cli::try_parse_from(&words).unwrap_err();
            let told = meant(&words, &error).map_or_else(String::new, |failure| failure.fix);
            assert!(told.contains(fix), "{line}: {told:?}");
        }
    }

    #[test]
    fn what_nobody_can_guess_is_clap_s_to_tell() {
        for line in [
            "guard approve",
            "guard log --colour",
            "guard log r1",
            "guard why --everything",
            "guard open 192.0.2.10 443",
            "guard report --format yaml",
            "guard suggest 443",
            "guard question r1 r2",
            "guard run --quite -- true",
        ] {
            let words = words(line);
            let error = Cli::try_parse_from(&words).unwrap_err();
            assert_eq!(meant(&words, &error), None, "{line}");
        }
    }

    #[test]
    fn an_unknown_option_is_not_offered_as_a_value() {
        let tip = |line: &str| {
            let words = words(line);
            let mut error = Cli::try_parse_from(&words).unwrap_err();
            no_value(&mut error, words.get(1).and_then(|verb| verb.to_str()));
            error.to_string().contains("as a value")
        };
        assert!(!tip("guard stop --everything"));
        assert!(tip("guard run --everything -- true"));
    }

    #[test]
    fn a_word_before_the_command_is_no_command() {
        let told = |line: &str| {
            let words = words(line);
            let Verb::Run(args) = Cli::try_parse_from(&words).unwrap().verb else {
                panic!("{line}");
            };
            word_before_command(&words, &args)
                .err()
                .map(|failure| failure.fix)
        };
        let fix = told("guard run no-program -- sh -c true").unwrap();
        let first = "guard run --policy no-program -- sh -c true\n";
        assert!(fix.starts_with(first), "{fix}");
        for line in [
            "guard run sh -- x",
            "guard run -- no-program -- x",
            "guard run no-program x -- y",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }
}
