//! Runs plays: scenes in files of text, each a test of its own.
//!
//! README.md beside this file has the grammar. Plays of a suite share a guardd, one after the other; suites run beside each other.

mod scene;
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, process};

use anyhow::{Context as _, Result};
use guard_lab::Scene;
use libtest_mimic::{Arguments, Trial};

/// A guardd that plays share: none before the first, and after one that failed.
type Shared = Arc<Mutex<Option<Scene>>>;

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("plays");
    let mut suites = BTreeMap::<_, Shared>::new();
    let mut trials = Vec::new();
    for path in files(&root)? {
        let module = path.strip_prefix(&root)?.with_extension("");
        let module = module.display().to_string().replace('/', "::");
        let suite = module.split("::").next().unwrap_or_default().to_owned();
        for play in script::plays(&path)? {
            let name = format!("{module}::{}", play.name);
            let shared = suites.entry((suite.clone(), play.config.clone()));
            let shared = Arc::clone(shared.or_default());
            trials.push(Trial::test(name, move || {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let played = scene::play(&play, shared.take());
                *shared = played.map_err(|why| format!("{why:#}"))?;
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Takes the guardds down.
    drop(suites);
    process::exit(i32::from(conclusion.has_failed()) * 101)
}

/// Finds all plays below a directory.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|end| end == "play") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
