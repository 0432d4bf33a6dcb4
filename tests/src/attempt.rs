//! One attempt to reach the network, made by `guard-lab probe` in a process of its own.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{Daemon, Side, bins, exec};

/// What to try.
#[derive(Clone, Debug)]
#[must_use = "an attempt does nothing until it is made"]
pub struct Attempt {
    kind: String,
    to: String,
    port: u16,
    other: Option<String>,
    timeout: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the other side answered; where it cannot, whether the kernel took what was sent.
    pub ok: bool,
    /// The error's name, as `EPERM`.
    pub errno: Option<String>,
    /// Which step failed, or what the answer was.
    pub detail: String,
}

impl Attempt {
    /// An attempt of a kind that `guard-lab probe --help` lists.
    pub fn new(kind: &str, to: &str, port: u16) -> Self {
        Self {
            kind: kind.to_owned(),
            to: to.to_owned(),
            port,
            other: None,
            timeout: None,
        }
    }

    /// A TCP connection, with a line sent and echoed.
    pub fn tcp(to: &str, port: u16) -> Self {
        Self::new("tcp", to, port)
    }

    /// A datagram sent and echoed, by a `sendto` without `connect`.
    pub fn udp(to: &str, port: u16) -> Self {
        Self::new("udp-send", to, port)
    }

    /// A second address, for the kinds that want one.
    pub fn other(mut self, address: &str) -> Self {
        self.other = Some(address.to_owned());
        self
    }

    /// How long to wait for each answer, unless ten seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The arguments of `guard-lab`.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let mut args = vec!["probe".into(), self.kind.clone()];
        args.extend([self.to.clone(), self.port.to_string()]);
        args.extend(self.other.clone());
        if let Some(timeout) = self.timeout {
            args.extend(["--timeout".into(), timeout.as_millis().to_string()]);
        }
        args
    }

    /// Makes the attempt on a machine, as a user, without any guard.
    ///
    /// # Errors
    ///
    /// That it could not even be tried.
    pub fn outside(&self, side: &Side, uid: u32) -> Result<Report> {
        let program = bins::for_everybody("guard-lab", side.tag())?;
        Report::of(side.command_as(uid, program).args(self.args()))
    }

    /// Makes the attempt inside `guard run` under a policy, as the ordinary user.
    ///
    /// # Errors
    ///
    /// That it could not even be tried.
    pub fn under(&self, daemon: &Daemon, policy: &str) -> Result<Report> {
        let program = bins::for_everybody("guard-lab", daemon.tag())?;
        let mut command = daemon.agent(["run", "--policy", policy, "--"]).command()?;
        Report::of(command.arg(program).args(self.args()))
    }
}

impl Report {
    /// Runs a command that ends in a probe.
    ///
    /// # Errors
    ///
    /// That there is no report on its standard output; with what was there instead.
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = exec::output(command)?;
        Self::parse(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
            format!(
                "{command:?} ({}) tried nothing: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })
    }

    /// Reads the last line of a probe's output.
    ///
    /// # Errors
    ///
    /// That it is no report.
    pub fn parse(text: &str) -> Result<Self> {
        let line = text.trim_end().lines().next_back().unwrap_or_default();
        let report: Value = serde_json::from_str(line)?;
        Ok(Self {
            ok: report["ok"].as_bool().context("no `ok`")?,
            errno: report["errno"].as_str().map(str::to_owned),
            detail: report["detail"].as_str().unwrap_or_default().to_owned(),
        })
    }
}
