//! The daemon: keeps what it was told to enforce in the kernel, and answers `guard`.

use std::process::ExitCode;

use clap::{Parser as _, error::ContextKind};
use guard_datapath::Object;
use guardd::{
    args::{Cli, Verb},
    service,
};

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|mut error| {
        // The tip to take a word for a value: guardd takes none.
        error.remove(ContextKind::Suggested);
        error.exit()
    });
    guard_log::begin(matches!(cli.verb, Some(Verb::Teardown { .. })));
    service::main(&cli, &Object::built_in())
}
