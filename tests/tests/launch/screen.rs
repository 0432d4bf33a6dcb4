//! A terminal, as a terminal emulator has it: what is typed, what is seen, and how large it is.

use guard_lab::Tested;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::launch::bench::Bench;

/// A terminal, and what was started at it, which is killed on drop.
pub(crate) struct Terminal {
    leader: Child,
    keys: File,
    chunks: Receiver<Vec<u8>>,
    all: Vec<u8>,
    /// Up to where [`Self::expect`] has looked.
    looked: usize,
    name: String,
}

impl Terminal {
    /// With an interactive shell with job control.
    pub(crate) fn new(bench: &Bench) -> Tested<Self> {
        let mut terminal = Self::running(bench, &["bash", "--norc", "--noediting", "-i"])?;
        terminal.expect("$ ");
        Ok(terminal)
    }

    /// With a command that leads the terminal's session.
    pub(crate) fn running(bench: &Bench, command: &[&str]) -> Tested<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?.into_string()?;
        let open = || File::options().read(true).write(true).open(&name);
        let mut setsid: Command = bench.command("setsid");
        setsid.args(["--ctty", "--wait"]).args(command);
        setsid.env("PS1", "$ ").env_remove("PROMPT_COMMAND");
        setsid.stdin(open()?).stdout(open()?);
        let leader = setsid.stderr(open()?).spawn()?;
        let keys = File::from(ours);
        Ok(Self {
            leader,
            chunks: chunks(keys.try_clone()?),
            keys,
            all: Vec::new(),
            looked: 0,
            name,
        })
    }

    /// Its device.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is seen, after all that was waited for before.
    pub(crate) fn expect(&mut self, text: &str) {
        let patience = guard_lab::patience(guard_lab::PATIENCE);
        assert!(
            self.sees_within(text, patience),
            "no {text:?} in:\n{}",
            self.text()
        );
    }

    /// Whether `text` is seen in a time.
    pub(crate) fn sees_within(&mut self, text: &str, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let new = &self.all[self.looked..];
            let at = new
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(at) = at {
                self.looked += at + text.len();
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => self.all.extend(chunk),
                Err(_) => return false,
            }
        }
    }

    /// All that was shown until what was started has ended.
    pub(crate) fn until_end(&mut self) -> Vec<u8> {
        let patience = guard_lab::patience(guard_lab::PATIENCE);
        loop {
            match self.chunks.recv_timeout(patience) {
                Ok(chunk) => self.all.extend(chunk),
                Err(RecvTimeoutError::Disconnected) => return self.all.clone(),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.all).into_owned()
    }

    /// All settings.
    pub(crate) fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.keys).unwrap())
    }

    /// Whether keys are passed on as they are.
    pub(crate) fn is_raw(&self) -> bool {
        let settings = tcgetattr(&self.keys).unwrap();
        !settings
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.keys, size).unwrap();
    }

    /// The exit status of what was started.
    pub(crate) fn status(&mut self) -> Option<i32> {
        guard_lab::exec::ended(&mut self.leader).unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The shell and its jobs are in the bench's cgroup, which is killed; so is what hangs at a terminal that is gone.
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

/// What comes out of a terminal, until nobody has it open any more.
fn chunks(mut from: File) -> Receiver<Vec<u8>> {
    let (send, chunks) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    chunks
}

/// The state of a process, as in `/proc/PID/stat`.
pub(crate) fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
