//! What can go wrong between `guard` and guardd, and what to do about it.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use guard_proto::{
    ErrorName, Failure,
    varlink::{DEFAULT_SOCKET, INTERFACE},
};
use serde_json::Value;

use super::TIMEOUT;
use crate::error::CliError;
use crate::render::path_word;

const VERSIONS: &str =
    "check that guard and guardd are of one version:\nguard --version\nguardd --version";

/// An error that guardd answered with.
pub(super) fn error_answer(name: &str, parameters: Value) -> CliError {
    let known = name
        .strip_prefix(INTERFACE)
        .and_then(|name| error_name(name.strip_prefix('.')?));
    // What the other version does not know: the method, or the parameter.
    let unknown = ["method", "parameter", "interface"].map(|key| parameters[key].as_str());
    let unknown = unknown.into_iter().flatten().next();
    let unknown = unknown.map_or_else(String::new, |unknown| format!(": {unknown}"));
    match (known, serde_json::from_value(parameters)) {
        (Some(name), Ok(failure)) => CliError::Answer { name, failure },
        _ => CliError::Local(Failure {
            what: "guardd could not do that".into(),
            why: format!("it answered {name}{unknown}"),
            fix:
                "check that guard and guardd are of one version:\nguard --version\nguardd --version"
                    .into(),
        }),
    }
}

fn error_name(name: &str) -> Option<ErrorName> {
    [
        ErrorName::Refused,
        ErrorName::NotFound,
        ErrorName::Invalid,
        ErrorName::No,
        ErrorName::Failed,
    ]
    .into_iter()
    .find(|known| known.as_str() == name)
}

pub(super) fn cannot_connect(socket: &Path, error: &io::Error) -> CliError {
    let what = format!("cannot reach guardd at {}", socket.display());
    if let Some(NotASocket { why, fix }) = NotASocket::at(socket) {
        return CliError::Local(Failure { what, why, fix });
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CliError::NoDaemon(Failure {
            what,
            why: "no guardd listens there".into(),
            fix: start_commands(socket),
        }),
        io::ErrorKind::PermissionDenied => CliError::Local(Failure {
            what,
            why: "you may not use that socket".into(),
            fix: format!("look at who may:\nls -l {}", path_word(socket)),
        }),
        _ => CliError::Local(Failure {
            what,
            why: error.to_string(),
            fix: "name the socket of a guardd that runs:\nguard --socket PATH …".into(),
        }),
    }
}

/// What is wrong with a path at which there is something, and no socket.
struct NotASocket {
    why: String,
    fix: String,
}

impl NotASocket {
    fn at(socket: &Path) -> Option<Self> {
        let kind = socket.metadata().ok()?.file_type();
        let own = "or the machine's own, without --socket and GUARD_SOCKET";
        if kind.is_dir() {
            let there = socket.join("guardd.sock");
            return Some(Self {
                why: "it is a directory".into(),
                fix: format!("the socket in it would be:\n{}\n{own}", there.display()),
            });
        }
        (!kind.is_socket()).then(|| Self {
            why: "it is no socket".into(),
            fix: format!("name the socket of a guardd: guardd.sock in its --state-dir,\n{own}"),
        })
    }
}

/// The two ways to start the guardd that would listen at `socket`.
pub(super) fn start_commands(socket: &Path) -> String {
    if socket == Path::new(DEFAULT_SOCKET) {
        return "start it:\nsudo systemctl start guardd\nor, where no systemd runs:\nsudo guardd"
            .into();
    }
    let own =
        "use the machine's own, without --socket and GUARD_SOCKET:\nsudo systemctl start guardd";
    let directory = socket.parent().filter(|dir| !dir.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if !socket.ends_with("guardd.sock") {
        return format!(
            "check the path: guardd listens at guardd.sock in its --state-dir\nor {own}"
        );
    }
    let directory = directory.display();
    format!(
        "start it, with the other options that it had (--config, --policy-dir, --pin-dir, --cgroup-root):\n\
         sudo guardd --state-dir {directory}\nor {own}"
    )
}

pub(super) fn failed(socket: &Path, why: String) -> CliError {
    CliError::Local(Failure {
        what: format!("cannot talk to guardd at {}", socket.display()),
        why,
        fix: what_it_says(socket == Path::new(DEFAULT_SOCKET) && is_service()),
    })
}

fn what_it_says(is_service: bool) -> String {
    if is_service {
        "see what guardd says about it:\nsystemctl status guardd\njournalctl -u guardd -n 20"
    } else {
        "see what guardd says about it, where it was started, and whether it runs:\nguard status"
    }
    .into()
}

/// Whether systemd has a unit of guardd's.
fn is_service() -> bool {
    let dirs = ["/etc", "/run", "/usr/lib", "/lib"];
    let is_in = |dir: &str| {
        Path::new(dir)
            .join("systemd/system/guardd.service")
            .exists()
    };
    Path::new("/run/systemd/system").is_dir() && dirs.into_iter().any(is_in)
}

/// An I/O error in words; the kernel reports a timeout as "try again".
pub(super) fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it stopped, or cannot start".into()
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("it has not answered for {} s", TIMEOUT.as_secs())
        }
        _ => error.to_string(),
    }
}

/// An answer that is not what was asked for.
pub(super) fn not_understood(socket: &Path, error: &serde_json::Error) -> CliError {
    CliError::Local(Failure {
        what: format!("cannot understand guardd at {}", socket.display()),
        why: error.to_string(),
        fix: VERSIONS.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guardd_that_is_no_service_is_not_looked_for_at_systemd() {
        assert!(what_it_says(true).contains("systemctl status guardd"));
        let of_its_own = failed(Path::new("/run/mine/guardd.sock"), "it ended".into());
        let fix = &of_its_own.failure().unwrap().fix;
        assert!(
            !fix.contains("systemctl") && fix.contains("guard status"),
            "{fix}"
        );
    }
}
