//! Commands that go on, read line by line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{exec, wait};

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
        if let Some(errors) = child.stderr.take() {
            pass_on(errors);
        }
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
        self.line_within(wait::patience(patience))
    }

    fn line_within(&mut self, patience: Duration) -> Result<String> {
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
        let deadline = Instant::now() + wait::patience(patience);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .line_within(left)
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

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    ///
    /// That it does not.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        exec::ended(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way there is nothing to say.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says what a command says on standard error on the test's.
fn pass_on(errors: ChildStderr) {
    thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            eprintln!("{line}");
        }
    });
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
