//! `guard-fleet`: reads its settings, and runs a verb.

use std::{env, ffi::OsString, process::ExitCode};

use guard_fleet::{Args, SYNONYMS, VerbOutcome};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let args: Args = match guard_cli::parse(&arguments, &SYNONYMS) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let serves = args.serves();
    guard_log::begin(!serves);
    match guard_fleet::run(args) {
        Ok(VerbOutcome::Done) => ExitCode::SUCCESS,
        // The unit starts it again, as it does not where the settings are wrong.
        Ok(VerbOutcome::No | VerbOutcome::Lost) => ExitCode::from(1),
        Err(error) => {
            if serves {
                tracing::error!("{error:#}")
            } else {
                // Among other programs' lines a person sees whose it is.
                eprintln!("guard-fleet: {error:#}")
            }
            ExitCode::from(2)
        }
    }
}
