//! Words of other programs in the place of a verb, and what does here what they do there.

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use guard_cli::{Synonym, synonym};
use guard_policy::Destination;
use guard_proto::Failure;

use super::args::Cli;
use super::policy_file::{is_policy, or_default};
use super::render::command_line;

/// In the place of a verb, whatever stands behind them: `POLICY` is the policy of `guard run`, `DEST` the destination behind it.
const VERBS: [Synonym; 9] = [
    (
        &["enable", "start", "up"],
        "guardd is a service, and a command is run by the verb run",
        "sudo systemctl enable --now guardd guard.slice\nguard run -- CMD",
    ),
    (
        &["disable", "down"],
        "guardd is a service, and a session is ended by its id; what is enforced stays so until sudo guardd teardown",
        "sudo systemctl disable --now guardd guardd.socket\nguard stop ID",
    ),
    (
        &["restart", "reload"],
        "guardd is a service",
        "sudo systemctl WORD guardd",
    ),
    (
        &["rule", "rules", "add", "unblock"],
        "rules are in policies; for a while, a hole is opened",
        "sudo guard policy edit POLICY\nguard open DEST",
    ),
    (
        &["block", "drop"],
        "what nobody has asked for is denied by a policy",
        "guard explain DEST\nsudo guard policy edit POLICY",
    ),
    (
        &["permit", "grant", "accept"],
        "a yes answers a request, and a hole is opened that nobody has asked for",
        "guard approve ID\nguard open DEST",
    ),
    (
        &["config", "configure", "settings"],
        "guardd's settings are in a file, and so is each policy",
        "sudoedit /etc/guard/guardd.toml && sudo systemctl restart guardd\nsudo guard policy edit POLICY",
    ),
    (
        &["exec", "attach"],
        "a session takes no other command: each begins one of its own",
        "guard run -- CMD",
    ),
    (
        &["login"],
        "there are no accounts: guardd knows who asks by their user",
        "guard status",
    ),
];

/// Below `guard policy`: `NAME` is the policy behind it.
const OF_POLICIES: [Synonym; 7] = [
    (&["ls"], "policies are listed by list", "guard policy list"),
    (
        &["cat", "get"],
        "a text is printed by show",
        "guard policy show NAME",
    ),
    (
        &["new", "create", "add", "copy", "cp"],
        "a policy is a file: a copy of one is for everybody, or for you",
        "sudo guard policy edit NAME\nguard policy show NAME > lab.toml",
    ),
    (&["diff"], "it is a verb by itself", "guard diff OLD NEW"),
    (
        &["explain", "test"],
        "it is a verb by itself",
        "guard explain DEST --policy NAME",
    ),
    (
        &["reload"],
        "a policy is read when it is saved; again:",
        "sudo systemctl reload guardd",
    ),
    (
        &["use", "set", "default"],
        "each command names its own; that of all others is default_policy in /etc/guard/guardd.toml",
        "guard run --policy NAME -- CMD",
    ),
];

/// What a word was probably meant to be.
pub(super) fn meant(arguments: &[OsString], error: &clap::Error) -> Option<Failure> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let words = arguments.iter().skip(1).map(|word| word.to_str());
    let words: Vec<_> = words.collect::<Option<_>>()?;
    let at = words.iter().position(|one| one == word)?;
    let (before, behind) = (&words[..at], &words[at + 1..]);
    let command = Cli::command();
    let group = before
        .iter()
        .rfind(|one| command.find_subcommand(one).is_some());
    match group {
        None => of_one_thing(word, behind).or_else(|| of_verbs(word, behind)),
        Some(&"policy" | &"policies") => of_policies(word, behind),
        Some(&"approver" | &"approvers") => of_approvers(word, behind),
        Some(_) => None,
    }
}

fn failure(word: &str, why: &str, fix: String) -> Failure {
    Failure {
        what: format!("{word} is no verb of guard's"),
        why: why.to_owned(),
        fix,
    }
}

fn of_verbs(word: &str, behind: &[&str]) -> Option<Failure> {
    let (_, why, fix) = synonym(&VERBS, word)?;
    // A word alone may be anything.
    let is_place =
        |one: &&&str| one.contains(['.', ':', '/', '@']) && one.parse::<Destination>().is_ok();
    let place = behind.iter().find(is_place);
    let place = place.map_or_else(|| "DEST".to_owned(), |to| command_line(&[(*to).to_owned()]));
    let fix = fix
        .replace("WORD", word)
        .replace("POLICY", or_default(None))
        .replace("DEST", &place);
    Some(failure(word, why, fix))
}

/// `rm h1` and `show s1`: what is done to one thing, by what it is.
fn of_one_thing(word: &str, behind: &[&str]) -> Option<Failure> {
    let (is_shown, is_removed) = (
        ["show", "get", "describe", "inspect", "info"].contains(&word),
        ["rm", "remove", "delete", "del"].contains(&word),
    );
    if !is_shown && !is_removed {
        return None;
    }
    let thing = match behind.iter().find(|one| !one.starts_with('-')) {
        Some(thing) => *thing,
        None if is_shown => {
            let fix = "guard status\nguard sessions\nguard pending\nguard holes\nguard policy list";
            let why = "each kind of thing has a verb that lists it";
            return Some(failure(word, why, fix.to_owned()));
        }
        None => return None,
    };
    let number = thing.get(1..).unwrap_or_default();
    let is_id = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let letter = thing.chars().next().filter(|_| is_id);
    let (why, fix) = match (letter, is_shown) {
        (Some('r'), true) => ("it is a request", "guard pending".to_owned()),
        (Some('h'), true) => ("it is a hole", "guard holes".to_owned()),
        (Some('s'), true) => (
            "it is a session",
            format!("guard sessions\nguard log --session {thing}"),
        ),
        (Some('r'), false) => ("a request is answered", format!("guard deny {thing}")),
        (Some('h'), false) => ("a hole is closed", format!("guard close {thing}")),
        (Some('s'), false) => ("a session is ended", format!("guard stop {thing}")),
        (_, true) if is_policy(thing) => ("it is a policy", format!("guard policy show {thing}")),
        _ => return None,
    };
    Some(failure(&format!("{word} {thing}"), why, fix))
}

fn of_policies(word: &str, behind: &[&str]) -> Option<Failure> {
    let (_, why, fix) = synonym(&OF_POLICIES, word)?;
    let name = behind.iter().find(|one| is_policy(one));
    let fix = match name {
        Some(name) => fix.replace("NAME", name),
        None => (*fix).to_owned(),
    };
    Some(failure(&format!("policy {word}"), why, fix))
}

fn of_approvers(word: &str, behind: &[&str]) -> Option<Failure> {
    if !["rm", "del", "delete", "revoke"].contains(&word) {
        return None;
    }
    let whom = behind.first().unwrap_or(&"NAME");
    Some(failure(
        &format!("approver {word}"),
        "keys are taken back by remove",
        format!("sudo guard approver remove {whom}"),
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn told(line: &str) -> Option<String> {
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        let error = Cli::try_parse_from(&words).unwrap_err();
        meant(&words, &error).map(|failure| failure.fix)
    }

    #[test]
    fn words_of_other_programs_lead_to_what_does_it_here() {
        for (line, fix) in [
            ("guard enable", "sudo systemctl enable --now guardd"),
            ("guard down", "sudo systemctl disable --now guardd"),
            ("guard reload", "sudo systemctl reload guardd"),
            ("guard rules", "sudo guard policy edit default"),
            ("guard add 192.0.2.10:443", "guard open 192.0.2.10:443"),
            ("guard block 10.0.0.0/8", "guard explain 10.0.0.0/8"),
            ("guard grant r1", "guard approve ID\nguard open DEST"),
            ("guard config", "sudoedit /etc/guard/guardd.toml"),
            ("guard exec s1 bash", "guard run -- CMD"),
            ("guard --json show r1", "guard pending"),
            ("guard show s1", "guard log --session s1"),
            ("guard describe ci", "guard policy show ci"),
            ("guard get", "guard sessions"),
            ("guard rm h1", "guard close h1"),
            ("guard delete s1", "guard stop s1"),
            ("guard remove r1", "guard deny r1"),
            ("guard policy ls", "guard policy list"),
            ("guard policy cat ci", "guard policy show ci"),
            ("guard policy copy ci", "guard policy show ci > lab.toml"),
            ("guard policies diff", "guard diff OLD NEW"),
            ("guard policy use ci", "guard run --policy ci -- CMD"),
            ("guard approver rm bob", "sudo guard approver remove bob"),
        ] {
            let told = told(line).unwrap_or_default();
            assert!(told.contains(fix), "{line}: {told:?}");
        }
    }

    #[test]
    fn other_words_are_not_guessed_at() {
        for line in [
            "guard frobnicate",
            "guard rm file",
            "guard rm",
            "guard policy frob",
            "guard approver frob",
            "guard approve",
        ] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn no_word_is_a_verb_by_itself() {
        let command = Cli::command();
        let policy = command.find_subcommand("policy").unwrap();
        for (all, command) in [(&VERBS[..], &command), (&OF_POLICIES[..], policy)] {
            for word in all.iter().flat_map(|(words, ..)| words.iter()) {
                assert!(command.find_subcommand(word).is_none(), "{word}");
            }
        }
    }
}
