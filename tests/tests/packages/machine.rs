//! The machine itself: its packages, its units, its files.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use guard_lab::{Network, Tested, bins, eventually};
use serde_json::Value;
use tempfile::TempDir;

use crate::packages::POLICY;

/// Tests take turns: there is one machine.
static TURN: Mutex<()> = Mutex::new(());

/// Where administrators put policies.
const POLICIES: &str = "/etc/guard/policies";

/// The machine, for one test.
pub(crate) struct Machine {
    /// The package of the workspace's version.
    pub(crate) first: PathBuf,
    /// The same programs under a later version.
    pub(crate) next: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    /// It, as if guard had never been there.
    pub(crate) fn without_guard() -> Self {
        let machine = Self::take_turn();
        if !state().is_empty() {
            succeeds(quiet("dpkg").args(["--purge", "guard"]));
            assert_eq!(state(), "", "guard is not gone");
        }
        machine
    }

    /// It, with guard installed in either version, and a policy of the administrator's.
    pub(crate) fn with_guard() -> Self {
        let machine = Self::take_turn();
        if state() != "installed" {
            succeeds(&mut install(&machine.first));
        }
        machine.write_policy("asks", POLICY);
        machine
    }

    /// The version that is not installed.
    pub(crate) fn other(&self) -> &Path {
        if installed() == version_of(&self.first) {
            &self.next
        } else {
            &self.first
        }
    }

    fn take_turn() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            Path::new("/run/systemd/system").is_dir(),
            "systemd does not run this machine: see `cargo xtask vm`"
        );
        let (first, next) = debs();
        // An earlier test may have failed half way.
        dpkg(&["--configure", "-a"]);
        stop_everything();
        Self {
            first,
            next,
            _turn: turn,
        }
    }

    /// Puts a policy where an administrator would.
    pub(crate) fn write_policy(&self, name: &str, text: &str) {
        fs::create_dir_all(POLICIES).unwrap();
        fs::write(format!("{POLICIES}/{name}.toml"), text).unwrap();
        succeeds(quiet("systemctl").args(["reload-or-restart", "guardd"]));
    }
}

/// The packages of one kind, by name.
pub(crate) fn packages(kind: &str) -> Vec<PathBuf> {
    let dir = env::var_os("GUARD_PACKAGES").expect("GUARD_PACKAGES names no directory");
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut packages: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == kind))
        .collect();
    packages.sort();
    packages
}

/// Two versions of the package, the earlier one first.
fn debs() -> (PathBuf, PathBuf) {
    let mut debs = packages("deb");
    debs.retain(|deb| is_of("guard", deb));
    assert_eq!(debs.len(), 2, "{debs:?}");
    let order = [
        "--compare-versions",
        &version_of(&debs[0]),
        "lt",
        &version_of(&debs[1]),
    ];
    if !Command::new("dpkg").args(order).status().unwrap().success() {
        debs.reverse();
    }
    let next = debs.pop().unwrap();
    (debs.pop().unwrap(), next)
}

/// The package of that name.
pub(crate) fn package(name: &str) -> PathBuf {
    let mut all = packages("deb").into_iter();
    all.find(|deb| is_of(name, deb)).unwrap()
}

/// A directory with the package under the name that a release gives it.
pub(crate) fn release(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let deb = package(name);
    let file = format!("{name}_{}_amd64.deb", version_of(&deb));
    symlink(deb, dir.path().join(file)).unwrap();
    dir
}

fn is_of(name: &str, deb: &Path) -> bool {
    // `guard.deb` for people who type it, `guard_0.3.0_amd64.deb` for others.
    let file = deb.file_name().unwrap_or_default().to_string_lossy();
    file.split(['_', '.']).next() == Some(name)
}

/// The version of a package that lies in a file.
pub(crate) fn version_of(deb: &Path) -> String {
    let mut dpkg = Command::new("dpkg-deb");
    succeeds(dpkg.arg("--field").arg(deb).arg("Version"))
        .trim()
        .to_owned()
}

/// Installs a package as people do who have a file, and keeps settings that were edited.
pub(crate) fn install(deb: &Path) -> Command {
    let mut dpkg = quiet("dpkg");
    dpkg.args(["--force-confold", "--install"]).arg(deb);
    dpkg
}

/// A program that asks nobody anything.
pub(crate) fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Runs dpkg, however that ends.
pub(crate) fn dpkg(args: &[&str]) -> Output {
    quiet("dpkg").args(args).output().unwrap()
}

/// What dpkg holds of the package: `installed`, `config-files`, …; nothing where it knows of none.
pub(crate) fn state() -> String {
    let output = quiet("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", "guard"])
        .output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

/// The version that is installed.
pub(crate) fn installed() -> String {
    succeeds(quiet("dpkg-query").args(["--show", "--showformat=${Version}", "guard"]))
}

/// Runs a command that is to succeed, and gives what it prints.
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that a command said.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// What `guard` prints as JSON, asked by root.
pub(crate) fn guard(args: &[&str]) -> Value {
    let printed = succeeds(quiet("guard").args(args).arg("--json"));
    serde_json::from_str(&printed).unwrap()
}

/// A property of a unit.
pub(crate) fn property(unit: &str, name: &str) -> String {
    let mut systemctl = quiet("systemctl");
    succeeds(systemctl.args(["show", "--value", "--property", name, unit]))
        .trim()
        .to_owned()
}

/// Ends all that guard guards.
pub(crate) fn stop_everything() {
    // Where there is no such cgroup, nothing is in it.
    let _ = fs::write("/sys/fs/cgroup/guard.slice/cgroup.kill", "1");
    eventually("nothing lives in the slice", || {
        let events = fs::read_to_string("/sys/fs/cgroup/guard.slice/cgroup.events");
        !events.is_ok_and(|events| events.contains("populated 1"))
    })
    .unwrap();
}

/// A unit in the slice, which no session owns, that tries to reach something on the developer's machine.
pub(crate) fn unit_that_tries(network: &Network, to: &str) -> Tested<Output> {
    let probe = bins::for_everybody("guard-lab", network.tag())?;
    let netns = format!("NetworkNamespacePath={}", network.dev().path().display());
    let mut run = quiet("systemd-run");
    run.args([
        "--quiet",
        "--wait",
        "--collect",
        "--slice=guard.slice",
        "--property",
        &netns,
    ]);
    Ok(run.arg(probe).args(["probe", "tcp", to, "443"]).output()?)
}

/// All files of the machine that outlive a process, but for what apt, dpkg, systemd and the tests keep for themselves.
pub(crate) fn files() -> BTreeSet<String> {
    const OTHERS: [&str; 15] = [
        "/proc",
        "/sys",
        "/dev",
        "/tmp",
        "/payload",
        "/var/cache/apt",
        "/var/cache/debconf",
        "/var/lib/apt",
        "/var/lib/dpkg",
        "/var/lib/rpm",
        "/var/log/apt",
        "/var/log/dpkg.log",
        "/run/systemd",
        // It goes on in a new file when it likes.
        "/run/log/journal",
        "/var/log/journal",
    ];
    let mut files = BTreeSet::new();
    let mut dirs = vec![PathBuf::from("/")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.display().to_string();
            if OTHERS.contains(&&*name) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path);
            }
            files.insert(name);
        }
    }
    files
}

/// Whether that is a directory that other packages have on a fuller machine.
pub(crate) fn is_shared(file: &str) -> bool {
    Path::new(file).is_dir() && !file.contains("guard")
}
