//! `guard-proxy`: gives up all rights that its start gave it, and then becomes the proxy.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use guard_launch::become_nobody;

/// Be the process through which read-only destinations are reached: guardd starts it
#[derive(Clone, Debug, Parser)]
#[command(name = "guard-proxy", version)]
struct ProxyArgs {
    /// The conversation with guardd that was left open: 0, standard input
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    fd: Option<u32>,
    /// Where guardd listens for it
    #[arg(long, value_name = "PATH", required_unless_present = "fd")]
    socket: Option<PathBuf>,
    /// As whom, where it is started as root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// Serves until guardd ends.
fn main() -> ExitCode {
    let args = ProxyArgs::parse();
    guard_log::begin(false);
    match become_nobody(args.fd, args.socket.as_deref(), args.user.as_deref()) {
        Ok(guardd) => guard_proxy::main(guardd),
        Err(error) => {
            tracing::error!("the proxy cannot start: {error:#}");
            ExitCode::from(2)
        }
    }
}
