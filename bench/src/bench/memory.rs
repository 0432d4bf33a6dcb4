//! What the proxy and the resolver take of memory.

use std::fs;

use anyhow::{Context as _, Result};
use guard_lab::Daemon;

/// What a daemon's proxy has in memory of its own, in bytes: nothing that it shares with others, or has from a file.
pub(super) fn proxy(daemon: &Daemon) -> Result<f64> {
    own(child(daemon, "guard-proxy")?)
}

/// The same of its resolver.
pub(super) fn resolver(daemon: &Daemon) -> Result<f64> {
    own(child(daemon, "guard-resolver")?)
}

/// The process of a program that guardd has started.
pub(super) fn child(daemon: &Daemon, program: &str) -> Result<u32> {
    let guardd = daemon.pid().context("guardd does not run")?;
    let children = fs::read_to_string(format!("/proc/{guardd}/task/{guardd}/children"))?;
    let pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    let mut found = pids.filter(|pid: &u32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        words.is_ok_and(|words| words.starts_with(program))
    });
    found.next().with_context(|| format!("no {program} runs"))
}

fn own(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = anonymous.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.context("no size of the process")? * 1024.0)
}
