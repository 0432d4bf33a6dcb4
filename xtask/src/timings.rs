//! How long each part of a run took: said as it ends, and in a table behind all of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::shell::{read, root, say, target};

/// Where they are kept, below `target`.
const FILE: &str = "ci/timings.json";

/// What is known so far. Parts may run beside each other.
pub(crate) struct Timings {
    begun: Instant,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    stages: Vec<Stage>,
    suites: BTreeMap<String, SuiteSeconds>,
}

/// A part of the run.
#[derive(Clone, Serialize)]
struct Stage {
    name: String,
    /// Seconds since the run began.
    begun: f64,
    /// Seconds that it took.
    seconds: f64,
}

/// The tests of a suite, or of a crate's module.
#[derive(Clone, Default, Serialize)]
struct SuiteSeconds {
    tests: u32,
    /// The seconds of all of them together: several run at once.
    seconds: f64,
    /// The one that took longest, and its seconds.
    slowest: (String, f64),
}

impl Timings {
    /// Of a run that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            parts: Mutex::default(),
        }
    }

    /// Does a part of it, and says how long that took.
    ///
    /// # Errors
    ///
    /// What the part says.
    pub(crate) fn stage<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = self.begun.elapsed().as_secs_f64();
        let done = work();
        let seconds = self.begun.elapsed().as_secs_f64() - begun;
        say(&format!("{name}: {seconds:.1} s"));
        self.parts().stages.push(Stage {
            name: name.to_owned(),
            begun,
            seconds,
        });
        done
    }

    /// Takes in how long a test took.
    pub(crate) fn test(&self, suite: &str, name: &str, seconds: f64) {
        let mut parts = self.parts();
        let suite = parts.suites.entry(suite.to_owned()).or_default();
        suite.tests += 1;
        suite.seconds += seconds;
        if seconds >= suite.slowest.1 {
            suite.slowest = (name.to_owned(), seconds);
        }
    }

    /// Prints the tables, and keeps them in `target/ci/timings.json`.
    ///
    /// # Errors
    ///
    /// That they cannot be kept.
    pub(crate) fn end(&self) -> Result<()> {
        let whole = self.begun.elapsed().as_secs_f64();
        let parts = self.parts();
        println!("\n{:<44} {:>8}", "stage", "seconds");
        for stage in &parts.stages {
            println!("{:<44} {:>8.1}", stage.name, stage.seconds);
        }
        println!("{:<44} {whole:>8.1}", "the whole");
        let mut suites: Vec<_> = parts.suites.iter().collect();
        suites.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        if !suites.is_empty() {
            let (suite, tests) = ("suite (its tests run beside others)", "tests");
            println!("\n{suite:<44} {:>8} {tests:>6}  slowest", "seconds");
        }
        for (name, suite) in suites {
            let (slowest, seconds) = &suite.slowest;
            let (all, tests) = (suite.seconds, suite.tests);
            println!("{name:<44} {all:>8.1} {tests:>6}  {slowest} {seconds:.1}");
        }
        let file = target().join(FILE);
        write(&file, whole, &parts).with_context(|| format!("cannot write {}", file.display()))
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(file: &PathBuf, seconds: f64, parts: &Parts) -> Result<()> {
    let mut git = std::process::Command::new("git");
    let commit = read(git.current_dir(root()).args(["rev-parse", "HEAD"])).unwrap_or_default();
    let kept = serde_json::json!({
        "commit": commit.trim(),
        "seconds": seconds,
        "stages": parts.stages,
        "suites": parts.suites,
    });
    fs::create_dir_all(file.with_file_name(""))?;
    Ok(fs::write(file, serde_json::to_vec_pretty(&kept)?)?)
}
