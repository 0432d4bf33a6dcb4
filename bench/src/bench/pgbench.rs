//! `pgbench`: what it is told, and what it says.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::samples::Samples;

const MICROSECOND: f64 = 1e3;

/// Reads that are measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// At once, by one process.
    pub(super) clients: u32,
    /// How they are sent, as `-M` has it.
    pub(super) mode: &'static str,
}

/// What came of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Transactions a second, of one SELECT each, without what connecting took.
    pub(super) a_second: f64,
    /// What the middle one took, in nanoseconds.
    pub(super) middle: f64,
}

impl Reads {
    /// The words behind the program and where the server is. It writes what each tenth transaction took to a file whose name
    /// begins so: its own average says no more than how many there were, and writing down all of them takes time.
    pub(super) fn arguments(&self, log: &Path) -> Vec<String> {
        let (clients, log) = (self.clients.to_string(), log.display().to_string());
        // Without -n it begins with VACUUM, which is no read.
        ["-n", "-S", "-T", "1", "-c", &clients, "-M", self.mode]
            .into_iter()
            .chain(["--log", "--sampling-rate", "0.1", "--log-prefix", &log])
            .map(str::to_owned)
            .collect()
    }
}

impl Run {
    /// Of what it printed, and of its log, the only thing in a directory, which is removed.
    pub(super) fn read(printed: &str, dir: &Path) -> Result<Self> {
        let mut took = Samples::default();
        for log in logs(dir)? {
            took.0.extend(times(&fs::read_to_string(&log)?)?);
            fs::remove_file(log)?;
        }
        ensure!(!took.0.is_empty(), "no transaction is in its log");
        Ok(Self {
            a_second: a_second(printed)?,
            middle: took.median(),
        })
    }
}

fn logs(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    entries.collect()
}

/// Of each line of a log, in nanoseconds: `CLIENT TRANSACTION MICROSECONDS SCRIPT …`.
fn times(log: &str) -> Result<Vec<f64>> {
    let time = |line: &str| {
        let micros = line.split(' ').nth(2)?.parse::<f64>().ok()?;
        Some(micros * MICROSECOND)
    };
    log.lines()
        .map(|line| time(line).with_context(|| format!("no time in {line:?}")))
        .collect()
}

/// Before 14 it says so twice, first with what connecting took.
fn a_second(printed: &str) -> Result<f64> {
    let mut lines = printed.lines();
    let line = lines.rfind(|line| line.starts_with("tps = "));
    let number = line.and_then(|line| line.split(' ').nth(2)?.parse().ok());
    number.with_context(|| format!("no transactions a second in {printed:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_read() -> Result<()> {
        let old = "tps = 90.5 (including connections establishing)\n\
                   tps = 100.5 (excluding connections establishing)\n";
        for printed in ["x\ntps = 100.5 (without initial connection time)\n", old] {
            assert_eq!(a_second(printed)?, 100.5);
        }
        assert!(a_second("pgbench: error").is_err());
        Ok(())
    }

    #[test]
    fn its_log_has_microseconds() -> Result<()> {
        let log = "0 199 2241 0 1175850568 995598\n0 200 2465 0 1175850568 998079\n";
        assert_eq!(times(log)?, [2_241_000.0, 2_465_000.0]);
        assert!(times("0 81 failed 0 1649114136 815823\n").is_err());
        Ok(())
    }
}
