//! `guard fleet`: what guard-fleet does, under the name that people look for first.

use std::env;
use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use guard_proto::Failure;

use crate::error::{CliError, Exit};

/// Becomes guard-fleet, or `guard policy sign`; returns only where that cannot be.
///
/// # Errors
///
/// That it is not installed.
pub(crate) fn fleet(args: Vec<OsString>) -> Result<Exit, CliError> {
    let words: Vec<_> = args.iter().take(2).map(|arg| arg.to_str()).collect();
    let error = match words[..] {
        [Some("policy"), Some("sign")] => {
            let own = env::current_exe().map_err(|error| not_started(&error))?;
            Command::new(own).args(args).exec()
        }
        [Some("policy"), Some("push")] => become_it(&args[1..]),
        _ => become_it(&args),
    };
    Err(not_started(&error).into())
}

fn become_it(args: &[OsString]) -> Error {
    // Beside this one, as where both were built; else as it is installed.
    let own = env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let beside = beside.map(|dir| dir.join("guard-fleet"));
    let program = beside.filter(|program| program.is_file());
    let program = program.map_or_else(|| "guard-fleet".into(), OsString::from);
    Command::new(program).args(args).exec()
}

fn not_started(error: &Error) -> Failure {
    Failure {
        what: "cannot start guard-fleet".to_owned(),
        why: match error.kind() {
            ErrorKind::NotFound => "it is not installed: it has a package of its own".to_owned(),
            _ => error.to_string(),
        },
        fix: "sudo apt install ./guard-fleet_*.deb".to_owned(),
    }
}
