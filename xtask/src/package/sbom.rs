//! What the programs are made of, in CycloneDX: the crates of both halves.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{EPOCH, programs, version};
use crate::install;
use crate::shell::{cargo, read, root, run};

const TOOL: &str = "cargo-cyclonedx";
const TOOL_VERSION: &str = "0.5.9";

/// What the tool calls the files that it puts beside each manifest.
const FILE: &str = "guard-sbom";
/// The crates beside whose manifests it does.
const MEMBERS: [&str; 5] = ["guard-common", "guard-ebpf", "guard-user", "tests", "xtask"];

/// A list of components, and what depends on what.
pub(super) struct Sbom(Value);

/// Lists the crates that are in both programs and in the eBPF object.
///
/// # Errors
///
/// That the tool could not be had, or what it says.
pub(super) fn of_both_halves(epoch: &str) -> Result<Sbom> {
    install::obtain(TOOL, TOOL_VERSION, "it lists what the programs are made of")?;
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
    let [user, kernel] = ["guard-user", "guard-ebpf"].map(take);
    for member in MEMBERS {
        // Of crates that are in no package.
        let _ = fs::remove_file(file(member));
    }
    made?;
    let mut sbom = user?;
    let linked = linked()?;
    merge(&mut sbom, kernel?)
        .and_then(|()| keep(&mut sbom, &linked))
        .context("cargo-cyclonedx wrote something else than was expected")?;
    Ok(Sbom(sbom))
}

impl Sbom {
    /// The crates: name and version.
    pub(super) fn crates(&self) -> impl Iterator<Item = (&str, &str)> {
        let components = self.0["components"].as_array().into_iter().flatten();
        components.filter_map(|one| Some((one["name"].as_str()?, one["version"].as_str()?)))
    }

    /// The file.
    pub(super) fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.0)? + "\n")
    }
}

fn file(member: &str) -> PathBuf {
    root().join(member).join(format!("{FILE}.json"))
}

/// Reads what was written for a member, without what only this machine has: its paths, and the time.
fn take(member: &str) -> Result<Value> {
    let path = file(member);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = text.replace(&format!("path+file://{}/", root().display()), "");
    let mut sbom: Value = serde_json::from_str(&text)?;
    forget_places(&mut sbom);
    if let Some(about) = sbom["metadata"].as_object_mut() {
        about.remove("timestamp");
    }
    Ok(sbom)
}

/// `pkg:cargo/guard-user@0.1.0?download_url=file://.#src/lib.rs` says nothing to others after the `?`.
fn forget_places(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("?download_url=file:") => {
            text.truncate(text.find('?').unwrap_or(text.len()));
        }
        Value::Array(all) => all.iter_mut().for_each(forget_places),
        Value::Object(fields) => fields.values_mut().for_each(forget_places),
        _ => {}
    }
}

/// Makes the kernel half, with its crates, a component of the user half, which carries it.
fn merge(user: &mut Value, mut kernel: Value) -> Option<()> {
    let half = kernel["metadata"]["component"].take();
    let half_ref = half["bom-ref"].clone();
    let mut components = vec![half];
    components.append(kernel["components"].as_array_mut()?);
    let user_ref = user["metadata"]["component"]["bom-ref"].clone();
    add_missing(user["components"].as_array_mut()?, components, "bom-ref");
    let dependencies = user["dependencies"].as_array_mut()?;
    for one in dependencies.iter_mut() {
        if one["ref"] == user_ref {
            one["dependsOn"].as_array_mut()?.push(half_ref.clone());
        }
    }
    let theirs = kernel["dependencies"].as_array_mut()?;
    add_missing(dependencies, std::mem::take(theirs), "ref");
    Some(())
}

/// `NAME@VERSION` of each crate whose code is in the programs: the tool lists those for other crates' features, too.
fn linked() -> Result<BTreeSet<String>> {
    let mut linked = BTreeSet::new();
    for package in ["guard-user", "guard-ebpf"] {
        let tree = read(
            cargo()
                .args([
                    "tree",
                    "--locked",
                    "--package",
                    package,
                    "--target",
                    programs::GNU,
                ])
                .args([
                    "--edges",
                    "normal,no-proc-macro",
                    "--prefix",
                    "none",
                    "--format",
                    "{p}",
                ]),
        )?;
        linked.extend(tree.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some(format!("{name}@{version}"))
        }));
    }
    Ok(linked)
}

/// Leaves out the components that are not linked, and what depends on them or they on.
fn keep(sbom: &mut Value, linked: &BTreeSet<String>) -> Option<()> {
    let components = sbom["components"].as_array_mut()?;
    components.retain(|one| {
        let id = one["name"].as_str().zip(one["version"].as_str());
        id.is_some_and(|(name, version)| linked.contains(&format!("{name}@{version}")))
    });
    let mut kept: BTreeSet<_> = components
        .iter()
        .map(|one| one["bom-ref"].to_string())
        .collect();
    kept.insert(sbom["metadata"]["component"]["bom-ref"].to_string());
    let dependencies = sbom["dependencies"].as_array_mut()?;
    dependencies.retain(|one| kept.contains(&one["ref"].to_string()));
    for one in dependencies {
        if let Some(on) = one["dependsOn"].as_array_mut() {
            on.retain(|reference| kept.contains(&reference.to_string()));
        }
    }
    Some(())
}

fn add_missing(all: &mut Vec<Value>, more: Vec<Value>, key: &str) {
    for one in more {
        if !all.iter().any(|known| known[key] == one[key]) {
            all.push(one);
        }
    }
    all.sort_by(|a, b| a[key].as_str().cmp(&b[key].as_str()));
}

/// What it is called beside the packages.
pub(super) fn name() -> String {
    format!("guard-{}.cdx.json", version())
}
