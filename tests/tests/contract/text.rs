//! What people read: colours, help, completions, manual pages.

use std::fs;
use std::process::Command;

use guard_lab::{NEVER, Output, Tested};

use super::{Lab, V4};
use crate::together::{cases, each_from};

const VERBS: [&str; 18] = [
    "run", "pending", "approve", "deny", "open", "holes", "close", "sessions", "stop", "status",
    "check", "explain", "log", "why", "request", "init", "mcp", "notify",
];

/// `guard status` where standard output is a terminal.
fn on_a_terminal(lab: &Lab, variable: &str) -> Tested<String> {
    let mut command = at_a_terminal(lab, "status")?;
    command.env_remove("NO_COLOR").env_remove("CLICOLOR");
    if !variable.is_empty() {
        command.env(variable, "1");
    }
    Ok(String::from_utf8(command.output()?.stdout)?)
}

/// A verb of `guard` where standard output is a terminal.
fn at_a_terminal(lab: &Lab, verb: &str) -> Tested<Command> {
    let mut command = Command::new("script");
    let socket = lab.daemon.socket();
    let verb = format!("{} --socket {} {verb}", lab.guard()?, socket.display());
    command
        .args(["-qec", &verb, "/dev/null"])
        .env("TERM", "xterm");
    Ok(command)
}

/// What runs as a person may write the person's own policies, a session too.
fn a_policys_comments_steer_no_terminal(lab: &Lab) -> Tested {
    let home = lab.daemon.dir().join("home");
    let policies = home.join(".config/guard/policies");
    fs::create_dir_all(&policies)?;
    let text = "version = 1\n# \x1b]0;x\x07 \u{9b}2J\n\t# größer";
    fs::write(policies.join("odd.toml"), text)?;
    let show = |mut command: Command| -> Tested<String> {
        command.env("HOME", &home).env_remove("XDG_CONFIG_HOME");
        Ok(String::from_utf8(command.output()?.stdout)?)
    };
    let mut plain = Command::new(lab.guard()?);
    plain.args(["policy", "show", "odd"]);
    assert_eq!(show(plain)?, text);
    let shown = show(at_a_terminal(lab, "policy show odd")?)?;
    let expected = "version = 1\r\n# \\u{1b}]0;x\\u{7} \\u{9b}2J\r\n";
    assert!(shown.starts_with(expected), "{shown:?}");
    assert!(shown.ends_with("# größer\r\n"), "{shown:?}");
    Ok(())
}

fn colours_are_for_terminals_and_for_those_who_want_them(lab: &Lab) -> Tested {
    assert!(!lab.root(&["status"])?.stdout.contains('\x1b'));
    assert!(on_a_terminal(lab, "")?.contains("\x1b["));
    let plain = on_a_terminal(lab, "NO_COLOR")?;
    assert!(
        plain.contains("Enforcing") && !plain.contains('\x1b'),
        "{plain:?}"
    );
    Ok(())
}

fn every_refusal_ends_with_what_to_type_next(lab: &Lab) -> Tested {
    let _shell = lab.shell()?;
    for args in [
        &["approve", "r9"][..],
        &["close", "h9"],
        &["stop", "s9"],
        &["open", NEVER],
        &["why"],
        &["run", "--", "true"],
        &["run", "--user", "nobody", "--policy", "none", "--", "true"],
        &["status", "--socket", "/no/such/guardd.sock"],
    ] {
        let output = lab.root(args)?;
        let last = output.stderr.lines().next_back().unwrap();
        assert!(last.starts_with("    "), "{args:?}: {}", output.stderr);
        assert!(output.stderr.starts_with("guard: "), "{output:?}");
    }
    Ok(())
}

fn lists_say_so_when_they_are_empty_and_how_to_go_on_when_not(lab: &Lab) -> Tested {
    for list in ["pending", "holes", "sessions"] {
        let text = lab.root(&[list])?.success()?.stdout;
        assert!(text.starts_with("No"), "{list}: {text}");
    }
    let mut shell = lab.shell()?;
    lab.asked(&mut shell)?;
    lab.daemon.json(["open", "192.0.2.11", "--all-ports"])?;
    for (list, next) in [("pending", "guard approve r1"), ("holes", "guard close h1")] {
        let text = lab.root(&[list])?.stdout;
        assert!(text.contains(next), "{text}");
    }
    let pending = lab.root(&["pending"])?.stdout;
    assert!(
        pending.contains(V4) && pending.contains("production"),
        "{pending}"
    );
    Ok(())
}

fn without_a_verb_there_is_help(lab: &Lab) -> Tested {
    let output = lab.agent(&[])?;
    assert_eq!(output.code(), Some(2));
    assert!(output.stderr.contains("Examples:"), "{output:?}");
    Ok(())
}

fn every_verb_has_help_with_examples_and_a_manual_page(lab: &Lab) -> Tested {
    let man = lab.daemon.dir().join("man");
    std::fs::create_dir(&man)?;
    let success = |output: Output| Tested::Ok(output.success()?.stdout);
    success(lab.root(&["man", man.to_str().unwrap()])?)?;
    for verb in VERBS {
        let help = success(lab.root(&[verb, "--help"])?)?;
        assert!(help.contains("Examples:"), "{verb}: {help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{verb}: {help}"
        );
        assert!(man.join(format!("guard-{verb}.1")).exists(), "{verb}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = success(lab.root(&["completions", shell])?)?;
        let asks = format!("GUARD_COMPLETE=\"{shell}\"");
        assert!(
            script.replace("=fish", "=\"fish\"").contains(&asks),
            "{script}"
        );
        // As the script does.
        let offered = lab
            .daemon
            .root(["--", "guard", ""])
            .env("GUARD_COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "1");
        let offered = success(offered.run()?)?;
        for verb in VERBS {
            assert!(offered.contains(verb), "{shell} {verb}: {offered}");
        }
    }
    Ok(())
}

#[test]
fn together() -> Tested {
    each_from(
        &Lab::new()?,
        cases![
            lists_say_so_when_they_are_empty_and_how_to_go_on_when_not,
            a_policys_comments_steer_no_terminal,
            colours_are_for_terminals_and_for_those_who_want_them,
            every_refusal_ends_with_what_to_type_next,
            without_a_verb_there_is_help,
            every_verb_has_help_with_examples_and_a_manual_page,
        ],
        Lab::end_sessions,
    )
}
