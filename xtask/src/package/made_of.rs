//! What the programs are made of: CycloneDX, as cargo-cyclonedx writes it, and the licences of the crates, as these want.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{EPOCH, Package, empty, programs, version, work, write};
use crate::install;
use crate::shell::{cargo, read, root, run};

const TOOL: (&str, &str) = ("cargo-cyclonedx", "0.5.9");
/// Name of the files that the tool puts beside each manifest.
const FILE: &str = "guard-sbom";
/// What the compilers link into every program, which no crate names.
const COMPILERS: &str = "
In it, too, is what comes with the compilers:

Rust's standard library, and its core library in the eBPF object: MIT OR Apache-2.0. Copyright (c) The Rust Project contributors
musl, in the static programs: MIT. Copyright (c) 2005-2020 Rich Felker, et al.
LLVM's libunwind, in the static programs: Apache-2.0 WITH LLVM-exception. Copyright (c) The LLVM Project contributors
";
/// Beginnings of the names of files with licences.
const LICENCES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

/// Lists what is in the programs of each package, and returns the directory in which each package has one of these lists.
///
/// # Errors
///
/// That the tool could not be had, or what it says.
pub(super) fn list(packages: &[Package], epoch: &str) -> Result<PathBuf> {
    install::obtain(TOOL.0, TOOL.1, "it lists what the programs are made of")?;
    let made = run(cargo()
        .args(["cyclonedx", "--quiet", "--format", "json"])
        .args(["--spec-version", "1.5", "--target", programs::GNU])
        .args(["--override-filename", FILE])
        .env("PATH", install::path_with_tools()?)
        .env(EPOCH, epoch));
    let place = work().join("made-of");
    let written = made.and_then(|()| {
        let metadata = read(cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
        let metadata = serde_json::from_str(&metadata)?;
        packages
            .iter()
            .try_for_each(|package| of(package, &place.join(package.name), &metadata))
    });
    // Beside the manifests of crates that are in no package, too.
    read(
        Command::new("find")
            .arg(root())
            .args(["-maxdepth", "3", "-name"])
            .args([&format!("{FILE}.json"), "-delete"]),
    )?;
    written.map(|()| place)
}

fn of(package: &Package, place: &Path, metadata: &Value) -> Result<()> {
    empty(place)?;
    let kernel_half = package.name == "guard";
    let names = package.programs.iter().map(|name| {
        let dir = name.strip_prefix("guard-").unwrap_or(name);
        (*name, format!("guard-user/{dir}"))
    });
    let kernel_half = kernel_half.then(|| ("guard-ebpf", "guard-ebpf".to_owned()));
    let mut crates = BTreeSet::new();
    for (name, dir) in names.chain(kernel_half) {
        let path = root().join(dir).join(format!("{FILE}.json"));
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let list: Value = serde_json::from_str(&text)?;
        for one in list["components"].as_array().into_iter().flatten() {
            crates.insert(name_of(one));
        }
        // The same bytes wherever the sources lie.
        let text = text.replace(&format!("{}/", root().display()), "");
        write(&place.join(format!("{name}-{}.cdx.json", version())), &text)?;
    }
    write(&place.join("THIRD-PARTY"), &licences(&crates, metadata)?)
}

/// Returns the name and version of a component, or of a package of cargo's.
fn name_of(one: &Value) -> String {
    let field = |name: &str| one[name].as_str().unwrap_or_default();
    format!("{} {}", field("name"), field("version"))
}

/// Returns each crate with its licence, and then every text that lies beside one, once, with the crates that it is of.
fn licences(crates: &BTreeSet<String>, metadata: &Value) -> Result<String> {
    let mut text =
        String::from("guard is made with these crates, each under the licence beside it.\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = name_of(package);
        // Crates of this workspace have the package's own licence.
        if package["source"].is_null() || !crates.contains(&name) {
            continue;
        }
        let licence = package["license"].as_str();
        let licence = licence.with_context(|| format!("{name} names no licence"))?;
        text += &format!("{name}: {licence}\n");
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let mut files: Vec<_> = fs::read_dir(manifest.with_file_name(""))?
            .flatten()
            .map(|file| file.path())
            .collect();
        files.sort();
        for file in files.iter().filter(|file| is_licence(file)) {
            let text = String::from_utf8_lossy(&fs::read(file)?)
                .trim()
                .replace('\r', "");
            texts.entry(text).or_default().push(name.clone());
        }
    }
    text += COMPILERS;
    for (licence, of) in texts {
        let line = "-".repeat(78);
        text += &format!("\n{line}\n{}\n{line}\n\n{licence}\n", of.join(", "));
    }
    Ok(text)
}

fn is_licence(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_uppercase();
    file.is_file() && LICENCES.iter().any(|begin| name.starts_with(begin))
}
