//! `cargo xtask build`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::shell::{cargo, run, target};
use crate::{ebpf, install, room, shared};

/// The programs of the package `guard`. Each is of the crate of that name.
pub(crate) const PROGRAMS: [&str; 4] = ["guard", "guardd", "guard-proxy", "guard-resolver"];

/// The programs that have packages of their own.
pub(crate) const APART: [&str; 2] = ["guard-console", "guard-fleet"];

/// Builds both halves. Leaves the programs in `target/release`.
///
/// # Errors
///
/// That a tool could not be had, or that something does not compile.
pub fn build() -> Result<()> {
    prepare()?;
    // A build for each group: the features of one group change nothing in another.
    for names in [&PROGRAMS[..], &APART[..1], &APART[1..]] {
        run(programs(names)
            .args(["--release", "--target-dir"])
            .arg(target()))?;
    }
    Ok(())
}

/// Returns a cargo that builds programs.
pub(crate) fn programs(names: &[&str]) -> Command {
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--bins"]);
    cargo.args(names.iter().flat_map(|name| ["--package", name]));
    cargo
}

/// Sees to it that the user half compiles: it has the kernel half in it, and a parser in C.
///
/// # Errors
///
/// That a disk has no room, that a tool could not be had, or that the kernel half does not compile.
pub fn prepare() -> Result<()> {
    begin()?;
    install::obtain_libclang()?;
    ebpf::build()
}

/// Sees to it that there is room to compile, and that a new clone begins with what others have compiled.
///
/// # Errors
///
/// That a disk has no room, or that nothing can be written.
pub(crate) fn begin() -> Result<()> {
    room::for_build()?;
    shared::begin()
}

/// A cargo that does `verb` to the programs, the tests and the lab, all with the same features and in the same profile:
/// what they depend on is compiled once.
pub(crate) fn workspace(verb: &[&str]) -> Command {
    let mut cargo = cargo();
    cargo
        .args(verb)
        .args(["--locked", "--workspace", "--exclude", "guard-ebpf"])
        .arg("--target-dir")
        .arg(target());
    cargo
}

/// Builds all that `cargo xtask test` runs, and that machines do.
///
/// # Errors
///
/// That something does not compile.
pub(crate) fn build_tests() -> Result<()> {
    run(workspace(&["build"]).arg("--all-targets"))
}

/// Where the programs are that [`build_tests`] builds.
pub fn tested() -> PathBuf {
    target().join("debug")
}

/// Where the programs are that [`build`] builds.
pub fn release() -> PathBuf {
    target().join("release")
}
