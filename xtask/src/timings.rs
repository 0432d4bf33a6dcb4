//! How long each part of a run took: said as it ends, and in a table behind all of it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::shell::{read, root, say, target};

/// Where they are kept, below `target`: those of the last run in this file, and those of each commit's runs in `timings-COMMIT.json`.
const DIR: &str = "ci";
const LAST: &str = "timings.json";
/// So much of a commit's hash is in the name of its file.
const SHORT: usize = 12;

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

    /// Prints the tables, and keeps them below `target/ci`.
    ///
    /// # Errors
    ///
    /// That they cannot be kept.
    pub(crate) fn end(&self) -> Result<()> {
        let whole = self.begun.elapsed().as_secs_f64();
        let parts = self.parts();
        print!("\n{}", parts.tables(whole));
        let mut git = std::process::Command::new("git");
        let commit = read(git.current_dir(root()).args(["rev-parse", "HEAD"])).unwrap_or_default();
        let arguments: Vec<_> = env::args().skip(1).collect();
        let run = json!({
            "commit": commit.trim(),
            "arguments": arguments,
            "seconds": whole,
            "stages": parts.stages,
            "suites": parts.suites,
        });
        let dir = target().join(DIR);
        keep(&dir, &run)
            .with_context(|| format!("cannot keep how long it took in {}", dir.display()))
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    /// The stages in their order, and the suites, the longest first.
    fn tables(&self, whole: f64) -> String {
        let mut tables = String::new();
        let mut line = |text: String| {
            tables.push_str(&text);
            tables.push('\n');
        };
        line(format!("{:<44} {:>8}", "stage", "seconds"));
        for stage in &self.stages {
            line(format!("{:<44} {:>8.1}", stage.name, stage.seconds));
        }
        line(format!("{:<44} {whole:>8.1}", "the whole"));
        let mut suites: Vec<_> = self.suites.iter().collect();
        suites.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        if !suites.is_empty() {
            let (suite, tests) = ("suite (its tests run beside others)", "tests");
            line(format!(
                "\n{suite:<44} {:>8} {tests:>6}  slowest",
                "seconds"
            ));
        }
        for (name, suite) in suites {
            let (slowest, seconds) = &suite.slowest;
            let (all, tests) = (suite.seconds, suite.tests);
            line(format!(
                "{name:<44} {all:>8.1} {tests:>6}  {slowest} {seconds:.1}"
            ));
        }
        tables
    }
}

/// Keeps what a run took as the last one's, and behind that of others at the same commit.
fn keep(dir: &Path, run: &Value) -> Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(LAST), serde_json::to_vec_pretty(run)?)?;
    let commit = run["commit"].as_str().unwrap_or_default();
    if commit.is_empty() {
        // Sources without a history.
        return Ok(());
    }
    let short = commit.get(..SHORT).unwrap_or(commit);
    let file = dir.join(format!("timings-{short}.json"));
    // What cannot be read a run has left that was ended.
    let before = fs::read(&file).ok();
    let before = before.and_then(|text| serde_json::from_slice::<Vec<Value>>(&text).ok());
    let mut runs = before.unwrap_or_default();
    runs.push(run.clone());
    // In one step: one that ends here, or has no room, loses none of those before.
    let half = file.with_extension("json.new");
    fs::write(&half, serde_json::to_vec_pretty(&runs)?)?;
    Ok(fs::rename(half, file)?)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn stages_are_told_in_their_order_and_suites_by_their_seconds() -> Result<()> {
        let timings = Timings::begin();
        timings.stage("build", || Ok(()))?;
        let failed = timings.stage("lint", || -> Result<()> { bail!("broken") });
        assert!(failed.is_err());
        for (name, seconds) in [("a", 1.0), ("b", 3.0), ("c", 2.0)] {
            timings.test("ends", name, seconds);
        }
        timings.test("holes", "d", 7.0);
        let tables = timings.parts().tables(10.0);
        let lines: Vec<Vec<_>> = tables
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let at = |first: &str| lines.iter().position(|line| line.first() == Some(&first));
        let places = ["stage", "build", "lint", "the", "suite", "holes", "ends"].map(at);
        assert!(places[0].is_some() && places.is_sorted(), "{tables}");
        let ends = at("ends").map(|at| &lines[at][..]);
        assert_eq!(
            ends,
            Some(&["ends", "6.0", "3", "b", "3.0"][..]),
            "{tables}"
        );
        assert!(tables.contains(&format!("{:<44} {:>8}", "the whole", "10.0")));
        Ok(())
    }

    #[test]
    fn each_run_of_a_commit_is_kept() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (one, other) = ("0123456789abcdef", "fedcba9876543210");
        let run = |commit: &str, seconds: u32| {
            keep(dir.path(), &json!({"commit": commit, "seconds": seconds}))
        };
        let kept = |name: &str| -> Result<Value> {
            Ok(serde_json::from_slice(&fs::read(dir.path().join(name))?)?)
        };
        run(one, 3)?;
        run(other, 4)?;
        run(one, 5)?;
        let of_one = kept("timings-0123456789ab.json")?;
        let seconds: Vec<_> = of_one
            .as_array()
            .into_iter()
            .flatten()
            .map(|run| &run["seconds"])
            .collect();
        assert_eq!(seconds, [3, 5]);
        assert_eq!(kept("timings-fedcba987654.json")?[0]["seconds"], 4);
        assert_eq!(kept(LAST)?["seconds"], 5);
        // One was ended while it wrote.
        fs::write(dir.path().join("timings-fedcba987654.json"), "[{")?;
        run(other, 6)?;
        assert_eq!(kept("timings-fedcba987654.json")?[0]["seconds"], 6);
        Ok(())
    }

    #[test]
    fn without_a_history_there_is_the_last_run_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        keep(dir.path(), &json!({"commit": "", "seconds": 3}))?;
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        Ok(())
    }
}
