//! The tarball for every other Linux: the same tree, with programs that need no library.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{stage::Tree, version};
use crate::lab;
use crate::shell::{root, run};

/// How hard it is packed.
#[derive(Clone, Copy)]
pub(super) enum TarballPacking {
    /// As people download it.
    Small,
    /// As machines for tests read it once.
    Quickly,
}

/// Makes it of its tree, in a directory, and says where it is.
///
/// # Errors
///
/// What tar or xz say.
pub(super) fn make(tree: &Tree, out: &Path, epoch: &str, pack: TarballPacking) -> Result<PathBuf> {
    lab::obtain(&[("xz", "xz-utils")], "the tarball is packed with it")?;
    tree.add_licences()?;
    let changes = format!("{}/CHANGELOG.md", tree.package.doc());
    tree.add(&root().join("CHANGELOG.md"), &changes)?;
    let name = format!("guard-{}-x86_64-linux", version());
    let tar = out.join(format!("{name}.tar"));
    // Whose the files were, when, and in which order the disk had them, is nobody's business.
    run(Command::new("tar")
        .args(["--create", "--format=gnu", "--sort=name", "--mtime"])
        .arg(format!("@{epoch}"))
        .args([
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mode=u=rwX,go=rX",
        ])
        .arg(format!("--transform=s,^\\.,{name},"))
        .arg("--file")
        .arg(&tar)
        .arg("--directory")
        .arg(tree.root())
        .arg("."))?;
    let how: &[_] = match pack {
        // With the filter for machine code.
        TarballPacking::Small => &["--x86", "--lzma2=preset=9e"],
        TarballPacking::Quickly => &["-0"],
    };
    // One thread: with several, the result depends on how many there are.
    run(Command::new("xz")
        .args(how)
        .args(["--force", "--threads=1"])
        .arg(&tar))?;
    Ok(out.join(format!("{name}.tar.xz")))
}
