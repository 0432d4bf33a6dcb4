//! What the machines are to run: the package, the test binaries, and the lab's programs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::suites::Suite;
use crate::shell::{cargo, read, run, target};
use crate::{build, package};

/// Where it lies in the machines. The tests look for examples where cargo puts them, beside `deps`.
pub(super) const TESTS: &str = "/payload/debug/deps";
/// The package, and its next version, for the tests that upgrade; for those of packages the other kinds.
pub(super) const PACKAGES: &str = "/payload/packages";
/// The programs of the version before, where a suite wants them.
pub(super) const BEFORE: &str = "/payload/before";
/// The suite that tests packages of every kind.
const ALL_KINDS: &str = "packages";
/// Every payload is a disk of this size: a saved machine knows its disk.
pub(super) const DISK: u64 = 640 << 20;

/// Everything, as a disk that machines read.
pub(super) struct Payload {
    _dir: tempfile::TempDir,
    pub(super) disk: PathBuf,
}

/// A program that cargo has built.
struct Built {
    name: String,
    is_test: bool,
    path: PathBuf,
}

/// The names of the test binaries, once they are built.
pub(super) struct Tests(Vec<Built>);

impl Tests {
    /// Builds them, and what they start.
    pub(super) fn build() -> Result<Self> {
        build::build()?;
        run(cargo()
            .args(["build", "--release", "--locked", "--package", "guard-lab"])
            .args(["--bins", "--target-dir"])
            .arg(target()))?;
        // With all that `cargo xtask test` builds beside them, so that what they depend on is built once.
        let messages = read_json(
            cargo()
                .args(["test", "--no-run", "--locked", "--workspace"])
                .args(["--exclude", "guard-ebpf", "--features", "guard-lab/systemd"])
                .args([
                    "--message-format",
                    "json-render-diagnostics",
                    "--target-dir",
                ])
                .arg(target()),
        )?;
        let built: Vec<_> = messages.iter().filter_map(built).collect();
        ensure!(
            built.iter().any(|built| built.is_test),
            "cargo built no test binary"
        );
        Ok(Self(built))
    }

    pub(super) fn suites(&self) -> impl Iterator<Item = &str> {
        let tests = self.0.iter().filter(|built| built.is_test);
        tests.map(|built| built.name.as_str())
    }

    /// The names of the tests in a suite.
    pub(super) fn tests_in(&self, suite: &str) -> Result<Vec<String>> {
        let built = self.0.iter().find(|b| b.is_test && b.name == suite);
        let path = &built.context("there is no such suite")?.path;
        let list = read(Command::new(path).args(["--list", "--format", "terse"]))?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Makes the disk for some suites, which is unpacked into a machine's memory: no others are on it. `quickly`: with the
    /// programs that developers have at hand in the packages. `before`: where the programs of the version before are, if
    /// they are wanted.
    pub(super) fn pack(
        &self,
        suites: &[Suite],
        quickly: bool,
        before: Option<&Path>,
    ) -> Result<Payload> {
        let dir = tempfile::tempdir()?;
        let tree = dir.path().join("tree");
        let wanted =
            |built: &&Built| !built.is_test || suites.iter().any(|suite| suite.name == built.name);
        for built in self.0.iter().filter(wanted) {
            let place = if built.is_test {
                "debug/deps"
            } else {
                "debug/examples"
            };
            strip(&built.path, &tree.join(place).join(&built.name))?;
        }
        strip(
            &build::release().join("guard-lab"),
            &tree.join("bin/guard-lab"),
        )?;
        if let Some(before) = before {
            for program in ["guard", "guardd"] {
                strip(&before.join(program), &tree.join("before").join(program))?;
            }
        }
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
    let programs = quickly.then(build::release);
    let made = package::for_machines(programs.as_deref(), all)?;
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

fn built(message: &Value) -> Option<Built> {
    let path = message["executable"].as_str()?;
    let of = message["package_id"].as_str()?;
    of.contains("guard-lab@").then_some(())?;
    let is_test = message["profile"]["test"].as_bool()?;
    let kind = message["target"]["kind"][0].as_str()?;
    // The lab's own programs come as they are released.
    let wanted = is_test || kind == "example";
    wanted.then_some(())?;
    Some(Built {
        name: message["target"]["name"].as_str()?.replace('-', "_"),
        is_test,
        path: path.into(),
    })
}

/// Runs cargo, whose messages go to the terminal but for those that are for programs.
fn read_json(cargo: &mut Command) -> Result<Vec<Value>> {
    let output = cargo.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the tests do not compile");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| line.starts_with(b"{"));
    lines
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}

/// Copies a program without what only a debugger reads: most of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    run(Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .args([to, from]))
}
