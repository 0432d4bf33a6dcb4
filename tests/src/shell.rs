//! A session in which a shell does what it is told, line by line.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::{Attempt, Daemon, Guard, PATIENCE, Report, Running, bins};

/// A shell inside a session. It borrows nothing of the daemon, which may be killed and started under it.
/// It is killed on drop.
#[derive(Debug)]
pub struct Shell {
    running: Running,
    probe: PathBuf,
    session: String,
}

impl Shell {
    /// One of the agent's, under a policy that the daemon knows by name.
    ///
    /// # Errors
    ///
    /// That `guard run` did not start it.
    pub fn start(daemon: &Daemon, policy: &str) -> Result<Self> {
        Self::run_by(daemon, daemon.agent(["run", "--policy", policy]))
    }

    /// One that a `guard run` starts, to which the command is still to be added.
    ///
    /// # Errors
    ///
    /// That it did not start it.
    pub fn run_by(daemon: &Daemon, run: Guard<'_>) -> Result<Self> {
        let mut running = run.args(["--", "sh"]).spawn()?;
        running.write("echo ready $GUARD_SESSION\n")?;
        let ready = running.line_with("ready", PATIENCE)?;
        let session = ready.split_whitespace().nth(1);
        Ok(Self {
            session: session.context("no GUARD_SESSION inside")?.to_owned(),
            probe: bins::for_everybody("guard-lab", daemon.tag())?,
            running,
        })
    }

    /// Its session's id.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// What came of an attempt by a child of it.
    ///
    /// # Errors
    ///
    /// That it could not even be tried.
    pub fn attempt(&mut self, attempt: &Attempt) -> Result<Report> {
        self.begin(attempt)?;
        Report::parse(&self.line_with("\"ok\"")?)
    }

    /// Whether an attempt was answered.
    ///
    /// # Errors
    ///
    /// That it could not even be tried.
    pub fn reaches(&mut self, attempt: &Attempt) -> Result<bool> {
        Ok(self.attempt(attempt)?.ok)
    }

    /// Begins an attempt that goes on, whose lines are then read one by one.
    ///
    /// # Errors
    ///
    /// That the shell is gone.
    pub fn begin(&mut self, attempt: &Attempt) -> Result<()> {
        let args = attempt.args().join(" ");
        self.tell(&format!("{} {args}", self.probe.display()))
    }

    /// Has it do something.
    ///
    /// # Errors
    ///
    /// That it is gone.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        self.running.write(&format!("{line}\n"))
    }

    /// Has it do something, and gives the exit status of that.
    ///
    /// # Errors
    ///
    /// That it is gone, or did not come to an end.
    pub fn status_of(&mut self, line: &str) -> Result<i32> {
        self.tell(&format!("{line}\necho status $?"))?;
        let status = self.line_with("status ")?;
        let code = status.trim().strip_prefix("status ");
        Ok(code.context("no status")?.parse()?)
    }

    /// Runs a command line to its end, and returns all that it printed and its exit status.
    ///
    /// # Errors
    ///
    /// That the shell has ended, or the command does not end.
    pub fn output_of(&mut self, line: &str) -> Result<(String, i32)> {
        self.tell(&format!("({line}) 2>&1; echo \"--status $?\""))?;
        let mut text = String::new();
        loop {
            let line = self.running.line(PATIENCE)?;
            if let Some((before, status)) = line.split_once("--status ") {
                return Ok((text + before, status.trim().parse()?));
            }
            text += &(line + "\n");
        }
    }

    /// Reads on until a line contains `text`, and gives that line.
    ///
    /// # Errors
    ///
    /// That none did in time, or that the shell has ended.
    pub fn line_with(&mut self, text: &str) -> Result<String> {
        self.running.line_with(text, PATIENCE)
    }

    /// Sends `guard run` a signal.
    ///
    /// # Errors
    ///
    /// That it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Waits until `guard run` ends, and gives its exit status.
    ///
    /// # Errors
    ///
    /// That a signal ended it.
    pub fn wait(&mut self) -> Result<i32> {
        self.running.wait()?.code().context("a signal ended it")
    }
}
