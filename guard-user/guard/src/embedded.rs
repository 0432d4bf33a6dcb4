//! A guardd of one's own, where root runs a command and no guardd runs: it ends with its last session, and
//! takes down all that it set up.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guard_proto::{Call, Failure, Status, varlink::DEFAULT_SOCKET};
use guard_sys::cgroup2::Hierarchy;
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;

/// guardd enforces within this time, or is given up on.
const READY: Duration = Duration::from_secs(10);

/// guardd has taken everything down within this time after its last session, or is left to it.
const GONE: Duration = Duration::from_secs(5);

/// guardd notices within this time that its last session has ended.
const IDLE: Duration = Duration::from_secs(2);

const GLANCE: Duration = Duration::from_millis(10);

/// A running guardd that this process started. Dropped before it had a session, it is stopped.
#[derive(Debug)]
pub(crate) struct Embedded {
    daemon: Child,
    /// What it wrote to standard error.
    log: File,
    finished: bool,
}

impl Embedded {
    /// Starts a guardd that listens at `socket`, or at the default, and waits until it enforces. The connection
    /// is to whichever guardd then listens: another root may have been faster.
    ///
    /// # Errors
    ///
    /// Where it cannot be started, ends early or does not get ready, with its own last words.
    pub(crate) fn start(socket: Option<&Path>) -> Result<(Client, Option<Self>), Failure> {
        let program = program();
        let log =
            tempfile::tempfile().map_err(|error| cannot_start(&program, &error.to_string()))?;
        let stderr = log
            .try_clone()
            .map_err(|error| cannot_start(&program, &error.to_string()))?;
        let mut command = Command::new(&program);
        command.arg("--until-idle").args(directories(socket)?);
        // Its own process group: ctrl-C is for the command. Nothing of the caller's environment is its business.
        command.process_group(0).current_dir("/").env_clear();
        command.envs(
            ["PATH", "RUST_LOG"]
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let daemon = command
            .spawn()
            .map_err(|error| cannot_start(&program, &error.to_string()))?;
        Self {
            daemon,
            log,
            finished: false,
        }
        .ready(socket.unwrap_or(Path::new(DEFAULT_SOCKET)))
    }

    fn ready(mut self, socket: &Path) -> Result<(Client, Option<Self>), Failure> {
        let deadline = Instant::now() + READY;
        loop {
            let ended = !self.is_running();
            match enforcing(socket) {
                Some(client) if ended => return Ok((client, None)),
                Some(client) => return Ok((client, Some(self))),
                None if ended => return Err(self.last_words("it ended before it was ready")),
                None if Instant::now() > deadline => {
                    return Err(
                        self.last_words(&format!("it was not ready after {} s", READY.as_secs()))
                    );
                }
                None => thread::sleep(GLANCE),
            }
        }
    }

    /// Waits until guardd has ended with its session, if the session in `cgroup` has ended. Where the command
    /// has left processes behind, guardd stays for them.
    pub(crate) fn finish(mut self, cgroup: &Path) {
        self.finished = true;
        let deadline = Instant::now() + GONE;
        while self.is_running() && !is_populated(cgroup) && Instant::now() < deadline {
            thread::sleep(GLANCE);
        }
    }

    /// Waits until guardd has ended by itself, as it does after its last session. One that had none is stopped.
    pub(crate) fn end(mut self) {
        let deadline = Instant::now() + IDLE;
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(GLANCE);
        }
    }

    fn is_running(&mut self) -> bool {
        // An error means that somebody else has reaped it.
        matches!(self.daemon.try_wait(), Ok(None))
    }

    fn last_words(&mut self, why: &str) -> Failure {
        let mut log = Vec::new();
        let _ = self
            .log
            .seek(SeekFrom::Start(0))
            .and_then(|_| (&self.log).take(1 << 20).read_to_end(&mut log));
        let log = String::from_utf8_lossy(&log);
        let last: Vec<_> = log
            .lines()
            .filter(|line| !line.trim().is_empty())
            .rev()
            .take(3)
            .collect();
        let said: Vec<_> = last.into_iter().rev().collect();
        Failure {
            what: "cannot start a guardd for the command".into(),
            why: if said.is_empty() {
                why.to_owned()
            } else {
                format!("{why}; it said: {}", said.join(" / "))
            },
            fix: "start it by itself, to see more:\nsudo guardd".into(),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if self.finished || !self.is_running() {
            return;
        }
        if let Some(pid) = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + GONE;
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(GLANCE);
        }
    }
}

/// A connection to the guardd at `socket`, if it enforces.
fn enforcing(socket: &Path) -> Option<Client> {
    let mut client = Client::connect(socket).ok()?;
    let status: Status = client.call(&Call::Status {}).ok()?;
    status.enforcing.then_some(client)
}

/// Whether a process is left in a cgroup. cgroup.events in the kernel's cgroup-v2.rst
fn is_populated(cgroup: &Path) -> bool {
    let events = std::fs::read_to_string(cgroup.join("cgroup.events"));
    events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// The guardd that was installed with this command, else the one in PATH.
fn program() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("guardd"));
    beside
        .filter(|guardd| guardd.is_file())
        .unwrap_or_else(|| PathBuf::from("guardd"))
}

/// What keeps a guardd at a socket of its own apart from the machine's.
fn directories(socket: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let Some(socket) = socket.filter(|socket| *socket != Path::new(DEFAULT_SOCKET)) else {
        return Ok(Vec::new());
    };
    let wrong = |why: String| Failure {
        what: format!("cannot start a guardd at {}", socket.display()),
        why,
        fix: "name a socket like /run/mine/guardd.sock, or leave --socket and GUARD_SOCKET out"
            .into(),
    };
    let socket = std::path::absolute(socket).map_err(|error| wrong(error.to_string()))?;
    let directory = match (socket.parent(), socket.file_name()) {
        (Some(directory), Some(name)) if name == "guardd.sock" => directory,
        _ => return Err(wrong("guardd always calls its socket guardd.sock".into())),
    };
    let hierarchy = Hierarchy::find().map_err(|error| wrong(error.to_string()))?;
    let name = format!("guard-{:08x}", fnv1a(socket.as_os_str().as_encoded_bytes()));
    Ok(vec![
        "--state-dir".into(),
        directory.into(),
        "--pin-dir".into(),
        Path::new("/sys/fs/bpf").join(&name),
        "--cgroup-root".into(),
        hierarchy.mount().join(&name),
    ])
}

/// FNV-1a, 32 bits: the same name for the same socket, from one run to the next.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn cannot_start(program: &Path, why: &str) -> Failure {
    Failure {
        what: format!("cannot start {}", program.display()),
        why: why.into(),
        fix: "install guardd beside guard, or start one first:\nsudo systemctl start guardd".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_its_own_has_directories_of_its_own() {
        assert!(directories(None).unwrap().is_empty());
        assert!(
            directories(Some(Path::new(DEFAULT_SOCKET)))
                .unwrap()
                .is_empty()
        );
        let mine = directories(Some(Path::new("/run/mine/guardd.sock"))).unwrap();
        assert_eq!(mine[1], Path::new("/run/mine"));
        assert_eq!(mine[3], Path::new("/sys/fs/bpf/guard-de14abdb"));
        assert!(mine[5].ends_with("guard-de14abdb"));
        assert_ne!(
            mine,
            directories(Some(Path::new("/run/yours/guardd.sock"))).unwrap()
        );
        assert!(directories(Some(Path::new("/run/mine/other.sock"))).is_err());
    }

    #[test]
    fn fnv1a_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn a_daemon_that_ends_early_is_quoted() {
        let mut log = tempfile::tempfile().unwrap();
        let mut daemon = Command::new("sh");
        daemon
            .args(["-c", "echo first >&2; echo no bpffs >&2; exit 1"])
            .stderr(log.try_clone().unwrap());
        let daemon = daemon.spawn().unwrap();
        log.rewind().unwrap();
        let embedded = Embedded {
            daemon,
            log,
            finished: false,
        };
        let failure = embedded
            .ready(Path::new("/nonexistent/guardd.sock"))
            .unwrap_err();
        insta::assert_snapshot!(failure.why, @"it ended before it was ready; it said: first / no bpffs");
    }
}
