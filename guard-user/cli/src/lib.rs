//! What the command lines of guard's programs have in common: what is said of a mistyped verb.
//!
//! clap reads them. Of a verb that there is none of, it suggests what is alike in some letters, and takes the word for a value
//! besides, which no verb has there.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{
    Command, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use guard_proto::Failure;
use guard_signed::visible::{command_line, visible};

/// Words of other programs in the place of a verb, what is to be known about them, and what to type: `WORD` there is the word.
pub type Synonym = (&'static [&'static str], &'static str, &'static str);

/// How a command line that was not understood ends.
const USAGE: u8 = 2;
/// Characters of a line that are shown: more than any line here has, unless somebody has typed more.
const LINE: usize = 1000;

/// Reads the command line of a program. Where it cannot be understood, says what was probably meant.
///
/// # Errors
///
/// The status to exit with, once all is said; also where help or the version was asked for.
pub fn parse<P: Parser>(arguments: &[OsString], synonyms: &[Synonym]) -> Result<P, ExitCode> {
    P::try_parse_from(arguments).map_err(|mut error| {
        let command = P::command();
        if no_such_verb(&error) == Some("version") {
            let _ = write!(io::stdout(), "{}", command.render_version());
            return ExitCode::SUCCESS;
        }
        // That nobody reads it changes nothing.
        let _ = match meant(&command, arguments, &mut error, synonyms) {
            Some(failure) => write!(io::stderr(), "{}", text(command.get_name(), &failure)),
            None => error.print(),
        };
        if error.use_stderr() {
            ExitCode::from(USAGE)
        } else {
            ExitCode::SUCCESS
        }
    })
}

/// What a command line was probably meant to be, where it is a verb that is wrong. What clap has to say of the rest is left better.
pub fn meant(
    command: &Command,
    arguments: &[OsString],
    error: &mut clap::Error,
    synonyms: &[Synonym],
) -> Option<Failure> {
    nearest_first(command, error);
    no_value(error);
    of_synonyms(command, error, synonyms).or_else(|| no_verb(command, arguments, error, None))
}

/// The one that has the word.
#[must_use]
pub fn synonym<'s>(all: &'s [Synonym], word: &str) -> Option<&'s Synonym> {
    all.iter().find(|(words, ..)| words.contains(&word))
}

fn of_synonyms(command: &Command, error: &clap::Error, all: &[Synonym]) -> Option<Failure> {
    let word = no_such_verb(error)?;
    let (_, why, fix) = synonym(all, word)?;
    Some(Failure {
        what: format!("{word} is no verb of {}'s", command.get_name()),
        why: (*why).to_owned(),
        fix: fix.replace("WORD", word),
    })
}

/// The word in the place of a verb that is none.
fn no_such_verb(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => Some(word),
        _ => None,
    }
}

/// A word in the place of a verb that is none: the line with each verb that it is like, and where all are listed. `other`: what else
/// the line may have been meant to be, where the word is like no verb.
#[must_use]
pub fn no_verb(
    command: &Command,
    arguments: &[OsString],
    error: &clap::Error,
    other: Option<String>,
) -> Option<Failure> {
    let word = no_such_verb(error)?;
    let program = command.get_name();
    let words = arguments.get(1..)?;
    let at = words.iter().position(|one| one == word)?;
    let suggested: &[String] = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(suggested)) => suggested,
        _ => &[],
    };
    let distance = |verb: &str| strsim::damerau_levenshtein(word, verb);
    let least = suggested.iter().map(|verb| distance(verb)).min();
    let like = suggested.iter().map(String::as_str);
    let like: Vec<_> = like.filter(|verb| Some(distance(verb)) == least).collect();
    // `policy` and the like, which have verbs of their own.
    let group = words[..at].iter().filter(|one| is_verb(command, one));
    let group: Vec<_> = group.cloned().collect();
    let of_group = |last: &str| typed(&[&group[..], &[OsString::from(last)]].concat());
    let help = format!("{program} {}", of_group("--help"));
    let meant = like.iter().map(|verb| {
        let meant = [&words[..at], &[OsString::from(verb)], &words[at + 1..]].concat();
        format!("{program} {}", typed(&meant))
    });
    let fix = match other {
        Some(other) => format!("{help}\n{other}"),
        None => meant.chain([help.clone()]).collect::<Vec<_>>().join("\n"),
    };
    Some(Failure {
        what: format!("{} is no verb of {program}'s", of_group(word)),
        why: if like.is_empty() {
            format!("{help} lists them")
        } else {
            format!("did you mean {}?", like.join(" or "))
        },
        fix,
    })
}

/// The verb that was probably meant comes first, and each verb once: clap has the likeliest last, a name and its other names
/// each by itself, and words that are alike in little but their letters.
pub fn nearest_first(command: &Command, error: &mut clap::Error) {
    let typed = no_such_verb(error).map(str::to_owned);
    let (Some(typed), Some(ContextValue::Strings(suggested))) =
        (typed, error.get(ContextKind::SuggestedSubcommand))
    else {
        return;
    };
    let mut suggested = suggested.clone();
    suggested.sort_by_key(|verb| strsim::damerau_levenshtein(&typed, verb));
    let mut known = Vec::new();
    suggested.retain(|verb| {
        let found = command.find_subcommand(verb);
        let name = found.map_or_else(|| verb.clone(), |found| found.get_name().to_owned());
        let is_new = !known.contains(&name);
        known.push(name);
        is_new && is_like(&typed, verb)
    });
    if suggested.is_empty() {
        error.remove(ContextKind::SuggestedSubcommand);
        // It has none of its own, and a blank line before them.
        error.remove(ContextKind::Suggested);
        return;
    }
    error.insert(
        ContextKind::SuggestedSubcommand,
        ContextValue::Strings(suggested),
    );
}

/// clap offers to take an unknown option for a value, which would have it run as a program; and any option that is alike in some
/// letters, whatever that does.
pub fn no_value(error: &mut clap::Error) {
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    error.remove(ContextKind::Suggested);
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.trim_start_matches('-').to_owned(),
        _ => String::new(),
    };
    let (typed, known) = (
        text(ContextKind::InvalidArg),
        text(ContextKind::SuggestedArg),
    );
    if !is_like(&typed, &known) {
        error.remove(ContextKind::SuggestedArg);
    }
}

/// Whether one word is the other one misspelt, or its beginning.
#[must_use]
pub fn is_like(typed: &str, known: &str) -> bool {
    let longest = typed.chars().count().max(known.chars().count());
    let begins = typed.len() > 1 && known.starts_with(typed);
    begins || strsim::damerau_levenshtein(typed, known) * 3 <= longest
}

/// Whether a word is a verb, by whichever of its names.
#[must_use]
pub fn is_verb(command: &Command, word: &OsStr) -> bool {
    let word = word.to_str().unwrap_or_default();
    command.find_subcommand(word).is_some()
}

/// Words as they are typed.
#[must_use]
pub fn typed(words: &[OsString]) -> String {
    let words: Vec<_> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    command_line(&words)
}

/// What and why in one line, and what to type below. Whatever was typed is shown as it is, and does nothing to the terminal.
fn text(program: &str, failure: &Failure) -> String {
    let mut text = format!("{}\n", visible(format_args!("{program}: {failure}"), LINE));
    for line in failure.fix.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {}", visible(line, LINE));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with two verbs.
    #[derive(Clone, Debug, clap::Parser)]
    #[command(name = "guard-example", version)]
    struct Example {
        /// One JSON object a line
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Clone, Debug, clap::Subcommand)]
    enum Verb {
        Machines,
        Pending,
    }

    const SYNONYMS: [Synonym; 1] = [(
        &["start", "up"],
        "it is a service",
        "sudo systemctl WORD guard-example",
    )];

    fn told(line: &str) -> Option<Failure> {
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        let mut error = Example::try_parse_from(&words).err()?;
        meant(
            &<Example as clap::CommandFactory>::command(),
            &words,
            &mut error,
            &SYNONYMS,
        )
    }

    #[test]
    fn a_mistyped_verb_is_told_which_was_meant() {
        let failure = told("guard-example --json pendign").unwrap();
        let shown = text("guard-example", &failure);
        let expected = "guard-example: pendign is no verb of guard-example's: did you mean pending?\n    \
                        guard-example --json pending\n    guard-example --help\n";
        assert_eq!(shown, expected);
        let unlike = told("guard-example frobnicate").unwrap();
        assert_eq!(unlike.why, "guard-example --help lists them");
        assert_eq!(unlike.fix, "guard-example --help");
    }

    #[test]
    fn a_word_of_other_programs_leads_to_what_does_it_here() {
        let failure = told("guard-example start").unwrap();
        assert_eq!(failure.why, "it is a service");
        assert_eq!(failure.fix, "sudo systemctl start guard-example");
    }

    #[test]
    fn all_else_is_left_to_clap() {
        let whole = Example::try_parse_from(["guard-example", "--json", "machines"]).unwrap();
        assert!(whole.json && matches!(whole.verb, Verb::Machines));
        for line in [
            "guard-example pending",
            "guard-example pending --frob",
            "guard-example --help",
        ] {
            assert!(told(line).is_none(), "{line}");
        }
    }

    #[test]
    fn what_was_typed_does_nothing_to_the_terminal() {
        let failure = told("guard-example \u{1b}[2J").unwrap();
        assert!(!text("guard-example", &failure).contains('\u{1b}'));
    }
}
