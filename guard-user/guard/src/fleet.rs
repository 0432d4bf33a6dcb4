//! `guard fleet`: what guard-fleet does, under the name that people look for first.

use std::env;
use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use guard_proto::Failure;

use crate::args::Global;
use crate::error::{CliError, Exit};

/// Becomes guard-fleet, or `guard policy sign`; returns only where that cannot be.
///
/// # Errors
///
/// That it is not installed.
pub(crate) fn fleet(mut args: Vec<OsString>, global: &Global) -> Result<Exit, CliError> {
    args.extend(options(global));
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

/// What was said to guard stands behind what is said to guard-fleet: both have the same options.
fn options(global: &Global) -> Vec<OsString> {
    let socket = global.socket.iter();
    let socket = socket.flat_map(|path| ["--socket".into(), path.clone().into_os_string()]);
    let json = global.json.then(|| "--json".into());
    socket.chain(json).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_to_guard_is_said_to_guard_fleet() {
        let said = |json, socket: Option<&str>| {
            options(&Global {
                json,
                socket: socket.map(Into::into),
            })
        };
        assert_eq!(said(false, None), [""; 0].map(OsString::from));
        assert_eq!(
            said(true, Some("/x.sock")),
            ["--socket", "/x.sock", "--json"].map(OsString::from)
        );
    }
}
