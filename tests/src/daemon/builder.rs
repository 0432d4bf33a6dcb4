//! What a daemon is started with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::Daemon;
use crate::reap::Reaper;
use crate::{Tag, fit, mounts, sys};

/// Names are looked up nowhere, unless a test says where: not even by a policy that ships.
const NO_RESOLVER: &str = "resolvers = [\"127.0.0.1:1\"]\n";

/// What to start a [`Daemon`] with.
#[derive(Debug)]
#[must_use = "nothing happens until it is started"]
pub struct DaemonBuilder {
    pub(super) tag: Tag,
    pub(super) netns: Option<PathBuf>,
    policies: Vec<(String, String)>,
    pub(super) config: Option<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) machine_id: Option<String>,
}

impl DaemonBuilder {
    pub(super) fn new(netns: Option<PathBuf>) -> Self {
        Self {
            tag: Tag::new(),
            netns,
            policies: Vec::new(),
            config: Some(NO_RESOLVER.to_owned()),
            args: Vec::new(),
            env: Vec::new(),
            machine_id: None,
        }
    }

    /// A policy that the daemon knows by name.
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Its settings, which are the defaults otherwise.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// More arguments of guardd.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// A variable of guardd's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The id of its machine, as machine-id(5) has it, where guardd alone sees it.
    pub fn machine_id(mut self, id: &str) -> Self {
        self.machine_id = Some(id.to_owned());
        self
    }

    /// Makes its directories, without starting it.
    ///
    /// # Errors
    ///
    /// That this machine is not fit, or what cannot be made.
    pub fn prepare(self) -> Result<Daemon> {
        fit()?;
        leave_terminal()?;
        mounts::bpffs()?;
        let name = self.tag.name();
        let mut daemon = Daemon {
            cgroup: mounts::cgroup2()?.join(&name),
            pins: Path::new(mounts::BPFFS).join(&name),
            dir: self.tag.dir(),
            started: None,
            programs: None,
            log: Arc::default(),
            reaper: Reaper::start()?,
            builder: self,
        };
        daemon.reaper.cgroup(&daemon.cgroup)?;
        daemon.reaper.dir(&daemon.pins)?;
        daemon.reaper.dir(&daemon.dir)?;
        let dir = daemon.policy_dir();
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (name, text) in &daemon.builder.policies {
            daemon.write_policy(name, text)?;
        }
        if let Some(text) = &daemon.builder.config {
            daemon.write_config(text)?;
        }
        if let Some(id) = &daemon.builder.machine_id {
            let file = daemon.machine_id();
            fs::write(&file, format!("{id}\n"))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(daemon)
    }

    /// Starts it, and waits until it enforces.
    ///
    /// # Errors
    ///
    /// That this machine is not fit, or that guardd does not enforce in time, with its log.
    pub fn start(self) -> Result<Daemon> {
        let mut daemon = self.prepare()?;
        daemon.start()?;
        Ok(daemon)
    }
}

/// Whoever runs the tests at a terminal gets what a workflow gets: `guard run` looks for the terminal that it is at, and a
/// test that is about one makes it.
fn leave_terminal() -> Result<()> {
    match File::open("/dev/tty") {
        Ok(tty) => sys::leave_terminal(tty).context("cannot leave the terminal"),
        Err(_) => Ok(()),
    }
}
