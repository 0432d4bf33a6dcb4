//! The daemon: keeps what it was told to enforce in the kernel, and answers `guard`.

use std::process::ExitCode;

use clap::Parser as _;
use guard_datapath::Object;
use guardd::{args::Cli, service};

fn main() -> ExitCode {
    let cli = Cli::parse();
    guard_log::begin();
    service::main(&cli, &Object::built_in())
}
