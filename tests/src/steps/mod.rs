//! A guardd that is watched step by step, and killed after one of them.

mod kind;
mod tracer;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{Daemon, PATIENCE, Running, bins, eventually};
pub use tracer::steps;

/// A command under `guard-lab steps`. It is killed on drop.
#[derive(Debug)]
pub struct Stepped {
    running: Running,
    log: PathBuf,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The steps that it made since they were asked for, the last of them the one that it was killed after.
    pub steps: Vec<String>,
    /// Its exit status, 137 where it was killed.
    pub code: i32,
    /// What it said on standard error.
    pub said: String,
}

impl Stepped {
    /// Starts a guardd, or what else a command is, to be killed after that many steps; `None`: after none.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn start(daemon: &Daemon, command: &Command, kill_after: Option<usize>) -> Result<Self> {
        let kill = kill_after.map(|steps| ["--kill".to_owned(), steps.to_string()]);
        Self::run(daemon, command, kill.iter().flatten())
    }

    /// The same of a program that tells others by sockets: each word of it is a step.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn start_one_that_tells(daemon: &Daemon, command: &Command) -> Result<Self> {
        Self::run(daemon, command, ["--words"])
    }

    fn run(
        daemon: &Daemon,
        command: &Command,
        how: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self> {
        let log = daemon.dir().join("stepped.log");
        let said = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut traced = Command::new(bins::find("guard-lab")?);
        traced.arg("steps").args(how);
        traced.arg(command.get_program()).args(command.get_args());
        let set = command.get_envs();
        traced.envs(set.filter_map(|(name, value)| Some((name, value?))));
        let running = Running::start(traced.stderr(said))?;
        Ok(Self { running, log })
    }

    /// Waits until it has said that it enforces.
    ///
    /// # Errors
    ///
    /// That it did not in time, with what it said.
    pub fn wait_until_ready(&self) -> Result<()> {
        eventually("it enforces", || self.said().contains("ready: enforcing")).context(self.said())
    }

    /// Waits until it has said that it enforces, or is gone.
    ///
    /// # Errors
    ///
    /// That neither came true in time.
    pub fn wait_until_ready_or_killed(&mut self) -> Result<()> {
        eventually("it enforces, or was killed", || {
            self.said().contains("ready: enforcing") || self.running.has_ended()
        })
        .with_context(|| self.said())
    }

    /// Has it killed after that many steps from now on; `None`: has them counted.
    ///
    /// # Errors
    ///
    /// That it has ended.
    pub fn arm(&mut self, kill_after: Option<usize>) -> Result<()> {
        let order = match kill_after {
            Some(steps) => format!("kill {steps}\n"),
            None => "tell\n".to_owned(),
        };
        self.running.write(&order)?;
        self.running.line_with("armed", PATIENCE).map(drop)
    }

    /// Whether it has ended, and all that it did is known.
    pub fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }

    /// Has it read the policies again.
    ///
    /// # Errors
    ///
    /// That it has ended.
    pub fn reload(&mut self) -> Result<()> {
        self.running.write("hup\n")
    }

    /// Asks it to end, which it may have done.
    pub fn stop(&mut self) {
        // That it reads no more is as good.
        let _ = self.running.write("end\n");
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// That it goes on.
    pub fn wait(mut self) -> Result<Ended> {
        let mut steps = Vec::new();
        loop {
            let line = self.running.line(PATIENCE).with_context(|| self.said())?;
            match line.split_once(' ') {
                Some(("step", step)) => steps.push(step.to_owned()),
                Some(("ended", code)) => {
                    let code = code.parse()?;
                    let said = self.said();
                    return Ok(Ended { steps, code, said });
                }
                _ if ["armed", "killed"].contains(&&*line) => {}
                _ => bail!("guard-lab steps said {line:?}"),
            }
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Ended {
    /// Whether it was killed after a step, and did not end by itself.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.code == 137
    }

    /// Each step's call, and the directory of what it was made on.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        let calls = self.steps.iter().map(|step| {
            let call = step.split_once(' ').map_or("", |(_, call)| call);
            call.rsplit_once('/').map_or(call, |(above, _)| above)
        });
        calls.collect()
    }
}
