//! `guard-resolver`: gives up all rights that its start gave it, and then becomes the resolver.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use guard_launch::become_nobody;

/// Be the name server of every session: guardd starts it
#[derive(Clone, Debug, Parser)]
#[command(name = "guard-resolver", version)]
struct ResolverArgs {
    /// The conversation with guardd that was left open: 0, standard input
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    fd: Option<u32>,
    /// Where guardd listens for it
    #[arg(long, value_name = "PATH", required_unless_present = "fd")]
    socket: Option<PathBuf>,
    /// As whom, where it is started as root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Take the keys for encrypting a server's name (ECH) out of answers
    #[arg(long)]
    without_ech: bool,
}

/// Serves until guardd ends.
fn main() -> ExitCode {
    let args = ResolverArgs::parse();
    guard_log::begin(false);
    match become_nobody(args.fd, args.socket.as_deref(), args.user.as_deref()) {
        Ok(guardd) => guard_resolver::main(guardd, args.without_ech),
        Err(error) => {
            tracing::error!("the resolver cannot start: {error:#}");
            ExitCode::from(2)
        }
    }
}
