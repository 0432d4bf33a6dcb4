//! The package for Debian and Ubuntu.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::stage::{DOC, Tree};
use super::{EPOCH, empty, version, work};
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

/// Makes one for a machine that is to be thrown away, with the same files and scripts, and the fields that cargo-deb is told
/// of. It is not compressed: an emulated machine takes longer to unpack it than to read it.
///
/// # Errors
///
/// What cargo or dpkg-deb say.
pub(super) fn make_quickly(tree: &Tree, out: &Path, version: &str) -> Result<PathBuf> {
    let told = read(cargo().args(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let told: Value = serde_json::from_str(&told)?;
    let packages = told["packages"].as_array().into_iter().flatten();
    let mut ours = packages.filter(|package| package["name"] == "guard-user");
    let ours = ours.next().context("cargo knows no guard-user")?;
    let field = |name: &str| {
        let value = ours["metadata"]["deb"][name].as_str();
        value.with_context(|| format!("guard-user's Cargo.toml tells cargo-deb no {name}"))
    };
    let depends: Vec<_> = field("depends")?
        .split(", ")
        .filter(|needed| *needed != "$auto")
        .collect();
    let control = format!(
        "Package: {}\nVersion: {version}\nArchitecture: amd64\nSection: {}\nPriority: {}\nMaintainer: {}\n\
         Depends: {}\nRecommends: {}\nDescription: guard, for a machine to throw away\n",
        field("name")?,
        field("section")?,
        field("priority")?,
        field("maintainer")?,
        depends.join(", "),
        field("recommends")?,
    );
    // dpkg-deb takes what it is told of the package from a directory among the files.
    let whole = work().join("quick");
    empty(&whole)?;
    run(Command::new("cp")
        .args(["--archive", "--link"])
        .arg(tree.root().join("."))
        .arg(&whole))?;
    let scripts = root().join("packaging/deb");
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let (from, to) = (scripts.join(script), whole.join("DEBIAN").join(script));
        fs::create_dir_all(whole.join("DEBIAN"))?;
        if from.exists() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
    }
    let settings = tree
        .files()?
        .into_iter()
        .filter(|file| file.starts_with("etc"));
    let settings: String = settings
        .map(|file| format!("/{}\n", file.display()))
        .collect();
    fs::write(whole.join("DEBIAN/control"), control)?;
    fs::write(whole.join("DEBIAN/conffiles"), settings)?;
    for program in ["guard", "guardd"] {
        let path = whole.join("usr/bin").join(program);
        let stripped = path.with_extension("stripped");
        run(Command::new("strip").arg("-o").args([&stripped, &path]))?;
        fs::rename(stripped, path)?;
    }
    let deb = out.join(format!("guard_{version}_amd64.deb"));
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .args([&whole, &deb])
        .stdout(Stdio::null()))?;
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
