//! The daemon: keeps what it was told to enforce in the kernel, and answers `guard`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{
    Parser as _,
    error::{ContextKind, ErrorKind},
};
use guard_datapath::Object;
use guardd::{
    args::{Cli, Verb},
    service,
};

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|mut error| {
        // The tip to take a word for a value: guardd takes none.
        error.remove(ContextKind::Suggested);
        refuse(&error)
    });
    guard_log::begin(matches!(cli.verb, Some(Verb::Teardown { .. })));
    service::main(&cli, &Object::built_in())
}

/// Words that people expect of a daemon, and what they are here.
const WORDS: [(&[&str], &str); 6] = [
    (
        &["start", "run"],
        "guardd without a word runs in the foreground; as a service: sudo systemctl start guardd",
    ),
    (
        &["stop", "quit", "kill"],
        "sudo systemctl stop guardd; what is enforced stays in force until: sudo guardd teardown",
    ),
    (&["restart"], "sudo systemctl restart guardd"),
    (&["status", "list"], "guard status"),
    (
        &["check", "test", "configtest"],
        "the settings: guardd --check; a policy: guard check NAME",
    ),
    (
        &["reload"],
        "policies are read when they are saved; again: sudo systemctl reload guardd",
    ),
];

/// Says what is wrong with the command line, or prints the help that it asks for.
fn refuse(error: &clap::Error) -> ! {
    // That nobody reads it changes nothing.
    let _ = error.print();
    let word = std::env::args().nth(1).unwrap_or_default();
    let meant = WORDS.iter().find(|(words, _)| words.contains(&&*word));
    if let (ErrorKind::InvalidSubcommand, Some((_, meant))) = (error.kind(), meant) {
        let _ = writeln!(io::stderr(), "\nfor {word}: {meant}");
    }
    std::process::exit(error.exit_code())
}
