//! The licences of the crates that are in the programs, as these licences want.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::sbom::Sbom;
use crate::shell::{cargo, read};

/// What the compilers link into every program, which no crate names.
const COMPILERS: &str = "
In it, too, is what comes with the compilers:

Rust's standard library, and its core library in the eBPF object: MIT OR Apache-2.0. Copyright (c) The Rust Project contributors
musl, in the static programs: MIT. Copyright (c) 2005-2020 Rich Felker, et al.
LLVM's libunwind, in the static programs: Apache-2.0 WITH LLVM-exception. Copyright (c) The LLVM Project contributors
";

/// A crate that is in a program.
struct Crate {
    name: String,
    licence: String,
    dir: PathBuf,
}

/// Each crate with its licence; then every text that lies beside one, once, with those that it is of.
///
/// # Errors
///
/// What cannot be read.
pub(super) fn text(sbom: &Sbom) -> Result<String> {
    let crates = crates(sbom)?;
    let mut text =
        String::from("guard is linked with these crates, each under the licence beside it.\n\n");
    for one in &crates {
        text.push_str(&format!("{}: {}\n", one.name, one.licence));
    }
    text.push_str(COMPILERS);
    for (licence, of) in texts(&crates)? {
        let line = "-".repeat(78);
        text.push_str(&format!(
            "\n{line}\n{}\n{line}\n\n{licence}\n",
            of.join(", ")
        ));
    }
    Ok(text)
}

fn crates(sbom: &Sbom) -> Result<Vec<Crate>> {
    let metadata = read(cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("cargo metadata names no packages")?;
    let wanted = |package: &&Value| {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        // Those of this workspace have the package's own licence.
        let name = format!("{}@{}", field("name"), field("version"));
        !package["source"].is_null() && sbom.crates.contains(&name)
    };
    let mut crates = packages
        .iter()
        .filter(wanted)
        .map(one)
        .collect::<Result<Vec<_>>>()?;
    crates.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(crates)
}

fn one(package: &Value) -> Result<Crate> {
    let field = |name: &str| {
        let value = package[name].as_str();
        value.with_context(|| format!("no {name} in {}", package["id"]))
    };
    let manifest = Path::new(field("manifest_path")?);
    Ok(Crate {
        name: format!("{} {}", field("name")?, field("version")?),
        licence: field("license")?.to_owned(),
        dir: manifest.parent().unwrap_or(manifest).to_owned(),
    })
}

/// Texts of licences, and the crates that they are of.
fn texts(crates: &[Crate]) -> Result<BTreeMap<String, Vec<&str>>> {
    let mut texts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in crates {
        let listed =
            fs::read_dir(&one.dir).with_context(|| format!("cannot list {}", one.dir.display()))?;
        let mut files: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| is_licence(file)) {
            let bytes =
                fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let text = String::from_utf8_lossy(&bytes).trim().replace('\r', "");
            texts.entry(text).or_default().push(&*one.name);
        }
    }
    Ok(texts)
}

fn is_licence(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_uppercase();
    let known = [
        "LICENSE",
        "LICENCE",
        "COPYING",
        "COPYRIGHT",
        "NOTICE",
        "UNLICENSE",
    ];
    file.is_file() && known.iter().any(|prefix| name.starts_with(prefix))
}
