//! `guard` and `guardd` of the version before, built once from its commit: tests upgrade from them, and go back.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use guard_lab::bins::{BEFORE, BEFORE_DIR};

use crate::build;
use crate::shell::{cargo, read, root, run, say};

const VERSION: &str = "0.1.0";
const COMMIT: &str = "bfaacf7e963f9629d5de3eb70ffbfac53b96e50c";
/// Its kernel half, as it was released: a build of today's compiler would be another.
const KERNEL_HALF: &str = "tests/fixtures/0.1.0/guard-ebpf.o";

/// The directory in which they are; where `GUARD_BEFORE` names one, that.
///
/// # Errors
///
/// That the commit is not in this clone, or that it does not compile.
pub(crate) fn build() -> Result<PathBuf> {
    if let Some(dir) = env::var_os(BEFORE) {
        return Ok(dir.into());
    }
    let dir = build::release().join(BEFORE_DIR);
    let stamp = dir.join("commit");
    if fs::read(&stamp).is_ok_and(|commit| commit == COMMIT.as_bytes()) {
        return Ok(dir);
    }
    say(&format!(
        "building guard and guardd of {VERSION}, once: tests upgrade from them, and go back"
    ));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // Two runs may do so at a time.
    let work = tempfile::tempdir_in(&dir)?;
    unpack(work.path())?;
    let built = work.path().join("target");
    run(cargo()
        .current_dir(work.path())
        .args(["build", "--release", "--locked", "--package", "guard-user"])
        .args(["--bins", "--target-dir"])
        .arg(&built)
        // Nobody measures them, and they are built in half the time.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("GUARD_EBPF_OBJECT", root().join(KERNEL_HALF)))?;
    for program in ["guard", "guardd"] {
        let to = dir.join(program);
        fs::rename(built.join("release").join(program), &to)
            .with_context(|| format!("cannot move to {}", to.display()))?;
    }
    fs::write(&stamp, COMMIT).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(dir)
}

/// Puts its sources into a directory.
fn unpack(dir: &Path) -> Result<()> {
    let archive = dir.join("sources.tar");
    let has_it = read(git(&["cat-file", "-e"]).arg(format!("{COMMIT}^{{tree}}"))).is_ok();
    if !has_it {
        // Where this fails, what comes next says what to do.
        let _ = read(&mut git(&[
            "fetch",
            "--quiet",
            "--depth=1",
            "origin",
            COMMIT,
        ]));
    }
    read(
        git(&["archive", "--format=tar", COMMIT, "--output"]).arg(&archive),
    )
    .with_context(|| {
        format!(
            "this clone lacks commit {COMMIT}, which is {VERSION}: run `git fetch --unshallow`, or set {BEFORE} to a \
             directory with guard and guardd of {VERSION}"
        )
    })?;
    run(Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(dir))
}

fn git(args: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.current_dir(root()).args(args);
    git
}
