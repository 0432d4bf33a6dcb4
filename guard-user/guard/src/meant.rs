//! What a command line that clap refuses was probably meant to be: ids where none belong, options that other programs have, times
//! with a sign, and a word before the command.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use guard_cli::typed;
use guard_policy::{Destination, Target, parse_duration};
use guard_proto::Failure;

use super::args::{Cli, RunArgs};
use super::complete;
use super::ids::{one_by_one, stop_all};
use super::misplaced::{is_escaped, is_program};

/// Options that take a time.
const TIMES: [&str; 4] = ["--for", "--hold", "--max-for", "--since"];
/// Verbs that can be asked about one session, by an option.
const OF_A_SESSION: [&str; 4] = ["flows", "log", "report", "suggest"];

/// What it was meant to be, where that is clear.
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
    if let Some(failure) = of_a_missing_option(&words, &verb, error) {
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
        .or_else(|| of_more_than_a_destination(&words, &verb, wrong))
        .or_else(|| of_a_destination(&verb, wrong))
        .or_else(|| of_a_file(&words, &verb, wrong))
        .or_else(|| of_an_option(&words, &verb, wrong))
        .or_else(|| of_run(&words, &verb, wrong))
        .or_else(|| of_a_yes(&words, &verb, wrong))
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

/// The line with other words in the place of the first that is so.
fn line(words: &[&str], of: &str, others: &[&str]) -> String {
    let at = words.iter().position(|word| *word == of);
    let (before, after) = words.split_at(at.unwrap_or(words.len()));
    let others = if at.is_some() { others } else { &[] };
    let after = after.get(1..).unwrap_or_default();
    let words: Vec<_> = [before, others, after].concat();
    let words: Vec<_> = words.into_iter().map(OsString::from).collect();
    format!("guard {}", typed(&words))
}

/// The line with another option in the place of one, whose value stays.
fn renamed(words: &[&str], of: &str, other: &str) -> String {
    let is_it = |word: &&str| {
        word.strip_prefix(of)
            .is_some_and(|rest| rest.starts_with('='))
    };
    match words.iter().find(|word| is_it(word)) {
        Some(word) => line(words, word, &[&word.replacen(of, other, 1)]),
        None => line(words, of, &[other]),
    }
}

/// The line without an option and the value behind it.
fn without(words: &[&str], option: &str) -> String {
    let starts = |word: &&str| {
        word.strip_prefix(option)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let Some(at) = words.iter().position(starts) else {
        return line(words, "", &[]);
    };
    let values = usize::from(words[at] == option);
    let after = words.get(at + 1 + values..).unwrap_or_default();
    line(&[&words[..at], after].concat(), "", &[])
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
    let other = if words.contains(&"json") {
        line(&words, "json", &["--json"])
    } else {
        format!("{} --json", line(&words, "", &[]))
    };
    failure(
        "guard report has no --format json".to_owned(),
        "did you mean --json?",
        other,
    )
}

/// An option that is nothing without another, and a key that is missing.
fn of_a_missing_option(words: &[&str], verb: &str, error: &clap::Error) -> Option<Failure> {
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    let missing = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => &missing[..],
        _ => &[],
    };
    let of_which = [
        ("approve", "request", "pending", "r1"),
        ("deny", "request", "pending", "r1"),
        ("close", "hole", "holes", "h1"),
        ("stop", "session", "sessions", "s1"),
    ];
    let of_which = of_which.iter().find(|(of, ..)| *of == verb);
    if let Some((_, what, list, id)) = of_which
        && missing.iter().any(|one| one.contains("ID"))
    {
        return failure(
            format!("no {what} is named"),
            "each has an id, which its list tells",
            format!(
                "guard {list}\nguard {verb} {}",
                complete::first_of(what).unwrap_or_else(|| (*id).to_owned())
            ),
        );
    }
    let lacks_key = matches!(missing, [one] if one.starts_with("--ssh-key"));
    if verb == "approver" && words.contains(&"add") && lacks_key {
        let line = line(words, "", &[]);
        return failure(
            "nobody was enrolled".to_owned(),
            "no key is named: an SSH key, or a passkey",
            format!("{line} --ssh-key FILE\n{line} --passkey ID:KEY"),
        );
    }
    let is_name = |word: &&str| *word == "--name" || word.starts_with("--name=");
    if verb != "suggest" || !words.iter().any(is_name) {
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

/// A port, a time or another destination behind one that has been named.
fn of_more_than_a_destination(words: &[&str], verb: &str, wrong: &str) -> Option<Failure> {
    if !["open", "explain", "request"].contains(&verb) {
        return None;
    }
    let at = words.iter().rposition(|word| *word == wrong)?;
    let first = words[at.checked_sub(1)?];
    let to: Destination = first.parse().ok()?;
    let what = format!("cannot tell what {wrong} is for");
    if wrong == "for" && verb == "open" {
        return failure(what, "did you mean --for?", line(words, wrong, &["--for"]));
    }
    if let (Ok(port), None) = (wrong.parse(), to.port) {
        let is_host = match &to.target {
            Target::Prefix(prefix) => prefix.is_host(),
            Target::Name(_) => true,
            _ => false,
        };
        let rest = [&words[..at], &words[at + 1..]].concat();
        let one = if is_host {
            let port = Some(port);
            vec![Destination { port, ..to }.to_string()]
        } else {
            vec![
                first.to_owned(),
                "--ports".to_owned(),
                format!("tcp/{wrong}"),
            ]
        };
        let one: Vec<_> = one.iter().map(String::as_str).collect();
        return failure(
            what,
            "a port stands behind a colon",
            line(&rest, first, &one),
        );
    }
    let is_another = wrong.contains(['.', ':', '/', '@']) && wrong.parse::<Destination>().is_ok();
    if !is_another {
        return None;
    }
    failure(
        what,
        &format!("guard {verb} takes one destination at a time"),
        format!("{}\n{}", line(words, wrong, &[]), line(words, first, &[])),
    )
}

/// A file by itself, where it is read from standard input, or named by an option.
fn of_a_file(words: &[&str], verb: &str, wrong: &str) -> Option<Failure> {
    if wrong.starts_with('-') || id(wrong).is_some() {
        return None;
    }
    match verb {
        "sign" => failure(
            format!("guard sign takes no file such as {wrong}"),
            "it reads the question from standard input",
            format!(
                "{} < {} > answer",
                line(words, wrong, &[]),
                typed(&[wrong.into()])
            ),
        ),
        "answer" => failure(
            format!("guard answer takes no file by itself, such as {wrong}"),
            "what was signed is named by an option",
            line(words, wrong, &["--signed", wrong]),
        ),
        "approver" if words.contains(&"add") || words.contains(&"present") => failure(
            format!("cannot tell what {wrong} is for"),
            "a key is named by an option",
            line(words, wrong, &["--ssh-key", wrong]),
        ),
        _ => None,
    }
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
        ("pending" | "holes" | "watch", 's') => of_one_session(verb, wrong),
        ("sessions" | "status", 's') => failure(
            format!("cannot show {wrong} alone"),
            &format!("guard {verb} shows all sessions"),
            format!("guard sessions\nand what it did:\nguard log --session {wrong}"),
        ),
        _ => None,
    }
}

/// What is listed of all sessions, and of none alone.
fn of_one_session(verb: &str, session: &str) -> Option<Failure> {
    failure(
        format!("guard {verb} takes no session such as {session}"),
        "it lists what there is of all your sessions",
        match verb {
            "watch" => "guard watch, and there: / to filter".to_owned(),
            verb => format!(
                "guard {verb}\nguard {verb} --json | jq '.[] | select(.session == \"{session}\")'"
            ),
        },
    )
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
        ("stop", "--all") => Some(stop_all()),
        ("pending" | "holes" | "watch", "--session") => {
            let at = words.iter().position(|word| *word == "--session");
            let session = at.and_then(|at| words.get(at + 1));
            of_one_session(verb, session.unwrap_or(&"s1"))
        }
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

/// Options that other programs have which run a command, before it.
fn of_run(words: &[&str], verb: &str, wrong: &str) -> Option<Failure> {
    if verb != "run" {
        return None;
    }
    let other = match wrong {
        "-p" => "--policy",
        "-u" => "--user",
        "-n" => "--name",
        "-i" | "-t" | "-it" | "-d" | "-e" | "--rm" | "--env" | "--interactive" | "--tty"
        | "--detach" => {
            return failure(
                format!("guard run has no {wrong}"),
                "the command has this terminal, directory and environment as they are",
                "guard run -- CMD".to_owned(),
            );
        }
        _ => return None,
    };
    failure(
        format!("guard run has no {wrong}"),
        &format!("did you mean {other}?"),
        renamed(words, wrong, other),
    )
}

/// Options that people look for where they say yes or no.
fn of_a_yes(words: &[&str], verb: &str, wrong: &str) -> Option<Failure> {
    let what = format!("guard {verb} has no {wrong}");
    match (verb, wrong) {
        ("approve" | "open", "--once") => failure(
            what,
            "did you mean --connections 1?",
            line(words, wrong, &["--connections", "1"]),
        ),
        ("approve" | "deny" | "open", "--duration" | "--ttl" | "--timeout" | "-t") => {
            failure(what, "did you mean --for?", renamed(words, wrong, "--for"))
        }
        ("approve" | "deny" | "open" | "close" | "stop", "-y" | "--yes") => {
            failure(what, "it asks nothing", line(words, wrong, &[]))
        }
        ("approve" | "open", "--forever" | "--permanent") => failure(
            what,
            "a hole ends by itself; for good there are rules, which are made of what was answered",
            format!("{}\nguard suggest", line(words, wrong, &[])),
        ),
        ("approve", "--reason") => failure(
            what,
            "a yes has the reason of its request; a hole that nobody asked for has its own",
            format!("{}\nguard open DEST --reason TEXT", without(words, wrong)),
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
            ("guard approve", "guard pending\nguard approve r1"),
            ("guard deny", "guard pending\nguard deny r1"),
            ("guard close", "guard holes\nguard close h1"),
            ("guard stop", "guard sessions\nguard stop s1"),
            ("guard sign r7", "guard question r7 --bytes"),
            ("guard log s1", "guard log --session s1"),
            ("guard --json flows s1", "guard --json flows --session s1"),
            ("guard requests r1", "guard approve r1"),
            ("guard holes h1", "guard close h1"),
            ("guard ps s1", "guard log --session s1"),
            ("guard stop --all", "guard stop ID…"),
            ("guard yes --all", "guard approve r1 r2"),
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
            (
                "guard run -p ci -- claude -p hello",
                "guard run --policy ci -- claude -p hello",
            ),
            (
                "guard run -u agent -- true",
                "guard run --user agent -- true",
            ),
            ("guard run -it -- bash", "guard run -- CMD"),
            ("guard run --rm -- bash", "guard run -- CMD"),
            (
                "guard approve r1 --once",
                "guard approve r1 --connections 1",
            ),
            ("guard approve r1 --ttl 5m", "guard approve r1 --for 5m"),
            ("guard approve r1 --ttl=5m", "guard approve r1 --for=5m"),
            ("guard deny r1 --duration 8h", "guard deny r1 --for 8h"),
            ("guard approve -y r1", "guard approve r1"),
            (
                "guard approve r1 --forever",
                "guard approve r1\nguard suggest",
            ),
            (
                "guard approve r1 --reason why --for 5m",
                "guard approve r1 --for 5m\nguard open DEST --reason",
            ),
            ("guard open 192.0.2.10 443", "guard open 192.0.2.10:443"),
            (
                "guard open 2001:db8::a 443",
                "guard open '[2001:db8::a]:443'",
            ),
            (
                "guard open db.example.com 443 --for 5m",
                "guard open db.example.com:443 --for 5m",
            ),
            (
                "guard explain 192.0.2.0/24 443",
                "guard explain 192.0.2.0/24 --ports tcp/443",
            ),
            (
                "guard open 192.0.2.10:443 for 15m",
                "guard open 192.0.2.10:443 --for 15m",
            ),
            (
                "guard open 192.0.2.10:443 192.0.2.11:443",
                "guard open 192.0.2.10:443\nguard open 192.0.2.11:443",
            ),
            ("guard sign question", "guard sign < question > answer"),
            (
                "guard answer signed.txt",
                "guard answer --signed signed.txt",
            ),
            (
                "guard approver add alice alice.pub",
                "guard approver add alice --ssh-key alice.pub",
            ),
            (
                "guard approver add alice",
                "guard approver add alice --ssh-key FILE\nguard approver add alice --passkey",
            ),
            ("guard pending --session s2", "select(.session == \"s2\")"),
            ("guard holes s1", "guard holes --json | jq"),
            ("guard watch s1", "/ to filter"),
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
            "guard explain",
            "guard log --colour",
            "guard log r1",
            "guard why --everything",
            "guard open 192.0.2.10 everything",
            "guard approver add",
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
    fn an_unknown_option_is_offered_as_nothing_that_it_is_not_like() {
        let told = |line: &str| {
            let mut error = Cli::try_parse_from(words(line)).unwrap_err();
            guard_cli::no_value(&mut error);
            error.to_string()
        };
        for line in [
            "guard stop --everything",
            "guard run --everything -- true",
            "guard approve r1 --reason why",
            "guard approve r1 --once",
        ] {
            let told = told(line);
            assert!(!told.contains("tip: "), "{line}: {told}");
        }
        for (line, meant) in [
            ("guard run --quite -- true", "'--quiet'"),
            ("guard run --poilcy ci -- true", "'--policy'"),
            ("guard status --jsno", "'--json'"),
        ] {
            assert!(told(line).contains(meant), "{line}");
        }
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
