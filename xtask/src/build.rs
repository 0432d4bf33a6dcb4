//! `cargo xtask build`.

use std::path::PathBuf;

use anyhow::Result;

use crate::ebpf;
use crate::shell::{cargo, run, target};

/// Builds both halves. Leaves `target/release/guard` and `target/release/guardd`, each complete in itself.
///
/// # Errors
///
/// That a tool could not be had, or that something does not compile.
pub(crate) fn build() -> Result<()> {
    ebpf::build()?;
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "guard-user"])
        .args(["--bins", "--target-dir"])
        .arg(target()))
}

/// Where the programs are.
pub(crate) fn release() -> PathBuf {
    target().join("release")
}
