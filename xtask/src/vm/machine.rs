//! A machine that runs: it takes commands line by line, and says what came of each.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::qmp::Qmp;

/// What the guest's agent says when it waits for something to do, and when that has ended.
const READY: &str = "@vm ready";
const DONE: &str = "@vm done ";
/// How long a machine may take until it is ready.
pub(super) const BOOT: Duration = Duration::from_secs(300);
/// How long qemu may take to make its sockets.
const START: Duration = Duration::from_secs(20);

/// A running machine. It is gone when this is dropped.
pub(super) struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    commands: UnixStream,
    qmp: Option<Qmp>,
    console: Option<PathBuf>,
}

/// Where the first serial port leads.
pub(super) enum Console<'a> {
    File(&'a Path),
    Terminal,
}

impl Machine {
    /// Starts qemu.
    pub(super) fn start(mut qemu: Command, console: &Console) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (tty, qmp) = (dir.path().join("tty"), dir.path().join("qmp"));
        let errors = dir.path().join("stderr");
        let console = match console {
            Console::File(path) => {
                qemu.args(["-serial", &format!("file:{}", path.display())]);
                qemu.stdin(Stdio::null()).stdout(Stdio::null());
                Some(path.to_path_buf())
            }
            Console::Terminal => {
                qemu.args(["-chardev", "stdio,id=console,signal=off"]);
                qemu.args(["-serial", "chardev:console"]);
                None
            }
        };
        let socket = |path: &Path| format!("path={},server=on,wait=off", path.display());
        qemu.args(["-chardev", &format!("socket,id=tty,{}", socket(&tty))])
            .args(["-serial", "chardev:tty", "-chardev"])
            .arg(format!("socket,id=qmp,{}", socket(&qmp)))
            .args(["-mon", "chardev=qmp,mode=control"])
            .stderr(File::create(&errors)?);
        let mut child = qemu.spawn().context("cannot start qemu")?;
        let connected = connect(&tty, &mut child).and_then(|tty| {
            let qmp = Qmp::new(connect(&qmp, &mut child)?)?;
            Ok((tty, qmp))
        });
        let (tty, qmp) = match connected {
            Ok(both) => both,
            Err(problem) => {
                // What it said says more than that it ended.
                let _ = child.kill();
                child.wait()?;
                let said = fs::read_to_string(&errors).unwrap_or_default();
                bail!("{problem:#}: {}", said.trim());
            }
        };
        // Its sockets are connected: nothing of it is left, however this program ends.
        dir.close()?;
        let lines = lines_of(tty.try_clone()?);
        Ok(Self {
            qemu: child,
            lines,
            commands: tty,
            qmp: Some(qmp),
            console,
        })
    }

    /// Waits until it takes commands.
    pub(super) fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT;
        while !self
            .line(deadline)
            .context("it did not boot")?
            .contains(READY)
        {}
        Ok(())
    }

    /// Has a shell in it do something, and gives the exit status. `hear` gets the lines of output.
    ///
    /// # Errors
    ///
    /// That the machine broke, or did not answer in time.
    pub(super) fn tell(
        &mut self,
        command: &str,
        limit: Duration,
        mut hear: impl FnMut(&str),
    ) -> Result<i32> {
        self.write(command)?;
        let deadline = Instant::now() + limit;
        loop {
            let line = self.line(deadline)?;
            match line.split_once(DONE) {
                None => hear(&line),
                Some((rest, status)) => {
                    if !rest.is_empty() {
                        hear(rest);
                    }
                    return status.trim().parse().context("no status");
                }
            }
        }
    }

    /// The same of something that has to succeed; what it says is reported where it does not.
    pub(super) fn must(&mut self, command: &str, limit: Duration) -> Result<()> {
        let mut said = String::new();
        let status = self.tell(command, limit, |line| {
            said.push_str(line);
            said.push('\n');
        })?;
        ensure!(
            status == 0,
            "{command:?} failed ({status}) in the machine:\n{said}"
        );
        Ok(())
    }

    /// Writes a line without waiting for an answer.
    pub(super) fn write(&mut self, line: &str) -> Result<()> {
        writeln!(self.commands, "{line}").context("the machine has ended")
    }

    /// Waits until it has ended by itself.
    pub(super) fn ended(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.qemu.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the machine does not end");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Lets qemu itself do something.
    pub(super) fn qmp(&mut self) -> Result<&mut Qmp> {
        self.qmp.as_mut().context("qemu has ended")
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine says nothing more: its time is up")
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.qemu.wait()?;
                bail!("the machine ended ({status}){}", self.last_words());
            }
        }
    }

    /// What its kernel said at the end.
    fn last_words(&self) -> String {
        const LINES: usize = 15;
        let Some(console) = &self.console else {
            return String::new();
        };
        let text = fs::read(console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        if last.is_empty() {
            return String::new();
        }
        format!("; the end of its console:\n    {}", last.join("\n    "))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The lines that come over that socket, until it ends.
fn lines_of(output: UnixStream) -> Receiver<String> {
    let (send, lines) = channel();
    let mut output = BufReader::new(output);
    thread::spawn(move || {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            if send.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
    lines
}

fn connect(path: &Path, qemu: &mut Child) -> Result<UnixStream> {
    let deadline = Instant::now() + START;
    loop {
        if let Ok(socket) = UnixStream::connect(path) {
            return Ok(socket);
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("qemu ended at once ({status})");
        }
        ensure!(Instant::now() < deadline, "qemu makes no sockets");
        thread::sleep(Duration::from_millis(10));
    }
}
