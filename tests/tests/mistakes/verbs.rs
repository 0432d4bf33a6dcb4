//! Words in the wrong order, of other programs, and misspelt.

use std::process::Command;

use super::{Root, Row, User, check};
use guard_lab::{Tested, bins, exec};

const ROWS: &[Row] = &[
    (
        User,
        "guard sh -c true",
        2,
        &[
            "sh is no verb",
            "run by the verb run",
            "guard run -- sh -c true",
        ],
    ),
    (
        User,
        "guard -- sh",
        2,
        &["sh is no verb", "guard run -- sh"],
    ),
    (
        User,
        "guard /bin/sh",
        2,
        &["/bin/sh is no verb", "guard run -- /bin/sh"],
    ),
    (
        User,
        "guard appove r1",
        2,
        &[
            "appove is no verb",
            "did you mean approve?",
            "guard approve r1",
            "guard --help",
        ],
    ),
    // clap's own tips: to take a word for a value, and what else is like it.
    (
        User,
        "for word in appove no-such-verb 'policy shwo' 'help aprove'; do guard $word; done 2>&1 | grep -c -e tip: -e 'as a value'",
        1,
        &["0\n"],
    ),
    (
        User,
        "guard appove r1 --json",
        2,
        &[
            "\"why\":\"did you mean approve?\"",
            "guard approve r1 --json",
        ],
    ),
    (
        User,
        "guard no-such-verb",
        2,
        &[
            "no-such-verb is no verb",
            "guard --help",
            "to run a command:",
            "guard run -- no-such-verb",
        ],
    ),
    (
        User,
        "guard enable",
        2,
        &["enable is no verb", "sudo systemctl enable --now guardd"],
    ),
    (
        User,
        "guard rm h1",
        2,
        &["rm h1 is no verb", "a hole is closed", "guard close h1"],
    ),
    (
        User,
        "guard policy ls",
        2,
        &["policy ls is no verb", "guard policy list"],
    ),
    (
        User,
        "guard approve r1 --once",
        2,
        &[
            "guard approve has no --once",
            "guard approve r1 --connections 1",
        ],
    ),
    (User, "guard status --jsno", 2, &["'--jsno'", "'--json'"]),
    (
        User,
        "guard status extra",
        2,
        &["'extra'", "Usage: guard status"],
    ),
    (
        User,
        "guard --verbose status",
        2,
        &["'--verbose'", "--help"],
    ),
    (User, "guard policy", 2, &["list", "show", "edit"]),
    (
        User,
        "guard policy shwo default",
        2,
        &[
            "policy shwo is no verb",
            "did you mean show?",
            "guard policy show default",
        ],
    ),
    (
        User,
        "guard explain-error nonsense",
        2,
        &["none has that code", "guard explain-error"],
    ),
    (
        User,
        "guard doctor --explain nonsense",
        2,
        &["none of that name", "guard doctor --explain"],
    ),
    (User, "guard init", 2, &["<AGENT>", "Usage: guard init"]),
    (
        User,
        "guard init cursor",
        2,
        &["'cursor'", "claude-code", "codex", "gemini"],
    ),
    (
        User,
        "guard completions tcsh",
        2,
        &["'tcsh'", "bash", "fish", "zsh"],
    ),
    (
        User,
        "guard report --format html",
        2,
        &["'html'", "markdown"],
    ),
    (
        User,
        "guard run",
        125,
        &["<CMD>...", "Usage: guard run <CMD>..."],
    ),
    (
        User,
        "guard run --",
        125,
        &["<CMD>...", "Usage: guard run <CMD>..."],
    ),
    (
        User,
        "guard run --policy asks",
        125,
        &["<CMD>...", "Usage: guard run"],
    ),
    (
        User,
        "guard run --poilcy asks -- true",
        125,
        &["'--poilcy'", "'--policy'"],
    ),
    (
        User,
        "guard run -p asks -- true",
        125,
        &[
            "guard run has no -p",
            "did you mean --policy?",
            "guard run --policy asks -- true",
        ],
    ),
    (
        User,
        "guard run echo ran --policy asks",
        125,
        &[
            "whose --policy",
            "behind echo",
            "guard run --policy asks -- echo ran",
            "guard run -- echo ran --policy asks",
        ],
    ),
    (
        User,
        "guard run --hold 60 -- true",
        125,
        &["'60'", "needs its unit", "`60s`"],
    ),
    (
        User,
        "guard run --hold 10m -- true",
        125,
        &[
            "wait for so long",
            "five minutes",
            "guard run --hold 5m -- CMD",
        ],
    ),
    (
        User,
        "guard run -- no-such-program",
        127,
        &[
            "cannot execute no-such-program",
            "no directory in PATH has it",
            "command -v no-such-program",
        ],
    ),
    (
        User,
        "guard run -- 'echo ran'",
        127,
        &[
            "cannot execute echo ran",
            "several words in one",
            "guard run -- echo ran",
            "sh -c 'echo ran'",
        ],
    ),
    (
        User,
        "guard run -- ./nothing",
        127,
        &["./nothing", "no such file", "ls -l ./nothing"],
    ),
    (
        User,
        "guard run -- ./notes.txt",
        126,
        &["./notes.txt", "Permission denied", "ls -l ./notes.txt"],
    ),
    (
        User,
        "guard run -- /tmp",
        126,
        &["/tmp", "it is a directory", "ls /tmp"],
    ),
    (
        User,
        "guard run --user nobody -- true",
        125,
        &["nobody", "only root can", "sudo guard run --user nobody"],
    ),
    (
        User,
        "guard run --user no-such-user -- true",
        125,
        &["no-such-user", "no such user", "getent passwd"],
    ),
    (
        User,
        "guard run --user root -- true",
        125,
        &["as root", "run_as_root = true", "guardd.toml"],
    ),
    (
        Root,
        "guard run -- true",
        125,
        &["guard does not run commands as root", "--user"],
    ),
    (
        Root,
        "guard run --user root -- true",
        125,
        &[
            "root inside needs an ordinary user outside",
            "sudo -u",
            "guard run --user root",
        ],
    ),
    (
        User,
        "guard assign --policy asks x.service",
        2,
        &[
            "only root",
            "sudo guard --socket ",
            "guardd.sock assign --policy asks x.service",
        ],
    ),
    (
        Root,
        "guard assign --policy asks no-such.service",
        2,
        &["no-such.service"],
    ),
    (
        User,
        "guardd start",
        2,
        &["'start'", "Usage: guardd", "--help"],
    ),
    (
        User,
        "guardd --help",
        0,
        &["in the foreground", "systemctl start guardd"],
    ),
    (User, "guardd teardwon", 2, &["'teardwon'", "'teardown'"]),
    (
        User,
        "guardd teardwon 2>&1 | grep -c 'as a value'",
        1,
        &["0\n"],
    ),
    (
        User,
        "guardd --port 80",
        2,
        &["'--port'", "Usage: guardd", "--help"],
    ),
    (
        User,
        "guard run asks -- echo ran",
        125,
        &[
            "cannot tell what asks is",
            "where guard's own options do",
            "guard run --policy asks -- echo ran",
            "guard run --name asks -- echo ran",
        ],
    ),
    (
        User,
        "guard run --hold -5s -- true",
        125,
        &["cannot take --hold -5s", "guard run --hold 5s -- true"],
    ),
    (
        User,
        "guard run --name '' -- true",
        125,
        &["a value is required for '--name <NAME>'"],
    ),
    (
        User,
        "guard run --user '' -- true",
        125,
        &["a value is required for '--user <USER>'"],
    ),
    (User, "guard log --tail 1 | wc -l", 0, &["1\n"]),
    (
        User,
        "guard log --kind denied",
        2,
        &["guard log has no --kind", "select(.kind == \"denied\")"],
    ),
    (
        User,
        "guard log --colour 2>&1 | grep -c 'as a value'",
        1,
        &["0\n"],
    ),
    (
        User,
        "guard completions --shell bash",
        2,
        &[
            "guard completions has no --shell",
            "guard completions bash\n",
        ],
    ),
    (
        User,
        "guard setup a/b --print",
        2,
        &[
            "cannot write a policy a/b",
            "a name has letters, digits",
            "guard setup shop",
        ],
    ),
];

const TAKEN: &[Row] = &[
    (User, "guard help", 0, &["Usage: guard", "Examples:"]),
    (
        User,
        "guard help aprove",
        2,
        &["aprove is no verb", "did you mean approve?"],
    ),
    (User, "guard help run", 0, &["Usage: guard run", "--policy"]),
    (
        User,
        "guard help policy edit",
        0,
        &["Usage: guard policy edit", "--policy-dir"],
    ),
    (User, "guard version", 0, &["guard 0."]),
    (
        User,
        "guard run -- echo --policy asks",
        0,
        &["--policy asks"],
    ),
];

#[test]
fn of_verbs_options_and_commands() -> Tested {
    check(ROWS)?;
    Ok(())
}

#[test]
fn help_and_version_are_words_too() -> Tested {
    check(TAKEN)?;
    Ok(())
}

/// The program says which command was meant by a word that is no verb of its.
pub(crate) fn suggests(program: &str, typed: &str, command: &str) -> Tested {
    let told = exec::output(Command::new(bins::find(program)?).arg(typed))?;
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    let stderr = String::from_utf8_lossy(&told.stderr);
    let first = format!("{program}: {typed} is no verb of {program}'s: ");
    assert!(stderr.starts_with(&first), "{stderr}");
    assert!(stderr.contains(&format!("    {command}\n")), "{stderr}");
    Ok(())
}
