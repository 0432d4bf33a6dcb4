//! Where a command is launched: a directory, a cgroup, and the probe.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use guard_lab::{Cgroup, Tested};
use guard_sys::cgroup2::Hierarchy;

/// As whom things run in here: somebody that every machine has.
pub(crate) const USER: &str = "nobody";
pub(crate) const UID: &str = "65534";

/// A directory that [`USER`] may use, with the probe in it, as the build directory may be closed to
/// others; and a cgroup that stands for a session's.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    cgroup: PathBuf,
}

/// `cargo test` builds examples beside the tests: `target/PROFILE/examples`.
fn built_example(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("no directory")?;
    Ok(profile.join("examples").join(name))
}

impl Bench {
    pub(crate) fn new() -> Tested<Self> {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root: run it through `cargo xtask test`"
        );
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("guard-test-launch-{}-{next}", std::process::id());
        let cgroup = Hierarchy::find()?.mount().join(name);
        fs::create_dir(&cgroup)?;
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777))?;
        let bench = Self { dir, cgroup };
        // Copied by another process: a descriptor of ours that writes to the copy might be inherited
        // by what another test starts, and then the copy could not be executed.
        let probe = [built_example("launch_probe")?, bench.path("probe")];
        let copy = Command::new("cp").args(probe).status();
        assert!(copy?.success());
        Ok(bench)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program in the directory and the cgroup of this bench; the arguments are still to be given.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Cgroup::wrap_in(&self.cgroup, &Command::new(program));
        command.current_dir(self.dir()).env("RUST_BACKTRACE", "0");
        command
    }

    /// `probe run` with these options; the command is still to be given.
    pub(crate) fn run(&self, options: &[&str]) -> Command {
        let mut command = self.command("./probe");
        command.arg("run").args(options).arg("--");
        command
    }

    /// Runs a shell script as [`USER`], contained.
    pub(crate) fn script(&self, script: &str) -> Result<Output> {
        let mut run = self.run(&["--user", USER]);
        guard_lab::exec::output(run.args(["sh", "-c", script]))
    }

    /// The process in it that runs a program of that name, once there is one.
    pub(crate) fn process(&self, name: &str) -> Result<String> {
        let mut found = None;
        let is_it = |pid: &&str| content(format!("/proc/{pid}/comm").as_ref()).trim() == name;
        wait_until(name, || {
            let all = content(&self.cgroup.join("cgroup.procs"));
            found = all.lines().find(is_it).map(str::to_owned);
            found.is_some()
        });
        found.context("no process")
    }

    pub(crate) fn status(&self, options: &[&str], command: &[&str]) -> Result<i32> {
        let mut run = self.run(options);
        run.args(command).stderr(Stdio::null());
        run.status()?.code().context("a signal ended it")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Kills what a failed test has left, and waits for the last to be gone.
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let removed = guard_lab::eventually("its cgroup is empty", || {
            fs::remove_dir(&self.cgroup).is_ok()
        });
        if let Err(error) = removed {
            eprintln!("{error}: {} is left", self.cgroup.display());
        }
    }
}

pub(crate) fn text(output: &Output) -> Tested<String> {
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout.clone())?)
}

/// Waits until `done`, which must come.
pub(crate) fn wait_until(what: &str, done: impl FnMut() -> bool) {
    guard_lab::eventually(what, done).unwrap();
}

pub(crate) fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
