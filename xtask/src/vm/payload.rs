//! What the machines are to run: the package, the program with the suites, and the lab's programs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::suites::Suite;
use crate::build;
use crate::package::{self, ForMachines};
use crate::shell::{read, run};

/// Where it lies in the machines. The tests look for examples where cargo puts them, beside `deps`.
pub(super) const TESTS: &str = "/payload/debug/deps/suites";
/// The package, and its next version, for the tests that upgrade; for those of packages the other kinds.
pub(super) const PACKAGES: &str = "/payload/packages";
/// The suite that tests packages of every kind.
const ALL_KINDS: &str = "packages";
/// Every payload is a disk of this size: a saved machine knows its disk.
pub(super) const DISK: u64 = 640 << 20;

/// Everything, as a disk that machines read.
pub(super) struct Payload {
    _dir: tempfile::TempDir,
    pub(super) disk: PathBuf,
}

/// The program with the suites, once it is built.
pub(super) struct Tests {
    suites: PathBuf,
    /// The names of all tests in it.
    names: Vec<String>,
}

impl Tests {
    /// Builds it, and what its tests start.
    pub(super) fn build() -> Result<Self> {
        build::prepare()?;
        build::build_tests()?;
        Self::built()
    }

    /// Of what is built.
    pub(super) fn built() -> Result<Self> {
        let list = read(build::workspace(&["nextest", "list"]).args([
            "--list-type",
            "binaries-only",
            "--message-format",
            "json",
        ]))?;
        let list: Value = serde_json::from_str(&list)?;
        let path = list["rust-binaries"]["guard-lab::suites"]["binary-path"].as_str();
        let suites = PathBuf::from(path.context("cargo built no suites")?);
        let list = read(Command::new(&suites).args(["--list", "--format", "terse"]))?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let names = names.map(str::to_owned).collect();
        Ok(Self { suites, names })
    }

    /// The names of the tests in a suite.
    pub(super) fn tests_in(&self, suite: &str) -> impl Iterator<Item = &str> {
        let in_it = move |name: &&String| name.split("::").next() == Some(suite);
        self.names.iter().filter(in_it).map(String::as_str)
    }

    /// Makes the disk for some suites, which is unpacked into a machine's memory. `quickly`: with the programs that
    /// developers have at hand in the packages.
    pub(super) fn pack(&self, suites: &[Suite], quickly: bool) -> Result<Payload> {
        let dir = tempfile::tempdir()?;
        let tree = dir.path().join("tree");
        strip(&self.suites, &tree.join("debug/deps/suites"))?;
        for example in fs::read_dir(build::tested().join("examples"))? {
            let example = example?;
            let name = example.file_name();
            // Beside each lies the same with a hash, and what it was made from.
            if !name.to_string_lossy().contains(['-', '.']) {
                strip(&example.path(), &tree.join("debug/examples").join(name))?;
            }
        }
        strip(
            &build::tested().join("guard-lab"),
            &tree.join("bin/guard-lab"),
        )?;
        pack_packages(suites, quickly, &tree.join("packages"))?;
        let disk = dir.path().join("disk");
        run(Command::new("tar")
            .args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX", "-cf"])
            .arg(&disk)
            .arg("-C")
            .arg(&tree)
            .arg("."))?;
        let length = fs::metadata(&disk)?.len();
        ensure!(
            length <= DISK,
            "the tests take {} MiB, and machines have room for {}",
            length >> 20,
            DISK >> 20
        );
        File::options().write(true).open(&disk)?.set_len(DISK)?;
        fs::remove_dir_all(&tree)?;
        Ok(Payload { _dir: dir, disk })
    }
}

fn pack_packages(suites: &[Suite], quickly: bool, into: &Path) -> Result<()> {
    let all = suites.iter().any(|suite| suite.name == ALL_KINDS);
    let programs = quickly.then(build::tested);
    let which = match all {
        true => ForMachines::All,
        false => ForMachines::Upgrade,
    };
    let made = package::for_machines(programs.as_deref(), which)?;
    fs::create_dir(into)?;
    for (at, package) in made.iter().enumerate() {
        let name = match at {
            // Every machine installs the first.
            0 => Some(OsStr::new("guard.deb")),
            _ => package.file_name(),
        };
        fs::copy(package, into.join(name.unwrap_or_default()))?;
    }
    Ok(())
}

/// Copies a program without what only a debugger reads: most of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    run(Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .args([to, from]))
}
