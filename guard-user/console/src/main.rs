//! `guard-console`: reads its settings, and serves.

use std::{path::PathBuf, process::ExitCode};

use anyhow::ensure;
use clap::{Parser, Subcommand};
use guard_console::{Done, LATER, NotifyArgs, Settings};

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
    /// Show all machines of which guard-fleet console tells there
    #[arg(long, global = true, value_name = "PATH")]
    fleet: Option<PathBuf>,
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
    /// Log an approver out of all browsers, take back links that nobody has used, and tell its devices nothing more
    Logout {
        /// The approver's name, or a key's fingerprint
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Log everybody out
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Tell devices of approvers by Web Push that sessions ask, until it is told to end
    ///
    /// It takes push = ["webpush"] in the settings. Each device is one of a browser that somebody who is logged in has had told, on
    /// the console's page of keys. What is told, and how often, is as notify has it.
    Push,
    /// Tell a phone or a chat room of the request on standard input: for on_request in guardd's settings
    ///
    /// It tells the request's number, this machine and the link of its page, never a yes. What comes at once is one message,
    /// and there are three in five minutes about a session at most; the rest comes with a later one. It ends with 75 where it
    /// is to be run again later.
    Notify(NotifyArgs),
}

/// Serves until it is told to end.
fn main() -> ExitCode {
    let args = ConsoleArgs::parse();
    let serves = matches!(args.verb, None | Some(Verb::Push));
    guard_log::begin(!serves);
    match begin(args, serves) {
        Ok(Done::Told) => ExitCode::SUCCESS,
        Ok(Done::Later) => ExitCode::from(LATER),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn begin(args: ConsoleArgs, serves: bool) -> anyhow::Result<Done> {
    let mut settings = Settings::read(&args.config)?;
    if let Some(listen) = &args.listen {
        settings.listen = listen.parse()?;
    }
    if let Some(origin) = &args.origin {
        settings.origin = origin.parse()?;
    }
    settings.socket = args.socket.unwrap_or(settings.socket);
    settings.fleet = args.fleet.or(settings.fleet);
    if let Some(Verb::Notify(notify)) = args.verb {
        return guard_console::notify(notify, &settings, args.state_dir);
    }
    settings.state_dir = args.state_dir.unwrap_or(settings.state_dir);
    // guardd takes root for whoever may answer for everybody, and what serves pages parses what browsers send.
    ensure!(
        !(serves && guard_console::is_machines_root()),
        "guard-console does not serve as root: it is to be a user without rights, whom guardd's settings name as a courier. \
         Type: systemctl enable --now guard-console, or: sudo -u guard-console guard-console"
    );
    match args.verb {
        Some(Verb::Login { name }) => {
            let link = guard_console::login_link(&settings, &name)?;
            print_line(&link)?;
        }
        // Without a name it is everybody.
        Some(Verb::Logout { name, all: _ }) => {
            match guard_console::logout(&settings, name.as_deref())? {
                1 => print_line("1 session has ended")?,
                ended => print_line(&format!("{ended} sessions have ended"))?,
            }
        }
        Some(Verb::Push) => {
            ensure!(
                settings.fleet.is_none(),
                "devices are told of one machine's requests, by its own console: take fleet out of the settings there"
            );
            guard_console::push(settings)?;
        }
        _ => guard_console::run(settings)?,
    }
    Ok(Done::Told)
}

/// Prints a line, and nothing else.
fn print_line(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}
