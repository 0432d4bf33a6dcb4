//! What the programs are made of, in CycloneDX: the crates of both halves, and what comes with the compilers.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::runtime::{self, Library};
use super::{EPOCH, programs, version};
use crate::build::PROGRAMS;
use crate::install;
use crate::shell::{cargo, read, root, run};
use crate::toolchain::BPF_TARGET;

const TOOL: &str = "cargo-cyclonedx";
const TOOL_VERSION: &str = "0.5.9";

/// What the tool calls the files that it puts beside each manifest.
const FILE: &str = "guard-sbom";
/// The crates beside whose manifests it does, and the directory of the others.
const MEMBERS: [&str; 5] = ["bench", "guard-common", "guard-ebpf", "tests", "xtask"];
const USER: &str = "guard-user";

/// How cargo's own crates differ from others.
const OF_CARGO: &str = "pkg:cargo/";

/// A list of components, and what depends on what.
#[derive(Clone)]
pub(super) struct Sbom(Value);

/// Lists what is in all programs of the package `guard` and in the eBPF object, but for what [`Sbom::of_the_static_programs`] adds.
///
/// # Errors
///
/// That the tool could not be had, or what it says.
pub(super) fn of_both_halves(epoch: &str) -> Result<Sbom> {
    of(&PROGRAMS, true, epoch)
}

/// Lists what is in one that has a package of its own.
///
/// # Errors
///
/// As for [`of_both_halves`].
pub(super) fn of_one(name: &'static str, epoch: &str) -> Result<Sbom> {
    of(&[name], false, epoch)
}

fn of(programs: &[&'static str], has_kernel_half: bool, epoch: &str) -> Result<Sbom> {
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
    let dir = |name: &'static str| name.strip_prefix("guard-").unwrap_or(name);
    let kernel_half = has_kernel_half.then_some("guard-ebpf");
    let parts = programs.iter();
    let parts = parts.map(|name| take(&format!("{USER}/{}", dir(name))));
    let parts = parts.chain(kernel_half.map(take));
    let parts: Result<Vec<_>> = parts.collect();
    for member in members()? {
        // Of crates that are in no package.
        let _ = fs::remove_file(file(&member));
    }
    made?;
    let mut linked = BTreeSet::new();
    if let Some(name) = kernel_half {
        linked.append(&mut self::linked(name, BPF_TARGET)?);
    }
    for name in programs {
        linked.append(&mut self::linked(name, programs::GNU)?);
    }
    let mut parts = parts?.into_iter();
    let mut sbom = parts.next().context("there is no program")?;
    parts
        .try_for_each(|part| merge(&mut sbom, part))
        .and_then(|()| keep(&mut sbom, &linked))
        .context("cargo-cyclonedx wrote something else than was expected")?;
    let mut sbom = Sbom(sbom);
    sbom.add(runtime::of_rust()?)?;
    Ok(sbom)
}

impl Sbom {
    /// The same with what is in static programs alone.
    ///
    /// # Errors
    ///
    /// That the compiler does not say what it brings.
    pub(super) fn of_the_static_programs(&self) -> Result<Self> {
        let mut sbom = self.clone();
        sbom.add(runtime::of_musl()?)?;
        Ok(sbom)
    }

    /// Adds what the programs are linked with and no crate of cargo's.
    fn add(&mut self, libraries: Vec<Library>) -> Result<()> {
        let of_programs = self.0["metadata"]["component"]["bom-ref"].clone();
        let unexpected = "the list of components has another form than was expected";
        let components = self.0["components"].as_array_mut().context(unexpected)?;
        add_missing(
            components,
            libraries.iter().map(Library::component).collect(),
            "bom-ref",
        );
        let dependencies = self.0["dependencies"].as_array_mut().context(unexpected)?;
        let programs = dependencies
            .iter_mut()
            .find(|one| one["ref"] == of_programs);
        let on = programs.and_then(|one| one["dependsOn"].as_array_mut());
        on.context(unexpected)?
            .extend(libraries.iter().map(|one| Value::from(one.purl())));
        let alone = libraries
            .iter()
            .map(|one| serde_json::json!({ "ref": one.purl() }));
        add_missing(dependencies, alone.collect(), "ref");
        Ok(())
    }

    fn components(&self, of_cargo: bool) -> impl Iterator<Item = &Value> {
        let components = self.0["components"].as_array().into_iter().flatten();
        components.filter(move |one| {
            let purl = one["purl"].as_str().unwrap_or_default();
            purl.starts_with(OF_CARGO) == of_cargo
        })
    }

    /// The crates: name and version.
    pub(super) fn crates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.components(true)
            .filter_map(|one| Some((one["name"].as_str()?, one["version"].as_str()?)))
    }

    /// What is no crate of cargo's: name and version, licence, and whose it is.
    pub(super) fn libraries(&self) -> impl Iterator<Item = String> {
        self.components(false).map(|one| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let licence = text(&one["licenses"][0]["expression"]);
            let whose = text(&one["copyright"]);
            format!(
                "{} {}: {licence}. {whose}",
                text(&one["name"]),
                text(&one["version"])
            )
        })
    }

    /// That the crates in this list are those of which the compilers made what is in the package: no more, no less.
    ///
    /// # Errors
    ///
    /// Which are not.
    pub(super) fn check(&self, built: &BTreeSet<String>) -> Result<()> {
        let mut built = built.clone();
        // Not a component, but what all of them are components of.
        let about = &self.0["metadata"]["component"];
        let itself = format!(
            "{}@{}",
            about["name"].as_str().unwrap_or_default(),
            about["version"].as_str().unwrap_or_default()
        );
        ensure!(built.remove(&itself), "{itself} was not built");
        let name = |(name, version)| format!("{name}@{version}");
        let listed: BTreeSet<_> = self.crates().map(name).collect();
        same(&built, &listed)
    }

    /// The file.
    pub(super) fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.0)? + "\n")
    }
}

fn same(built: &BTreeSet<String>, listed: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<_> = built.difference(listed).collect();
    let extra: Vec<_> = listed.difference(built).collect();
    ensure!(
        missing.is_empty() && extra.is_empty(),
        "the SBOM is not what the programs were made of: it lacks {missing:?}, and has {extra:?} too many"
    );
    Ok(())
}

/// The directories of all crates.
fn members() -> Result<Vec<String>> {
    let user = fs::read_dir(root().join(USER)).with_context(|| format!("cannot list {USER}"))?;
    let mut members: Vec<_> = MEMBERS.map(str::to_owned).into();
    for entry in user {
        members.push(format!("{USER}/{}", entry?.file_name().to_string_lossy()));
    }
    Ok(members)
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
    remove_places(&mut sbom);
    if let Some(about) = sbom["metadata"].as_object_mut() {
        about.remove("timestamp");
    }
    Ok(sbom)
}

/// `pkg:cargo/guardd@0.1.0?download_url=file://.#src/lib.rs` says nothing to others after the `?`.
fn remove_places(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("?download_url=file:") => {
            text.truncate(text.find('?').unwrap_or(text.len()));
        }
        Value::Array(all) => all.iter_mut().for_each(remove_places),
        Value::Object(fields) => fields.values_mut().for_each(remove_places),
        _ => {}
    }
}

/// Makes another part, with its crates, a component of the first, beside which it is installed.
fn merge(first: &mut Value, mut other: Value) -> Option<()> {
    let itself = other["metadata"]["component"].take();
    let other_ref = itself["bom-ref"].clone();
    let mut components = vec![itself];
    components.append(other["components"].as_array_mut()?);
    let first_ref = first["metadata"]["component"]["bom-ref"].clone();
    add_missing(first["components"].as_array_mut()?, components, "bom-ref");
    let dependencies = first["dependencies"].as_array_mut()?;
    for one in dependencies.iter_mut() {
        if one["ref"] == first_ref {
            one["dependsOn"].as_array_mut()?.push(other_ref.clone());
        }
    }
    let theirs = other["dependencies"].as_array_mut()?;
    add_missing(dependencies, std::mem::take(theirs), "ref");
    Some(())
}

/// `NAME@VERSION` of each crate whose code is in a package: the tool lists those for other crates' features, too.
fn linked(package: &str, target: &str) -> Result<BTreeSet<String>> {
    let edges = ["--edges", "normal,no-proc-macro"];
    let tree = read(
        cargo()
            .args(["tree", "--locked", "--package", package, "--target", target])
            .args(edges)
            .args(["--prefix", "none", "--format", "{p}"]),
    )?;
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some(format!("{name}@{version}"))
    });
    Ok(crates.collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn set(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_are_errors() {
        let built = set(&["aya@0.14.0", "libc@0.2.1"]);
        assert!(same(&built, &built).is_ok());
        for (listed, said) in [
            (set(&["aya@0.14.0"]), "lacks [\"libc@0.2.1\"]"),
            (&built | &set(&["libc@0.2.2"]), "has [\"libc@0.2.2\"]"),
        ] {
            let error = same(&built, &listed).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.contains(said)), "{said}");
        }
    }

    #[test]
    fn the_compilers_own_are_listed_and_are_no_crates() -> Result<()> {
        let list = serde_json::json!({
            "metadata": { "component": { "bom-ref": "guard" } },
            "components": [{ "bom-ref": "a", "name": "a", "version": "1.0.0", "purl": "pkg:cargo/a@1.0.0" }],
            "dependencies": [{ "ref": "guard", "dependsOn": ["a"] }],
        });
        let mut sbom = Sbom(list);
        sbom.add(vec![Library {
            name: "musl",
            version: "1.2.5".to_owned(),
            from: "pkg:generic/musl",
            licence: "MIT",
            copyright: "Copyright (c) its authors",
            description: "The C library",
        }])?;
        let libraries = sbom.libraries().collect::<Vec<_>>();
        assert_eq!(libraries, ["musl 1.2.5: MIT. Copyright (c) its authors"]);
        assert_eq!(sbom.crates().collect::<Vec<_>>(), [("a", "1.0.0")]);
        let on = &sbom.0["dependencies"][0]["dependsOn"];
        assert_eq!(*on, serde_json::json!(["a", "pkg:generic/musl@1.2.5"]));
        Ok(())
    }
}
