//! Starting a command and guardd, and guardd's memory.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use guard_lab::{Daemon, Network, bins};

use super::Plan;
use super::client::Client;
use super::figure::{Figure, Samples, Unit, turns};
use super::prefixes::{MANY, TEN};

const TRUE: &str = "/bin/true";

/// Measures `guard run -- true` beside `true`, and guardd from its start to enforcing: from nothing, and from what another one
/// pinned.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn start(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network)
        .policy("bench", &TEN.policy())
        .start()?;
    let mut client = Client::free(&network)?;
    let (guard, socket) = (bins::for_everybody("guard", daemon.tag())?, daemon.socket());
    let (guard, socket) = (guard.to_string_lossy(), socket.to_string_lossy());
    let guarded = [
        &*guard, "run", "--socket", &socket, "--policy", "bench", "--", TRUE,
    ];
    let mut samples = turns(plan.few, 2, |side| match side {
        0 => client.spawn(&guarded),
        _ => client.spawn(&[TRUE]),
    })?;
    let none = samples.pop().unwrap_or_default();
    let guard = samples.pop().unwrap_or_default();
    let (mut fresh, mut adopting) = (Samples::default(), Samples::default());
    for _ in 0..plan.few {
        let mut daemon = Daemon::on_this_machine()
            .policy("bench", &TEN.policy())
            .prepare()?;
        fresh.0.push(started(&mut daemon)?);
        daemon.kill()?;
        adopting.0.push(started(&mut daemon)?);
    }
    Ok(vec![
        Figure::new("guard run -- true", Unit::Time, guard).beside("true", none),
        Figure::new("guardd start, fresh", Unit::Time, fresh),
        Figure::new("guardd start, adopting", Unit::Time, adopting),
    ])
}

fn started(daemon: &mut Daemon) -> Result<f64> {
    let start = Instant::now();
    daemon.start()?;
    Ok(start.elapsed().as_nanos() as f64)
}

/// Measures guardd's memory with 10 sessions under a policy of 1,000 rules.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn memory(_: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let mut policy = "version = 1\nname = \"bench\"\ndefault = \"allow\"\n".to_owned();
    for (rule, prefix) in MANY.texts().iter().take(1000).enumerate() {
        let port = 1000 + rule;
        policy.push_str(&format!(
            "\n[[rule]]\nname = \"rule-{rule}\"\nto = [\"{prefix}\"]\nports = [\"tcp/{port}\", \"udp/53\"]\n\
             action = \"confirm\"\nreason = \"service number {rule}\"\n"
        ));
    }
    let daemon = Daemon::in_network(&network)
        .policy("bench", &policy)
        .start()?;
    let sessions: Result<Vec<_>> = (0..10).map(|_| Client::guarded(&daemon, "bench")).collect();
    let _sessions = sessions?;
    let resident = bytes(daemon.pid().context("guardd does not run")?, "VmRSS:")?;
    Ok(vec![Figure::new(
        "guardd, 10 sessions, 1,000 rules",
        Unit::Memory,
        Samples(vec![resident]),
    )])
}

/// Returns the bytes that a child of guardd shares with nobody and has from no file.
pub(super) fn own_memory(daemon: &Daemon, program: &str) -> Result<f64> {
    let guardd = daemon.pid().context("guardd does not run")?;
    let children = fs::read_to_string(format!("/proc/{guardd}/task/{guardd}/children"))?;
    let mut children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    let is_it = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|words| words.starts_with(program))
    };
    bytes(
        children
            .find(is_it)
            .with_context(|| format!("no {program} runs"))?,
        "RssAnon:",
    )
}

fn bytes(pid: u32, what: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {what} of process {pid}"))? * 1024.0)
}
