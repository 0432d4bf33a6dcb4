//! The package for Debian and Ubuntu.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{EPOCH, out, stage::Tree, version};
use crate::install;
use crate::shell::{cargo, run};

const TOOL: &str = "cargo-deb";
const TOOL_VERSION: &str = "3.8.0";

/// Makes it of the tree, and says where it is.
///
/// # Errors
///
/// That cargo-deb could not be had, or what it says.
pub(super) fn make(tree: &Tree, version: Option<&str>, epoch: &str) -> Result<PathBuf> {
    install::obtain(TOOL, TOOL_VERSION, "it makes the .deb")?;
    let version = version.unwrap_or(self::version());
    let deb = out().join(format!("guard_{version}_amd64.deb"));
    run(cargo()
        .args(["deb", "--quiet", "--locked", "--no-build", "--no-strip"])
        .args([
            "--package",
            "guard-user",
            "--deb-version",
            version,
            "--output",
        ])
        .arg(&deb)
        .env("PATH", install::path_with_tools()?)
        .env(EPOCH, epoch))
    .with_context(|| format!("of the files in {}", tree.root().display()))?;
    Ok(deb)
}
