//! A cgroup below the guard's root that no session owns.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::wait::eventually;
use crate::{Attempt, Daemon, Report, bins};

/// The cgroup. It is removed on drop.
#[derive(Debug)]
pub struct Unowned {
    cgroup: PathBuf,
    netns: Vec<String>,
    probe: PathBuf,
}

impl Unowned {
    /// Makes it under a daemon's root.
    ///
    /// # Errors
    ///
    /// That it cannot be made.
    pub fn new(daemon: &Daemon) -> Result<Self> {
        Self::named(daemon, "unowned")
    }

    /// Makes one of that name, as a service manager does for a unit.
    ///
    /// # Errors
    ///
    /// That it cannot be made.
    pub fn named(daemon: &Daemon, name: &str) -> Result<Self> {
        let cgroup = daemon.cgroup_root().join(name);
        fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        let shell = daemon.on_machine(0, "sh");
        let words = std::iter::once(shell.get_program()).chain(shell.get_args());
        Ok(Self {
            netns: words
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            probe: bins::for_everybody("guard-lab", daemon.tag())?,
            cgroup,
        })
    }

    /// Makes an attempt from inside it, as root.
    ///
    /// # Errors
    ///
    /// That it could not even be tried.
    pub fn attempt(&self, attempt: &Attempt) -> Result<Report> {
        Report::of(self.command().arg(&self.probe).args(attempt.args()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.cgroup
    }

    /// A command that runs in it, as root: what it is called with.
    #[must_use]
    pub fn command(&self) -> Command {
        let procs = self.cgroup.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec \"$@\"", procs.display());
        let [program, args @ ..] = &self.netns[..] else {
            unreachable!("a command has a program")
        };
        let mut command = Command::new(program);
        command.args(args).args(["-c", &script, "sh"]);
        command
    }
}

impl Drop for Unowned {
    fn drop(&mut self) {
        // As a service manager does: what was killed has ended before the cgroup goes. A process that
        // is waited for may leave others that are still about to end, and a cgroup with these stays.
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let events = self.cgroup.join("cgroup.events");
        let _ = eventually("empty", || {
            fs::read_to_string(&events).map_or(true, |events| events.contains("populated 0"))
        });
        // The reaper removes what is left.
        let _ = fs::remove_dir(&self.cgroup);
    }
}
