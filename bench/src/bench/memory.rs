//! What the proxy takes of memory.

use std::fs;

use anyhow::{Context as _, Result};
use guard_lab::Daemon;

/// What a daemon's proxy has in memory of its own, in bytes: nothing that it shares with others, or has from a file.
pub(super) fn proxy(daemon: &Daemon) -> Result<f64> {
    let guardd = daemon.pid().context("guardd does not run")?;
    let children = fs::read_to_string(format!("/proc/{guardd}/task/{guardd}/children"))?;
    let proxy = children
        .split_whitespace()
        .next()
        .context("no proxy runs")?;
    let status = fs::read_to_string(format!("/proc/{proxy}/status"))?;
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = anonymous.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.context("no size of the proxy")? * 1024.0)
}
