//! Puts the eBPF object where `include_bytes!` finds it: `OUT_DIR/guard-ebpf.o`.
//!
//! `cargo xtask build` makes the object. `GUARD_EBPF_OBJECT` names one that was built elsewhere; such a
//! one is taken as it is.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const ENV: &str = "GUARD_EBPF_OBJECT";

fn main() {
    if let Err(problem) = embed() {
        println!("cargo::error={problem}");
    }
}

fn embed() -> Result<(), String> {
    // At run time: in a copy of a target directory the script may have been compiled elsewhere.
    let here = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo did not set CARGO_MANIFEST_DIR")?;
    let here = Path::new(&here);
    let workspace = here.ancestors().nth(2).unwrap_or(here);
    let sources = ["guard-ebpf/src", "guard-common/src"].map(|dir| workspace.join(dir));
    println!("cargo::rerun-if-env-changed={ENV}");
    for dir in &sources {
        println!("cargo::rerun-if-changed={}", dir.display());
    }
    let object = match env::var_os(ENV) {
        Some(path) => PathBuf::from(path),
        None => fresh(workspace.join("target/bpf/guard-ebpf.o"), &sources)?,
    };
    println!("cargo::rerun-if-changed={}", object.display());

    let bytes = fs::read(&object).map_err(|e| missing(&object, &e))?;
    let out = env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?;
    let copy = Path::new(&out).join("guard-ebpf.o");
    fs::write(&copy, &bytes).map_err(|e| format!("cannot write {}: {e}", copy.display()))?;
    Ok(())
}

/// Returns `object`, unless one of its sources is newer.
fn fresh(object: PathBuf, sources: &[PathBuf]) -> Result<PathBuf, String> {
    let built = modified(&object).map_err(|e| missing(&object, &e))?;
    for dir in sources {
        let changed = newest(dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
        if changed > built {
            return Err(format!(
                "the eBPF object is older than {}: run `cargo xtask build`",
                dir.display()
            ));
        }
    }
    Ok(object)
}

fn missing(object: &Path, why: &io::Error) -> String {
    let object = object.display();
    format!("no eBPF object at {object} ({why}): run `cargo xtask build`")
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// The latest modification time of a file below `dir`.
fn newest(dir: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let time = if entry.file_type()?.is_dir() {
            self::newest(&entry.path())?
        } else {
            modified(&entry.path())?
        };
        newest = newest.max(time);
    }
    Ok(newest)
}
