//! The command line as a whole.

use clap::Command;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_help_with_examples() {
    let with_examples = |command: &Command| {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            help.starts_with("Examples:\n  guard "),
            "{}",
            command.get_name()
        );
        assert!(command.get_about().is_some(), "{}", command.get_name());
    };
    let command = Cli::command();
    with_examples(&command);
    // What guard starts of itself is nobody's to type.
    let verbs = command.get_subcommands();
    verbs
        .filter(|verb| !verb.is_hide_set())
        .for_each(with_examples);
}

#[test]
fn to_open_all_ports_takes_a_word_and_no_help_says_otherwise() {
    let command = Cli::command();
    let open = command.find_subcommand("open").unwrap();
    let ports = open.get_arguments().find(|one| one.get_id() == "ports");
    let help = ports.unwrap().get_help().unwrap().to_string();
    assert!(!help.contains("default: all"), "{help}");
}

#[test]
fn what_stands_behind_the_help_fits_into_80_columns() {
    let command = Cli::command();
    let verbs = std::iter::once(&command).chain(command.get_subcommands());
    for verb in verbs.filter(|verb| !verb.is_hide_set()) {
        let help = verb.get_after_help().map(ToString::to_string);
        for line in help.unwrap_or_default().lines() {
            // A command is whole on its line, or it could not be copied.
            let is_command = line.starts_with("  ") && !line.trim().contains("  ");
            let fits = line.chars().count() < 80 || is_command;
            assert!(fits, "{}: {line}", verb.get_name());
        }
    }
}

#[test]
fn what_fingers_type_is_understood_and_stands_for_one_verb() {
    let command = Cli::command();
    let mut all = std::collections::BTreeSet::new();
    for verb in command.get_subcommands() {
        let words = std::iter::once(verb.get_name()).chain(verb.get_all_aliases());
        for word in words {
            assert!(all.insert(word.to_owned()), "{word}");
        }
    }
    for (typed, verb) in [("ls", "sessions"), ("allow", "approve"), ("kill", "stop")] {
        let found = command.find_subcommand(typed).unwrap();
        assert_eq!(found.get_name(), verb);
    }
}

#[test]
fn every_example_is_a_command_line_that_parses() {
    let command = Cli::command();
    let verbs = command.get_subcommands();
    for verb in verbs.flat_map(|verb| std::iter::once(verb).chain(verb.get_subcommands())) {
        let help = verb
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let examples = help.lines().filter_map(|line| {
            line.strip_prefix("  ")?
                .trim_start_matches("sudo ")
                .strip_prefix("guard ")
        });
        // One that is cut is for reading.
        for example in examples.filter(|example| !example.contains('…')) {
            let typed = example
                .split(" | ")
                .next()
                .unwrap()
                .split(" > ")
                .next()
                .unwrap()
                .split(" < ")
                .next()
                .unwrap();
            let typed = typed
                .split("   ")
                .next()
                .unwrap()
                .replace("'migrate the schema'", "x");
            let typed = typed.replace("'read the job queue'", "x").replace('\'', "");
            let line = [OsString::from("guard")].into_iter().chain(words(&typed));
            assert!(Cli::try_parse_from(line).is_ok(), "guard {typed}");
        }
    }
}

#[test]
fn a_command_keeps_its_own_options() {
    let cli =
        Cli::try_parse_from(words("guard run --policy ci claude --json --policy x -- y")).unwrap();
    let Verb::Run(run) = cli.verb else {
        panic!("not run")
    };
    assert_eq!(run.command, words("claude --json --policy x -- y"));
    assert_eq!(run.policy.as_deref(), Some("ci"));
    assert!(!cli.global.json);
}

#[test]
fn a_bad_command_line_exits_2_and_run_125() {
    for (line, status) in [
        ("guard", 2),
        ("guard frobnicate", 2),
        ("guard approve", 2),
        ("guard approve r1 --for soon", 2),
        ("guard approve r1 --connections 0", 2),
        ("guard close", 2),
        ("guard close h1 --all", 2),
        ("guard log run --colour", 2),
        ("guard explain 192.0.2.1 --policy p --session s1", 2),
        ("guard explain-error no-such-code", 2),
        ("guard doctor --explain no such row", 2),
        ("guard doctor --explain --all", 2),
        ("guard run", 125),
        ("guard run --", 125),
        ("guard --json --socket /x run --frobnicate -- true", 125),
    ] {
        assert_eq!(main(words(line)), Exit(status), "{line}");
    }
}

#[test]
fn help_is_no_failure() {
    for line in ["guard --help", "guard run --help", "guard --version"] {
        assert_eq!(main(words(line)), Exit::DONE, "{line}");
    }
}

#[test]
fn usage_errors_are_json_too() {
    let line = words("guard approve r1 --for soon --json");
    let error = Cli::try_parse_from(&line).unwrap_err();
    let failure = usage_failure(verb(&line), &error);
    insta::assert_snapshot!(render::failure::json(&failure, None), @r#"{"error":{"code":null,"fix":"guard approve --help","what":"cannot understand the command line","why":"invalid value 'soon' for '--for <DURATION>': `soon` is not a duration: write `90s`, `15m`, `2h`, `1d` or `1h30m`"}}"#);
    let line = words("guard --json");
    let error = Cli::try_parse_from(&line).unwrap_err();
    let failure = usage_failure(verb(&line), &error);
    assert!(!failure.why.contains('['), "{failure}");
    let line = words("guard approve r1 --for soon --json");
    assert!(wants_json(&line));
    assert!(!wants_json(&words("guard run -- jq --json")));
}

#[test]
fn verbs_without_a_daemon_say_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("guardd.sock");
    for verb in [
        "pending",
        "approve r1",
        "holes",
        "sessions",
        "status",
        "log",
        "why",
        "stop s1",
        "explain @private",
    ] {
        let line = format!("guard --socket {} {verb}", socket.display());
        assert_eq!(main(words(&line)), Exit::FAILED, "{verb}");
    }
}

#[test]
fn man_pages_come_one_for_each_verb() {
    let directory = tempfile::tempdir().unwrap();
    generate::man(directory.path()).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap();
        for section in [".SH EXAMPLES\n.nf\n  ", ".SH \"EXIT STATUS\"\n"] {
            assert!(page.contains(section), "{}: {page}", path.display());
        }
        assert!(!page.contains(".SH EXTRA"), "{}", path.display());
        names.push(path.file_name().unwrap().to_owned());
    }
    for name in [
        "guard.1",
        "guard-run.1",
        "guard-policy-show.1",
        "guard-approver-invite.1",
        "guard-explain-error.1",
    ] {
        assert!(names.contains(&name.into()), "{name}: {names:?}");
    }
    let run = std::fs::read_to_string(directory.path().join("guard-run.1")).unwrap();
    for part in ["policy NAME|FILE]", "[\\-q|\\-\\-quiet]", "CMD..."] {
        assert!(run.contains(part), "{part}: {run}");
    }
}

/// What only this machine knows is offered wherever it can stand.
#[test]
fn ids_policies_and_users_are_completed_wherever_they_are_taken() {
    const KNOWN: [&str; 9] = [
        "FILE|NAME",
        "ID",
        "NAME|FILE",
        "NEW",
        "OLD",
        "POLICY",
        "ROW",
        "SESSION|all|off",
        "USER",
    ];
    fn walk(command: &Command, seen: &mut Vec<String>) {
        let takes_one = |arg: &&clap::Arg| arg.get_action().takes_values();
        for arg in command.get_arguments().filter(takes_one) {
            let id = arg.get_id().as_str();
            let names = arg.get_value_names().unwrap_or_default();
            let is_known = match names {
                [] => arg.is_positional() && KNOWN.contains(&&*id.to_uppercase()),
                names => names.iter().any(|name| KNOWN.contains(&name.as_str())),
            };
            if is_known {
                let of = format!("{} {id}", command.get_name());
                let is_offered = arg.get::<ArgValueCandidates>().is_some()
                    || arg.get::<ArgValueCompleter>().is_some();
                assert!(is_offered, "nothing is offered for {of}");
                seen.push(of);
            }
        }
        for verb in command.get_subcommands() {
            walk(verb, seen);
        }
    }
    let mut command = Cli::command();
    command.build();
    let mut seen = Vec::new();
    walk(&command, &mut seen);
    for of in [
        "approve ids",
        "close ids",
        "stop sessions",
        "run user",
        "apply policy",
    ] {
        assert!(seen.iter().any(|one| one == of), "{of}: {seen:?}");
    }
}
