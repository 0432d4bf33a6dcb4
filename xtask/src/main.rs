//! Developers' commands for guard, run as `cargo xtask COMMAND`.

mod build;
mod ebpf;
mod shell;
mod toolchain;

use anyhow::Result;
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
    /// Build the eBPF object, then target/release/guard and target/release/guardd
    Build,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Build => build::build(),
    }
}
