//! `cargo xtask build`.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell::{cargo, run, target};
use crate::{ebpf, install};

/// Builds both halves. Leaves `target/release/guard` and `target/release/guardd`, each complete in itself.
///
/// # Errors
///
/// That a tool could not be had, or that something does not compile.
pub(crate) fn build() -> Result<()> {
    prepare()?;
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "guard-user"])
        .args(["--bins", "--target-dir"])
        .arg(target()))
}

/// Sees to it that the user half compiles: it has the kernel half in it, and a parser in C.
///
/// # Errors
///
/// That a tool could not be had, or that the kernel half does not compile.
pub(crate) fn prepare() -> Result<()> {
    install::obtain_libclang()?;
    ebpf::build()
}

/// Where the programs are.
pub(crate) fn release() -> PathBuf {
    target().join("release")
}
