//! The package for Debian and Ubuntu.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::stage::{DOC, Tree};
use super::{EPOCH, version};
use crate::install;
use crate::shell::{cargo, read, root, run};

const TOOL: &str = "cargo-deb";
/// As in guard-user's Cargo.toml.
const MAINTAINER: &str = "The guard authors <guard@users.noreply.invalid>";
const TOOL_VERSION: &str = "3.8.0";

/// The tree that guard-user's Cargo.toml tells cargo-deb of.
pub(super) const TREE: &str = "root";

/// Makes it of [`TREE`], in a directory, and says where it is.
///
/// # Errors
///
/// That cargo-deb could not be had, or what it says.
pub(super) fn make(tree: &Tree, out: &Path, version: Option<&str>, epoch: &str) -> Result<PathBuf> {
    install::obtain(TOOL, TOOL_VERSION, "it makes the .deb")?;
    let version = version.unwrap_or(self::version());
    let deb = out.join(format!("guard_{version}_amd64.deb"));
    complete(tree, version, epoch)?;
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

/// Adds what only Debian wants.
fn complete(tree: &Tree, version: &str, epoch: &str) -> Result<()> {
    let overrides = root().join("packaging/deb/lintian-overrides");
    tree.add(&overrides, "usr/share/lintian/overrides/guard")?;
    let date =
        read(Command::new("date").args(["--utc", "--rfc-email", "--date", &format!("@{epoch}")]))?;
    let changelog = format!(
        "guard ({version}) unstable; urgency=medium\n\n  \
         * What has changed is in /usr/share/doc/guard/CHANGELOG.md.\n\n \
         -- {MAINTAINER}  {date}"
    );
    tree.write(&format!("{DOC}/changelog"), changelog)?;
    tree.compress(&format!("{DOC}/changelog"))
}
