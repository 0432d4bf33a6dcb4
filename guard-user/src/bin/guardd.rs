//! The daemon: keeps what it was told to enforce in the kernel, and answers `guard`.

use std::{io, process::ExitCode};

use clap::Parser as _;
use guard_user::{
    daemon::{
        args::{Cli, Verb},
        journal, service,
    },
    datapath::Object,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(io::stderr);
    match (journal::has_stderr(), &cli.verb) {
        (true, _) => log.event_format(journal::ForJournald).init(),
        // It is no log: a person has typed it, or a package's script, among whose lines it stands.
        (false, Some(Verb::Teardown { .. })) => log.without_time().with_level(false).init(),
        (false, _) => log.init(),
    }
    service::main(&cli, &Object::built_in())
}
