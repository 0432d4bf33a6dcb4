//! A developer's machine, an agent on it, and production with a server that people use.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use guard_lab::{AGENT, Daemon, Network, Tag, bins, eventually};
use serde_json::Value;

use crate::agent::Agent;

/// Where production is, whatever it serves.
pub(crate) const HOST: &str = "192.0.2.10";
/// The same over IPv6, as in a URL.
pub(crate) const HOST_V6: &str = "[2001:db8:7::10]";
/// Who speaks with production is told a URL by [`url`], and by nobody else.
const SCHEME: &str = "http";
/// The name of the policy, and of its rule.
pub(crate) const POLICY: &str = "clients";
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the agent runs, and a few servers.
const PROGRAMS: [(&str, &str); 10] = [
    ("asked.py", include_str!("programs/asked.py")),
    ("fetch.mjs", include_str!("programs/fetch.mjs")),
    ("gateway.py", include_str!("programs/gateway.py")),
    ("image.py", include_str!("programs/image.py")),
    ("naive.py", include_str!("programs/naive.py")),
    ("raw.py", include_str!("programs/raw.py")),
    ("extended.py", include_str!("programs/extended.py")),
    ("streams.py", include_str!("programs/streams.py")),
    ("talk.py", include_str!("programs/talk.py")),
    ("echo.py", include_str!("programs/echo.py")),
];

/// The URL of something on production.
pub(crate) fn url(port: u16, path: &str) -> String {
    url_at(HOST, port, path)
}

pub(crate) fn url_at(host: &str, port: u16, path: &str) -> String {
    format!("{SCHEME}://{host}:{port}{path}")
}

/// A policy under which production is read-only, with more lines for its rule.
fn policy(more: &str) -> String {
    format!(
        "version = 1\nname = \"{POLICY}\"\ndefault = \"allow\"\nhold = \"60s\"\n\
         [[rule]]\nname = \"{POLICY}\"\nto = [\"192.0.2.0/24\", \"2001:db8:7::/48\"]\n\
         action = \"read-only\"\nreason = \"production\"\n{more}"
    )
}

pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) network: Network,
    dir: PathBuf,
    /// Removes it.
    _kept: tempfile::TempDir,
}

impl Scene {
    /// One in which production's rule has these lines, too.
    pub(crate) fn new(rule: &str) -> Self {
        let network = Network::new().unwrap();
        let daemon = Daemon::in_network(&network)
            .policy(POLICY, &policy(rule))
            .start()
            .unwrap();
        let kept = tempfile::Builder::new()
            .prefix("guard-clients-")
            .tempdir()
            .unwrap();
        let dir = kept.path().to_owned();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&dir, mode).unwrap();
        for (name, text) in PROGRAMS {
            fs::write(dir.join(name), text).unwrap();
        }
        let scene = Self {
            daemon,
            network,
            dir,
            _kept: kept,
        };
        let home = scene.home();
        fs::create_dir(&home).unwrap();
        chown(&home, Some(AGENT), Some(AGENT)).unwrap();
        scene
    }

    /// Where servers keep what they have, and the programs of these tests are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The agent's own directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// A file in it.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.home().join(name), bytes).unwrap();
    }

    /// What one of its files has.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.home().join(name)).unwrap()
    }

    /// A command that finds the clients, wherever those were unpacked to.
    pub(crate) fn env(&self) -> [(&'static str, String); 5] {
        let clients = everybody(self.daemon.tag());
        let path = std::env::var("PATH").unwrap();
        let modules = clients.join("usr/lib/python3/dist-packages");
        [
            // The system's own python comes before others.
            (
                "PATH",
                format!("{}:/usr/bin:{path}", clients.join("usr/bin").display()),
            ),
            ("PYTHONPATH", modules.display().to_string()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("HOME", self.home().display().to_string()),
            ("PROGRAMS", self.dir.display().to_string()),
        ]
    }

    /// A session with an agent in it.
    pub(crate) fn agent(&self) -> Agent<'_> {
        Agent::guarded(self)
    }

    /// The same agent without the guard.
    pub(crate) fn unguarded(&self) -> Agent<'_> {
        Agent::unguarded(self)
    }

    /// The requests that wait for a person.
    pub(crate) fn pending(&self) -> Vec<Value> {
        let pending = self.daemon.agent(["pending"]).json().unwrap();
        pending.as_array().unwrap().clone()
    }

    /// The requests that wait, as people would name them.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.pending().iter().map(name).collect()
    }

    /// A person says yes to all that waits.
    pub(crate) fn say_yes(&self) {
        self.pending().iter().for_each(|one| self.approve(one));
    }

    /// A person says yes to a request, once its client waits for that.
    pub(crate) fn say_yes_to(&self, request: &str) {
        let mut pending = Vec::new();
        let mut held = None;
        eventually("its client waits", || {
            pending = self.pending();
            let is_it = |one: &&Value| one["held"] == true && name(one).starts_with(request);
            held = pending.iter().find(is_it).cloned();
            held.is_some()
        })
        .unwrap_or_else(|_| panic!("nobody waits with {request}, but {pending:?}"));
        self.approve(&held.unwrap());
    }

    fn approve(&self, request: &Value) {
        let id = request["id"].as_str().unwrap();
        let approve = self.daemon.agent(["approve", id]).run().unwrap();
        approve.success().unwrap();
    }

    /// A command on production.
    pub(crate) fn on_production(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.network.prod().command(program);
        command.envs(self.env()).current_dir(&self.dir);
        command
    }
}

/// A request that waits, as people would name it.
fn name(request: &Value) -> String {
    let text = |key: &str| request["http"][key].as_str().unwrap().to_owned();
    format!("{} {}", text("method"), text("path"))
}

/// The directory of the clients, by a path that the agent can go.
fn everybody(tag: &Tag) -> PathBuf {
    bins::tree_for_everybody(bins::clients().unwrap(), tag).unwrap()
}
