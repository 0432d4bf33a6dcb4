//! Running `guard` against a lab's daemon.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{Daemon, Running, exec, mounts};

/// A `guard` command, to be run on the daemon's machine.
#[derive(Debug)]
#[must_use = "nothing happens until it is run or spawned"]
pub struct Guard<'d> {
    daemon: &'d Daemon,
    uid: u32,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    without: Vec<OsString>,
    input: Option<String>,
    hosts: Option<PathBuf>,
    resolv: Option<PathBuf>,
}

impl<'d> Guard<'d> {
    pub(crate) fn new(daemon: &'d Daemon, uid: u32) -> Self {
        Self {
            daemon,
            uid,
            args: Vec::new(),
            env: Vec::new(),
            without: Vec::new(),
            input: None,
            hosts: None,
            resolv: None,
        }
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Variables that its environment is not to have, whatever the test's has.
    pub fn without(mut self, names: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.without.extend(names.into_iter().map(Into::into));
        self
    }

    /// What it reads from standard input, which is empty otherwise.
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// A file that is `/etc/hosts` for it, and for all that it starts.
    pub fn hosts(mut self, file: impl Into<PathBuf>) -> Self {
        self.hosts = Some(file.into());
        self
    }

    /// A file that is `/etc/resolv.conf` for it, and for all that it starts.
    pub fn resolv(mut self, file: impl Into<PathBuf>) -> Self {
        self.resolv = Some(file.into());
        self
    }

    /// The command, for what this builder does not know.
    ///
    /// # Errors
    ///
    /// That there is no `guard`.
    pub fn command(&self) -> Result<Command> {
        let mut command = self.daemon.on_machine(self.uid, self.daemon.guard()?);
        command
            .args(&self.args)
            .env("GUARD_SOCKET", self.daemon.socket())
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        for name in &self.without {
            command.env_remove(name);
        }
        if let Some(file) = &self.hosts {
            command = mounts::with_hosts(&command, file);
        }
        if let Some(file) = &self.resolv {
            command = mounts::with_file(&command, file, "/etc/resolv.conf");
        }
        Ok(command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// That it cannot be started, or does not end. How it ended is in the output.
    pub fn run(&self) -> Result<Output> {
        let mut command = self.command()?;
        let input = self.input.as_deref().unwrap_or_default();
        Ok(exec::output_with(&mut command, input)?.into())
    }

    /// Runs it, and gives what it printed as JSON.
    ///
    /// # Errors
    ///
    /// That it failed, or printed something else.
    pub fn json(self) -> Result<Value> {
        self.args(["--json"]).run()?.success()?.json()
    }

    /// Runs it, and gives the list that it printed as JSON.
    ///
    /// # Errors
    ///
    /// As with [`Self::json`].
    pub fn list(self) -> Result<Vec<Value>> {
        match self.json()? {
            Value::Array(list) => Ok(list),
            other => bail!("no list: {other}"),
        }
    }

    /// Runs it where it is to be refused, and gives what it said.
    ///
    /// # Errors
    ///
    /// That it was not, with all that it said.
    pub fn refused(&self) -> Result<String> {
        let output = self.run()?;
        ensure!(output.code() == Some(2), "{:?}: {output:?}", self.args);
        Ok(output.stderr)
    }

    /// Starts it. It is killed on drop.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn spawn(&self) -> Result<Running> {
        let mut command = self.command()?;
        // `guard run` would see a terminal wherever the tests have one there.
        Running::start(command.stderr(Stdio::piped()))
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it said beside that.
    pub stderr: String,
}

impl From<process::Output> for Output {
    fn from(output: process::Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Output {
    /// Its exit code; nothing where a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Itself, where it succeeded.
    ///
    /// # Errors
    ///
    /// That it failed, with all that it said.
    pub fn success(self) -> Result<Self> {
        ensure!(
            self.status.success(),
            "{}: {}{}",
            self.status,
            self.stderr,
            self.stdout
        );
        Ok(self)
    }

    /// What it printed, as JSON.
    ///
    /// # Errors
    ///
    /// That it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("not JSON: {:?}, said beside {:?}", self.stdout, self.stderr))
    }

    /// What it printed, as JSON lines.
    ///
    /// # Errors
    ///
    /// That one of them is none.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        json_lines(&self.stdout)
    }
}

/// What a text has, a line each.
pub(crate) fn json_lines(text: &str) -> Result<Vec<Value>> {
    let parse = |line| serde_json::from_str(line).with_context(|| format!("not JSON: {line:?}"));
    text.lines().map(parse).collect()
}
