//! A terminal of somebody's, with one command in it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use guard_lab::{PATIENCE, exec, patience};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What it shows comes in pieces. The command is killed on drop.
pub(super) struct Terminal {
    command: Child,
    keys: File,
    shows: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    /// Starts a command, whose own terminal it is.
    pub(super) fn start(command: &Command) -> Result<Self> {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&keys)?;
        unlockpt(&keys)?;
        let path = ptsname(&keys, Vec::new())?.into_string()?;
        // With `setsid --ctty`, standard input becomes the terminal that /dev/tty is.
        let screen = || File::options().read(true).write(true).open(&path);
        let mut by = Command::new("setsid");
        by.args(["--wait", "--ctty"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => by.env(name, value),
                None => by.env_remove(name),
            };
        }
        by.stdin(Stdio::from(screen()?));
        by.stdout(Stdio::from(screen()?));
        by.stderr(Stdio::from(screen()?));
        let command = by.spawn().context("cannot start setsid")?;
        let keys = File::from(keys);
        Ok(Self {
            shows: pieces(keys.try_clone()?),
            command,
            keys,
            shown: String::new(),
        })
    }

    /// Waits until it shows some text.
    pub(super) fn until(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + patience(PATIENCE);
        while !self.shown.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shows.recv_timeout(left) {
                Ok(piece) => self.shown += &String::from_utf8_lossy(&piece),
                Err(RecvTimeoutError::Timeout) => bail!("no {text:?} came: {}", self.shown),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended: {}", self.shown),
            }
        }
        Ok(())
    }

    /// Types a line.
    pub(super) fn types(&mut self, line: &str) -> Result<()> {
        Ok(self.keys.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Waits for the end of the command, which has to have succeeded, and gives all that was shown.
    pub(super) fn end(mut self) -> Result<String> {
        let status = exec::ended(&mut self.command)?;
        while let Ok(piece) = self.shows.recv_timeout(PATIENCE) {
            self.shown += &String::from_utf8_lossy(&piece);
        }
        let shown = self.shown.replace('\r', "");
        ensure!(status.success(), "it ended with {status}: {shown}");
        Ok(shown)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

/// What is shown, until nobody has the terminal any more.
fn pieces(mut keys: File) -> Receiver<Vec<u8>> {
    let (sender, pieces) = channel();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length) = keys.read(&mut piece) {
            if length == 0 || sender.send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}
