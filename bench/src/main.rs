//! What `cargo xtask bench` and `cargo xtask demo` run: guard measured, and guard at work.

mod bench;
mod demo;

use std::process::ExitCode;

use clap::Parser;

/// Measures guard, or shows it at work.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Command {
    /// Measure speed and memory, beside no guard and beside peers
    Bench(bench::BenchArgs),
    /// Show the guard at work, against a network that plays production
    Demo {
        /// Show answers from elsewhere: machines that ask over servers of NATS, a colleague who signs, a server that is killed
        #[arg(long)]
        fleet: bool,
    },
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Bench(args) => bench::bench(&args),
        Command::Demo { fleet: false } => demo::demo(),
        Command::Demo { fleet: true } => demo::fleet::demo(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            xtask::shell::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
