//! A guardd, production, and an agent that speaks HTTP.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use guard_lab::{Running, Scene, Shell, Tested, V4, eventually, holds_scene};
use rustix::process::Pid;
use serde_json::Value;

use crate::proxy::{POLICY, PORT};

/// A line for a shell that sends a request, and prints all that is answered.
pub(crate) fn sending(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "exec 3<>/dev/tcp/{V4}/{PORT} && printf '{method} {path} HTTP/1.1\\r\\nHost: photos.example.com\\r\\n\
         Content-Type: text/plain\\r\\nContent-Length: {length}\\r\\nConnection: close\\r\\n\\r\\n{body}' >&3 && \
         timeout 30 cat <&3; echo; echo ended"
    )
}

/// The process of a `/proc/PID`.
pub(crate) fn pid_of(process: &Path) -> Result<Pid> {
    let pid = process.file_name().and_then(|name| name.to_str());
    let pid = pid.context("no process")?.parse()?;
    Pid::from_raw(pid).context("no process")
}

/// One whose agents are to go through the proxy.
pub(crate) struct ProxyScene {
    pub(super) scene: Scene,
}

holds_scene!(ProxyScene);

impl ProxyScene {
    pub(crate) fn new() -> Tested<Self> {
        Self::with(POLICY, "")
    }

    pub(crate) fn with(policy: &str, config: &str) -> Tested<Self> {
        let scene = Scene::with(|daemon| daemon.policy("reads", policy).config(config))?;
        Ok(Self { scene })
    }

    pub(crate) fn shell(&self) -> Tested<Shell> {
        self.shell_with(&[])
    }

    /// A shell in a session that `guard run` is given these for, too.
    pub(crate) fn shell_with(&self, args: &[&str]) -> Tested<Shell> {
        let run = self.daemon.agent(["run", "--policy", "reads"]).args(args);
        let mut shell = Shell::run_by(&self.daemon, run)?;
        // It has connections of its own (/dev/tcp).
        shell.tell("exec bash -c 'echo in bash; exec bash'")?;
        shell.line_with("in bash")?;
        Ok(shell)
    }

    /// The only request that waits, or the first.
    pub(crate) fn request(&self) -> Tested<Value> {
        Ok(self.requests(1)?.remove(0))
    }

    /// The requests that wait, when there are so many.
    pub(crate) fn requests(&self, count: usize) -> Tested<Vec<Value>> {
        let mut found = Vec::new();
        eventually("requests", || {
            found = self.pending()?;
            Ok(found.len() >= count)
        })?;
        Ok(found)
    }

    /// Somebody who would see a request at once.
    pub(crate) fn follower(&self) -> Tested<Running> {
        Ok(self.daemon.root(["pending", "--follow"]).spawn()?)
    }

    /// The proxy's `/proc/PID`, once it runs.
    pub(crate) fn proxy(&self) -> Tested<PathBuf> {
        Ok(self.daemon.child_once("guard-proxy")?)
    }

    /// How many sockets the proxy has that listen for TCP, in whatever network.
    pub(crate) fn listeners(&self, proxy: &Path) -> Tested<usize> {
        let fds = fs::read_dir(proxy.join("fdinfo"))?;
        let fds = fds.filter_map(Result::ok).map(|entry| entry.file_name());
        let pid = pid_of(proxy)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        let listens = |fd: &std::ffi::OsString| {
            let fd = fd.to_str().unwrap().parse().unwrap();
            let empty = rustix::process::PidfdGetfdFlags::empty();
            let copy = rustix::process::pidfd_getfd(&pidfd, fd, empty);
            copy.is_ok_and(|copy| rustix::net::sockopt::socket_acceptconn(&copy) == Ok(true))
        };
        Ok(fds.filter(listens).count())
    }

    pub(crate) fn has_proxy(&self) -> bool {
        self.daemon.child("guard-proxy").is_some()
    }
}
