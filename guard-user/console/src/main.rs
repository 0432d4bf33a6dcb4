//! `guard-console`: reads its settings, and serves.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use guard_console::Settings;

/// Pages on which people see what sessions ask, sign a yes with a passkey, and say no
#[derive(Clone, Debug, Parser)]
#[command(name = "guard-console", version)]
struct ConsoleArgs {
    /// Settings
    #[arg(long, global = true, value_name = "FILE", default_value = guard_console::Settings::FILE)]
    config: PathBuf,
    /// Serve only this: localhost:PORT, or unix:PATH
    #[arg(long, global = true, value_name = "PLACE")]
    listen: Option<String>,
    /// What browsers call it: http://guard.localhost:PORT, or https://NAME
    #[arg(long, global = true, value_name = "URL")]
    origin: Option<String>,
    /// Where guardd listens
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where links and sessions are kept
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Print a link that logs an approver's browser in, once, within ten minutes
    Login {
        /// The approver, as guard approver list has it
        name: String,
    },
}

/// Serves until it is told to end.
fn main() -> ExitCode {
    let args = ConsoleArgs::parse();
    guard_log::begin(args.verb.is_some());
    match begin(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn begin(args: ConsoleArgs) -> anyhow::Result<()> {
    let mut settings = Settings::read(&args.config)?;
    if let Some(listen) = &args.listen {
        settings.listen = listen.parse()?;
    }
    if let Some(origin) = &args.origin {
        settings.origin = origin.parse()?;
    }
    settings.socket = args.socket.unwrap_or(settings.socket);
    settings.state_dir = args.state_dir.unwrap_or(settings.state_dir);
    match args.verb {
        None => guard_console::run(settings),
        Some(Verb::Login { name }) => {
            let link = guard_console::login_link(&settings, &name)?;
            print_line(&link)
        }
    }
}

/// Prints the link, and nothing else.
fn print_line(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}
