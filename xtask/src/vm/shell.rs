//! A shell in a machine.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::machine::Console;
use super::payload::Payload;
use super::run::install;
use super::snapshot::Maker;
use super::suites::Kind;
use crate::shell::say;

/// As long as whoever types likes.
const SESSION: Duration = Duration::from_secs(24 * 3600);

/// Opens one on this terminal; the machine is gone when it ends.
pub(super) fn open(
    maker: &Maker<'_>,
    payload: &Payload,
    kind: Kind,
    saved: bool,
) -> Result<ExitCode> {
    let console = Console::Terminal;
    let mut machine = if saved && kind != Kind::Reboot {
        maker.resume(kind, &payload.path(), &console)?
    } else {
        maker.boot(kind, &payload.path(), None, &console)?
    };
    install(&mut machine)?;
    say("a shell in the machine; `exit` ends both");
    let size = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .output();
    let size = size.map(|size| String::from_utf8_lossy(&size.stdout).into_owned());
    let (rows, columns) = size
        .as_deref()
        .ok()
        .and_then(|size| size.trim().split_once(' '))
        .unwrap_or(("24", "80"));
    let term = std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    machine.tell(
        &format!(
            "cd /root; stty -F /dev/ttyS0 sane rows {rows} columns {columns}; \
             HOME=/root TERM='{term}' setsid --ctty --wait bash -l </dev/ttyS0 >/dev/ttyS0 2>&1"
        ),
        SESSION,
        |_| {},
    )?;
    Ok(ExitCode::SUCCESS)
}
