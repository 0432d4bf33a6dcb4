//! Running `guard` against a lab's daemon.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Daemon, bins};

/// A `guard` command, to be run on the daemon's machine.
#[derive(Debug)]
#[must_use = "nothing happens until it is run or spawned"]
pub struct Guard<'d> {
    daemon: &'d Daemon,
    uid: u32,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    input: Option<String>,
}

impl<'d> Guard<'d> {
    pub(crate) fn new(daemon: &'d Daemon, uid: u32) -> Self {
        Self {
            daemon,
            uid,
            args: Vec::new(),
            env: Vec::new(),
            input: None,
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

    /// What it reads from standard input, which is empty otherwise.
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// The command, for what this builder does not know.
    ///
    /// # Errors
    ///
    /// That there is no `guard`.
    pub fn command(&self) -> Result<Command> {
        let guard = bins::for_everybody("guard", self.daemon.tag())?;
        let mut command = self.daemon.on_machine(self.uid, guard);
        command
            .args(&self.args)
            .env("GUARD_SOCKET", self.daemon.socket())
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// That it cannot be started. How it ended is in the output.
    pub fn run(&self) -> Result<Output> {
        let mut command = self.command()?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            let text = self.input.as_deref().unwrap_or_default();
            // It may end without reading all of it.
            let _ = stdin.write_all(text.as_bytes());
        }
        let output = child.wait_with_output()?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it, and gives what it printed as JSON.
    ///
    /// # Errors
    ///
    /// That it failed, or printed something else.
    pub fn json(self) -> Result<Value> {
        self.args(["--json"]).run()?.success()?.json()
    }

    /// Starts it. It is killed on drop.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn spawn(&self) -> Result<Running> {
        Running::start(&mut self.command()?)
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
        let parse =
            |line| serde_json::from_str(line).with_context(|| format!("not JSON: {line:?}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// A command that goes on. What it says on standard error goes to the test's.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts any command, whose output is then read line by line. It is killed on drop.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = child.stdout.take().context("no output")?;
        Ok(Self {
            child,
            lines: lines_of(output),
        })
    }

    /// Its process id, until it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    ///
    /// # Errors
    ///
    /// That none came in time, or that its output ended.
    pub fn line(&mut self, patience: Duration) -> Result<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("it printed nothing for {patience:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("it ended ({:?})", self.child.try_wait()),
        }
    }

    /// Reads on until a line contains `text`, and gives that line.
    ///
    /// # Errors
    ///
    /// That none did in time, or that its output ended.
    pub fn line_with(&mut self, text: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .line(left)
                .with_context(|| format!("waiting for {text:?}"))?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Writes to its standard input.
    ///
    /// # Errors
    ///
    /// That it reads no more.
    pub fn write(&mut self, text: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("its input is closed")?;
        Ok(stdin.write_all(text.as_bytes())?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// That it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "it has ended");
        // Not waited for yet, so the id is still its own.
        let pid = Pid::from_child(&self.child);
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it ends.
    ///
    /// # Errors
    ///
    /// What `wait` gives.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way there is nothing to say.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|length| length > 0) {
            if sender.send(line.trim_end().to_owned()).is_err() {
                // Nobody listens: keep the writer from blocking all the same.
                let _ = output.read_to_end(&mut Vec::new());
                return;
            }
            line.clear();
        }
    });
    lines
}
