//! What the machines are to run: the package, the program with the suites, and the lab's programs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::disk::Disk;
use super::suites::Suite;
use crate::cache;
use crate::package::{self, ForMachines};
use crate::shell::{read, run, target};
use crate::{build, dependencies, nats, shell};

/// Where it lies in the machines. The tests look for examples where cargo puts them, beside `deps`.
pub(super) const TESTS: &str = "/payload/debug/deps/suites";
/// The package, and its next version, for the tests that upgrade; for those of packages the other kinds.
pub(super) const PACKAGES: &str = "/payload/packages";
/// The program that measures.
pub(super) const BENCH: &str = "guard-bench";
/// The suites that install packages, and their tests that want other kinds than the .deb.
const OF_PACKAGES: [&str; 2] = ["documents", "packages"];
const OF_OTHER_KINDS: [&str; 2] = ["packages::rpm::", "packages::tarball::"];
/// The tests that want a server of NATS, and where it lies below its directory, in the machines and here.
const OF_NATS: &str = "packages::fleet::a_clock";
const NATS_SERVER: &str = "usr/sbin/nats-server";
/// That directory in the machines.
pub(super) const NATS: &str = "/payload/nats";
/// Every payload is a disk of this size: a saved machine knows its disk.
pub(super) const DISK: u64 = 640 << 20;

/// Everything, as a disk that machines read.
pub(super) struct Payload {
    disk: Disk,
}

/// The program with the suites, once it is built.
pub(super) struct TestsProgram {
    suites: PathBuf,
    /// The names of all tests in it.
    names: Vec<String>,
}

/// Which programs are in the packages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Programs {
    /// Those that developers have at hand: the package is made in a moment.
    Developers,
    /// Those that people get, in the package that they get.
    Released,
}

impl TestsProgram {
    /// Builds it, and what its tests start.
    pub(super) fn build() -> Result<Self> {
        let _ = dependencies::restore()?;
        build::prepare()?;
        build::build_tests()?;
        Self::built()
    }

    /// Of what is built.
    pub(super) fn built() -> Result<Self> {
        let suites = program()?;
        let list = read(Command::new(&suites).args(["--list", "--format", "terse"]))?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let names = names.map(str::to_owned).collect();
        Ok(Self { suites, names })
    }

    /// Where it is.
    pub(super) fn into_path(self) -> PathBuf {
        self.suites
    }

    /// The names of the tests in a suite.
    pub(super) fn tests_in(&self, suite: &str) -> impl Iterator<Item = &str> {
        let in_it = move |name: &&String| name.split("::").next() == Some(suite);
        self.names.iter().filter(in_it).map(String::as_str)
    }

    /// The names of those that are to run.
    pub(super) fn wanted(&self, suite: &Suite) -> Vec<String> {
        let tests = self.tests_in(&suite.name).filter(|test| suite.has(test));
        tests.map(str::to_owned).collect()
    }

    /// What tells these programs from those of another build.
    pub(super) fn key(&self) -> Result<String> {
        let mut sums = Command::new("sha256sum");
        sums.arg(&self.suites);
        for program in [
            "guard",
            "guardd",
            "guard-proxy",
            "guard-resolver",
            "guard-console",
            "guard-fleet",
            "guard-lab",
        ] {
            sums.arg(build::tested().join(program));
        }
        for example in examples()? {
            sums.arg(example);
        }
        cache::key(&[read(&mut sums)?])
    }

    /// Makes the disk for some suites, which is unpacked into a machine's memory.
    pub(super) fn pack(&self, suites: &[Suite], programs: Programs) -> Result<Payload> {
        let tests: Vec<_> = suites.iter().flat_map(|suite| self.wanted(suite)).collect();
        let is_other = |test: &String| OF_OTHER_KINDS.iter().any(|kind| test.starts_with(kind));
        let which = match suites
            .iter()
            .any(|suite| OF_PACKAGES.contains(&&*suite.name))
        {
            _ if tests.iter().any(is_other) => ForMachines::All,
            true => ForMachines::Upgrade,
            false => ForMachines::Deb,
        };
        let wants_nats = tests.iter().any(|test| test.starts_with(OF_NATS));
        pack(which, programs, |tree| {
            if wants_nats {
                let server = nats::obtain("fleets are tested with it")?.join(NATS_SERVER);
                strip(&server, &tree.join("nats").join(NATS_SERVER))?;
            }
            strip(&self.suites, &tree.join("debug/deps/suites"))?;
            for example in examples()? {
                let name = example.file_name().unwrap_or_default();
                strip(&example, &tree.join("debug/examples").join(name))?;
            }
            Ok(())
        })
    }
}

impl Payload {
    /// Guard itself and the lab; and what measures it, where that is wanted.
    pub(super) fn without_tests(programs: Programs, measures: bool) -> Result<Self> {
        pack(ForMachines::Deb, programs, |tree| {
            if measures {
                strip(&build::tested().join(BENCH), &tree.join("bin").join(BENCH))
            } else {
                Ok(())
            }
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.disk.path()
    }
}

/// Where cargo has put the program with the suites.
fn program() -> Result<PathBuf> {
    // It was built by these words, or with what measures as well, which changes no features: nothing is compiled here.
    let mut cargo = build::workspace(&["build", "--quiet"]);
    cargo
        .args(["--exclude", "guard-bench", "--all-targets"])
        .arg("--message-format=json-render-diagnostics");
    for message in read(&mut cargo)?.lines() {
        let message: Value = serde_json::from_str(message)?;
        if message["target"]["name"] == "suites"
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no suites")
}

/// What the tests start beside the lab.
fn examples() -> Result<Vec<PathBuf>> {
    let dir = build::tested().join("examples");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut examples = Vec::new();
    for example in entries {
        let example = example?;
        // Beside each lies the same with a hash, and what it was made from.
        if !example.file_name().to_string_lossy().contains(['-', '.']) {
            examples.push(example.path());
        }
    }
    examples.sort();
    Ok(examples)
}

/// Makes the disk with packages, the lab and what `more` adds to a tree.
fn pack(
    which: ForMachines,
    programs: Programs,
    more: impl FnOnce(&Path) -> Result<()>,
) -> Result<Payload> {
    // In this clone, where the next run removes what a killed one has left.
    let tree = target().join("vm-payload");
    let _lock = alone(&tree)?;
    cache::remove(&tree)?;
    let disk = Disk::new(0)?;
    let packed = more(&tree)
        .and_then(|()| {
            strip(
                &build::tested().join("guard-lab"),
                &tree.join("bin/guard-lab"),
            )
        })
        .and_then(|()| pack_packages(which, programs, &tree.join("packages")))
        .and_then(|()| {
            run(Command::new("tar")
                .args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX", "-c", "-C"])
                .arg(&tree)
                .arg(".")
                .stdout(Stdio::from(disk.file()?)))
        });
    cache::remove(&tree)?;
    packed?;
    let file = disk.file()?;
    let length = file.metadata()?.size();
    ensure!(
        length <= DISK,
        "the tests take {} MiB, and machines have room for {}",
        length >> 20,
        DISK >> 20
    );
    file.set_len(DISK)?;
    Ok(Payload { disk })
}

/// Lets nobody else in this clone make packages for machines, until it is dropped.
fn alone(tree: &Path) -> Result<File> {
    fs::create_dir_all(target())?;
    cache::lock_file(
        &tree.with_extension("lock"),
        "waiting for another run in this clone, which makes packages for its machines",
    )
}

fn pack_packages(which: ForMachines, programs: Programs, into: &Path) -> Result<()> {
    let at_hand = (programs == Programs::Developers).then(build::tested);
    let made = package::for_machines(at_hand.as_deref(), which)?;
    fs::create_dir_all(into)?;
    for (at, package) in made.iter().enumerate() {
        let name = match at {
            // Every machine installs the first.
            0 => Some(OsStr::new("guard.deb")),
            _ => package.file_name(),
        };
        // They lie on the same file system, and are as large as the rest together.
        fs::rename(package, into.join(name.unwrap_or_default()))?;
    }
    Ok(())
}

/// Copies a program without what only a debugger reads: most of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    shell::run(Command::new("strip").arg("-o").args([to, from]))
}
