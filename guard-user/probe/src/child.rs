//! Trying something in a process of its own, which is gone afterwards with all that it did to itself.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use guard_sys::process::{Fork, exit_at_once, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid,
};
use serde::{Serialize, de::DeserializeOwned};

/// What is tried takes milliseconds; nobody waits longer than this.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A process that tries something. It is killed when this is dropped.
#[derive(Debug)]
pub struct Trying {
    pid: Pid,
    says: File,
}

impl Trying {
    /// Starts it: `work` may say things by its argument, one line of JSON each, and the process ends with it.
    ///
    /// # Errors
    ///
    /// The system's; `Other` where this process has several threads.
    pub fn start(work: impl FnOnce(&mut Says)) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        match fork()? {
            Fork::Child => {
                drop(read);
                let _ = set_parent_process_death_signal(Some(Signal::KILL));
                let mut says = Says(write.into());
                // What is on the stack belongs to the other process.
                let _ = catch_unwind(AssertUnwindSafe(|| work(&mut says)));
                exit_at_once(0)
            }
            Fork::Parent(pid) => Ok(Self {
                pid,
                says: read.into(),
            }),
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The next thing that it says.
    ///
    /// # Errors
    ///
    /// That it ended before, or took too long.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let deadline = Instant::now() + TIMEOUT;
        let mut line = Vec::new();
        loop {
            wait(&self.says, deadline)?;
            let mut byte = [0];
            match self.says.read(&mut byte)? {
                0 => return Err(io::Error::other("the process that tried it ended early")),
                _ if byte[0] == b'\n' => return Ok(serde_json::from_slice(&line)?),
                _ => line.push(byte[0]),
            }
        }
    }
}

fn wait(from: &File, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut ready = [PollFd::new(from, PollFlags::IN)];
    match poll(&mut ready, Some(&left))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        // Not waited for yet, so the pid is its own.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// How a process that tries something says what came of it.
#[derive(Debug)]
pub struct Says(File);

impl Says {
    /// Says one thing. Nobody may listen any more.
    pub fn say<T: Serialize>(&mut self, what: &T) {
        if let Ok(mut line) = serde_json::to_vec(what) {
            line.push(b'\n');
            let _ = self.0.write_all(&line);
        }
    }
}

/// What `work` returns in a process of its own.
///
/// # Errors
///
/// [`Trying::start`] and [`Trying::hear`] in one.
pub fn asked<T: Serialize + DeserializeOwned>(work: impl FnOnce() -> T) -> io::Result<T> {
    Trying::start(|says| says.say(&work()))?.hear()
}

/// What a call came to, in a process of its own.
///
/// # Errors
///
/// Outside: as [`asked`]. Inside: the call's own.
pub fn tried<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<io::Result<()>> {
    let done = asked(|| match work() {
        Ok(_) => None,
        Err(error) => Some(error.raw_os_error().unwrap_or(libc::EIO)),
    })?;
    Ok(done.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code))))
}

/// Waits until the other end of a pipe is closed.
pub fn wait_for_end(of: OwnedFd) {
    let _ = File::from(of).read(&mut [0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_threads_are_a_reason_not_to_try() {
        // Tests run on threads.
        assert!(asked(|| 7).is_err());
    }
}
