//! The package for Fedora and its relatives.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{EPOCH, stage::Tree, version, work};
use crate::install;
use crate::shell::{cargo, root, run};

const TOOL: &str = "cargo-generate-rpm";
const TOOL_VERSION: &str = "0.21.1";

/// The release of the package that people get.
pub(super) const FIRST: &str = "1";

/// Makes it of its tree, in a directory, and says where it is.
///
/// # Errors
///
/// That cargo-generate-rpm could not be had, or what it says.
pub(super) fn make(tree: &Tree, out: &Path, release: &str, epoch: &str) -> Result<PathBuf> {
    tree.add_licences()?;
    // The tool writes no changelog of rpm's own kind.
    let changes = format!("{}/CHANGELOG.md", tree.package.doc());
    tree.add(&root().join("CHANGELOG.md"), &changes)?;
    install::obtain(TOOL, TOOL_VERSION, "it makes the .rpm")?;
    let rpm = out.join(format!(
        "{}-{}-{release}.x86_64.rpm",
        tree.package.name,
        version()
    ));
    let list = work().join("rpm-assets.toml");
    fs::write(&list, assets(tree)?).with_context(|| format!("cannot write {}", list.display()))?;
    run(cargo()
        .args(["generate-rpm", "--package", tree.package.rpm])
        .args(["--arch", "x86_64", "--auto-req", "builtin", "--output"])
        .arg(&rpm)
        .arg("--metadata-overwrite")
        .arg(&list)
        .args(["--set-metadata", &format!("release = \"{release}\"")])
        .env("PATH", install::path_with_tools()?)
        .env(EPOCH, epoch))
    .with_context(|| format!("of the files in {}", tree.root().display()))?;
    Ok(rpm)
}

/// Each file by name: the tool's own patterns would put all that one matches into one directory.
fn assets(tree: &Tree) -> Result<String> {
    let mut list = String::from("assets = [\n");
    for file in tree.files()? {
        let source = tree.root().join(&file);
        let source = source.strip_prefix(root()).unwrap_or(&source).display();
        let dest = file.display().to_string();
        let dest = dest.replace("share/zsh/vendor-completions", "share/zsh/site-functions");
        let (mode, kind) = match &*dest {
            _ if dest.starts_with("etc/") => ("644", ", config = \"noreplace\""),
            _ if tree
                .package
                .programs
                .contains(&&*file.display().to_string()) =>
            {
                ("755", "")
            }
            _ if dest.starts_with("usr/share/doc/") => ("644", ", doc = true"),
            _ if dest.starts_with("usr/share/man/") => ("644", ", doc = true"),
            _ => ("644", ""),
        };
        list +=
            &format!("{{ source = \"{source}\", dest = \"/{dest}\", mode = \"{mode}\"{kind} }},\n");
    }
    Ok(list + "]\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::stage::{APART, GUARD};

    /// Machines alone make one, and a crate may be moved meanwhile.
    #[test]
    fn each_package_is_told_of_where_it_is_looked_for() {
        let apart = APART.into_iter().map(|one| one.package);
        for package in apart.chain([GUARD]) {
            let manifest = root().join(package.rpm).join("Cargo.toml");
            let text = fs::read_to_string(&manifest).unwrap();
            let table = format!(
                "[package.metadata.generate-rpm]\nname = \"{}\"\n",
                package.name
            );
            assert!(text.contains(&table), "{}", manifest.display());
        }
    }
}
