//! Developers' commands for guard, run as `cargo xtask COMMAND`.

pub mod build;
mod cache;
pub mod clients;
mod docs;
mod ebpf;
mod install;
pub mod lab;
mod lint;
mod mass;
pub mod nats;
mod package;
mod room;
mod run;
mod shared;
pub mod shell;
mod test;
mod timings;
mod toolchain;
mod tools;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developers' commands for guard.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure speed and memory, beside no guard and beside peers
    #[command(disable_help_flag = true)]
    Bench {
        /// What to measure, and how: `--help` tells
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        args: Vec<String>,
    },
    /// Build the eBPF object, then all programs in target/release
    Build,
    /// Show the guard at work, against a network that plays production
    Demo {
        /// Show answers from elsewhere: machines that ask over servers of NATS, a colleague who signs, a server that is killed
        #[arg(long)]
        fleet: bool,
    },
    /// Compare the tables of docs/reference with the code that they are made from
    Docs {
        /// Write them anew
        #[arg(long)]
        write: bool,
        /// Write what tests record: the recordings in README and docs, docs/escapes.md and docs/tools.md
        #[arg(long, conflicts_with = "write")]
        record: bool,
    },
    /// Check format, lints, and the licences and sources of dependencies
    Lint,
    /// Print the tokens of each room of the workspace, beside the limits of mass.toml
    Mass {
        /// Lower the limits to today's figures; none is raised
        #[arg(long)]
        write: bool,
    },
    /// Make the packages that people install, in target/package
    Package(package::PackageArgs),
    /// Print the shares of pronouns and odd openings in each room's comments, beside the limits of mass.toml
    Prose,
    /// Run a command under the guard, on this machine's own network
    Run {
        /// The policy: a file, or a name that a running guardd knows [default: policies/default.toml]
        #[arg(long)]
        policy: Option<PathBuf>,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run every test, the privileged ones included
    Test(test::TestArgs),
    /// Run the privileged tests in throw-away machines, with other kernels and systemd as PID 1
    Vm(vm::VmArgs),
}

/// The command that the arguments of this process ask for.
pub fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Bench { args } if args.iter().any(|arg| arg == "--gate") => {
            lab::build_ratios().and_then(|()| lab::ratios())
        }
        Command::Bench { args } => lab::measure("bench", &args, &[]),
        Command::Build => build::build(),
        Command::Demo { fleet } => lab::demo(fleet),
        Command::Docs { record: true, .. } => docs::record(),
        Command::Docs { write, .. } => docs::docs(write),
        Command::Lint => lint::lint(),
        Command::Mass { write } => mass::mass(write),
        Command::Package(args) => package::package(&args),
        Command::Prose => mass::prose(),
        Command::Run { policy, command } => run::run(policy, &command),
        Command::Test(args) => test::test(&args),
        Command::Vm(args) => vm::vm(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
