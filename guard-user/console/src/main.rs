//! `guard-console`: reads its settings, and serves.

use std::{env, ffi::OsString, process::ExitCode};

use anyhow::ensure;
use guard_console::{ConsoleArgs, Done, LATER, SYNONYMS, Settings, Verb};

/// Serves until it is stopped.
fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let args: ConsoleArgs = match guard_cli::parse(&arguments, &SYNONYMS) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
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
    // guardd takes root for an approver of everybody, and what serves pages parses what browsers send.
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
