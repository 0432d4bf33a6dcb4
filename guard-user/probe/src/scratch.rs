//! A cgroup to try things in: outside of the guard's, and removed again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use guard_sys::cgroup2::{Hierarchy, own_path};

/// What its name begins with; the pid of its maker follows.
const PREFIX: &str = "guard-probe-";

/// The cgroup. It is removed on drop, and what a killed process has left by the next one that is made.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one below this process' own, where guardd as a service may; where that is not to be seen, at the top of the
    /// cgroup v2 hierarchy.
    ///
    /// # Errors
    ///
    /// The system's, as where this is not root, or no hierarchy is mounted.
    pub fn new() -> io::Result<Self> {
        let hierarchy = Hierarchy::find()?;
        let own = own_path().ok().and_then(|own| hierarchy.dir(&own));
        let top = hierarchy.mount().to_owned();
        let below = |dir: PathBuf| {
            sweep(&dir);
            let path = dir.join(format!("{PREFIX}{}", std::process::id()));
            fs::create_dir(&path).map(|()| Self { path })
        };
        match own.map(below) {
            Some(Ok(made)) => Ok(made),
            _ => below(top),
        }
    }

    /// Its directory, open.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Moves this process in.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn enter(&self) -> io::Result<()> {
        let procs = self.path.join("cgroup.procs");
        File::options().write(true).open(procs)?.write_all(b"0")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// Removes those whose makers are gone.
fn sweep(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let maker = name.and_then(|name| name.strip_prefix(PREFIX));
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(path);
        }
    }
}
