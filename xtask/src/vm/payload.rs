//! What machines run: packages, the program with the suites, and the lab's programs, as an archive on a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell::{read, run, target};
use crate::{build, cache, nats, package};

/// Makes the disk that machines read, with the packages that people get or those of the tests' programs, and `others` than the .deb where
/// these are wanted.
///
/// # Errors
///
/// What could not be built or written.
pub(super) fn pack(released: bool, others: bool) -> Result<PathBuf> {
    let (tree, built) = (target().join("vm-payload"), build::tested());
    cache::remove(&tree)?;
    strip(&suites()?, &tree.join("debug/deps/suites"))?;
    strip(&built.join("guard-lab"), &tree.join("bin/guard-lab"))?;
    for example in fs::read_dir(built.join("examples"))? {
        let example = example?;
        // Beside each lies the same with a hash, and what it was made from.
        if !example.file_name().to_string_lossy().contains(['-', '.']) {
            let name = Path::new("debug/examples").join(example.file_name());
            strip(&example.path(), &tree.join(name))?;
        }
    }
    let server = "usr/sbin/nats-server";
    let nats = nats::obtain("fleets are tested with it")?;
    strip(&nats.join(server), &tree.join("nats").join(server))?;
    let packages = tree.join("packages");
    fs::create_dir_all(&packages)?;
    let made = package::for_machines((!released).then_some(&built), others)?;
    // Every machine installs the first.
    fs::rename(&made[0], packages.join("guard.deb"))?;
    for package in &made[1..] {
        fs::rename(
            package,
            packages.join(package.file_name().unwrap_or_default()),
        )?;
    }
    let disk = target().join("vm-payload.tar");
    run(Command::new("tar")
        .args(["--owner=0", "--group=0", "--mode=u=rwX,go=rX", "-C"])
        .arg(&tree)
        .arg("-cf")
        .args([&disk, Path::new(".")]))?;
    cache::remove(&tree)?;
    Ok(disk)
}

/// Returns the names of all tests in the program with the suites.
///
/// # Errors
///
/// That it does not say.
pub(super) fn tests() -> Result<Vec<String>> {
    let list = read(Command::new(suites()?).args(["--list", "--format", "terse"]))?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Returns where cargo has put that program: it was built by the same words.
fn suites() -> Result<PathBuf> {
    let mut cargo = build::workspace(&["build", "--quiet", "--all-targets"]);
    let messages = read(cargo.arg("--message-format=json-render-diagnostics"))?;
    let path = messages.lines().find_map(|message| {
        let message: Value = serde_json::from_str(message).ok()?;
        let path = message["executable"]
            .as_str()
            .filter(|_| message["target"]["name"] == "suites");
        path.map(PathBuf::from)
    });
    path.context("cargo built no suites")
}

/// Copies a program without what only a debugger reads: most of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    run(Command::new("strip").arg("-o").args([to, from]))
}
