//! A cgroup that nothing guards.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::reap::Reaper;
use crate::{Tag, mounts};

/// Moves itself into the cgroup that it is called by, and becomes the rest of its arguments.
const ENTER: &str = r#"echo $$ >"$0/cgroup.procs" && exec "$@""#;

/// A cgroup right below the root of the hierarchy. It ends with this value, and with it what runs in it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    _reaper: Reaper,
}

impl Cgroup {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// That there is no cgroup v2, or that this is not root.
    pub fn new() -> Result<Self> {
        let path = mounts::cgroup2()?.join(Tag::new().name());
        let mut reaper = Reaper::start()?;
        reaper.cgroup(&path)?;
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self {
            path,
            _reaper: reaper,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Makes one below it, which belongs to a user, as this one then does: a tree that is delegated
    /// (Documentation/admin-guide/cgroup-v2.rst).
    ///
    /// # Errors
    ///
    /// That it cannot be made.
    pub fn delegate(&self, name: &str, uid: u32) -> Result<PathBuf> {
        let below = self.path.join(name);
        fs::create_dir(&below).with_context(|| format!("cannot make {}", below.display()))?;
        for dir in [&self.path, &below] {
            chown(dir, Some(uid), Some(uid))?;
            for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
                chown(dir.join(file), Some(uid), Some(uid))?;
            }
        }
        Ok(below)
    }

    /// The same command, started in here.
    #[must_use]
    pub fn wrap(&self, command: &Command) -> Command {
        Self::wrap_in(&self.path, command)
    }

    /// The same command, started in a cgroup.
    #[must_use]
    pub fn wrap_in(cgroup: &Path, command: &Command) -> Command {
        let mut wrapped = Command::new("sh");
        wrapped.args(["-c", ENTER]).arg(cgroup);
        wrapped
            .arg(command.get_program())
            .args(command.get_args())
            .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        wrapped
    }
}
