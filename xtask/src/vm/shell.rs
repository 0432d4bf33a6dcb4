//! A machine without tests: a shell in it, or figures of it.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::machine::{Console, Machine};
use super::payload::{BENCH, Payload};
use super::run::install;
use super::snapshot::Maker;
use super::suites::Kind;
use crate::shell::{say, target};

/// As long as whoever types likes.
const SESSION: Duration = Duration::from_secs(24 * 3600);

/// As long as all groups of figures take in an emulated machine.
const MEASURING: Duration = Duration::from_secs(4 * 3600);

/// Measures groups of figures there.
pub(super) fn measure(
    maker: &Maker<'_>,
    payload: &Payload,
    kind: Kind,
    saved: bool,
    groups: &[String],
) -> Result<ExitCode> {
    let console = target().join("vm-bench.console");
    let mut machine = start(maker, payload, kind, saved, &Console::File(&console))?;
    let only: String = groups
        .iter()
        .map(|name| format!(" --only {name}"))
        .collect();
    let command = format!("cd /root; {BENCH} bench --programs /usr/bin --json /dev/null{only}");
    let status = machine.tell(&command, MEASURING, |line| println!("{line}"))?;
    Ok(match status {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// One that has guard installed.
fn start(
    maker: &Maker<'_>,
    payload: &Payload,
    kind: Kind,
    saved: bool,
    console: &Console<'_>,
) -> Result<Machine> {
    let mut machine = if saved && kind != Kind::Reboot {
        maker.resume(kind, &payload.path(), console)?
    } else {
        maker.boot(kind, &payload.path(), None, console)?
    };
    install(&mut machine)?;
    Ok(machine)
}

/// Opens one on this terminal; the machine is gone when it ends.
pub(super) fn open(
    maker: &Maker<'_>,
    payload: &Payload,
    kind: Kind,
    saved: bool,
) -> Result<ExitCode> {
    let mut machine = start(maker, payload, kind, saved, &Console::Terminal)?;
    say(
        "root's shell in the machine, without a network; `exit` ends both; its package is /payload/packages/guard.deb",
    );
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
