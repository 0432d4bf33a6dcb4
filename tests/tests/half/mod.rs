//! A guardd with another kernel half than its own.
//!
//! It is this test program, started with the words that have it run the one "test" below: so it needs no program
//! that somebody else would have to build first.

pub(crate) mod before;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, exit};

use clap::Parser as _;
use guard_datapath::Object;
use guard_lab::{Daemon, Tested};
use guardd::{args::Cli, service};

/// Names the eBPF object.
const OBJECT: &str = "GUARD_LAB_KERNEL_HALF";
/// guardd's arguments, a line each.
const ARGUMENTS: &str = "GUARD_LAB_ARGUMENTS";

/// A guardd of this daemon's, with that kernel half.
pub(crate) fn guardd(daemon: &Daemon, object: &Path) -> Command {
    let mut command = daemon.on_machine(0, env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "--test-threads=1"]);
    command.arg("half::a_guardd_with_another_kernel_half");
    let arguments = daemon.arguments().join(&OsString::from("\n"));
    command.env(OBJECT, object).env(ARGUMENTS, arguments);
    command
}

#[test]
#[ignore = "it is a guardd, which other tests start"]
fn a_guardd_with_another_kernel_half() -> Tested {
    let Some(object) = env::var_os(OBJECT) else {
        return Ok(());
    };
    let object = Object::from_bytes(fs::read(object)?);
    let arguments = env::var(ARGUMENTS)?;
    let cli = Cli::parse_from(["guardd"].into_iter().chain(arguments.lines()));
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let code = service::main(&cli, &object);
    exit(i32::from(code != std::process::ExitCode::SUCCESS) * 2);
}
