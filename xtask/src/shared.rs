//! Compiled dependencies that clones share, in the cache: a new clone begins with them, and adds what it compiles.
//!
//! Clones cannot share one build directory: cargo names what it builds of the workspace alike in each clone, and judges by time whether it
//! fits, so the programs of one clone would run in another. What is not of the workspace is the same everywhere. Clones have hard links to
//! its code, and cargo judges by its fingerprints what of it fits.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::cache;
use crate::shell::{cargo, read, say, target};

/// Entry of the cache.
const NAME: &str = "compiled";
/// Where cargo keeps what it compiles, below `target`. Fingerprints come last: what has one is there whole. The kernel half is compiled
/// with the clone's path, so other clones have no use for it.
const DIRS: [&str; 3] = ["debug/deps", "debug/build", "debug/.fingerprint"];
/// File below `target` with the week in which this clone began: what it had before then may be of no use to others.
const BEGAN: &str = "debug/began";

/// Puts what other clones have compiled where cargo looks for it, once.
///
/// # Errors
///
/// That the cache or the target directory cannot be written to.
pub(crate) fn begin() -> Result<()> {
    let (cache, week) = (cache::dir()?, cache::week()?);
    begin_in(&cache, &week, &target())
}

fn begin_in(cache: &Path, week: &str, target: &Path) -> Result<()> {
    if target.join(BEGAN).exists() {
        return Ok(());
    }
    let _lock = cache::lock(cache, NAME)?;
    // Another run in this clone may have been first.
    if target.join(BEGAN).exists() {
        return Ok(());
    }
    fs::create_dir_all(target.join("debug"))?;
    let compiled = cache.join(NAME);
    match cache::fault(&compiled, week) {
        None => link_all(&compiled, target, &|_| true, true)?,
        Some(why) => {
            let why = if compiled.exists() {
                format!("{}: {why}", compiled.display())
            } else {
                format!("the cache {} has none", cache.display())
            };
            say(&format!(
                "compiling all dependencies, which takes some ten minutes on two processors: {why}"
            ));
            cache::remove(&compiled)?;
        }
    }
    Ok(fs::write(target.join(BEGAN), week)?)
}

/// Adds to the cache what this clone has compiled. What goes wrong costs other clones time and nothing else, and is said.
pub(crate) fn add() {
    let added = || {
        let (cache, week, ours) = (cache::dir()?, cache::week()?, ours()?);
        add_in(&cache, &week, &target(), &|name| !ours.contains(stem(name)))
    };
    let added: Result<()> = added();
    if let Err(why) = added {
        say(&format!(
            "other clones compile their dependencies themselves: {why:#}"
        ));
    }
}

fn add_in(cache: &Path, week: &str, target: &Path, is_shared: &dyn Fn(&str) -> bool) -> Result<()> {
    if fs::read_to_string(target.join(BEGAN)).is_ok_and(|began| began != week) {
        return Ok(());
    }
    let _lock = cache::lock(cache, NAME)?;
    let compiled = cache.join(NAME);
    let added =
        link_all(target, &compiled, is_shared, false).and_then(|()| cache::seal(&compiled, week));
    if added.is_err() {
        // A full disk gets its room back.
        let _ = cache::remove(&compiled);
    }
    added
}

/// Links what cargo keeps, but for names that are not wanted.
fn link_all(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool, replace: bool) -> Result<()> {
    for dir in DIRS.map(Path::new) {
        for entry in fs::read_dir(from.join(dir)).into_iter().flatten() {
            let name = entry?.file_name();
            if wanted(&name.to_string_lossy()) {
                let place = dir.join(name);
                link(&from.join(&place), &to.join(&place), replace)?;
            }
        }
    }
    Ok(())
}

/// Links compiled code, alone or all in a directory. The rest is copied: cargo writes over it in place, and the cache may be on another disk.
fn link(from: &Path, to: &Path, replace: bool) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            link(&entry.path(), &to.join(entry.file_name()), replace)?;
        }
        return Ok(());
    }
    if replace {
        // Cargo compares times, and what the rest was compiled with is older than what this clone has compiled by itself.
        cache::remove(to)?;
    } else if to.exists() {
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    let is_code = |kind: &OsStr| ["rlib", "rmeta", "so"].iter().any(|code| kind == *code);
    if from.extension().is_some_and(is_code) && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    // A killed run leaves no part under the name of the whole.
    let part = to.with_extension("part");
    fs::copy(from, &part)?;
    File::open(&part)?.set_modified(fs::metadata(from)?.modified()?)?;
    Ok(fs::rename(part, to)?)
}

/// Returns the names of this workspace's packages and of what is built of them, as they begin the names of files.
fn ours() -> Result<BTreeSet<String>> {
    let metadata = read(cargo().args(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name_of = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let mut names = BTreeSet::new();
    for package in list(&metadata["packages"]) {
        names.insert(name_of(&package));
        for target in list(&package["targets"]) {
            let name = name_of(&target).replace('-', "_");
            names.insert(format!("lib{name}"));
            names.insert(name);
        }
    }
    Ok(names)
}

/// Returns `libserde` of `libserde-0123456789abcdef.rlib`.
fn stem(name: &str) -> &str {
    let name = name.split('.').next().unwrap_or(name);
    match name.rsplit_once('-') {
        Some((stem, hash)) if hash.len() == 16 => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERDE: &str = "debug/deps/libserde-0123456789abcdef.rlib";
    const OUT: &str = "debug/build/serde-0123456789abcdef/out/made.rs";
    const OWN: &str = "debug/deps/libguard_policy-0123456789abcdef.rlib";

    fn write(target: &Path, text: &str) -> Result<()> {
        for place in [SERDE, OUT, OWN] {
            let file = target.join(place);
            fs::create_dir_all(file.parent().unwrap_or(target))?;
            fs::write(file, text)?;
        }
        Ok(())
    }

    #[test]
    fn a_new_clone_begins_with_what_others_have_compiled_but_for_their_own() -> Result<()> {
        let dirs = [(); 4].map(|()| tempfile::tempdir());
        let [cache, one, other, third] = dirs;
        let (cache, one, other, third) = (cache?, one?, other?, third?);
        let ours = ours()?;
        let add = |target: &Path| {
            add_in(cache.path(), "1", target, &|name| {
                !ours.contains(stem(name))
            })
        };
        let begin = |target: &Path| begin_in(cache.path(), "1", target);
        begin(one.path())?;
        write(one.path(), "compiled")?;
        add(one.path())?;
        // cargo xtask itself is compiled before it looks into the cache.
        write(other.path(), "new")?;
        begin(other.path())?;
        let text = |place| fs::read_to_string(other.path().join(place));
        assert_eq!(
            [text(SERDE)?, text(OUT)?, text(OWN)?],
            ["compiled", "compiled", "new"]
        );
        // Once a clone.
        fs::remove_file(other.path().join(SERDE))?;
        begin(other.path())?;
        assert!(!other.path().join(SERDE).exists());
        // What is damaged is not used, and goes.
        fs::write(cache.path().join(NAME).join(OUT), "cut")?;
        begin(third.path())?;
        assert!(!third.path().join(SERDE).exists() && !cache.path().join(NAME).exists());
        // Of a clone that began in another week nobody knows what is still of use.
        fs::write(third.path().join(BEGAN), "0")?;
        add(third.path())?;
        assert!(!cache.path().join(NAME).exists());
        Ok(())
    }

    #[test]
    fn names_tell_what_is_of_the_workspace() -> Result<()> {
        let ours = ours()?;
        let is_ours = |name: &str| ours.contains(stem(name));
        for name in [
            "guard-policy-0123456789abcdef",
            "libguard_policy-0123456789abcdef.rlib",
            "suites-0123456789abcdef",
            "build_script_build-0123456789abcdef",
            "xtask-0123456789abcdef.1a2b3c.rcgu.o",
        ] {
            assert!(is_ours(name), "{name}");
        }
        assert!(!is_ours("serde-0123456789abcdef"));
        assert!(!is_ours("libserde-0123456789abcdef.rmeta"));
        Ok(())
    }
}
