//! What the programs are made of: CycloneDX, as cargo-cyclonedx writes it for each, and the crates that are linked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{EPOCH, programs, version, write};
use crate::install;
use crate::shell::{cargo, read, root, run};
use crate::toolchain::BPF_TARGET;

const TOOL: (&str, &str) = ("cargo-cyclonedx", "0.5.9");
/// Name of the files that the tool puts beside each manifest.
const FILE: &str = "guard-sbom";

/// The lists of a package.
pub(super) struct Sbom {
    /// File names and texts.
    pub(super) files: Vec<(String, String)>,
    /// `NAME@VERSION` of each crate whose code is in the package.
    pub(super) crates: BTreeSet<String>,
}

/// Lists what is in programs and, with `has_kernel_half`, in the eBPF object.
///
/// # Errors
///
/// That the tool could not be had, or what it says.
pub(super) fn of(names: &[&str], has_kernel_half: bool, epoch: &str) -> Result<Sbom> {
    install::obtain(TOOL.0, TOOL.1, "it lists what the programs are made of")?;
    let made = run(cargo()
        .args([
            "cyclonedx",
            "--quiet",
            "--format",
            "json",
            "--spec-version",
            "1.5",
        ])
        .args(["--target", programs::GNU, "--override-filename", FILE])
        .env("PATH", install::path_with_tools()?)
        .env(EPOCH, epoch));
    let kernel_half = has_kernel_half.then_some("guard-ebpf");
    let (mut files, mut crates) = (Vec::new(), BTreeSet::new());
    let listed = names
        .iter()
        .copied()
        .chain(kernel_half)
        .try_for_each(|name| {
            let dir = name.strip_prefix("guard-").unwrap_or(name);
            let dir = if name == "guard-ebpf" {
                name.to_owned()
            } else {
                format!("guard-user/{dir}")
            };
            files.push((
                format!("{name}-{}.cdx.json", version()),
                text(&root().join(dir))?,
            ));
            let target = if name == "guard-ebpf" {
                BPF_TARGET
            } else {
                programs::GNU
            };
            crates.append(&mut linked(name, target)?);
            Ok(())
        });
    // Beside the manifests of crates that are in no package, too.
    read(std::process::Command::new("find").arg(root()).args([
        "-maxdepth",
        "3",
        "-name",
        &format!("{FILE}.json"),
        "-delete",
    ]))?;
    made.and(listed).map(|()| Sbom { files, crates })
}

/// Reads a list without what only this machine has: its paths, and the time.
fn text(dir: &Path) -> Result<String> {
    let path = dir.join(format!("{FILE}.json"));
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = text.replace(&format!("{}/", root().display()), "");
    let is_of_anywhere = |line: &&str| {
        !line.trim_start().starts_with("\"timestamp\"")
            && !line.trim_start().starts_with("\"serialNumber\"")
    };
    Ok(text
        .lines()
        .filter(is_of_anywhere)
        .map(|line| format!("{line}\n"))
        .collect())
}

/// Returns the crates whose code is in a program, neither macros nor build scripts.
fn linked(package: &str, target: &str) -> Result<BTreeSet<String>> {
    let tree = read(
        cargo()
            .args(["tree", "--locked", "--package", package, "--target", target])
            .args([
                "--edges",
                "normal,no-proc-macro",
                "--prefix",
                "none",
                "--format",
                "{p}",
            ]),
    )?;
    let name = |line: &str| {
        let mut words = line.split(' ');
        Some(format!(
            "{}@{}",
            words.next()?,
            words.next()?.strip_prefix('v')?
        ))
    };
    Ok(tree.lines().filter_map(name).collect())
}

impl Sbom {
    /// Writes the lists into a directory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        self.files
            .iter()
            .try_for_each(|(name, text)| write(&dir.join(name), text))
    }
}
