//! Obtaining what is missing, having said what and why.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{cargo, is_root, run, say, target, which};

/// Installs packages of Debian or Ubuntu, having said which and why.
///
/// # Errors
///
/// That this is another system, that this is not root, or that apt failed.
pub(crate) fn apt_install(packages: &[&str], why: &str) -> Result<()> {
    let list = packages.join(" ");
    if which("apt-get").is_none() {
        bail!("install {list} ({why}) with your system's package manager");
    }
    if !is_root() {
        bail!("run `sudo apt-get install {list}` ({why})");
    }
    say(&format!("installing {list} with apt: {why}"));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        apt
    };
    run(apt().arg("update"))?;
    run(apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
}

/// Builds a tool into `target/tools`, where nothing of the user's is in the way, having said so.
///
/// # Errors
///
/// That cargo failed.
pub(crate) fn cargo_install(tool: &str, version: &str, why: &str) -> Result<()> {
    say(&format!(
        "installing {tool} {version} into {} with cargo: {why}",
        tools().display()
    ));
    run(cargo()
        .args(["install", "--locked", tool, "--version", version, "--root"])
        .arg(tools())
        .env("PATH", path_with_tools()?))
}

fn tools() -> PathBuf {
    target().join("tools")
}

/// PATH, after the tools that were built here.
///
/// # Errors
///
/// That the path of this workspace contains a colon.
pub(crate) fn path_with_tools() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [tools().join("bin")]
        .into_iter()
        .chain(env::split_paths(&path));
    Ok(env::join_paths(dirs)?)
}
