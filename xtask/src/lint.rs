//! `cargo xtask lint`.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell::{cargo, run, target};
use crate::{ebpf, toolchain};

/// Installed where there is none; a later one may want a later compiler.
const DENY_VERSION: &str = "0.20.2";

/// Checks format, lints, and what the dependencies may be.
///
/// # Errors
///
/// What is not as it should be.
pub(crate) fn lint() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")?;
    // The user half embeds the kernel half, and cannot be looked at without.
    ebpf::build()?;
    clippy_host()?;
    clippy_ebpf()?;
    deny()
}

fn clippy_host() -> Result<()> {
    run(cargo()
        .args([
            "clippy",
            "--locked",
            "--workspace",
            "--exclude",
            "guard-ebpf",
        ])
        .args(["--all-targets", "--target-dir"])
        .arg(target())
        .args(["--", "--deny", "warnings"]))
}

/// Lints the kernel half as if it were for this machine, for clippy must be of the compiler that built
/// core, and the one that has core for BPF may come without clippy.
fn clippy_ebpf() -> Result<()> {
    run(cargo()
        .args([
            "clippy",
            "--locked",
            "--package",
            "guard-ebpf",
            "--target-dir",
        ])
        .arg(target().join("bpf"))
        .args(["--", "--deny", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Cpanic=abort"))
}

fn deny() -> Result<()> {
    let path = toolchain::path_with_tools()?;
    let version = Command::new("cargo-deny")
        .arg("--version")
        .env("PATH", &path)
        .output();
    if version.is_err() {
        let why = "it checks licences and sources of the dependencies";
        toolchain::cargo_install("cargo-deny", DENY_VERSION, why)?;
    }
    let checks = ["bans", "licenses", "sources"];
    run(cargo()
        .args(["deny", "--locked", "check", "--hide-inclusion-graph"])
        .args(checks)
        .env("PATH", path))
}
